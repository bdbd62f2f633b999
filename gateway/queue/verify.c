/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/verify.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "map/remote.h"
#include "policy/rewrite.h"
#include "policy/verify_sender.h"
#include "queue/edge.h"
#include "queue/record.h"
#include "queue/relay.h"
#include "queue/sched.h"
#include "queue/verify_cache.h"

#include <unistd.h>

enum {
	PROBE_MAGIC = 0x9206be00,
	PROBE_BYTES_MAX = 1 << 20,
	ADDRESS_BYTES = 1024,
	TRIES_MAX = 2,                 /* relays that may end with it */
	STORE_BYTES = 32 << 20,        /* without a configuration: unit tests */
	WAITERS = 1000,                /* the same */
	BURY_AT_ONCE = 200,
};
#define UNSENT_USEC (100 * USEC_PER_SEC)  /* no relay took it */
#define BURY_REST_USEC UINT64_C(20000)
#define WARN_USEC (60 * USEC_PER_SEC)

struct verifier {
	struct queue *q;
	struct verify_cache cache;
	struct htab by_addr, by_job;
	struct list probes;              /* all */
	size_t count;
	struct timer sweep;
	uint64_t warned;                 /* loop time */
};

struct probe {
	unsigned magic;
	struct verifier *v;
	struct hnode by_addr, by_job;
	struct list link;                /* of all */
	struct list queued;              /* in dest->probes */
	struct list waiters;
	struct op_owner ops;
	struct map_wait maps;
	struct timer unsent;
	struct arena arena;
	struct span addr;                /* as asked */
	struct span from;                /* whose question it is, before anything is rewritten */
	struct span sender, rcpt;        /* as it is sent */
	struct spool_id id;              /* for the log */
	uint64_t begun, active;          /* wall clock */
	struct dest *dest;               /* held; NULL: not routed yet */
	struct relay *relay;             /* has it; NULL: none */
	uint64_t job;
	unsigned tries;
};

struct waiter {
	struct list link;
	struct edge *edge;
	uint64_t call;
	struct timer timer;
};

static void route_probe(struct probe *p);
static void serve(struct verifier *v, struct dest *d);
static bool transport_has_room(const struct transport *t);
static void serve_transport(struct verifier *v, const struct transport *t);
static void on_sweep(struct timer *t);

/* ---- answers ---- */

static void
answer(struct edge *ed, uint64_t call, enum verify_status status, bool foreign, struct span text)
{
	struct msg_verified m = { status, foreign, status == VERIFY_OK ? SPAN_EMPTY : text };
	msg_verified_put(ipc_answer_begin(ed->chan, call), &m);
	ipc_end(ed->chan);
}

static void
waiter_free(struct waiter *w)
{
	w->edge->nverifying--;
	list_remove(&w->link);
	timer_clear(&w->timer);
	mem_free(&w);
}

static void
on_patience_over(struct timer *t)
{
	struct waiter *w = container_of(t, struct waiter, timer);
	answer(w->edge, w->call, VERIFY_TODO, false, SPAN_EMPTY);
	waiter_free(w);
}

void
verify_edge_gone(struct queue *q, const struct edge *ed)
{
	if (q->verify == NULL)
		return;
	list_each(l, &q->verify->probes)
		list_each(wl, &list_entry(l, struct probe, link)->waiters)
			if (list_entry(wl, struct waiter, link)->edge == ed)
				waiter_free(list_entry(wl, struct waiter, link));
}

/* ---- a probe's life ---- */

static uint64_t
job_hash(uint64_t job)
{
	return job * UINT64_C(0x9e3779b97f4a7c15) >> 16;
}

static struct probe *
find_probe(const struct verifier *v, struct span addr)
{
	for (struct hnode *n = htab_first(&v->by_addr, span_casehash(addr)); n != NULL; n = htab_next(n)) {
		struct probe *p = container_of(n, struct probe, by_addr);
		if (span_caseeq(p->addr, addr))
			return p;
	}
	return NULL;
}

static void
leave_relay(struct probe *p)
{
	if (p->relay == NULL)
		return;
	htab_remove(&p->v->by_job, &p->by_job);
	p->relay->njobs--;
	p->relay = NULL;
	p->dest->probing--;
	p->dest->transport->probing--;
}

static void
probe_free(struct probe *p)
{
	struct verifier *v = p->v;
	CHECK(p, PROBE_MAGIC);
	list_each(l, &p->waiters)
		waiter_free(list_entry(l, struct waiter, link));
	bool was_full = p->dest != NULL && !transport_has_room(p->dest->transport);
	leave_relay(p);
	list_remove(&p->queued);
	list_remove(&p->link);
	htab_remove(&v->by_addr, &p->by_addr);
	v->count--;
	timer_clear(&p->unsent);
	map_wait_fini(&p->maps);
	ops_cancel_all(&p->ops);
	struct dest *d = p->dest;
	arena_fini(&p->arena);
	mem_poison(p, sizeof *p);
	mem_free(&p);
	if (d != NULL) {
		serve(v, d);
		if (was_full)
			serve_transport(v, d->transport);
		dest_release(&v->q->dests, d);
	}
}

/* It is over: whoever waits is told, and it is remembered. */
static void
finish(struct probe *p, enum verify_status status, bool foreign, struct span dsn, struct span text)
{
	struct verifier *v = p->v;
	uint64_t now = clock_wall();
	struct verify_entry e = { .status = status, .foreign = foreign, .updated = now, .probed = p->begun, .dsn = dsn, .text = text };
	verify_cache_learn(&v->cache, p->addr, &e);
	list_each(l, &p->waiters) {
		struct waiter *w = list_entry(l, struct waiter, link);
		answer(w->edge, w->call, status, foreign, text);
		waiter_free(w);
	}
	probe_free(p);
}

/* Decided here, without asking anybody. */
static void
finish_here(struct probe *p, enum verify_status status, const char *service, struct span dsn, struct span text)
{
	struct env_rcpt r = { .addr = p->rcpt, .orig = p->addr };
	record_probe(&p->id, p->begun, &r, p->v->q->set.delay_digits, service, dsn, status == VERIFY_OK ? "deliverable" : "undeliverable", text);
	finish(p, status, false, dsn, text);
}

/* ---- where to ask ---- */

static void
on_maps(struct op *op)
{
	struct probe *p = container_of(op, struct probe, maps.op);
	CHECK(p, PROBE_MAGIC);
	route_probe(p);
}

static void
on_unsent(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, unsent);
	CHECK(p, PROBE_MAGIC);
	finish_here(p, VERIFY_DEFER, "error", SPAN("4.3.0"), SPAN("mail transport unavailable"));
}

/* As a message for the address would be rewritten. true: go on; else the probe is over, or waits. */
static bool
rewrite_probe(struct probe *p)
{
	struct queue *q = p->v->q;
	const struct rewriter *w = q->router != NULL ? router_rewriter(q->router) : NULL;
	struct env_rcpt rcpt = { .addr = p->addr, .notify = NOTIFY_NEVER };
	struct envelope env = { .arrival = p->begun, .flags = MSGF_INTERNAL, .sender = p->from, .nrcpt = 1, .rcpt = &rcpt }, out;
	const struct rewrite_extra extra = { .no_bcc = true };
	struct err e = { .why = "" };
	p->sender = p->from; /* this may be done again */
	p->rcpt = p->addr;
	if (w == NULL || rewrite_is_idle(w, &env, &extra))
		return true;
	switch (rewrite_envelope(w, &env, &extra, &p->arena, &out, &e)) {
	case RC_OK:
		break;
	case RC_NONE:
	case RC_TEMP:
		if (map_asked())
			map_wait_start(&p->maps);
		else
			finish_here(p, VERIFY_DEFER, "cleanup", SPAN("4.3.0"), SPAN("queue file write error"));
		return false;
	case RC_PERM:
		finish_here(p, VERIFY_DEFER, "cleanup", SPAN("4.6.0"), SPAN("Alias expansion error"));
		return false;
	}
	if (out.nrcpt != 1) { /* whether one of them fails is not for the client to know now */
		finish_here(p, VERIFY_OK, "cleanup", SPAN("2.0.0"), SPAN("aliased to multiple recipients"));
		return false;
	}
	p->sender = out.sender;
	p->rcpt = out.rcpt[0].addr;
	return true;
}

static void
queue_probe(struct probe *p, struct transport *t, struct span nexthop)
{
	struct queue *q = p->v->q;
	p->dest = dest_get(&q->dests, t, nexthop, p->rcpt);
	const struct reason *dead = dest_dead(&q->dests, p->dest, loop_now());
	if (dead != NULL) {
		struct span text = arena_span(&p->arena, reason_text(dead)), dsn = arena_span(&p->arena, reason_dsn(dead));
		struct env_rcpt r = { .addr = p->rcpt, .orig = p->addr };
		record_probe(&p->id, p->begun, &r, q->set.delay_digits, "error", dsn, "undeliverable", text);
		finish(p, VERIFY_DEFER, true, dsn, text);
		return;
	}
	list_append(&p->dest->probes, &p->queued);
	timer_set(&p->unsent, UNSENT_USEC);
	serve(p->v, p->dest);
}

static void
route_probe(struct probe *p)
{
	struct queue *q = p->v->q;
	struct route r;
	struct span dsn, text;
	map_forget();
	if (!rewrite_probe(p))
		return;
	if (q->router != NULL) {
		router_lookup_probe(q->router, p->sender, p->rcpt, &r);
	} else {
		struct env_rcpt rcpt = { .addr = p->rcpt };
		queue_route(q, &(struct envelope){ .nrcpt = 1, .rcpt = &rcpt }, 0, &r);
	}
	switch (r.kind) {
	case ROUTE_AGAIN:
		map_wait_start(&p->maps);
		return;
	case ROUTE_NONE:
	case ROUTE_WAIT:
		finish_here(p, VERIFY_DEFER, "error", r.dsn, r.text);
		return;
	case ROUTE_FAIL:
		finish_here(p, VERIFY_BOUNCE, "error", r.dsn, r.text);
		return;
	case ROUTE_DROP:
		finish_here(p, VERIFY_OK, "discard", SPAN("2.0.0"), SPAN("mail to the double-bounce address is discarded"));
		return;
	case ROUTE_DELIVER:
		break;
	}
	struct transport *t = transport_get(&q->dests, q->conf, r.transport);
	if (t->deferred) {
		finish_here(p, VERIFY_DEFER, "error", SPAN("4.3.2"), SPAN("deferred transport"));
		return;
	}
	switch (t->program) {
	case PROGRAM_NONE:
	case PROGRAMS:
		finish_here(p, VERIFY_DEFER, "error", SPAN("4.3.0"), SPAN("mail transport unavailable"));
		return;
	case PROGRAM_ERROR:
		if (strcmp(t->name, "retry") == 0) {
			route_reason(r.nexthop, '4', "4.0.0", &dsn, &text);
			finish_here(p, VERIFY_DEFER, "error", dsn, text);
		} else {
			route_reason(r.nexthop, '5', "5.0.0", &dsn, &text);
			finish_here(p, VERIFY_BOUNCE, "error", dsn, text);
		}
		return;
	case PROGRAM_DISCARD:
		route_reason(r.nexthop, '2', "2.0.0", &dsn, &text);
		finish_here(p, VERIFY_OK, "discard", dsn, text);
		return;
	case PROGRAM_SMTP:
	case PROGRAM_LMTP:
		queue_probe(p, t, r.nexthop);
		return;
	}
}

/* ---- asking ---- */

static void
send_probe(struct probe *p, struct relay *r)
{
	struct queue *q = p->v->q;
	char id[SPOOL_ID_TEXT];
	p->active = clock_wall();
	p->job = ++q->next_job;
	p->relay = r;
	p->tries++;
	r->njobs++;
	p->dest->probing++;
	p->dest->transport->probing++;
	htab_insert(&p->v->by_job, &p->by_job, job_hash(p->job));
	struct msg_job head = {
		.job = p->job, .arrival = p->begun, .active = p->active,
		.transport = span_str(p->dest->transport->name), .nexthop = dest_nexthop(p->dest),
		.qid = span_of(id, spool_id_text(&p->id, id)), .sender = p->sender, .flags = MSGF_PROBE, .nrcpt = 1,
	};
	struct job_rcpt rcpt = { .notify = NOTIFY_NEVER, .addr = p->rcpt, .orig = span_eq(p->addr, p->rcpt) ? SPAN_EMPTY : p->addr };
	struct buf *b = ipc_begin(r->chan, IPC_JOB, 0);
	msg_job_put(b, &head);
	msg_job_rcpt_put(b, &rcpt);
	ipc_end(r->chan);
}

/* Whoever names thousands of domains whose hosts never answer must not use up the connections mail needs. */
static bool
transport_has_room(const struct transport *t)
{
	return t->set.max_jobs == 0 || t->probing < (t->set.max_jobs + 1) / 2;
}

/* As many of the destination's probes as it may have at a time. */
static void
serve(struct verifier *v, struct dest *d)
{
	struct queue *q = v->q;
	unsigned limit = d->transport->set.initial_concurrency;
	while (!list_empty(&d->probes) && d->probing < (limit > 0 ? limit : 1) && transport_has_room(d->transport) && relay_any(q) && !q->draining) {
		struct probe *p = list_entry(list_pop(&d->probes), struct probe, queued);
		timer_clear(&p->unsent);
		send_probe(p, relay_choose(q, d));
	}
}

/* A place of the transport is free: those who waited for it, oldest first. */
static void
serve_transport(struct verifier *v, const struct transport *t)
{
	list_each(l, &v->probes) {
		struct probe *p = list_entry(l, struct probe, link);
		if (!transport_has_room(t))
			return;
		if (p->dest != NULL && p->dest->transport == t && list_linked(&p->queued))
			serve(v, p->dest);
	}
}

void
verify_relay_here(struct queue *q)
{
	if (q->verify == NULL)
		return;
	list_each(l, &q->verify->probes) {
		struct probe *p = list_entry(l, struct probe, link);
		if (p->dest != NULL && p->relay == NULL)
			serve(q->verify, p->dest);
	}
}

/* It may have died of the hub's answer: another relay tries it once. */
void
verify_relay_gone(struct queue *q, struct relay *r)
{
	if (q->verify == NULL)
		return;
	struct list lost;
	list_init(&lost);
	list_each(l, &q->verify->probes) {
		struct probe *p = list_entry(l, struct probe, link);
		if (p->relay != r)
			continue;
		leave_relay(p);
		list_append(&lost, &p->queued);
	}
	for (struct list *l; (l = list_pop(&lost)) != NULL;) {
		struct probe *p = list_entry(l, struct probe, queued);
		if (p->tries >= TRIES_MAX) {
			finish_here(p, VERIFY_DEFER, "error", SPAN("4.3.0"), SPAN("the delivery process died"));
			continue;
		}
		list_append(&p->dest->probes, &p->queued);
		timer_set(&p->unsent, UNSENT_USEC);
	}
	verify_relay_here(q);
}

static enum verify_status
status_of(enum rcpt_status s)
{
	return s == RCPT_SENT ? VERIFY_OK : s == RCPT_BOUNCED ? VERIFY_BOUNCE : VERIFY_DEFER;
}

/* What it says about the destination is true for mail as well. */
static void
take_health(struct queue *q, struct dest *d, const struct msg_job_done *done, struct span dsn)
{
	if (done->health == JOB_HUB_OK)
		dest_worked(&q->dests, d);
	if (done->health != JOB_HUB_DOWN)
		return;
	struct reason *why = reason_get(&q->table.reasons, dsn_code_valid(dsn) ? dsn : SPAN("4.4.1"), done->reason, SPAN_EMPTY, SPAN_EMPTY);
	if (dest_failed(&q->dests, d, loop_now(), why))
		sched_dying(q, d);
	reason_unref(&q->table.reasons, &why);
}

/* The rest of what was to be asked there is not asked any more. */
static void
give_up_dead(struct queue *q, struct dest *d)
{
	while (!list_empty(&d->probes)) {
		const struct reason *dead = dest_dead(&q->dests, d, loop_now());
		if (dead == NULL)
			return;
		struct reason *kept = reason_ref(d->dead_why);
		struct probe *p = list_entry(list_pop(&d->probes), struct probe, queued);
		struct span dsn = arena_span(&p->arena, reason_dsn(kept)), text = arena_span(&p->arena, reason_text(kept));
		reason_unref(&q->table.reasons, &kept);
		finish(p, VERIFY_DEFER, true, dsn, text);
	}
}

enum rc
verify_job_done(struct queue *q, struct relay *r, const struct msg_job_done *done)
{
	struct probe *p = NULL;
	struct rcpt_result res;
	struct cur results = done->results;
	if (q->verify != NULL)
		for (struct hnode *n = htab_first(&q->verify->by_job, job_hash(done->job)); n != NULL && p == NULL; n = htab_next(n))
			if (container_of(n, struct probe, by_job)->job == done->job)
				p = container_of(n, struct probe, by_job);
	if (p == NULL || p->relay != r || !done->last || done->nresult != 1 || done->health == JOB_OURS || msg_result_get(&results, &res) != RC_OK || res.index != 0)
		return RC_PERM;
	struct dest *d = p->dest;
	d->holds++;
	take_health(q, d, done, res.dsn);
	finish(p, status_of(res.status), true, res.dsn, res.text);
	give_up_dead(q, d);
	dest_release(&q->dests, d);
	return RC_OK;
}

/* ---- questions ---- */

static void
warn_full(struct verifier *v)
{
	metric_add(M_verify_refused, 1);
	if (v->warned != 0 && loop_now() < v->warned + WARN_USEC)
		return;
	v->warned = loop_now();
	log_warn(NULL, "address_verify_pending_request_limit (%u) is reached: no more probes until some are answered", (unsigned)v->cache.set.pending_limit);
}

/* NULL: there are too many. It is not routed yet: it could be over before its first waiter is there. */
static struct probe *
probe_new(struct verifier *v, struct span addr)
{
	struct queue *q = v->q;
	if (q->draining)
		return NULL;
	if (v->count >= v->cache.set.pending_limit) {
		warn_full(v);
		return NULL;
	}
	struct probe *p = mem_zalloc(sizeof *p);
	p->magic = PROBE_MAGIC;
	p->v = v;
	p->begun = clock_wall();
	p->id = spool_id_next((uint32_t)getpid());
	list_init(&p->link);
	list_init(&p->queued);
	list_init(&p->waiters);
	op_owner_init(&p->ops);
	map_wait_init(&p->maps, &p->ops, on_maps);
	timer_init(&p->unsent, on_unsent);
	arena_init(&p->arena, PROBE_BYTES_MAX);
	p->addr = arena_span(&p->arena, addr);
	struct buf sender;
	buf_init(&sender, ADDRESS_BYTES);
	if (q->conf != NULL)
		verify_sender_put(conf_params(q->conf), p->begun, &sender);
	p->from = p->sender = arena_span(&p->arena, buf_span(&sender));
	buf_fini(&sender);
	htab_insert(&v->by_addr, &p->by_addr, span_casehash(p->addr));
	list_append(&v->probes, &p->link);
	v->count++;
	metric_add(M_verify_probes, 1);
	return p;
}

static bool
is_own_sender(const struct queue *q, struct span addr)
{
	return q->conf != NULL && verify_sender_is(conf_params(q->conf), addr, clock_wall());
}

/* Of one edge: each of its sessions waits for one answer at a time. */
static uint64_t
waiters_max(const struct queue *q)
{
	return q->conf != NULL ? (uint64_t)conf_params(q->conf)->p_edge_session_limit : WAITERS;
}

static void
ask_probe(struct verifier *v, struct edge *ed, uint64_t call, const struct msg_verify *m)
{
	struct probe *p = find_probe(v, m->addr);
	bool is_new = p == NULL;
	if (ed->nverifying >= waiters_max(v->q)) { /* it hears "not yet", as when its patience is over */
		metric_add(M_verify_refused, 1);
		p = NULL;
	} else if (is_new) {
		p = probe_new(v, m->addr);
	}
	if (p == NULL) {
		answer(ed, call, VERIFY_TODO, false, SPAN_EMPTY);
		return;
	}
	struct waiter *w = mem_zalloc(sizeof *w);
	w->edge = ed;
	ed->nverifying++;
	w->call = call;
	list_init(&w->link);
	list_append(&p->waiters, &w->link);
	timer_init(&w->timer, on_patience_over);
	timer_set(&w->timer, m->wait_usec);
	if (is_new)
		route_probe(p);
}

enum rc
verify_ask(struct queue *q, struct edge *ed, uint64_t call, struct span payload)
{
	struct verifier *v = q->verify;
	struct msg_verify m;
	struct verify_entry e;
	if (msg_verify_get(payload, &m) != RC_OK || m.addr.n == 0 || m.addr.n > ADDRESS_BYTES || !span_is_printable(m.addr))
		return RC_PERM;
	metric_add(M_verify_asked, 1);
	if (v == NULL || is_own_sender(q, m.addr)) {
		answer(ed, call, v == NULL ? VERIFY_TODO : VERIFY_OK, false, SPAN_EMPTY);
		return RC_OK;
	}
	if (verify_cache_get(&v->cache, m.addr, &e) != RC_OK) {
		ask_probe(v, ed, call, &m);
		return RC_OK;
	}
	metric_add(M_verify_known, 1);
	answer(ed, call, e.status, e.foreign, e.text);
	uint64_t now = clock_wall();
	if (!verify_cache_is_due(&v->cache, &e, now) || find_probe(v, m.addr) != NULL)
		return RC_OK;
	unsigned char dsn[64], text[STORE_VALUE_MAX]; /* what is known is written back: it must not lie in the store then */
	memcpy(dsn, e.dsn.p, e.dsn.n < sizeof dsn ? e.dsn.n : (e.dsn.n = sizeof dsn));
	memcpy(text, e.text.p, e.text.n < sizeof text ? e.text.n : (e.text.n = sizeof text));
	e.dsn.p = dsn;
	e.text.p = text;
	struct probe *p = probe_new(v, m.addr);
	if (p == NULL)
		return RC_OK;
	verify_cache_probing(&v->cache, m.addr, &e, now);
	route_probe(p);
	return RC_OK;
}

/* ---- the verifier ---- */

static void
plan_sweep(struct verifier *v)
{
	if (v->cache.store != NULL && v->cache.set.cleanup > 0)
		timer_set(&v->sweep, v->cache.set.cleanup);
}

static void
on_sweep(struct timer *t)
{
	struct verifier *v = container_of(t, struct verifier, sweep);
	if (v->cache.store != NULL && store_bury(v->cache.store, BURY_AT_ONCE))
		timer_set(&v->sweep, BURY_REST_USEC);
	else
		plan_sweep(v);
}

void
verify_open(struct queue *q, const char *dir)
{
	struct verifier *v = q->verify = mem_zalloc(sizeof *v);
	struct err e = { .why = "" };
	const struct params *p = q->conf != NULL ? conf_params(q->conf) : NULL;
	v->q = q;
	list_init(&v->probes);
	timer_init(&v->sweep, on_sweep);
	verify_settings_read(&v->cache.set, q->conf);
	size_t size = p != NULL ? (size_t)p->p_address_verify_cache_size : STORE_BYTES;
	if (store_open(dir, "verified", size, &v->cache.store, &e) != RC_OK)
		log_warn(NULL, "%s: results of address verification are not kept", e.why);
	else if (p != NULL && p->p_address_verify_map[0] == '\0') /* nothing is to outlive a restart */
		store_empty(v->cache.store);
	plan_sweep(v);
}

void
verify_reload(struct queue *q)
{
	if (q->verify == NULL)
		return;
	verify_settings_read(&q->verify->cache.set, q->conf);
	timer_clear(&q->verify->sweep);
	plan_sweep(q->verify);
}

void
verify_fini(struct queue *q)
{
	struct verifier *v = q->verify;
	if (v == NULL)
		return;
	list_each(l, &v->probes) {
		struct probe *p = list_entry(l, struct probe, link);
		list_remove(&p->queued); /* nobody takes its place */
		probe_free(p);
	}
	timer_clear(&v->sweep);
	store_close(&v->cache.store);
	htab_fini(&v->by_addr);
	htab_fini(&v->by_job);
	mem_free(&q->verify);
}

void
verify_status(const struct queue *q)
{
	const struct verifier *v = q->verify;
	metric_set(M_verify_pending, v != NULL ? (int64_t)v->count : 0);
	metric_set(M_verify_entries, v != NULL && v->cache.store != NULL ? (int64_t)store_count(v->cache.store) : 0);
}
