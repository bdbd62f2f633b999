/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/ipaddr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

static bool
parse_v4(struct span s, unsigned char b[4])
{
	size_t at = 0;
	for (int part = 0; part < 4; part++) {
		unsigned v = 0, digits = 0;
		while (at < s.n && s.p[at] >= '0' && s.p[at] <= '9' && digits < 4) {
			v = v * 10 + (s.p[at++] - (unsigned)'0');
			digits++;
		}
		if (digits < 1 || digits > 3 || v > 255)
			return false;
		b[part] = (unsigned char)v;
		if (part < 3 && (at >= s.n || s.p[at++] != '.'))
			return false;
	}
	return at == s.n;
}

enum rc
ipaddr_parse(struct span text, struct ipaddr *out)
{
	*out = (struct ipaddr){ 0 };
	if (text.n < 2 || text.n >= IPADDR_TEXT)
		return RC_PERM;
	if (parse_v4(text, out->b)) {
		out->family = IPADDR_V4;
		return RC_OK;
	}
	char z[IPADDR_TEXT];
	memcpy(z, text.p, text.n);
	z[text.n] = '\0';
	struct in6_addr a6;
	memset(out->b, 0, sizeof out->b);
	if (memchr(z, '\0', text.n) != NULL || inet_pton(AF_INET6, z, &a6) != 1)
		return RC_PERM;
	memcpy(out->b, &a6, 16);
	out->family = IPADDR_V6;
	return RC_OK;
}

/* by hand: every RCPT asks for it, and the library goes through printf */
static size_t
text_v4(const unsigned char b[4], char *out)
{
	size_t n = 0;
	for (int part = 0; part < 4; part++) {
		unsigned v = b[part];
		if (v >= 100)
			out[n++] = (char)('0' + v / 100);
		if (v >= 10)
			out[n++] = (char)('0' + v / 10 % 10);
		out[n++] = (char)('0' + v % 10);
		out[n++] = part < 3 ? '.' : '\0';
	}
	return n - 1;
}

size_t
ipaddr_text(const struct ipaddr *a, char out[IPADDR_TEXT])
{
	out[0] = '\0';
	if (a->family == IPADDR_V4)
		return text_v4(a->b, out);
	if (a->family == IPADDR_V6)
		inet_ntop(AF_INET6, a->b, out, IPADDR_TEXT);
	return strlen(out);
}

struct ipaddr
ipaddr_unmap(struct ipaddr a)
{
	static const unsigned char prefix[12] = { [10] = 0xff, [11] = 0xff };
	if (a.family != IPADDR_V6 || memcmp(a.b, prefix, sizeof prefix) != 0)
		return a;
	struct ipaddr v4 = { .family = IPADDR_V4 };
	memcpy(v4.b, a.b + 12, 4);
	return v4;
}

bool
ipaddr_eq(const struct ipaddr *a, const struct ipaddr *b)
{
	return a->family == b->family && memcmp(a->b, b->b, sizeof a->b) == 0;
}

unsigned
ipaddr_bits(const struct ipaddr *a)
{
	return a->family == IPADDR_V4 ? 32 : a->family == IPADDR_V6 ? 128 : 0;
}

bool
ipaddr_in(const struct ipaddr *a, const struct ipaddr *net, unsigned bits)
{
	if (a->family != net->family || a->family == IPADDR_NONE)
		return false;
	unsigned whole = bits / 8, rest = bits % 8;
	if (memcmp(a->b, net->b, whole) != 0)
		return false;
	return rest == 0 || ((a->b[whole] ^ net->b[whole]) & (0xff00 >> rest) & 0xff) == 0;
}

struct ipaddr
ipaddr_mask(struct ipaddr a, unsigned bits)
{
	for (unsigned i = 0; i < 16; i++) {
		unsigned have = bits > i * 8 ? bits - i * 8 : 0;
		if (have < 8)
			a.b[i] = (unsigned char)(a.b[i] & (0xff00 >> have) & 0xff);
	}
	return a;
}

bool
ipaddr_from_sockaddr(const struct sockaddr *sa, struct ipaddr *out, uint16_t *port_out)
{
	*out = (struct ipaddr){ 0 };
	uint16_t port = 0;
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof in);
		out->family = IPADDR_V4;
		memcpy(out->b, &in.sin_addr, 4);
		port = in.sin_port;
	} else if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof in6);
		out->family = IPADDR_V6;
		memcpy(out->b, &in6.sin6_addr, 16);
		port = in6.sin6_port;
	}
	if (port_out != NULL)
		*port_out = ntohs(port);
	return out->family != IPADDR_NONE;
}
