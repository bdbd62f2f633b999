/* SPDX-License-Identifier: BSD-2-Clause */
/* A question is a flight: it belongs to the row of its list, and whoever asks the same joins it. */
#include "rbl/ask.h"

#include "base/mem.h"
#include "base/metric.h"
#include "dns/cache.h"
#include "rbl/row.h"

enum { PREFETCHES_MAX = DNS_PREFETCHES_MAX };

struct rbl_flight {
	struct hnode by_query;
	struct list by_row, waiters;
	struct rbl_row *row;
	struct op_owner ops;
	struct dns_query dns;
	struct timer doubt;          /* half the time is over */
	struct grave grave;
	uint64_t began, usec;
	bool is_held;                /* answered, and waits for the first probe of its list */
	size_t query_len;
	char query[];
};

static struct htab flights;
static size_t count;

static const struct dns_answer nothing = { .why = "not asked" };
static const struct dns_answer paused = { .why = "the list is paused: it does not answer" };
static const struct dns_answer out_of_use = { .why = "the list is out of use" };

const char *
rbl_said_name(enum rbl_said said)
{
	static const char *const names[RBL_SAIDS] = {
		"nothing", "not listed", "listed", "error", "timeout", "paused", "out of use", "busy",
	};
	return said < RBL_SAIDS ? names[said] : "";
}

static enum rc
rc_of(enum rbl_said said)
{
	return said == RBL_SAID_YES ? RC_OK : said == RBL_SAID_NO ? RC_NONE : RC_TEMP;
}

/* An answer with nothing but 127.255.255.x in it is as little of one as an error. */
enum rbl_said
rbl_said_of(enum rc rc, const struct dns_answer *a)
{
	switch (rc) {
	case RC_OK:
		return RBL_SAID_YES;
	case RC_NONE:
		return RBL_SAID_NO;
	case RC_TEMP:
		return a->trouble == DNS_TROUBLE_TIMEOUT ? RBL_SAID_TIMEOUT : a->trouble == DNS_TROUBLE_BUSY ? RBL_SAID_BUSY : RBL_SAID_ERROR;
	case RC_PERM:
		break;
	}
	return RBL_SAID_ERROR;
}

/* ---- flights ---- */

static uint64_t
flight_hash(const struct rbl_row *r, struct span query)
{
	return span_casehash(query) + (uint64_t)(uintptr_t)r;
}

static struct rbl_flight *
flight_find(const struct rbl_row *r, struct span query)
{
	for (struct hnode *n = htab_first(&flights, flight_hash(r, query)); n != NULL; n = htab_next(n)) {
		struct rbl_flight *f = container_of(n, struct rbl_flight, by_query);
		if (f->row == r && span_caseeq(span_of((const unsigned char *)f->query, f->query_len), query))
			return f;
	}
	return NULL;
}

static void
dig_flight(struct grave *g)
{
	struct rbl_flight *f = container_of(g, struct rbl_flight, grave);
	mem_free(&f);
}

/* Everybody who waits has his outcome; the flight is gone. */
static void
flight_end(struct rbl_flight *f, enum rbl_said said, const struct dns_answer *a)
{
	for (struct list *l; (l = list_pop(&f->waiters)) != NULL;) {
		struct rbl_ask *ask = list_entry(l, struct rbl_ask, by_flight);
		ask->flight = NULL;
		ask->said = said;
		ask->usec = f->usec;
		ask->answer = a;
		if (said == RBL_SAID_YES || said == RBL_SAID_NO)
			ask->answer = ask->owned = dns_answer_pack(a);
		op_finish(&ask->op, rc_of(said));
	}
	list_remove(&f->by_row);
	htab_remove(&flights, &f->by_query);
	count--;
	if (count == 0)
		htab_fini(&flights);
	timer_clear(&f->doubt);
	dns_query_fini(&f->dns);
	loop_bury(&f->grave, dig_flight); /* we may be in its own completion */
}

void
rbl_flights_end(struct rbl_row *r, enum rbl_said said)
{
	while (!list_empty(&r->flights))
		flight_end(list_entry(r->flights.next, struct rbl_flight, by_row), said, said == RBL_SAID_OUT ? &out_of_use : &paused);
}

void
rbl_flights_release(struct rbl_row *r)
{
	list_each(l, &r->flights) {
		struct rbl_flight *f = list_entry(l, struct rbl_flight, by_row);
		if (f->is_held)
			flight_end(f, rbl_said_of(f->dns.op.rc, f->dns.answer), f->dns.answer);
	}
}

static void
on_dns(struct op *op)
{
	struct rbl_flight *f = container_of(op, struct rbl_flight, dns.op);
	struct rbl_row *r = f->row;
	f->usec = loop_now() - f->began;
	f->is_held = true;
	timer_clear(&f->doubt);
	enum rbl_said said = rbl_said_of(op->rc, f->dns.answer);
	rbl_row_heard(r, said, f->dns.answer, f->usec);
	if (!list_linked(&f->by_row)) /* that ended it */
		return;
	if (rbl_row_is_unproven(r) && said == RBL_SAID_YES)
		return;
	flight_end(f, said, f->dns.answer);
}

/* Half the time is over and nothing has come, from nobody: then the list is asked for a sign of life, so that who comes next need
 * not find out again. */
static void
on_doubt(struct timer *t)
{
	struct rbl_flight *f = container_of(t, struct rbl_flight, doubt);
	uint64_t timeout = rbl_row_timeout(f->row);
	if (f->row->heard <= f->began && f->row->probing == PROBE_NONE)
		rbl_probe_start(f->row, PROBE_LIFE, timeout - timeout / 2, f->began);
}

static struct rbl_flight *
flight_new(struct rbl_row *r, struct span query)
{
	struct rbl_flight *f = mem_zalloc(sizeof *f + query.n + 1);
	uint64_t timeout = rbl_row_timeout(r);
	f->row = r;
	f->began = loop_now();
	f->query_len = query.n;
	if (query.n > 0)
		memcpy(f->query, query.p, query.n);
	list_init(&f->by_row);
	list_init(&f->waiters);
	list_append(&r->flights, &f->by_row);
	htab_insert(&flights, &f->by_query, flight_hash(r, query));
	count++;
	op_owner_init(&f->ops);
	dns_query_init(&f->dns, &f->ops, on_dns);
	timer_init(&f->doubt, on_doubt);
	if (rbl_row_has_health(r))
		timer_set(&f->doubt, timeout / 2);
	metric_add(M_rbl_questions, 1);
	dns_ask(&f->dns, DNS_A, query, timeout);
	return f;
}

/* ---- asking ---- */

static void
detach(struct op *op)
{
	struct rbl_ask *a = container_of(op, struct rbl_ask, op);
	list_remove(&a->by_flight);
	a->flight = NULL; /* the question goes on: what it says counts for the health of the list */
}

static const struct op_provider provider = { "dnsbl", detach };

void
rbl_ask_init(struct rbl_ask *a, struct op_owner *owner, op_fn *done)
{
	*a = (struct rbl_ask){ .answer = &nothing };
	op_init(&a->op, owner, done);
	list_init(&a->by_flight);
}

bool
rbl_ask_is_held_back(const struct rbl_ask *a)
{
	return a->flight != NULL && dns_is_held_back(&a->flight->dns);
}

void
rbl_ask_fini(struct rbl_ask *a)
{
	op_cancel(&a->op);
	mem_free(&a->owned);
	a->answer = &nothing;
}

/* What can be said without asking. */
static bool
known(const struct rbl_row *r, struct span query, enum rbl_said *said, struct dns_query *q)
{
	enum rc rc;
	if (rbl_row_is_unproven(r) || !dns_known(q, DNS_A, query, &rc))
		return false;
	*said = rbl_said_of(rc, q->answer);
	return true;
}

bool
rbl_ask_now(struct rbl_ask *a, enum rbl_kind kind, struct span domain, struct span query)
{
	struct rbl_row *r = rbl_row_get(kind, domain);
	struct dns_query q = { 0 };
	mem_free(&a->owned);
	a->answer = &nothing;
	a->usec = 0;
	a->said = RBL_SAID_NOTHING;
	rbl_row_look(r);
	if (r->state != RBL_USABLE) {
		a->said = r->state == RBL_OUT ? RBL_SAID_OUT : RBL_SAID_PAUSED;
		a->answer = r->state == RBL_OUT ? &out_of_use : &paused;
		r->skipped++;
		metric_add(M_rbl_skipped, 1);
		return true;
	}
	if (known(r, query, &a->said, &q)) {
		a->answer = q.answer;
		a->owned = q.owned;
		return true;
	}
	struct rbl_flight *f = flight_find(r, query);
	if (f == NULL)
		f = flight_new(r, query);
	a->flight = f;
	op_pend(&a->op, &provider);
	list_append(&f->waiters, &a->by_flight);
	return false;
}

void
rbl_prefetch(enum rbl_kind kind, struct span domain, struct span query)
{
	struct rbl_row *r = rbl_row_get(kind, domain);
	struct dns_query q = { 0 };
	enum rbl_said said;
	rbl_row_look(r);
	if (r->state != RBL_USABLE || count >= PREFETCHES_MAX || flight_find(r, query) != NULL)
		return;
	if (!known(r, query, &said, &q))
		(void)flight_new(r, query);
	mem_free(&q.owned);
}
