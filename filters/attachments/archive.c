/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/search.h"

#include "filters/attachment_kinds.h"
#include "filters/attachments/decode.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

/*
 * All archives but ZIP, with libarchive: names, encryption, the first octets of each member, and members that are archives
 * themselves. It gets the file in small pieces, and what it has unpacked by then is counted: a bomb is noticed at the next piece.
 */

#define COMPRESSED (KIND_IS(gzip) | KIND_IS(bzip2) | KIND_IS(xz) | KIND_IS(lzma) | KIND_IS(zstd) | KIND_IS(lz4) | KIND_IS(compress))

enum { PIECE = 4096, HEAD_ROOM = 4096 };

struct source {
	struct archive *a;
	struct span data;
	size_t pos;
	uint64_t limit;              /* of unpacked octets */
	bool is_over;
};

static la_ssize_t
on_read(struct archive *a, void *arg, const void **out)
{
	struct source *src = arg;
	(void)a;
	if (archive_filter_bytes(src->a, 0) > 0 && (uint64_t)archive_filter_bytes(src->a, 0) > src->limit + src->data.n) {
		src->is_over = true;
		archive_set_error(src->a, EFBIG, "too large");
		return -1;
	}
	struct span piece = span_head(span_from(src->data, src->pos), PIECE);
	*out = piece.p;
	src->pos += piece.n;
	return (la_ssize_t)piece.n;
}

static la_int64_t
on_skip(struct archive *a, void *arg, la_int64_t want)
{
	struct source *src = arg;
	size_t left = src->data.n - src->pos, n = want > 0 && (uint64_t)want < left ? (size_t)want : want > 0 ? left : 0;
	(void)a;
	src->pos += n;
	return (la_int64_t)n;
}

static la_int64_t
on_seek(struct archive *a, void *arg, la_int64_t offset, int whence)
{
	struct source *src = arg;
	la_int64_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (la_int64_t)src->pos : (la_int64_t)src->data.n;
	(void)a;
	if (offset < -base || offset > (la_int64_t)src->data.n - base)
		return ARCHIVE_FATAL;
	src->pos = (size_t)(base + offset);
	return (la_int64_t)src->pos;
}

/* Only what runs inside the library: some filters of "all" start programs. */
static void
support(struct archive *a, uint64_t kinds)
{
	archive_read_support_filter_gzip(a);
	archive_read_support_filter_bzip2(a);
	archive_read_support_filter_xz(a);
	archive_read_support_filter_lzma(a);
	archive_read_support_filter_lzip(a);
	archive_read_support_filter_zstd(a);
	archive_read_support_filter_lz4(a);
	archive_read_support_filter_compress(a);
	archive_read_support_filter_rpm(a);
	archive_read_support_format_tar(a);
	archive_read_support_format_cpio(a);
	archive_read_support_format_ar(a);
	archive_read_support_format_rar(a);
	archive_read_support_format_rar5(a);
	archive_read_support_format_7zip(a);
	archive_read_support_format_cab(a);
	archive_read_support_format_lha(a);
	archive_read_support_format_iso9660(a);
	archive_read_support_format_xar(a);
	if ((kinds & COMPRESSED) != 0)
		archive_read_support_format_raw(a); /* one file without a name */
}

/* A compressed file is called as the archive without its last extension, and as its header says. */
static void
name_single(struct search *s, uint32_t part, struct span data, struct reading *r)
{
	const struct attachment_item *item = &s->parts[part].item;
	for (size_t i = 0; i < item->nnames; i++) {
		size_t dot = span_rchr(item->names[i], '.');
		reading_name(r, span_head(item->names[i], dot));
	}
	struct cur c = cur_of(data);
	if (cur_be16(&c) != 0x1f8b)
		return;
	(void)cur_u8(&c);
	unsigned flags = cur_u8(&c);
	(void)cur_take(&c, 6);
	if ((flags & 4) != 0)
		(void)cur_take(&c, cur_u16(&c));
	struct span rest = span_of(c.p, cur_left(&c));
	if (!c.bad && (flags & 8) != 0)
		reading_name(r, span_head(rest, span_chr(rest, 0)));
}

static void
name_entry(struct archive_entry *entry, struct reading *r)
{
	const char *name = archive_entry_pathname_utf8(entry);
	if (name == NULL)
		name = archive_entry_pathname(entry);
	if (name != NULL)
		reading_name(r, span_str(name));
	const char *link = archive_entry_hardlink(entry);
	if (link != NULL)
		reading_name(r, span_str(link));
}

/* false: the archive cannot be read further. */
static bool
read_data(struct search *s, uint32_t at, struct source *src, unsigned depth)
{
	struct buf data;
	uint64_t left = s->limits.unpacked - s->unpacked;
	size_t want = HEAD_ROOM;
	la_ssize_t n = 0;
	buf_init(&data, (size_t)left + 2 * HEAD_ROOM + 65536);
	while (buf_len(&data) < want) {
		unsigned char *p = buf_reserve(&data, 32768);
		if (p == NULL)
			break;
		n = archive_read_data(src->a, p, 32768);
		if (n <= 0)
			break;
		buf_commit(&data, (size_t)n);
		if (want == HEAD_ROOM && buf_len(&data) >= HEAD_ROOM && content_wants_whole(s, at, buf_span(&data)))
			want = (size_t)left + 1;
	}
	if (search_count_unpacked(s, buf_len(&data)) && buf_len(&data) > 0)
		content_decoded(s, at, buf_span(&data), depth);
	buf_fini(&data);
	if (n < ARCHIVE_WARN && !src->is_over && archive_read_has_encrypted_entries(src->a) != 1)
		search_problem(s, "a member of an archive cannot be read");
	return n >= ARCHIVE_FAILED;
}

static bool
read_entry(struct search *s, uint32_t part, struct source *src, struct archive_entry *entry, unsigned depth)
{
	bool is_single = archive_format(src->a) == ARCHIVE_FORMAT_RAW;
	if (!search_count_member(s))
		return false;
	if (!is_single && archive_entry_filetype(entry) == AE_IFDIR)
		return true;
	struct reading r;
	reading_init(&r, &s->arena);
	if (is_single)
		name_single(s, part, src->data, &r);
	else
		name_entry(entry, &r);
	if (r.nnames == 0 && !is_single)
		search_problem(s, "an archive has names that cannot be read");
	uint32_t at = search_add(s, &r, ATTACHMENT_MEMBER, s->parts[part].owner);
	if (at == SEARCH_NOWHERE)
		return false;
	if (archive_entry_size_is_set(entry) && archive_entry_size(entry) > 0)
		s->parts[at].item.size = (uint64_t)archive_entry_size(entry);
	if (archive_entry_is_encrypted(entry)) {
		s->parts[at].item.is_encrypted = s->parts[part].item.is_encrypted = true;
		return true;
	}
	return read_data(s, at, src, depth);
}

/* What is taken for an empty archive may be one file all the same: zeros are an archive without members for some formats. */
static void
add_single(struct search *s, uint32_t part, struct span data)
{
	struct reading r;
	reading_init(&r, &s->arena);
	name_single(s, part, data, &r);
	if (search_count_member(s))
		(void)search_add(s, &r, ATTACHMENT_MEMBER, s->parts[part].owner);
}

/* false: there is no memory, and the search has a problem. */
static bool
begin(struct search *s, struct source *src)
{
	src->a = archive_read_new();
	if (src->a != NULL)
		return true;
	search_problem(s, "no memory for an archive");
	return false;
}

static int
open_source(struct source *src)
{
	archive_read_set_read_callback(src->a, on_read);
	archive_read_set_skip_callback(src->a, on_skip);
	archive_read_set_seek_callback(src->a, on_seek);
	archive_read_set_callback_data(src->a, src);
	return archive_read_open1(src->a);
}

void
archive_zip_member(struct search *s, uint32_t member, struct span data, unsigned archive_depth)
{
	struct source src = { .data = data, .limit = s->limits.unpacked };
	struct archive_entry *entry;
	if (!begin(s, &src))
		return;
	archive_read_support_format_zip_streamable(src.a);
	bool ok = open_source(&src) >= ARCHIVE_WARN && archive_read_next_header(src.a, &entry) >= ARCHIVE_WARN &&
	    read_data(s, member, &src, archive_depth);
	if (src.is_over)
		search_problem(s, "archives are too large when unpacked");
	else if (!ok)
		search_problem(s, "a member of an archive cannot be read");
	archive_read_free(src.a);
}

void
archive_read(struct search *s, uint32_t part, struct span data, unsigned archive_depth)
{
	struct source src = { .data = data, .limit = s->limits.unpacked };
	struct archive_entry *entry;
	if (!begin(s, &src))
		return;
	support(src.a, s->parts[part].item.kinds);
	int r = open_source(&src);
	bool more = r >= ARCHIVE_WARN;
	size_t before = s->nparts;
	while (more) {
		r = archive_read_next_header(src.a, &entry);
		more = r >= ARCHIVE_WARN && r != ARCHIVE_EOF && read_entry(s, part, &src, entry, archive_depth);
	}
	if (s->nparts == before && (s->parts[part].item.kinds & COMPRESSED) != 0)
		add_single(s, part, data);
	if (archive_format(src.a) != 0 && archive_read_has_encrypted_entries(src.a) == 1) /* without a format it crashes */
		s->parts[part].item.is_encrypted = true;
	if (src.is_over)
		search_problem(s, "archives are too large when unpacked");
	else if (r < ARCHIVE_WARN && !s->parts[part].item.is_encrypted)
		search_problem(s, "an archive cannot be read");
	archive_read_free(src.a);
}
