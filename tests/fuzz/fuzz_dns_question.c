/* SPDX-License-Identifier: BSD-2-Clause */
/* First 11 octets: how to ask; then the name's length and the name; the rest is what comes back. Property: what was written matches
 * itself and, with other letters, only as such; what matches has our question in it; a bare error is a header. */
#include "dns/question.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct cur rd = cur_of(span_of(p, n));
	struct dns_question q = { .id = cur_be16(&rd) }, other;
	uint8_t how = cur_u8(&rd);
	q.letters = cur_u64(&rd);
	q.type = (how & 1) != 0 ? DNS_A : DNS_TLSA;
	q.as_typed = (how & 2) != 0;
	q.plain = (how & 4) != 0;
	q.secure = (how & 8) != 0;
	struct span name = cur_take(&rd, cur_u8(&rd));
	if (rd.bad)
		return 0;
	struct span back = cur_take(&rd, cur_left(&rd));
	unsigned char packet[DNS_QUESTION_MAX], asked[DNS_ASKED_MAX], turned[DNS_ASKED_MAX];
	size_t whole = dns_question_write(&q, name, packet), len = dns_asked_write(&q, name, asked);
	BUG_ON((whole == 0) != (len == 0));
	if (len == 0)
		return 0;
	BUG_ON(whole != DNS_HEADER + len + (q.plain ? 0u : 11u));
	BUG_ON(memcmp(packet + DNS_HEADER, asked, len) != 0);
	BUG_ON(dns_question_match(span_of(packet, whole), span_of(asked, len)) != DNS_MATCH_NOT); /* a question is no answer */
	packet[2] |= 0x80;
	BUG_ON(dns_question_match(span_of(packet, whole), span_of(asked, len)) != DNS_MATCH);
	other = q;
	other.letters = ~q.letters;
	other.as_typed = false;
	BUG_ON(dns_asked_write(&other, name, turned) != len);
	enum dns_match m = dns_question_match(span_of(packet, whole), span_of(turned, len));
	BUG_ON(m != (memcmp(asked, turned, len) == 0 ? DNS_MATCH : DNS_MATCH_CASE));
	switch (dns_question_match(back, span_of(asked, len))) {
	case DNS_MATCH:
		BUG_ON(memcmp(back.p + DNS_HEADER, asked, len) != 0);
		break;
	case DNS_MATCH_CASE:
		BUG_ON(back.n < DNS_HEADER + len || memcmp(back.p + DNS_HEADER + len - 4, asked + len - 4, 4) != 0);
		break;
	case DNS_MATCH_BARE:
		BUG_ON(back.n != DNS_HEADER || (back.p[3] & 15) == 0);
		break;
	case DNS_MATCH_NOT:
		break;
	}
	return 0;
}
