/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/question.h"

enum { CLASS_IN = 1, FLAG_RD = 0x01, FLAG_AD = 0x20, TYPE_OPT = 41, DO_BIT = 0x80, QR = 0x8000 };

static unsigned char *
put16(unsigned char *p, unsigned v)
{
	*p++ = (unsigned char)(v >> 8);
	*p++ = (unsigned char)v;
	return p;
}

size_t
dns_asked_write(const struct dns_question *q, struct span name, unsigned char out[DNS_ASKED_MAX])
{
	size_t n;
	if (!dns_name_encode(name, out, &n))
		return 0;
	unsigned letter = 0;
	for (size_t i = 0; !q->as_typed && out[i] != 0; i += out[i] + 1u)
		for (size_t k = i + 1; k <= i + out[i]; k++) {
			unsigned char c = out[k] | 0x20;
			if (c < 'a' || c > 'z')
				continue;
			out[k] = (q->letters >> letter++ % 64 & 1) != 0 ? c & 0xdf : c;
		}
	unsigned char *p = put16(out + n, q->type);
	p = put16(p, CLASS_IN);
	return (size_t)(p - out);
}

size_t
dns_question_write(const struct dns_question *q, struct span name, unsigned char out[DNS_QUESTION_MAX])
{
	unsigned char *p = put16(out, q->id);
	*p++ = FLAG_RD;
	*p++ = q->secure ? FLAG_AD : 0;
	p = put16(p, 1);
	p = put16(p, 0);
	p = put16(p, 0);
	p = put16(p, q->plain ? 0 : 1);
	size_t n = dns_asked_write(q, name, p);
	if (n == 0)
		return 0;
	p += n;
	if (!q->plain) { /* RFC 6891 6.1.2 */
		*p++ = 0;
		p = put16(p, TYPE_OPT);
		p = put16(p, DNS_EDNS_SIZE);
		p = put16(p, 0);
		*p++ = q->secure ? DO_BIT : 0;
		*p++ = 0;
		p = put16(p, 0);
	}
	return (size_t)(p - out);
}

enum dns_match
dns_question_match(struct span packet, struct span asked)
{
	struct cur rd = cur_of(packet);
	(void)cur_be16(&rd);
	uint16_t flags = cur_be16(&rd), questions = cur_be16(&rd);
	(void)cur_take(&rd, 6);
	if (rd.bad || (flags & QR) == 0)
		return DNS_MATCH_NOT;
	if (questions == 0 && (flags & 15) != 0 && packet.n == DNS_HEADER)
		return DNS_MATCH_BARE;
	struct span section = cur_take(&rd, asked.n);
	if (rd.bad || questions != 1)
		return DNS_MATCH_NOT;
	if (span_eq(section, asked))
		return DNS_MATCH;
	/* lengths, type and class have no letters, unless they look like one: those must be equal */
	if (!span_caseeq(section, asked) || !span_eq(span_from(section, section.n - 4), span_from(asked, asked.n - 4)))
		return DNS_MATCH_NOT;
	return DNS_MATCH_CASE;
}
