/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Questions to the DNS that rules will ask, asked as soon as the name they are about is known: at connect, HELO, MAIL and
 * RCPT. Nobody waits for them; when a rule asks, the answer is in the cache or on its way, so that rules in a row cost
 * the time of one. What to ask is found once, when the lists are compiled.
 */
#include "dns/idn.h"
#include "policy/ask_dns.h"

enum { ZONES = 3, PREFETCHES_MAX = 50 /* of one session, except for recipients, which rules ask about at once anyway */ };

static const struct {
	policy_rule_fn *fn;
	enum early_subject subject;
	unsigned ask;
} rows[] = {
	{ r_client_a, EARLY_CLIENT, ASK_ADDRESS }, { r_client_mx, EARLY_CLIENT, ASK_MX_HOSTS }, { r_client_ns, EARLY_CLIENT, ASK_NS_HOSTS },
	{ r_reverse_client_a, EARLY_REVERSE, ASK_ADDRESS }, { r_reverse_client_mx, EARLY_REVERSE, ASK_MX_HOSTS },
	{ r_reverse_client_ns, EARLY_REVERSE, ASK_NS_HOSTS },
	{ r_unknown_helo, EARLY_HELO, ASK_ADDRESS }, { r_helo_a, EARLY_HELO, ASK_ADDRESS }, { r_helo_mx, EARLY_HELO, ASK_MX_HOSTS },
	{ r_helo_ns, EARLY_HELO, ASK_NS_HOSTS },
	{ r_unknown_sender, EARLY_SENDER, ASK_MX }, { r_sender_a, EARLY_SENDER, ASK_ADDRESS },
	{ r_sender_mx, EARLY_SENDER, ASK_MX_HOSTS }, { r_sender_ns, EARLY_SENDER, ASK_NS_HOSTS },
	{ r_unknown_recipient, EARLY_RCPT, ASK_MX }, { r_recipient_a, EARLY_RCPT, ASK_ADDRESS },
	{ r_recipient_mx, EARLY_RCPT, ASK_MX_HOSTS }, { r_recipient_ns, EARLY_RCPT, ASK_NS_HOSTS },
};

/* ---- compiling ---- */

/* false: nothing after this rule is reached. */
static bool
add_list(struct policy_early *early, const struct policy_list *l, bool insider, unsigned depth)
{
	for (unsigned i = 0; i < l->count; i++) {
		const struct policy_rule *rule = &l->rules[i];
		if (rule->row == NULL) {
			if (depth < POLICY_DEPTH_MAX && !add_list(early, rule->class, insider, depth + 1))
				return false;
			continue;
		}
		bool warns = i > 0 && l->rules[i - 1].row != NULL && l->rules[i - 1].row->fn == r_warn_if_reject;
		if (rule->row->fn == r_permit || (insider && rule->row->fn == r_mynetworks) ||
		    (!warns && (rule->row->fn == r_reject || rule->row->fn == r_defer)))
			return false;
		for (size_t k = 0; k < NELEMS(rows); k++)
			if (rows[k].fn == rule->row->fn)
				early->ask[rows[k].subject] |= (unsigned char)rows[k].ask;
		if (rule->row->arg == ARG_DNSBL && early->ndnsbl < EARLY_DNSBL_MAX)
			early->dnsbl[early->ndnsbl++] = rule;
	}
	return true;
}

void
policy_find_early(struct policy *p)
{
	for (int insider = 0; insider < 2; insider++)
		for (size_t i = 0; i < LIST_COUNT; i++)
			(void)add_list(&p->early[insider], p->lists[i], insider != 0, 0);
}

/* ---- asking ---- */

static struct span
domain_of(struct span s)
{
	size_t at = span_rchr(s, '@');
	return at == SIZE_MAX ? s : span_from(s, at + 1);
}

/* The domain is one that reject_unknown_..._domain does not ask about. */
static bool
is_ours(const struct policy *p, struct span domain)
{
	unsigned char lower[DNS_NAME_MAX];
	enum address_class class;
	struct err e;
	if (domain.n > sizeof lower)
		return true;
	for (size_t i = 0; i < domain.n; i++)
		lower[i] = domain.p[i] >= 'A' && domain.p[i] <= 'Z' ? (unsigned char)(domain.p[i] | 0x20) : domain.p[i];
	if (address_class_of(p->book, span_of(lower, domain.n), &class, &e) != RC_OK)
		return true;
	return class == CLASS_LOCAL || class == CLASS_VIRTUAL_ALIAS || class == CLASS_VIRTUAL_MAILBOX;
}

static void
ask(const struct policy *p, unsigned what, struct span name)
{
	unsigned char space[DNS_IDN_MAX];
	if (what == 0 || !dns_to_ascii(name, space, &name) || !dns_is_hostname(name))
		return;
	if ((what & ASK_ADDRESS) != 0) {
		dns_prefetch(DNS_A, name, false);
		dns_prefetch(DNS_AAAA, name, false);
	}
	if ((what & ASK_MX_HOSTS) != 0)
		dns_prefetch(DNS_MX, name, true);
	else if ((what & ASK_MX) != 0 && !is_ours(p, name))
		dns_prefetch(DNS_MX, name, false);
	for (int i = 0; (what & ASK_NS_HOSTS) != 0 && i < ZONES && span_chr(name, '.') != SIZE_MAX; i++) {
		dns_prefetch(DNS_NS, name, true); /* and its parents: one of them is the zone */
		name = span_from(name, span_chr(name, '.') + 1);
	}
}

static void
ask_lists(const struct policy_early *early, enum early_subject subject, const struct facts *f)
{
	for (unsigned i = 0; i < early->ndnsbl; i++) {
		struct buf query;
		buf_init(&query, 300);
		if (policy_dnsbl_early(early->dnsbl[i], subject, f, &query))
			policy_dnsbl_prefetch(early->dnsbl[i], buf_span(&query));
		buf_fini(&query);
	}
}

void
policy_prefetch(struct policy_run *r, const struct policy *p, enum policy_prefetch what, const struct facts *f)
{
	static const unsigned char nothing[EARLY_SUBJECTS];
	if (memcmp(p->early[0].ask, nothing, EARLY_SUBJECTS) == 0 && p->early[0].ndnsbl == 0)
		return;
	if (what != PREFETCH_RCPT && r->prefetches++ >= PREFETCHES_MAX)
		return;
	bool insider = matchlist_host(p->mynetworks, f->client_name, &f->client, NULL) == RC_OK;
	const struct policy_early *early = &p->early[insider];
	switch (what) {
	case PREFETCH_CONNECT:
		ask_lists(early, EARLY_ADDRESS, f);
		break;
	case PREFETCH_CLIENT:
		if (f->client_name_rc == RC_OK) {
			ask(p, early->ask[EARLY_CLIENT], f->client_name);
			ask_lists(early, EARLY_CLIENT, f);
		}
		if (f->reverse_name_rc == RC_OK) {
			ask(p, early->ask[EARLY_REVERSE], f->reverse_name);
			ask_lists(early, EARLY_REVERSE, f);
		}
		break;
	case PREFETCH_HELO:
		ask(p, early->ask[EARLY_HELO], f->helo);
		ask_lists(early, EARLY_HELO, f);
		break;
	case PREFETCH_SENDER:
		ask(p, early->ask[EARLY_SENDER], domain_of(f->sender));
		ask_lists(early, EARLY_SENDER, f);
		break;
	case PREFETCH_RCPT:
		ask(p, early->ask[EARLY_RCPT], domain_of(f->rcpt));
		ask_lists(early, EARLY_RCPT, f);
		break;
	}
}
