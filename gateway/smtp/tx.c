/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/tx.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "ipc/msgs.h"
#include "msg/xtext.h"
#include "smtp/session.h"

enum { TX_MAGIC = 0x7a115ac7, TX_ARENA_MAX = 2 * TX_ENVELOPE_MAX, FORWARD_VALUE_MAX = 255, FORWARD_TEXT_MAX = 2048 };

_Static_assert((int)DSN_NEVER == (int)NOTIFY_NEVER && (int)DSN_SUCCESS == (int)NOTIFY_SUCCESS && (int)DSN_FAILURE == (int)NOTIFY_FAILURE &&
        (int)DSN_DELAY == (int)NOTIFY_DELAY,
    "one numbering of NOTIFY");

struct tx *
tx_begin(struct edge *edge, struct sess *sess)
{
	struct tx *tx = mem_alloc(sizeof *tx);
	/* content and call are large and not used by most of the life of a session: their own init does it */
	memset(tx, 0, offsetof(struct tx, content));
	tx->magic = TX_MAGIC;
	tx->edge = edge;
	tx->sess = sess;
	arena_init(&tx->arena, TX_ARENA_MAX);
	tx->arrival = clock_wall();
	tx->submitted = tx->asks_draft = false;
	tx->checking = NULL;
	tx->proxied = NULL;
	tx->draft = 0;
	tx->has_call = false;
	metric_add(M_smtpd_transactions, 1);
	return tx;
}

bool
tx_draft_is_lost(const struct tx *tx)
{
	return tx->draft != 0 && tx->draft_generation != tx->edge->queue_generation;
}

void
tx_account(struct tx *tx)
{
	size_t now = tx->content.out.cap;
	tx->edge->content_bytes = tx->edge->content_bytes - tx->held + now;
	tx->held = now;
	metric_set(M_smtpd_content_bytes, (int64_t)tx->edge->content_bytes);
}

void
tx_drop_draft(struct tx *tx)
{
	if (tx->draft == 0)
		return;
	metric_add(M_smtpd_drafts, -1);
	if (!tx->submitted && !tx_draft_is_lost(tx))
		edge_drop_draft(tx->edge, tx->draft, 0);
	tx->draft = 0;
}

static void
on_call(struct op *op)
{
	sess_resume(container_of(op, struct tx, call.op)->sess);
}

/* A draft that it asked for and that nobody has taken goes back, whether its number came or not: the owner of the operations may
 * have cancelled them before. */
static void
end_call(struct tx *tx)
{
	if (!tx->has_call)
		return;
	if (tx->asks_draft && tx->draft_generation == tx->edge->queue_generation)
		edge_drop_draft(tx->edge, 0, tx->call.id);
	tx->asks_draft = false;
	ipc_call_fini(&tx->call);
	tx->has_call = false;
}

struct ipc_call *
tx_new_call(struct tx *tx)
{
	end_call(tx);
	ipc_call_init(&tx->call, &tx->sess->ops, on_call);
	tx->has_call = true;
	return &tx->call;
}

void
tx_end(struct tx **tp)
{
	struct tx *tx = *tp;
	*tp = NULL;
	if (tx == NULL)
		return;
	CHECK(tx, TX_MAGIC);
	end_call(tx);
	tx_proxied_free(&tx->proxied);
	if (tx->has_header_maps)
		map_wait_fini(&tx->header_maps);
	tx_drop_draft(tx);
	if (tx->has_content) {
		content_fini(&tx->content);
		checking_free(&tx->checking);
		tx_account(tx);
	}
	holding_fini(&tx->holding);
	map_wait_fini(&tx->maps);
	arena_fini(&tx->rewritten);
	arena_fini(&tx->arena);
	mem_free(&tx->rcpts);
	mem_free(&tx->rcpt_hash);
	metric_add(M_smtpd_transactions, -1);
	mem_poison(tx, offsetof(struct tx, content));
	mem_free(&tx);
}

bool
tx_add_rcpt(struct tx *tx, const struct env_rcpt *r)
{
	tx->nsaid++;
	uint64_t hash = span_casehash(r->addr) + r->notify;
	for (uint32_t i = 0; i < tx->nrcpt; i++) {
		const struct env_rcpt *old = &tx->rcpts[i];
		if (tx->rcpt_hash[i] == hash && old->held == r->held && span_caseeq(old->addr, r->addr) && span_caseeq(old->orcpt, r->orcpt) && old->notify == r->notify &&
		    span_caseeq(old->orig, r->orig))
			return true;
	}
	size_t cost = r->addr.n + r->orig.n + r->orcpt.n + TX_RCPT_EXTRA;
	if (tx->arena.over || cost > TX_ENVELOPE_MAX - tx->envelope_bytes)
		return false;
	tx->envelope_bytes += cost;
	if (tx->nrcpt == tx->cap_rcpt) {
		tx->cap_rcpt = tx->cap_rcpt > 0 ? tx->cap_rcpt * 4 : 1;
		tx->rcpts = mem_reallocarray(tx->rcpts, tx->cap_rcpt, sizeof *tx->rcpts);
		tx->rcpt_hash = mem_reallocarray(tx->rcpt_hash, tx->cap_rcpt, sizeof *tx->rcpt_hash);
	}
	tx->rcpt_hash[tx->nrcpt] = hash;
	tx->rcpts[tx->nrcpt++] = *r;
	return true;
}

static void
remove_text(struct tx_texts *l, struct span text)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < l->n; i++)
		if (!span_eq(l->at[i], text))
			l->at[n++] = l->at[i];
	l->n = n;
}

void
tx_delete_rcpt(struct tx *tx, struct span given)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < tx->nrcpt; i++) {
		const struct env_rcpt *r = &tx->rcpts[i];
		if (span_eq(r->orig.n > 0 ? r->orig : r->addr, given))
			continue;
		tx->rcpt_hash[n] = tx->rcpt_hash[i];
		tx->rcpts[n++] = *r;
	}
	tx->nrcpt = n;
	remove_text(&tx->bcc, given);
	remove_text(&tx->copies, given);
}

static bool
add_text(struct tx *tx, struct tx_texts *l, struct span text)
{
	if (l->n >= TX_EDITS_MAX)
		return false;
	if (l->n == l->cap) {
		uint32_t cap = l->cap > 0 ? l->cap * 4 : 4;
		struct span *more = arena_alloc(&tx->arena, cap * sizeof *more);
		if (more == NULL)
			return false;
		if (l->n > 0)
			memcpy(more, l->at, l->n * sizeof *more);
		l->at = more;
		l->cap = cap;
	}
	text = arena_span(&tx->arena, text);
	if (text.n == 0)
		return false;
	l->at[l->n++] = text;
	return true;
}

/* An address that is not there yet. */
static bool
add_address(struct tx *tx, struct tx_texts *l, struct span addr)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (span_caseeq(l->at[i], addr))
			return true;
	return add_text(tx, l, addr);
}

static bool
set_text(struct tx *tx, struct span *slot, struct span text)
{
	if (span_eq(*slot, text)) /* the same rule at every recipient */
		return true;
	text = arena_span(&tx->arena, text);
	if (text.n == 0)
		return false;
	*slot = text;
	return true;
}

/* One for each recipient: how many there are is up to the client. */
static bool
add_header(struct tx *tx, struct span text)
{
	tx->prepend_bytes += text.n + 2;
	tx->prepend_over |= tx->prepend_bytes > tx->sess->svc->content.header_total;
	return tx->prepend_over || add_text(tx, &tx->prepend, text);
}

bool
tx_edit(struct tx *tx, const struct verdict_edit *edit)
{
	switch (edit->kind) {
	case EDIT_PREPEND:
		return add_header(tx, edit->text);
	case EDIT_REDIRECT:
		return set_text(tx, &tx->redirect, edit->text);
	case EDIT_BCC:
		return add_address(tx, &tx->bcc, edit->text);
	case EDIT_COPY:
		return add_address(tx, &tx->copies, edit->text);
	case EDIT_FILTER:
		return set_text(tx, &tx->filter, edit->text);
	}
	return true;
}

void
tx_name(struct tx *tx, uint32_t serial)
{
	struct spool_id id = spool_id_next(serial);
	tx->qid = span_of(tx->qid_text, spool_id_text(&id, tx->qid_text));
}

static uint32_t
marks_of(const struct tx *tx)
{
	uint32_t f = 0;
	f |= tx->params.is_8bitmime ? (uint32_t)MSGF_8BITMIME : 0;
	f |= tx->params.is_smtputf8 ? (uint32_t)MSGF_SMTPUTF8 : 0;
	f |= tx->params.ret == DSN_RET_FULL ? (uint32_t)MSGF_RET_FULL : tx->params.ret == DSN_RET_HDRS ? (uint32_t)MSGF_RET_HDRS : 0;
	f |= tx->hold ? (uint32_t)MSGF_HOLD : 0;
	return f;
}

static void
put_attribute(struct buf *b, const char *name, struct span value)
{
	if (value.n == 0 || span_eq_str(value, "unknown"))
		return;
	if (buf_len(b) > 0)
		buf_putc(b, ' ');
	buf_puts(b, name);
	xtext_encode(b, span_head(value, FORWARD_VALUE_MAX));
}

/* XFORWARD attributes for a hub that wants them: of who spoke to the host in front of us, if it said, else of our client. */
void
tx_put_forward(const struct tx *tx, struct buf *b)
{
	const struct facts *f = &tx->sess->facts;
	const struct forwarded *x = f->forward;
	char port[8];
	snprintf(port, sizeof port, "%u", f->client_port);
	struct span addr = x != NULL ? x->addr : f->client_addr;
	put_attribute(b, "NAME=", x != NULL ? x->name : f->client_name);
	put_attribute(b, span_chr(addr, ':') != SIZE_MAX ? "ADDR=IPV6:" : "ADDR=", addr);
	put_attribute(b, "PORT=", x != NULL ? x->port : f->client_port != 0 ? span_str(port) : SPAN_EMPTY);
	put_attribute(b, "PROTO=", x != NULL ? x->proto : f->is_esmtp ? SPAN("ESMTP") : SPAN("SMTP"));
	put_attribute(b, "HELO=", x != NULL ? x->helo : f->has_helo ? f->helo : SPAN_EMPTY);
	put_attribute(b, "IDENT=", x != NULL && x->ident.n > 0 ? x->ident : tx->qid);
	bool is_local = x != NULL && x->source != FORWARD_NO_SOURCE ? x->source == FORWARD_LOCAL : tx->headers == HEADERS_LOCAL;
	put_attribute(b, "SOURCE=", is_local ? SPAN("LOCAL") : SPAN("REMOTE"));
}

/* flags: MSGF_*; m: all but the envelope. */
static void
write_submit(struct tx *tx, struct span client, uint32_t flags, struct msg_submit *m, struct buf *out)
{
	struct buf env_buf, forward, held;
	const struct edge_service *svc = tx->sess->svc;
	buf_init(&env_buf, IPC_FRAME_MAX);
	buf_init(&forward, FORWARD_TEXT_MAX);
	if (svc->wants_forward)
		tx_put_forward(tx, &forward);
	buf_init(&held, HELD_BYTES_MAX);
	if (tx_is_held(tx)) {
		for (uint32_t i = 0; tx->holding.all && i < tx->nrcpt; i++)
			tx->rcpts[i].held = true;
		holding_write(tx->sess, &held);
	}
	const struct envelope env = {
		.arrival = tx->arrival, .flags = flags, .sender = tx->env_sender, .envid = tx->params.envid,
		.client = client, .filter = tx->no_filter ? SPAN_EMPTY : tx->filter.n > 0 ? tx->filter : span_str(svc->p->p_content_filter),
		.forward = forward.over ? SPAN_EMPTY : buf_span(&forward), .held = buf_span(&held), .nrcpt = tx->nrcpt, .rcpt = tx->rcpts,
	};
	envelope_put(&env_buf, &env);
	BUG_ON(env_buf.over);
	m->envelope = buf_span(&env_buf);
	msg_submit_put(out, m);
	buf_fini(&env_buf);
	buf_fini(&forward);
	buf_fini(&held);
}

void
tx_write_submit(struct tx *tx, struct span client, struct buf *out)
{
	struct msg_submit m = {
		.draft = tx->draft, .content_len = tx->content.len, .content_crc = tx->content.crc, .qid = tx->qid,
		.content = tx->draft == 0 ? buf_span(&tx->content.out) : SPAN_EMPTY,
	};
	write_submit(tx, client, content_flags(&tx->content) | marks_of(tx), &m, out);
}

void
tx_write_original(struct tx *tx, struct span client, const struct tx_original *o, const struct hold_why *why, struct buf *out)
{
	struct spool_id id = spool_id_next(tx->edge->serial);
	char qid[SPOOL_ID_TEXT];
	struct msg_submit m = {
		.draft = o->draft, .content_len = o->len, .content_crc = o->crc, .qid = span_of(qid, spool_id_text(&id, qid)),
		.content = o->draft == 0 ? o->content : SPAN_EMPTY,
	};
	/* its marks are its own: what goes on may be for somebody */
	struct holding marks = tx->holding;
	bool *held = mem_alloc(tx->nrcpt + 1);
	for (uint32_t i = 0; i < tx->nrcpt; i++)
		held[i] = tx->rcpts[i].held;
	if (marks.class != HELD_VIRUS) { /* else what goes on is held for it, and what it came with is what has it */
		tx->holding.class = HELD_NONE;
		tx->holding.all = tx->holding.some = false;
	}
	tx->holding.look = tx->holding.first;
	tx_hold_all(tx, why);
	write_submit(tx, client, o->flags | MSGF_KEPT | (marks_of(tx) & ~(uint32_t)MSGF_HOLD), &m, out);
	tx->holding = marks;
	for (uint32_t i = 0; i < tx->nrcpt; i++)
		tx->rcpts[i].held = held[i];
	mem_free(&held);
}
