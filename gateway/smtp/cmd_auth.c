/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AUTH: the client logs in (RFC 4954, facts 8.4). What it says goes to the backend of the service (sasl/exchange.h); here are the
 * dialogue, the log and the counting of failures.
 *
 * Too many failures of one user from one client network, or of one network: 454 until the time is over, whatever the password, and
 * without asking the backend. Nobody can lock a user out from elsewhere: with many failures from everywhere, a network from which he
 * has not logged in before has two attempts instead of ten; one from which he has, keeps its own.
 *
 * Passwords: input is wiped as it is consumed (conn.h), the exchange wipes its buffers, and nothing of a response is logged but
 * the user's name.
 */
#include "smtp/session.h"

#include "base/base64.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "sasl/exchange.h"
#include "sasl/said.h"
#include "sasl/setup.h"
#include "smtp/line.h"
#include "smtp/milter.h"

enum { METHOD_MAX = 100, ATTEMPTS_OF_STRANGERS = 2, GOOD_SECONDS = 30 * 24 * 3600 };

struct sess_auth {
	struct sasl_exchange x;
	size_t method_n, user_n, known_n, reason_n;
	char method[METHOD_MAX];     /* as the client wrote it */
	unsigned responses;
	bool is_locked;
	char user[SASL_NAME_MAX];    /* who it says it is */
	char known[SASL_NAME_MAX];   /* who that is to the backend, which may add a domain */
	char reason[200];
	struct op wait;              /* before a refusal */
	struct timer timer;
};

/* ---- counting failures ---- */

static uint32_t
seconds(void)
{
	return (uint32_t)(clock_mono() / USEC_PER_SEC);
}

struct keys {
	uint64_t both, user, network;
};

static struct keys
keys_of(struct sess *s, struct span user)
{
	static const struct ipaddr any = { 0 };
	uint64_t salt = limits_salt(&s->edge->limits);
	struct ipaddr network = sess_network(s);
	return (struct keys){ lockout_key(salt, user, &network), lockout_key(salt, user, &any), lockout_key(salt, SPAN_EMPTY, &network) };
}

static bool
is_over(uint32_t n, int64_t limit)
{
	return limit > 0 && n >= (uint64_t)limit;
}

/* No more attempts now. user may be empty: not known. */
static bool
is_locked_out(struct sess *s, struct span user)
{
	const struct params *p = s->svc->p;
	struct lockouts *l = limits_lockouts(&s->edge->limits);
	uint32_t now = seconds();
	struct keys k = keys_of(s, user);
	if (l == NULL)
		return false;
	if (is_over(lockout_seen(&l->failed, k.network, now), p->p_smtpd_sasl_lockout_client_limit))
		return true;
	if (user.n == 0)
		return false;
	uint32_t here = lockout_seen(&l->failed, k.both, now);
	if (is_over(here, p->p_smtpd_sasl_lockout_limit))
		return true;
	return here >= ATTEMPTS_OF_STRANGERS && is_over(lockout_seen(&l->failed, k.user, now), p->p_smtpd_sasl_lockout_user_limit) &&
	    lockout_seen(&l->good, k.both, now) == 0;
}

/* Gives how many failures there were before this one. Both names are counted: what is asked next time is one or the other. */
static uint32_t
count_failure(struct sess *s, struct span user, struct span known)
{
	struct lockouts *l = limits_lockouts(&s->edge->limits);
	uint32_t now = seconds(), time = (uint32_t)(s->svc->p->p_smtpd_sasl_lockout_time / USEC_PER_SEC);
	const struct span names[2] = { user, span_caseeq(user, known) ? SPAN_EMPTY : known };
	if (l == NULL)
		return 0;
	uint32_t most = lockout_count(&l->failed, keys_of(s, SPAN_EMPTY).network, now, time);
	bool any = false;
	for (size_t i = 0; i < NELEMS(names); i++) {
		struct keys k = keys_of(s, names[i]);
		if (names[i].n == 0)
			continue;
		(void)lockout_count(&l->failed, k.user, now, time);
		uint32_t n = lockout_count(&l->failed, k.both, now, time);
		most = !any || n > most ? n : most;
		any = true;
	}
	return most - 1;
}

static void
count_success(struct sess *s, struct span user)
{
	struct lockouts *l = limits_lockouts(&s->edge->limits);
	struct keys k = keys_of(s, user);
	if (l == NULL)
		return;
	lockout_forget(&l->failed, k.both);
	(void)lockout_count(&l->good, k.both, seconds(), GOOD_SECONDS);
}

/* ---- the end of it ---- */

void
sess_forget_auth(struct sess *s)
{
	struct sess_auth *a = s->auth;
	if (a == NULL)
		return;
	s->auth = NULL;
	op_cancel(&a->wait);
	timer_clear(&a->timer);
	sasl_exchange_fini(&a->x);
	mem_wipe(a, sizeof *a);
	mem_free(&a);
}

void
sess_forget_login(struct sess *s)
{
	sess_forget_auth(s);
	struct client_id id = sess_client(s);
	id.login = id.sasl_method = id.sasl_sender = SPAN_EMPTY;
	sess_set_client(s, &id);
	s->conn.in.is_secret = s->svc->sasl != NULL;
}

static struct span
method_of(const struct sess_auth *a)
{
	return span_of(a->method, a->method_n);
}

static struct span
user_of(const struct sess_auth *a)
{
	return span_of(a->user, a->user_n);
}

static void
keep_text(char *to, size_t *n, size_t max, struct span text)
{
	*n = text.n < max ? text.n : max;
	if (*n > 0)
		memcpy(to, text.p, *n);
}

static struct span
reason_of(const struct sess_auth *a)
{
	return a->reason_n > 0 ? span_of(a->reason, a->reason_n) : SPAN("(reason unavailable)");
}

/* "host[ip]: SASL LOGIN authentication failed: reason, sasl_username=u" */
static void
log_failure(struct sess *s, const struct sess_auth *a)
{
	struct span user = a->known_n > 0 ? span_of(a->known, a->known_n) : a->user_n > 0 ? user_of(a) : SPAN("(unavailable)");
	sess_announce(s);
	LOG(smtpd_auth_failed, &s->log, F_SPAN(client, s->client), F_SPAN(sasl_method, method_of(a)), F_SPAN(reason, reason_of(a)), F_SPAN(sasl_username, span_head(user, 100)));
}

/* Not this time, and not the client's fault. */
static enum step
not_now(struct sess *s, struct span reason)
{
	struct sess_auth *a = s->auth;
	keep_text(a->reason, &a->reason_n, sizeof a->reason, reason);
	metric_add(a->is_locked ? M_smtpd_auth_locked : M_smtpd_auth_temp, 1);
	log_failure(s, a);
	sess_reply_text(s, REPLY_AUTH_NOT_NOW, reason_of(a));
	sess_forget_auth(s);
	return STEP_END;
}

static enum step
locked_out(struct sess *s)
{
	s->auth->is_locked = true;
	return not_now(s, SPAN("too many failures, try again later"));
}

static void
on_waited(struct op *op)
{
	sess_resume(container_of(op->owner, struct sess, ops));
}

static void
on_wait_timer(struct timer *t)
{
	op_finish(&container_of(t, struct sess_auth, timer)->wait, RC_OK);
}

/* The refusal is said in the next row, later the more failures there were. */
static enum step
failed(struct sess *s, struct span reason)
{
	static const struct op_provider waiting = { "smtpd_sasl_failure_delay", NULL };
	const struct params *p = s->svc->p;
	struct sess_auth *a = s->auth;
	keep_text(a->reason, &a->reason_n, sizeof a->reason, reason);
	uint64_t before = count_failure(s, user_of(a), span_of(a->known, a->known_n));
	uint64_t delay = p->p_smtpd_sasl_failure_delay, most = p->p_smtpd_sasl_failure_delay_limit;
	delay = before + 1 > most / (delay > 0 ? delay : 1) ? (delay > 0 ? most : 0) : delay * (before + 1);
	if (delay == 0)
		return STEP_NEXT;
	timer_init(&a->timer, on_wait_timer);
	timer_set(&a->timer, delay);
	op_pend(&a->wait, &waiting);
	return STEP_WAIT;
}

static enum step
auth_refuse(struct sess *s)
{
	struct sess_auth *a = s->auth;
	metric_add(M_smtpd_auth_failed, 1);
	log_failure(s, a);
	sess_reply_text(s, REPLY_AUTH_FAILED, reason_of(a));
	sess_forget_auth(s);
	return STEP_END;
}

static enum step
succeeded(struct sess *s)
{
	struct sess_auth *a = s->auth;
	struct span user = buf_span(&a->x.user);
	if (is_locked_out(s, user)) {
		keep_text(a->user, &a->user_n, sizeof a->user, user);
		return locked_out(s);
	}
	metric_add(M_smtpd_auth_ok, 1);
	count_success(s, user);
	struct client_id id = sess_client(s);
	bool is_anonymous = span_caseeq(method_of(a), SPAN("ANONYMOUS"));
	id.login = is_anonymous ? SPAN_EMPTY : user;
	id.sasl_method = method_of(a);
	sess_set_client(s, &id);
	sess_forget_auth(s);
	s->conn.in.is_secret = false;
	sess_reply(s, REPLY_AUTH_OK);
	return STEP_END;
}

static const struct step_row auth_failed_steps[] = { { "auth_refuse", auth_refuse } };

/* ---- the dialogue ---- */

static void
on_exchange(struct op *op)
{
	sess_resume(container_of(op->owner, struct sess, ops));
}

static bool
has_auth(const struct edge_service *svc)
{
	return svc->sasl != NULL && (svc->keywords & 1u << EHLO_AUTH) != 0;
}

static bool
lacks_tls(const struct sess *s)
{
	return !s->facts.is_tls && (s->svc->p->p_smtpd_tls_auth_only || s->svc->tls_level == TLS_LEVEL_ENCRYPT);
}

/* The command came in the wrong place, or is not for this client; it is answered. */
static bool
is_out_of_place(struct sess *s)
{
	const struct params *p = s->svc->p;
	if (p->p_smtpd_helo_required && !s->facts.has_helo)
		sess_reply(s, REPLY_NEED_HELO);
	else if (!has_auth(s->svc))
		sess_reply(s, REPLY_NO_AUTH);
	else if (s->tx != NULL)
		sess_reply(s, REPLY_IN_TRANSACTION);
	else if (lacks_tls(s))
		sess_reply(s, REPLY_AUTH_NEEDS_TLS);
	else if (s->facts.login.n > 0 || s->facts.sasl_method.n > 0)
		sess_reply(s, REPLY_AUTH_TWICE);
	else
		return false;
	return true;
}

/* 1*20 capitals, digits, "-", "_" (RFC 4422, 3.1), or one everybody knows in small letters. Anything else may be a password that stands in the wrong place. */
static bool
is_mechanism(struct span method)
{
	static const char *const known[] = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "ANONYMOUS", "GSSAPI", "NTLM" };
	for (size_t i = 0; i < NELEMS(known); i++)
		if (span_caseeq(method, span_str(known[i])))
			return true;
	bool fine = method.n > 0 && method.n <= 20;
	for (size_t i = 0; fine && i < method.n; i++)
		fine = (method.p[i] >= 'A' && method.p[i] <= 'Z') || (method.p[i] >= '0' && method.p[i] <= '9') || method.p[i] == '-' || method.p[i] == '_';
	return fine;
}

static void
auth_open(struct sess *s, struct span method)
{
	struct sess_auth *a = mem_zalloc(sizeof *a);
	sess_forget_auth(s);
	s->auth = a;
	sasl_exchange_init(&a->x, &s->ops, on_exchange);
	op_init(&a->wait, &s->ops, on_waited);
	keep_text(a->method, &a->method_n, sizeof a->method, is_mechanism(method) ? method : SPAN("(unknown)")); /* for the log */
}

/* Who is it? false: what it said is not base64. */
static bool
look_at(struct sess_auth *a, struct span response)
{
	struct buf b;
	buf_init_secret(&b, SASL_RESPONSE_MAX);
	bool fine = base64_decode(response, &b) == RC_OK;
	struct span name = fine ? sasl_said_name(method_of(a), a->responses, buf_span(&b)) : SPAN_EMPTY;
	if (name.n > 0)
		keep_text(a->user, &a->user_n, sizeof a->user, name);
	a->responses++;
	buf_fini(&b);
	return fine;
}

static enum step
bad_response(struct sess *s)
{
	sess_reply(s, REPLY_AUTH_BASE64);
	sess_forget_auth(s);
	return STEP_END;
}

/* The reason that Postfix gives with either backend. */
static enum step
no_such_mechanism(struct sess *s)
{
	s->steps = auth_failed_steps;
	s->at = 0;
	return failed(s, sasl_setup_dovecot(s->svc->sasl) != NULL ? SPAN("Invalid authentication mechanism") : SPAN("no mechanism available"));
}

static enum step
auth_begin(struct sess *s)
{
	struct span rest = s->args, method, initial = SPAN_EMPTY, more;
	const char *mech = NULL;
	if (sess_rate_exceeded(s, RATE_AUTH) || is_out_of_place(s) || sess_milter_denies(s, true))
		return STEP_END;
	bool has_method = span_word(&rest, " \t", &method), has_initial = span_word(&rest, " \t", &initial);
	if (!has_method || span_word(&rest, " \t", &more)) {
		sess_reply(s, REPLY_SYNTAX_AUTH);
		return STEP_END;
	}
	auth_open(s, method);
	switch (sasl_setup_mech(s->svc->sasl, s->facts.is_tls, method, &mech)) {
	case RC_OK:
		break;
	case RC_TEMP:
		return not_now(s, SPAN("Can't connect to authentication server"));
	case RC_NONE:
	case RC_PERM:
		return no_such_mechanism(s);
	}
	if (span_eq(initial, SPAN("="))) /* the empty response */
		initial = SPAN_EMPTY;
	if (has_initial && !look_at(s->auth, initial))
		return bad_response(s);
	if (is_locked_out(s, user_of(s->auth)))
		return locked_out(s);
	char server[IPADDR_TEXT];
	size_t n = ipaddr_text(&s->facts.server, server);
	const struct sasl_who who = { .client_addr = s->facts.client_addr, .server_addr = span_of(server, n), .network = sess_network(s), .is_tls = s->facts.is_tls };
	sasl_exchange_begin(&s->auth->x, s->svc->sasl, &who, mech, has_initial, initial);
	return STEP_WAIT;
}

static enum step
auth_said(struct sess *s)
{
	struct sess_auth *a = s->auth;
	struct span user = buf_span(&a->x.user);
	if (a->x.outcome == SASL_FAILED)
		keep_text(a->known, &a->known_n, sizeof a->known, user);
	switch (a->x.outcome) {
	case SASL_GOES_ON:
		conn_puts(&s->conn, "334 ");
		conn_put(&s->conn, buf_span(&a->x.text));
		conn_puts(&s->conn, "\r\n");
		s->input = INPUT_AUTH;
		return STEP_END;
	case SASL_DONE:
		return succeeded(s);
	case SASL_FAILED:
		return failed(s, buf_span(&a->x.text));
	case SASL_NOT_NOW:
		break;
	}
	return not_now(s, buf_span(&a->x.text));
}

static enum step
auth_response(struct sess *s)
{
	struct sess_auth *a = s->auth;
	if (span_eq(s->args, SPAN("*"))) {
		LOG(smtpd_auth_aborted, &s->log, F_SPAN(client, s->client), F_SPAN(sasl_method, method_of(a)));
		sess_reply(s, REPLY_AUTH_ABORTED);
		sess_forget_auth(s);
		return STEP_END;
	}
	if (!look_at(a, s->args))
		return bad_response(s);
	if (is_locked_out(s, user_of(a)))
		return locked_out(s);
	sasl_exchange_answer(&a->x, s->args);
	return STEP_WAIT;
}

static const struct step_row response_steps[] = {
	{ "auth_response", auth_response },
	{ "auth_said", auth_said },
	{ "auth_refuse", auth_refuse },
};

size_t
auth_input(struct sess *s, struct span in)
{
	size_t limit = (size_t)s->svc->p->p_smtpd_sasl_response_limit, used;
	struct line_cmd line;
	bool unended;
	if (limit >= SESS_INPUT_MAX)
		limit = SESS_INPUT_MAX - 1;
	switch (line_command(in, limit + 1, &line, &used, &unended)) { /* with its CR */
	case RC_OK:
		break;
	case RC_PERM:
		s->input = unended ? INPUT_SKIP : INPUT_COMMAND;
		s->skipped = used;
		s->skips_auth = unended;
		sess_forget_auth(s);
		if (!unended) {
			sess_reply(s, REPLY_AUTH_LIMIT);
			sess_command_done(s);
		}
		return used;
	case RC_NONE:
	case RC_TEMP:
		return 0;
	}
	s->input = INPUT_COMMAND;
	s->failed = false;
	s->args = line.text;
	sess_run_steps(s, response_steps);
	return used;
}

/* ---- who is offered AUTH ---- */

/* At most once a minute. */
static void
complain(struct sess *s)
{
	static uint64_t said;
	if (said != 0 && loop_now() - said < 60 * USEC_PER_SEC)
		return;
	said = loop_now();
	sess_warn(s, "no SASL authentication mechanisms");
}

bool
sess_offers_auth(struct sess *s, struct buf *mechs)
{
	const struct edge_service *svc = s->svc;
	struct err e;
	if (!has_auth(svc) || lacks_tls(s))
		return false;
	switch (sasl_setup_excepts(svc->sasl, s->facts.client_name, &s->facts.client, &e)) {
	case RC_OK:
		return false;
	case RC_TEMP:
	case RC_PERM:
		sess_warn(s, "smtpd_sasl_exceptions_networks: %s", e.why);
		return false;
	case RC_NONE:
		break;
	}
	if (sasl_setup_offer(svc->sasl, s->facts.is_tls, mechs) == RC_OK)
		return true;
	complain(s);
	return false;
}

const struct step_row auth_steps[] = {
	{ "auth_client", sess_await_name_first },
	{ "auth_begin", auth_begin },
	{ "auth_said", auth_said },
	{ "auth_refuse", auth_refuse },
};
