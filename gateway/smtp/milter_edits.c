/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a message: what the milters want done to it, in this order: discard, refuse, hold; sender and recipients, which go
 * through the rewriting of the envelope afterwards as if the client had said them; header and body. Small content is changed in
 * memory, large content into another draft. A message whose change cannot be done is "not now".
 *
 * A bundled filter that takes something out may ask that the message is kept as it came: then that is another message, with an id
 * of its own and all recipients held, and it is committed before the changed one.
 */
#include "smtp/milter.h"

#include "base/clock.h"
#include "base/metric.h"
#include "ipc/msgs.h"
#include "smtp/milter_envelope.h"

#include <unistd.h>

#define SUBMIT_USEC (UINT64_C(300) * USEC_PER_SEC)

static void on_changed(struct op *op);
static void on_turn(struct op *op);

void
milter_edits_forget(struct sess_milter *m)
{
	if (m->original_draft == 0)
		return;
	struct edge *e = m->sess->edge;
	metric_add(M_smtpd_drafts, -1);
	if (e->queue != NULL && m->original_generation == e->queue_generation) {
		edge_drop_draft(e, m->original_draft, 0);
	}
	m->original_draft = 0;
}

/* ---- asking ---- */

enum step
end_milter(struct sess *s)
{
	struct sess_milter *m = s->milter;
	if (m == NULL || s->tx->discard || s->svc->proxied != NULL) /* another filter has the message (facts 10.3) */
		return STEP_NEXT;
	data_log_message_id(s);
	sess_milter_content(s);
	enum step next = data_fault(s);
	if (next != STEP_NEXT || !m->is_reading)
		return next;
	m->is_asked = true;
	return milter_run_end(m->run) ? STEP_WAIT : STEP_NEXT;
}

/* ---- quarantine ---- */

/* "class: text" of a bundled filter; all other text is text. */
static struct hold_why
why_of(struct span reason, const char *milter)
{
	struct hold_why why = { .class = HELD_MILTER, .reason = reason, .filter = span_str(milter) };
	size_t colon = span_chr(reason, ':');
	if (milter == NULL || !span_starts(span_str(milter), SPAN("bundled:")) || colon == SIZE_MAX)
		return why;
	enum held_class class = held_class_of(span_head(reason, colon));
	if (class == HELD_NONE)
		return why;
	why.class = class;
	why.reason = span_trim(span_from(reason, colon + 1));
	if (class == HELD_VIRUS && span_chr(why.reason, ' ') == SIZE_MAX) /* a name, no sentence */
		why.signature = why.reason;
	return why;
}

/* What other filters found, as they said it in a field of their own: what the client's header did not have. */
static void
note_findings(struct sess *s, const struct milter_edits *e)
{
	static const char *const names[] = { "Authentication-Results:", "Received-SPF:", "X-Spam-Status:", "X-Spam-Flag:", "X-Virus-Status:",
		"X-Spamd-Result:", "X-Attachment-Status:" };
	struct span rest = e->header, client = buf_span(&s->milter->header);
	while (e->header_changed && rest.n > 0) {
		size_t end = 0, lf;
		do {
			lf = span_chr(span_from(rest, end), '\n');
			end = lf == SIZE_MAX ? rest.n : end + lf + 1;
		} while (end < rest.n && (rest.p[end] == ' ' || rest.p[end] == '\t'));
		struct span field = span_head(rest, end);
		for (size_t i = 0; i < NELEMS(names); i++)
			if (span_casestarts(field, span_str(names[i])) && span_find(client, field) == SIZE_MAX)
				tx_note(s->tx, "milters", "added", span_trim(field));
		rest = span_from(rest, end);
	}
}

static void
hold(struct sess *s, const struct milter_edits *e)
{
	struct tx *tx = s->tx;
	sess_log_refusal(s, EV_cleanup_milter_hold, SPAN("milter triggers HOLD action"));
	metric_add(M_milter_quarantines, 1);
	struct hold_why why = why_of(e->quarantine_reason, e->quarantine_milter);
	tx_note(tx, e->quarantine_milter != NULL ? e->quarantine_milter : "milter", "quarantine", e->quarantine_reason);
	if (s->svc->holds_in_queue && why.class == HELD_MILTER)
		tx->hold = true;
	else
		tx_hold_all(tx, &why);
}

/* ---- sender and recipients ---- */

static struct log_ctx
message_ctx(const struct sess *s)
{
	struct log_ctx ctx = s->log;
	ctx.qid = s->tx->qid;
	return ctx;
}

static void
change_sender(struct sess *s, const struct milter_addresses *in, const struct milter_edits *e)
{
	struct tx *tx = s->tx;
	struct milter_sender to;
	if (!milter_sender_of(in, e, &to))
		return;
	tx->env_sender = to.addr;
	if (to.ret != DSN_RET_NONE)
		tx->params.ret = to.ret;
	if (to.envid.n > 0)
		tx->params.envid = to.envid;
}

/* false: there is no room for it. */
static bool
change_rcpt(struct sess *s, const struct milter_addresses *in, const struct milter_rcpt *r)
{
	struct env_rcpt rcpt;
	enum rc rc = milter_rcpt_of(in, r, &rcpt);
	if (rc != RC_OK)
		return rc == RC_NONE;
	if (r->kind == MILTER_ADD_RCPT)
		return tx_add_rcpt(s->tx, &rcpt);
	tx_delete_rcpt(s->tx, rcpt.addr);
	return true;
}

/* STEP_END: it has been refused. */
static enum step
change_envelope(struct sess *s, const struct milter_edits *e)
{
	struct log_ctx ctx = message_ctx(s);
	const struct milter_addresses in = { .p = s->svc->p, .arena = &s->tx->arena, .log = &ctx };
	if (e->sender_changed)
		change_sender(s, &in, e);
	for (size_t i = 0; i < e->nrcpts; i++)
		if (!change_rcpt(s, &in, &e->rcpts[i])) {
			log_warn(&ctx, "milter %s: more recipients than an envelope can hold (%u fit) -- message not accepted, try again later", e->rcpts[i].milter,
			    (unsigned)s->tx->nrcpt);
			metric_add(M_smtpd_rcpt_limit, 1);
			return data_refuse(s, REPLY_TOO_MANY_RCPTS);
		}
	s->tx->lost_way |= s->tx->arena.over;
	if (s->tx->nrcpt == 0) {
		sess_log_refusal(s, EV_cleanup_milter_discard, SPAN("all recipients deleted"));
		s->tx->discard = true;
	}
	return STEP_NEXT;
}

/* ---- content ---- */

static bool
changes_content(const struct milter_edits *e)
{
	return e->header_changed || e->body_changed;
}

static struct content_change
change_of(const struct sess_milter *m)
{
	const struct milter_edits *e = milter_run_edits(m->run);
	return (struct content_change){
		.header = buf_len(&m->checked) > 0 ? buf_span(&m->checked) : e->header_changed ? e->header : buf_span(&m->header), .has_body = e->body_changed, .body = e->body, .body_fd = e->body_fd,
		.body_at = e->body_at, .body_len = e->body_len,
	};
}

/* As it came, before anything of it changes. A draft goes there itself; what goes on will be another. */
static void
keep_original(struct sess *s, const struct milter_edits *e)
{
	struct sess_milter *m = s->milter;
	struct tx *tx = s->tx;
	const struct content *c = &tx->content;
	m->keeps_original = true;
	m->keep_reason = arena_span(&tx->arena, e->keep_reason);
	m->keep_milter = e->keep_milter;
	m->original_len = c->len;
	m->original_crc = c->crc;
	m->original_flags = content_flags(c);
	if (tx->draft != 0)
		return; /* see take_draft() */
	buf_init(&m->original, buf_len(&c->out) + 1);
	buf_put(&m->original, buf_span(&c->out));
}

/* Another draft takes the place of the message's own, or memory does. */
static void
leave_draft(struct sess *s)
{
	struct sess_milter *m = s->milter;
	struct tx *tx = s->tx;
	if (tx->draft == 0)
		return;
	if (m->keeps_original) {
		m->original_draft = tx->draft;
		m->original_generation = tx->draft_generation;
		tx->draft = 0;
	} else {
		tx_drop_draft(tx);
	}
}

/* milter_header_checks: what is new in the header. */
static enum step
check_header(struct sess *s, const struct milter_edits *e)
{
	struct sess_milter *m = s->milter;
	struct err why = { .why = "" };
	buf_fini(&m->checked); /* of a try before the answers of tables */
	if (!e->header_changed || s->svc->check.milter == NULL)
		return STEP_NEXT;
	buf_init(&m->checked, 4 * e->header.n + 64 * 1024);
	map_forget();
	if (checking_milter_header(s, buf_span(&m->header), e->header, &m->checked, &why) != RC_OK) {
		if (map_asked())
			return data_wait_for_maps(s);
		sess_warn(s, "%s", why.why);
		content_fail(&s->tx->content, CONTENT_NOT_NOW);
		return data_fault(s);
	}
	return checking_refused(s->tx) ? data_refuse_checked(s) : STEP_NEXT;
}

enum step
end_milter_said(struct sess *s)
{
	struct sess_milter *m = s->milter;
	struct tx *tx = s->tx;
	if (m == NULL || !m->is_asked)
		return STEP_NEXT;
	m->is_asked = false;
	const struct milter_verdict *v = milter_run_verdict(m->run);
	if (v->kind == MILTER_DISCARD) {
		sess_log_refusal(s, EV_cleanup_milter_discard, SPAN("milter triggers DISCARD action"));
		tx->discard = true;
		return STEP_NEXT;
	}
	if (v->kind == MILTER_REFUSE) {
		metric_add(M_milter_rejects, 1);
		sess_milter_log(s, EV_cleanup_milter_reject, span_from(v->reply, 4));
		sess_reply_lines(s, v->code, v->reply);
		bool close = sess_milter_closes(v);
		(void)data_done(s);
		if (close)
			sess_linger(s);
		return STEP_END;
	}
	const struct milter_edits *e = milter_run_edits(m->run);
	enum step checked = check_header(s, e);
	m->is_asked = checked == STEP_AGAIN;
	if (checked != STEP_NEXT)
		return checked;
	if (e->quarantine)
		hold(s, e);
	if (tx_is_held(tx))
		note_findings(s, e);
	if (change_envelope(s, e) == STEP_END)
		return STEP_END;
	if (tx->discard)
		return STEP_NEXT;
	m->is_changing = true;
	if (e->keep_original)
		keep_original(s, e);
	return STEP_NEXT;
}

/* What is kept as it came is looked at while it is here: what goes on will be another. */
enum step
end_milter_first(struct sess *s)
{
	return s->milter != NULL && s->milter->is_changing && s->milter->keeps_original ? holding_look_first(s) : STEP_NEXT;
}

enum step
end_milter_change(struct sess *s)
{
	struct sess_milter *m = s->milter;
	struct tx *tx = s->tx;
	if (m == NULL || !m->is_changing)
		return STEP_NEXT;
	m->is_changing = false;
	const struct milter_edits *e = milter_run_edits(m->run);
	if (!changes_content(e) && !(e->keep_original && tx->draft != 0))
		return STEP_NEXT;
	const struct content_change n = change_of(m);
	if (content_change_fits(&tx->content, &n)) {
		content_change_here(&tx->content, &n);
		leave_draft(s);
		tx_account(tx);
		return data_fault(s);
	}
	if (side_draft_ask(&m->changed, s->edge, &s->ops, on_changed) == RC_OK)
		return STEP_WAIT;
	content_fail(&tx->content, CONTENT_NO_DRAFT);
	return data_fault(s);
}

static void
on_changed(struct op *op)
{
	sess_resume(container_of(op->owner, struct sess, ops));
}

/* The draft that was asked for. */
enum step
end_milter_draft(struct sess *s)
{
	struct sess_milter *m = s->milter;
	if (m == NULL || (m->changed.call == NULL && m->changed.number == 0))
		return STEP_NEXT;
	if (side_draft_got(&m->changed) != RC_OK) {
		content_fail(&s->tx->content, m->changed.was_full ? CONTENT_DRAFT_FULL : CONTENT_NO_DRAFT);
		return data_fault(s);
	}
	content_copy_begin(&m->copy, m->changed.fd);
	m->changed.fd = -1; /* the copy's */
	op_init(&m->turn, &s->ops, on_turn);
	m->is_copying = true;
	return STEP_NEXT;
}

static void
on_turn(struct op *op)
{
	sess_resume(container_of(op->owner, struct sess, ops));
}

/* A few megabytes a turn: others want to go on, too. */
enum step
end_milter_copy(struct sess *s)
{
	struct sess_milter *m = s->milter;
	struct tx *tx = s->tx;
	if (m == NULL || !m->is_copying)
		return STEP_NEXT;
	const struct content_change n = change_of(m);
	if (!content_copy_on(&m->copy, &tx->content, &n)) {
		op_finish(&m->turn, RC_OK);
		return STEP_AGAIN;
	}
	m->is_copying = false;
	if (tx->content.fault != CONTENT_FINE) {
		content_copy_fini(&m->copy);
		return data_fault(s);
	}
	leave_draft(s);
	tx->draft_generation = m->changed.generation;
	tx->draft = side_draft_take(&m->changed);
	tx_account(tx);
	return STEP_NEXT;
}

/* ---- the message as it came ---- */

enum step
end_keep(struct sess *s)
{
	struct sess_milter *m = s->milter;
	struct tx *tx = s->tx;
	if (m == NULL || !m->keeps_original || tx->discard)
		return STEP_NEXT;
	bool is_lost = m->original_draft != 0 && m->original_generation != s->edge->queue_generation;
	if (!edge_queue_is_up(s->edge) || tx->lost_way || is_lost) {
		metric_add(M_smtpd_spool_temp, 1);
		return data_refuse(s, REPLY_NO_QUEUE);
	}
	const struct hold_why why = why_of(m->keep_reason, m->keep_milter);
	const struct tx_original o = { .draft = m->original_draft, .content = buf_span(&m->original), .len = m->original_len, .crc = m->original_crc,
		.flags = m->original_flags };
	struct ipc_call *call = tx_new_call(tx);
	tx_write_original(tx, s->client, &o, &why, ipc_call_begin(call, s->edge->queue, IPC_SUBMIT));
	if (m->original_draft != 0)
		metric_add(M_smtpd_drafts, -1); /* used up, whatever comes of it */
	m->original_draft = 0;
	buf_fini(&m->original);
	ipc_call_send(call, SUBMIT_USEC);
	return STEP_WAIT;
}

enum step
end_kept(struct sess *s)
{
	struct sess_milter *m = s->milter;
	struct tx *tx = s->tx;
	if (m == NULL || !m->keeps_original || tx->discard)
		return STEP_NEXT;
	struct msg_submitted a = { .outcome = SUBMIT_FAILED };
	if (tx->call.op.rc != RC_OK || msg_submitted_get(buf_span(&tx->call.reply), &a) != RC_OK)
		a.outcome = SUBMIT_FAILED;
	if (a.outcome == SUBMIT_OK)
		return STEP_NEXT;
	if (a.outcome == SUBMIT_FULL)
		return data_no_room(s, true);
	metric_add(M_smtpd_spool_temp, 1);
	return data_refuse(s, REPLY_NO_QUEUE);
}
