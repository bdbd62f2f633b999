/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/session.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "smtp/verbs.h"

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	SESS_MAGIC = 0x5e55a10e,
	SESS_MAX_STEPS = 64,
	SESS_ARENA_MAX = 16 * 1024,
	SCRATCH_MAX = 16 * 1024,
	INPUT_MAX = 64 * 1024,       /* unconsumed while something is waited for */
	OUTPUT_MAX = 512 * 1024,
	OUTPUT_HIGH = 16 * 1024,     /* no command is run while so much is unsent */
	TURN_COMMANDS = 64,          /* of one session, then the others get their turn */
	SKIP_MAX = 1024 * 1024,      /* octets of an endless line before we hang up */
	GONE_MAX = 1024 * 1024,      /* octets still taken after the last reply */
	GONE_USEC = 5 * 1000 * 1000,
};

static void on_input(struct conn *c);
static void on_ended(struct conn *c, enum conn_end why, int err);
static void on_drained(struct conn *c);
static void on_policy(struct op *op);
static void on_delay(struct timer *t);
static void on_delay_over(struct op *op);
static void pump(struct sess *s);

static const struct conn_ops conn_ops = { .input = on_input, .ended = on_ended, .drained = on_drained };

static bool
is_busy(const struct sess *s)
{
	return s->steps != NULL || s->delay_op.state != OP_IDLE;
}

static bool
is_alive(const struct sess *s)
{
	return conn_is_open(&s->conn);
}

/* ---- life ---- */

static void
name_client(struct sess *s, const struct sockaddr *peer, const struct sockaddr *local)
{
	struct ipaddr a;
	char text[IPADDR_TEXT];
	if (!ipaddr_from_sockaddr(peer, &a, &s->facts.client_port))
		a = (struct ipaddr){ .family = IPADDR_V4, .b = { 127, 0, 0, 1 } }; /* a socketpair: tests, local programs */
	s->facts.client = ipaddr_unmap(a);
	if (local != NULL && ipaddr_from_sockaddr(local, &a, NULL))
		s->facts.server = ipaddr_unmap(a);
	size_t n = ipaddr_text(&s->facts.client, text);
	s->facts.client_addr = arena_span(&s->arena, span_of(text, n));
	s->facts.client_name = s->facts.reverse_name = SPAN("unknown");
	s->facts.client_name_rc = s->facts.reverse_name_rc = RC_NONE;
	s->facts.qid = SPAN("NOQUEUE");
	sess_label(s);
}

void
sess_label(struct sess *s)
{
	struct buf b;
	buf_init(&b, 512);
	buf_put_safe(&b, s->facts.client_name, 256, false);
	buf_putc(&b, '[');
	buf_put(&b, s->facts.client_addr);
	buf_putc(&b, ']');
	if (s->svc->p->p_smtpd_client_port_logging) {
		buf_putc(&b, ':');
		buf_put_dec(&b, s->facts.client_port);
	}
	s->client = arena_span(&s->arena, buf_span(&b));
	buf_fini(&b);
}

void
sess_begin(struct edge *edge, const struct edge_service *svc, int fd, const struct sockaddr *peer, const struct sockaddr *local)
{
	struct sess *s = mem_zalloc(sizeof *s);
	s->magic = SESS_MAGIC;
	s->edge = edge;
	s->conf = edge_conf_ref(edge->conf);
	s->svc = svc;
	s->log.tag = svc->tag;
	s->where = "CONNECT";
	arena_init(&s->arena, SESS_ARENA_MAX);
	arena_init(&s->scratch, SCRATCH_MAX);
	op_owner_init(&s->ops);
	policy_run_init(&s->pol, &s->ops, on_policy);
	op_init(&s->delay_op, &s->ops, on_delay_over);
	conn_init(&s->conn, fd, &conn_ops, INPUT_MAX, OUTPUT_MAX);
	list_init(&s->link);
	list_append(&edge->sessions, &s->link);
	edge->nsessions++;
	metric_add(M_smtpd_sessions, 1);
	metric_add(M_smtpd_sessions_total, 1);
	name_client(s, peer, local);
	conn_deadline(&s->conn, svc->p->p_smtpd_timeout);
	sess_run_steps(s, connect_steps);
	if (is_alive(s) && !is_busy(s))
		conn_resume(&s->conn);
}

static void
sess_free(struct grave *g)
{
	struct sess *s = container_of(g, struct sess, grave);
	arena_fini(&s->arena);
	arena_fini(&s->scratch);
	edge_conf_unref(&s->conf);
	mem_poison(s, sizeof *s);
	mem_free(&s);
}

static void
log_disconnect(struct sess *s)
{
	struct buf b;
	unsigned good = 0, all = 0;
	buf_init(&b, 1024);
	for (int v = 0; v < VERB_COUNT; v++) {
		const struct verb_count *n = &s->counts[v];
		if (n->all == 0)
			continue;
		good += n->good;
		all += n->all;
		verb_count_write(&b, (enum verb)v, n);
	}
	buf_puts(&b, " commands=");
	buf_put_dec(&b, good);
	if (good != all) {
		buf_putc(&b, '/');
		buf_put_dec(&b, all);
	}
	if (s->noted_bare_lf)
		buf_puts(&b, " notes=bare_lf");
	LOG(smtpd_disconnect, &s->log, F_SPAN(client, s->client), F_SPAN(counts, buf_span(&b)));
	buf_fini(&b);
}

void
sess_retire(struct sess *s)
{
	CHECK(s, SESS_MAGIC);
	if (!is_alive(s))
		return;
	sess_end_tx(s);
	log_disconnect(s);
	timer_clear(&s->delay);
	policy_run_fini(&s->pol);
	ops_cancel_all(&s->ops);
	conn_close(&s->conn);
	s->steps = NULL;
	limits_leave(&s->edge->limits, &s->limit);
	list_remove(&s->link);
	s->edge->nsessions--;
	metric_add(M_smtpd_sessions, -1);
	if (s->edge->nsessions == 0 && s->edge->idle != NULL)
		s->edge->idle(s->edge);
	loop_bury(&s->grave, sess_free);
}

void
sess_shut(struct sess *s, enum reply_id id)
{
	sess_reply(s, id);
	sess_linger(s);
}

/* Closing while the client still sends would take our last words from it: we say that we are done and read on for
 * a moment. */
void
sess_linger(struct sess *s)
{
	sess_end_tx(s);
	s->input = INPUT_GONE;
	s->skipped = 0;
	s->conn.want_drained = true;
	(void)conn_out(&s->conn);
	conn_deadline(&s->conn, GONE_USEC);
}

void
sess_drain(struct sess *s)
{
	if (s->tx == NULL && !is_busy(s) && s->input == INPUT_COMMAND)
		sess_shut(s, REPLY_SHUTDOWN);
}

static void
on_drained(struct conn *c)
{
	struct sess *s = container_of(c, struct sess, conn);
	CHECK(s, SESS_MAGIC);
	if (s->input == INPUT_GONE) {
		(void)shutdown(c->fd, SHUT_WR);
		conn_resume(c);
		return;
	}
	if (is_busy(s))
		return;
	pump(s);
	if (is_alive(s) && !is_busy(s) && !s->conn.want_drained)
		conn_resume(c);
}

/* The client went away with a message half said. */
static void
log_canceled(const struct sess *s)
{
	if (s->tx == NULL || !s->tx->has_content || s->tx->submitted)
		return;
	struct log_ctx ctx = s->log;
	ctx.qid = s->tx->qid;
	LOG0(message_canceled, &ctx);
}

static void
on_ended(struct conn *c, enum conn_end why, int err)
{
	(void)err;
	struct sess *s = container_of(c, struct sess, conn);
	CHECK(s, SESS_MAGIC);
	if (why == CONN_TIMEOUT && is_busy(s)) { /* it is we who are slow */
		conn_deadline(c, s->svc->p->p_smtpd_timeout);
		return;
	}
	if (s->input != INPUT_GONE) {
		struct log_field f[3] = { F_STR(stage, s->where), F_SPAN(client, s->client) };
		size_t n = 2;
		if (s->tx != NULL && s->tx->has_content && (s->input == INPUT_DATA || s->input == INPUT_CHUNK))
			f[n++] = F_NUM(bytes, s->tx->content.len - s->tx->content.own_len);
		log_event(why == CONN_TIMEOUT ? EV_smtpd_timeout : EV_smtpd_lost, &s->log, f, n);
		if (why == CONN_TIMEOUT) {
			metric_add(M_smtpd_timeouts, 1);
			sess_reply(s, REPLY_TIMEOUT);
		}
		log_canceled(s);
	}
	sess_retire(s);
}

/* ---- replies ---- */

static void
count_reply(struct sess *s, unsigned code)
{
	if (code < 400)
		return;
	s->failed = true;
	metric_add(M_smtpd_rejects, 1);
}

void
sess_reply_full(struct sess *s, enum reply_id id, unsigned code, struct span text, uint64_t number)
{
	if (!is_alive(s))
		return;
	struct buf *out = conn_out(&s->conn);
	const struct reply_args args = {
		.myhostname = s->svc->p->p_myhostname, .client = s->client, .client_addr = s->facts.client_addr, .text = text, .number = number,
	};
	reply_write(out, id, code, &args);
	buf_put(out, SPAN("\r\n"));
	count_reply(s, reply_code(id));
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

struct span
sess_log_addr(struct sess *s, struct span internal)
{
	struct addr a = addr_of_internal(internal);
	if (internal.n == 0 || !addr_needs_quotes(a.local))
		return internal;
	struct buf b;
	buf_init(&b, 4 * ADDR_PATH_MAX);
	addr_write(&b, &a);
	struct span out = arena_span(&s->scratch, buf_span(&b));
	buf_fini(&b);
	return out;
}

/* "reject: RCPT from host[ip]: 554 ...; from=<s> to=<r> proto=ESMTP helo=<h>", or with another keyword. */
static void
log_refusal(struct sess *s, enum log_event_id ev, struct span reply)
{
	struct log_field f[8] = { F_STR(stage, s->where), F_SPAN(client, s->client), F_SPAN(reply, reply) };
	size_t n = 3;
	if (s->facts.has_sender)
		f[n++] = F_SPAN(from, sess_log_addr(s, s->facts.sender));
	if (s->facts.has_rcpt)
		f[n++] = F_SPAN(to, sess_log_addr(s, s->facts.rcpt));
	f[n++] = F_STR(proto, s->facts.is_esmtp ? "ESMTP" : "SMTP");
	if (s->facts.has_helo)
		f[n++] = F_SPAN(helo, s->facts.helo);
	struct log_ctx ctx = s->log;
	ctx.qid = s->tx != NULL ? s->tx->qid : SPAN_EMPTY;
	ctx.noqueue = ctx.qid.n == 0;
	log_event(ev, &ctx, f, n);
}

void
sess_refuse_code(struct sess *s, enum reply_id id, unsigned code)
{
	if (!is_alive(s))
		return;
	struct buf *out = conn_out(&s->conn);
	size_t from = buf_len(out);
	sess_reply_full(s, id, code, SPAN_EMPTY, 0);
	struct span said = span_from(buf_span(out), from);
	if (said.n > 2)
		log_refusal(s, EV_smtpd_reject, span_head(said, said.n - 2));
}

void
sess_refuse(struct sess *s, enum reply_id id)
{
	sess_refuse_code(s, id, 0);
}

/* ---- policy ---- */

enum step
sess_ask(struct sess *s, enum policy_stage stage)
{
	return policy_run_now(&s->pol, s->svc->policy, stage, &s->facts) ? STEP_NEXT : STEP_WAIT;
}

static void
on_policy(struct op *op)
{
	sess_resume(container_of(op, struct sess, pol.op));
}

static const enum log_event_id note_events[] = {
	[NOTE_REJECT_WARNING] = EV_smtpd_reject_warning, [NOTE_WARN] = EV_smtpd_warn, [NOTE_INFO] = EV_smtpd_info,
	[NOTE_HOLD] = EV_smtpd_hold, [NOTE_DISCARD] = EV_smtpd_discard, [NOTE_TROUBLE] = EV_warning,
};

static void
log_notes(struct sess *s, const struct verdict *v)
{
	for (unsigned i = 0; i < v->nnotes; i++) {
		if (v->notes[i].kind == NOTE_TROUBLE)
			LOG(warning, &s->log, F_SPAN(text, v->notes[i].text));
		else
			log_refusal(s, note_events[v->notes[i].kind], v->notes[i].text);
	}
}

/* Several lines come separated by LF; all but the last get a hyphen. */
static void
put_verdict(struct buf *out, struct span reply)
{
	while (reply.n > 0) {
		size_t lf = span_chr(reply, '\n');
		struct span line = span_head(reply, lf);
		reply = lf == SIZE_MAX ? SPAN_EMPTY : span_from(reply, lf + 1);
		if (line.n > 4 && reply.n > 0) {
			buf_put(out, span_head(line, 3));
			buf_putc(out, '-');
			line = span_from(line, 4);
		}
		buf_put(out, line);
		buf_put(out, SPAN("\r\n"));
	}
}

enum step
sess_verdict(struct sess *s)
{
	const struct verdict *v = &s->pol.verdict;
	BUG_ON(v->kind == VERDICT_NONE);
	if (v->nnotes > 0)
		log_notes(s, v);
	*(s->tx != NULL ? &s->tx->hold : &s->hold) |= v->hold;
	*(s->tx != NULL ? &s->tx->discard : &s->discard) |= v->discard;
	enum step next = STEP_NEXT;
	if (v->kind == VERDICT_REFUSE) {
		log_refusal(s, EV_smtpd_reject, span_head(v->reply, span_chr(v->reply, '\n')));
		put_verdict(conn_out(&s->conn), v->reply);
		count_reply(s, v->code);
		next = STEP_END;
		if (v->close)
			sess_linger(s);
	}
	policy_run_reset(&s->pol);
	return next;
}

/* ---- the step machine ---- */

enum phase
sess_phase(const struct sess *s)
{
	if (s->tx == NULL)
		return PH_IDLE;
	return s->tx->chunking ? PH_BDAT : s->tx->nrcpt > 0 ? PH_RCPT : PH_MAIL;
}

bool
sess_is_esmtp(const struct sess *s)
{
	return s->facts.is_esmtp;
}

void
sess_end_tx(struct sess *s)
{
	if (s->tx == NULL)
		return;
	tx_end(&s->tx);
	s->facts.has_sender = s->facts.has_rcpt = s->facts.is_smtputf8 = s->facts.is_vrfy = false;
	s->facts.sender = s->facts.rcpt = SPAN_EMPTY;
	s->facts.nrcpt = 0;
	s->facts.size_bytes = 0;
	s->facts.qid = SPAN("NOQUEUE");
	s->overshoot = 0;
}

static void
too_many_errors(struct sess *s)
{
	metric_add(M_smtpd_hard_errors, 1);
	sess_reply(s, REPLY_TOO_MANY_ERRORS);
	LOG(smtpd_errors, &s->log, F_STR(stage, s->where), F_SPAN(client, s->client));
	sess_linger(s);
}

/* The command (or the message) has been answered. */
static void
command_done(struct sess *s)
{
	s->steps = NULL;
	bool content_follows = s->input == INPUT_DATA || s->input == INPUT_CHUNK;
	if (s->scratch.blocks != NULL)
		arena_fini(&s->scratch);
	s->args = SPAN_EMPTY;
	if (s->verb == VERB_NONE || content_follows)
		return;
	if (s->failed)
		s->errors++;
	else
		s->counts[s->verb].good += s->counts[s->verb].good < UINT16_MAX ? 1u : 0u;
	s->verb = VERB_NONE;
	if (s->input == INPUT_GONE)
		return;
	if (s->edge->draining && s->tx == NULL) {
		sess_shut(s, REPLY_SHUTDOWN);
		return;
	}
	const struct params *p = s->svc->p;
	if (s->errors >= (uint64_t)p->p_smtpd_hard_error_limit) {
		too_many_errors(s);
	} else if (s->errors >= (uint64_t)p->p_smtpd_soft_error_limit && p->p_smtpd_error_sleep_time > 0) {
		static const struct op_provider sleeping = { "smtpd_error_sleep_time", NULL };
		timer_init(&s->delay, on_delay);
		timer_set(&s->delay, p->p_smtpd_error_sleep_time);
		op_pend(&s->delay_op, &sleeping);
		conn_pause(&s->conn);
	}
}

static void
on_delay(struct timer *t)
{
	struct sess *s = container_of(t, struct sess, delay);
	op_finish(&s->delay_op, RC_OK);
}

static void
on_delay_over(struct op *op)
{
	struct sess *s = container_of(op, struct sess, delay_op);
	CHECK(s, SESS_MAGIC);
	pump(s);
	if (is_alive(s) && !is_busy(s))
		conn_resume(&s->conn);
}

static void
run(struct sess *s)
{
	for (unsigned turns = 0;; turns++) {
		BUG_ON(turns > SESS_MAX_STEPS);
		const struct step_row *row = &s->steps[s->at++];
		s->step_name = row->name;
		switch (row->fn(s)) {
		case STEP_NEXT:
			break;
		case STEP_WAIT:
			BUG_ON(op_owner_idle(&s->ops));
			conn_pause(&s->conn);
			return;
		case STEP_END:
			command_done(s);
			return;
		case STEP_CLOSE:
			sess_retire(s);
			return;
		}
	}
}

void
sess_run_steps(struct sess *s, const struct step_row *steps)
{
	BUG_ON(s->steps != NULL);
	s->steps = steps;
	s->at = 0;
	run(s);
}

void
sess_resume(struct sess *s)
{
	CHECK(s, SESS_MAGIC);
	run(s);
	if (is_alive(s) && !is_busy(s))
		pump(s);
	if (is_alive(s) && !is_busy(s) && !s->conn.want_drained)
		conn_resume(&s->conn);
}

/* ---- input ---- */

/* true: the client sent ahead where it may not, and that ends the session. */
static bool
breaks_pipelining(struct sess *s, const struct cmd_row *cmd, struct span rest)
{
	if (rest.n == 0 || s->facts.pipelined_early || (s->facts.is_esmtp && (cmd->flags & CF_LAST) == 0) || (cmd->flags & CF_QUIT) != 0)
		return false;
	return sess_early_input(s, rest);
}

bool
sess_early_input(struct sess *s, struct span seen)
{
	LOG(smtpd_pipelining, &s->log, F_STR(stage, s->where), F_SPAN(client, s->client), F_SPAN(text, span_head(seen, 100)));
	s->facts.pipelined_early = true;
	if (!s->svc->p->p_smtpd_forbid_unauth_pipelining)
		return false;
	sess_shut(s, REPLY_SYNC);
	return true;
}

static bool
phase_allows(struct sess *s, enum verb verb)
{
	enum reply_id wrong = verb_wrong_phase(verb, sess_phase(s));
	if (wrong == REPLY_NONE)
		return true;
	sess_reply(s, wrong);
	return false;
}

static void
bare_lf_command(struct sess *s)
{
	if (s->no_bare_lf_rules)
		return;
	if (s->svc->bare_lf == BARE_LF_NOTE)
		s->noted_bare_lf = true;
	if (s->svc->bare_lf != BARE_LF_REJECT)
		return;
	sess_refuse_code(s, REPLY_BARE_LF, (unsigned)s->svc->p->p_smtpd_forbid_bare_newline_reject_code);
	sess_linger(s);
}

static bool
is_forbidden(const struct sess *s, struct span word)
{
	unsigned char c = word.p[0];
	bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
	if (s->svc->forbid_nonletters && !letter)
		return true;
	return span_chr(word, ':') != SIZE_MAX || matchlist_name(s->svc->forbidden, word, NULL) == RC_OK;
}

static void
unknown_command(struct sess *s, struct span word, struct span line)
{
	if (!matchlist_empty(s->svc->noop) && matchlist_name(s->svc->noop, word, NULL) == RC_OK) {
		s->verb = VERB_NOOP;
		s->counts[VERB_NOOP].all++;
		if (s->junk++ > (uint64_t)s->svc->p->p_smtpd_junk_command_limit)
			s->errors++;
		sess_reply(s, REPLY_OK);
		return;
	}
	s->verb = VERB_UNKNOWN;
	s->where = "UNKNOWN";
	s->counts[VERB_UNKNOWN].all += s->counts[VERB_UNKNOWN].all < UINT16_MAX ? 1u : 0u;
	if (is_forbidden(s, word)) {
		LOG(smtpd_noncommand, &s->log, F_SPAN(client, s->client), F_SPAN(text, span_head(line, 100)));
		s->failed = true;
		sess_shut(s, REPLY_FORBIDDEN);
		return;
	}
	sess_reply(s, REPLY_NOT_RECOGNIZED);
}

/* What every command has to pass before its own steps. */
static bool
may_run(struct sess *s, const struct cmd_row *cmd, const struct line_cmd *line, struct span rest)
{
	if ((cmd->flags & CF_JUNK) != 0 && s->junk++ > (uint64_t)s->svc->p->p_smtpd_junk_command_limit)
		s->errors++;
	if (breaks_pipelining(s, cmd, rest))
		return false;
	if (s->denied && (cmd->flags & CF_QUIT) == 0) {
		sess_reply(s, REPLY_DENIED);
		return false;
	}
	if (line->has_nul && s->verb != VERB_MAIL && s->verb != VERB_RCPT) { /* those two look for themselves */
		sess_reply(s, REPLY_HAS_NUL);
		return false;
	}
	return phase_allows(s, s->verb);
}

/* One command line; rest: what came behind it. */
static void
command(struct sess *s, const struct line_cmd *line, struct span rest)
{
	s->failed = false;
	s->verb = VERB_UNKNOWN;
	s->cmd_bare_lf = line->bare_lf;
	if (line->bare_lf) {
		bare_lf_command(s);
		if (s->input == INPUT_GONE) {
			command_done(s);
			return;
		}
	}
	struct span text = line->text, word;
	if (!span_word(&text, " \t", &word)) {
		sess_reply(s, REPLY_BAD_SYNTAX);
		command_done(s);
		return;
	}
	const struct cmd_row *cmd = verb_find(word, &s->verb);
	if (cmd == NULL) {
		unknown_command(s, word, line->text);
		command_done(s);
		return;
	}
	s->where = cmd->name;
	s->counts[s->verb].all += s->counts[s->verb].all < UINT16_MAX ? 1u : 0u;
	if (s->svc->p->p_smtputf8_enable && !span_is_ascii(line->text) && !span_is_utf8(line->text)) {
		sess_reply(s, REPLY_BAD_UTF8);
		command_done(s);
		return;
	}
	s->args = span_trim(text);
	if (!may_run(s, cmd, line, rest)) {
		command_done(s);
		return;
	}
	sess_run_steps(s, cmd->steps);
}

static void
line_too_long(struct sess *s, size_t used, bool unended)
{
	metric_add(M_smtpd_line_limit, 1);
	conn_consume(&s->conn, used);
	s->failed = false;
	s->verb = VERB_UNKNOWN;
	s->skipped = used;
	s->counts[VERB_UNKNOWN].all += s->counts[VERB_UNKNOWN].all < UINT16_MAX ? 1u : 0u;
	s->input = unended ? INPUT_SKIP : INPUT_COMMAND;
	if (!unended) {
		sess_reply(s, REPLY_LINE_TOO_LONG);
		command_done(s);
	}
}

/* Takes one command if a whole one is there; false: none is. */
static bool
take_command(struct sess *s, struct span in)
{
	struct line_cmd line;
	size_t used;
	bool unended;
	int64_t max = s->svc->p->p_line_length_limit;
	switch (line_command(in, max < INPUT_MAX ? (size_t)max : INPUT_MAX - 1, &line, &used, &unended)) {
	case RC_OK:
		command(s, &line, span_from(in, used)); /* the line stays where it is until it is consumed */
		if (is_alive(s))
			conn_consume(&s->conn, used);
		return true;
	case RC_PERM:
		line_too_long(s, used, unended);
		return true;
	case RC_NONE:
	case RC_TEMP:
		break;
	}
	return false;
}

static void
skip_line(struct sess *s, struct span in)
{
	bool ended;
	size_t n = line_skip(in, &ended);
	conn_consume(&s->conn, n);
	s->skipped += n;
	if (ended) {
		s->input = INPUT_COMMAND;
		sess_reply(s, REPLY_LINE_TOO_LONG);
		command_done(s);
	} else if (s->skipped > SKIP_MAX) {
		sess_shut(s, REPLY_LINE_ENDLESS);
		command_done(s);
	}
}

static void
swallow(struct sess *s, struct span in)
{
	size_t n = in.n < s->chunk_left ? in.n : (size_t)s->chunk_left;
	conn_consume(&s->conn, n);
	s->chunk_left -= n;
	if (s->chunk_left == 0)
		s->input = INPUT_COMMAND;
}

static void
stay_gone(struct sess *s, struct span in)
{
	conn_consume(&s->conn, in.n);
	s->skipped += in.n;
	if (s->skipped > GONE_MAX)
		sess_retire(s);
}

/* Deals with one piece of input; false: more is needed. */
static bool
take_some(struct sess *s, struct span in)
{
	size_t used;
	switch (s->input) {
	case INPUT_COMMAND:
		return take_command(s, in);
	case INPUT_SKIP:
		skip_line(s, in);
		return true;
	case INPUT_DATA:
	case INPUT_CHUNK:
		used = s->input == INPUT_DATA ? data_input(s, in) : chunk_input(s, in);
		if (is_alive(s))
			conn_consume(&s->conn, used);
		return true;
	case INPUT_SWALLOW:
		swallow(s, in);
		return true;
	case INPUT_GONE:
		stay_gone(s, in);
		return true;
	}
	return false;
}

static void
pump(struct sess *s)
{
	bool any = false;
	for (unsigned n = 0; is_alive(s) && !is_busy(s); n++) {
		struct span in = conn_input(&s->conn);
		if (in.n == 0)
			break;
		if (conn_unsent(&s->conn) > OUTPUT_HIGH && n > 0 && s->input != INPUT_GONE) {
			s->conn.want_drained = true; /* it does not read its replies: wait until it does */
			conn_pause(&s->conn);
			break;
		}
		if (n == TURN_COMMANDS) { /* others get their turn; we are called again */
			conn_pause(&s->conn);
			conn_resume(&s->conn);
			break;
		}
		if (!take_some(s, in))
			break;
		any = true;
	}
	/* A command line has to be complete within the time, however slowly it comes; content per read, or with
	 * smtpd_per_request_deadline at smtpd_min_data_rate. */
	if (any && is_alive(s) && !is_busy(s) && s->input != INPUT_GONE)
		sess_set_deadline(s);
}

void
sess_set_deadline(struct sess *s)
{
	const struct params *p = s->svc->p;
	uint64_t usec = p->p_smtpd_timeout;
	bool content = s->input == INPUT_DATA || s->input == INPUT_CHUNK;
	if (content && p->p_smtpd_per_request_deadline && s->tx != NULL) {
		/* from the beginning of the content: timeout + octets / rate */
		uint64_t len = s->tx->content.len - s->tx->content.own_len;
		uint64_t until = s->content_began + usec + len * USEC_PER_SEC / (uint64_t)p->p_smtpd_min_data_rate;
		usec = until > loop_now() ? until - loop_now() : 1;
		if (usec > p->p_smtpd_timeout)
			usec = p->p_smtpd_timeout;
	}
	conn_deadline(&s->conn, usec);
}

static void
on_input(struct conn *c)
{
	struct sess *s = container_of(c, struct sess, conn);
	CHECK(s, SESS_MAGIC);
	pump(s);
}
