/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Milters are told what the client says, each time behind the restrictions, and may refuse it (facts 9.2). A message that a
 * restriction discards is not theirs any more.
 */
#include "smtp/milter.h"

#include "base/mem.h"
#include "base/metric.h"
#include "smtp/milter_choice.h"

enum { HEADER_ROOM = 16 * 1024 * 1024 };

static void on_milter(struct op *op);
static void on_spill(struct op *op);
static void wants_file(void *owner);

static const struct milter_run_ops run_ops = { .macro = sess_milter_macro, .wants_file = wants_file };
static const struct milter_run_ops proxied_ops = { .macro = sess_milter_macro, .envelope_only = true };

/* ---- life ---- */

static void
begin(struct sess *s, struct milter_set *set)
{
	struct sess_milter *m = mem_zalloc(sizeof *m);
	m->sess = s;
	buf_init(&m->value, 8 * MILTER_VALUE_MAX);
	m->run = milter_run_new(set, s->svc->proxied != NULL ? &proxied_ops : &run_ops, s, &s->ops, on_milter);
	s->milter = m;
}

void
sess_milter_end_tx(struct sess *s)
{
	struct sess_milter *m = s->milter;
	if (m == NULL)
		return;
	milter_run_abort(m->run);
	op_cancel(&m->turn);
	if (m->is_copying)
		content_copy_fini(&m->copy);
	side_draft_drop(&m->body);
	side_draft_drop(&m->changed);
	milter_edits_forget(m);
	buf_fini(&m->header);
	buf_fini(&m->checked);
	buf_fini(&m->original);
	m->is_judged = m->is_reading = m->is_changing = m->is_copying = m->keeps_original = false;
}

void
sess_milter_free(struct sess *s)
{
	struct sess_milter *m = s->milter;
	if (m == NULL)
		return;
	sess_milter_end_tx(s);
	milter_run_free(&m->run);
	buf_fini(&m->value);
	mem_free(&s->milter);
}

static void
on_milter(struct op *op)
{
	sess_resume(milter_run_owner(op));
}

/* They hear of it, unless the message is lost already. */
static struct sess_milter *
listening(struct sess *s)
{
	return s->milter != NULL && (s->tx == NULL || !s->tx->discard) ? s->milter : NULL;
}

static enum step
asked(struct sess_milter *m, bool waits)
{
	m->is_asked = true;
	return waits ? STEP_WAIT : STEP_NEXT;
}

/* ---- verdicts ---- */

/* A reply on one line, as Postfix writes it: its line ends are two octets. */
void
sess_milter_log(struct sess *s, enum log_event_id ev, struct span reply)
{
	struct buf b;
	buf_init(&b, 64 * 1024);
	while (reply.n > 0) {
		size_t lf = span_chr(reply, '\n');
		buf_put(&b, span_head(reply, lf));
		if (lf == SIZE_MAX)
			break;
		buf_puts(&b, "??");
		reply = span_from(reply, lf + 1);
	}
	sess_log_refusal(s, ev, buf_span(&b));
	buf_fini(&b);
}

/* Replies that end a session, whoever says them. */
bool
sess_milter_closes(const struct milter_verdict *v)
{
	return v->close || v->code == 421 || v->code == 521;
}

/* What they said of a command that is not the end of a message. STEP_END: it is refused. */
static enum step
said(struct sess *s)
{
	struct sess_milter *m = s->milter;
	if (m == NULL || !m->is_asked)
		return STEP_NEXT;
	m->is_asked = false;
	const struct milter_verdict *v = milter_run_verdict(m->run);
	switch (v->kind) {
	case MILTER_CONTINUE:
		return STEP_NEXT;
	case MILTER_DISCARD:
		if (s->tx != NULL) {
			sess_log_refusal(s, EV_smtpd_milter_discard, SPAN("milter triggers DISCARD action"));
			s->tx->discard = true;
		}
		return STEP_NEXT;
	case MILTER_REFUSE:
		break;
	}
	metric_add(M_milter_rejects, 1);
	sess_milter_log(s, EV_smtpd_milter_reject, v->reply);
	return STEP_END;
}

/* The refusal to the client. */
static enum step
refuse(struct sess *s)
{
	const struct milter_verdict *v = milter_run_verdict(s->milter->run);
	sess_reply_lines(s, v->code, v->reply);
	if (sess_milter_closes(v))
		sess_linger(s);
	return STEP_END;
}

bool
sess_milter_refuses(const struct sess *s)
{
	return s->milter != NULL && s->milter->is_refused && milter_run_verdict(s->milter->run)->code >= 500;
}

bool
sess_milter_denies(struct sess *s, bool as_login)
{
	struct sess_milter *m = s->milter;
	if (m == NULL || !m->is_refused)
		return false;
	const struct milter_verdict *v = milter_run_verdict(m->run);
	if (as_login && v->code < 500)
		sess_reply(s, REPLY_TRY_LATER);
	else
		sess_reply_lines(s, v->code, v->reply);
	return true;
}

/* ---- what they will be told ---- */

void
sess_milter_args(struct sess *s, struct span path, struct span rest)
{
	struct sess_milter *m = s->milter;
	if (m == NULL)
		return;
	struct span word, left = rest;
	size_t n = 1;
	while (span_word(&left, " \t", &word))
		n++;
	m->argc = 0;
	m->argv = arena_alloc(&s->scratch, n * sizeof *m->argv);
	if (m->argv == NULL)
		return; /* no line is that long */
	m->argv[m->argc++] = arena_span(&s->scratch, span_trim(span_head(path, path.n - rest.n)));
	while (span_word(&rest, " \t", &word))
		m->argv[m->argc++] = arena_span(&s->scratch, word);
}

void
sess_milter_name(struct sess *s, struct span name)
{
	if (s->milter != NULL)
		s->milter->name = arena_span(&s->scratch, name);
}

/* ---- connect ---- */

static void
on_maps(struct op *op)
{
	sess_resume(container_of(op->owner, struct sess, ops));
}

static enum step
wait_for_table(struct sess *s)
{
	if (s->maps == NULL)
		map_wait_init(s->maps = mem_zalloc(sizeof *s->maps), &s->ops, on_maps);
	map_wait_start(s->maps);
	return STEP_AGAIN;
}

enum step
connect_milters(struct sess *s)
{
	struct milter_set *set = NULL;
	struct err e = { .why = "" };
	if (s->svc->milters == NULL || s->milter != NULL)
		return STEP_NEXT;
	map_forget();
	enum rc rc = milter_choice_find(s->svc->milters, s->facts.client_addr, &set, &e);
	if (rc == RC_TEMP && map_asked())
		return wait_for_table(s);
	sess_forget_call(s);
	if (rc == RC_OK) {
		if (set != NULL)
			begin(s, set);
		return STEP_NEXT;
	}
	sess_announce(s);
	sess_warn(s, "don't know which milters are for %.*s: smtpd_milter_maps: %s", (int)s->client.n, (const char *)s->client.p, e.why);
	sess_shut(s, REPLY_DATA_ERROR);
	triage_greeted(s);
	s->failed = false;
	return STEP_END;
}

enum step
connect_milter_name(struct sess *s)
{
	return s->milter != NULL ? sess_await_name(s) : STEP_NEXT;
}

enum step
connect_milter(struct sess *s)
{
	struct sess_milter *m = s->milter;
	const struct facts *f = &s->facts;
	if (m == NULL)
		return STEP_NEXT;
	struct span name = f->client_name;
	if (f->client_name_rc != RC_OK) { /* a client without a name is called by its address */
		struct buf b;
		buf_init(&b, 100);
		buf_puts(&b, f->client.family == IPADDR_V6 ? "[IPv6:" : "[");
		buf_put(&b, f->client_addr);
		buf_putc(&b, ']');
		name = arena_span(&s->scratch, buf_span(&b));
		buf_fini(&b);
	}
	return asked(m, milter_run_connect(m->run, name, &f->client, f->client_port));
}

/* A refusal stands in the place of the banner when it is final; otherwise MAIL will hear it. */
enum step
connect_milter_said(struct sess *s)
{
	if (said(s) == STEP_NEXT)
		return STEP_NEXT;
	const struct milter_verdict *v = milter_run_verdict(s->milter->run);
	s->milter->is_refused = true;
	if (v->code == 421) {
		sess_shut(s, REPLY_MILTER_CLOSES);
	} else if (v->code >= 500) {
		sess_reply(s, REPLY_MILTER_REFUSES);
		s->errors++;
	} else {
		return STEP_NEXT;
	}
	triage_greeted(s);
	s->failed = false;
	return STEP_END;
}

/* ---- HELO, EHLO ---- */

enum step
helo_milter(struct sess *s)
{
	struct sess_milter *m = listening(s);
	return m == NULL ? STEP_NEXT : asked(m, milter_run_helo(m->run, m->name));
}

/* Sendmail's way: the name is accepted and the refusal stays, unless it ends the session. */
enum step
helo_milter_said(struct sess *s)
{
	if (said(s) == STEP_NEXT)
		return STEP_NEXT;
	s->milter->is_refused = true;
	return milter_run_verdict(s->milter->run)->code == 421 ? refuse(s) : STEP_NEXT;
}

/* ---- MAIL, RCPT, DATA ---- */

enum step
mail_milter(struct sess *s)
{
	struct sess_milter *m = listening(s);
	return m == NULL ? STEP_NEXT : asked(m, milter_run_mail(m->run, m->argv, m->argc));
}

enum step
mail_milter_said(struct sess *s)
{
	if (said(s) == STEP_NEXT)
		return STEP_NEXT;
	(void)refuse(s);
	sess_undo_mail(s);
	return STEP_END;
}

void
rcpt_milter_note(struct sess *s, struct span reply)
{
	if (s->milter != NULL && reply.n > 0)
		s->milter->refusal = arena_span(&s->scratch, span_head(reply, span_chr(reply, '\n')));
}

enum step
rcpt_milter_told(struct sess *s, enum step next)
{
	struct sess_milter *m = listening(s);
	if (m == NULL || next != STEP_END || s->tx == NULL || s->input == INPUT_GONE) {
		if (s->milter != NULL)
			s->milter->refusal = SPAN_EMPTY;
		return next;
	}
	bool waits = milter_run_rcpt_refused(m->run, m->argv, m->argc);
	m->has_refused_rcpt = waits;
	if (!waits)
		m->refusal = SPAN_EMPTY;
	return waits ? STEP_WAIT : STEP_END;
}

enum step
rcpt_milter(struct sess *s)
{
	struct sess_milter *m = listening(s);
	if (m == NULL)
		return STEP_NEXT;
	if (m->has_refused_rcpt) { /* it has been answered */
		m->has_refused_rcpt = false;
		m->refusal = SPAN_EMPTY;
		sess_forget_rcpt(s);
		return STEP_END;
	}
	return asked(m, milter_run_rcpt(m->run, m->argv, m->argc));
}

enum step
rcpt_milter_said(struct sess *s)
{
	if (said(s) == STEP_NEXT)
		return STEP_NEXT;
	sess_forget_rcpt(s);
	return refuse(s);
}

enum step
data_milter(struct sess *s)
{
	struct sess_milter *m = listening(s);
	return m == NULL ? STEP_NEXT : asked(m, milter_run_data(m->run));
}

enum step
data_milter_said(struct sess *s)
{
	return said(s) == STEP_NEXT ? STEP_NEXT : refuse(s);
}

/* ---- a line that is no command ---- */

static enum step
unknown_milter(struct sess *s)
{
	struct sess_milter *m = s->milter;
	return asked(m, milter_run_unknown(m->run, m->name));
}

static enum step
unknown_milter_said(struct sess *s)
{
	if (said(s) != STEP_NEXT)
		return refuse(s);
	sess_reply(s, REPLY_NOT_RECOGNIZED);
	return STEP_END;
}

const struct step_row unknown_steps[] = {
	{ "unknown_milter", unknown_milter },
	{ "unknown_milter_said", unknown_milter_said },
};

/* ---- content ---- */

static enum rc
read_body(void *owner, uint64_t pos, size_t max, struct buf *out)
{
	struct sess *s = owner;
	return s->tx != NULL && s->tx->has_content ? content_read_body(&s->tx->content, pos, max, out) : RC_NONE;
}

static bool
is_complete(void *owner, uint64_t *len_out)
{
	struct sess *s = owner;
	if (s->tx == NULL || !s->tx->has_content)
		return false;
	*len_out = content_body_len(&s->tx->content);
	return s->tx->content.is_whole;
}

void
sess_milter_content(struct sess *s)
{
	struct sess_milter *m = listening(s);
	struct content *c = &s->tx->content;
	if (m == NULL || s->svc->proxied != NULL || !content_header_is_final(c))
		return;
	if (m->is_reading) {
		milter_run_more(m->run);
		return;
	}
	if (m->is_judged)
		return;
	m->is_judged = true;
	if (!milter_run_wants_message(m->run))
		return;
	buf_init(&m->header, HEADER_ROOM);
	if (content_read_header(c, &m->header) != RC_OK) {
		content_fail(c, CONTENT_NO_DRAFT);
		return;
	}
	const struct milter_source src = { .header = buf_span(&m->header), .read = read_body, .is_complete = is_complete };
	m->is_reading = true;
	milter_run_message(m->run, &src);
}

/* ---- a body that a milter replaces, and that is too long for memory ---- */

static void
wants_file(void *owner)
{
	struct sess *s = owner;
	struct sess_milter *m = s->milter;
	if (m->body.call != NULL)
		return; /* it was for a milter that is gone by now, and comes */
	if (side_draft_ask(&m->body, s->edge, &s->ops, on_spill) != RC_OK)
		milter_run_fail(m->run, "there is no queue to give a file for a replaced body");
}

static void
on_spill(struct op *op)
{
	struct sess *s = container_of(op->owner, struct sess, ops);
	struct sess_milter *m = s->milter;
	if (side_draft_got(&m->body) == RC_OK)
		milter_run_spill(m->run, m->body.fd);
	else
		milter_run_fail(m->run, "no file for a replaced body");
}
