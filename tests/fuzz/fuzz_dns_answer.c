/* SPDX-License-Identifier: BSD-2-Clause */
/* First byte: the type asked for; with its top bit set the question is put in, so that the rest is about records. Property: records only with RC_OK, names that come out go in again
 * or are no host names, an alias to be asked only with "none", AD as in the packet, parsing twice says the same. */
#include "base/buf.h"
#include "dns/answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const enum dns_type types[] = { DNS_A, DNS_PTR, DNS_MX, DNS_TXT, DNS_AAAA, DNS_NS, DNS_SRV, DNS_TLSA };
	if (n < 1)
		return 0;
	enum dns_type type = types[(p[0] & 0x7f) % NELEMS(types)];
	struct span packet = span_of(p + 1, n - 1);
	struct buf whole;
	buf_init(&whole, 65536);
	if ((p[0] & 0x80) != 0 && n > 9) { /* flags, counts of the three sections, records */
		unsigned char head[] = { 1, 2, p[1] | 0x80, p[2], 0, 1, 0, p[3], 0, p[4], 0, p[5], 1, 'a', 4, 't', 'e', 's', 't', 0, 0, (unsigned char)type, 0, 1 };
		buf_put(&whole, span_of(head, sizeof head));
		buf_put(&whole, span_of(p + 6, n - 6));
		packet = buf_span(&whole);
	}
	struct arena a;
	struct dns_answer x, y;
	arena_init(&a, 1024 * 1024);
	enum rc rc = dns_answer_parse(packet, SPAN("a.test"), type, &a, &x);
	BUG_ON((rc == RC_OK) != (x.n > 0));
	BUG_ON(rc != RC_OK && x.why == NULL);
	BUG_ON(x.n > DNS_RR_MAX || x.ttl > DNS_TTL_MAX);
	BUG_ON(x.alias.n > 0 && (rc != RC_NONE || x.nxdomain || x.aliases == 0));
	BUG_ON(x.aliases > DNS_CNAME_MAX + 1);
	BUG_ON(x.is_secure && (packet.p[3] & 0x20) == 0);
	for (unsigned i = 0; i < x.n; i++) {
		unsigned char wire[DNS_NAME_MAX];
		size_t len;
		struct span s = x.rr[i].data;
		BUG_ON(type == DNS_TXT && s.n > DNS_TXT_MAX);
		BUG_ON(type == DNS_TLSA && s.n == 0);
		if (type == DNS_MX || type == DNS_PTR || type == DNS_NS || type == DNS_SRV)
			BUG_ON(dns_is_hostname(s) && !dns_name_encode(s, wire, &len));
	}
	BUG_ON(dns_answer_parse(packet, SPAN("a.test"), type, &a, &y) != rc || y.n != x.n);
	BUG_ON(y.is_secure != x.is_secure || !span_eq(x.alias, y.alias));
	arena_fini(&a);
	buf_fini(&whole);
	return 0;
}
