/* SPDX-License-Identifier: BSD-2-Clause */
#include "rbl/list.h"

#include "dns/dns.h"

#include <arpa/inet.h>

static void
add(uint64_t bits[4], uint64_t from, uint64_t to)
{
	for (uint64_t n = from; n <= to; n++)
		bits[n / 64] |= UINT64_C(1) << n % 64;
}

/* A number from 0 to 255 off the front. */
static bool
take_number(struct span *s, uint64_t *out)
{
	size_t n = 0;
	while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
		n++;
	if (n == 0 || n > 3 || !span_u64(span_head(*s, n), 255, out))
		return false;
	*s = span_from(*s, n);
	return true;
}

static bool
take_char(struct span *s, unsigned char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	*s = span_from(*s, 1);
	return true;
}

/* 5 or [1;2;8..15] */
static bool
take_octet(struct span *s, uint64_t bits[4])
{
	uint64_t from, to;
	if (!take_char(s, '[')) {
		if (!take_number(s, &from))
			return false;
		add(bits, from, from);
		return true;
	}
	do {
		if (!take_number(s, &from))
			return false;
		to = from;
		if (take_char(s, '.') && (!take_char(s, '.') || !take_number(s, &to) || to < from))
			return false;
		add(bits, from, to);
	} while (take_char(s, ';'));
	return take_char(s, ']');
}

enum rc
rbl_list_parse(struct span arg, struct rbl_list *out, struct err *e)
{
	*out = (struct rbl_list){ 0 };
	size_t eq = span_chr(arg, '=');
	out->domain = span_head(arg, eq);
	if (out->domain.n > 0 && out->domain.p[out->domain.n - 1] == '.')
		out->domain = span_head(out->domain, out->domain.n - 1);
	if (out->domain.n == 0 || out->domain.n > RBL_DOMAIN_MAX || !dns_is_hostname(out->domain))
		return err_set(e, RC_PERM, "%.*s: not a domain name", (int)(arg.n < 100 ? arg.n : 100), arg.n > 0 ? (const char *)arg.p : "");
	if (eq == SIZE_MAX)
		return RC_OK;
	struct span filter = span_from(arg, eq + 1), rest = filter;
	out->has_filter = true;
	for (int i = 0; i < 4; i++)
		if ((i > 0 && !take_char(&rest, '.')) || !take_octet(&rest, out->octets[i]))
			return err_set(e, RC_PERM, "bad address pattern \"%.*s\": expected d.d.d.d with numbers from 0 to 255 or [number;from..to]",
			    (int)(filter.n < 100 ? filter.n : 100), filter.n > 0 ? (const char *)filter.p : "");
	if (rest.n > 0)
		return err_set(e, RC_PERM, "bad address pattern \"%.*s\": something behind it", (int)(filter.n < 100 ? filter.n : 100), (const char *)filter.p);
	return RC_OK;
}

bool
rbl_list_matches(const struct rbl_list *l, struct in_addr answer)
{
	uint32_t a = ntohl(answer.s_addr);
	if (rbl_is_refusal(answer))
		return false;
	if (!l->has_filter)
		return a >> 24 == 127;
	for (int i = 0; i < 4; i++) {
		unsigned n = (a >> (24 - 8 * i)) & 255;
		if ((l->octets[i][n / 64] >> n % 64 & 1) == 0)
			return false;
	}
	return true;
}

bool
rbl_is_refusal(struct in_addr answer)
{
	return (ntohl(answer.s_addr) & 0xffffff00u) == 0x7fffff00u;
}

enum rbl_meaning
rbl_list_judge(const struct rbl_list *l, const struct dns_answer *a, struct in_addr *odd_out)
{
	enum rbl_meaning says = RBL_NOT_LISTED;
	for (unsigned i = 0; i < a->n; i++) {
		struct in_addr at = a->rr[i].addr.a;
		if (rbl_list_matches(l, at))
			return RBL_LISTED;
		enum rbl_meaning odd = rbl_is_refusal(at) ? RBL_REFUSES : ntohl(at.s_addr) >> 24 != 127 ? RBL_FOREIGN : RBL_NOT_LISTED;
		if (odd == RBL_NOT_LISTED || says == RBL_REFUSES)
			continue;
		says = odd;
		if (odd_out != NULL)
			*odd_out = at;
	}
	return says;
}

void
rbl_addr_query(struct span domain, const struct ipaddr *addr, struct buf *out)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	if (addr->family == IPADDR_V4) {
		memcpy(&in.sin_addr, addr->b, 4);
		dns_reverse_name((const struct sockaddr *)&in, domain, out);
	} else {
		memcpy(&in6.sin6_addr, addr->b, 16);
		dns_reverse_name((const struct sockaddr *)&in6, domain, out);
	}
}

enum rc
rbl_name_query(const struct rbl_list *l, struct span name, struct buf *out)
{
	while (name.n > 0 && name.p[name.n - 1] == '.')
		name = span_head(name, name.n - 1);
	if (name.n == 0 || span_caseeq_str(name, "unknown") || !dns_is_hostname(name) || name.n + 1 + l->domain.n > RBL_DOMAIN_MAX)
		return RC_NONE;
	size_t last = name.n;
	while (last > 0 && name.p[last - 1] != '.')
		last--;
	bool digits = true;
	for (size_t i = last; i < name.n; i++)
		digits = digits && name.p[i] >= '0' && name.p[i] <= '9';
	if (digits)
		return RC_NONE;
	buf_put(out, name);
	buf_putc(out, '.');
	buf_put(out, l->domain);
	return RC_OK;
}
