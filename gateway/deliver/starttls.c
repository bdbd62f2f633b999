/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS with a hub: which policy, STARTTLS or TLS from the first octet, and what becomes of the session (facts 8.3).
 *
 * A level above may is never left: without TLS, or with a server that is not the one wanted, mail waits. At may a handshake that
 * failed leads to a second try in the clear, on a new connection, for mail that has waited for minimal_backoff_time and
 * has no login to lose.
 */
#include "deliver/client_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "msg/ehlo.h"

#include <errno.h>

enum { KEY_MAX = 4096, LINE_MAX_OCTETS = 2048 };

static void begin_handshake(struct smtpc *c);

void
smtpc_forget_tls(struct smtpc *c)
{
	map_wait_fini(&c->policy_maps);
	tls_policy_fini(&c->tls);
	mem_free(&c->tls_key);
	mem_free(&c->domain);
}

static void
give_up(struct smtpc *c, const char *dsn, struct span text)
{
	c->stage = ST_IDLE;
	c->is_closing = true;
	smtpc_fail(c, RC_TEMP, span_str(dsn), text);
}

/* ---- the policy, as soon as the connection stands ---- */

/* "[mail.example.com]:587" without brackets and port. */
static char *
domain_of(const char *nexthop)
{
	struct span s = span_str(nexthop);
	if (s.n > 0 && s.p[0] == '[') {
		s = span_from(s, 1);
		s = span_head(s, span_chr(s, ']') == SIZE_MAX ? s.n : span_chr(s, ']'));
		if (span_casestarts(s, SPAN("IPv6:")))
			s = span_from(s, 5);
	} else if (span_chr(s, ':') != SIZE_MAX && span_chr(s, ':') == span_rchr(s, ':')) {
		s = span_head(s, span_chr(s, ':'));
	}
	return span_dup(s);
}

/* Sessions are resumed with the same host, for the same policy. */
static void
make_key(struct smtpc *c)
{
	const struct tls_wish *w = &c->tls.wish;
	const char *parts[] = { c->relay, c->nexthop, tls_demand_name(w->level), w->protocols, w->grade, w->exclude, w->sni, w->match, w->anchors };
	struct buf b;
	buf_init(&b, KEY_MAX);
	for (size_t i = 0; i < NELEMS(parts); i++) {
		buf_puts(&b, parts[i] != NULL ? parts[i] : "-");
		buf_putc(&b, '\n');
	}
	c->tls_key = b.over ? NULL : mem_strdup(buf_cstr(&b));
	buf_fini(&b);
}

static void
on_maps(struct op *op)
{
	struct smtpc *c = container_of(op, struct smtpc, policy_maps.op);
	CHECK(c, CLIENT_MAGIC);
	conn_resume(&c->conn);
	smtpc_find_policy(c);
}

void
smtpc_find_policy(struct smtpc *c)
{
	struct err e = { .why = "" };
	smtpc_await(c, ST_BANNER);
	if (c->policies == NULL || c->is_plain)
		return;
	map_forget();
	enum rc rc = tls_policy_find(c->policies, span_str(c->nexthop), span_str(c->host), &c->tls, &e);
	if (rc == RC_TEMP && map_asked()) {
		if (c->policy_maps.op.owner == NULL)
			map_wait_init(&c->policy_maps, &c->ops, on_maps);
		tls_policy_fini(&c->tls);
		conn_pause(&c->conn);
		map_wait_start(&c->policy_maps);
		return;
	}
	map_wait_fini(&c->policy_maps);
	if (rc != RC_OK) {
		log_warn(&c->job->log, "%s", e.why);
		give_up(c, "4.7.5", SPAN("client TLS configuration problem"));
		return;
	}
	if (c->port == 0 && c->tls.wish.level == TLS_DEMAND_MAY) /* nobody listens between two ends of one machine */
		c->tls.wish.level = TLS_DEMAND_NONE;
	c->domain = domain_of(c->nexthop);
	make_key(c);
	c->tls.wish.host = c->host;
	c->tls.wish.nexthop = c->domain;
	c->tls.wish.key = c->tls_key;
	if (tls_policies_wrapped(c->policies))
		begin_handshake(c);
}

/* ---- behind EHLO ---- */

static bool
is_required(const struct smtpc *c)
{
	return c->tls.wish.level > TLS_DEMAND_MAY;
}

void
smtpc_secure(struct smtpc *c)
{
	bool is_offered = (c->features & HUB_STARTTLS) != 0;
	smtpc_note_offer(c);
	if (conn_ssl(&c->conn) != NULL || c->policies == NULL) {
		smtpc_log_in(c);
		return;
	}
	if (is_offered && c->tls.wish.level <= TLS_DEMAND_NONE && tls_policies_note_offer(c->policies)) {
		const struct log_ctx log = { .tag = c->job->log.tag, .service = c->job->log.service };
		log_info(&log, "Host offered STARTTLS: [%s]", c->host);
	}
	if (is_offered && c->tls.wish.level >= TLS_DEMAND_MAY) {
		conn_puts(&c->conn, "STARTTLS\r\n");
		smtpc_await(c, ST_STARTTLS);
	} else if (is_required(c)) {
		give_up(c, "4.7.4", job_text(c->job, "TLS is required, but was not offered by host %s", c->who));
	} else {
		smtpc_log_in(c);
	}
}

void
smtpc_on_starttls(struct smtpc *c)
{
	if (c->reply.code / 100 == 2) {
		begin_handshake(c);
		return;
	}
	if (!is_required(c)) { /* it goes on in the clear, unless the hub has had enough: then like a handshake that failed */
		if (c->is_dismissed && smtpc_may_go_plain(c))
			c->call->wants_plain = true;
		if (!smtpc_was_dismissed(c))
			smtpc_log_in(c);
		return;
	}
	struct buf said;
	buf_init(&said, HUBREPLY_BYTES_MAX);
	hubreply_write(&c->reply, &said);
	c->base.diag = smtpc_reply_text(c);
	struct span dsn = smtpc_softened(c, job_keep(c->job, hubreply_dsn(&c->reply)));
	struct span text = job_text(c->job, "TLS is required, but host %s refused to start TLS: %s", c->who, buf_cstr(&said));
	buf_fini(&said);
	c->stage = ST_IDLE;
	c->is_closing = true;
	smtpc_fail(c, RC_TEMP, dsn, text);
}

/* ---- the handshake ---- */

static void
begin_handshake(struct smtpc *c)
{
	SSL *ssl = NULL;
	struct err e = { .why = "" };
	if (tls_client_ssl(tls_policies_client(c->policies), &c->tls.wish, &ssl, &e) != RC_OK) {
		log_warn(&c->job->log, "%s: %s", c->relay, e.why);
		c->stage = ST_CONNECT; /* the hub waits for a handshake: nothing else can be said */
		smtpc_fail(c, RC_TEMP, SPAN("4.7.5"), SPAN("TLS is required, but our TLS engine is unavailable"));
		return;
	}
	smtpc_await(c, ST_TLS);
	conn_start_tls(&c->conn, ssl);
}

bool
smtpc_may_go_plain(const struct smtpc *c)
{
	if (c->tls.wish.level != TLS_DEMAND_MAY || c->job == NULL || c->job->m.active - c->job->m.arrival < c->set->min_backoff_usec)
		return false;
	struct login login;
	struct err e;
	if (c->logins == NULL)
		return true;
	enum rc rc = login_find(c->logins, c->job->m.sender, span_str(c->host), span_str(c->nexthop), &login, &e);
	login_wipe(&login);
	return rc == RC_NONE;
}

/* The hub went away, or what it said was no TLS. */
void
smtpc_handshake_failed(struct smtpc *c, enum conn_end why, int err)
{
	const struct log_ctx log = { .tag = c->job->log.tag, .service = c->job->log.service };
	const char *reason = conn_tls_error(&c->conn);
	if (reason[0] != '\0') {
		log_info(&log, "SSL_connect error to %s: -1", c->relay);
		log_warn(&log, "TLS library problem: %s", reason);
	} else {
		log_info(&log, "SSL_connect error to %s: %s", c->relay,
		    why == CONN_TIMEOUT ? strerror(ETIMEDOUT) : why == CONN_ERROR && err != EPROTO ? strerror(err) : "lost connection");
	}
	tls_client_forget(tls_policies_client(c->policies), c->tls_key);
	if (c->call != NULL && smtpc_may_go_plain(c))
		c->call->wants_plain = true;
	smtpc_fail(c, RC_TEMP, SPAN("4.7.5"), SPAN("Cannot start TLS: handshake failure"));
}

static void
log_handshake(struct smtpc *c, const struct tls_peer *p)
{
	const struct log_ctx log = { .tag = c->job->log.tag, .service = c->job->log.service };
	struct tls_client *t = tls_policies_client(c->policies);
	struct buf line;
	buf_init(&line, LINE_MAX_OCTETS);
	if (tls_client_loglevel(t) >= 1 && c->tls.wish.level > TLS_DEMAND_ENCRYPT && p->has_cert && !p->is_matched) {
		tls_client_explain(conn_ssl(&c->conn), p, c->tls.wish.level, c->relay, &line);
		LOG(info, &log, F_SPAN(text, buf_span(&line)));
		buf_reset(&line);
	}
	if (tls_client_loglevel(t) >= 2 && p->has_cert) {
		buf_printf(&line, "%s: subject_CN=%s, issuer_CN=%s, fingerprint=%s, pkey_fingerprint=%s", c->relay, p->subject, p->issuer,
		    p->cert_fingerprint, p->key_fingerprint);
		LOG(info, &log, F_SPAN(text, buf_span(&line)));
		buf_reset(&line);
	}
	if (tls_client_loglevel(t) >= 1) {
		tls_peer_summary(&line, p, "to", span_str(c->relay), span_str(p->sni));
		LOG(info, &log, F_SPAN(text, buf_span(&line)));
	}
	buf_fini(&line);
}

void
smtpc_on_secured(struct conn *conn)
{
	struct smtpc *c = container_of(conn, struct smtpc, conn);
	struct tls_peer peer;
	CHECK(c, CLIENT_MAGIC);
	if (c->job == NULL)
		return;
	tls_client_judge(tls_policies_client(c->policies), conn_ssl(conn), &c->tls.wish, &peer);
	c->is_verified = peer.is_matched;
	metric_add(M_relay_tls, 1);
	metric_add(M_relay_tls_resumed, peer.is_resumed);
	log_handshake(c, &peer);
	if (c->tls.wish.level > TLS_DEMAND_ENCRYPT && !peer.is_matched) {
		give_up(c, "4.7.5", SPAN("Server certificate not verified"));
	} else if (tls_policies_wrapped(c->policies)) {
		smtpc_await(c, ST_BANNER);
	} else {
		c->features = 0;
		smtpc_say_hello(c);
	}
}
