/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/channel.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "loop/loop.h"

#include <ares.h>
#include <sys/socket.h>

enum { TICK_USEC = 50 * 1000, RCODE_FORMERR = 1 };

static struct list retired = { &retired, &retired };

/* ---- life ---- */

static void on_tick(struct timer *t);

struct dns_pool *
dns_pool_new(const struct dns_pool_settings *s, const struct dns_pool_ops *ops)
{
	static bool library_ready;
	if (!library_ready && ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return NULL;
	library_ready = true;
	struct dns_pool *p = mem_zalloc(sizeof *p);
	p->ops = ops;
	p->tries = s->tries;
	p->timeout_msec = s->timeout_msec;
	p->as_typed = s->as_typed;
	dns_upstreams_init(&p->up, s->servers, s->n, s->rotate, s->trust, s->timeout_msec * UINT64_C(2000));
	list_init(&p->channels);
	list_init(&p->link);
	timer_init(&p->tick, on_tick);
	return p;
}

static void
channel_free(struct dns_channel *c)
{
	c->is_dying = true;
	ares_destroy(c->ares); /* ends what is in flight, and closes the sockets */
	list_remove(&c->link);
	mem_free(&c);
}

static void
dig_channel(struct grave *g)
{
	channel_free(container_of(g, struct dns_channel, grave));
}

static void
dig_pool(struct grave *g)
{
	struct dns_pool *p = container_of(g, struct dns_pool, grave);
	dns_pool_close(p);
}

/* Its last answer is in, and no question comes any more. */
static void
channel_bury(struct dns_channel *c)
{
	c->is_buried = true;
	loop_bury(&c->grave, dig_channel);
}

/* Takes no more questions. */
static void
channel_retire(struct dns_channel *c)
{
	c->is_current = false;
	c->pool->current[c->kind] = NULL;
	if (c->pending == 0)
		channel_bury(c);
}

void
dns_pool_retire(struct dns_pool *p)
{
	p->is_retired = true;
	if (p->pending == 0)
		loop_bury(&p->grave, dig_pool);
	else
		list_append(&retired, &p->link);
}

void
dns_pool_close(struct dns_pool *p)
{
	p->is_retired = true;
	p->pending++; /* the last answer must not bury it */
	list_remove(&p->link);
	for (struct list *l; (l = list_pop(&p->channels)) != NULL;)
		if (!list_entry(l, struct dns_channel, link)->is_buried)
			channel_free(list_entry(l, struct dns_channel, link));
	timer_clear(&p->tick);
	mem_free(&p);
}

void
dns_pools_close_retired(void)
{
	while (!list_empty(&retired))
		dns_pool_close(list_entry(retired.next, struct dns_pool, link));
}

static bool
set_servers(struct dns_channel *c)
{
	struct ares_addr_port_node nodes[DNS_SERVERS_MAX];
	memset(nodes, 0, sizeof nodes);
	for (unsigned i = 0; i < c->n; i++) {
		const struct dns_server *s = &c->pool->up.s[c->order[i]].addr;
		nodes[i].next = i + 1 < c->n ? &nodes[i + 1] : NULL;
		nodes[i].family = s->family;
		nodes[i].udp_port = nodes[i].tcp_port = s->port;
		if (s->family == AF_INET)
			nodes[i].addr.addr4 = s->addr.a;
		else
			memcpy(&nodes[i].addr.addr6, &s->addr.aaaa, sizeof s->addr.aaaa);
	}
	return ares_set_servers_ports(c->ares, nodes) == ARES_SUCCESS;
}

/* only: the one server, or DNS_SERVERS_MAX. */
static struct dns_channel *
channel_new(struct dns_pool *p, enum dns_channel_kind kind, unsigned only)
{
	static char lookups[] = "b";
	struct dns_channel *c = mem_zalloc(sizeof *c);
	struct in_addr nobody = { .s_addr = htonl(INADDR_LOOPBACK) };
	struct ares_options o = {
		/* EDNS: packets over 512 octets are not cut by c-ares; it does nothing else with what ares_send() sends */
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | (kind == BY_TCP ? ARES_FLAG_USEVC : ARES_FLAG_IGNTC | ARES_FLAG_EDNS),
		.ednspsz = DNS_EDNS_SIZE,
		.timeout = (int)p->timeout_msec,
		.tries = kind == BY_PROBE ? 1 : (int)p->tries,
		.sock_state_cb = dns_sock_state,
		.sock_state_cb_data = c,
		/* with all of these given no file is read; the servers are replaced below */
		.servers = &nobody,
		.nservers = 1,
		.ndots = 1,
		.lookups = lookups,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_DOMAINS | ARES_OPT_SERVERS | ARES_OPT_NDOTS |
	    ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST | ARES_OPT_NOROTATE | ARES_OPT_EDNSPSZ;
	c->pool = p;
	c->kind = kind;
	c->born = loop_now();
	c->version = p->up.version;
	c->n = p->up.n;
	if (only < DNS_SERVERS_MAX) {
		c->n = 1;
		c->order[0] = (unsigned char)only;
	} else {
		dns_upstreams_order(&p->up, c->order);
	}
	list_init(&c->link);
	list_init(&c->socks);
	if (ares_init_options(&c->ares, &o, mask) != ARES_SUCCESS) {
		mem_free(&c);
		return NULL;
	}
	ares_set_socket_functions(c->ares, &dns_sock_functions, c);
	list_append(&p->channels, &c->link);
	if (set_servers(c))
		return c;
	channel_free(c);
	return NULL;
}

static struct dns_channel *
channel_for(struct dns_pool *p, enum dns_channel_kind kind)
{
	struct dns_channel *c = p->current[kind];
	unsigned most = kind == BY_TCP ? DNS_CHANNEL_CONNECTIONS : DNS_CHANNEL_QUESTIONS;
	if (c != NULL && (c->used >= most || c->version != p->up.version || loop_now() - c->born > DNS_CHANNEL_USEC)) {
		channel_retire(c);
		c = NULL;
	}
	if (c == NULL && (c = channel_new(p, kind, DNS_SERVERS_MAX)) != NULL) {
		c->is_current = true;
		p->current[kind] = c;
	}
	return c;
}

/* ---- what we hear of servers ---- */

void
dns_channel_missed(struct dns_channel *c, struct dns_try *t)
{
	dns_upstream_missed(&c->pool->up, t->server, t->sent, loop_now());
	if (t->is_late || t->owner == NULL)
		return;
	t->is_late = true;
	c->pool->ops->late(t);
}

static void
probe_failed(struct dns_pool *p, unsigned server)
{
	struct dns_upstream *u = &p->up.s[server];
	char text[DNS_SERVER_TEXT];
	if (u->is_told || !u->is_down)
		return;
	u->is_told = true;
	dns_server_text(&u->addr, text);
	LOG(dns_server_down, NULL, F_STR(name, text));
}

/* ---- time ---- */

static void
on_tick(struct timer *t)
{
	struct dns_pool *p = container_of(t, struct dns_pool, tick);
	const struct dns_pool_ops *ops = p->ops;
	if (p->pending == 0)
		return;
	timer_set(&p->tick, TICK_USEC);
	list_each(l, &p->channels) /* those that end here are buried, not freed */
		if (list_entry(l, struct dns_channel, link)->pending > 0)
			ares_process_fd(list_entry(l, struct dns_channel, link)->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	ops->idle();
}

/* ---- answers ---- */

size_t
dns_channel_asked(const struct dns_channel *c, const struct dns_try *t, unsigned char out[DNS_ASKED_MAX])
{
	if (t->is_probe)
		return dns_asked_write(&t->q, SPAN_EMPTY, out);
	return t->owner != NULL ? dns_asked_write(&t->q, c->pool->ops->name(t), out) : 0;
}

static void
forget(struct dns_channel *c, struct dns_try *t)
{
	struct dns_try **at = &c->by_id[t->q.id % DNS_ID_ROWS];
	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	t->next = NULL;
}

/* Is it ours (c-ares looked, but does not mind letters)? Gives the name back as it was asked for. */
static bool
restore_name(struct dns_channel *c, const struct dns_try *t, unsigned char *packet, size_t n)
{
	unsigned char asked[DNS_ASKED_MAX];
	size_t len = dns_channel_asked(c, t, asked);
	if (len == 0 || n < DNS_HEADER + len)
		return false;
	enum dns_match m = dns_question_match(span_of(packet, n), span_of(asked, len));
	if (m != DNS_MATCH && m != DNS_MATCH_CASE)
		return false;
	if (m == DNS_MATCH_CASE && t->by_tcp)
		(void)!dns_upstream_case_missed(&c->pool->up, c->heard, true, loop_now()); /* TCP cannot be forged from outside: it is the server */
	struct dns_question typed = t->q;
	typed.as_typed = true;
	len = dns_asked_write(&typed, c->pool->ops->name(t), asked);
	memcpy(packet + DNS_HEADER, asked, len);
	return true;
}

static void
on_answer(void *arg, int status, int timeouts, unsigned char *packet, int len)
{
	struct dns_try *t = arg;
	struct dns_channel *c = t->channel;
	struct dns_pool *p = c->pool;
	enum dns_end end = status == ARES_ETIMEOUT ? DNS_END_SILENCE : DNS_END_FAILED;
	struct span answer = SPAN_EMPTY;
	bool trusted = false;
	(void)timeouts;
	forget(c, t);
	if (end == DNS_END_SILENCE && !t->by_tcp && t->asked != 0)
		dns_channel_missed(c, t);
	if (t->is_probe) {
		if (status != ARES_SUCCESS && t->failed == 0)
			probe_failed(p, t->server);
		mem_free(&t);
	} else {
		if (t->is_formerr && packet != NULL && len > 3)
			packet[3] |= RCODE_FORMERR;
		if (packet != NULL && len > 0 && t->owner != NULL && restore_name(c, t, packet, (size_t)len)) {
			end = DNS_END_ANSWER;
			answer = span_of(packet, (size_t)len);
			trusted = p->up.s[c->heard].is_trusted;
			if (t->was_refused && t->q.plain && ((packet[3] & 15) == 0 || (packet[3] & 15) == 3))
				p->up.s[c->heard].plain_until = loop_now() + DNS_FORGET_USEC;
		}
		p->ops->done(t, end, answer, trusted);
	}
	p->pending--;
	if (--c->pending == 0 && !c->is_current && !c->is_dying)
		channel_bury(c);
	if (p->pending == 0) {
		timer_clear(&p->tick);
		if (p->is_retired) {
			list_remove(&p->link);
			loop_bury(&p->grave, dig_pool);
		}
	}
}

/* ---- questions ---- */

static void
put_on_way(struct dns_channel *c, struct dns_try *t, struct span name)
{
	struct dns_pool *p = c->pool;
	unsigned char packet[DNS_QUESTION_MAX];
	do
		rand_bytes(&t->q.id, sizeof t->q.id);
	while (dns_channel_try(c, t->q.id) != NULL);
	rand_bytes(&t->q.letters, sizeof t->q.letters);
	t->q.as_typed = p->as_typed;
	t->q.plain |= p->up.s[c->order[0]].plain_until > loop_now();
	for (unsigned i = 0; i < c->n; i++)
		t->q.secure |= p->up.s[c->order[i]].is_trusted;
	size_t n = dns_question_write(&t->q, name, packet);
	BUG_ON(n == 0); /* dns.c has looked */
	t->channel = c;
	t->next = c->by_id[t->q.id % DNS_ID_ROWS];
	c->by_id[t->q.id % DNS_ID_ROWS] = t;
	c->used++;
	c->pending++;
	if (p->pending++ == 0)
		timer_set(&p->tick, TICK_USEC);
	ares_send(c->ares, packet, (int)n, on_answer, t);
}

static void
probe(struct dns_pool *p)
{
	unsigned server = dns_upstreams_probe(&p->up, loop_now());
	struct dns_channel *c = server < DNS_SERVERS_MAX ? channel_new(p, BY_PROBE, server) : NULL;
	if (c == NULL)
		return;
	struct dns_try *t = mem_zalloc(sizeof *t);
	t->is_probe = true;
	t->q.type = DNS_NS;
	put_on_way(c, t, SPAN_EMPTY);
}

void
dns_pool_ask(struct dns_pool *p, struct dns_try *t, struct span name)
{
	struct dns_channel *c = channel_for(p, t->by_tcp ? BY_TCP : BY_UDP);
	if (c == NULL) {
		p->ops->done(t, DNS_END_FAILED, SPAN_EMPTY, false);
		return;
	}
	probe(p);
	put_on_way(c, t, name);
}
