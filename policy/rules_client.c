/* SPDX-License-Identifier: BSD-2-Clause */
/* Rules that fit any list, and rules about the client and its HELO. Facts 3.3 to 3.5. */
#include "msg/addr.h"
#include "policy/engine.h"

/* ---- any list ---- */

enum pol
r_permit(struct policy_run *r, const struct policy_rule *rule)
{
	(void)r;
	(void)rule;
	return POL_PERMIT;
}

enum pol
r_reject(struct policy_run *r, const struct policy_rule *rule)
{
	return policy_refuse(r, rule, policy_code(r->policy->p->p_reject_code), SPAN("5.7.1"), policy_about(r), SPAN("Access denied"));
}

enum pol
r_defer(struct policy_run *r, const struct policy_rule *rule)
{
	return policy_refuse(r, rule, policy_code(r->policy->p->p_defer_code), SPAN("4.3.2"), policy_about(r), SPAN("Try again later"));
}

enum pol
r_defer_if_permit(struct policy_run *r, const struct policy_rule *rule)
{
	return policy_defer_if(r, rule, &r->if_permit, 450, SPAN("4.7.0"), policy_about(r), SPAN("defer_if_permit requested"));
}

enum pol
r_defer_if_reject(struct policy_run *r, const struct policy_rule *rule)
{
	return policy_defer_if(r, rule, &r->if_reject, 450, SPAN("4.7.0"), policy_about(r), SPAN("defer_if_reject requested"));
}

enum pol
r_warn_if_reject(struct policy_run *r, const struct policy_rule *rule)
{
	(void)rule;
	if (r->warn == 0)
		r->warn = r->depth;
	return POL_DUNNO;
}

static void
slept(struct timer *t)
{
	policy_continue(container_of(t, struct policy_run, timer));
}

enum pol
r_sleep(struct policy_run *r, const struct policy_rule *rule)
{
	if (r->trace != NULL || rule->seconds == 0)
		return POL_DUNNO; /* explain does not wait */
	timer_init(&r->timer, slept);
	timer_set(&r->timer, rule->seconds * UINT64_C(1000000));
	return POL_WAIT;
}

enum pol
r_unauth_pipelining(struct policy_run *r, const struct policy_rule *rule)
{
	if (!r->facts->pipelined_early)
		return POL_DUNNO;
	return policy_refuse(r, rule, 503, SPAN("5.5.0"), policy_about(r), SPAN("Improper use of SMTP command pipelining"));
}

enum pol
r_plaintext_session(struct policy_run *r, const struct policy_rule *rule)
{
	if (r->facts->is_tls)
		return POL_DUNNO;
	return policy_refuse_text(r, rule, policy_code(r->policy->p->p_plaintext_reject_code), SPAN("4.7.1"), SPAN("Session encryption is required"));
}

enum pol
r_multi_recipient_bounce(struct policy_run *r, const struct policy_rule *rule)
{
	/* at RCPT the one in question is not counted yet */
	if (r->facts->sender.n > 0 || r->facts->nrcpt <= (r->stage == POLICY_RCPT ? 0 : 1))
		return POL_DUNNO;
	return policy_refuse(r, rule, policy_code(r->policy->p->p_multi_recipient_bounce_reject_code), SPAN("5.5.3"), policy_about(r),
	    SPAN("Multi-recipient bounce"));
}

/* ---- client ---- */

enum pol
r_mynetworks(struct policy_run *r, const struct policy_rule *rule)
{
	struct err e;
	switch (matchlist_host(r->policy->mynetworks, r->facts->client_name, &r->facts->client, &e)) {
	case RC_OK:
		return POL_PERMIT;
	case RC_NONE:
		return POL_DUNNO;
	case RC_TEMP:
	case RC_PERM:
		break;
	}
	return policy_lookup_failed(r, rule, policy_about(r).object, &e);
}

enum pol
r_inet_interfaces(struct policy_run *r, const struct policy_rule *rule)
{
	(void)rule;
	return address_is_own_ip(r->policy->book, &r->facts->client) ? POL_PERMIT : POL_DUNNO;
}

enum pol
r_sasl_authenticated(struct policy_run *r, const struct policy_rule *rule)
{
	(void)rule;
	return r->policy->has_sasl && r->facts->login.n > 0 ? POL_PERMIT : POL_DUNNO; /* XCLIENT may name one without SASL */
}

static enum pol
no_hostname(struct policy_run *r, const struct policy_rule *rule, enum rc rc, struct span dsn, const char *what)
{
	struct buf text;
	if (rc == RC_OK)
		return POL_DUNNO;
	buf_init(&text, 200);
	buf_printf(&text, "Client host rejected: cannot find your %s, [", what);
	buf_put(&text, r->facts->client_addr);
	buf_putc(&text, ']');
	unsigned code = rc == RC_TEMP ? 450 : policy_code(r->policy->p->p_unknown_client_reject_code);
	enum pol pol = policy_refuse_text(r, rule, code, dsn, buf_span(&text));
	buf_fini(&text);
	return pol;
}

enum pol
r_unknown_client(struct policy_run *r, const struct policy_rule *rule)
{
	return no_hostname(r, rule, r->facts->client_name_rc, SPAN("4.7.25"), "hostname");
}

enum pol
r_unknown_reverse_client(struct policy_run *r, const struct policy_rule *rule)
{
	return no_hostname(r, rule, r->facts->reverse_name_rc, SPAN("4.7.1"), "reverse hostname");
}

/* ---- helo ---- */

static struct span
without_dot(struct span name)
{
	bool dot = name.n > 1 && name.p[name.n - 1] == '.' && name.p[name.n - 2] != '.';
	return span_head(name, name.n - dot);
}

/* "[192.0.2.1]", also "[192.0.2.1" is somebody's attempt at it */
static enum pol
helo_literal(struct policy_run *r, const struct policy_rule *rule)
{
	if (addr_is_literal(r->facts->helo))
		return POL_DUNNO;
	return policy_refuse(r, rule, policy_code(r->policy->p->p_invalid_hostname_reject_code), SPAN("5.5.2"), policy_about_class(r, ABOUT_HELO),
	    SPAN("invalid ip address"));
}

enum pol
r_invalid_helo(struct policy_run *r, const struct policy_rule *rule)
{
	struct span name = without_dot(r->facts->helo);
	struct ipaddr ip;
	if (name.n > 0 && name.p[0] == '[')
		return helo_literal(r, rule);
	if (addr_is_hostname(name, false) || ipaddr_parse(name, &ip) == RC_OK)
		return POL_DUNNO;
	return policy_refuse(r, rule, policy_code(r->policy->p->p_invalid_hostname_reject_code), SPAN("5.5.2"), policy_about_class(r, ABOUT_HELO),
	    SPAN("Invalid name"));
}

enum pol
r_non_fqdn_helo(struct policy_run *r, const struct policy_rule *rule)
{
	struct span name = without_dot(r->facts->helo);
	if (name.n > 0 && name.p[0] == '[')
		return helo_literal(r, rule);
	if (addr_is_hostname(name, r->facts->is_smtputf8) && span_chr(name, '.') != SIZE_MAX)
		return POL_DUNNO;
	return policy_refuse(r, rule, policy_code(r->policy->p->p_non_fqdn_reject_code), SPAN("5.5.2"), policy_about_class(r, ABOUT_HELO),
	    SPAN("need fully-qualified hostname"));
}
