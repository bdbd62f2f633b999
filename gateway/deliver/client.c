/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/client.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "deliver/client_private.h"
#include "msg/ehlo.h"

#include <errno.h>

enum { IN_MAX = 64 * 1024, OUT_MAX = 2 * 1024 * 1024, SAID_MAX = HUBREPLY_BYTES_MAX + 1024 };

static void on_banner(struct smtpc *c);
static void on_ehlo(struct smtpc *c);
static void on_helo(struct smtpc *c);
static void on_quit(struct smtpc *c);
static void on_unasked(struct smtpc *c);

#define T(field) offsetof(struct settings, field)
const struct smtpc_step smtpc_steps[STAGES] = {
	[ST_IDLE] = { "waiting", "", T(idle_usec), on_unasked },
	[ST_CONNECT] = { "connecting", "", T(t_connect), on_unasked },
	[ST_BANNER] = { "receiving the initial server greeting", "", T(t_helo), on_banner },
	[ST_EHLO] = { "performing the EHLO handshake", "EHLO command", T(t_helo), on_ehlo },
	[ST_HELO] = { "performing the HELO handshake", "HELO command", T(t_helo), on_helo },
	[ST_STARTTLS] = { "receiving the STARTTLS response", "STARTTLS command", T(t_starttls), smtpc_on_starttls },
	[ST_TLS] = { "performing the TLS handshake", "", T(t_starttls), on_unasked },
	[ST_LOGIN] = { "performing the EHLO handshake", "", T(t_helo), smtpc_on_login },
	[ST_AUTH] = { "performing the SASL authentication", "AUTH command", T(t_helo), smtpc_on_auth },
	[ST_RSET] = { "sending RSET", "RSET command", T(t_rset), smtpc_on_rset },
	[ST_XFORWARD] = { "sending XFORWARD", "XFORWARD command", T(t_xforward), smtpc_on_xforward },
	[ST_MAIL] = { "sending MAIL FROM", "MAIL FROM command", T(t_mail), smtpc_on_mail },
	[ST_RCPT] = { "sending RCPT TO", "RCPT TO command", T(t_rcpt), smtpc_on_rcpt },
	[ST_DATA] = { "sending DATA command", "DATA command", T(t_data_init), smtpc_on_data },
	[ST_DOT] = { "sending end of data -- message may be sent more than once", "end of DATA command", T(t_data_done), smtpc_on_dot },
	[ST_QUIT] = { "sending QUIT", "QUIT command", T(t_quit), on_quit },
};

static void on_input(struct conn *conn);
static void on_ended(struct conn *conn, enum conn_end why, int err);
static void on_connected(struct conn *conn);
static const struct conn_ops client_ops = { .input = on_input, .ended = on_ended, .drained = smtpc_on_drained, .connected = on_connected,
	.secured = smtpc_on_secured };

/* ---- the wait ---- */

static void
detach_call(struct op *op)
{
	struct smtpc_call *call = container_of(op, struct smtpc_call, op);
	struct smtpc *c = call->session;
	call->session = NULL;
	c->call = NULL;
	c->job = NULL;
	map_wait_fini(&c->check_maps);
	smtpc_retire(c);
}

static const struct op_provider provider = { "smtpc", detach_call };

void
smtpc_call_init(struct smtpc_call *call, struct op_owner *owner, op_fn *done)
{
	*call = (struct smtpc_call){ .session = NULL };
	op_init(&call->op, owner, done);
}

void
smtpc_begin_call(struct smtpc *c, struct job *j, struct smtpc_call *call)
{
	call->session = c;
	call->out = (struct outcome){ 0 };
	call->is_stale = call->is_unsure = call->wants_plain = false;
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
	map_wait_fini(&c->check_maps);
	call->session = NULL;
	op_finish(&call->op, rc);
}

void
smtpc_ready(struct smtpc *c)
{
	c->stage = ST_IDLE; /* the deadline stays until smtpc_rest or the next command moves it */
	end_call(c, RC_OK);
}

void
smtpc_fail(struct smtpc *c, enum rc rc, struct span dsn, struct span text)
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

const char *
smtpc_doing(const struct smtpc *c)
{
	if (c->stage == ST_EHLO && c->set->lmtp)
		return "performing the LHLO handshake";
	if (c->stage == ST_DOT && c->is_sending)
		return "sending message body";
	return smtpc_steps[c->stage].doing;
}

void
smtpc_arm(struct smtpc *c)
{
	const char *field = (const char *)c->set + (c->stage == ST_DOT && c->is_sending ? T(t_data_xfer) : smtpc_steps[c->stage].timeout);
	uint64_t usec;
	memcpy(&usec, field, sizeof usec);
	conn_deadline(&c->conn, usec);
}

void
smtpc_await(struct smtpc *c, enum stage stage)
{
	c->stage = stage;
	smtpc_arm(c);
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
	mem_free(&c->nexthop);
	mem_poison(c, sizeof *c);
	mem_free(&c);
}

void
smtpc_let_go(struct smtpc *c)
{
	if (c->holder != NULL)
		*c->holder = NULL;
	c->holder = NULL;
}

void
smtpc_hold(struct smtpc *c, struct smtpc **holder)
{
	CHECK(c, CLIENT_MAGIC);
	BUG_ON(*holder != NULL && *holder != c);
	smtpc_let_go(c);
	if (c->is_over || c->stage == ST_QUIT)
		return;
	*holder = c;
	c->holder = holder;
}

static void
bury(struct smtpc *c)
{
	if (c->is_over)
		return;
	c->is_over = true;
	smtpc_let_go(c);
	conn_close(&c->conn);
	smtpc_forget_login(c);
	smtpc_forget_tls(c);
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
	smtpc_let_go(c);
	bool is_idle = c->stage == ST_IDLE && !c->is_sending && !c->is_dismissed && conn_is_open(&c->conn);
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
		smtpc_await(c, ST_QUIT);
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
	smtpc_fail(c, RC_TEMP, SPAN("4.4.1"), job_text(c->job, "connect to %s: %s", c->relay, why));
}

struct smtpc *
smtpc_open(const struct smtpc_home *home, const struct taddr *to, struct job *j, struct smtpc_call *call)
{
	const struct settings *set = home->set;
	struct smtpc *c = mem_zalloc(sizeof *c);
	c->magic = CLIENT_MAGIC;
	c->conn.fd = -1;
	c->set = set;
	c->home = home->home;
	c->gone = home->gone;
	c->logins = home->logins;
	c->policies = home->policies;
	c->is_plain = home->is_plain;
	c->nexthop = span_dup(home->nexthop);
	op_owner_init(&c->ops);
	c->addr = to->addr;
	c->port = to->port;
	c->opened = loop_now();
	list_init(&c->link);
	hubreply_init(&c->reply);
	c->who = join(to->host, to->ip, 0);
	c->relay = join(to->host, to->ip, to->port);
	c->host = span_dup(to->host);
	metric_add(M_relay_sessions, 1);
	metric_add(M_relay_sessions_total, 1);
	smtpc_begin_call(c, j, call);
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
		smtpc_arm(c);
	return c;
}

bool
smtpc_is_usable(const struct smtpc *c)
{
	if (c->is_over || c->is_closing || c->stage != ST_IDLE || !conn_is_open(&c->conn) || c->conn.eof || c->conn.broken)
		return false;
	if (c->uses > 0 && (c->is_plain || (conn_ssl(&c->conn) != NULL && !c->tls.may_reuse)))
		return false; /* what went in the clear after TLS failed is no way for other mail */
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
		smtpc_arm(c);
}

/* ---- the connection ---- */

static void
on_connected(struct conn *conn)
{
	struct smtpc *c = container_of(conn, struct smtpc, conn);
	CHECK(c, CLIENT_MAGIC);
	c->base.mta = job_keep(c->job, span_str(c->host));
	c->base.relay = job_keep(c->job, span_str(c->relay));
	smtpc_find_policy(c);
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
			c->is_dismissed |= c->stage == ST_IDLE; /* it speaks unasked, most often to say 421 */
			metric_add(M_relay_bad_replies, c->stage != ST_IDLE);
			struct span text = c->job == NULL ? SPAN_EMPTY
			                                  : job_text(c->job, "host %s sent a malformed reply while %s", c->who, smtpc_doing(c));
			smtpc_fail(c, RC_TEMP, SPAN("4.5.0"), text);
			return;
		}
		conn_consume(conn, used);
		if (rc == RC_NONE)
			return;
		c->heard = true;
		if (c->reply.code == 421)
			c->is_closing = c->is_dismissed = true;
		smtpc_steps[c->stage].reply(c);
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
	if (c->stage == ST_TLS) {
		smtpc_handshake_failed(c, why, err);
		return;
	}
	if (conn_is_secured(conn) && c->call != NULL && smtpc_may_go_plain(c))
		c->call->wants_plain = true;
	if (c->stage == ST_CONNECT)
		connect_failed(c, why == CONN_TIMEOUT ? strerror(ETIMEDOUT) : strerror(err));
	else if (why == CONN_TIMEOUT)
		smtpc_fail(c, RC_TEMP, SPAN("4.4.2"), job_text(c->job, "conversation with %s timed out while %s", c->who, smtpc_doing(c)));
	else
		smtpc_fail(c, RC_TEMP, SPAN("4.4.2"), job_text(c->job, "lost connection with %s while %s", c->who, smtpc_doing(c)));
}

/* ---- what the hub said ---- */

bool
smtpc_was_dismissed(struct smtpc *c)
{
	if (!c->is_dismissed)
		return false;
	c->base.diag = smtpc_reply_text(c);
	smtpc_fail(c, RC_TEMP, job_keep(c->job, hubreply_dsn(&c->reply)), smtpc_said(c, " said: ", smtpc_steps[c->stage].command));
	return true;
}

struct span
smtpc_said(struct smtpc *c, const char *before, const char *command)
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
	login_mask(&c->login, &b);
	struct span kept = job_keep(c->job, buf_span(&b));
	buf_fini(&b);
	return kept;
}

struct span
smtpc_reply_text(struct smtpc *c)
{
	if (c->reply.lines == 1 && c->login.secret == NULL)
		return job_keep(c->job, buf_span(&c->reply.text));
	struct buf b;
	buf_init(&b, SAID_MAX);
	hubreply_write(&c->reply, &b);
	login_mask(&c->login, &b);
	struct span kept = job_keep(c->job, buf_span(&b));
	buf_fini(&b);
	return kept;
}

/* ---- handshake ---- */

struct span
smtpc_softened(struct smtpc *c, struct span dsn)
{
	unsigned char text[16] = { '4' };
	if (dsn.n == 0 || dsn.n > sizeof text || dsn.p[0] == '4')
		return dsn;
	memcpy(text + 1, dsn.p + 1, dsn.n - 1);
	return job_keep(c->job, span_of(text, dsn.n));
}

static void
refused_to_talk(struct smtpc *c, bool is_soft)
{
	c->base.diag = smtpc_reply_text(c);
	struct span dsn = job_keep(c->job, hubreply_dsn(&c->reply));
	if (is_soft)
		dsn = smtpc_softened(c, dsn);
	smtpc_fail(c, is_soft ? RC_TEMP : RC_PERM, dsn, smtpc_said(c, " refused to talk to me: ", ""));
}

static void
greet(struct smtpc *c, const char *verb, enum stage stage)
{
	struct buf *out = conn_out(&c->conn);
	buf_puts(out, verb);
	buf_puts(out, c->set->helo_name);
	buf_put(out, SPAN("\r\n"));
	smtpc_await(c, stage);
}

void
smtpc_say_hello(struct smtpc *c)
{
	greet(c, c->set->lmtp ? "LHLO " : "EHLO ", ST_EHLO);
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
	if (c->set->lmtp || (!c->set->never_ehlo && (c->set->always_ehlo || says_esmtp)))
		smtpc_say_hello(c);
	else
		greet(c, "HELO ", ST_HELO);
}

/* The hub calls itself by our name: it is us (facts 5.5). Only on port 25, as Postfix does. */
static bool
is_loop(struct smtpc *c, struct span name)
{
	if (c->port != 25 || !span_caseeq_str(name, c->set->myhostname))
		return false;
	log_warn(&c->job->log, "host %s replied to HELO/EHLO with my own hostname %s", c->who, c->set->myhostname);
	const char *nexthop = arena_cstr(&c->job->arena, c->job->m.nexthop);
	smtpc_fail(c, RC_PERM, SPAN("5.4.6"), job_text(c->job, "mail for %s loops back to myself", nexthop != NULL ? nexthop : c->host));
	return true;
}

static void
on_ehlo(struct smtpc *c)
{
	struct span name;
	int class = c->reply.code / 100;
	if (class == 5 && !c->set->lmtp && !c->is_closing) {
		greet(c, "HELO ", ST_HELO);
	} else if (class != 2) {
		refused_to_talk(c, class != 5);
	} else {
		c->features = ehlo_parse(&c->reply, c->set->discard, &c->size_max, &name);
		if (!is_loop(c, name))
			smtpc_secure(c);
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
		smtpc_secure(c);
}

/* ---- the end ---- */

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
