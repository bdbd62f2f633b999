/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/own.h"

#include <ifaddrs.h>
#include <sys/socket.h>

static void
add(struct own *o, struct ipaddr a)
{
	a = ipaddr_unmap(a);
	if (a.family != IPADDR_NONE && o->n < NELEMS(o->addr))
		o->addr[o->n++] = a;
}

static void
add_text(struct own *o, struct span text)
{
	struct ipaddr a;
	if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		text = span_from(span_head(text, text.n - 1), 1);
	if (ipaddr_parse(text, &a) == RC_OK)
		add(o, a);
}

static void
add_loopback(struct own *o)
{
	add_text(o, SPAN("127.0.0.1"));
	add_text(o, SPAN("::1"));
}

static void
add_interfaces(struct own *o)
{
	struct ifaddrs *list;
	add_loopback(o);
	if (getifaddrs(&list) != 0)
		return;
	for (struct ifaddrs *i = list; i != NULL; i = i->ifa_next) {
		struct ipaddr a;
		if (i->ifa_addr != NULL && ipaddr_from_sockaddr(i->ifa_addr, &a, NULL))
			add(o, a);
	}
	freeifaddrs(list);
}

void
own_init(struct own *o, const char *inet_interfaces, const char *proxy_interfaces)
{
	*o = (struct own){ 0 };
	struct span lists[2] = { span_str(inet_interfaces), span_str(proxy_interfaces) };
	for (size_t i = 0; i < NELEMS(lists); i++)
		for (struct span word; span_word(&lists[i], ", \t\r\n", &word);) {
			if (span_caseeq_str(word, "all"))
				add_interfaces(o);
			else if (span_caseeq_str(word, "loopback-only") || span_caseeq_str(word, "localhost"))
				add_loopback(o);
			else
				add_text(o, word);
		}
}

bool
own_has(const struct own *o, const struct ipaddr *a)
{
	static const unsigned char zero[16];
	struct ipaddr plain = ipaddr_unmap(*a);
	if (memcmp(plain.b, zero, sizeof zero) == 0)
		return true;
	for (unsigned i = 0; i < o->n; i++)
		if (ipaddr_eq(&plain, &o->addr[i]))
			return true;
	return false;
}
