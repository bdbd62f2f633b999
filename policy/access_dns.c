/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check_*_{a,mx,ns}_access: the hosts that the DNS names for a domain, looked up in a table by name and by address. Facts 3.9.
 *
 * Hosts are taken in the order of the answer, HOSTS_AT_ONCE of them asked together; what the table says of the first that
 * it knows decides. No more than ADDRS_MAX addresses are looked up, as by Postfix: the domain is the client's. The log says so.
 */
#include "dns/idn.h"
#include "policy/ask_dns.h"

enum { HOSTS_AT_ONCE = 8, HOSTS_MAX = 100, ADDRS_MAX = 100 };

struct server_access {
	struct policy_run *r;
	const struct policy_rule *rule;
	struct about about;
	enum dns_type type;
	unsigned addrs;              /* looked up so far */
	enum pol pol;                /* when decided */
	bool decided;
	struct dns_rr self;          /* stands for the domain itself, whose syntax is the client's */
	struct err e;
};

/* A rule that is run again does not say it twice. */
static void
note_once(struct policy_run *r, struct span text)
{
	for (unsigned i = 0; i < r->verdict.nnotes; i++)
		if (span_eq(r->verdict.notes[i].text, text))
			return;
	policy_note(r, NOTE_TROUBLE, text);
}

static void
decide(struct server_access *s, enum rc rc, struct span value)
{
	if (rc == RC_NONE)
		return;
	s->decided = true;
	s->pol = policy_access_answer(s->r, s->rule, rc, value, s->about, &s->e, false, true);
}

static bool
check_address(void *arg, const struct ipaddr *addr)
{
	struct server_access *s = arg;
	struct span value = SPAN_EMPTY;
	char text[IPADDR_TEXT];
	if (s->addrs++ == ADDRS_MAX)
		return false;
	size_t n = ipaddr_text(addr, text);
	decide(s, map_find_ip(s->rule->map, span_of(text, n), &s->r->scratch, &value, &s->e), value);
	return !s->decided;
}

static void
no_address(struct server_access *s, struct span host, const char *why)
{
	struct buf b;
	if (s->type == DNS_A)
		return; /* as Postfix: the name is the client's own doing */
	buf_init(&b, 1200);
	buf_printf(&b, "Unable to look up %s host ", dns_type_name(s->type));
	buf_put_safe(&b, host, 255, true);
	buf_printf(&b, " for %s ", reply_class_name(s->about.class));
	buf_put_safe(&b, s->about.object, 320, true);
	buf_puts(&b, ": ");
	buf_puts(&b, why);
	note_once(s->r, buf_span(&b));
	buf_fini(&b);
}

static void
more_than_we_look_at(struct server_access *s)
{
	struct buf b;
	buf_init(&b, 600);
	buf_printf(&b, "%s of %s ", s->type == DNS_A ? "addresses" : dns_type_name(s->type), reply_class_name(s->about.class));
	buf_put_safe(&b, s->about.object, 320, true);
	buf_printf(&b, ": there are more than %u hosts or addresses, the others are not looked up", ADDRS_MAX);
	note_once(s->r, buf_span(&b));
	buf_fini(&b);
}

/* true: decided, or something is still on its way (s->pol says). */
static bool
check_host(struct server_access *s, struct span host)
{
	struct span value = SPAN_EMPTY;
	const char *why;
	if (s->type != DNS_A)
		decide(s, map_find_host(s->rule->map, host, s->r->policy->access_parent_plain, &s->r->scratch, &value, &s->e), value);
	if (s->decided)
		return true;
	enum mail_dns said = policy_host_addrs(s->r, host, check_address, s, &why);
	if (said == MAIL_DNS_WAIT) {
		s->pol = POL_AGAIN;
		return true;
	}
	if (said != MAIL_DNS_FOUND)
		no_address(s, host, why);
	return s->decided;
}

static bool
ignore_address(void *arg, const struct ipaddr *addr)
{
	(void)arg;
	(void)addr;
	return false;
}

static enum pol
check_hosts(struct server_access *s, const struct dns_answer *a)
{
	unsigned n = a->n < HOSTS_MAX ? a->n : HOSTS_MAX;
	unsigned i;
	const char *why;
	for (i = 0; i < n && s->addrs < ADDRS_MAX; i++) {
		if (i % HOSTS_AT_ONCE == 0) /* the next ones are asked together */
			for (unsigned k = i; k < n && k < i + HOSTS_AT_ONCE; k++)
				if (policy_is_host(a->rr[k].data))
					(void)policy_host_addrs(s->r, a->rr[k].data, ignore_address, NULL, &why);
		if ((a->rr == &s->self || policy_is_host(a->rr[i].data)) && check_host(s, a->rr[i].data))
			return s->pol;
	}
	if (i < a->n || s->addrs > ADDRS_MAX)
		more_than_we_look_at(s);
	return POL_DUNNO;
}

/* Name servers are those of the zone the name is in. */
static enum mail_dns
servers_of(struct server_access *s, struct span *domain, const struct dns_answer **out)
{
	enum mail_dns said = policy_mail_dns(s->r, s->type, *domain, out);
	while (s->type == DNS_NS && said == MAIL_DNS_NONE) {
		size_t dot = span_chr(*domain, '.');
		if (dot == SIZE_MAX || dot + 1 >= domain->n) {
			*domain = SPAN_EMPTY; /* no parent is left */
			break;
		}
		*domain = span_from(*domain, dot + 1);
		said = policy_mail_dns(s->r, s->type, *domain, out);
	}
	return said;
}

static enum pol
check_domain(struct server_access *s, struct span name)
{
	struct span domain = name;
	const struct dns_answer itself = { .n = 1, .rr = &s->self }, *found = &itself;
	s->self = (struct dns_rr){ .data = domain };
	enum mail_dns said = s->type == DNS_A ? MAIL_DNS_FOUND : servers_of(s, &domain, &found);
	if (said == MAIL_DNS_NONE && s->type == DNS_MX) {
		said = MAIL_DNS_FOUND;
		found = &itself;
	}
	if (said == MAIL_DNS_WAIT)
		return POL_AGAIN;
	if (said == MAIL_DNS_FOUND)
		return check_hosts(s, found);
	if (said != MAIL_DNS_NULL_MX) {
		struct buf b;
		buf_init(&b, 600);
		buf_printf(&b, "Unable to look up %s host for ", dns_type_name(s->type));
		buf_put_safe(&b, domain.n > 1 ? domain : name, 255, true);
		buf_puts(&b, ": ");
		buf_puts(&b, said == MAIL_DNS_MALFORMED ? "Malformed DNS server reply" : found->why);
		note_once(s->r, buf_span(&b));
		buf_fini(&b);
	}
	return POL_DUNNO;
}

/* "[192.0.2.1]" is its own address and its own MX; it has no name servers. */
static enum pol
check_literal(struct server_access *s, struct span domain)
{
	struct ipaddr a;
	if (s->type == DNS_NS || domain.n < 3 || domain.p[domain.n - 1] != ']')
		return POL_DUNNO;
	struct span inside = span_of(domain.p + 1, domain.n - 2);
	if (span_casestarts(inside, SPAN("IPv6:")))
		inside = span_from(inside, 5);
	if (ipaddr_parse(inside, &a) != RC_OK)
		return POL_DUNNO;
	(void)check_address(s, &a);
	return s->decided ? s->pol : POL_DUNNO;
}

static enum pol
server_access(struct policy_run *r, const struct policy_rule *rule, enum reply_class class, enum dns_type type, struct span name)
{
	struct server_access s = { .r = r, .rule = rule, .about = policy_about_class(r, class), .type = type, .pol = POL_DUNNO };
	size_t at = span_rchr(name, '@');
	struct span domain = at == SIZE_MAX ? name : span_from(name, at + 1);
	if (name.n == 0)
		return POL_DUNNO;
	if (domain.n > 0 && domain.p[0] == '[')
		return check_literal(&s, domain);
	unsigned char space[DNS_IDN_MAX];
	struct span ascii;
	return check_domain(&s, dns_to_ascii(domain, space, &ascii) ? ascii : domain);
}

/* ---- the rows ---- */

static enum pol
client(struct policy_run *r, const struct policy_rule *rule, enum dns_type type)
{
	struct span name = r->facts->client_name;
	return span_caseeq_str(name, "unknown") ? POL_DUNNO : server_access(r, rule, ABOUT_CLIENT, type, name);
}

static enum pol
reverse_client(struct policy_run *r, const struct policy_rule *rule, enum dns_type type)
{
	struct span name = r->facts->reverse_name;
	return span_caseeq_str(name, "unknown") ? POL_DUNNO : server_access(r, rule, ABOUT_REVERSE_CLIENT, type, name);
}

/* The three of a subject: its addresses, its mail exchangers, its name servers. */
#define RULES(name, CALL) \
	enum pol r_##name##_a(struct policy_run *r, const struct policy_rule *rule) \
	{ \
		return CALL(DNS_A); \
	} \
	enum pol r_##name##_mx(struct policy_run *r, const struct policy_rule *rule) \
	{ \
		return CALL(DNS_MX); \
	} \
	enum pol r_##name##_ns(struct policy_run *r, const struct policy_rule *rule) \
	{ \
		return CALL(DNS_NS); \
	}

#define CLIENT(type) client(r, rule, type)
#define REVERSE_CLIENT(type) reverse_client(r, rule, type)
#define HELO(type) server_access(r, rule, ABOUT_HELO, type, r->facts->helo)
#define SENDER(type) server_access(r, rule, ABOUT_SENDER, type, r->facts->sender)
#define RECIPIENT(type) server_access(r, rule, ABOUT_RECIPIENT, type, r->facts->rcpt)

RULES(client, CLIENT)
RULES(reverse_client, REVERSE_CLIENT)
RULES(helo, HELO)
RULES(sender, SENDER)
RULES(recipient, RECIPIENT)
