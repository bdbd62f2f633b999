/* SPDX-License-Identifier: BSD-2-Clause */
/* What happens before the client says anything: whom a balancer brings, the limit of its sessions, the client restrictions,
 * the banner. */
#include "smtp/session.h"

#include "base/metric.h"
#include "smtp/milter.h"
#include "smtp/proxy.h"
#include "smtp/starttls.h"

#include <sys/ioctl.h>

/* ---- a balancer in front of us ---- */

static void
proxy_fails(struct sess *s, const char *why)
{
	metric_add(M_smtpd_proxy_errors, 1);
	LOG(smtpd_proxy, &s->log, F_STR(text, why), F_SPAN(client, s->client));
	sess_retire(s); /* whoever it is does not speak SMTP to us */
}

void
connect_proxy_ended(struct sess *s, bool timeout)
{
	metric_add(M_smtpd_proxy_errors, 1);
	LOG(smtpd_proxy, &s->log, F_STR(text, timeout ? "timeout error" : "EOF"), F_SPAN(client, s->client));
}

bool
connect_proxy_input(struct sess *s, struct span in)
{
	struct proxy_header h;
	struct err e;
	size_t used;
	if (!matchlist_empty(s->svc->proxy_hosts) && matchlist_addr(s->svc->proxy_hosts, &s->facts.client, NULL) != RC_OK) {
		proxy_fails(s, "not in smtpd_upstream_proxy_hosts");
		return true;
	}
	switch (proxy_parse(in, &h, &used, &e)) {
	case RC_OK:
		break;
	case RC_PERM:
		proxy_fails(s, e.why);
		return true;
	case RC_NONE:
	case RC_TEMP:
		return false;
	}
	conn_consume(&s->conn, used);
	if (h.has_client) {
		struct client_id id = { .addr = h.client, .server = h.server, .port = h.client_port, .server_port = h.server_port,
			.name_rc = RC_NONE, .reverse_rc = RC_NONE };
		sess_set_client(s, &id);
	}
	s->input = INPUT_COMMAND;
	sess_set_deadline(s);
	connect_begin(s);
	return true;
}

void
connect_begin(struct sess *s)
{
	if (s->svc->triage != NULL)
		triage_begin(s);
	else
		sess_run_steps(s, connect_steps);
}

/* ---- every connection ---- */

/* The banner has to wait for the name where restrictions stand in its place. */
static enum step
connect_name(struct sess *s)
{
	s->is_served = true;
	if (s->is_xclient)
		return STEP_NEXT; /* it said who the client is */
	sess_look_up_name(s);
	return policy_delays_reject(s->svc->policy) ? STEP_NEXT : sess_await_name(s);
}

/* Over a limit its name may still excuse it. */
static enum step
connect_limits(struct sess *s)
{
	const struct params *p = s->svc->p;
	int64_t sessions = p->p_smtpd_client_connection_count_limit, rate = p->p_smtpd_client_connection_rate_limit;
	s->over_limit = s->over_rate = s->nsessions = 0;
	if ((sessions == 0 && rate == 0) || sess_rate_exempt(s))
		return STEP_NEXT;
	struct span service = span_str(s->svc->row->name);
	struct ipaddr network = sess_network(s);
	if (sessions > 0) {
		unsigned n = limits_enter(&s->edge->limits, &network, service, &s->limit);
		s->nsessions = n;
		s->over_limit = n > (uint64_t)sessions ? n : 0;
		limits_note(&s->edge->limits, RATE_SESSIONS, n, service, &network);
	}
	uint32_t n = sess_rate_connect(s);
	s->over_rate = rate > 0 && n > (uint64_t)rate ? n : 0;
	return s->over_limit != 0 || s->over_rate != 0 ? sess_await_name(s) : STEP_NEXT;
}

static enum step
connect_over(struct sess *s)
{
	if (s->over_limit == 0 && s->over_rate == 0)
		return STEP_NEXT;
	if (sess_rate_exempt(s)) {
		limits_leave(&s->edge->limits, &s->limit);
		return STEP_NEXT;
	}
	if (s->over_limit == 0) {
		sess_rate_refuse_connect(s, s->over_rate);
		return STEP_CLOSE;
	}
	metric_add(M_smtpd_conn_limit, 1);
	sess_announce(s);
	LOG(smtpd_limit, &s->log, F_STR(text, "Connection concurrency limit exceeded"), F_NUM(count, s->over_limit), F_SPAN(client, s->client),
	    F_STR(name, s->svc->row->name));
	if (!s->svc->p->p_smtpd_tls_wrappermode || s->facts.is_tls) /* no handshake only to say that */
		sess_reply(s, REPLY_TOO_MANY_CONNS);
	return STEP_CLOSE;
}

/* What the handshake came to is logged with the client's name. */
static enum step
connect_tls_name(struct sess *s)
{
	return s->tls != NULL && !s->facts.is_tls ? sess_await_name(s) : STEP_NEXT;
}

static enum step
connect_policy(struct sess *s)
{
	return sess_ask(s, POLICY_CONNECT);
}

static enum step
connect_verdict(struct sess *s)
{
	enum step next = sess_verdict(s);
	if (next == STEP_END && s->input != INPUT_GONE)
		s->denied = true; /* the refusal stands in the place of the banner */
	if (next == STEP_END)
		triage_greeted(s);
	s->failed = false;
	return next;
}

static enum step
connect_banner(struct sess *s)
{
	struct span in = s->is_xclient ? SPAN_EMPTY : conn_input(&s->conn);
	bool forbidden = s->svc->p->p_smtpd_forbid_unauth_pipelining;
	int waiting = 0;
	/* it came in one piece with the balancer's header, or while something was waited for */
	bool triaged = s->triage != NULL; /* who spoke early is known already */
	if (in.n > 0 && !triaged && (forbidden || s->svc->has_upstream_proxy) && sess_early_input(s, in))
		return STEP_END;
	if (!s->is_xclient && !triaged && forbidden && s->tls == NULL && ioctl(s->conn.fd, FIONREAD, &waiting) == 0 && waiting > 0 &&
	    sess_early_input(s, SPAN("(before the banner)")))
		return STEP_END;
	conn_put(&s->conn, buf_span(&s->svc->banner));
	triage_greeted(s);
	return STEP_END;
}

const struct step_row connect_steps[] = {
	{ "connect_name", connect_name },
	{ "connect_limits", connect_limits },
	{ "connect_over", connect_over },
	{ "connect_tls", starttls_wrap },
	{ "connect_tls_name", connect_tls_name },
	{ "connect_wrapped", starttls_wrapped },
	{ "connect_policy", connect_policy },
	{ "connect_verdict", connect_verdict },
	{ "connect_milters", connect_milters },
	{ "connect_milter_name", connect_milter_name },
	{ "connect_milter", connect_milter },
	{ "connect_milter_said", connect_milter_said },
	{ "connect_banner", connect_banner },
};
