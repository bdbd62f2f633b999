/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/dns.h"

#include "base/buf.h"

#include <netinet/in.h>

static const unsigned char mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void
put_v4(struct buf *out, const unsigned char b[4], struct span zone)
{
	for (int i = 3; i >= 0; i--) {
		buf_put_dec(out, b[i]);
		buf_putc(out, '.');
	}
	buf_put(out, zone.n > 0 ? zone : SPAN("in-addr.arpa"));
}

void
dns_reverse_name(const struct sockaddr *addr, struct span zone, struct buf *out)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char b[16];
	if (addr->sa_family == AF_INET) {
		memcpy(b, &((const struct sockaddr_in *)(const void *)addr)->sin_addr, 4);
		put_v4(out, b, zone);
		return;
	}
	memcpy(b, &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr, sizeof b);
	if (memcmp(b, mapped, sizeof mapped) == 0) {
		put_v4(out, b + 12, zone);
		return;
	}
	for (int i = 15; i >= 0; i--) {
		unsigned char text[4] = { (unsigned char)hex[b[i] & 15], '.', (unsigned char)hex[b[i] >> 4], '.' };
		buf_put(out, span_of(text, sizeof text));
	}
	buf_put(out, zone.n > 0 ? zone : SPAN("ip6.arpa"));
}

void
dns_ask_ptr(struct dns_query *q, const struct sockaddr *addr, uint64_t timeout_usec)
{
	struct buf name;
	buf_init(&name, DNS_NAME_MAX);
	dns_reverse_name(addr, SPAN_EMPTY, &name);
	dns_ask(q, DNS_PTR, buf_span(&name), timeout_usec);
	buf_fini(&name);
}
