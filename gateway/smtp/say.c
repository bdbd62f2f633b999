/* SPDX-License-Identifier: BSD-2-Clause */
/* What the client hears and the log says of it: replies of our own, and verdicts of the policy. */
#include "smtp/session.h"

#include "base/clock.h"
#include "base/metric.h"
#include "smtp/footer.h"


static void
count_reply(struct sess *s, unsigned code)
{
	if (code < 400)
		return;
	s->failed = true;
	metric_add(M_smtpd_rejects, 1);
}

/* What a refusal gets last. is_soft: soft_bounce made it a 4xx. */
static void
add_footer(struct sess *s, struct buf *out, size_t from, bool is_soft)
{
	const struct edge_service *svc = s->svc;
	const struct triage_conf *t = triage_speaks(s) ? svc->triage : NULL;
	const struct map_list *maps = t != NULL ? t->footer_maps : svc->footer_maps;
	struct span text = span_str(t != NULL ? t->footer : svc->p->p_smtpd_reject_footer);
	const struct footer_values values = { s->facts.client_addr, s->facts.client_port, svc->p->p_myhostname, clock_wall() };
	struct err e = { 0 };
	if (footer_finish(out, from, maps, text, &values, is_soft, &e) != RC_OK)
		log_warn(&s->log, "%s", e.why);
}

static bool
is_soft(const struct sess *s)
{
	return (triage_speaks(s) ? s->svc->triage->p : s->svc->p)->p_soft_bounce;
}

/* The line of a reply into the output; the caller adds the footer. Gives the offset of its first octet. */
static size_t
put_reply(struct sess *s, enum reply_id id, unsigned code, struct span text, uint64_t number)
{
	struct buf *out = conn_out(&s->conn);
	size_t from = buf_len(out);
	const struct reply_args args = {
		.myhostname = s->svc->p->p_myhostname, .client = s->client, .client_addr = s->facts.client_addr, .text = text, .number = number,
	};
	reply_write(out, id, code, &args);
	buf_put(out, SPAN("\r\n"));
	if (is_soft(s))
		reply_soften(out, from);
	count_reply(s, reply_code(id));
	return from;
}

static bool
is_softened(const struct sess *s, enum reply_id id, unsigned code)
{
	return is_soft(s) && (code != 0 ? code : reply_code(id)) >= 500;
}

void
sess_reply_full(struct sess *s, enum reply_id id, unsigned code, struct span text, uint64_t number)
{
	if (!sess_is_alive(s))
		return;
	size_t from = put_reply(s, id, code, text, number);
	add_footer(s, conn_out(&s->conn), from, is_softened(s, id, code));
}

void
sess_reply(struct sess *s, enum reply_id id)
{
	sess_reply_full(s, id, 0, SPAN_EMPTY, 0);
}

void
sess_reply_text(struct sess *s, enum reply_id id, struct span text)
{
	sess_reply_full(s, id, 0, text, 0);
}

void
sess_warn(struct sess *s, const char *fmt, ...)
{
	struct buf b;
	va_list ap;
	buf_init(&b, 2000);
	va_start(ap, fmt);
	buf_vprintf(&b, fmt, ap);
	va_end(ap);
	LOG(smtpd_warning, &s->log, F_SPAN(text, buf_span(&b)));
	buf_fini(&b);
}

struct span
sess_log_addr(struct sess *s, struct span internal)
{
	struct buf b;
	buf_init(&b, 4 * ADDR_PATH_MAX);
	struct span out = addr_shown(internal, &b);
	if (buf_len(&b) > 0)
		out = arena_span(&s->scratch, out);
	buf_fini(&b);
	return out;
}

struct span
sess_escaped(struct sess *s, struct span text)
{
	static const char names[] = "a\ab\bf\fn\nr\rt\tv\v\\\\";
	struct buf b;
	buf_init(&b, 4 * text.n + 1);
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = text.p[i];
		const char *name = NULL;
		for (size_t k = 1; k < sizeof names - 1 && name == NULL; k += 2)
			if ((unsigned char)names[k] == c)
				name = &names[k - 1];
		if (name != NULL) {
			buf_putc(&b, '\\');
			buf_putc(&b, (unsigned char)*name);
		} else if (c >= 0x20 && c < 0x7f) {
			buf_putc(&b, c);
		} else {
			buf_printf(&b, "\\%03o", c);
		}
	}
	struct span out = arena_span(&s->scratch, buf_span(&b));
	buf_fini(&b);
	return out;
}

struct span
sess_shown(struct sess *s, struct span sent, size_t max)
{
	if (s->hides_lines && !line_is_auth(sent))
		return SPAN("(not shown: behind AUTH)");
	return sess_escaped(s, span_head(line_without_secrets(sent), max));
}

/* "smtpd_sender_restrictions/check_sender_access,hash:/x": one word, at the end of the line, where programs that read
 * Postfix's log do not look. */
static struct span
deciding_rule(struct sess *s, const struct verdict *v)
{
	struct buf b;
	buf_init(&b, 300);
	if (v->list != NULL) {
		buf_puts(&b, v->list);
		buf_putc(&b, '/');
	}
	buf_put(&b, span_head(span_str(v->rule), 200));
	for (size_t i = 0; i < buf_len(&b); i++)
		if (b.p[b.at + i] <= ' ')
			b.p[b.at + i] = ',';
	struct span out = arena_span(&s->scratch, buf_span(&b));
	buf_fini(&b);
	return out;
}

/* "reject: RCPT from host[ip]: 554 ...; from=<s> to=<r> proto=ESMTP helo=<h>", or with another keyword. */
static void
log_refusal(struct sess *s, enum log_event_id ev, struct span reply, const struct verdict *v)
{
	sess_announce(s);
	struct log_field f[9] = { F_STR(stage, s->where), F_SPAN(client, s->client), F_SPAN(reply, reply) };
	size_t n = 3;
	if (s->facts.has_sender)
		f[n++] = F_SPAN(from, sess_log_addr(s, s->facts.sender));
	if (s->facts.has_rcpt)
		f[n++] = F_SPAN(to, sess_log_addr(s, s->facts.rcpt));
	f[n++] = F_STR(proto, s->facts.is_esmtp ? "ESMTP" : "SMTP");
	if (s->facts.has_helo)
		f[n++] = F_SPAN(helo, s->facts.helo);
	if (v != NULL && v->rule != NULL)
		f[n++] = F_SPAN(rule, deciding_rule(s, v));
	struct log_ctx ctx = s->log;
	ctx.qid = s->tx != NULL ? s->tx->qid : SPAN_EMPTY;
	ctx.noqueue = ctx.qid.n == 0;
	log_event(ev, &ctx, f, n);
}

void
sess_log_refusal(struct sess *s, enum log_event_id ev, struct span text)
{
	struct facts *f = &s->facts;
	struct span rcpt = f->rcpt;
	bool has_rcpt = f->has_rcpt;
	if (!has_rcpt && s->tx != NULL && s->tx->nrcpt > 0) { /* behind RCPT it is the last one */
		f->has_rcpt = true;
		f->rcpt = s->tx->rcpts[s->tx->nrcpt - 1].addr;
	}
	log_refusal(s, ev, text, NULL);
	f->has_rcpt = has_rcpt;
	f->rcpt = rcpt;
}

static void
refuse(struct sess *s, enum reply_id id, unsigned code, const char *rule)
{
	const struct verdict v = { .rule = rule };
	if (!sess_is_alive(s))
		return;
	struct buf *out = conn_out(&s->conn);
	size_t from = put_reply(s, id, code, SPAN_EMPTY, 0);
	struct span said = span_from(buf_span(out), from);
	if (said.n > 2)
		log_refusal(s, EV_smtpd_reject, span_head(said, said.n - 2), &v);
	add_footer(s, out, from, is_softened(s, id, code));
}

void
sess_refuse_code(struct sess *s, enum reply_id id, unsigned code)
{
	refuse(s, id, code, NULL);
}

void
sess_refuse_by(struct sess *s, enum reply_id id, const char *rule)
{
	refuse(s, id, 0, rule);
}

void
sess_refuse(struct sess *s, enum reply_id id)
{
	sess_refuse_code(s, id, 0);
}

void
sess_reply_lines(struct sess *s, unsigned code, struct span lines)
{
	if (!sess_is_alive(s))
		return;
	struct buf *out = conn_out(&s->conn);
	size_t from = buf_len(out);
	reply_write_lines(out, lines);
	bool softened = is_soft(s) && code >= 500;
	if (softened)
		reply_soften(out, from);
	count_reply(s, code);
	add_footer(s, out, from, softened);
}

void
sess_log_proxied(struct sess *s, bool accepted, struct span reply)
{
	struct log_field f[6] = { F_STR(stage, s->where), F_SPAN(reply, reply), F_SPAN(from, sess_log_addr(s, s->facts.sender)) };
	size_t n = 3;
	if (s->tx->nsaid == 1)
		f[n++] = F_SPAN(to, sess_log_addr(s, s->tx->first_rcpt));
	f[n++] = F_STR(proto, s->facts.is_esmtp ? "ESMTP" : "SMTP");
	if (s->facts.has_helo)
		f[n++] = F_SPAN(helo, s->facts.helo);
	log_event(accepted ? EV_smtpd_proxy_accept : EV_smtpd_proxy_reject, &s->log, f, n);
}

enum step
sess_ask(struct sess *s, enum policy_stage stage)
{
	s->facts.where = span_str(s->where);
	return policy_run_now(&s->pol, s->svc->policy, stage, &s->facts) ? STEP_NEXT : STEP_WAIT;
}

void
sess_policy_done(struct op *op)
{
	sess_resume(container_of(op, struct sess, pol.op));
}

static const enum log_event_id note_events[] = {
	[NOTE_REJECT_WARNING] = EV_smtpd_reject_warning, [NOTE_WARN] = EV_smtpd_warn, [NOTE_INFO] = EV_smtpd_info,
	[NOTE_FILTER] = EV_smtpd_filter, [NOTE_REDIRECT] = EV_smtpd_redirect, [NOTE_BCC] = EV_smtpd_bcc, [NOTE_PERMIT] = EV_smtpd_permit,
	[NOTE_HOLD] = EV_smtpd_hold, [NOTE_QUARANTINE] = EV_smtpd_quarantine, [NOTE_DISCARD] = EV_smtpd_discard, [NOTE_TROUBLE] = EV_warning,
};

static void
log_notes(struct sess *s, const struct verdict *v)
{
	for (unsigned i = 0; i < v->nnotes; i++) {
		if (v->notes[i].kind == NOTE_LISTED)
			continue;
		if (v->notes[i].kind == NOTE_TROUBLE)
			LOG(smtpd_warning, &s->log, F_SPAN(text, v->notes[i].text));
		else if (v->notes[i].kind == NOTE_MAPPING)
			LOG(smtpd_mapping, &s->log, F_SPAN(text, v->notes[i].text));
		else
			log_refusal(s, note_events[v->notes[i].kind], v->notes[i].text, NULL);
	}
}

static void
take_edits(struct sess *s, const struct verdict *v)
{
	bool fits = true;
	s->tx->hold |= v->hold;
	s->tx->discard |= v->discard;
	s->facts.is_discarded |= v->discard;
	s->facts.is_held |= v->hold;
	s->facts.is_quarantined |= v->quarantine_all;
	if (v->quarantine_all || v->quarantine_rcpt) {
		const struct hold_why why = { .class = HELD_POLICY, .reason = v->quarantine_reason, .filter = span_str(v->quarantine_list),
			.rule = span_str(v->quarantine_rule) };
		if (v->quarantine_all)
			tx_hold_all(s->tx, &why);
		if (v->quarantine_rcpt)
			tx_hold_rcpt(s->tx, &why);
	}
	for (unsigned i = 0; i < v->nedits; i++) {
		bool fit = tx_edit(s->tx, &v->edits[i]);
		fits &= fit;
		s->tx->lost_way |= !fit && v->edits[i].kind != EDIT_PREPEND;
	}
	if (!fits)
		sess_warn(s, "too many headers or copies for one message: some are left out");
}

/* What people may want to know when the message is held (smtp/holding.h). */
static void
note_verdict(struct sess *s, const struct verdict *v)
{
	struct tx *tx = s->tx;
	for (unsigned i = 0; i < v->nnotes; i++)
		if (v->notes[i].kind != NOTE_MAPPING)
			tx_note(tx, s->where, verdict_note_name(v->notes[i].kind), v->notes[i].text);
	for (unsigned i = 0; i < v->nedits; i++)
		if (v->edits[i].kind == EDIT_PREPEND) /* what a policy server found: Received-SPF, Authentication-Results */
			tx_note(tx, s->where, "prepend", v->edits[i].text);
	if (v->kind == VERDICT_REFUSE)
		tx_note(tx, s->where, NULL, span_head(v->reply, span_chr(v->reply, '\n')));
	else if (v->permit_rule != NULL)
		tx_note_permit(tx, v->permit_list, v->permit_rule);
}

enum step
sess_verdict(struct sess *s)
{
	const struct verdict *v = &s->pol.verdict;
	BUG_ON(v->kind == VERDICT_NONE);
	if (v->nnotes > 0)
		log_notes(s, v);
	if (s->tx != NULL) { /* policy says nothing about a message that is not there */
		note_verdict(s, v);
		take_edits(s, v);
	}
	enum step next = STEP_NEXT;
	if (v->kind == VERDICT_REFUSE) {
		log_refusal(s, EV_smtpd_reject, span_head(v->reply, span_chr(v->reply, '\n')), v);
		struct buf *out = conn_out(&s->conn);
		size_t from = buf_len(out);
		reply_write_lines(out, v->reply);
		add_footer(s, out, from, false);
		count_reply(s, v->code);
		next = STEP_END;
		if (v->close)
			sess_linger(s);
	}
	policy_run_reset(&s->pol);
	return next;
}
