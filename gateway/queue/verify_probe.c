/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/verify_probe.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "policy/rewrite.h"
#include "policy/verify_sender.h"
#include "queue/edge.h"
#include "queue/record.h"
#include "queue/relay.h"
#include "queue/sched.h"
#include "queue/verify.h"

#include <unistd.h>

enum {
	PROBE_MAGIC = 0x9206be00,
	PROBE_BYTES_MAX = 1 << 20,
	TRIES_MAX = 2,                 /* relays that may end with it */
};
#define UNSENT_USEC (100 * USEC_PER_SEC)  /* no relay took it */
#define WARN_USEC (60 * USEC_PER_SEC)

struct waiter {
	struct list link;
	struct edge *edge;
	uint64_t call;
	struct timer timer;
};

static void serve(struct verifier *v, struct dest *d);
static bool transport_has_room(const struct transport *t);
static void serve_transport(struct verifier *v, const struct transport *t);

/* ---- answers ---- */

void
verify_answer(struct edge *ed, uint64_t call, enum verify_status status, bool foreign, struct span text)
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
	verify_answer(w->edge, w->call, VERIFY_TODO, false, SPAN_EMPTY);
	waiter_free(w);
}

void
probe_await(struct probe *p, struct edge *ed, uint64_t call, uint64_t usec)
{
	struct waiter *w = mem_zalloc(sizeof *w);
	w->edge = ed;
	ed->nverifying++;
	w->call = call;
	list_init(&w->link);
	list_append(&p->waiters, &w->link);
	timer_init(&w->timer, on_patience_over);
	timer_set(&w->timer, usec);
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

struct probe *
probe_find(const struct verifier *v, struct span addr)
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

void
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
		verify_answer(w->edge, w->call, status, foreign, text);
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
	probe_route(p);
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

void
probe_route(struct probe *p)
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

static void
warn_full(struct verifier *v)
{
	metric_add(M_verify_refused, 1);
	if (v->warned != 0 && loop_now() < v->warned + WARN_USEC)
		return;
	v->warned = loop_now();
	log_warn(NULL, "address_verify_pending_request_limit (%u) is reached: no more probes until some are answered", (unsigned)v->cache.set.pending_limit);
}

struct probe *
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
	buf_init(&sender, VERIFY_ADDRESS_MAX);
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
