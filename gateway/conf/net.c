/* SPDX-License-Identifier: BSD-2-Clause */
/* Defaults that the machine decides: host name, domain, own addresses, mynetworks (facts 1.5, 14.1). */
#include "base/mem.h"
#include "conf/snap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ADDRESSES_MAX = 512 };

struct own {
	int family;
	unsigned char ip[16];
	unsigned bits;          /* of the interface's network */
	bool loopback, linklocal;
};

struct own_list {
	struct own row[ADDRESSES_MAX];
	size_t n;
};

static const char *
main_value(struct conf *c, const char *name)
{
	struct view v = { .c = c };
	struct span raw;
	struct err e;
	const char *text;
	if (!snap_lookup(&v, span_str(name), &raw) || snap_expand(&v, raw, &text, &e) != RC_OK)
		return ""; /* snap_fill says why */
	return text;
}

void
snap_compute_process(struct conf *c)
{
	char id[32];
	snprintf(id, sizeof id, "%ld", (long)getpid());
	snap_compute(c, "process_id", id);
	snap_compute(c, "process_name", program_invocation_short_name);
}

void
snap_compute_names(struct conf *c)
{
	char host[256], full[600];
	if (gethostname(host, sizeof host) != 0 || host[0] == '\0')
		snprintf(host, sizeof host, "localhost");
	host[sizeof host - 1] = '\0';
	const char *dot = strchr(host, '.');
	snap_compute(c, "mydomain", dot != NULL && dot[1] != '\0' ? dot + 1 : "localdomain");
	if (dot != NULL)
		snprintf(full, sizeof full, "%s", host);
	else
		snprintf(full, sizeof full, "%s.%s", host, main_value(c, "mydomain"));
	snap_compute(c, "myhostname", full);
	dot = strchr(main_value(c, "myhostname"), '.');
	snap_compute(c, "mydomain", dot != NULL && dot[1] != '\0' ? dot + 1 : "localdomain");
}

static void
add_own(struct own_list *l, const struct sockaddr *sa, const struct sockaddr *mask, bool loopback)
{
	struct own o = { .family = sa->sa_family, .loopback = loopback };
	unsigned char m[16];
	size_t len;
	if (sa->sa_family == AF_INET) {
		len = 4;
		memcpy(o.ip, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, len);
		memcpy(m, mask != NULL ? (const void *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr : "\377\377\377\377", len);
	} else if (sa->sa_family == AF_INET6) {
		const struct in6_addr *a = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
		len = 16;
		memcpy(o.ip, a, len);
		memset(m, 0xff, len);
		if (mask != NULL)
			memcpy(m, &((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr, len);
		o.linklocal = IN6_IS_ADDR_LINKLOCAL(a);
	} else {
		return;
	}
	for (size_t i = 0; i < len; i++)
		o.bits += (unsigned)__builtin_popcount(m[i]);
	for (size_t i = 0; i < l->n; i++)
		if (l->row[i].family == o.family && memcmp(l->row[i].ip, o.ip, len) == 0)
			return;
	if (l->n < ADDRESSES_MAX)
		l->row[l->n++] = o;
}

static void
add_interfaces(struct own_list *l, bool only_loopback)
{
	struct ifaddrs *all = NULL;
	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
		if (i->ifa_addr != NULL && (i->ifa_flags & IFF_UP) != 0 && (!only_loopback || (i->ifa_flags & IFF_LOOPBACK) != 0))
			add_own(l, i->ifa_addr, i->ifa_netmask, (i->ifa_flags & IFF_LOOPBACK) != 0);
	freeifaddrs(all);
}

/* A name or address of inet_interfaces; the interface's mask when it is there. */
static bool
add_host(struct own_list *l, const struct own_list *all, const char *host)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *res = NULL;
	if (getaddrinfo(host, NULL, &hints, &res) != 0)
		return false;
	for (const struct addrinfo *ai = res; ai != NULL; ai = ai->ai_next) {
		size_t before = l->n;
		add_own(l, ai->ai_addr, NULL, false);
		for (size_t i = 0; l->n > before && i < all->n; i++)
			if (all->row[i].family == l->row[before].family && memcmp(all->row[i].ip, l->row[before].ip, sizeof all->row[i].ip) == 0)
				l->row[before] = all->row[i];
	}
	freeaddrinfo(res);
	return true;
}

static void
inet_interfaces(struct conf *c, struct own_list *l)
{
	struct own_list *all = mem_zalloc(sizeof *all);
	add_interfaces(all, false);
	struct span rest = span_str(main_value(c, "inet_interfaces")), item;
	while (conf_item(&rest, &item, NULL) == RC_OK) {
		if (span_caseeq_str(item, "all")) {
			add_interfaces(l, false);
		} else if (span_caseeq_str(item, "loopback-only")) {
			add_interfaces(l, true);
		} else {
			if (item.n > 2 && item.p[0] == '[' && item.p[item.n - 1] == ']')
				item = span_from(span_head(item, item.n - 1), 1);
			const char *host = snap_str(c, item);
			if (!add_host(l, all, host))
				conf_problem(c, CONF_ERROR, NULL, "inet_interfaces", "inet_interfaces: host not found: %s", host);
		}
	}
	mem_free(&all);
}

/* Keeps the families that inet_protocols names. */
static void
inet_protocols(struct conf *c, struct own_list *l)
{
	bool v4 = false, v6 = false;
	struct span rest = span_str(main_value(c, "inet_protocols")), item;
	while (conf_item(&rest, &item, NULL) == RC_OK) {
		bool any = span_caseeq_str(item, "all");
		v4 = v4 || any || span_caseeq_str(item, "ipv4");
		v6 = v6 || any || span_caseeq_str(item, "ipv6");
		if (!any && !span_caseeq_str(item, "ipv4") && !span_caseeq_str(item, "ipv6"))
			conf_problem(c, CONF_ERROR, NULL, "inet_protocols", "inet_protocols: \"%s\": ipv4, ipv6 or all expected",
			    snap_str(c, item));
	}
	if (!v4 && !v6)
		conf_problem(c, CONF_ERROR, NULL, "inet_protocols", "inet_protocols: no protocol is left");
	size_t n = 0;
	for (size_t i = 0; i < l->n; i++)
		if (l->row[i].family == AF_INET ? v4 : v6)
			l->row[n++] = l->row[i];
	l->n = n;
}

static unsigned
class_bits(const struct own *o)
{
	if (o->family != AF_INET)
		return o->bits;
	return o->ip[0] < 128 ? 8 : o->ip[0] < 192 ? 16 : o->ip[0] < 224 ? 24 : 4;
}

static void
put_network(struct buf *out, const struct own *o, unsigned bits)
{
	char text[INET6_ADDRSTRLEN], item[INET6_ADDRSTRLEN + 16];
	unsigned char ip[16];
	memcpy(ip, o->ip, sizeof ip);
	for (unsigned i = bits; i < (o->family == AF_INET ? 32u : 128u); i++)
		ip[i / 8] &= (unsigned char)~(0x80u >> (i % 8));
	inet_ntop(o->family, ip, text, sizeof text);
	snprintf(item, sizeof item, o->family == AF_INET ? "%s/%u" : "[%s]/%u", text, bits);
	struct span rest = buf_span(out), have;
	while (conf_item(&rest, &have, NULL) == RC_OK)
		if (span_eq_str(have, item))
			return;
	if (buf_len(out) > 0)
		buf_putc(out, ' ');
	buf_puts(out, item);
}

void
snap_compute_networks(struct conf *c)
{
	struct own_list *l = mem_zalloc(sizeof *l);
	snap_compute(c, "mynetworks", "");
	inet_interfaces(c, l);
	inet_protocols(c, l);
	const char *style = main_value(c, "mynetworks_style");
	bool subnet = strcasecmp(style, "subnet") == 0, class = strcasecmp(style, "class") == 0;
	if (!subnet && !class && strcasecmp(style, "host") != 0)
		conf_problem(c, CONF_ERROR, NULL, "mynetworks_style", "mynetworks_style: \"%s\": host, subnet or class expected", style);
	struct buf nets, own;
	buf_init(&nets, 65536);
	buf_init(&own, 65536);
	for (size_t i = 0; i < l->n; i++) {
		const struct own *o = &l->row[i];
		char text[INET6_ADDRSTRLEN];
		unsigned full = o->family == AF_INET ? 32 : 128;
		/* A scope cannot be written in a list; without it the address would match on every link. */
		if (!o->linklocal || subnet || class)
			put_network(&nets, o, class ? class_bits(o) : subnet ? o->bits : full);
		inet_ntop(o->family, o->ip, text, sizeof text);
		if (buf_len(&own) > 0)
			buf_putc(&own, ' ');
		buf_puts(&own, text);
	}
	snap_compute(c, "mynetworks", buf_cstr(&nets));
	c->own_addresses = snap_str(c, buf_span(&own));
	buf_fini(&nets);
	buf_fini(&own);
	mem_free(&l);
}
