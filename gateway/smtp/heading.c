/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The header of a message: at MAIL, whose headers they are; when the header is complete and something in it has to
 * change, the change, before anything of the content leaves this process. The body streams on behind.
 */
#include "smtp/session.h"

#include "policy/header_rules.h"

enum { ARENA_MAX = 16 * 1024 * 1024, GROWTH = 4 }; /* rows, and texts of what changed: GROWTH times the header */

static void
on_maps(struct op *op)
{
	sess_resume(container_of(op, struct tx, header_maps.op)->sess);
}

enum step
data_wait_for_maps(struct sess *s)
{
	struct tx *tx = s->tx;
	if (!tx->has_header_maps)
		map_wait_init(&tx->header_maps, &s->ops, on_maps);
	tx->has_header_maps = true;
	map_wait_start(&tx->header_maps);
	return STEP_AGAIN;
}

enum step
mail_headers(struct sess *s)
{
	struct err e;
	map_forget();
	if (header_rules_context(s->svc->headers, &s->facts, &s->tx->headers, &e) == RC_OK)
		return STEP_NEXT;
	if (map_asked())
		return data_wait_for_maps(s);
	log_warn(&s->log, "local_header_rewrite_clients: %s", e.why);
	sess_refuse(s, REPLY_LOOKUP_ERROR);
	sess_end_tx(s);
	return STEP_END;
}

void
data_front(struct sess *s, struct buf *b)
{
	struct tx *tx = s->tx;
	for (size_t i = 0; i < tx->prepend.n; i++) {
		buf_put(b, tx->prepend.at[i]);
		buf_put(b, SPAN("\r\n"));
	}
	if (tx->discard) /* nobody will see it */
		return;
	const struct header_watch *watch = header_rules_watch(s->svc->headers);
	/* what is above the client's own header is not walked over: only a closer look sees it */
	bool always = tx->prepend.n > 0 || header_watched(watch, SPAN("Received")) || header_rules_always(s->svc->headers, tx->headers) ||
	    (tx->checking != NULL && s->svc->check.wants_mime);
	content_watch(&tx->content, watch, always);
}

/* The first Message-Id, for the log. */
static void
keep_message_id(struct tx *tx, const struct headers *h)
{
	size_t at = headers_find(h, SPAN("Message-Id"), 1);
	if (at != SIZE_MAX)
		tx->message_id = arena_span(&tx->arena, span_head(span_trim(header_value(&h->row[at])), HEADER_ID_MAX));
}

static enum rc
edit(struct sess *s, struct span old, struct arena *a, struct buf *out, bool *changed_out, struct err *e)
{
	struct tx *tx = s->tx;
	const struct header_message m = { .context = tx->headers, .qid = tx->qid, .sender = tx->env_sender, .arrival = tx->arrival };
	struct headers h;
	if (headers_parse(&h, old, a) != RC_OK)
		return err_set(e, RC_PERM, "the header cannot be taken apart");
	/* the walker goes on to the empty line, if there is one */
	struct span whole = span_head(buf_span(&tx->content.out), (size_t)tx->content.body_at);
	enum rc rc = checking_header(s, whole, whole.n > old.n, &h, e);
	if (tx->content.fault != CONTENT_FINE)
		return RC_OK;
	if (rc == RC_OK)
		rc = header_rules_apply(s->svc->headers, &m, &h, e);
	if (rc != RC_OK)
		return rc;
	keep_message_id(tx, &h);
	*changed_out = h.is_changed;
	if (h.is_changed)
		headers_write(&h, out);
	return out->over ? err_set(e, RC_PERM, "the header grows too long") : RC_OK;
}

/* What came of the body, after its header or behind that. */
enum step
data_check_body(struct sess *s, bool at_end)
{
	struct content *c = &s->tx->content;
	struct err e;
	if (!c->is_checked || c->fault != CONTENT_FINE)
		return STEP_NEXT;
	map_forget();
	if (checking_body(s, at_end, &e) != RC_OK) {
		if (map_asked()) {
			if (s->tx->has_header_maps) /* what was answered is dealt with: a body may have a million lines */
				map_wait_fini(&s->tx->header_maps);
			s->tx->has_header_maps = false;
			checking_ask_ahead(s);
			return data_wait_for_maps(s);
		}
		sess_warn(s, "%s", e.why);
		content_fail(c, CONTENT_NOT_NOW);
	}
	tx_account(s->tx);
	return STEP_NEXT;
}

enum step
data_edit_header(struct sess *s)
{
	struct content *c = &s->tx->content;
	struct span old = content_header(c);
	struct arena arena;
	struct buf out;
	struct err e;
	bool changed = false;
	if (!content_wants_edit(c))
		return STEP_NEXT;
	if (s->tx->discard) { /* nobody will see it: no table need be asked */
		content_settle_header(c, old);
		return STEP_NEXT;
	}
	map_forget();
	arena_init(&arena, ARENA_MAX + GROWTH * old.n);
	buf_init(&out, 64 * 1024 + GROWTH * old.n);
	enum rc rc = edit(s, old, &arena, &out, &changed, &e);
	if (c->fault != CONTENT_FINE) {
		rc = RC_OK; /* a check refused it */
	} else if (rc == RC_OK) {
		content_settle_header(c, changed ? buf_span(&out) : old);
		if (s->tx->checking != NULL && s->svc->check.wants_mime && c->fault == CONTENT_FINE)
			content_check_body(c);
	} else if (rc == RC_PERM) {
		log_warn(&s->log, "%s: %s", "header refused", e.why);
		content_fail(c, CONTENT_HEADER_TOO_BIG);
	} else if (!map_asked()) {
		log_warn(&s->log, "header rewriting: %s", e.why);
		content_fail(c, CONTENT_NOT_NOW);
	}
	buf_fini(&out);
	arena_fini(&arena);
	if (rc == RC_TEMP && c->fault == CONTENT_FINE)
		return data_wait_for_maps(s);
	tx_account(s->tx);
	return STEP_NEXT;
}

static enum step
header_settled(struct sess *s)
{
	(void)s;
	return STEP_END;
}

const struct step_row header_steps[] = {
	{ "header_edit", data_edit_header },
	{ "header_settled", header_settled },
};
