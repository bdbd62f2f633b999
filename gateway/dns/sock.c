/* SPDX-License-Identifier: BSD-2-Clause */
/* The sockets of c-ares: where each one leads, what leaves through it, and what c-ares gets to see of what comes. */
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "dns/channel.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PACKETS_A_TURN = 32, RCODE_FORMERR = 1, RCODE_SERVFAIL = 2, RCODE_NOTIMP = 4, RCODE_REFUSED = 5 };

struct sock {
	struct dns_channel *channel;
	struct list link;
	struct watch watch;
	int fd;
	unsigned char server;                   /* index into the pool's; DNS_SERVERS_MAX: not connected */
	bool is_udp, is_closed, got;
	struct grave grave;
};

/* ---- life ---- */

static struct sock *
sock_of(struct dns_channel *c, int fd)
{
	list_each(l, &c->socks) {
		struct sock *s = list_entry(l, struct sock, link);
		if (s->fd == fd)
			return s;
	}
	return NULL;
}

static void
on_sock_ready(struct watch *w, short what)
{
	struct sock *s = container_of(w, struct sock, watch);
	const struct dns_pool_ops *ops = s->channel->pool->ops;
	for (unsigned i = 0; i < PACKETS_A_TURN && !s->is_closed; i++) {
		s->got = false;
		ares_process_fd(s->channel->ares, what & EV_READ ? s->fd : ARES_SOCKET_BAD, what & EV_WRITE ? s->fd : ARES_SOCKET_BAD);
		if (!s->got || !s->is_udp)
			break;
	}
	ops->idle();
}

void
dns_sock_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct sock *s = sock_of(arg, fd);
	if (s != NULL)
		watch_want(&s->watch, (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0)));
}

static ares_socket_t
sock_open(int family, int type, int protocol, void *arg)
{
	struct dns_channel *c = arg;
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
	if (fd < 0)
		return ARES_SOCKET_BAD;
	struct sock *s = mem_zalloc(sizeof *s);
	s->channel = c;
	s->fd = fd;
	s->is_udp = type == SOCK_DGRAM;
	s->server = DNS_SERVERS_MAX;
	list_init(&s->link);
	list_append(&c->socks, &s->link);
	watch_init(&s->watch, fd, on_sock_ready);
	return fd;
}

static void
dig_sock(struct grave *g)
{
	struct sock *s = container_of(g, struct sock, grave);
	mem_free(&s);
}

static int
sock_close(ares_socket_t fd, void *arg)
{
	struct sock *s = sock_of(arg, fd);
	if (s != NULL) {
		watch_clear(&s->watch);
		list_remove(&s->link);
		s->is_closed = true;
		loop_bury(&s->grave, dig_sock); /* we may be inside its callback */
	}
	return close(fd);
}

static bool
same_address(const struct dns_server *s, const struct sockaddr *to)
{
	if (s->family != to->sa_family)
		return false;
	if (s->family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)to;
		return in->sin_addr.s_addr == s->addr.a.s_addr && ntohs(in->sin_port) == s->port;
	}
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)to;
	return memcmp(&in6->sin6_addr, &s->addr.aaaa, sizeof s->addr.aaaa) == 0 && ntohs(in6->sin6_port) == s->port;
}

static int
sock_connect(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len, void *arg)
{
	struct dns_channel *c = arg;
	struct sock *s = sock_of(c, fd);
	for (unsigned i = 0; i < c->n; i++)
		if (same_address(&c->pool->up.s[c->order[i]].addr, to))
			s->server = c->order[i];
	return connect(fd, to, len);
}

/* A question leaves, for the first time or again. -1: not to this server. */
static ares_ssize_t
sock_send(ares_socket_t fd, const struct iovec *iov, int n, void *arg)
{
	struct dns_channel *c = arg;
	struct sock *s = sock_of(c, fd);
	if (s == NULL || !s->is_udp || n != 1 || iov->iov_len < DNS_HEADER)
		return writev(fd, iov, n);
	const unsigned char *packet = iov->iov_base;
	struct dns_try *t = dns_channel_try(c, (uint16_t)(packet[0] << 8 | packet[1]));
	if (t == NULL || s->server == DNS_SERVERS_MAX) {
		errno = ECONNREFUSED;
		return -1;
	}
	if (t->asked != 0) {
		if ((t->failed >> t->server & 1) == 0)
			dns_channel_missed(c, t);
		/* who could not say will not say more when he is asked at once again */
		if ((t->failed >> s->server & 1) != 0 || t->owner == NULL || !c->pool->ops->is_wanted(t)) {
			errno = ECONNREFUSED;
			return -1;
		}
		metric_add(M_dns_repeats, 1);
	}
	t->server = s->server;
	t->asked |= (uint16_t)(1u << s->server);
	t->sent = loop_now();
	ssize_t sent = send(fd, packet, iov->iov_len, MSG_NOSIGNAL);
	if (sent < 0 && errno == ECONNREFUSED) /* what became of a packet before */
		sent = send(fd, packet, iov->iov_len, MSG_NOSIGNAL);
	if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return (ares_ssize_t)iov->iov_len; /* as if lost: it is sent again when its time is over */
	if (sent < 0)
		t->failed |= (uint16_t)(1u << s->server);
	return sent;
}

/* ---- what comes ---- */

static void
heard(struct dns_pool *p, unsigned server)
{
	struct dns_upstream *u = &p->up.s[server];
	char text[DNS_SERVER_TEXT];
	dns_upstream_answered(&p->up, server, loop_now());
	if (!u->is_told)
		return;
	u->is_told = false;
	dns_server_text(&u->addr, text);
	LOG(dns_server_up, NULL, F_STR(name, text));
}

/* Whether c-ares may see these n octets; it may become more. */
static bool
pool_receive(struct sock *s, unsigned char *packet, size_t *n, size_t room)
{
	struct dns_channel *c = s->channel;
	struct dns_pool *p = c->pool;
	unsigned char asked[DNS_ASKED_MAX];
	if (*n < DNS_HEADER)
		return false;
	struct dns_try *t = dns_channel_try(c, (uint16_t)(packet[0] << 8 | packet[1]));
	if (t == NULL || (t->asked >> s->server & 1) == 0)
		return false;
	size_t len = dns_channel_asked(c, t, asked);
	if (len == 0)
		return false;
	switch (dns_question_match(span_of(packet, *n), span_of(asked, len))) {
	case DNS_MATCH:
		p->up.s[s->server].case_misses = 0;
		break;
	case DNS_MATCH_NOT:
		return false;
	case DNS_MATCH_CASE:
		if (p->up.s[s->server].caseless_until > loop_now())
			break;
		/* once for each question: who found one id and port must not talk us out of the letters with a few more packets */
		if (t->is_odd)
			return false;
		if (dns_upstream_case_missed(&p->up, s->server, false, loop_now()))
			break;
		t->is_odd = true;
		p->ops->odd(t);
		return false;
	case DNS_MATCH_BARE: /* c-ares does not know these: give it the question back */
		if (len > room - *n)
			return false;
		memset(packet + 4, 0, 8);
		packet[5] = 1;
		memcpy(packet + DNS_HEADER, asked, len);
		*n = DNS_HEADER + len;
		break;
	}
	unsigned rcode = packet[3] & 15u;
	t->is_refused |= rcode == RCODE_FORMERR || rcode == RCODE_NOTIMP;
	if (rcode == RCODE_FORMERR) { /* c-ares would leave EDNS out by itself, and then cut answers of all others in the channel */
		t->is_formerr = true;
		packet[3] &= 0xf0;
	}
	if (rcode == RCODE_SERVFAIL || rcode == RCODE_NOTIMP || rcode == RCODE_REFUSED)
		t->failed |= (uint16_t)(1u << s->server);
	heard(p, s->server);
	return true;
}

static ares_ssize_t
sock_receive(ares_socket_t fd, void *data, size_t room, int flags, struct sockaddr *from, ares_socklen_t *from_len, void *arg)
{
	struct dns_channel *c = arg;
	struct sock *s = sock_of(c, fd);
	ssize_t got = recvfrom(fd, data, room, flags, from, from_len);
	if (s == NULL || s->server == DNS_SERVERS_MAX)
		return got;
	c->heard = s->server;
	if (!s->is_udp)
		return got;
	if (got < 0 && errno != EAGAIN && errno != EINTR) {
		/* nobody listens there: an answer of a kind, but not of a server */
		dns_upstream_missed(&c->pool->up, s->server, loop_now() + 1, loop_now());
		return got;
	}
	if (got < 0)
		return got;
	size_t n = (size_t)got;
	s->got = true;
	if (pool_receive(s, data, &n, room))
		return (ares_ssize_t)n;
	metric_add(M_dns_unexpected, 1);
	errno = EAGAIN;
	return -1;
}

const struct ares_socket_functions dns_sock_functions = { sock_open, sock_close, sock_connect, sock_receive, sock_send };
