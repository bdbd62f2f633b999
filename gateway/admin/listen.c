/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/listen.h"

#include "base/mem.h"
#include "conf/ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <unistd.h>

enum { BACKLOG = 4096, SETS_MAX = 256 };

static bool
same_addr(const struct listen_socket *a, const struct sockaddr *addr, socklen_t len)
{
	return a->addr_len == len && memcmp(&a->addr, addr, len) == 0;
}

static enum rc
bind_one(struct listen_socket *s, struct listen_set *old, struct err *e)
{
	for (size_t i = 0; old != NULL && i < old->count; i++)
		if (old->socket[i].fd >= 0 && same_addr(&old->socket[i], (struct sockaddr *)&s->addr, s->addr_len)) {
			s->fd = old->socket[i].fd;
			old->socket[i].fd = -1;
			return RC_OK;
		}
	int on = 1;
	s->fd = socket(s->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return err_set(e, RC_TEMP, "socket: %s", strerror(errno));
	(void)setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (s->addr.ss_family == AF_INET6)
		(void)setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (bind(s->fd, (struct sockaddr *)&s->addr, s->addr_len) != 0 || listen(s->fd, BACKLOG) != 0) {
		struct buf text;
		buf_init(&text, 128);
		listen_text(s, &text);
		enum rc rc = err_set(e, RC_PERM, "cannot listen on %s: %s", buf_cstr(&text), strerror(errno));
		buf_fini(&text);
		close(s->fd);
		s->fd = -1;
		return rc;
	}
	return RC_OK;
}

static enum rc
add(struct listen_set *set, struct listen_set *old, const struct service *sv, unsigned row, const struct sockaddr *addr, socklen_t len,
    struct err *e)
{
	for (size_t i = 0; i < set->count; i++)
		if (same_addr(&set->socket[i], addr, len))
			return RC_OK; /* two interfaces names, one address */
	if (set->count == SETS_MAX)
		return err_set(e, RC_PERM, "more than %d listening addresses", SETS_MAX);
	struct listen_socket *s = &set->socket[set->count];
	*s = (struct listen_socket){ .fd = -1, .row = row, .addr_len = len };
	snprintf(s->service, sizeof s->service, "%s", sv->name);
	memcpy(&s->addr, addr, len);
	enum rc rc = bind_one(s, old, e);
	if (rc == RC_OK)
		set->count++;
	return rc;
}

static enum rc
add_host(struct listen_set *set, struct listen_set *old, const struct conf *conf, unsigned row, const char *host, const char *port, struct err *e)
{
	const struct service *sv = conf_service(conf, row);
	struct span protocols = span_str(sv->params->p_inet_protocols);
	bool v4 = span_find(protocols, SPAN("ipv4")) != SIZE_MAX || span_find(protocols, SPAN("all")) != SIZE_MAX;
	bool v6 = span_find(protocols, SPAN("ipv6")) != SIZE_MAX || span_find(protocols, SPAN("all")) != SIZE_MAX;
	struct addrinfo hints = { .ai_family = v4 && v6 ? AF_UNSPEC : v6 ? AF_INET6 : AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *list;
	int r = getaddrinfo(host, port, &hints, &list);
	if (r != 0)
		return err_set(e, RC_PERM, "%s:%d: service %s: %s:%s: %s", sv->file, sv->line, sv->name, host != NULL ? host : "*", port, gai_strerror(r));
	enum rc rc = RC_OK;
	size_t bound = 0;
	for (struct addrinfo *ai = list; ai != NULL && rc == RC_OK; ai = ai->ai_next) {
		rc = add(set, old, sv, row, ai->ai_addr, ai->ai_addrlen, e);
		if (rc != RC_OK && ai->ai_family == AF_INET6 && host == NULL && errno == EAFNOSUPPORT)
			rc = RC_OK; /* no IPv6 on this machine, and nobody named an IPv6 address */
		bound += rc == RC_OK;
	}
	freeaddrinfo(list);
	return rc == RC_OK && bound == 0 ? err_set(e, RC_PERM, "service %s: no address", sv->name) : rc;
}

/* "host:port", "[v6]:port", "port" (facts 2.1) */
static enum rc
add_service(struct listen_set *set, struct listen_set *old, const struct conf *conf, unsigned row, struct err *e)
{
	const struct service *sv = conf_service(conf, row);
	char host[256] = "", port[8];
	struct span name = span_str(sv->name);
	size_t colon = span_rchr(name, ':');
	struct span h = colon != SIZE_MAX ? span_head(name, colon) : SPAN_EMPTY;
	if (h.n > 1 && h.p[0] == '[' && h.p[h.n - 1] == ']')
		h = span_head(span_from(h, 1), h.n - 2);
	if (h.n > 0)
		snprintf(host, sizeof host, "%.*s", (int)h.n, (const char *)h.p);
	uint16_t number;
	struct span named = colon != SIZE_MAX ? span_from(name, colon + 1) : name;
	if (port_find(named, sv->params->p_known_tcp_ports, &number) != RC_OK)
		return err_set(e, RC_PERM, "%s:%d: service %s: there is no port \"%.*s\"", sv->file, sv->line, sv->name, (int)named.n, (const char *)named.p);
	snprintf(port, sizeof port, "%u", (unsigned)number);
	if (host[0] != '\0')
		return add_host(set, old, conf, row, host, port, e);
	struct span rest = span_str(sv->params->p_inet_interfaces), item;
	enum rc rc = RC_OK;
	while (rc == RC_OK && span_word(&rest, ", \t\r\n", &item)) {
		char iface[256];
		snprintf(iface, sizeof iface, "%.*s", (int)item.n, (const char *)item.p);
		if (span_caseeq_str(item, "all")) {
			rc = add_host(set, old, conf, row, NULL, port, e);
		} else if (span_caseeq_str(item, "loopback-only")) {
			rc = add_host(set, old, conf, row, "localhost", port, e);
		} else {
			size_t n = strlen(iface);
			bool bracketed = n > 1 && iface[0] == '[' && iface[n - 1] == ']';
			if (bracketed)
				iface[n - 1] = '\0';
			rc = add_host(set, old, conf, row, bracketed ? iface + 1 : iface, port, e);
		}
	}
	return rc;
}

enum rc
listen_open(const struct conf *conf, struct listen_set *old, struct listen_set *out, struct err *e)
{
	*out = (struct listen_set){ .socket = mem_calloc(SETS_MAX, sizeof *out->socket) };
	enum rc rc = RC_OK;
	for (size_t i = 0; i < conf_service_count(conf) && rc == RC_OK; i++) {
		const struct service *sv = conf_service(conf, i);
		if (!sv->disabled && strcmp(sv->type, "inet") == 0 && sv->kind == SERVICE_LISTENER)
			rc = add_service(out, old, conf, (unsigned)i, e);
	}
	if (rc != RC_OK)
		listen_undo(out, old);
	return rc;
}

void
listen_undo(struct listen_set *set, struct listen_set *old)
{
	for (size_t i = 0; i < set->count; i++)
		for (size_t k = 0; old != NULL && k < old->count; k++)
			if (old->socket[k].fd < 0 && same_addr(&old->socket[k], (struct sockaddr *)&set->socket[i].addr, set->socket[i].addr_len)) {
				old->socket[k].fd = set->socket[i].fd;
				set->socket[i].fd = -1;
			}
	listen_close(set);
}

void
listen_close(struct listen_set *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->socket[i].fd >= 0)
			close(s->socket[i].fd);
	mem_free(&s->socket);
	s->count = 0;
}

void
listen_text(const struct listen_socket *s, struct buf *out)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];
	if (getnameinfo((const struct sockaddr *)&s->addr, s->addr_len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return;
	buf_printf(out, s->addr.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}
