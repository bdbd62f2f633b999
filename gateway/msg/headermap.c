/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/headermap.h"

enum { SCRATCH_MAX = 4 * 1024 * 1024 }; /* what one header is taken apart into */

struct map {
	size_t max_tokens;
	header_map_fn *fn;
	void *arg;
	struct arena arena;      /* of one header */
	struct buf scratch, text;
};

/* Asks for one address. */
static enum rc
ask(struct map *m, unsigned flags, struct mailbox *box, struct err *e)
{
	struct span now = SPAN_EMPTY;
	buf_reset(&m->scratch);
	enum rc rc = m->fn(m->arg, flags, box, &m->scratch, &now, e);
	if (rc != RC_OK || now.p == NULL)
		return rc;
	if (!mailbox_can_write(now))
		return err_set(e, RC_TEMP, "what an address in a header would become is no address");
	box->becomes = arena_span(&m->arena, now);
	return m->arena.over ? err_set(e, RC_PERM, "a header grows too long") : RC_OK;
}

static enum rc
map_one(struct map *m, struct headers *h, size_t at, unsigned flags, struct err *e)
{
	struct mailboxes boxes;
	enum rc rc = mailboxes_parse(header_value(&h->row[at]), m->max_tokens, &m->arena, &boxes);
	if (rc == RC_NONE)
		return RC_OK; /* not understood: better left alone */
	if (rc != RC_OK)
		return err_set(e, RC_PERM, "too many addresses in one header");
	bool changes = false;
	for (size_t i = 0; i < boxes.n && rc != RC_PERM; i++) {
		if (boxes.item[i].addr.n == 0)
			continue;
		enum rc one = ask(m, flags, &boxes.item[i], e);
		rc = one != RC_OK && rc != RC_TEMP ? one : rc;
		changes |= boxes.item[i].becomes.p != NULL;
	}
	if (rc != RC_OK || !changes)
		return rc;
	buf_reset(&m->text);
	mailboxes_write(&m->text, header_name(&h->row[at]), &boxes);
	struct span kept = m->text.over ? SPAN_EMPTY : arena_span(h->arena, buf_span(&m->text));
	if (kept.n == 0 || headers_replace(h, at, kept) != RC_OK)
		return err_set(e, RC_PERM, "a header grows too long");
	return RC_OK;
}

enum rc
headers_map(struct headers *h, size_t max_tokens, header_map_fn *fn, void *arg, struct err *e)
{
	struct map m = { .max_tokens = max_tokens, .fn = fn, .arg = arg };
	enum rc rc = RC_OK;
	arena_init(&m.arena, SCRATCH_MAX);
	buf_init(&m.scratch, SCRATCH_MAX);
	buf_init(&m.text, SCRATCH_MAX);
	for (size_t i = 0; i < h->n; i++) {
		unsigned flags = header_flags(h->row[i].id);
		struct err why = { .why = "" };
		if (h->row[i].is_gone || (flags & (HN_SENDER | HN_RCPT)) == 0)
			continue;
		enum rc one = map_one(&m, h, i, flags, &why);
		if (one != RC_OK && rc != RC_TEMP) {
			rc = one;
			if (e != NULL)
				*e = why;
		}
		arena_fini(&m.arena);
	}
	buf_fini(&m.scratch);
	buf_fini(&m.text);
	return rc;
}
