/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/search.h"

#include "base/mem.h"
#include "filters/attachment_kinds.h"
#include "filters/zip_layout.h"

#include <zlib.h>

/*
 * ZIP, read without believing its directory: programs differ about which of several directories counts, and some read the local
 * headers instead. Every local header and every entry of a directory, wherever it stands, is a member. Sizes, method and
 * encryption of a member count when the directory and the header it points at say the same; where they do not, and where
 * nothing points, data is read in every way until it ends by itself. What a member unpacks to is counted against the limit of
 * the message before it is looked at.
 */

enum { HEAD_ROOM = 4096, HEAD_INPUT = 64 * 1024, EXTRA_UNICODE_PATH = 0x7075, LOCAL_NAME = 26 };

/* A member whose header and entry agree: from its header to the end of its data. */
struct agreed {
	size_t start, end;
};

enum trust {
	TRUST_AGREED,
	TRUST_INSIDE,                /* in the data of such a member: an archive in the archive, which is read by itself, too */
	TRUST_NONE,
};

struct zip {
	struct search *s;
	struct span data;
	uint32_t part;
	unsigned depth;
	struct zip_directory directory;
	struct agreed *agreed;       /* by start */
	size_t nagreed, cap;
	bool has_content_types, has_macros, has_odf, has_package;
};

/* Archivers that do not trust the name's character set say it again in UTF-8. */
static void
add_unicode_path(struct reading *r, struct span extra)
{
	struct cur c = cur_of(extra);
	while (cur_left(&c) >= 4 && !c.bad) {
		uint16_t id = cur_u16(&c), len = cur_u16(&c);
		struct span value = cur_take(&c, len);
		if (!c.bad && id == EXTRA_UNICODE_PATH && value.n > 5)
			reading_name(r, span_from(value, 5));
	}
}

static void
note_kind(struct zip *z, struct span name)
{
	z->has_content_types |= span_caseeq_str(name, "[Content_Types].xml");
	z->has_macros |= span_caseends(name, SPAN("vbaProject.bin")) || span_caseends(name, SPAN("Basic/script-lc.xml"));
	z->has_odf |= span_caseeq_str(name, "mimetype");
	z->has_package |= span_caseeq_str(name, "META-INF/MANIFEST.MF") || span_caseeq_str(name, "AndroidManifest.xml") ||
	    span_caseeq_str(name, "AppxManifest.xml");
}

struct unpacked {
	size_t used;                 /* octets it took: some streams make nothing of many */
	bool has_more;               /* it did not end within max_in */
};

/* At most max octets from at most max_in of them. */
static struct unpacked
inflate_some(struct span in, size_t max_in, size_t max, struct buf *out)
{
	struct span head = span_head(in, max_in);
	z_stream z = { .next_in = (Bytef *)(uintptr_t)head.p, .avail_in = (uInt)(head.n < UINT32_MAX ? head.n : UINT32_MAX) };
	if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
		return (struct unpacked){ .used = 0 };
	int r = Z_OK;
	while (r == Z_OK && buf_len(out) < max) {
		size_t room = max - buf_len(out) < 65536 ? max - buf_len(out) : 65536;
		unsigned char *p = buf_reserve(out, room);
		if (p == NULL)
			break;
		z.next_out = p;
		z.avail_out = (uInt)room;
		r = inflate(&z, Z_NO_FLUSH);
		buf_commit(out, room - z.avail_out);
	}
	struct unpacked u = { .used = z.total_in, .has_more = (r == Z_OK || r == Z_BUF_ERROR) && z.avail_in == 0 && head.n < in.n };
	inflateEnd(&z);
	return u;
}

static struct unpacked
unpack(struct span in, unsigned method, size_t max_in, size_t max, struct buf *out)
{
	if (method == ZIP_DEFLATE)
		return inflate_some(in, max_in, max, out);
	buf_put(out, span_head(in, max));
	return (struct unpacked){ .used = 0 };
}

static void
look_as(struct zip *z, uint32_t at, struct span in, unsigned method)
{
	struct search *s = z->s;
	struct buf data;
	uint64_t left = s->limits.unpacked - s->unpacked;
	buf_init(&data, (size_t)left + HEAD_ROOM + 65536);
	struct unpacked u = unpack(in, method, HEAD_INPUT, HEAD_ROOM, &data);
	if (u.has_more || (buf_len(&data) >= HEAD_ROOM && content_wants_whole(s, at, buf_span(&data)))) {
		buf_reset(&data);
		u = unpack(in, method, SIZE_MAX, (size_t)left + 1, &data);
	} else {
		u.used = 0; /* a beginning costs little */
	}
	if (search_count_unpacked(s, buf_len(&data) + u.used))
		content_decoded(s, at, buf_span(&data), z->depth);
	buf_fini(&data);
}

static void
look_into(struct zip *z, uint32_t at, const struct zip_member *m, enum trust trust)
{
	bool is_plain = m->method == ZIP_STORED || m->method == ZIP_DEFLATE;
	unsigned first = m->method == ZIP_STORED ? ZIP_STORED : ZIP_DEFLATE;
	if (is_plain || trust == TRUST_NONE)
		look_as(z, at, m->rest, first);
	if (trust == TRUST_NONE)
		look_as(z, at, m->rest, ZIP_STORED + ZIP_DEFLATE - first);
	if (!is_plain && m->local.n > 0)
		archive_zip_member(z->s, at, m->local, z->depth);
	if (m->size > z->s->parts[at].item.size && m->size != UINT32_MAX)
		z->s->parts[at].item.size = m->size;
}

static bool
add_member(struct zip *z, const struct zip_member *m, enum trust trust)
{
	struct search *s = z->s;
	struct reading r;
	bool is_folder = m->name.n > 0 && m->name.p[m->name.n - 1] == '/' && m->size == 0;
	if (!search_count_member(s))
		return false;
	if (is_folder && trust != TRUST_NONE)
		return true;
	note_kind(z, m->name);
	reading_init(&r, &s->arena);
	if (!is_folder) {
		reading_name(&r, m->name);
		add_unicode_path(&r, m->extra);
	}
	uint32_t at = search_add(s, &r, ATTACHMENT_MEMBER, s->parts[z->part].owner);
	if (at == SEARCH_NOWHERE)
		return false;
	s->parts[at].item.size = m->size;
	bool is_encrypted = (m->flags & ZIP_FLAG_ENCRYPTED) != 0 || m->method == ZIP_AES;
	if (is_encrypted)
		s->parts[at].item.is_encrypted = s->parts[z->part].item.is_encrypted = true;
	if (m->rest.n > 0 && (!is_encrypted || (trust == TRUST_NONE && m->method != ZIP_AES)))
		look_into(z, at, m, trust);
	return s->problem == NULL;
}

/* ---- the directory that the last end record names ---- */

static int
by_start(const void *a, const void *b)
{
	const struct agreed *x = a, *y = b;
	return x->start < y->start ? -1 : x->start > y->start;
}

static void
read_directory(struct zip *z)
{
	if (zip_find_directory(z->data, &z->directory) != RC_OK)
		return;
	struct zip_member entry = { .flags = 0 }, local = { .flags = 0 };
	size_t end = z->directory.end;
	for (size_t pos = z->directory.at, start; pos < end && z->nagreed <= z->s->limits.archive_members; pos += entry.length) {
		struct span at = span_head(span_from(z->data, pos), end - pos);
		if (!span_starts(at, ZIP_ENTRY) || !zip_take_entry(at, &entry))
			break;
		if (!zip_find_local(z->data, &z->directory, &entry, &start, &local) || !zip_agree(&local, &entry))
			continue;
		if (z->nagreed == z->cap) {
			z->cap = z->cap > 0 ? z->cap * 2 : 16;
			z->agreed = mem_reallocarray(z->agreed, z->cap, sizeof *z->agreed);
		}
		z->agreed[z->nagreed++] = (struct agreed){ .start = start, .end = z->data.n - local.rest.n + entry.packed };
	}
	if (z->nagreed > 1)
		qsort(z->agreed, z->nagreed, sizeof *z->agreed, by_start);
}

/* The last one that does not begin behind pos. */
static const struct agreed *
find_agreed(const struct zip *z, size_t pos)
{
	size_t low = 0, high = z->nagreed;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (z->agreed[mid].start <= pos)
			low = mid + 1;
		else
			high = mid;
	}
	return low > 0 ? &z->agreed[low - 1] : NULL;
}

/* ---- all headers and entries ---- */

static bool
use_local(struct zip *z, size_t pos)
{
	struct zip_member m = { .flags = 0 };
	const struct agreed *a = find_agreed(z, pos);
	if (!zip_take_local(span_from(z->data, pos), &m))
		return true;
	if (a != NULL && a->start == pos) {
		m.rest = span_head(m.rest, a->end - (z->data.n - m.rest.n));
		return add_member(z, &m, TRUST_AGREED);
	}
	if (a == NULL || pos >= a->end)
		return add_member(z, &m, TRUST_NONE);
	if ((m.flags & ZIP_FLAG_SIZES_BEHIND) == 0)
		m.rest = span_head(m.rest, m.packed);
	return add_member(z, &m, TRUST_INSIDE);
}

/* Its data, whatever its header says, if there is one. */
static bool
use_loose_entry(struct zip *z, struct zip_member *entry, size_t start)
{
	struct cur c = cur_of(span_from(z->data, start < z->data.n ? start : z->data.n));
	entry->local = span_of(c.p, cur_left(&c));
	(void)cur_take(&c, LOCAL_NAME);
	uint16_t name = cur_u16(&c), extra = cur_u16(&c);
	(void)cur_take(&c, (size_t)name + extra);
	entry->rest = c.bad ? SPAN_EMPTY : span_of(c.p, cur_left(&c));
	return add_member(z, entry, TRUST_NONE);
}

static bool
use_entry(struct zip *z, size_t pos)
{
	struct zip_member entry = { .flags = 0 }, local = { .flags = 0 };
	size_t start;
	if (!zip_take_entry(span_from(z->data, pos), &entry))
		return true;
	if (zip_find_local(z->data, &z->directory, &entry, &start, &local) && zip_agree(&local, &entry)) {
		const struct agreed *a = find_agreed(z, start);
		if (a != NULL && a->start == start)
			return true;
	}
	const struct agreed *around = find_agreed(z, pos);
	if (around != NULL && pos < around->end)
		return add_member(z, &entry, TRUST_INSIDE);
	if (!use_loose_entry(z, &entry, entry.offset))
		return false;
	return z->directory.shift == 0 || use_loose_entry(z, &entry, start);
}

/* Calls for every place of a signature; a member's data is searched, too: headers may hide there. */
static bool
each(struct zip *z, struct span signature, bool (*use)(struct zip *z, size_t pos))
{
	for (size_t pos = 0, at; (at = span_find(span_from(z->data, pos), signature)) != SIZE_MAX; pos += at + signature.n)
		if (!use(z, pos + at))
			return false;
	return true;
}

/* What the members say of the whole. Where the name does not claim a bare archive, documents and packages are none. */
static void
name_kinds(struct zip *z)
{
	struct attachment_item *item = &z->s->parts[z->part].item;
	uint64_t kinds = (z->has_content_types ? KIND_IS(ooxml) : 0) | (z->has_odf ? KIND_IS(odf) : 0) | (z->has_macros ? KIND_IS(macro) : 0) |
	    (z->has_package ? KIND_IS(apk) : 0);
	bool claims_zip = item->nnames == 0;
	for (size_t i = 0; i < item->nnames; i++)
		claims_zip |= span_caseends(item->names[i], SPAN(".zip"));
	item->kinds |= kinds;
	if ((kinds & ~KIND_IS(macro)) != 0 && !claims_zip)
		item->kinds &= ~KIND_IS(zip);
}

void
zip_read(struct search *s, uint32_t part, struct span data, unsigned archive_depth)
{
	struct zip z = { .s = s, .data = data, .part = part, .depth = archive_depth };
	read_directory(&z);
	if (each(&z, ZIP_LOCAL, use_local))
		(void)each(&z, ZIP_ENTRY, use_entry);
	name_kinds(&z);
	mem_free(&z.agreed);
}
