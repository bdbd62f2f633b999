/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/dns.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "dns/cache.h"
#include "dns/pool.h"

enum { ANSWER_BYTES_MAX = 512 * 1024, RCODE_FORMERR = 1, RCODE_NOTIMP = 4, RCODE_BADVERS = 16, YOUNG_MAX = 128, YOUNG_USEC = 5 * 1000 };

/* One question with everyone who asked it: in the line, or on its way (then it has a pool). */
struct dns_flight {
	struct hnode by_key;
	struct list waiters;
	struct list line;            /* in the line; on its way: among the young, or those to be asked over TCP, too */
	struct dns_pool *pool;
	struct dns_try *by_udp, *by_tcp;
	uint64_t began, launched;
	char *alias;                 /* what is asked in the name's place: an answer ended with it */
	uint32_t ttl;                /* smallest of the answers before */
	uint16_t type;
	uint8_t name_len, aliases, odd_tries;
	bool is_ahead : 1;           /* a prefetch in its own line */
	bool is_young : 1;           /* may still lie in the receive buffer of a server */
	bool is_late : 1;            /* had to be repeated */
	bool and_hosts : 1;          /* prefetch: ask for the addresses of the hosts it names */
	bool is_plain : 1;           /* without EDNS, which was not understood */
	bool is_insecure : 1;        /* some answer was not proven */
	bool is_forgotten : 1;       /* nobody joins it any more */
	char name[];
};

static struct {
	bool ready;                  /* dns_open succeeded */
	struct dns_pool *pool;
	struct dns_settings set;     /* servers: a copy */
	struct dns_cache cache;
	struct htab flights;         /* all, by type and name */
	struct list line, ahead, young, odd; /* ahead: prefetches whose turn comes when nobody waits */
	unsigned waiting, flying, late;
	unsigned n_young;
	uint64_t heard;              /* the last answer that was one */
	struct timer more;
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
			list_init(&dns.line);
			list_init(&dns.ahead);
			list_init(&dns.young);
			list_init(&dns.odd);
			timer_init(&dns.more, on_more);
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
	list_splice(&dns.line, &dns.ahead);
	while (!list_empty(&dns.line))
		finish(list_entry(dns.line.next, struct dns_flight, line), RC_TEMP, NULL);
	timer_clear(&dns.more);
	dns_cache_fini(&dns.cache);
	mem_free(&dns.set.servers);
	htab_fini(&dns.flights);
}

void
dns_cache_clear(void)
{
	if (!dns.ready)
		return;
	dns_cache_fini(&dns.cache);
	dns_cache_init(&dns.cache, dns.set.cache_bytes);
}

/* ---- flights ---- */

static struct dns_flight *
find_flight(enum dns_type type, struct span name)
{
	for (struct hnode *n = htab_first(&dns.flights, dns_key_hash(type, name)); n != NULL; n = htab_next(n)) {
		struct dns_flight *f = container_of(n, struct dns_flight, by_key);
		bool is_current = f->pool == NULL || f->pool == dns.pool;
		if (f->type == type && is_current && !f->is_forgotten && span_caseeq(span_of(f->name, f->name_len), name))
			return f;
	}
	return NULL;
}

static struct dns_flight *
flight_new(enum dns_type type, struct span name)
{
	struct dns_flight *f = mem_zalloc(sizeof *f + name.n);
	f->type = (uint16_t)type;
	f->began = loop_now();
	f->ttl = DNS_TTL_MAX;
	f->name_len = (uint8_t)name.n; /* askable(): it fits into 255 */
	memcpy(f->name, name.p, name.n);
	list_init(&f->waiters);
	list_init(&f->line);
	htab_insert(&dns.flights, &f->by_key, dns_key_hash(type, name));
	return f;
}

static bool
in_line(const struct dns_flight *f)
{
	return f->pool == NULL;
}

static struct span
asked_name(const struct dns_flight *f)
{
	return f->alias != NULL ? span_str(f->alias) : span_of(f->name, f->name_len);
}

static void
enter_line(struct dns_flight *f, bool ahead)
{
	if (list_empty(&dns.line) && list_empty(&dns.ahead))
		timer_set(&dns.more, YOUNG_USEC);
	f->is_ahead = ahead;
	list_append(ahead ? &dns.ahead : &dns.line, &f->line);
	metric_set(M_dns_waiting, ++dns.waiting);
}

static void
leave_line(struct dns_flight *f)
{
	list_remove(&f->line);
	dns.waiting--;
	metric_set(M_dns_waiting, dns.waiting);
}

static void
not_young(struct dns_flight *f)
{
	if (!f->is_young)
		return;
	f->is_young = false;
	list_remove(&f->line);
	dns.n_young--;
}

static void
orphan(struct dns_try **t)
{
	if (*t != NULL)
		(*t)->owner = NULL;
	*t = NULL;
}

/* The end of a question: it is in nobody's list any more, and f is gone. */
static void
flight_free(struct dns_flight *f)
{
	if (in_line(f)) {
		leave_line(f);
	} else {
		not_young(f);
		list_remove(&f->line);
		dns.flying--;
		dns.late -= f->is_late;
		metric_set(M_dns_flying, dns.flying);
	}
	orphan(&f->by_udp);
	orphan(&f->by_tcp);
	htab_remove(&dns.flights, &f->by_key);
	mem_free(&f->alias);
	mem_free(&f);
}

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
	dns_pool_ask(f->pool, t, asked_name(f));
}

/* The same. */
static void
launch(struct dns_flight *f)
{
	f->pool = dns.pool;
	f->launched = loop_now();
	f->is_young = true;
	list_append(&dns.young, &f->line);
	dns.n_young++;
	dns.flying++;
	metric_set(M_dns_flying, dns.flying);
	send_by(f, false);
}

/* A name server takes as many questions at once as its receive buffer holds (some hundreds, where nobody has made it larger); what is
 * more is lost and costs the time of a repetition. So YOUNG_MAX are under way that left just now: answers make room, and time does.
 * A question that had to be repeated probably waits for somebody far away: many of them do not hold up the others. */
static bool
has_room(void)
{
	while (!list_empty(&dns.young)) {
		struct dns_flight *f = list_entry(dns.young.next, struct dns_flight, line);
		if (loop_now() - f->launched < YOUNG_USEC)
			break;
		not_young(f);
	}
	return dns.n_young < YOUNG_MAX && dns.flying - dns.late + dns.late / 4 < dns.set.query_limit;
}

/* Those in the line whose turn has come; and those who have to be asked over TCP. Nothing of c-ares is on the stack. */
static void
go_on(void)
{
	if (!dns.ready)
		return;
	for (struct list *l; (l = list_pop(&dns.odd)) != NULL;)
		send_by(list_entry(l, struct dns_flight, line), true);
	while (dns.waiting > 0 && has_room()) {
		struct list *l = list_empty(&dns.line) ? &dns.ahead : &dns.line;
		struct dns_flight *f = list_entry(l->next, struct dns_flight, line);
		leave_line(f);
		launch(f);
	}
	if (dns.waiting > 0 && dns.n_young >= YOUNG_MAX)
		timer_set(&dns.more, YOUNG_USEC);
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
	if (in_line(f) && list_empty(&f->waiters))
		flight_free(f);
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
	return in_line(f) || now - f->launched < (now - f->began) / 2 ? &too_many : &timed_out;
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
	struct dns_flight *f = find_flight(type, name);
	bool is_first = f == NULL || (in_line(f) && f->is_ahead), goes = is_first && list_empty(&dns.line) && has_room(), waits = is_first && !goes;
	if (waits && dns.waiting >= dns.set.queue_limit) {
		metric_add(M_dns_failures, 1);
		metric_add(M_dns_busy, 1);
		give(q, RC_TEMP, &too_many);
		return;
	}
	if (f == NULL)
		f = flight_new(type, name);
	else if (is_first)
		leave_line(f);
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
		enter_line(f, false);
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
	struct dns_flight *f = find_flight(type, name);
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
	struct dns_flight *f = find_flight(type, name);
	if (f != NULL) {
		f->and_hosts |= hosts;
		return;
	}
	if (!list_empty(&dns.line) || dns.flying + dns.waiting >= dns.set.query_limit / 4)
		return;
	f = flight_new(type, name);
	f->and_hosts = hosts;
	if (list_empty(&dns.ahead) && has_room())
		launch(f);
	else
		enter_line(f, true);
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
	flight_free(f);
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
	orphan(&f->by_udp);
	orphan(&f->by_tcp);
	not_young(f);
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
		rc = dns_answer_parse(packet, asked_name(f), f->type, &arena, &a);
	was.is_refused |= end == DNS_END_ANSWER && (a.rcode == RCODE_FORMERR || a.rcode == RCODE_NOTIMP || a.rcode == RCODE_BADVERS);
	f->is_insecure |= !trusted || !a.is_secure;
	if (was.by_tcp && end != DNS_END_ANSWER && f->by_udp != NULL && f->odd_tries > 0 && f->odd_tries < DNS_CASE_MISSES && dns.ready) {
		orphan(&f->by_udp); /* no TCP there: with another id and other letters; what comes back wrong again is the server's way */
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
	return asked_name(t->owner);
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
	dns.late += !f->is_late;
	f->is_late = true;
}

static void
on_odd(struct dns_try *t)
{
	struct dns_flight *f = t->owner;
	not_young(f);
	f->odd_tries++;
	if (f->by_tcp == NULL && !list_linked(&f->line))
		list_append(&dns.odd, &f->line);
}

static const struct dns_pool_ops pool_ops = { on_done, on_name, on_is_wanted, on_late, on_odd, go_on };
