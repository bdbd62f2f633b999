/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/dns.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "dns/cache.h"
#include "dns/servers.h"

#include <ares.h>
#include <arpa/inet.h>

enum { TICK_USEC = 50 * 1000, EDNS_SIZE = 1232, CLASS_IN = 1, ANSWER_BYTES_MAX = 512 * 1024 };

/* A c-ares channel with the settings of one dns_open. */
struct channel {
	struct carrier {
		struct channel *channel;
		ares_channel ares;
	} udp, tcp; /* apart: a connection that ends counts as a failed try for everything asked in the same c-ares channel */
	unsigned pending;
	bool retired;                /* no new questions; goes when the last answer is in */
	struct list socks;
	struct timer tick;
	struct grave grave;
};

struct sock {
	struct carrier *carrier;
	struct list link;
	struct watch watch;
	struct grave grave;
};

/* One question on its way, with everyone who asked it. */
struct dns_flight {
	struct hnode by_key;
	struct list waiters;
	struct channel *channel;
	enum dns_type type;
	uint64_t began;
	bool by_tcp, again;
	bool is_forgotten;           /* nobody joins it any more */
	bool and_hosts;              /* prefetch: ask for the addresses of the hosts it names */
	size_t name_len;
	char name[];
};

static struct {
	bool ready;                  /* dns_open succeeded */
	struct channel *channel;
	struct dns_cache cache;
	struct htab flights;
	uint64_t heard;              /* the last answer that was one */
	struct dns_server fallback[DNS_SERVERS_MAX]; /* what resolv.conf said at start */
	unsigned n_fallback;
} dns;

static const struct dns_answer no_answer = { .why = "Host not found, try again" };
static const struct dns_answer timed_out = { .why = "Host not found, try again", .trouble = DNS_TROUBLE_TIMEOUT };
static const struct dns_answer too_many = { .why = "Host not found, try again", .trouble = DNS_TROUBLE_BUSY };
static const struct dns_answer bad_name = { .why = "Malformed name" };
static const struct dns_answer bad_answer = { .why = "Malformed or unexpected name server reply" };

static enum rc channel_new(const struct dns_settings *s, struct channel **out, struct err *e);
static void channel_retire(struct channel *c);
static void prefetch_hosts(const struct dns_answer *a);
static void on_answer(void *arg, int status, int timeouts, unsigned char *packet, int len);
static void on_sock_state(void *arg, ares_socket_t fd, int readable, int writable);

enum rc
dns_open(const struct dns_settings *s, struct err *e)
{
	struct channel *c;
	enum rc rc = channel_new(s, &c, e);
	if (rc != RC_OK)
		return rc;
	if (!dns.ready)
		dns_cache_init(&dns.cache, 0);
	dns.cache.max = s->cache_max > 0 ? s->cache_max : DNS_CACHE_MAX;
	if (dns.channel != NULL) {
		channel_retire(dns.channel);
		dns_cache_clear(); /* other servers may say other things */
	}
	dns.channel = c;
	dns.ready = true;
	return RC_OK;
}

static void
channel_free(struct channel *c)
{
	timer_clear(&c->tick);
	if (c->tcp.ares != NULL)
		ares_destroy(c->tcp.ares);
	ares_destroy(c->udp.ares); /* ends what is in flight and closes the sockets through on_sock_state */
	mem_free(&c);
}

static void
dig_channel(struct grave *g)
{
	channel_free(container_of(g, struct channel, grave));
}

/* Never from inside c-ares: the grave is emptied at the end of the turn. */
static void
channel_retire(struct channel *c)
{
	c->retired = true;
	if (c->pending == 0)
		loop_bury(&c->grave, dig_channel);
}

void
dns_close(void)
{
	if (!dns.ready)
		return;
	struct channel *c = dns.channel;
	dns.channel = NULL;
	dns.ready = false;
	c->retired = true;
	c->pending++; /* on_answer must not bury what is freed here */
	channel_free(c);
	dns_cache_fini(&dns.cache);
	if (dns.flights.count == 0)
		htab_fini(&dns.flights);
}

void
dns_cache_clear(void)
{
	if (!dns.ready)
		return;
	size_t max = dns.cache.max;
	dns_cache_fini(&dns.cache);
	dns_cache_init(&dns.cache, max);
}

/* ---- channels ---- */

static void
on_tick(struct timer *t)
{
	struct channel *c = container_of(t, struct channel, tick);
	if (c->pending == 0)
		return;
	timer_set(&c->tick, TICK_USEC);
	ares_process_fd(c->udp.ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	ares_process_fd(c->tcp.ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void
keep_fallback(struct channel *c)
{
	struct ares_addr_port_node *list = NULL;
	if (ares_get_servers_ports(c->udp.ares, &list) != ARES_SUCCESS)
		return;
	dns.n_fallback = 0;
	for (struct ares_addr_port_node *n = list; n != NULL && dns.n_fallback < DNS_SERVERS_MAX; n = n->next) {
		struct dns_server *s = &dns.fallback[dns.n_fallback++];
		*s = (struct dns_server){ .family = n->family, .port = (uint16_t)(n->udp_port > 0 ? n->udp_port : 53) };
		if (n->family == AF_INET)
			s->addr.a = n->addr.addr4;
		else
			memcpy(&s->addr.aaaa, &n->addr.addr6, sizeof s->addr.aaaa);
	}
	ares_free_data(list);
}

static bool
use_servers(struct channel *c, const struct dns_server *list, unsigned n)
{
	struct ares_addr_port_node nodes[DNS_SERVERS_MAX];
	memset(nodes, 0, sizeof nodes);
	for (unsigned i = 0; i < n; i++) {
		nodes[i].next = i + 1 < n ? &nodes[i + 1] : NULL;
		nodes[i].family = list[i].family;
		nodes[i].udp_port = nodes[i].tcp_port = list[i].port;
		if (list[i].family == AF_INET)
			nodes[i].addr.addr4 = list[i].addr.a;
		else
			memcpy(&nodes[i].addr.addr6, &list[i].addr.aaaa, sizeof list[i].addr.aaaa);
	}
	return ares_set_servers_ports(c->udp.ares, nodes) == ARES_SUCCESS && ares_set_servers_ports(c->tcp.ares, nodes) == ARES_SUCCESS;
}

static enum rc
channel_new(const struct dns_settings *s, struct channel **out, struct err *e)
{
	static bool library_ready;
	static char lookups[] = "b";
	struct dns_server servers[DNS_SERVERS_MAX];
	unsigned n;
	enum rc rc = dns_servers_parse(span_str(s->servers), servers, &n, e);
	if (rc == RC_PERM)
		return err_prefix(e, "dns_servers");
	if (!library_ready && ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return err_set(e, RC_TEMP, "cannot initialise the resolver library");
	library_ready = true;
	struct channel *c = mem_zalloc(sizeof *c);
	c->udp.channel = c->tcp.channel = c;
	list_init(&c->socks);
	timer_init(&c->tick, on_tick);
	struct ares_options o = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS | ARES_FLAG_IGNTC,
		.timeout = s->timeout_usec > 0 ? (int)(s->timeout_usec / 1000) : DNS_TIMEOUT_MSEC,
		.tries = s->tries > 0 ? (int)s->tries : DNS_TRIES,
		.ednspsz = EDNS_SIZE,
		.sock_state_cb = on_sock_state,
		.sock_state_cb_data = &c->udp,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB | ARES_OPT_DOMAINS;
	struct in_addr nobody = { .s_addr = htonl(INADDR_LOOPBACK) };
	if (dns.n_fallback > 0) {
		/* with all of these given it reads no file, which after a chroot could not be read; the servers
		 * are replaced below */
		o.servers = &nobody;
		o.nservers = 1;
		o.ndots = 1;
		o.lookups = lookups;
		mask |= ARES_OPT_SERVERS | ARES_OPT_NDOTS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST;
	}
	int status = ares_init_options(&c->udp.ares, &o, mask);
	if (status == ARES_SUCCESS) {
		o.flags |= ARES_FLAG_USEVC;
		o.sock_state_cb_data = &c->tcp;
		status = ares_init_options(&c->tcp.ares, &o, mask);
		if (status != ARES_SUCCESS)
			ares_destroy(c->udp.ares);
	}
	if (status != ARES_SUCCESS) {
		mem_free(&c);
		return err_set(e, RC_TEMP, "cannot start the resolver: %s", ares_strerror(status));
	}
	/* resolv.conf can be read at the first start only: later the process may live in a chroot */
	if (!dns.ready && dns.n_fallback == 0)
		keep_fallback(c);
	bool ok = rc == RC_OK ? use_servers(c, servers, n) : dns.n_fallback == 0 || use_servers(c, dns.fallback, dns.n_fallback);
	if (!ok) {
		channel_free(c);
		return err_set(e, RC_PERM, "dns_servers: the resolver does not take them");
	}
	*out = c;
	return RC_OK;
}

static void
on_sock_ready(struct watch *w, short what)
{
	struct sock *s = container_of(w, struct sock, watch);
	ares_process_fd(s->carrier->ares, what & EV_READ ? w->fd : ARES_SOCKET_BAD, what & EV_WRITE ? w->fd : ARES_SOCKET_BAD);
}

static void
dig_sock(struct grave *g)
{
	struct sock *s = container_of(g, struct sock, grave);
	mem_free(&s);
}

static void
on_sock_state(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct carrier *by = arg;
	struct sock *s = NULL;
	list_each(l, &by->channel->socks) {
		struct sock *at = list_entry(l, struct sock, link);
		if (at->watch.fd == fd)
			s = at;
	}
	if (s == NULL) {
		if (!readable && !writable)
			return;
		s = mem_zalloc(sizeof *s);
		s->carrier = by;
		list_init(&s->link);
		list_append(&by->channel->socks, &s->link);
		watch_init(&s->watch, fd, on_sock_ready);
	}
	if (readable || writable) {
		watch_want(&s->watch, (short)((readable ? EV_READ : 0) | (writable ? EV_WRITE : 0)));
		return;
	}
	watch_clear(&s->watch);
	list_remove(&s->link);
	loop_bury(&s->grave, dig_sock); /* we may be inside its callback */
}

/* ---- questions ---- */

static void
detach_query(struct op *op)
{
	struct dns_query *q = container_of(op, struct dns_query, op);
	list_remove(&q->by_flight);
	q->flight = NULL; /* the question goes on: its answer will be in the cache */
	timer_clear(&q->timer);
}

static const struct op_provider provider = { "dns", detach_query };

static void
on_query_timeout(struct timer *t)
{
	struct dns_query *q = container_of(t, struct dns_query, timer);
	list_remove(&q->by_flight);
	q->flight = NULL;
	q->answer = &timed_out;
	q->took_usec = loop_now() - q->asked;
	metric_add(M_dns_failures, 1);
	op_finish(&q->op, RC_TEMP);
}

void
dns_query_init(struct dns_query *q, struct op_owner *owner, op_fn *done)
{
	*q = (struct dns_query){ .answer = &no_answer };
	op_init(&q->op, owner, done);
	list_init(&q->by_flight);
}

void
dns_query_fini(struct dns_query *q)
{
	op_cancel(&q->op);
	mem_free(&q->owned);
	q->answer = &no_answer;
}

static void
give(struct dns_query *q, enum rc rc, const struct dns_answer *a)
{
	q->answer = a;
	q->took_usec = q->asked > 0 ? loop_now() - q->asked : 0;
	if (rc == RC_OK || rc == RC_NONE)
		q->answer = q->owned = dns_answer_pack(a);
	op_finish(&q->op, rc);
}

static struct dns_flight *
find_flight(enum dns_type type, struct span name)
{
	for (struct hnode *n = htab_first(&dns.flights, dns_key_hash(type, name)); n != NULL; n = htab_next(n)) {
		struct dns_flight *f = container_of(n, struct dns_flight, by_key);
		if (f->type == type && f->channel == dns.channel && !f->is_forgotten && span_caseeq(span_of(f->name, f->name_len), name))
			return f;
	}
	return NULL;
}

/* RC_OK: may be asked; otherwise the answer that there is without asking. */
static enum rc
askable(struct span name, const struct dns_answer **why_not)
{
	unsigned char wire[DNS_NAME_MAX];
	size_t wire_len;
	if (name.n == 0 || !dns_name_encode(name, wire, &wire_len)) {
		*why_not = &bad_name;
		return RC_PERM;
	}
	*why_not = &no_answer;
	return dns.ready ? RC_OK : RC_TEMP;
}

static struct dns_flight *
flight_new(enum dns_type type, struct span name)
{
	struct dns_flight *f = mem_zalloc(sizeof *f + name.n + 1);
	f->type = type;
	f->channel = dns.channel;
	f->began = loop_now();
	f->name_len = name.n;
	memcpy(f->name, name.p, name.n);
	list_init(&f->waiters);
	htab_insert(&dns.flights, &f->by_key, dns_key_hash(type, name));
	return f;
}

/* May answer, and free f, at once. */
static void
launch(struct dns_flight *f)
{
	struct channel *c = f->channel;
	metric_add(M_dns_queries, 1);
	if (c->pending++ == 0)
		timer_set(&c->tick, TICK_USEC);
	ares_query(c->udp.ares, f->name, CLASS_IN, (int)f->type, on_answer, f);
}

void
dns_ask(struct dns_query *q, enum dns_type type, struct span name, uint64_t timeout_usec)
{
	enum rc rc;
	const struct dns_answer *known;
	mem_free(&q->owned);
	q->answer = &no_answer;
	q->asked = q->took_usec = 0;
	name = dns_key(name);
	rc = askable(name, &known);
	if (rc != RC_OK || dns_cache_find(&dns.cache, type, name, loop_now(), &rc, &known)) {
		give(q, rc, known);
		return;
	}
	struct dns_flight *f = find_flight(type, name);
	bool is_new = f == NULL;
	if (is_new && dns.flights.count >= DNS_FLIGHTS_MAX) {
		metric_add(M_dns_failures, 1);
		give(q, RC_TEMP, &too_many);
		return;
	}
	if (is_new)
		f = flight_new(type, name);
	uint64_t age = loop_now() - f->began;
	if (timeout_usec > 0 && age >= timeout_usec) { /* who waits has waited long enough already, for the same rule before */
		give(q, RC_TEMP, &timed_out);
		return;
	}
	op_pend(&q->op, &provider);
	q->asked = loop_now();
	q->flight = f;
	list_append(&f->waiters, &q->by_flight);
	if (timeout_usec > 0) {
		timer_init(&q->timer, on_query_timeout);
		timer_set(&q->timer, timeout_usec - age);
	}
	if (is_new)
		launch(f);
}

uint64_t
dns_heard(void)
{
	return dns.heard;
}

void
dns_forget(enum dns_type type, struct span name)
{
	if (!dns.ready)
		return;
	name = dns_key(name);
	dns_cache_drop(&dns.cache, type, name);
	struct dns_flight *f = find_flight(type, name);
	if (f != NULL)
		f->is_forgotten = true;
}

bool
dns_known(struct dns_query *q, enum dns_type type, struct span name, enum rc *rc_out)
{
	const struct dns_answer *known;
	mem_free(&q->owned);
	q->answer = &no_answer;
	q->asked = q->took_usec = 0;
	name = dns_key(name);
	*rc_out = askable(name, &known);
	if (*rc_out != RC_OK) {
		q->answer = known;
		return true;
	}
	if (!dns_cache_find(&dns.cache, type, name, loop_now(), rc_out, &known))
		return false;
	q->answer = q->owned = dns_answer_pack(known);
	return true;
}

void
dns_prefetch(enum dns_type type, struct span name, bool hosts)
{
	const struct dns_answer *known;
	enum rc rc;
	name = dns_key(name);
	if (askable(name, &known) != RC_OK)
		return;
	if (dns_cache_find(&dns.cache, type, name, loop_now(), &rc, &known)) {
		if (hosts && rc == RC_OK)
			prefetch_hosts(known);
		return;
	}
	struct dns_flight *f = find_flight(type, name);
	if (f != NULL) {
		f->and_hosts |= hosts;
		return;
	}
	if (dns.flights.count >= DNS_PREFETCHES_MAX)
		return;
	f = flight_new(type, name);
	f->and_hosts = hosts;
	launch(f);
}

/* The names are copied: asking may move the cache they are in. */
static void
prefetch_hosts(const struct dns_answer *a)
{
	struct dns_answer *copy = dns_answer_pack(a);
	for (unsigned i = 0; i < copy->n && i < DNS_PREFETCH_HOSTS; i++)
		if (dns_is_hostname(copy->rr[i].data)) {
			dns_prefetch(DNS_A, copy->rr[i].data, false);
			dns_prefetch(DNS_AAAA, copy->rr[i].data, false);
		}
	mem_free(&copy);
}

/* It did not fit into a datagram. */
static bool
is_cut(const unsigned char *packet, int len)
{
	return packet != NULL && len >= 12 && (packet[2] & 0x02) != 0;
}

static void
on_answer(void *arg, int status, int timeouts, unsigned char *packet, int len)
{
	struct dns_flight *f = arg;
	struct channel *c = f->channel;
	struct span name = span_of(f->name, f->name_len);
	struct arena arena;
	struct dns_answer a = no_answer;
	enum rc rc = RC_TEMP;
	(void)timeouts;
	if (is_cut(packet, len) && !f->by_tcp) {
		f->by_tcp = true;
		ares_query(c->tcp.ares, f->name, CLASS_IN, (int)f->type, on_answer, f);
		return;
	}
	if (status == ARES_EFORMERR && !f->again) { /* c-ares leaves EDNS out when the first of them fails, not for those on their way */
		f->again = true;
		ares_query(f->by_tcp ? c->tcp.ares : c->udp.ares, f->name, CLASS_IN, (int)f->type, on_answer, f);
		return;
	}
	arena_init(&arena, ANSWER_BYTES_MAX);
	if ((status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND) && packet != NULL && len > 0)
		rc = dns_answer_parse(span_of(packet, (size_t)len), name, f->type, &arena, &a);
	else if (status == ARES_EBADRESP || status == ARES_EBADNAME)
		rc = RC_PERM, a = bad_answer;
	if (rc == RC_TEMP || rc == RC_PERM)
		metric_add(M_dns_failures, 1);
	else
		dns.heard = loop_now();
	if (dns.ready)
		dns_cache_put(&dns.cache, f->type, name, loop_now(), rc, &a);
	htab_remove(&dns.flights, &f->by_key);
	for (struct list *l; (l = list_pop(&f->waiters)) != NULL;) {
		struct dns_query *q = list_entry(l, struct dns_query, by_flight);
		q->flight = NULL;
		timer_clear(&q->timer);
		if (rc == RC_PERM)
			give(q, rc, &bad_answer);
		else if (rc == RC_TEMP)
			give(q, rc, status == ARES_ETIMEOUT ? &timed_out : &no_answer);
		else
			give(q, rc, &a);
	}
	if (f->and_hosts && rc == RC_OK && dns.ready && !c->retired)
		prefetch_hosts(&a); /* before pending falls: the channel stays */
	arena_fini(&arena);
	mem_free(&f);
	if (--c->pending == 0) {
		timer_clear(&c->tick);
		if (c->retired)
			loop_bury(&c->grave, dig_channel);
	}
}
