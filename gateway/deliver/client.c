/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/client.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "deliver/compose.h"
#include "deliver/ehlo.h"

#include <errno.h>
#include <stdarg.h>

enum { CLIENT_MAGIC = 0x53d7c11e, IN_MAX = 64 * 1024, OUT_MAX = 2 * 1024 * 1024, SAID_MAX = HUBREPLY_BYTES_MAX + 1024 };

static void on_banner(struct smtpc *c);
static void on_ehlo(struct smtpc *c);
static void on_helo(struct smtpc *c);
static void on_rset(struct smtpc *c);
static void on_mail(struct smtpc *c);
static void on_rcpt(struct smtpc *c);
static void on_data(struct smtpc *c);
static void on_dot(struct smtpc *c);
static void on_quit(struct smtpc *c);
static void on_unasked(struct smtpc *c);

#define T(field) offsetof(struct settings, field)
/* One row per step: what it is called in "while ..." and "in reply to ...", how long to wait for the
 * reply, and who takes it. */
static const struct step_row {
	const char *doing, *command;
	size_t timeout;
	void (*reply)(struct smtpc *);
} steps[STAGES] = {
	[ST_IDLE] = { "waiting", "", T(idle_usec), on_unasked },
	[ST_CONNECT] = { "connecting", "", T(t_connect), on_unasked },
	[ST_BANNER] = { "receiving the initial server greeting", "", T(t_helo), on_banner },
	[ST_EHLO] = { "performing the EHLO handshake", "EHLO command", T(t_helo), on_ehlo },
	[ST_HELO] = { "performing the HELO handshake", "HELO command", T(t_helo), on_helo },
	[ST_RSET] = { "sending RSET", "RSET command", T(t_rset), on_rset },
	[ST_MAIL] = { "sending MAIL FROM", "MAIL FROM command", T(t_mail), on_mail },
	[ST_RCPT] = { "sending RCPT TO", "RCPT TO command", T(t_rcpt), on_rcpt },
	[ST_DATA] = { "sending DATA command", "DATA command", T(t_data_init), on_data },
	[ST_DOT] = { "sending end of data -- message may be sent more than once", "end of DATA command", T(t_data_done), on_dot },
	[ST_QUIT] = { "sending QUIT", "QUIT command", T(t_quit), on_quit },
};

static void on_input(struct conn *conn);
static void on_ended(struct conn *conn, enum conn_end why, int err);
static void on_drained(struct conn *conn);
static void on_connected(struct conn *conn);
static const struct conn_ops client_ops = { on_input, on_ended, on_drained, on_connected };

static void next_command(struct smtpc *c);

/* ---- the wait ---- */

static void
detach_call(struct op *op)
{
	struct smtpc_call *call = container_of(op, struct smtpc_call, op);
	struct smtpc *c = call->session;
	call->session = NULL;
	c->call = NULL;
	c->job = NULL;
	smtpc_retire(c);
}

static const struct op_provider provider = { "smtpc", detach_call };

void
smtpc_call_init(struct smtpc_call *call, struct op_owner *owner, op_fn *done)
{
	*call = (struct smtpc_call){ .session = NULL };
	op_init(&call->op, owner, done);
}

static void
begin_call(struct smtpc *c, struct job *j, struct smtpc_call *call)
{
	call->session = c;
	call->out = (struct outcome){ 0 };
	call->is_stale = call->is_unsure = false;
	c->call = call;
	c->job = j;
	op_pend(&call->op, &provider);
}

static void
end_call(struct smtpc *c, enum rc rc)
{
	struct smtpc_call *call = c->call;
	c->call = NULL;
	c->job = NULL;
	call->session = NULL;
	op_finish(&call->op, rc);
}

/* The session is lost; the job learns why. */
static void
fail(struct smtpc *c, enum rc rc, struct span dsn, struct span text)
{
	if (c->call != NULL) {
		struct smtpc_call *call = c->call;
		call->out = c->base;
		call->out.status = rc == RC_PERM ? RCPT_BOUNCED : RCPT_DEFERRED;
		call->out.dsn = dsn;
		call->out.text = text;
		bool in_transaction = c->stage >= ST_RSET && c->stage <= ST_DOT;
		call->is_stale = in_transaction && c->uses > 1 && !c->heard;
		call->is_unsure = c->stage == ST_DOT && !c->is_sending && c->n_accepted > 0;
		end_call(c, rc);
	}
	smtpc_retire(c);
}

static const char *
doing(const struct smtpc *c)
{
	if (c->stage == ST_EHLO && c->set->lmtp)
		return "performing the LHLO handshake";
	if (c->stage == ST_DOT && c->is_sending)
		return "sending message body";
	return steps[c->stage].doing;
}

static void
arm(struct smtpc *c)
{
	const char *field = (const char *)c->set + (c->stage == ST_DOT && c->is_sending ? T(t_data_xfer) : steps[c->stage].timeout);
	uint64_t usec;
	memcpy(&usec, field, sizeof usec);
	conn_deadline(&c->conn, usec);
}

static void
await(struct smtpc *c, enum stage stage)
{
	c->stage = stage;
	arm(c);
}

/* ---- a session's life ---- */

static void
dig_session(struct grave *g)
{
	struct smtpc *c = container_of(g, struct smtpc, grave);
	CHECK(c, CLIENT_MAGIC);
	list_remove(&c->link);
	c->gone(c);
	hubreply_fini(&c->reply);
	mem_free(&c->who);
	mem_free(&c->relay);
	mem_free(&c->host);
	mem_poison(c, sizeof *c);
	mem_free(&c);
}

static void
bury(struct smtpc *c)
{
	if (c->is_over)
		return;
	c->is_over = true;
	if (c->holder != NULL)
		*c->holder = NULL;
	conn_close(&c->conn);
	metric_add(M_relay_sessions, -1);
	loop_bury(&c->grave, dig_session);
}

void
smtpc_retire(struct smtpc *c)
{
	CHECK(c, CLIENT_MAGIC);
	if (c->is_over)
		return;
	if (c->call != NULL) {
		op_cancel(&c->call->op); /* comes back here without a call */
		return;
	}
	bool is_idle = c->stage == ST_IDLE && !c->is_sending && conn_is_open(&c->conn);
	if (!is_idle || c->conn.broken || c->conn.eof) {
		/* in the middle of something: what is unsent must not leave, least of all half of a message */
		if (conn_is_open(&c->conn) && c->stage != ST_QUIT)
			buf_reset(&c->conn.out);
		bury(c);
		return;
	}
	conn_puts(&c->conn, "QUIT\r\n");
	if (c->set->skip_quit_response)
		bury(c);
	else
		await(c, ST_QUIT);
}

static char *
join(struct span host, struct span ip, uint16_t port)
{
	struct buf b;
	buf_init(&b, 1024);
	buf_put(&b, host);
	buf_putc(&b, '[');
	buf_put(&b, ip);
	buf_putc(&b, ']');
	if (port > 0) {
		buf_putc(&b, ':');
		buf_put_dec(&b, port);
	}
	char *s = mem_strdup(buf_cstr(&b));
	buf_fini(&b);
	return s;
}

static bool
bind_address(const struct settings *set, const struct taddr *to, struct sockaddr_storage *out, socklen_t *len)
{
	struct ipaddr a;
	bool is_v6 = to->addr.family == IPADDR_V6;
	const char *text = is_v6 ? set->bind6 : set->bind4;
	if (to->port == 0 || text[0] == '\0' || ipaddr_parse(span_str(text), &a) != RC_OK || a.family != to->addr.family)
		return false;
	memset(out, 0, sizeof *out);
	if (is_v6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)out;
		in6->sin6_family = AF_INET6;
		memcpy(&in6->sin6_addr, a.b, 16);
		*len = sizeof *in6;
	} else {
		struct sockaddr_in *in4 = (struct sockaddr_in *)(void *)out;
		in4->sin_family = AF_INET;
		memcpy(&in4->sin_addr, a.b, 4);
		*len = sizeof *in4;
	}
	return true;
}

static void
connect_failed(struct smtpc *c, const char *why)
{
	fail(c, RC_TEMP, SPAN("4.4.1"), job_text(c->job, "connect to %s: %s", c->relay, why));
}

struct smtpc *
smtpc_open(const struct settings *set, const struct taddr *to, struct job *j, struct smtpc_call *call, void *home, void (*gone)(struct smtpc *))
{
	struct smtpc *c = mem_zalloc(sizeof *c);
	c->magic = CLIENT_MAGIC;
	c->conn.fd = -1;
	c->set = set;
	c->home = home;
	c->gone = gone;
	c->addr = to->addr;
	c->port = to->port;
	c->opened = loop_now();
	list_init(&c->link);
	hubreply_init(&c->reply);
	c->who = join(to->host, to->ip, 0);
	c->relay = join(to->host, to->ip, to->port);
	c->host = (char *)mem_dup(c->who, to->host.n + 1);
	c->host[to->host.n] = '\0';
	metric_add(M_relay_sessions, 1);
	metric_add(M_relay_sessions_total, 1);
	begin_call(c, j, call);
	c->stage = ST_CONNECT;
	struct sockaddr_storage from;
	socklen_t from_len = 0;
	struct err e;
	bool has_from = bind_address(set, to, &from, &from_len);
	enum rc rc = conn_connect(&c->conn, &to->sock.sa, to->len, has_from ? (struct sockaddr *)&from : NULL, from_len, &client_ops, IN_MAX,
	    OUT_MAX, &e);
	if (rc != RC_OK && has_from && !set->bind_enforce && strncmp(e.why, "bind:", 5) == 0) {
		log_warn(&j->log, "%s: bind to a local address failed, trying without: %s", c->relay, e.why);
		rc = conn_connect(&c->conn, &to->sock.sa, to->len, NULL, 0, &client_ops, IN_MAX, OUT_MAX, &e);
	}
	if (rc != RC_OK)
		connect_failed(c, e.why);
	else
		arm(c);
	return c;
}

bool
smtpc_is_usable(const struct smtpc *c)
{
	if (c->is_over || c->is_closing || c->stage != ST_IDLE || !conn_is_open(&c->conn) || c->conn.eof || c->conn.broken)
		return false;
	if (c->set->reuse_count_max > 0 && c->uses >= c->set->reuse_count_max)
		return false;
	return c->set->reuse_usec == 0 || loop_now() - c->opened < c->set->reuse_usec;
}

void
smtpc_rest(struct smtpc *c)
{
	c->stage = ST_IDLE;
	if (!smtpc_is_usable(c) || c->set->idle_usec == 0)
		smtpc_retire(c);
	else
		arm(c);
}

/* ---- the connection ---- */

static void
on_connected(struct conn *conn)
{
	struct smtpc *c = container_of(conn, struct smtpc, conn);
	CHECK(c, CLIENT_MAGIC);
	c->base.mta = job_keep(c->job, span_str(c->host));
	c->base.relay = job_keep(c->job, span_str(c->relay));
	await(c, ST_BANNER);
}

static void
on_input(struct conn *conn)
{
	struct smtpc *c = container_of(conn, struct smtpc, conn);
	CHECK(c, CLIENT_MAGIC);
	while (!c->is_over && conn_input(conn).n > 0) {
		size_t used;
		enum rc rc = c->stage == ST_IDLE ? RC_PERM : hubreply_feed(&c->reply, conn_input(conn), &used);
		if (rc == RC_PERM) {
			metric_add(M_relay_bad_replies, c->stage != ST_IDLE);
			struct span text = c->job == NULL ? SPAN_EMPTY
			                                  : job_text(c->job, "host %s sent a malformed reply while %s", c->who, doing(c));
			fail(c, RC_TEMP, SPAN("4.5.0"), text);
			return;
		}
		conn_consume(conn, used);
		if (rc == RC_NONE)
			return;
		c->heard = true;
		if (c->reply.code == 421)
			c->is_closing = true;
		steps[c->stage].reply(c);
	}
}

static void
on_ended(struct conn *conn, enum conn_end why, int err)
{
	struct smtpc *c = container_of(conn, struct smtpc, conn);
	CHECK(c, CLIENT_MAGIC);
	if (c->job == NULL) {
		smtpc_retire(c);
		return;
	}
	if (c->stage == ST_CONNECT)
		connect_failed(c, why == CONN_TIMEOUT ? strerror(ETIMEDOUT) : strerror(err));
	else if (why == CONN_TIMEOUT)
		fail(c, RC_TEMP, SPAN("4.4.2"), job_text(c->job, "conversation with %s timed out while %s", c->who, doing(c)));
	else
		fail(c, RC_TEMP, SPAN("4.4.2"), job_text(c->job, "lost connection with %s while %s", c->who, doing(c)));
}

/* ---- outcomes ---- */

static struct span
said_text(struct smtpc *c, const char *before, const char *command)
{
	struct buf b;
	buf_init(&b, SAID_MAX);
	buf_puts(&b, "host ");
	buf_puts(&b, c->who);
	buf_puts(&b, before);
	hubreply_write(&c->reply, &b);
	if (command[0] != '\0') {
		buf_puts(&b, " (in reply to ");
		buf_puts(&b, command);
		buf_putc(&b, ')');
	}
	struct span kept = job_keep(c->job, buf_span(&b));
	buf_fini(&b);
	return kept;
}

static struct span
reply_text(struct smtpc *c)
{
	if (c->reply.lines == 1)
		return job_keep(c->job, buf_span(&c->reply.text));
	struct buf b;
	buf_init(&b, SAID_MAX);
	hubreply_write(&c->reply, &b);
	struct span kept = job_keep(c->job, buf_span(&b));
	buf_fini(&b);
	return kept;
}

/* What the present reply means for a recipient. */
static struct outcome
verdict(struct smtpc *c, enum stage stage)
{
	struct outcome out = c->base;
	int class = c->reply.code / 100;
	if (class == 2) {
		out.status = RCPT_SENT;
		out.dsn = job_keep(c->job, hubreply_dsn(&c->reply));
		out.text = reply_text(c);
		return out;
	}
	out.status = class == 5 ? RCPT_BOUNCED : RCPT_DEFERRED;
	out.text = said_text(c, " said: ", steps[stage].command);
	out.diag = reply_text(c);
	/* 2xx or 3xx where it makes no sense is no refusal for good */
	out.dsn = class == 3 ? SPAN("4.5.0") : job_keep(c->job, hubreply_dsn(&c->reply));
	return out;
}

static void
decide(struct smtpc *c, unsigned i, const struct outcome *out)
{
	c->job->rcpt[i].tx = out->status == RCPT_SENT ? TX_NOT : TX_REFUSED;
	if (out->status == RCPT_DEFERRED)
		job_postpone(c->job, i, out);
	else
		job_settle(c->job, i, out);
}

/* All recipients in this state. */
static void
decide_all(struct smtpc *c, enum tx_state state, const struct outcome *out)
{
	for (unsigned i = 0; i < c->job->nrcpt; i++)
		if (c->job->rcpt[i].tx == state)
			decide(c, i, out);
}

/* ---- handshake ---- */

static void
refused_to_talk(struct smtpc *c, bool is_soft)
{
	c->base.diag = reply_text(c);
	struct span dsn = job_keep(c->job, hubreply_dsn(&c->reply));
	if (is_soft && dsn.p[0] != '4') {
		unsigned char text[16] = { '4' };
		memcpy(text + 1, dsn.p + 1, dsn.n - 1);
		dsn = job_keep(c->job, span_of(text, dsn.n));
	}
	fail(c, is_soft ? RC_TEMP : RC_PERM, dsn, said_text(c, " refused to talk to me: ", ""));
}

static void
say_hello(struct smtpc *c, const char *verb, enum stage stage)
{
	struct buf *out = conn_out(&c->conn);
	buf_puts(out, verb);
	buf_puts(out, c->set->helo_name);
	buf_put(out, SPAN("\r\n"));
	await(c, stage);
}

static void
on_banner(struct smtpc *c)
{
	int class = c->reply.code / 100;
	if (class != 2) {
		refused_to_talk(c, class != 5 || c->set->skip_5xx_greeting);
		return;
	}
	struct span text = buf_span(&c->reply.text);
	bool says_esmtp = span_find(text, SPAN("ESMTP")) != SIZE_MAX;
	if (c->set->lmtp)
		say_hello(c, "LHLO ", ST_EHLO);
	else if (!c->set->never_ehlo && (c->set->always_ehlo || says_esmtp))
		say_hello(c, "EHLO ", ST_EHLO);
	else
		say_hello(c, "HELO ", ST_HELO);
}

/* The hub calls itself by our name: it is us (facts 5.5). Only on port 25, as Postfix does. */
static bool
is_loop(struct smtpc *c, struct span name)
{
	if (c->port != 25 || !span_caseeq_str(name, c->set->myhostname))
		return false;
	log_warn(&c->job->log, "host %s replied to HELO/EHLO with my own hostname %s", c->who, c->set->myhostname);
	const char *nexthop = arena_cstr(&c->job->arena, c->job->m.nexthop);
	fail(c, RC_PERM, SPAN("5.4.6"), job_text(c->job, "mail for %s loops back to myself", nexthop != NULL ? nexthop : c->host));
	return true;
}

static void
ready_for_mail(struct smtpc *c)
{
	c->stage = ST_IDLE; /* the deadline stays until smtpc_rest or the next command moves it */
	end_call(c, RC_OK);
}

static void
on_ehlo(struct smtpc *c)
{
	struct span name;
	int class = c->reply.code / 100;
	if (class == 5 && !c->set->lmtp && !c->is_closing) {
		say_hello(c, "HELO ", ST_HELO);
	} else if (class != 2) {
		refused_to_talk(c, class != 5);
	} else {
		c->features = ehlo_parse(&c->reply, c->set->discard, &c->size_max, &name);
		if (!is_loop(c, name))
			ready_for_mail(c);
	}
}

static void
on_helo(struct smtpc *c)
{
	int class = c->reply.code / 100;
	struct span name, rest = hubreply_line(&c->reply, 0);
	if (class != 2) {
		refused_to_talk(c, class != 5);
		return;
	}
	c->features = 0;
	if (!span_word(&rest, " \t", &name) || !is_loop(c, name))
		ready_for_mail(c);
}

/* ---- a transaction ---- */

static void
finish(struct smtpc *c)
{
	c->stage = ST_IDLE; /* the deadline stays until smtpc_rest or the next command moves it */
	end_call(c, RC_OK);
}

/* Ours, not the hub's: nothing was sent. */
static void
refuse_all(struct smtpc *c, enum rcpt_status status, struct span dsn, struct span text)
{
	struct outcome out = c->base;
	out.status = status;
	out.dsn = dsn;
	out.text = text;
	decide_all(c, TX_SENT, &out);
}

/* Picks the open recipients; false when there is nothing to send for. */
static bool
choose(struct smtpc *c)
{
	struct job *j = c->job;
	for (unsigned i = 0; i < j->nrcpt; i++) {
		bool is_open = j->rcpt[i].out.status == 0;
		j->rcpt[i].tx = is_open ? TX_SENT : TX_NOT;
		if (is_open)
			j->rcpt[i].dsn_passed = (c->features & EHLO_DSN) != 0;
	}
	if (c->size_max > 0 && j->m.length > c->size_max) {
		refuse_all(c, RCPT_BOUNCED, SPAN("5.3.4"), job_text(j, "message size %llu exceeds size limit %llu of server %s",
		    (unsigned long long)j->m.length, (unsigned long long)c->size_max, c->who));
		return false;
	}
	if ((c->features & EHLO_SMTPUTF8) == 0 && compose_needs_utf8(j)) {
		refuse_all(c, RCPT_BOUNCED, SPAN("5.6.7"), job_text(j, "SMTPUTF8 is required, but was not offered by host %s", c->who));
		return false;
	}
	if (!compose_can_send(j->m.sender)) {
		refuse_all(c, RCPT_BOUNCED, SPAN("5.1.7"), SPAN("sender address has control characters"));
		return false;
	}
	unsigned n = 0;
	for (unsigned i = 0; i < j->nrcpt; i++) {
		if (j->rcpt[i].tx != TX_SENT)
			continue;
		if (compose_can_send(j->rcpt[i].r.addr)) {
			n++;
			continue;
		}
		struct outcome out = c->base;
		out.status = RCPT_BOUNCED;
		out.dsn = SPAN("5.1.3");
		out.text = SPAN("recipient address has control characters");
		decide(c, i, &out);
		j->rcpt[i].tx = TX_NOT;
	}
	return n > 0;
}

static unsigned
next_rcpt(const struct smtpc *c, unsigned from)
{
	while (from < c->job->nrcpt && c->job->rcpt[from].tx != TX_SENT)
		from++;
	return from;
}

static void
local_trouble(struct smtpc *c, const struct err *e)
{
	log_warn(&c->job->log, "%s", e->why);
	fail(c, RC_TEMP, SPAN("4.3.0"), job_text(c->job, "%s", e->why));
}

/* The whole transaction, or all of it up to DATA, in one write. False: the session is lost. */
static bool
send_group(struct smtpc *c, struct buf *out)
{
	struct job *j = c->job;
	compose_mail(out, j, c->features);
	for (unsigned i = 0; i < j->nrcpt; i++)
		if (j->rcpt[i].tx == TX_SENT)
			compose_rcpt(out, j, i, c->features);
	if (!c->is_chunked) {
		buf_put(out, SPAN("DATA\r\n"));
		return true;
	}
	struct err e;
	if (outbody_put_bdat(&c->content, out, &e) == RC_OK)
		return true;
	local_trouble(c, &e);
	return false;
}

void
smtpc_deliver(struct smtpc *c, struct job *j, int fd, struct smtpc_call *call)
{
	CHECK(c, CLIENT_MAGIC);
	BUG_ON(c->stage != ST_IDLE || c->call != NULL);
	begin_call(c, j, call);
	c->uses++;
	c->heard = c->is_refused = c->is_sending = false;
	c->n_accepted = 0;
	c->xfer_until = 0;
	c->base = (struct outcome){ .mta = job_keep(j, span_str(c->host)), .relay = job_keep(j, span_str(c->relay)) };
	j->conn_uses = c->uses;
	c->is_pipelined = (c->features & EHLO_PIPELINING) != 0;
	c->is_chunked = c->is_pipelined && (c->features & EHLO_CHUNKING) && !c->set->lmtp && j->m.length <= OUTBODY_MEMORY_MAX;
	if (!choose(c)) {
		finish(c);
		return;
	}
	outbody_init(&c->content, fd, j->m.offset, j->m.length, !c->is_chunked, c->set->line_max);
	struct buf *out = conn_out(&c->conn);
	(void)buf_reserve(out, 1024 + 512 * (size_t)j->nrcpt + (c->is_chunked ? (size_t)j->m.length : 0));
	if (c->is_dirty)
		buf_put(out, SPAN("RSET\r\n"));
	await(c, c->is_dirty ? ST_RSET : ST_MAIL);
	if (c->is_pipelined)
		(void)send_group(c, out);
	else if (!c->is_dirty)
		compose_mail(out, j, c->features);
}

/* Without pipelining: the command whose stage begins. */
static void
next_command(struct smtpc *c)
{
	if (c->is_pipelined)
		return;
	struct buf *out = conn_out(&c->conn);
	if (c->stage == ST_MAIL)
		compose_mail(out, c->job, c->features);
	else if (c->stage == ST_RCPT)
		compose_rcpt(out, c->job, c->at, c->features);
	else if (c->stage == ST_DATA)
		buf_put(out, SPAN("DATA\r\n"));
}

static void
on_rset(struct smtpc *c)
{
	if (c->reply.code / 100 != 2) {
		c->heard = false; /* nothing was said about this job: another session may try at once */
		fail(c, RC_TEMP, job_keep(c->job, hubreply_dsn(&c->reply)), said_text(c, " said: ", steps[ST_RSET].command));
		return;
	}
	c->is_dirty = false;
	c->heard = false;
	await(c, ST_MAIL);
	next_command(c);
}

/* After MAIL and every RCPT: who is next? */
static void
go_on(struct smtpc *c)
{
	if (!c->is_pipelined && c->is_refused) { /* MAIL was: nothing else was sent */
		finish(c);
		return;
	}
	if (c->at < c->job->nrcpt) {
		await(c, ST_RCPT);
	} else if (c->is_chunked) {
		await(c, ST_DOT);
		c->at = 0;
	} else if (c->is_pipelined || c->n_accepted > 0) {
		await(c, ST_DATA);
	} else {
		finish(c);
		return;
	}
	next_command(c);
}

static void
on_mail(struct smtpc *c)
{
	c->is_dirty = true;
	if (c->reply.code == 421 && c->uses > 1) {
		/* the hub has had enough of this session, not of this message */
		c->heard = false;
		fail(c, RC_TEMP, job_keep(c->job, hubreply_dsn(&c->reply)), said_text(c, " said: ", steps[ST_MAIL].command));
		return;
	}
	if (c->reply.code / 100 != 2) {
		struct outcome out = verdict(c, ST_MAIL);
		c->is_refused = true;
		for (unsigned i = 0; i < c->job->nrcpt; i++) {
			if (c->job->rcpt[i].tx != TX_SENT)
				continue;
			decide(c, i, &out);
			c->job->rcpt[i].tx = TX_SENT; /* its reply is still to come when pipelined */
		}
	}
	c->at = next_rcpt(c, 0);
	go_on(c);
}

static void
on_rcpt(struct smtpc *c)
{
	struct jrcpt *r = &c->job->rcpt[c->at];
	if (c->is_refused) {
		r->tx = TX_REFUSED;
	} else if (c->reply.code / 100 == 2) {
		r->tx = TX_ACCEPTED;
		c->n_accepted++;
	} else {
		struct outcome out = verdict(c, ST_RCPT);
		decide(c, c->at, &out);
	}
	c->at = next_rcpt(c, c->at + 1);
	go_on(c);
}

/* smtp_per_request_deadline: the limit is for all of the content, and only what was sent earns more time,
 * at smtp_min_data_rate, never more than the limit at once. */
static void
arm_content(struct smtpc *c)
{
	uint64_t limit = c->set->t_data_xfer, now = loop_now();
	if (limit == 0 || c->set->min_data_rate == 0)
		return;
	if (c->xfer_until == 0)
		c->xfer_until = now + limit;
	else
		c->xfer_until += OUTBODY_PIECE * USEC_PER_SEC / c->set->min_data_rate;
	if (c->xfer_until > now + limit)
		c->xfer_until = now + limit;
	conn_deadline(&c->conn, c->xfer_until > now ? c->xfer_until - now : 1);
}

/* The next piece of the content; the rest when the connection has taken it. */
static void
send_content(struct smtpc *c)
{
	struct err e;
	bool is_end;
	if (outbody_put_data(&c->content, conn_out(&c->conn), &is_end, &e) != RC_OK) {
		local_trouble(c, &e);
		return;
	}
	c->is_sending = !is_end;
	c->conn.want_drained = !is_end;
	arm(c);
	if (c->set->per_request_deadline && !is_end)
		arm_content(c);
}

static void
on_drained(struct conn *conn)
{
	struct smtpc *c = container_of(conn, struct smtpc, conn);
	if (c->stage == ST_DOT && c->is_sending)
		send_content(c);
}

static unsigned
next_accepted(const struct smtpc *c, unsigned from)
{
	while (from < c->job->nrcpt && c->job->rcpt[from].tx != TX_ACCEPTED)
		from++;
	return from;
}

static void
on_data(struct smtpc *c)
{
	if (c->reply.code / 100 != 3) {
		if (c->n_accepted > 0) {
			struct outcome out = verdict(c, ST_DATA);
			if (out.status == RCPT_SENT) {
				out.status = RCPT_DEFERRED;
				out.dsn = SPAN("4.5.0");
				out.text = said_text(c, " said: ", steps[ST_DATA].command);
				c->is_closing = true;
			}
			decide_all(c, TX_ACCEPTED, &out);
		}
		finish(c);
		return;
	}
	await(c, ST_DOT);
	c->at = next_accepted(c, 0);
	if (c->n_accepted > 0) {
		send_content(c);
		return;
	}
	/* RFC 2920 3.1: the hub goes on although it refused every recipient: end it with nothing. LMTP then
	 * owes no reply, so that session ends here. */
	if (c->set->lmtp) {
		c->is_closing = c->is_sending = true;
		finish(c);
		return;
	}
	conn_puts(&c->conn, ".\r\n");
}

static void
on_dot(struct smtpc *c)
{
	bool is_early = c->is_sending;
	if (is_early && c->reply.code / 100 < 4) {
		fail(c, RC_TEMP, SPAN("4.5.0"), job_text(c->job, "host %s sent a malformed reply while %s", c->who, doing(c)));
		return;
	}
	if (c->n_accepted > 0) {
		struct outcome out = verdict(c, ST_DOT);
		if (c->set->lmtp && !is_early) {
			decide(c, c->at, &out);
			c->at = next_accepted(c, c->at + 1);
			if (c->at < c->job->nrcpt) {
				arm(c);
				return;
			}
		} else {
			decide_all(c, TX_ACCEPTED, &out);
		}
	}
	c->is_dirty = c->reply.code / 100 != 2 || c->n_accepted == 0;
	if (is_early)
		c->is_closing = true; /* the rest of the content is not sent, so nothing else can be; not even QUIT */
	finish(c);
}

static void
on_quit(struct smtpc *c)
{
	bury(c);
}

static void
on_unasked(struct smtpc *c)
{
	smtpc_retire(c);
}
