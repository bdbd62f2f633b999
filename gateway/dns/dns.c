/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/dns.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "dns/cache.h"
#include "dns/flight.h"

enum { ANSWER_BYTES_MAX = 512 * 1024, RCODE_FORMERR = 1, RCODE_NOTIMP = 4, RCODE_BADVERS = 16 };

static struct {
	bool ready;                  /* dns_open succeeded */
	struct dns_pool *pool;
	struct dns_settings set;     /* servers: a copy */
	struct dns_cache cache;
	struct dns_line line;
	uint64_t heard;              /* the last answer that was one */
} dns;

static const struct dns_answer no_answer = { .why = "Host not found, try again" };
static const struct dns_answer timed_out = { .why = "Host not found, try again", .trouble = DNS_TROUBLE_TIMEOUT };
static const struct dns_answer too_many = { .why = "Host not found, try again", .trouble = DNS_TROUBLE_BUSY };
static const struct dns_answer bad_name = { .why = "Malformed name" };
static const struct dns_answer bad_answer = { .why = "Malformed or unexpected name server reply" };

static const struct dns_pool_ops pool_ops;

static void prefetch_hosts(const struct dns_answer *a);
static void finish(struct dns_flight *f, enum rc rc, struct dns_answer *a);
static void go_on(void);

/* ---- opening and closing ---- */

static bool
same_servers(const struct dns_settings *a, const struct dns_settings *b)
{
	return strcmp(a->servers, b->servers) == 0 && a->timeout_usec == b->timeout_usec && a->tries == b->tries && a->rotate == b->rotate &&
	    a->as_typed == b->as_typed && a->trust == b->trust;
}

static void
on_more(struct timer *t)
{
	(void)t;
	go_on();
}

enum rc
dns_open(const struct dns_settings *settings, struct err *e)
{
	struct dns_server servers[DNS_SERVERS_MAX];
	struct dns_settings s = *settings;
	struct dns_pool *p;
	unsigned n;
	enum rc rc = dns_servers_parse(span_str(s.servers), servers, &n, e);
	if (rc == RC_NONE)
		(void)err_set(e, RC_PERM, "none given");
	if (rc != RC_OK)
		return err_prefix(e, "dns_servers");
	s.timeout_usec = s.timeout_usec > 0 ? s.timeout_usec : DNS_TIMEOUT_MSEC * 1000;
	s.tries = s.tries > 0 ? s.tries : DNS_TRIES;
	s.cache_bytes = s.cache_bytes > 0 ? s.cache_bytes : DNS_CACHE_BYTES;
	s.query_limit = s.query_limit > 0 ? s.query_limit : DNS_QUERY_LIMIT;
	s.queue_limit = s.queue_limit > 0 ? s.queue_limit : DNS_QUEUE_LIMIT;
	if (!dns.ready || !same_servers(&s, &dns.set)) {
		p = dns_pool_new(&(struct dns_pool_settings){ .servers = servers, .n = n, .tries = s.tries,
			.timeout_msec = (unsigned)((s.timeout_usec + 999) / 1000), .rotate = s.rotate, .as_typed = s.as_typed, .trust = s.trust }, &pool_ops);
		if (p == NULL)
			return err_set(e, RC_TEMP, "cannot start the resolver");
		if (dns.ready) {
			dns_pool_retire(dns.pool);
			dns_cache_clear(); /* other servers may say other things */
		} else {
			dns_cache_init(&dns.cache, s.cache_bytes);
			dns_line_init(&dns.line, on_more);
		}
		dns.pool = p;
	}
	s.servers = mem_strdup(s.servers);
	mem_free(&dns.set.servers);
	dns.set = s;
	dns_cache_limit(&dns.cache, s.cache_bytes);
	dns.ready = true;
	go_on();
	return RC_OK;
}

void
dns_close(void)
{
	if (!dns.ready)
		return;
	dns.ready = false;
	dns_pools_close_retired();
	dns_pool_close(dns.pool);
	dns.pool = NULL;
	for (struct dns_flight *f; (f = dns_line_first(&dns.line)) != NULL;)
		finish(f, RC_TEMP, NULL);
	timer_clear(&dns.line.more);
	dns_cache_fini(&dns.cache);
	mem_free(&dns.set.servers);
	htab_fini(&dns.line.flights);
}

void
dns_cache_clear(void)
{
	if (!dns.ready)
		return;
	dns_cache_fini(&dns.cache);
	dns_cache_init(&dns.cache, dns.set.cache_bytes);
}

/* ---- leaving ---- */

/* May answer, and free f, at once. */
static void
send_by(struct dns_flight *f, bool tcp)
{
	struct dns_try *t = mem_zalloc(sizeof *t);
	t->owner = f;
	t->by_tcp = tcp;
	t->q.type = f->type;
	t->q.plain = t->was_refused = f->is_plain;
	*(tcp ? &f->by_tcp : &f->by_udp) = t;
	metric_add(M_dns_queries, 1);
	dns_pool_ask(f->pool, t, dns_flight_asked(f));
}

static bool
has_room(void)
{
	return dns_line_has_room(&dns.line, dns.set.query_limit);
}

/* May answer, and free f, at once. */
static void
launch(struct dns_flight *f)
{
	f->pool = dns.pool;
	dns_flight_leaves(&dns.line, f);
	send_by(f, false);
}

/* Those in the line whose turn has come; and those who have to be asked over TCP. Nothing of c-ares is on the stack. */
static void
go_on(void)
{
	if (!dns.ready)
		return;
	for (struct list *l; (l = list_pop(&dns.line.odd)) != NULL;)
		send_by(list_entry(l, struct dns_flight, line), true);
	while (dns.line.waiting > 0 && has_room()) {
		struct dns_flight *f = dns_line_first(&dns.line);
		dns_flight_leave_line(&dns.line, f);
		launch(f);
	}
	dns_line_look_again(&dns.line);
}

/* ---- questions ---- */

/* The waiter has gone. On its way, the question goes on: its answer will be in the cache. */
static void
leave_flight(struct dns_query *q)
{
	struct dns_flight *f = q->flight;
	list_remove(&q->by_flight);
	timer_clear(&q->timer);
	q->flight = NULL;
	if (dns_flight_in_line(f) && list_empty(&f->waiters))
		dns_flight_free(&dns.line, f);
}

static void
detach_query(struct op *op)
{
	leave_flight(container_of(op, struct dns_query, op));
}

static const struct op_provider provider = { "dns", detach_query };

/* Who waited in our own line for most of the time has learnt nothing about any server. */
static const struct dns_answer *
late(const struct dns_flight *f)
{
	uint64_t now = loop_now();
	return dns_flight_in_line(f) || now - f->launched < (now - f->began) / 2 ? &too_many : &timed_out;
}

bool
dns_is_held_back(const struct dns_query *q)
{
	return q->answer == &too_many || (q->flight != NULL && late(q->flight) == &too_many);
}

static void
on_query_timeout(struct timer *t)
{
	struct dns_query *q = container_of(t, struct dns_query, timer);
	q->answer = late(q->flight);
	leave_flight(q);
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
	struct dns_flight *f = dns_flight_find(&dns.line, dns.pool, type, name);
	bool is_first = f == NULL || (dns_flight_in_line(f) && f->is_ahead), goes = is_first && list_empty(&dns.line.line) && has_room(), waits = is_first && !goes;
	if (waits && dns.line.waiting >= dns.set.queue_limit) {
		metric_add(M_dns_failures, 1);
		metric_add(M_dns_busy, 1);
		give(q, RC_TEMP, &too_many);
		return;
	}
	if (f == NULL)
		f = dns_flight_new(&dns.line, type, name);
	else if (is_first)
		dns_flight_leave_line(&dns.line, f);
	if (is_first)
		f->began = loop_now();
	uint64_t age = loop_now() - f->began;
	if (timeout_usec > 0 && age >= timeout_usec) { /* who waits has waited long enough already, for the same rule before */
		give(q, RC_TEMP, late(f));
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
	if (waits)
		dns_flight_enter_line(&dns.line, f, false);
	else if (goes)
		launch(f);
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
	struct dns_flight *f = dns_flight_find(&dns.line, dns.pool, type, name);
	if (f != NULL)
		f->is_forgotten = true;
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
	struct dns_flight *f = dns_flight_find(&dns.line, dns.pool, type, name);
	if (f != NULL) {
		f->and_hosts |= hosts;
		return;
	}
	if (!list_empty(&dns.line.line) || dns.line.flying + dns.line.waiting >= dns.set.query_limit / 4)
		return;
	f = dns_flight_new(&dns.line, type, name);
	f->and_hosts = hosts;
	if (list_empty(&dns.line.ahead) && has_room())
		launch(f);
	else
		dns_flight_enter_line(&dns.line, f, true);
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

/* ---- answers ---- */

/* Everybody gets it, and f is gone. a: NULL for RC_TEMP of a question that never left. */
static void
finish(struct dns_flight *f, enum rc rc, struct dns_answer *a)
{
	struct span name = span_of(f->name, f->name_len);
	const struct dns_answer *said = a != NULL ? a : &no_answer;
	bool keeps = dns.ready && f->pool == dns.pool && !f->is_forgotten;
	if (rc == RC_TEMP || rc == RC_PERM)
		metric_add(M_dns_failures, 1);
	if (rc == RC_OK || rc == RC_NONE) {
		dns.heard = loop_now();
		a->ttl = a->ttl < f->ttl ? a->ttl : f->ttl;
		a->aliases += f->aliases;
		a->is_secure = !f->is_insecure;
		if (keeps)
			dns_cache_put(&dns.cache, f->type, name, loop_now(), rc, a);
	} else if (keeps) {
		dns_cache_drop(&dns.cache, f->type, name);
	}
	for (struct list *l; (l = list_pop(&f->waiters)) != NULL;) {
		struct dns_query *q = list_entry(l, struct dns_query, by_flight);
		q->flight = NULL;
		timer_clear(&q->timer);
		if (rc == RC_PERM)
			give(q, rc, &bad_answer);
		else if (rc == RC_TEMP)
			give(q, rc, said->trouble == DNS_TROUBLE_TIMEOUT ? &timed_out : &no_answer);
		else
			give(q, rc, said);
	}
	bool and_hosts = f->and_hosts && rc == RC_OK && keeps;
	dns_flight_free(&dns.line, f);
	if (and_hosts)
		prefetch_hosts(a);
}

/* The packet ended with an alias: its target is asked in a question of its own. */
static void
follow(struct dns_flight *f, const struct dns_answer *a)
{
	unsigned char wire[DNS_NAME_MAX];
	size_t len;
	struct dns_answer none = bad_answer;
	unsigned aliases = f->aliases + a->aliases;
	if (a->alias.n == 0 || !dns_name_encode(a->alias, wire, &len)) {
		finish(f, RC_PERM, &none);
		return;
	}
	if (aliases > DNS_CNAME_MAX) {
		none = no_answer;
		finish(f, RC_TEMP, &none);
		return;
	}
	dns_flight_orphan(&f->by_udp);
	dns_flight_orphan(&f->by_tcp);
	dns_flight_not_young(&dns.line, f);
	list_remove(&f->line);
	mem_free(&f->alias);
	f->alias = mem_zalloc(a->alias.n + 1);
	memcpy(f->alias, a->alias.p, a->alias.n);
	f->aliases = (uint8_t)aliases;
	f->ttl = a->ttl < f->ttl ? a->ttl : f->ttl;
	send_by(f, false);
}

static bool
is_cut(struct span packet)
{
	return packet.n >= DNS_HEADER && (packet.p[2] & 0x02) != 0;
}

static void
on_done(struct dns_try *t, enum dns_end end, struct span packet, bool trusted)
{
	struct dns_flight *f = t->owner;
	struct dns_try was = *t;
	struct dns_answer a = end == DNS_END_SILENCE ? timed_out : no_answer;
	struct arena arena;
	enum rc rc = RC_TEMP;
	mem_free(&t);
	if (f == NULL)
		return;
	*(was.by_tcp ? &f->by_tcp : &f->by_udp) = NULL;
	if (end == DNS_END_ANSWER && is_cut(packet) && !was.by_tcp) {
		if (f->by_tcp == NULL)
			send_by(f, true);
		return;
	}
	arena_init(&arena, ANSWER_BYTES_MAX);
	if (end == DNS_END_ANSWER)
		rc = dns_answer_parse(packet, dns_flight_asked(f), f->type, &arena, &a);
	was.is_refused |= end == DNS_END_ANSWER && (a.rcode == RCODE_FORMERR || a.rcode == RCODE_NOTIMP || a.rcode == RCODE_BADVERS);
	f->is_insecure |= !trusted || !a.is_secure;
	if (was.by_tcp && end != DNS_END_ANSWER && f->by_udp != NULL && f->odd_tries > 0 && f->odd_tries < DNS_CASE_MISSES && dns.ready) {
		dns_flight_orphan(&f->by_udp); /* no TCP there: with another id and other letters; what comes back wrong again is the server's way */
		send_by(f, false);
	} else if (was.is_refused && !was.q.plain && !f->is_plain && dns.ready) {
		f->is_plain = true;
		send_by(f, was.by_tcp);
	} else if ((rc == RC_OK || rc == RC_NONE) && a.alias.p != NULL && dns.ready) {
		follow(f, &a);
	} else if (rc == RC_OK || rc == RC_NONE || (f->by_udp == NULL && f->by_tcp == NULL && (f->is_young || !list_linked(&f->line) || !dns.ready))) {
		finish(f, rc, &a);
	} /* else: the other way may still bring it */
	arena_fini(&arena);
}

static struct span
on_name(const struct dns_try *t)
{
	return dns_flight_asked(t->owner);
}

static bool
on_is_wanted(const struct dns_try *t)
{
	const struct dns_flight *f = t->owner;
	return !list_empty(&f->waiters);
}

static void
on_late(struct dns_try *t)
{
	struct dns_flight *f = t->owner;
	dns.line.late += !f->is_late;
	f->is_late = true;
}

static void
on_odd(struct dns_try *t)
{
	struct dns_flight *f = t->owner;
	dns_flight_not_young(&dns.line, f);
	f->odd_tries++;
	if (f->by_tcp == NULL && !list_linked(&f->line))
		list_append(&dns.line.odd, &f->line);
}

static const struct dns_pool_ops pool_ops = { on_done, on_name, on_is_wanted, on_late, on_odd, go_on };
