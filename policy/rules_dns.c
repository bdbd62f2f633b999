/* SPDX-License-Identifier: BSD-2-Clause */
/* Does it exist in the DNS? Facts 3.5 to 3.7: HELO names, domains of senders and recipients, and whose MX we are. */
#include "dns/idn.h"
#include "policy/ask_dns.h"

/* Not now: refused at once, or if nothing refuses for good (..._tempfail_action). */
static enum pol
later(struct policy_run *r, const struct policy_rule *rule, bool at_once, struct span dsn, struct about about, struct span text)
{
	return at_once ? policy_refuse(r, rule, 450, dsn, about, text) : policy_defer_if(r, rule, &r->if_permit, 450, dsn, about, text);
}

/* ---- HELO ---- */

/* An address of either family, whatever inet_protocols says; or an MX, even one that takes no mail: it is a name. */
static enum mail_dns
helo_exists(struct policy_run *r, struct span name)
{
	enum mail_dns a = policy_mail_dns(r, DNS_A, name, NULL), aaaa = policy_mail_dns(r, DNS_AAAA, name, NULL);
	if (a == MAIL_DNS_FOUND || aaaa == MAIL_DNS_FOUND)
		return MAIL_DNS_FOUND;
	if (a == MAIL_DNS_WAIT || aaaa == MAIL_DNS_WAIT)
		return MAIL_DNS_WAIT;
	enum mail_dns mx = policy_mail_dns(r, DNS_MX, name, NULL);
	if (mx == MAIL_DNS_WAIT || mx == MAIL_DNS_FOUND)
		return mx;
	mx = policy_worse(mx, policy_worse(a, aaaa));
	return mx == MAIL_DNS_NULL_MX ? MAIL_DNS_FOUND : mx;
}

enum pol
r_unknown_helo(struct policy_run *r, const struct policy_rule *rule)
{
	struct span name = r->facts->helo, text = SPAN("Host not found");
	struct about about = policy_about_class(r, ABOUT_HELO);
	if (name.n > 0 && name.p[0] == '[')
		return r_invalid_helo(r, rule);
	switch (helo_exists(r, name)) {
	case MAIL_DNS_WAIT:
		return POL_AGAIN;
	case MAIL_DNS_FOUND:
	case MAIL_DNS_NULL_MX:
		return POL_DUNNO;
	case MAIL_DNS_LATER:
		return later(r, rule, r->policy->helo_tempfail_defers, SPAN("4.7.1"), about, text);
	case MAIL_DNS_MALFORMED:
		text = SPAN("Malformed DNS server reply");
		break;
	case MAIL_DNS_NONE:
		break;
	}
	return policy_refuse(r, rule, policy_code(r->policy->p->p_unknown_hostname_reject_code), SPAN("4.7.1"), about, text);
}

/* ---- the domains of senders and recipients ---- */

static enum mail_dns
takes_mail(struct policy_run *r, struct span domain)
{
	enum mail_dns mx = policy_mail_dns(r, DNS_MX, domain, NULL);
	if (mx != MAIL_DNS_NONE && mx != MAIL_DNS_LATER)
		return mx;
	enum mail_dns a = policy_mail_dns(r, DNS_A, domain, NULL), aaaa = policy_mail_dns(r, DNS_AAAA, domain, NULL);
	if (a == MAIL_DNS_FOUND || aaaa == MAIL_DNS_FOUND)
		return MAIL_DNS_FOUND;
	if (a == MAIL_DNS_WAIT || aaaa == MAIL_DNS_WAIT)
		return MAIL_DNS_WAIT;
	return policy_worse(mx, policy_worse(a, aaaa));
}

static enum pol
null_mx(struct policy_run *r, const struct policy_rule *rule, struct about about, struct span domain)
{
	struct buf text;
	bool is_sender = about.class == ABOUT_SENDER;
	buf_init(&text, 600);
	buf_puts(&text, "Domain ");
	buf_put(&text, span_head(domain, 255));
	buf_puts(&text, " does not accept mail (nullMX)");
	enum pol pol = policy_refuse(r, rule, is_sender ? 550 : 556, is_sender ? SPAN("5.7.27") : SPAN("5.1.10"), about, buf_span(&text));
	buf_fini(&text);
	return pol;
}

/* Nothing is asked about what has no domain, is an address, or ends here. */
static bool
is_settled(const struct resolved *a)
{
	return a->domain.n == 0 || a->domain.p[0] == '[' || a->class == CLASS_LOCAL || a->class == CLASS_VIRTUAL_ALIAS ||
	    a->class == CLASS_VIRTUAL_MAILBOX;
}

static enum pol
unknown_domain(struct policy_run *r, const struct policy_rule *rule, const struct resolved *a, enum reply_class class)
{
	struct about about = policy_about_class(r, class);
	struct span dsn = class == ABOUT_SENDER ? SPAN("4.1.8") : SPAN("4.1.2"), text = SPAN("Domain not found");
	unsigned char space[DNS_IDN_MAX];
	struct span domain;
	if (is_settled(a))
		return POL_DUNNO;
	if (!dns_to_ascii(a->domain, space, &domain))
		domain = a->domain; /* which is in no DNS, then */
	switch (takes_mail(r, domain)) {
	case MAIL_DNS_WAIT:
		return POL_AGAIN;
	case MAIL_DNS_FOUND:
		return POL_DUNNO;
	case MAIL_DNS_NULL_MX:
		return null_mx(r, rule, about, domain);
	case MAIL_DNS_LATER:
		return later(r, rule, r->policy->address_tempfail_defers, dsn, about, text);
	case MAIL_DNS_MALFORMED:
		text = SPAN("Malformed DNS server reply");
		break;
	case MAIL_DNS_NONE:
		break;
	}
	return policy_refuse(r, rule, policy_code(r->policy->p->p_unknown_address_reject_code), dsn, about, text);
}

enum pol
r_unknown_sender(struct policy_run *r, const struct policy_rule *rule)
{
	const struct resolved *a = NULL;
	struct err e;
	if (r->facts->sender.n == 0)
		return POL_DUNNO;
	if (policy_sender(r, &a, &e) != RC_OK)
		return policy_lookup_failed(r, rule, r->facts->sender, &e);
	return unknown_domain(r, rule, a, ABOUT_SENDER);
}

enum pol
r_unknown_recipient(struct policy_run *r, const struct policy_rule *rule)
{
	const struct resolved *a = NULL;
	struct err e;
	if (policy_rcpt(r, &a, &e) != RC_OK)
		return policy_lookup_failed(r, rule, r->facts->rcpt, &e);
	return unknown_domain(r, rule, a, ABOUT_RECIPIENT);
}

/* ---- permit_mx_backup ---- */

struct backup {
	struct policy_run *r;
	const struct policy_rule *rule;
	bool waits;                  /* something is not known yet */
	bool found;
	enum rc listed;              /* of the addresses of one host in permit_mx_backup_networks */
	struct span host;
};

/* What keeps us from accepting keeps us from refusing for good. */
static void
unsure(struct backup *b, const char *what, struct span host, const char *how, const char *why)
{
	struct buf text;
	buf_init(&text, 600);
	buf_puts(&text, what);
	buf_put(&text, span_head(host, 255));
	buf_puts(&text, how);
	buf_puts(&text, why);
	(void)policy_defer_if(b->r, b->rule, &b->r->if_reject, 450, SPAN("4.4.4"), policy_about_class(b->r, ABOUT_RECIPIENT), buf_span(&text));
	buf_fini(&text);
}

static bool
is_mine(void *arg, const struct ipaddr *addr)
{
	struct backup *b = arg;
	b->found |= address_is_own_ip(b->r->policy->book, addr);
	return !b->found;
}

static bool
is_one(const struct dns_answer *mx, unsigned i, uint16_t best, bool primary)
{
	return (mx->rr[i].pref == best) == primary && policy_is_host(mx->rr[i].data);
}

/* One of the hosts with (or, primary false, without) the best preference is this machine. Names first: they cost nothing. */
static bool
am_mx(struct backup *b, const struct dns_answer *mx, uint16_t best, bool primary)
{
	const char *why;
	for (unsigned i = 0; i < mx->n; i++) {
		enum rc own = (mx->rr[i].pref == best) == primary ? address_own_domain(b->r->policy->book, mx->rr[i].data, NULL) : RC_NONE;
		if (own == RC_OK)
			return true;
		b->waits |= own == RC_TEMP && map_asked();
		if (own == RC_TEMP && !map_asked())
			unsure(b, "Unable to tell whether this is one of our names: ", mx->rr[i].data, "", "");
	}
	b->found = false;
	for (unsigned i = 0; i < mx->n; i++) /* all are asked before one is waited for */
		if (is_one(mx, i, best, primary))
			b->waits |= policy_host_addrs(b->r, mx->rr[i].data, is_mine, b, &why) == MAIL_DNS_WAIT;
	for (unsigned i = 0; i < mx->n && !b->waits && !b->found; i++)
		if (is_one(mx, i, best, primary) && policy_host_addrs(b->r, mx->rr[i].data, is_mine, b, &why) != MAIL_DNS_FOUND)
			unsure(b, "Unable to look up mail exchanger host ", mx->rr[i].data, ": ", why);
	return b->found;
}

/* Every address has to be listed. */
static bool
is_listed(void *arg, const struct ipaddr *addr)
{
	struct backup *b = arg;
	b->listed = matchlist_host(b->r->policy->mx_networks, b->host, addr, NULL);
	b->waits |= b->listed == RC_TEMP && map_asked();
	return b->listed == RC_OK;
}

static bool
primaries_are_listed(struct backup *b, const struct dns_answer *mx, uint16_t best)
{
	bool yes = true;
	if (matchlist_empty(b->r->policy->mx_networks))
		return true;
	for (unsigned i = 0; i < mx->n && yes; i++) {
		if (!is_one(mx, i, best, true))
			continue;
		b->host = mx->rr[i].data;
		b->listed = RC_NONE;
		const char *why;
		enum mail_dns said = policy_host_addrs(b->r, b->host, is_listed, b, &why);
		b->waits |= said == MAIL_DNS_WAIT;
		if (said != MAIL_DNS_FOUND && said != MAIL_DNS_WAIT)
			unsure(b, "Unable to look up host ", b->host, " as mail exchanger: ", why);
		else if (b->listed == RC_TEMP && !b->waits)
			unsure(b, "Unable to verify host ", b->host, " as mail exchanger", "");
		yes = said == MAIL_DNS_FOUND && b->listed == RC_OK;
	}
	return yes;
}

/* Of what is waited for, tables need to be told so; the resolver knows. */
static enum pol
wait_more(struct backup *b)
{
	return map_asked() ? policy_await_maps(b->r) : POL_AGAIN;
}

static enum pol
is_backup(struct backup *b, const struct dns_answer *mx)
{
	uint16_t best = UINT16_MAX;
	for (unsigned i = 0; i < mx->n; i++)
		if (policy_is_host(mx->rr[i].data) && mx->rr[i].pref < best)
			best = mx->rr[i].pref;
	bool first = am_mx(b, mx, best, true);
	if (first || b->waits)
		return b->waits ? wait_more(b) : POL_DUNNO; /* where we are the best there is, somebody else has to permit it */
	bool second = am_mx(b, mx, best, false);
	if (b->waits || !second)
		return b->waits ? wait_more(b) : POL_DUNNO;
	bool listed = primaries_are_listed(b, mx, best);
	return b->waits ? wait_more(b) : listed ? POL_PERMIT : POL_DUNNO;
}

enum pol
r_mx_backup(struct policy_run *r, const struct policy_rule *rule)
{
	const struct resolved *a = NULL;
	const struct dns_answer *mx = NULL;
	struct err e;
	if (policy_rcpt(r, &a, &e) != RC_OK)
		return policy_lookup_failed(r, rule, r->facts->rcpt, &e);
	if (a->domain.n == 0)
		return POL_PERMIT;
	if (a->is_routed && !r->policy->p->p_allow_untrusted_routing)
		return POL_DUNNO;
	if (a->class != CLASS_DEFAULT)
		return POL_PERMIT;
	if (a->domain.p[0] == '[')
		return POL_DUNNO;
	struct backup b = { .r = r, .rule = rule };
	unsigned char space[DNS_IDN_MAX];
	struct span domain;
	if (!dns_to_ascii(a->domain, space, &domain))
		domain = a->domain;
	switch (policy_mail_dns(r, DNS_MX, domain, &mx)) {
	case MAIL_DNS_WAIT:
		return POL_AGAIN;
	case MAIL_DNS_FOUND:
		return is_backup(&b, mx);
	case MAIL_DNS_LATER:
		unsure(&b, "Unable to look up mail exchanger information: ", SPAN_EMPTY, "", mx->why);
		return POL_DUNNO;
	case MAIL_DNS_NONE:
	case MAIL_DNS_NULL_MX:
	case MAIL_DNS_MALFORMED:
		break;
	}
	return POL_DUNNO;
}
