/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS with a client: STARTTLS, wrapper mode, what the handshake came to, and what is forgotten after it (facts 8.1).
 *
 * Both ways share the wait for the handshake and the steps behind it. Nothing that came in the clear is used afterwards:
 * conn_start_tls() throws away what was sent ahead, and the transaction, the name, the login and what XFORWARD said end.
 */
#include "smtp/milter.h"

#include "base/mem.h"
#include "base/metric.h"
#include "smtp/starttls.h"
#include "tls/params.h"

#include <errno.h>
#include <openssl/x509.h>

/* ---- log ---- */

static unsigned
loglevel(const struct sess *s)
{
	return tls_loglevel(s->svc->p->p_smtpd_tls_loglevel);
}

static void
log_certificate(struct sess *s, const struct tls_peer *p)
{
	if (!p->has_cert || loglevel(s) < 2)
		return;
	struct buf b;
	buf_init(&b, 2048);
	buf_printf(&b, "subject_CN=%s, issuer=%s, fingerprint=%s, pkey_fingerprint=%s", p->subject, p->issuer, p->cert_fingerprint, p->key_fingerprint);
	LOG(tls_certificate, &s->log, F_SPAN(client, s->client), F_SPAN(text, buf_span(&b)));
	buf_fini(&b);
}

/* Where a trusted one is required. */
static void
log_distrust(struct sess *s, const struct tls_peer *p)
{
	const struct tls_hello *h = &s->tls->hello;
	int why = h->verify != X509_V_OK ? h->verify : (int)p->verify;
	struct buf b;
	if (!p->has_cert || p->is_trusted || !tls_server_requires_cert(s->svc->tls) || loglevel(s) < 1)
		return;
	const char *whose = "";
	buf_init(&b, 1024);
	switch (why) {
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		buf_puts(&b, "self-signed certificate");
		break;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_CERT_UNTRUSTED:
		buf_puts(&b, "untrusted issuer ");
		buf_puts(&b, h->issuer);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		whose = "client ";
		buf_puts(&b, "certificate not yet valid");
		break;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		whose = "client ";
		buf_puts(&b, "certificate has expired");
		break;
	default:
		buf_printf(&b, "num=%d:%s", why, X509_verify_cert_error_string(why));
		break;
	}
	LOG(tls_untrusted, &s->log, F_STR(role, whose), F_SPAN(client, s->client), F_SPAN(text, buf_span(&b)));
	buf_fini(&b);
}

static void
log_summary(struct sess *s, const struct tls_peer *p)
{
	if (loglevel(s) < 1)
		return;
	struct buf b;
	buf_init(&b, 2048);
	tls_peer_summary(&b, p, "from", s->client, s->tls->hello.name_matched ? span_str(s->tls->hello.name) : SPAN_EMPTY);
	LOG(tls_summary, &s->log, F_SPAN(text, buf_span(&b)));
	buf_fini(&b);
}

void
starttls_failed(struct sess *s, enum conn_end why, int err)
{
	const char *library = conn_tls_error(&s->conn);
	const char *reason = why == CONN_TIMEOUT ? "Connection timed out" : library[0] != '\0' ? "-1" : why == CONN_EOF ? "lost connection" : strerror(err);
	sess_announce(s);
	LOG(tls_accept_error, &s->log, F_SPAN(client, s->client), F_STR(text, reason));
	if (library[0] != '\0')
		LOG(tls_library, &s->log, F_STR(text, library));
	LOG(smtpd_lost, &s->log, F_STR(stage, s->where), F_SPAN(client, s->client));
}

/* ---- the handshake ---- */

static void
on_handshake(struct op *op)
{
	struct sess *s = container_of(op, struct sess_tls, op)->sess;
	sess_resume(s);
}

/* false: TLS is not possible now. The reply before it is already written. */
static enum rc
begin(struct sess *s)
{
	static const struct op_provider handshaking = { "TLS handshake", NULL };
	struct sess_tls *t = mem_zalloc(sizeof *t);
	t->sess = s;
	t->hello = (struct tls_hello){ .log = &s->log, .client = &s->client };
	t->ssl = tls_server_begin(s->svc->tls, &t->hello);
	if (t->ssl == NULL) {
		mem_free(&t);
		return RC_TEMP;
	}
	op_init(&t->op, &s->ops, on_handshake);
	op_pend(&t->op, &handshaking);
	s->tls = t;
	return RC_OK;
}

static void
shake_hands(struct sess *s, bool wrapped)
{
	SSL *ssl = s->tls->ssl;
	s->tls->ssl = NULL;
	if (loglevel(s) >= 2) {
		sess_announce(s);
		LOG(tls_setup, &s->log, F_SPAN(client, s->client));
	}
	if (wrapped)
		conn_wrap_tls(&s->conn, ssl);
	else
		conn_start_tls(&s->conn, ssl);
	conn_deadline(&s->conn, s->svc->p->p_smtpd_starttls_timeout);
}

void
starttls_secured(struct sess *s)
{
	op_finish(&s->tls->op, RC_OK);
}

void
starttls_free(struct sess *s)
{
	if (s->tls == NULL)
		return;
	SSL_free(s->tls->ssl);
	op_cancel(&s->tls->op);
	mem_free(&s->tls);
}

bool
starttls_is_waiting(const struct sess *s)
{
	return s->tls != NULL && s->tls->op.state == OP_PENDING;
}

/* ---- what it came to ---- */

static void
set_facts(struct sess *s, const struct tls_peer *p)
{
	struct facts *f = &s->facts;
	f->is_tls = true;
	f->has_cert = p->has_cert;
	f->is_cert_verified = p->is_trusted;
	f->cert_fingerprint = span_str(p->cert_fingerprint);
	f->pubkey_fingerprint = span_str(p->key_fingerprint);
	f->cert_subject = p->is_trusted ? span_str(p->subject) : SPAN_EMPTY;
	f->cert_issuer = p->is_trusted ? span_str(p->issuer) : SPAN_EMPTY;
	f->tls_protocol = span_str(p->protocol);
	f->tls_cipher = span_str(p->cipher);
	f->tls_bits = p->bits;
}

/* RFC 3207 4.2: what the client said before counts for nothing. */
static void
forget_client(struct sess *s)
{
	sess_end_tx(s);
	sess_set_helo(s, SPAN_EMPTY);
	s->facts.is_esmtp = false;
	sess_forget_login(s);
	if (s->is_xclient && !s->svc->has_upstream_proxy) { /* behind a balancer only its header knew, and that is not the client's word */
		s->is_xclient = false;
		sess_name_socket(s);
		sess_look_up_name(s);
	}
}

/* A full handshake too many: said inside TLS. */
static bool
is_one_too_many(struct sess *s)
{
	if (s->tls->peer.is_resumed || s->svc->p->p_smtpd_client_new_tls_session_rate_limit == 0)
		return false;
	uint32_t n = sess_rate_tls(s, true);
	if (n <= (uint64_t)s->svc->p->p_smtpd_client_new_tls_session_rate_limit)
		return false;
	metric_add(M_smtpd_rate_limit, 1);
	LOG(smtpd_limit, &s->log, F_STR(text, "New TLS session rate limit exceeded"), F_NUM(count, n), F_SPAN(client, s->client), F_STR(name, s->svc->row->name));
	sess_shut(s, REPLY_TLS_RATE_SHUT);
	return true;
}

static bool
lacks_certificate(struct sess *s)
{
	const struct tls_peer *p = &s->tls->peer;
	if (!tls_server_requires_cert(s->svc->tls) || p->is_trusted)
		return false;
	LOG(tls_abort, &s->log, F_SPAN(client, s->client), F_STR(text, p->has_cert ? "Client certificate not trusted" : "No client certificate presented"));
	sess_shut(s, p->has_cert ? REPLY_TLS_UNTRUSTED : REPLY_TLS_NO_CERT);
	return true;
}

/* Behind the handshake: STEP_END when the session is over. */
static enum step
established(struct sess *s)
{
	sess_announce(s);
	tls_peer_read(conn_ssl(&s->conn), tls_server_digest(s->svc->tls), &s->tls->peer);
	set_facts(s, &s->tls->peer);
	metric_add(s->tls->peer.is_resumed ? M_smtpd_tls_resumed : M_smtpd_tls_new, 1);
	log_certificate(s, &s->tls->peer);
	log_distrust(s, &s->tls->peer);
	log_summary(s, &s->tls->peer);
	sess_set_deadline(s);
	bool over = is_one_too_many(s) || lacks_certificate(s);
	s->failed = false; /* STARTTLS itself was not refused */
	return over ? STEP_END : STEP_NEXT;
}

/* ---- STARTTLS ---- */

static bool
is_rate_exhausted(struct sess *s)
{
	int64_t limit = s->svc->p->p_smtpd_client_new_tls_session_rate_limit;
	return limit > 0 && sess_rate_tls(s, false) > (uint64_t)limit;
}

static enum step
starttls_check(struct sess *s)
{
	if (s->args.n > 0) {
		sess_reply(s, REPLY_SYNTAX_STARTTLS);
		return STEP_END;
	}
	if (s->facts.is_tls) {
		sess_reply(s, REPLY_TLS_ACTIVE);
		return STEP_END;
	}
	if (!service_offers_tls(s->svc)) {
		sess_reply(s, s->svc->tls_level == TLS_LEVEL_NONE || s->svc->discards_starttls ? REPLY_NOT_IMPLEMENTED : REPLY_TLS_UNAVAILABLE);
		return STEP_END;
	}
	if (sess_phase(s) != PH_IDLE) {
		sess_reply(s, REPLY_IN_TRANSACTION);
		return STEP_END;
	}
	return sess_milter_denies(s, true) ? STEP_END : STEP_NEXT;
}

static enum step
starttls_begin(struct sess *s)
{
	if (is_rate_exhausted(s)) {
		metric_add(M_smtpd_rate_limit, 1);
		sess_announce(s);
		sess_reply(s, REPLY_TLS_RATE);
		sess_warn(s, "Refusing STARTTLS request from %.*s for service %s", (int)s->client.n, (const char *)s->client.p, s->svc->row->name);
		return STEP_END;
	}
	if (begin(s) != RC_OK) {
		sess_reply(s, REPLY_TLS_UNAVAILABLE);
		return STEP_END;
	}
	sess_reply(s, REPLY_TLS_GO);
	shake_hands(s, false);
	return STEP_WAIT;
}

static enum step
starttls_done(struct sess *s)
{
	forget_client(s);
	(void)established(s);
	return STEP_END;
}

const struct step_row starttls_steps[] = {
	{ "starttls_check", starttls_check },
	{ "starttls_client", sess_await_name_first },
	{ "starttls_begin", starttls_begin },
	{ "starttls_done", starttls_done },
};

/* ---- wrapper mode ---- */

enum step
starttls_wrap(struct sess *s)
{
	if (!s->svc->p->p_smtpd_tls_wrappermode || s->tls != NULL)
		return STEP_NEXT;
	if (s->svc->tls != NULL && is_rate_exhausted(s)) {
		metric_add(M_smtpd_rate_limit, 1);
		sess_announce(s);
		sess_warn(s, "Refusing TLS service request from %.*s for service %s", (int)s->client.n, (const char *)s->client.p, s->svc->row->name);
		return STEP_CLOSE;
	}
	if (begin(s) != RC_OK) {
		sess_announce(s);
		sess_warn(s, "Wrapper-mode request dropped from %.*s for service %s. TLS context initialization failed. For details see earlier warnings in your logs.",
		    (int)s->client.n, (const char *)s->client.p, s->svc->row->name);
		return STEP_CLOSE;
	}
	shake_hands(s, true);
	return STEP_WAIT;
}

enum step
starttls_wrapped(struct sess *s)
{
	return s->tls == NULL || s->facts.is_tls ? STEP_NEXT : established(s);
}
