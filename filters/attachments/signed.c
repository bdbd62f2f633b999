/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/signed_content.h"

#include "filters/attachments/search.h"

/* A message, not a file. */
static bool
is_entity(const struct search *s, uint32_t part, struct span content)
{
	const struct attachment_item *item = &s->parts[part].item;
	bool is_declared = false;
	for (size_t i = 0; i < item->ntypes; i++)
		is_declared |= span_find(item->types[i], SPAN("pkcs7-mime")) != SIZE_MAX;
	return is_declared || span_casestarts(content, SPAN("content-"));
}

/* "contract.pdf.p7m" is contract.pdf. */
static void
name_content(struct search *s, uint32_t part, struct reading *r)
{
	const struct attachment_item *item = &s->parts[part].item;
	for (size_t i = 0; i < item->nnames; i++)
		if (span_caseends(item->names[i], SPAN(".p7m")))
			reading_name(r, span_head(item->names[i], item->names[i].n - 4));
}

void
signed_read(struct search *s, uint32_t part, struct span data, unsigned archive_depth)
{
	struct reading r;
	struct buf content;
	buf_init(&content, data.n + 1);
	enum rc rc = signed_content(data, &content);
	if (rc == RC_PERM)
		search_problem(s, "a signed message cannot be read");
	if (rc == RC_OK && archive_depth >= s->limits.archive_depth)
		search_problem(s, "archives are nested too deep");
	else if (rc == RC_OK && search_count_member(s) && search_count_unpacked(s, buf_len(&content))) {
		reading_init(&r, &s->arena);
		name_content(s, part, &r);
		uint32_t at = search_add(s, &r, ATTACHMENT_MEMBER, s->parts[part].owner);
		struct span inner = buf_span(&content);
		if (at != SEARCH_NOWHERE)
			content_decoded(s, at, inner, archive_depth + 1);
		if (at != SEARCH_NOWHERE && is_entity(s, part, inner))
			search_message(s, inner, s->parts[at].owner, true);
	}
	buf_fini(&content);
}
