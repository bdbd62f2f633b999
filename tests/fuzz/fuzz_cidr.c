/* SPDX-License-Identifier: BSD-2-Clause */
/* Properties of addresses, networks and address keys: what is parsed and written is parsed again the same; a
 * network holds its own address and nothing with another bit before its length; resolution ends, and what it calls
 * ours has a domain of ours and no route behind it. */
#include "map/cidr.h"
#include "policy/resolve.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
networks(struct span s)
{
	struct cidr net, again;
	struct err e;
	char text[IPADDR_TEXT], whole[IPADDR_TEXT + 8];
	if (cidr_parse(s, true, &net, &e) != RC_OK)
		return;
	BUG_ON(net.bits > ipaddr_bits(&net.net));
	BUG_ON(!ipaddr_in(&net.net, &net.net, net.bits));
	for (unsigned i = 0; i < net.bits; i++) {
		struct ipaddr other = net.net;
		other.b[i / 8] ^= (unsigned char)(0x80 >> (i % 8));
		BUG_ON(ipaddr_in(&other, &net.net, net.bits));
	}
	ipaddr_text(&net.net, text);
	snprintf(whole, sizeof whole, net.net.family == IPADDR_V6 ? "[%s]/%u" : "%s/%u", text, net.bits);
	BUG_ON(cidr_parse(span_str(whole), false, &again, &e) != RC_OK);
	BUG_ON(again.bits != net.bits || !ipaddr_eq(&again.net, &net.net));
}

static enum rc
is_local(void *arg, struct span domain, struct err *e)
{
	(void)arg;
	(void)e;
	return span_eq_str(domain, "o.x") || span_eq_str(domain, "[1.2.3.4]") ? RC_OK : RC_NONE;
}

static void
routes(struct span s, unsigned how)
{
	struct resolve_rules rules = {
		.myorigin = "o.x", .mydomain = "x", .append_at = true, .append_dot = how & 1, .bangs = (how & 2) == 0, .percents = (how & 4) == 0,
		.look_in_quotes = true, .min_user = how & 8, .null_domain = how & 16, .numeric_domain = how & 32, .is_local = is_local,
	};
	struct resolved *a = malloc(sizeof *a);
	struct err e;
	bool local;
	BUG_ON(a == NULL);
	BUG_ON(resolve_address(&rules, s, a, &local, &e) != RC_OK);
	if (!a->is_bad) {
		BUG_ON(a->local.n + 1 + a->domain.n != a->addr.n && a->addr.n > 0);
		for (size_t i = 0; i < a->domain.n; i++)
			BUG_ON(a->domain.p[i] >= 'A' && a->domain.p[i] <= 'Z');
		bool operators = span_chr(a->local, '@') != SIZE_MAX || (rules.bangs && span_chr(a->local, '!') != SIZE_MAX)
		    || (rules.percents && span_chr(a->local, '%') != SIZE_MAX);
		BUG_ON(local && operators);             /* a local user is nobody's relay */
		BUG_ON(local && is_local(NULL, a->domain, &e) != RC_OK);
		BUG_ON(!local && operators && !a->is_routed);
	}
	free(a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	networks(span_of(p + 1, n - 1));
	routes(span_of(p + 1, n - 1), p[0]);
	return 0;
}
