/* SPDX-License-Identifier: BSD-2-Clause */
/* fake_dns.h - a DNS server on loopback, in the loop of the test: answers from a table of rows. */
#ifndef TESTS_FAKE_DNS_H
#define TESTS_FAKE_DNS_H

#include "base/base.h"
#include "base/mem.h"
#include "loop/loop.h"

#include <arpa/inet.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FD_A = 1, FD_NS = 2, FD_CNAME = 5, FD_SOA = 6, FD_PTR = 12, FD_MX = 15, FD_TXT = 16, FD_AAAA = 28, FD_RCODE = 1000, FD_SILENT, FD_GARBAGE };

struct fake_rr {
	const char *name;
	int type;
	const char *data; /* address, name or text; RCODE: unused */
	int n;            /* preference, or the rcode */
};

struct fake_dns {
	int fd;
	uint16_t port;
	char servers[40]; /* for dns_settings */
	struct watch watch;
	const struct fake_rr *rows; /* ends with name NULL */
	unsigned asked;
	bool mute;
	const char *mute_below;   /* NULL, or a domain nothing below which is answered */
	uint64_t delay_usec;      /* answers come that much later */
	char last[256];           /* name asked last */
};

/* An answer on its way. */
struct fake_late {
	struct timer timer;
	struct fake_dns *server;
	struct sockaddr_in to;
	size_t n;
	unsigned char packet[];
};

static void
fake_late_send(struct timer *t)
{
	struct fake_late *l = container_of(t, struct fake_late, timer);
	(void)!sendto(l->server->fd, l->packet, l->n, 0, (struct sockaddr *)&l->to, sizeof l->to);
	timer_clear(&l->timer);
	mem_free(&l);
}

static void
fake_send(struct fake_dns *f, const struct sockaddr_in *to, const unsigned char *packet, size_t n)
{
	if (f->delay_usec == 0) {
		(void)!sendto(f->fd, packet, n, 0, (const struct sockaddr *)to, sizeof *to);
		return;
	}
	struct fake_late *l = mem_zalloc(sizeof *l + n);
	l->server = f;
	l->to = *to;
	l->n = n;
	memcpy(l->packet, packet, n);
	timer_init(&l->timer, fake_late_send);
	timer_set(&l->timer, f->delay_usec);
}

static size_t
fake_put_name(unsigned char *p, const char *name)
{
	size_t at = 0;
	while (*name != '\0') {
		size_t n = strcspn(name, ".");
		p[at++] = (unsigned char)n;
		memcpy(p + at, name, n);
		at += n;
		name += n;
		if (*name == '.')
			name++;
	}
	p[at++] = 0;
	return at;
}

static size_t
fake_put_rr(unsigned char *p, const char *owner, const struct fake_rr *r)
{
	size_t at = 2; /* owner NULL: the name of the question */
	if (owner == NULL)
		memcpy(p, "\xc0\x0c", 2);
	else
		at = fake_put_name(p, owner);
	unsigned char fixed[8] = { (unsigned char)(r->type >> 8), (unsigned char)r->type, 0, 1, 0, 0, 0, 60 };
	memcpy(p + at, fixed, 8);
	at += 8;
	unsigned char *len = p + at;
	size_t start = at += 2;
	if (r->type == FD_A) {
		BUG_ON(inet_pton(AF_INET, r->data, p + at) != 1);
		at += 4;
	} else if (r->type == FD_AAAA) {
		BUG_ON(inet_pton(AF_INET6, r->data, p + at) != 1);
		at += 16;
	} else if (r->type == FD_TXT) {
		p[at] = (unsigned char)strlen(r->data);
		memcpy(p + at + 1, r->data, p[at]);
		at += p[at] + 1u;
	} else {
		if (r->type == FD_MX) {
			p[at++] = (unsigned char)(r->n >> 8);
			p[at++] = (unsigned char)r->n;
		}
		at += fake_put_name(p + at, r->data);
	}
	len[0] = (unsigned char)((at - start) >> 8);
	len[1] = (unsigned char)(at - start);
	return at;
}

static void
fake_dns_on_query(struct watch *w, short what)
{
	struct fake_dns *f = container_of(w, struct fake_dns, watch);
	unsigned char q[1024], out[16384];
	struct sockaddr_in from;
	socklen_t from_len = sizeof from;
	(void)what;
	ssize_t n = recvfrom(f->fd, q, sizeof q, 0, (struct sockaddr *)&from, &from_len);
	if (n < 17)
		return;
	f->asked++;
	if (f->mute)
		return;
	char name[256] = "";
	size_t at = 12, name_len = 0;
	while (q[at] != 0) {
		if (name_len > 0)
			name[name_len++] = '.';
		memcpy(name + name_len, q + at + 1, q[at]);
		name_len += q[at];
		at += q[at] + 1u;
	}
	name[name_len] = '\0';
	size_t below = f->mute_below != NULL ? strlen(f->mute_below) : 0;
	if (below > 0 && name_len > below && strcasecmp(name + name_len - below, f->mute_below) == 0)
		return;
	for (size_t i = 0; i < name_len; i++) /* letters are at random */
		name[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
	snprintf(f->last, sizeof f->last, "%s", name);
	int type = q[at + 1] << 8 | q[at + 2];
	size_t question = at + 5;
	memcpy(out, q, question);
	out[2] = 0x81;
	out[3] = 0x80;
	memset(out + 6, 0, 6);
	size_t end = question;
	unsigned answers = 0;
	int rcode = 3;
	const char *want = name;
	for (int hops = 0; hops < 64 && want != NULL; hops++) {
		const char *next = NULL;
		for (const struct fake_rr *r = f->rows; r->name != NULL; r++) {
			if (strcasecmp(r->name, want) != 0)
				continue;
			if (r->type == FD_SILENT)
				return;
			rcode = 0;
			if (r->type == FD_RCODE)
				rcode = r->n;
			if (r->type == FD_GARBAGE) {
				out[7] = 1;
				out[end] = 0xc0;
				out[end + 1] = 0xff;
				end += 2;
			}
			if ((r->type == type || r->type == FD_CNAME) && end < sizeof out - 600) {
				end += fake_put_rr(out + end, want == name ? NULL : want, r);
				answers++;
				if (r->type == FD_CNAME)
					next = r->data;
			}
		}
		if (want != name && next == NULL && answers > 0 && rcode == 3)
			break;
		want = next;
	}
	out[3] = (unsigned char)(0x80 | rcode);
	if (answers > 0) {
		out[6] = (unsigned char)(answers >> 8);
		out[7] = (unsigned char)answers;
	}
	fake_send(f, &from, out, end);
}

static void
fake_dns_start(struct fake_dns *f, const struct fake_rr *rows)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	*f = (struct fake_dns){ .rows = rows };
	f->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	BUG_ON(f->fd < 0 || bind(f->fd, (struct sockaddr *)&a, sizeof a) != 0);
	BUG_ON(getsockname(f->fd, (struct sockaddr *)&a, &len) != 0);
	f->port = ntohs(a.sin_port);
	snprintf(f->servers, sizeof f->servers, "127.0.0.1:%u", f->port);
	watch_init(&f->watch, f->fd, fake_dns_on_query);
	watch_want(&f->watch, EV_READ);
}

static void
fake_dns_stop(struct fake_dns *f)
{
	watch_clear(&f->watch);
	close(f->fd);
}

#endif
