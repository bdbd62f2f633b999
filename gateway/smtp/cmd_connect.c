/* SPDX-License-Identifier: BSD-2-Clause */
/* What happens before the client says anything: the limit of its sessions, the client restrictions, the banner. */
#include "smtp/session.h"

#include "base/metric.h"

#include <sys/ioctl.h>

static enum step
connect_limits(struct sess *s)
{
	const struct params *p = s->svc->p;
	if (!s->is_xclient)
		LOG(smtpd_connect, &s->log, F_SPAN(client, s->client));
	s->no_bare_lf_rules = s->svc->bare_lf == BARE_LF_NO ||
	    matchlist_host(s->svc->bare_lf_exempt, s->facts.client_name, &s->facts.client, NULL) == RC_OK;
	int64_t limit = p->p_smtpd_client_connection_count_limit;
	if (limit == 0 || s->may_xclient || matchlist_host(s->svc->limit_exempt, s->facts.client_name, &s->facts.client, NULL) == RC_OK)
		return STEP_NEXT;
	int64_t bits = s->facts.client.family == IPADDR_V4 ? p->p_smtpd_client_ipv4_prefix_length : p->p_smtpd_client_ipv6_prefix_length;
	struct ipaddr network = ipaddr_mask(s->facts.client, (unsigned)bits);
	struct span service = span_str(s->svc->row->name);
	unsigned n = limits_enter(&s->edge->limits, &network, service, &s->limit);
	if (n <= (uint64_t)limit)
		return STEP_NEXT;
	metric_add(M_smtpd_conn_limit, 1);
	LOG(smtpd_limit, &s->log, F_STR(text, "Connection concurrency limit exceeded"), F_NUM(count, n), F_SPAN(client, s->client),
	    F_SPAN(name, service));
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
	{ "connect_limits", connect_limits },
	{ "connect_policy", connect_policy },
	{ "connect_verdict", connect_verdict },
	{ "connect_banner", connect_banner },
};
