/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/search.h"

#include "filters/attachment_kinds.h"
#include "filters/attachments/decode.h"

enum { ZIP_TAIL = 65535 + 22, ZIP_TAIL_RECORD = 22 };

#define ARCHIVES                                                                                                                           \
	(KIND_IS(rar) | KIND_IS(sevenzip) | KIND_IS(gzip) | KIND_IS(bzip2) | KIND_IS(xz) | KIND_IS(lzma) | KIND_IS(zstd) | KIND_IS(lz4) |        \
	    KIND_IS(compress) | KIND_IS(tar) | KIND_IS(cab) | KIND_IS(lha) | KIND_IS(cpio) | KIND_IS(ar) | KIND_IS(xar) | KIND_IS(iso))

static bool
has_extension(const struct attachment_item *item, const char *ext)
{
	size_t n = strlen(ext);
	for (size_t i = 0; i < item->nnames; i++)
		if (span_caseends(item->names[i], span_of(ext, n)))
			return true;
	return false;
}

/* An archive is found from its end: anything may stand before it. Behind it only what some programs look past. */
static bool
has_zip_end(struct span data, bool is_called_zip)
{
	struct span tail = data.n > ZIP_TAIL && !is_called_zip ? span_from(data, data.n - ZIP_TAIL) : data;
	return tail.n >= ZIP_TAIL_RECORD && span_find(tail, SPAN("PK\5\6")) != SIZE_MAX;
}

bool
content_wants_whole(const struct search *s, uint32_t part, struct span head)
{
	const struct attachment_item *item = &s->parts[part].item;
	uint64_t kinds = kinds_of(head, head.n);
	if ((kinds & (ARCHIVES | KIND_IS(zip) | KIND_IS(tnef) | KIND_IS(ole) | KIND_IS(pdf) | KIND_IS(mail) | KIND_IS(xml))) != 0)
		return true;
	return has_extension(item, ".zip") || has_extension(item, ".iso") || has_extension(item, ".eml") || has_extension(item, ".docm") ||
	    has_extension(item, ".img");
}

void
content_look(struct search *s, uint32_t part, struct span data, unsigned archive_depth)
{
	bool is_encrypted;
	uint64_t kinds = kinds_of(span_head(data, KIND_HEAD_ISO), data.n);
	if (has_zip_end(data, has_extension(&s->parts[part].item, ".zip")))
		kinds |= KIND_IS(zip);
	signed_read(s, part, data, archive_depth);
	kinds = kinds_of_whole(data, kinds, &is_encrypted);
	struct attachment_item *item = &s->parts[part].item;
	item->kinds |= kinds;
	item->is_encrypted |= is_encrypted;
	if (data.n > item->size)
		item->size = data.n;
	if ((kinds & (ARCHIVES | KIND_IS(zip) | KIND_IS(tnef))) == 0)
		return;
	if (archive_depth >= s->limits.archive_depth) {
		search_problem(s, "archives are nested too deep");
		return;
	}
	if ((kinds & KIND_IS(zip)) != 0)
		zip_read(s, part, data, archive_depth + 1);
	if ((kinds & ARCHIVES) != 0)
		archive_read(s, part, data, archive_depth + 1);
	if ((kinds & KIND_IS(tnef)) != 0)
		tnef_read(s, part, data, archive_depth + 1);
}

static bool
has_type(const struct search_part *p, const char *prefix)
{
	for (size_t i = 0; i < p->item.ntypes; i++)
		if (span_starts(p->item.types[i], span_str(prefix)))
			return true;
	return false;
}

/* An attached message in whatever form: by its name, its type, or how it begins. */
static bool
is_mail(const struct search_part *p)
{
	return (p->item.kinds & KIND_IS(mail)) != 0 || p->is_container || has_extension(&p->item, ".eml") || has_extension(&p->item, ".mht") ||
	    has_extension(&p->item, ".mhtml") || has_type(p, "message/") || has_type(p, "multipart");
}

void
content_decoded(struct search *s, uint32_t part, struct span data, unsigned archive_depth)
{
	content_look(s, part, data, archive_depth);
	uint32_t owner = s->parts[part].owner;
	if (is_mail(&s->parts[part]))
		search_message(s, data, owner, has_type(&s->parts[part], "multipart"));
	else
		text_files(s, data, SIZE_MAX, owner);
}

static void
look_at(struct search *s, uint32_t part, struct span raw)
{
	struct search_part *p = &s->parts[part];
	unsigned ctes = p->ctes != 0 ? p->ctes : DECODE_NONE;
	bool is_container = p->is_container;
	if ((ctes & DECODE_BASE64) == 0 && decode_looks_base64(raw))
		ctes |= DECODE_BASE64;
	if ((ctes & (DECODE_BASE64 | DECODE_QP)) != 0) {
		struct buf decoded;
		buf_init(&decoded, raw.n + 16);
		for (unsigned cte = DECODE_BASE64; cte <= DECODE_QP; cte <<= 1) {
			if ((ctes & cte) == 0)
				continue;
			buf_reset(&decoded);
			decode_one((enum decode_cte)cte, raw, &decoded, raw.n);
			content_decoded(s, part, buf_span(&decoded), 0);
		}
		buf_fini(&decoded);
	}
	if (is_container)
		return; /* its parts are read where they stand */
	if ((ctes & ~(unsigned)(DECODE_BASE64 | DECODE_QP)) != 0) {
		content_look(s, part, raw, 0);
	} else {
		p = &s->parts[part];
		p->item.kinds |= kinds_of(span_head(raw, KIND_HEAD), raw.n);
	}
}

void
content_part(struct search *s, struct span m, uint32_t part)
{
	struct search_part p = s->parts[part];
	if (p.is_text_file || p.item.where != ATTACHMENT_PART || p.end < p.body)
		return;
	look_at(s, part, span_head(span_from(m, p.body), p.end - p.body));
	if (p.body_late != p.body && p.body_late <= p.end)
		look_at(s, part, span_head(span_from(m, p.body_late), p.end - p.body_late));
	if (p.end_tree > p.end && p.end_tree <= m.n)
		look_at(s, part, span_head(span_from(m, p.body), p.end_tree - p.body));
}
