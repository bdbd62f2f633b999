/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/zip_layout.h"

#include "base/mem.h"

enum { ENTRY_SIZE = 46, ZIP64_LOCATOR = 20, MEMBERS_MAX = 65536, METHODS = 100, TAIL = 65535 + 22 };

bool
zip_take_local(struct span data, struct zip_member *out)
{
	struct cur c = cur_of(data);
	(void)cur_take(&c, 6);
	out->flags = cur_u16(&c);
	out->method = cur_u16(&c);
	(void)cur_take(&c, 8);
	out->packed = cur_u32(&c);
	out->size = cur_u32(&c);
	uint16_t name = cur_u16(&c), extra = cur_u16(&c);
	out->name = cur_take(&c, name);
	out->extra = cur_take(&c, extra);
	out->rest = span_of(c.p, cur_left(&c));
	out->local = data;
	return !c.bad;
}

bool
zip_take_entry(struct span data, struct zip_member *out)
{
	struct cur c = cur_of(data);
	(void)cur_take(&c, 8);
	out->flags = cur_u16(&c);
	out->method = cur_u16(&c);
	(void)cur_take(&c, 8);
	out->packed = cur_u32(&c);
	out->size = cur_u32(&c);
	uint16_t name = cur_u16(&c), extra = cur_u16(&c), comment = cur_u16(&c);
	(void)cur_take(&c, 8);
	out->offset = cur_u32(&c);
	out->name = cur_take(&c, name);
	out->extra = cur_take(&c, extra);
	out->length = ENTRY_SIZE + (size_t)name + extra + comment;
	out->rest = out->local = SPAN_EMPTY;
	return !c.bad && name > 0;
}

enum rc
zip_find_directory(struct span file, struct zip_directory *out)
{
	size_t end = SIZE_MAX;
	for (size_t pos = 0, at; (at = span_find(span_from(file, pos), ZIP_END)) != SIZE_MAX; pos += at + 4)
		end = pos + at;
	if (end == SIZE_MAX)
		return RC_NONE;
	struct cur c = cur_of(span_from(file, end));
	(void)cur_take(&c, 12);
	uint64_t size = cur_u32(&c), offset = cur_u32(&c);
	if (c.bad || size + offset > end)
		return RC_NONE;
	*out = (struct zip_directory){ .at = end - (size_t)size, .end = end, .shift = end - (size_t)(size + offset) };
	bool has_zip64 = end >= ZIP64_LOCATOR && span_starts(span_from(file, end - ZIP64_LOCATOR), SPAN("PK\6\7"));
	return has_zip64 ? RC_PERM : RC_OK;
}

bool
zip_find_local(struct span file, const struct zip_directory *d, const struct zip_member *entry, size_t *start_out, struct zip_member *out)
{
	size_t start = d->shift + entry->offset;
	*start_out = start;
	return start < file.n && span_starts(span_from(file, start), ZIP_LOCAL) && zip_take_local(span_from(file, start), out);
}

bool
zip_agree(const struct zip_member *local, const struct zip_member *entry)
{
	bool has_sizes = (local->flags & ZIP_FLAG_SIZES_BEHIND) == 0;
	return span_eq(local->name, entry->name) && local->method == entry->method && ((local->flags ^ entry->flags) & ZIP_FLAG_ENCRYPTED) == 0 &&
	    (!has_sizes || (local->packed == entry->packed && local->size == entry->size)) && entry->packed <= local->rest.n;
}

/* An end record where it has to be: its version octet is rare. */
static bool
has_end(struct span file)
{
	size_t from = file.n > TAIL ? file.n - TAIL : 0;
	for (size_t at; (at = span_chr(span_from(file, from), 5)) != SIZE_MAX; from += at + 1)
		if (from + at >= 2 && span_starts(span_from(file, from + at - 2), ZIP_END))
			return true;
	return false;
}

bool
zip_is_one(struct span file)
{
	struct zip_directory d;
	struct zip_member entry = { .flags = 0 }, local = { .flags = 0 };
	size_t start;
	if (span_starts(file, ZIP_LOCAL))
		return true;
	return has_end(file) && zip_find_directory(file, &d) != RC_NONE && span_starts(span_from(file, d.at), ZIP_ENTRY) &&
	    zip_take_entry(span_from(file, d.at), &entry) && zip_find_local(file, &d, &entry, &start, &local);
}

/* ---- doubts ---- */

struct extent {
	size_t start, end;
};

static int
by_start(const void *a, const void *b)
{
	const struct extent *x = a, *y = b;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* A header, not four octets by accident. */
static bool
is_header(struct span data)
{
	struct zip_member m = { .flags = 0 };
	return zip_take_local(data, &m) && m.method < METHODS && m.name.n > 0;
}

static bool
has_header(struct span file, size_t from, size_t to)
{
	struct span part = span_head(file, to);
	for (size_t at; from < to && (at = span_find(span_from(part, from), ZIP_LOCAL)) != SIZE_MAX; from += at + 4)
		if (is_header(span_from(file, from + at)))
			return true;
	return false;
}

/* Members do not lie on another; before and between them is none that the directory does not have: of two archives in one file
 * some programs unpack the first, others the second. */
static const char *
doubt_about_gaps(struct span file, const struct zip_directory *d, struct extent *x, size_t n)
{
	size_t from = 0;
	if (n > 1)
		qsort(x, n, sizeof *x, by_start);
	for (size_t i = 0; i < n; i++) {
		if (x[i].start < from)
			return "members of an archive lie on another";
		if (has_header(file, from, x[i].start))
			return "an archive has members that its directory does not have";
		from = x[i].end;
	}
	return has_header(file, from, d->at) ? "an archive has members that its directory does not have" : NULL;
}

const char *
zip_doubt(struct span file, uint64_t known)
{
	struct zip_directory d;
	enum rc rc = zip_find_directory(file, &d);
	if (rc == RC_NONE)
		return span_starts(file, ZIP_LOCAL) && is_header(file) ? "an archive without its directory" : NULL;
	if (rc != RC_OK)
		return "an archive with two ends";
	struct extent *x = NULL;
	size_t n = 0, cap = 0;
	const char *why = NULL;
	struct zip_member entry = { .flags = 0 }, local = { .flags = 0 };
	for (size_t pos = d.at, start; pos < d.end && why == NULL; pos += entry.length) {
		struct span at = span_head(span_from(file, pos), d.end - pos);
		if (n == MEMBERS_MAX || !span_starts(at, ZIP_ENTRY) || !zip_take_entry(at, &entry)) {
			why = "the directory of an archive cannot be read";
		} else if (!zip_find_local(file, &d, &entry, &start, &local) || !zip_agree(&local, &entry)) {
			why = "an archive contradicts its directory";
		} else if ((entry.flags & ZIP_FLAG_ENCRYPTED) == 0 && (entry.method >= 64 || (known >> entry.method & 1) == 0)) {
			why = "a member of an archive is packed in a way that cannot be read";
		} else {
			if (n == cap) {
				cap = cap > 0 ? cap * 2 : 64;
				x = mem_reallocarray(x, cap, sizeof *x);
			}
			x[n++] = (struct extent){ .start = start, .end = file.n - local.rest.n + entry.packed };
		}
	}
	if (why == NULL && n > 0)
		why = doubt_about_gaps(file, &d, x, n);
	mem_free(&x);
	return why;
}
