/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/search.h"

#include "base/mem.h"
#include "filters/attachment_kinds.h"

#include <zlib.h>

/*
 * ZIP, read without believing its directory: programs differ about which of several directories counts, and some read the local
 * headers instead. Every local header and every entry of a directory, wherever it stands, is a member. What a member
 * unpacks to is counted against the limit of the message before it is looked at.
 */

enum { HEAD_ROOM = 4096, HEAD_INPUT = 64 * 1024, EXTRA_UNICODE_PATH = 0x7075, METHOD_STORED = 0, METHOD_DEFLATE = 8 };

struct member {
	uint16_t flags, method;
	uint32_t packed, size;
	struct span name, extra;
	struct span rest;            /* of the file, from its data on */
};

struct zip {
	struct search *s;
	uint32_t part;
	unsigned depth;
	uint64_t *seen;              /* hashes of the names of local headers */
	size_t nseen, cap;
	bool has_content_types, has_macros, has_odf, has_package;
};

static bool
take_local(struct span data, struct member *out)
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
	return !c.bad;
}

static bool
take_central(struct span data, struct member *out)
{
	struct cur c = cur_of(data);
	(void)cur_take(&c, 8);
	out->flags = cur_u16(&c);
	out->method = cur_u16(&c);
	(void)cur_take(&c, 8);
	out->packed = cur_u32(&c);
	out->size = cur_u32(&c);
	uint16_t name = cur_u16(&c), extra = cur_u16(&c);
	(void)cur_take(&c, 14);
	out->name = cur_take(&c, name);
	out->extra = cur_take(&c, extra);
	out->rest = SPAN_EMPTY;
	return !c.bad && name > 0;
}

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

/* The data of a member, at most max octets from at most max_in. Returns how many octets it took: some streams make nothing of many. */
static size_t
unpack(const struct member *m, size_t max_in, size_t max, struct buf *out)
{
	struct span in = m->packed > 0 && m->packed != UINT32_MAX && (m->flags & 8) == 0 ? span_head(m->rest, m->packed) : m->rest;
	if (m->method == METHOD_STORED) {
		buf_put(out, span_head(in, m->size < max && m->size > 0 ? m->size : max));
		return 0;
	}
	if (m->method != METHOD_DEFLATE)
		return 0;
	in = span_head(in, max_in);
	z_stream z = { .next_in = (Bytef *)(uintptr_t)in.p, .avail_in = (uInt)(in.n < UINT32_MAX ? in.n : UINT32_MAX) };
	if (inflateInit2(&z, -MAX_WBITS) != Z_OK)
		return 0;
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
		if (r == Z_BUF_ERROR)
			break;
	}
	size_t used = z.total_in;
	inflateEnd(&z);
	return used;
}

static void
look_into(struct zip *z, uint32_t at, const struct member *m)
{
	struct search *s = z->s;
	struct buf data;
	uint64_t left = s->limits.unpacked - s->unpacked;
	buf_init(&data, (size_t)left + HEAD_ROOM + 65536);
	size_t used = 0;
	unpack(m, HEAD_INPUT, HEAD_ROOM, &data);
	if (buf_len(&data) >= HEAD_ROOM && content_wants_whole(s, at, buf_span(&data))) {
		buf_reset(&data);
		used = unpack(m, SIZE_MAX, (size_t)left + 1, &data);
	}
	if (search_count_unpacked(s, buf_len(&data) + used))
		content_decoded(s, at, buf_span(&data), z->depth);
	if (m->size > s->parts[at].item.size && m->size != UINT32_MAX)
		s->parts[at].item.size = m->size;
	buf_fini(&data);
}

static bool
add_member(struct zip *z, const struct member *m)
{
	struct search *s = z->s;
	struct reading r;
	bool is_folder = m->name.n > 0 && m->name.p[m->name.n - 1] == '/' && m->size == 0;
	if (!search_count_member(s))
		return false;
	if (is_folder)
		return true;
	note_kind(z, m->name);
	reading_init(&r, &s->arena);
	reading_name(&r, m->name);
	add_unicode_path(&r, m->extra);
	uint32_t at = search_add(s, &r, ATTACHMENT_MEMBER, s->parts[z->part].owner);
	if (at == SEARCH_NOWHERE)
		return false;
	s->parts[at].item.size = m->size;
	if ((m->flags & 1) != 0) {
		s->parts[at].item.is_encrypted = true;
		s->parts[z->part].item.is_encrypted = true;
	} else if (m->rest.n > 0) {
		look_into(z, at, m);
	}
	return s->problem == NULL;
}

static void
remember(struct zip *z, struct span name)
{
	if (z->nseen == z->cap) {
		z->cap = z->cap > 0 ? z->cap * 2 : 16;
		z->seen = mem_reallocarray(z->seen, z->cap, sizeof *z->seen);
	}
	z->seen[z->nseen++] = span_hash(name);
}

static int
by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

/* Calls for every place of a signature; a member's data is searched, too: headers may hide there. */
static void
each(struct zip *z, struct span data, struct span signature, bool is_local)
{
	for (size_t pos = 0; pos < data.n;) {
		size_t at = span_find(span_from(data, pos), signature);
		if (at == SIZE_MAX)
			return;
		pos += at;
		struct member m = { .flags = 0 };
		bool ok = is_local ? take_local(span_from(data, pos), &m) : take_central(span_from(data, pos), &m);
		pos += signature.n;
		if (!ok)
			continue;
		if (is_local) {
			remember(z, m.name);
		} else {
			uint64_t hash = span_hash(m.name);
			if (z->nseen > 0 && bsearch(&hash, z->seen, z->nseen, sizeof hash, by_value) != NULL)
				continue;
		}
		if (!add_member(z, &m))
			return;
	}
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
	struct zip z = { .s = s, .part = part, .depth = archive_depth };
	each(&z, data, SPAN("PK\3\4"), true);
	if (z.nseen > 1)
		qsort(z.seen, z.nseen, sizeof *z.seen, by_value);
	each(&z, data, SPAN("PK\1\2"), false);
	name_kinds(&z);
	mem_free(&z.seen);
}
