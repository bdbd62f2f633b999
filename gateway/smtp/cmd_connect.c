/* SPDX-License-Identifier: BSD-2-Clause */
/* What happens before the client says anything: the limit of its sessions, the client restrictions, the banner. */
#include "smtp/session.h"

#include "base/metric.h"

#include <sys/ioctl.h>

/* The banner has to wait for the name where restrictions stand in its place. */
static enum step
connect_name(struct sess *s)
{
	if (s->is_xclient)
		return STEP_NEXT; /* it said who the client is */
	sess_look_up_name(s);
	return policy_delays_reject(s->svc->policy) ? STEP_NEXT : sess_await_name(s);
}

static bool
is_exempt(const struct sess *s)
{
	return s->may_xclient || matchlist_host(s->svc->limit_exempt, s->facts.client_name, &s->facts.client, NULL) == RC_OK;
}

/* Over the limit its name may still excuse it. */
static enum step
connect_limits(struct sess *s)
{
	const struct params *p = s->svc->p;
	int64_t limit = p->p_smtpd_client_connection_count_limit;
	s->over_limit = 0;
	if (limit == 0 || is_exempt(s))
		return STEP_NEXT;
	int64_t bits = s->facts.client.family == IPADDR_V4 ? p->p_smtpd_client_ipv4_prefix_length : p->p_smtpd_client_ipv6_prefix_length;
	struct ipaddr network = ipaddr_mask(s->facts.client, (unsigned)bits);
	unsigned n = limits_enter(&s->edge->limits, &network, span_str(s->svc->row->name), &s->limit);
	if (n <= (uint64_t)limit)
		return STEP_NEXT;
	s->over_limit = n;
	return sess_await_name(s);
}

static enum step
connect_over(struct sess *s)
{
	if (s->over_limit == 0)
		return STEP_NEXT;
	if (is_exempt(s)) {
		limits_leave(&s->edge->limits, &s->limit);
		return STEP_NEXT;
	}
	metric_add(M_smtpd_conn_limit, 1);
	sess_announce(s);
	LOG(smtpd_limit, &s->log, F_STR(text, "Connection concurrency limit exceeded"), F_NUM(count, s->over_limit), F_SPAN(client, s->client),
	    F_STR(name, s->svc->row->name));
	sess_reply(s, REPLY_TOO_MANY_CONNS);
	return STEP_CLOSE;
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
	s->failed = false;
	return next;
}

static enum step
connect_banner(struct sess *s)
{
	int waiting = 0;
	if (!s->is_xclient && s->svc->p->p_smtpd_forbid_unauth_pipelining && ioctl(s->conn.fd, FIONREAD, &waiting) == 0 && waiting > 0 &&
	    sess_early_input(s, SPAN("(before the banner)")))
		return STEP_END;
	conn_put(&s->conn, buf_span(&s->svc->banner));
	return STEP_END;
}

const struct step_row connect_steps[] = {
	{ "connect_name", connect_name },
	{ "connect_limits", connect_limits },
	{ "connect_over", connect_over },
	{ "connect_policy", connect_policy },
	{ "connect_verdict", connect_verdict },
	{ "connect_banner", connect_banner },
};
