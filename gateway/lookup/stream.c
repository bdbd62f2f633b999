/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tables behind a stream server: tcp and socketmap. A few connections to each are kept open and used again; each has one
 * question at a time, as the servers know it from Postfix.
 */
#include "base/mem.h"
#include "dns/dns.h"
#include "loop/conn.h"
#include "lookup/hosts.h"
#include "lookup/tables.h"
#include "lookup/wire.h"

#include <netinet/in.h>
#include <sys/un.h>

enum { ADDRS_MAX = 8, OUT_MAX = 65536 };
static const uint64_t CONNECT_LIMIT = 10 * 1000000, REST_FIRST = 50 * 1000, REST_MOST = 1000000; /* usec */

static const struct protocol {
	enum remote_kind kind;
	uint64_t idle, life;         /* usec; 0: no limit */
	void (*request)(struct buf *out, struct span table, struct span key);
	enum rc (*reply)(struct span in, size_t max, struct buf *text_out, struct wire_reply *out, struct err *e);
} protocols[] = {
	{ REMOTE_TCP, 100 * 1000000, 0, wire_tcp_request, wire_tcp_reply },
	{ REMOTE_SOCKETMAP, 10 * 1000000, 100 * 1000000, wire_socketmap_request, wire_socketmap_reply },
};

struct stream {
	struct table base;
	const struct protocol *proto;
	struct list waiting;         /* struct ask */
	size_t nwaiting;
	struct list links;
	size_t nlinks, nconnecting;
	struct op_owner ops;
	struct op kick;              /* something waits: look at it from the loop */
	struct timer overdue;        /* of the first that waits */
	struct timer rest;           /* armed: the server could not be reached just now, the next try comes when it ends */
	unsigned failures;           /* of connecting, in a row */
	struct buf text;             /* of a reply */
};

/* One connection. */
struct link {
	struct list link;
	struct stream *s;
	struct conn conn;
	struct ask *ask;             /* whose reply is awaited */
	bool is_up;
	uint64_t born;               /* when it came up */
	uint64_t served;
	struct dns_query v4, v6;
	unsigned pending;            /* of those */
	struct ipaddr addr[ADDRS_MAX];
	size_t naddr, at;
	char why[128];               /* why the address before did not work */
	struct grave grave;
};

static void dispatch(struct stream *s);
static void next_address(struct link *l);

static size_t
reply_max(const struct stream *s)
{
	return s->proto->kind == REMOTE_TCP ? WIRE_TCP_LINE_MAX : (size_t)conf_params(s->base.conf)->p_socketmap_max_reply_size;
}

/* ---- questions that wait ---- */

static void
set_overdue(struct stream *s)
{
	if (list_empty(&s->waiting)) {
		timer_clear(&s->overdue);
		return;
	}
	uint64_t until = list_entry(s->waiting.next, struct ask, link)->until, now = loop_now();
	timer_set(&s->overdue, until > now ? until - now : 0);
}

static struct ask *
take_waiting(struct stream *s)
{
	struct list *l = list_pop(&s->waiting);
	if (l == NULL)
		return NULL;
	s->nwaiting--;
	return list_entry(l, struct ask, link);
}

static void
fail_waiting(struct stream *s, const char *why)
{
	for (struct ask *a; (a = take_waiting(s)) != NULL;)
		table_answer(&s->base, a, RC_TEMP, span_str(why));
	set_overdue(s);
}

static void
on_overdue(struct timer *t)
{
	struct stream *s = container_of(t, struct stream, overdue);
	while (!list_empty(&s->waiting) && list_entry(s->waiting.next, struct ask, link)->until <= loop_now()) {
		table_trouble(&s->base, "no answer in time");
		table_answer(&s->base, take_waiting(s), RC_TEMP, SPAN("no answer in time"));
	}
	set_overdue(s);
}

static void
wake(struct stream *s)
{
	if (s->kick.state == OP_IDLE)
		op_finish(&s->kick, RC_OK);
}

static void
on_kick(struct op *op)
{
	dispatch(container_of(op, struct stream, kick));
}

static void
on_rested(struct timer *t)
{
	dispatch(container_of(t, struct stream, rest));
}

/* ---- connections ---- */

static void
dig_link(struct grave *g)
{
	struct link *l = container_of(g, struct link, grave);
	mem_free(&l);
}

static void
link_close(struct link *l)
{
	struct stream *s = l->s;
	BUG_ON(l->ask != NULL);
	list_remove(&l->link);
	s->nlinks--;
	s->nconnecting -= !l->is_up;
	dns_query_fini(&l->v4);
	dns_query_fini(&l->v6);
	conn_close(&l->conn);
	loop_bury(&l->grave, dig_link);
}

static void
link_answer(struct link *l, enum rc rc, struct span text)
{
	struct ask *a = l->ask;
	l->ask = NULL;
	table_answer(&l->s->base, a, rc, text);
}

/* The question of a connection that broke, and the end of that. */
static void
link_broke(struct link *l, const char *why)
{
	struct stream *s = l->s;
	table_trouble(&s->base, why);
	if (l->ask != NULL)
		link_answer(l, RC_TEMP, span_str(why));
	link_close(l);
	wake(s);
}

static void
send_ask(struct link *l, struct ask *a)
{
	uint64_t now = loop_now();
	l->ask = a;
	l->s->proto->request(conn_out(&l->conn), l->s->base.spec->place.map, a->key);
	conn_deadline(&l->conn, a->until > now ? a->until - now : 1);
}

static void
rest_or_next(struct link *l)
{
	struct stream *s = l->s;
	const struct protocol *p = s->proto;
	if (p->life > 0 && loop_now() - l->born > p->life) {
		link_close(l);
	} else if (!list_empty(&s->waiting)) {
		send_ask(l, take_waiting(s));
		set_overdue(s);
		return;
	} else {
		conn_deadline(&l->conn, p->idle);
	}
	wake(s);
}

static void
on_input(struct conn *c)
{
	struct link *l = container_of(c, struct link, conn);
	struct stream *s = l->s;
	struct wire_reply reply;
	struct err e = { 0 };
	if (l->ask == NULL) {
		link_broke(l, "the server talks without being asked");
		return;
	}
	enum rc rc = s->proto->reply(conn_input(c), reply_max(s), &s->text, &reply, &e);
	if (rc == RC_NONE)
		return;
	if (rc != RC_OK) {
		link_broke(l, e.why);
		return;
	}
	conn_consume(c, reply.used);
	l->served++;
	bool has_more = conn_input(c).n > 0;
	if (reply.rc == RC_OK || reply.rc == RC_NONE)
		table_works(&s->base);
	link_answer(l, reply.rc, buf_len(&s->text) > 0 || reply.rc == RC_OK ? buf_span(&s->text) : SPAN("the server gives no reason"));
	if (has_more)
		link_broke(l, "more than one reply to a question");
	else
		rest_or_next(l);
}

static void
on_connected(struct conn *c)
{
	struct link *l = container_of(c, struct link, conn);
	l->is_up = true;
	l->born = loop_now();
	l->s->nconnecting--;
	l->s->failures = 0;
	rest_or_next(l);
}

/* A server may end a connection whenever it likes between two questions; one that crossed is asked again. */
static bool
ask_again(struct link *l)
{
	struct stream *s = l->s;
	struct ask *a = l->ask;
	if (l->served == 0 || a->is_retried || conn_input(&l->conn).n > 0)
		return false;
	l->ask = NULL;
	a->is_retried = true;
	list_prepend(&s->waiting, &a->link);
	s->nwaiting++;
	set_overdue(s);
	link_close(l);
	wake(s);
	return true;
}

static void
on_ended(struct conn *c, enum conn_end why, int err)
{
	struct link *l = container_of(c, struct link, conn);
	const char *text = why == CONN_TIMEOUT ? "no answer in time" : err != 0 ? strerror(err) : "the server closed the connection";
	if (!l->is_up) {
		snprintf(l->why, sizeof l->why, "connect: %s", why == CONN_TIMEOUT ? "no answer in time" : text);
		conn_close(c);
		next_address(l);
	} else if (l->ask == NULL) {
		link_close(l);
		wake(l->s);
	} else if (why == CONN_TIMEOUT || !ask_again(l)) {
		link_broke(l, text);
	}
}

static void
on_drained(struct conn *c)
{
	(void)c;
}

static const struct conn_ops conn_ops = { .input = on_input, .ended = on_ended, .drained = on_drained, .connected = on_connected };

/* ---- where the server is ---- */

static void
connect_failed(struct link *l)
{
	struct stream *s = l->s;
	uint64_t rest = REST_FIRST << (s->failures < 8 ? s->failures : 8);
	s->failures++;
	timer_set(&s->rest, rest < REST_MOST ? rest : REST_MOST);
	table_trouble(&s->base, l->why);
	if (s->nlinks == 1)
		fail_waiting(s, l->why); /* who comes during the rest waits for the next try */
	link_close(l);
	wake(s);
}

static socklen_t
address_of(const struct remote_place *p, const struct ipaddr *a, struct sockaddr_storage *out)
{
	in_port_t port = (in_port_t)(p->port >> 8 | p->port << 8);
	*out = (struct sockaddr_storage){ 0 };
	if (p->is_unix) {
		struct sockaddr_un *un = (struct sockaddr_un *)(void *)out;
		un->sun_family = AF_UNIX;
		snprintf(un->sun_path, sizeof un->sun_path, "%s", p->host);
		return sizeof *un;
	}
	if (a->family == IPADDR_V4) {
		struct sockaddr_in *in4 = (struct sockaddr_in *)(void *)out;
		in4->sin_family = AF_INET;
		in4->sin_port = port;
		memcpy(&in4->sin_addr, a->b, 4);
		return sizeof *in4;
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)out;
	in6->sin6_family = AF_INET6;
	in6->sin6_port = port;
	memcpy(&in6->sin6_addr, a->b, 16);
	return sizeof *in6;
}

static void
next_address(struct link *l)
{
	struct stream *s = l->s;
	const struct remote_place *p = &s->base.spec->place;
	uint64_t limit = conf_params(s->base.conf)->p_lookup_timeout;
	while (l->at < l->naddr) {
		struct sockaddr_storage to;
		struct err e;
		socklen_t len = address_of(p, &l->addr[l->at++], &to);
		if (conn_connect(&l->conn, (struct sockaddr *)&to, len, NULL, 0, &conn_ops, reply_max(s) + 64, OUT_MAX, &e) == RC_OK) {
			conn_deadline(&l->conn, limit < CONNECT_LIMIT ? limit : CONNECT_LIMIT);
			return;
		}
		snprintf(l->why, sizeof l->why, "connect: %.100s", e.why);
	}
	connect_failed(l);
}

static void
on_resolved(struct op *op)
{
	struct stream *s = container_of(op->owner, struct stream, ops);
	struct link *l = NULL;
	for (struct list *it = s->links.next; it != &s->links && l == NULL; it = it->next) {
		struct link *one = list_entry(it, struct link, link);
		if (&one->v4.op == op || &one->v6.op == op)
			l = one;
	}
	if (l == NULL || --l->pending > 0)
		return;
	for (unsigned i = 0; l->v4.op.rc == RC_OK && i < l->v4.answer->n && l->naddr < ADDRS_MAX; i++) {
		struct ipaddr *a = &l->addr[l->naddr++];
		*a = (struct ipaddr){ .family = IPADDR_V4 };
		memcpy(a->b, &l->v4.answer->rr[i].addr.a, 4);
	}
	for (unsigned i = 0; l->v6.op.rc == RC_OK && i < l->v6.answer->n && l->naddr < ADDRS_MAX; i++) {
		struct ipaddr *a = &l->addr[l->naddr++];
		*a = (struct ipaddr){ .family = IPADDR_V6 };
		memcpy(a->b, &l->v6.answer->rr[i].addr.aaaa, 16);
	}
	if (l->naddr == 0)
		snprintf(l->why, sizeof l->why, "host not found: %.80s", s->base.spec->place.host);
	next_address(l);
}

static void
link_begin(struct stream *s)
{
	const struct remote_place *p = &s->base.spec->place;
	struct span host = span_str(p->host);
	struct link *l = mem_zalloc(sizeof *l);
	l->s = s;
	l->conn.fd = -1;
	list_init(&l->link);
	list_append(&s->links, &l->link);
	s->nlinks++;
	s->nconnecting++;
	dns_query_init(&l->v4, &s->ops, on_resolved);
	dns_query_init(&l->v6, &s->ops, on_resolved);
	if (p->is_unix || ipaddr_parse(host, &l->addr[0]) == RC_OK)
		l->naddr = 1;
	else
		l->naddr = hosts_ask(host, l->addr, ADDRS_MAX);
	if (l->naddr > 0) {
		next_address(l);
		return;
	}
	l->pending = 2;
	uint64_t limit = conf_params(s->base.conf)->p_lookup_timeout;
	dns_ask(&l->v4, DNS_A, host, limit);
	dns_ask(&l->v6, DNS_AAAA, host, limit);
}

/* ---- the turn ---- */

static void
dispatch(struct stream *s)
{
	for (struct list *it = s->links.next; it != &s->links && !list_empty(&s->waiting); it = it->next) {
		struct link *l = list_entry(it, struct link, link);
		if (l->is_up && l->ask == NULL)
			send_ask(l, take_waiting(s));
	}
	size_t limit = (size_t)conf_params(s->base.conf)->p_lookup_connection_limit;
	while (s->nwaiting > s->nconnecting && s->nlinks < limit && !s->rest.armed)
		link_begin(s); /* one that fails at once begins a rest */
	set_overdue(s);
}

static void
stream_ask(struct table *t, struct ask *a)
{
	struct stream *s = container_of(t, struct stream, base);
	list_append(&s->waiting, &a->link);
	s->nwaiting++;
	wake(s);
}

static void
dig_stream(struct grave *g)
{
	struct table *t = container_of(g, struct table, grave);
	struct stream *s = container_of(t, struct stream, base);
	mem_free(&s);
}

static void
stream_close(struct table *t)
{
	struct stream *s = container_of(t, struct stream, base);
	while (!list_empty(&s->links)) {
		struct link *l = list_entry(s->links.next, struct link, link);
		if (l->ask != NULL)
			link_answer(l, RC_TEMP, SPAN("the table is closed"));
		link_close(l);
	}
	fail_waiting(s, "the table is closed");
	ops_cancel_all(&s->ops);
	timer_clear(&s->overdue);
	timer_clear(&s->rest);
	buf_fini(&s->text);
	loop_bury(&t->grave, dig_stream); /* its connections' graves come first */
}

static void
stream_status(const struct table *t, struct buf *out)
{
	const struct stream *s = (const struct stream *)(const void *)t;
	buf_printf(out, "\"connections\":%zu,\"waiting\":%zu", s->nlinks, s->nwaiting);
}

static const struct table_ops ops = { stream_ask, stream_close, stream_status };

struct table *
stream_table_new(struct remote_table *spec)
{
	struct stream *s = mem_zalloc(sizeof *s);
	s->base.ops = &ops;
	for (size_t i = 0; i < NELEMS(protocols); i++)
		if (protocols[i].kind == spec->kind)
			s->proto = &protocols[i];
	list_init(&s->waiting);
	list_init(&s->links);
	op_owner_init(&s->ops);
	op_init(&s->kick, &s->ops, on_kick);
	timer_init(&s->overdue, on_overdue);
	timer_init(&s->rest, on_rested);
	buf_init(&s->text, REMOTE_VALUE_MAX);
	return &s->base;
}
