/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AUTH at a hub (RFC 4954): from the reply to EHLO to a session that is ready, or lost with the reason.
 *
 * Who has a login is not a stranger: when AUTH is offered and does not work, mail waits. Facts 8.6.
 */
#include "deliver/client_private.h"

#include "base/mem.h"
#include "msg/ehlo.h"

enum { MECHS_MAX = 8192, REMARK_SHOWN = 200 };

static void look_up(struct smtpc *c);
static void begin(struct smtpc *c);

/* The session ends, with QUIT where the hub still listens. */
static void
give_up(struct smtpc *c, enum rc rc, struct span dsn, struct span text)
{
	c->stage = ST_IDLE;
	c->is_closing = true;
	smtpc_fail(c, rc, dsn, text);
}

void
smtpc_forget_login(struct smtpc *c)
{
	map_wait_fini(&c->maps);
	sasl_end(&c->sasl);
	login_wipe(&c->login);
	mem_free(&c->mechs);
}

/* ---- is there a login, and a mechanism? ---- */

static enum sasl_where
protection(const struct smtpc *c)
{
	if (!conn_is_secured(&c->conn))
		return SASL_IN_CLEAR;
	return c->is_verified ? SASL_IN_VERIFIED_TLS : SASL_IN_TLS;
}

static void
local_trouble(struct smtpc *c, const struct err *e)
{
	log_warn(&c->job->log, "%s", e->why);
	give_up(c, RC_TEMP, SPAN("4.3.0"), job_text(c->job, "local data error while talking to %s", c->who));
}

/* Of the reply to EHLO; the next one, after TLS, counts anew. */
void
smtpc_note_offer(struct smtpc *c)
{
	struct buf all;
	mem_free(&c->mechs);
	if (c->logins == NULL || (c->features & HUB_AUTH) == 0)
		return;
	buf_init(&all, MECHS_MAX);
	if (ehlo_mechanisms(&c->reply, &all)) /* too many: as if there were none that we can use; who has a login is no stranger */
		c->mechs = mem_strdup(all.over ? "" : buf_cstr(&all));
	buf_fini(&all);
}

/* What is left of the offer when the administrator's filter has seen it. */
static bool
filter_offer(struct smtpc *c)
{
	struct buf left;
	struct err e = { .why = "" };
	buf_init(&left, MECHS_MAX);
	enum rc rc = logins_filter(c->logins, span_str(c->mechs), &left, &e);
	if (rc != RC_OK) {
		local_trouble(c, &e);
	} else {
		if (c->mechs[0] == '\0')
			log_warn(&c->job->log, "%s offered null AUTH mechanism list", c->who);
		else if (buf_len(&left) == 0)
			log_warn(&c->job->log, "%s offered no supported AUTH mechanisms: '%s'", c->who, c->mechs);
		mem_free(&c->mechs);
		c->mechs = mem_strdup(buf_cstr(&left));
	}
	buf_fini(&left);
	return rc == RC_OK;
}

void
smtpc_log_in(struct smtpc *c)
{
	c->features &= ~(unsigned)HUB_AUTH; /* from here on: say AUTH=<> to MAIL */
	if (c->mechs == NULL)
		smtpc_ready(c);
	else if (filter_offer(c))
		look_up(c);
}

static void
on_maps(struct op *op)
{
	struct smtpc *c = container_of(op, struct smtpc, maps.op);
	CHECK(c, CLIENT_MAGIC);
	look_up(c);
}

static void
look_up(struct smtpc *c)
{
	struct err e = { .why = "" };
	map_forget();
	enum rc rc = login_find(c->logins, c->job->m.sender, span_str(c->host), span_str(c->nexthop), &c->login, &e);
	if (rc == RC_TEMP && map_asked()) {
		if (c->maps.op.owner == NULL)
			map_wait_init(&c->maps, &c->ops, on_maps);
		smtpc_await(c, ST_LOGIN);
		map_wait_start(&c->maps);
		return;
	}
	map_wait_fini(&c->maps);
	if (rc == RC_OK)
		begin(c);
	else if (rc == RC_NONE)
		smtpc_ready(c); /* no login for this hub: we talk as strangers */
	else
		local_trouble(c, &e);
}

/* The hub speaks while a table is asked: nothing was asked of it. */
void
smtpc_on_login(struct smtpc *c)
{
	smtpc_fail(c, RC_TEMP, SPAN("4.5.0"), smtpc_said(c, " said: ", ""));
}

bool
smtpc_suits(const struct smtpc *c, const struct job *j)
{
	struct login now;
	struct err e;
	if (!logins_by_sender(c->logins) || c->mechs == NULL)
		return true;
	map_forget();
	enum rc rc = login_find(c->logins, j->m.sender, span_str(c->host), span_str(c->nexthop), &now, &e);
	bool suits = (rc == RC_OK || rc == RC_NONE) && login_same(&now, &c->login);
	login_wipe(&now);
	return suits;
}

/* ---- the dialogue ---- */

/* A command with the secret in it: no copy stays. */
static void
send_wiped(struct smtpc *c, const char *verb, struct buf *text)
{
	struct buf *out = conn_out(&c->conn);
	out->is_secret = true;
	buf_puts(out, verb);
	buf_put(out, buf_span(text));
	buf_put(out, SPAN("\r\n"));
	buf_fini(text);
	smtpc_await(c, ST_AUTH);
}

static struct span
cannot(struct smtpc *c, const struct err *e)
{
	return job_text(c->job, "SASL authentication failed; cannot authenticate to server %s: %s", c->who, e->why);
}

static bool
is_known_bad(struct smtpc *c)
{
	struct badlogin bad;
	if (c->set->auth_cache[0] == '\0' || badlogins_find(c->host, &c->login, c->set->auth_cache_usec, &bad) != RC_OK)
		return false;
	struct span dsn = job_keep(c->job, span_str(bad.dsn));
	bool is_soft = c->set->auth_soft_bounce;
	struct span text = job_text(c->job, "SASL [CACHED] authentication failed; server %s said: %s", c->host, bad.text);
	give_up(c, is_soft ? RC_TEMP : RC_PERM, is_soft ? smtpc_softened(c, dsn) : dsn, text);
	return true;
}

static void
begin(struct smtpc *c)
{
	struct buf first;
	struct err e = { .why = "" };
	if (c->mechs[0] == '\0') {
		give_up(c, RC_TEMP, SPAN("4.7.0"), job_text(c->job, "SASL authentication failed: server %s offered no compatible authentication mechanisms "
		    "for this type of connection security", c->who));
		return;
	}
	if (is_known_bad(c))
		return;
	struct sasl_request r = {
		.service = c->set->lmtp ? "lmtp" : "smtp",
		.host = c->host,
		.port = c->port,
		.login = &c->login,
		.options = logins_options(c->logins, protection(c)),
		.send_authzid = c->set->send_authzid,
		.is_choice = logins_has_filter(c->logins),
	};
	buf_init_secret(&first, SASL_LINE_MAX);
	if (sasl_begin(&c->sasl, &r, span_str(c->mechs), &first, &e) == RC_OK) {
		send_wiped(c, "AUTH ", &first);
		return;
	}
	buf_fini(&first);
	give_up(c, RC_TEMP, SPAN("4.7.0"), cannot(c, &e));
}

static void
on_challenge(struct smtpc *c)
{
	struct buf response;
	struct err e = { .why = "" };
	buf_init_secret(&response, SASL_LINE_MAX);
	if (!c->is_cancelled && sasl_next(c->sasl, hubreply_line(&c->reply, 0), &response, &e) == RC_OK) {
		send_wiped(c, "", &response);
		return;
	}
	buf_fini(&response);
	if (c->is_cancelled) { /* it does not understand "*" */
		give_up(c, RC_TEMP, c->base.dsn, c->base.text);
		return;
	}
	c->is_cancelled = true;
	c->base.dsn = SPAN("4.7.0");
	c->base.text = cannot(c, &e);
	conn_puts(&c->conn, "*\r\n");
	smtpc_await(c, ST_AUTH);
}

static void
on_refused(struct smtpc *c)
{
	struct buf said;
	int class = c->reply.code / 100;
	bool is_soft = class != 5 || c->set->auth_soft_bounce;
	buf_init(&said, HUBREPLY_BYTES_MAX);
	hubreply_write(&c->reply, &said);
	login_mask(&c->login, &said);
	struct span dsn = job_keep(c->job, hubreply_dsn(&c->reply));
	struct span remark = sasl_remark(c->sasl);
	if (remark.n > 0) {
		struct buf why;
		buf_init(&why, SASL_LINE_MAX);
		buf_put(&why, remark);
		login_mask(&c->login, &why);
		struct buf text;
		buf_init(&text, SASL_LINE_MAX);
		buf_puts(&text, c->who);
		buf_puts(&text, " says of the token: ");
		buf_put(&text, span_head(buf_span(&why), REMARK_SHOWN));
		LOG(warning, &c->job->log, F_SPAN(text, buf_span(&text)));
		buf_fini(&text);
		buf_fini(&why);
	}
	if (class == 5 && c->set->auth_cache[0] != '\0')
		badlogins_add(c->host, &c->login, dsn, buf_span(&said));
	c->base.diag = job_keep(c->job, buf_span(&said));
	struct span text = job_text(c->job, "SASL authentication failed; server %s said: %s", c->who, buf_cstr(&said));
	buf_fini(&said);
	give_up(c, is_soft ? RC_TEMP : RC_PERM, is_soft ? smtpc_softened(c, dsn) : dsn, text);
}

void
smtpc_on_auth(struct smtpc *c)
{
	int class = c->reply.code / 100;
	if (class == 3) {
		on_challenge(c);
		return;
	}
	if (c->is_cancelled) {
		struct span dsn = c->base.dsn, text = c->base.text;
		c->base.dsn = c->base.text = SPAN_EMPTY;
		give_up(c, RC_TEMP, dsn, text);
		return;
	}
	if (class != 2) {
		on_refused(c);
		return;
	}
	if (!sasl_is_proved(c->sasl)) {
		struct err e;
		(void)!err_set(&e, RC_TEMP, "the server did not prove who it is");
		give_up(c, RC_TEMP, SPAN("4.7.0"), cannot(c, &e));
		return;
	}
	sasl_end(&c->sasl);
	c->conn.out.is_secret = false; /* it has left: there is a reply */
	if (c->set->dummy_mail_auth)
		c->features |= HUB_AUTH;
	smtpc_ready(c);
}
