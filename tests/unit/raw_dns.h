/* SPDX-License-Identifier: BSD-2-Clause */
/* raw_dns.h - a DNS server on loopback, UDP and TCP, whose answers the test makes itself, octet by octet. */
#ifndef TESTS_RAW_DNS_H
#define TESTS_RAW_DNS_H

#include "base/base.h"
#include "base/mem.h"
#include "dns/dns.h"
#include "loop/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "loop_until.h"
#include "unit.h"

struct raw_dns;

struct raw_question {
	struct raw_dns *server;
	unsigned char packet[600];
	size_t n, question;        /* bytes of it; where its question ends */
	char name[256];            /* small letters */
	unsigned type;
	bool by_tcp, has_opt, ad, do_bit;
	uint16_t port;             /* it came from */
	struct sockaddr_storage from;
	socklen_t from_len;
	int fd;                    /* TCP: the connection */
};

struct raw_dns {
	int udp, tcp;
	uint16_t port;
	char servers[40];
	struct watch on_udp, on_tcp;
	struct list conns;
	void (*asked)(struct raw_question *q);
	unsigned count, by_tcp;
};

struct raw_conn {
	struct raw_dns *server;
	struct list link;
	struct watch watch;
	unsigned char in[1024];
	size_t n;
};

static void
raw_read(struct raw_question *q)
{
	size_t at = 12, n = 0;
	while (q->packet[at] != 0) {
		if (n > 0)
			q->name[n++] = '.';
		for (unsigned i = 1; i <= q->packet[at]; i++) {
			unsigned char c = q->packet[at + i];
			q->name[n++] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
		}
		at += q->packet[at] + 1u;
	}
	q->name[n] = '\0';
	q->type = (unsigned)(q->packet[at + 1] << 8 | q->packet[at + 2]);
	q->question = at + 5;
	q->ad = (q->packet[3] & 0x20) != 0;
	q->has_opt = q->packet[11] == 1;
	q->do_bit = q->has_opt && q->n >= q->question + 11 && (q->packet[q->question + 7] & 0x80) != 0;
	q->server->count++;
	q->server->by_tcp += q->by_tcp;
	q->server->asked(q);
}

static UNUSED void
raw_send(struct raw_question *q, const unsigned char *p, size_t n)
{
	if (!q->by_tcp) {
		(void)!sendto(q->server->udp, p, n, 0, (struct sockaddr *)&q->from, q->from_len);
		return;
	}
	unsigned char *framed = mem_alloc(n + 2);
	framed[0] = (unsigned char)(n >> 8);
	framed[1] = (unsigned char)n;
	memcpy(framed + 2, p, n);
	(void)!write(q->fd, framed, n + 2); /* fits into the socket's buffer */
	mem_free(&framed);
}

/* Header and question of an answer; returns its length. flags: the two octets. */
static UNUSED size_t
raw_begin(const struct raw_question *q, unsigned char *out, unsigned flags, unsigned answers)
{
	memcpy(out, q->packet, q->question);
	out[2] = (unsigned char)(flags >> 8);
	out[3] = (unsigned char)flags;
	memset(out + 4, 0, 8);
	out[5] = 1;
	out[7] = (unsigned char)answers;
	return q->question;
}

/* A record of the name that was asked; returns where it ends. */
static UNUSED size_t
raw_record(unsigned char *out, size_t at, unsigned type, unsigned ttl, const void *data, size_t n)
{
	unsigned char head[12] = { 0xc0, 12, (unsigned char)(type >> 8), (unsigned char)type, 0, 1, (unsigned char)(ttl >> 24), (unsigned char)(ttl >> 16),
		(unsigned char)(ttl >> 8), (unsigned char)ttl, (unsigned char)(n >> 8), (unsigned char)n };
	memcpy(out + at, head, sizeof head);
	memcpy(out + at + sizeof head, data, n);
	return at + sizeof head + n;
}

enum { RAW_OK = 0x8180, RAW_AD = 0x81a0, RAW_TC = 0x8380 };

static UNUSED void
raw_answer_a(struct raw_question *q, unsigned flags, const char *address)
{
	unsigned char out[1024];
	struct in_addr a = { .s_addr = inet_addr(address) };
	size_t n = raw_begin(q, out, flags, 1);
	raw_send(q, out, raw_record(out, n, 1, 60, &a, 4));
}

static UNUSED void
raw_answer_code(struct raw_question *q, unsigned rcode)
{
	unsigned char out[1024];
	size_t n = raw_begin(q, out, RAW_OK | rcode, 0);
	raw_send(q, out, n);
}

static UNUSED size_t
raw_name(const char *name, unsigned char *out)
{
	size_t at = 0;
	for (; *name != '\0'; name += *name == '.') {
		size_t n = strcspn(name, ".");
		out[at++] = (unsigned char)n;
		memcpy(out + at, name, n);
		at += n;
		name += n;
	}
	out[at++] = 0;
	return at;
}

static void
raw_on_udp(struct watch *w, short what)
{
	struct raw_question q = { .server = container_of(w, struct raw_dns, on_udp), .from_len = sizeof q.from };
	(void)what;
	ssize_t n = recvfrom(w->fd, q.packet, sizeof q.packet, 0, (struct sockaddr *)&q.from, &q.from_len);
	if (n < 17)
		return;
	q.n = (size_t)n;
	q.port = ntohs(((struct sockaddr_in *)(void *)&q.from)->sin_port); /* at the same place for IPv6 */
	raw_read(&q);
}

static void
raw_conn_end(struct raw_conn *c)
{
	int fd = c->watch.fd;
	watch_clear(&c->watch);
	list_remove(&c->link);
	close(fd);
	mem_free(&c);
}

static void
raw_on_conn(struct watch *w, short what)
{
	struct raw_conn *c = container_of(w, struct raw_conn, watch);
	(void)what;
	ssize_t n = read(w->fd, c->in + c->n, sizeof c->in - c->n);
	if (n <= 0) {
		raw_conn_end(c);
		return;
	}
	c->n += (size_t)n;
	while (c->n >= 2 && c->n >= 2u + (size_t)(c->in[0] << 8 | c->in[1])) {
		size_t len = (size_t)(c->in[0] << 8 | c->in[1]);
		struct raw_question q = { .server = c->server, .n = len, .by_tcp = true, .fd = w->fd };
		memcpy(q.packet, c->in + 2, len < sizeof q.packet ? len : sizeof q.packet);
		c->n -= len + 2;
		memmove(c->in, c->in + len + 2, c->n);
		raw_read(&q);
	}
}

static void
raw_on_tcp(struct watch *w, short what)
{
	(void)what;
	int fd = accept4(w->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct raw_conn *c = mem_zalloc(sizeof *c);
	c->server = container_of(w, struct raw_dns, on_tcp);
	list_init(&c->link);
	list_append(&c->server->conns, &c->link);
	watch_init(&c->watch, fd, raw_on_conn);
	watch_want(&c->watch, EV_READ);
}

/* tcp: listens there, too. */
static void
raw_dns_start(struct raw_dns *s, bool v6, bool tcp, void (*asked)(struct raw_question *))
{
	struct sockaddr_storage a = { 0 };
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)&a;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)&a;
	a.ss_family = v6 ? AF_INET6 : AF_INET;
	if (v6)
		in6->sin6_addr = in6addr_loopback;
	else
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	*s = (struct raw_dns){ .asked = asked, .udp = -1, .tcp = -1 };
	list_init(&s->conns);
	for (int tries = 0;; tries++) { /* a port that is free for both */
		socklen_t len = sizeof a;
		BUG_ON(tries == 100);
		in->sin_port = 0;
		s->udp = socket(a.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		s->tcp = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		BUG_ON(s->udp < 0 || s->tcp < 0 || bind(s->udp, (struct sockaddr *)&a, sizeof a) != 0);
		BUG_ON(getsockname(s->udp, (struct sockaddr *)&a, &len) != 0);
		if (bind(s->tcp, (struct sockaddr *)&a, sizeof a) == 0 && (!tcp || listen(s->tcp, 64) == 0))
			break;
		close(s->udp);
		close(s->tcp);
	}
	int large = 4 * 1024 * 1024;
	(void)!setsockopt(s->udp, SOL_SOCKET, SO_RCVBUF, &large, sizeof large);
	s->port = ntohs(in->sin_port);
	snprintf(s->servers, sizeof s->servers, v6 ? "[::1]:%u" : "127.0.0.1:%u", s->port);
	watch_init(&s->on_udp, s->udp, raw_on_udp);
	watch_want(&s->on_udp, EV_READ);
	if (tcp) {
		watch_init(&s->on_tcp, s->tcp, raw_on_tcp);
		watch_want(&s->on_tcp, EV_READ);
	}
}

static void
raw_dns_stop(struct raw_dns *s)
{
	while (!list_empty(&s->conns))
		raw_conn_end(list_entry(s->conns.next, struct raw_conn, link));
	watch_clear(&s->on_udp);
	watch_clear(&s->on_tcp);
	close(s->udp);
	close(s->tcp);
}

/* ---- asking ---- */

static struct op_owner raw_owner;

static UNUSED enum rc
raw_ask(struct dns_query *q, enum dns_type type, const char *name)
{
	dns_query_init(q, &raw_owner, loop_on_done);
	dns_ask(q, type, span_str(name), 0);
	loop_until(1);
	return q->op.rc;
}

static UNUSED void
raw_open(struct dns_settings s)
{
	struct err e = { 0 };
	if (s.timeout_usec == 0)
		s.timeout_usec = 100 * 1000;
	if (dns_open(&s, &e) != RC_OK)
		fail_msg("%s", e.why);
	dns_cache_clear();
}

static UNUSED void
raw_setup(void)
{
	loop_init();
	op_owner_init(&raw_owner);
}

#endif
