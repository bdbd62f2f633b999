/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/attempt.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "queue/delays.h"
#include "queue/quarantine.h"
#include "queue/record.h"
#include "queue/report.h"
#include "queue/sched.h"

enum { ATTEMPT_MAGIC = 0xa77e3b70, ATTEMPT_BYTES_MAX = 512 * 1024 * 1024 };

static bool place_rcpt(struct attempt *a, uint32_t i);
static void place_all(struct attempt *a);
static void on_maps(struct op *op);
static void end_attempt(struct attempt *a);
static void settle(struct attempt *a);

void
attempt_begin(struct queue *q, struct message *m)
{
	BUG_ON(m->due.slot != 0 || m->queue == MQ_ACTIVE);
	struct attempt *a = mem_zalloc(sizeof *a);
	a->magic = ATTEMPT_MAGIC;
	a->q = q;
	a->m = m;
	a->number = ++q->next_attempt;
	a->active = clock_wall();
	a->ignore_defer = (m->flags & MF_FLUSHED) != 0;
	m->flags &= (uint8_t)~MF_FLUSHED;
	list_init(&a->link);
	list_init(&a->groups);
	list_append(&q->attempts, &a->link);
	arena_init(&a->arena, ATTEMPT_BYTES_MAX);
	message_decode(m, &a->arena, &a->env);
	a->next = arena_alloc(&a->arena, m->nrcpt * sizeof *a->next);
	BUG_ON(a->next == NULL);
	m->attempt = a;
	message_set_queue(&q->table, m, MQ_ACTIVE);
	q->active++;
	record_active(m, &a->env);
	a->unrouted = a->to_store = NO_RCPT;
	op_owner_init(&a->ops);
	map_wait_init(&a->maps, &a->ops, on_maps);
	for (uint32_t i = m->nrcpt; i-- > 0;)
		if (message_status(m)[i] == RS_OPEN) {
			a->next[i] = a->unrouted;
			a->unrouted = i;
		}
	place_all(a);
}

/* Recipients whose route needs an answer stay on the chain; the others go their way meanwhile. */
static void
place_all(struct attempt *a)
{
	uint32_t i = a->unrouted, *tail = &a->unrouted;
	a->in_begin = true;
	map_forget();
	while (i != NO_RCPT) {
		uint32_t next = a->next[i];
		if (!place_rcpt(a, i)) {
			*tail = i;
			tail = &a->next[i];
		}
		i = next;
	}
	*tail = NO_RCPT;
	if (a->to_store != NO_RCPT)
		quarantine_put(a);
	a->in_begin = false;
	if (a->unrouted != NO_RCPT)
		map_wait_start(&a->maps);
	else
		map_wait_fini(&a->maps);
	attempt_check(a);
}

static void
on_maps(struct op *op)
{
	struct attempt *a = container_of(op, struct attempt, maps.op);
	struct queue *q = a->q;
	CHECK(a, ATTEMPT_MAGIC);
	if (a->order == ORDER_NONE)
		place_all(a);
	sched_poke(q);
}

static void
attempt_free(struct attempt *a)
{
	struct queue *q = a->q;
	BUG_ON(a->jobs != 0 || a->reports != 0 || !list_empty(&a->groups));
	q->active--;
	map_wait_fini(&a->report_maps);
	list_remove(&a->link);
	map_wait_fini(&a->maps);
	arena_fini(&a->arena);
	mem_poison(a, sizeof *a);
	mem_free(&a);
}

/* ---- groups ---- */

static struct group *
group_for(struct attempt *a, struct dest *d)
{
	if (d->owner == a->number) {
		dest_release(&a->q->dests, d); /* the group holds it already */
		return d->group;
	}
	struct group *g = arena_zalloc(&a->arena, sizeof *g);
	BUG_ON(g == NULL);
	g->a = a;
	g->dest = d;
	list_init(&g->link);
	list_init(&g->by_attempt);
	list_append(&a->groups, &g->by_attempt);
	list_append(message_is_suspect(a->m) ? &a->q->suspects : &d->groups, &g->link);
	d->owner = a->number;
	d->group = g;
	d->active++;
	return g;
}

void
group_free(struct group *g)
{
	struct dest *d = g->dest;
	list_remove(&g->link);
	list_remove(&g->by_attempt);
	if (d->group == g)
		d->owner = 0;
	d->active--;
	dest_update(&g->a->q->dests, d, loop_now());
	dest_release(&g->a->q->dests, d);
}

static void
group_add(struct group *g, uint32_t rcpt)
{
	g->a->next[rcpt] = NO_RCPT;
	if (g->n++ == 0)
		g->first = rcpt;
	else
		g->a->next[g->last] = rcpt;
	g->last = rcpt;
}

/* ---- placing recipients ---- */

void
attempt_log(const struct attempt *a, uint32_t rcpt, const char *service, struct span dsn, const char *status, struct span text)
{
	const struct env_rcpt *r = &a->env.rcpt[rcpt];
	record_local(a->m, r, a->active, a->q->set.delay_digits, service, dsn, status, text);
}

static void
local_bounce(struct attempt *a, uint32_t i, struct span dsn, struct span text)
{
	attempt_log(a, i, "error", dsn, a->q->set.soft_bounce ? "SOFTBOUNCE" : "bounced", text);
	attempt_bounced(a, i, reason_get(&a->q->table.reasons, dsn, text, SPAN_EMPTY, SPAN_EMPTY));
}

static void
local_defer(struct attempt *a, uint32_t i, struct span dsn, struct span text)
{
	attempt_log(a, i, "error", dsn, "deferred", text);
	attempt_deferred(a, i, reason_get(&a->q->table.reasons, dsn, text, SPAN_EMPTY, SPAN_EMPTY));
}

static void
local_discard(struct attempt *a, uint32_t i, struct span text)
{
	struct rcpt_result r = { .status = RCPT_SENT, .dsn = SPAN("2.0.0"), .text = text };
	attempt_log(a, i, "discard", r.dsn, "sent", text);
	attempt_sent(a, i, PROGRAM_DISCARD, &r);
}

static struct reason *
suspended(struct reason_pool *pool, const struct reason *dead)
{
	struct buf text;
	buf_init(&text, 2 * REASON_MAX);
	buf_puts(&text, "delivery temporarily suspended: ");
	buf_put(&text, reason_text(dead));
	struct reason *r = reason_get(pool, reason_dsn(dead), buf_span(&text), SPAN_EMPTY, SPAN_EMPTY);
	buf_fini(&text);
	return r;
}

static void
suspend_rcpt(struct attempt *a, uint32_t i, const struct reason *dead)
{
	struct reason *why = suspended(&a->q->table.reasons, dead);
	attempt_log(a, i, "error", reason_dsn(why), "deferred", reason_text(why));
	/* a new wording of a state that is on disk is not worth another record */
	bool was_changed = a->changed, had_reason = a->m->why[i] != NULL;
	attempt_deferred(a, i, why);
	if (had_reason)
		a->changed = was_changed;
}

static void
place_for_relay(struct attempt *a, uint32_t i, struct transport *t, struct span nexthop)
{
	struct queue *q = a->q;
	struct dest *d = dest_get(&q->dests, t, nexthop, a->env.rcpt[i].addr);
	const struct reason *dead = dest_dead(&q->dests, d, loop_now());
	if (dead != NULL) {
		suspend_rcpt(a, i, dead);
		dest_release(&q->dests, d);
		return;
	}
	struct group *g = group_for(a, d);
	group_add(g, i);
	if (g->n == 1)
		dest_update(&q->dests, d, loop_now());
}

static void
place_by(struct attempt *a, uint32_t i, struct transport *t, struct span nexthop)
{
	struct span dsn, text;
	if (t->deferred && !a->ignore_defer) {
		local_defer(a, i, SPAN("4.3.2"), SPAN("deferred transport"));
		return;
	}
	switch (t->program) {
	case PROGRAM_NONE:
	case PROGRAMS:
		local_defer(a, i, SPAN("4.3.0"), SPAN("mail transport unavailable"));
		return;
	case PROGRAM_ERROR:
		if (strcmp(t->name, "retry") == 0) {
			route_reason(nexthop, '4', "4.0.0", &dsn, &text);
			local_defer(a, i, dsn, text);
		} else {
			route_reason(nexthop, '5', "5.0.0", &dsn, &text);
			local_bounce(a, i, dsn, text);
		}
		return;
	case PROGRAM_DISCARD:
		route_reason(nexthop, '2', "2.0.0", &dsn, &text);
		local_discard(a, i, text);
		return;
	case PROGRAM_SMTP:
	case PROGRAM_LMTP:
		place_for_relay(a, i, t, nexthop);
		return;
	}
}

/* false: its route is not known yet. */
static bool
place_rcpt(struct attempt *a, uint32_t i)
{
	struct queue *q = a->q;
	struct route r;
	if (a->env.rcpt[i].notify & NOTIFY_EXPANDED) { /* its destinations are recipients of their own */
		struct rcpt_result told = { .status = RCPT_SENT, .dsn = SPAN("2.0.0"), .text = SPAN("alias expanded") };
		attempt_sent(a, i, PROGRAM_LMTP, &told);
		return true;
	}
	if (a->env.rcpt[i].held) {
		enum held_place place = quarantine_place(a, i);
		if (place != HELD_GOES_ON)
			return place == HELD_PLACED;
	}
	queue_route(q, &a->env, i, &r);
	switch (r.kind) {
	case ROUTE_NONE:
	case ROUTE_WAIT:
		local_defer(a, i, r.dsn, r.text);
		return true;
	case ROUTE_AGAIN:
		return false;
	case ROUTE_FAIL:
		local_bounce(a, i, r.dsn, r.text);
		return true;
	case ROUTE_DROP:
		record_warning(a->m, "undeliverable postmaster notification discarded");
		local_discard(a, i, SPAN("mail to the double-bounce address is discarded"));
		return true;
	case ROUTE_DELIVER:
		break;
	}
	place_by(a, i, transport_get(&q->dests, q->conf, r.transport), r.nexthop);
	return true;
}

void
attempt_ours(struct attempt *a, uint32_t rcpt, const struct transport *via)
{
	struct queue *q = a->q;
	struct route r;
	route_to_filter(span_str(q->set.best_mx_transport), "", a->env.rcpt[rcpt].addr, &r);
	struct transport *t = transport_get(&q->dests, q->conf, r.transport);
	if (r.transport.n == 0 || t == via)
		local_defer(a, rcpt, SPAN("4.4.6"), SPAN("mail loops back to myself"));
	else
		place_by(a, rcpt, t, r.nexthop);
}

void
group_suspend(struct group *g, const struct reason *dead)
{
	struct attempt *a = g->a;
	for (uint32_t i = g->first; g->n > 0; i = a->next[i], g->n--)
		suspend_rcpt(a, i, dead);
	group_free(g);
	attempt_check(a);
}

/* ---- results ---- */

void
attempt_sent(struct attempt *a, uint32_t rcpt, enum program by, const struct rcpt_result *r)
{
	struct message *m = a->m;
	bool wants_report = (a->env.rcpt[rcpt].notify & NOTIFY_SUCCESS) != 0 && !r->dsn_passed && a->env.sender.n > 0;
	message_set_status(m, rcpt, !wants_report ? RS_FINISHED : by == PROGRAM_SMTP ? RS_RELAYED : RS_DELIVERED);
	message_set_why(&a->q->table, m, rcpt, wants_report ? reason_get(&a->q->table.reasons, r->dsn, r->text, r->mta, r->diag) : NULL);
	a->changed = true;
	a->finished++;
	if (a->env.flags & MSGF_RELEASED)
		quarantine_outcome(a, rcpt, true);
	metric_add(M_queue_attempts, 1);
}

void
attempt_kept(struct attempt *a, uint32_t rcpt)
{
	message_set_status(a->m, rcpt, RS_FINISHED);
	message_set_why(&a->q->table, a->m, rcpt, NULL);
	a->changed = true;
	a->finished++;
	metric_add(M_queue_attempts, 1);
}

void
attempt_deferred(struct attempt *a, uint32_t rcpt, struct reason *why)
{
	if (a->m->why[rcpt] != why)
		a->changed = true;
	message_set_why(&a->q->table, a->m, rcpt, why);
	metric_add(M_queue_attempts, 1);
}

void
attempt_bounced(struct attempt *a, uint32_t rcpt, struct reason *why)
{
	struct reason_pool *pool = &a->q->table.reasons;
	if (a->q->set.soft_bounce) {
		unsigned char dsn[16] = "4.0.0";
		struct span was = reason_dsn(why);
		size_t n = was.n < sizeof dsn ? was.n : 5;
		memcpy(dsn, was.p, n);
		dsn[0] = '4';
		struct reason *soft = reason_get(pool, span_of(dsn, n), reason_text(why), reason_mta(why), reason_diag(why));
		reason_unref(pool, &why);
		attempt_deferred(a, rcpt, soft);
		return;
	}
	attempt_failed(a, rcpt, why);
}

void
attempt_failed(struct attempt *a, uint32_t rcpt, struct reason *why)
{
	message_set_status(a->m, rcpt, RS_FAILED);
	message_set_why(&a->q->table, a->m, rcpt, why);
	a->changed = true;
	if (a->env.flags & MSGF_RELEASED)
		quarantine_outcome(a, rcpt, false);
	metric_add(M_queue_attempts, 1);
}

/* ---- the end ---- */

void
attempt_check(struct attempt *a)
{
	CHECK(a, ATTEMPT_MAGIC);
	if (a->in_begin || a->jobs > 0 || a->reports > 0 || !list_empty(&a->groups))
		return;
	if (a->ending || a->order != ORDER_NONE)
		settle(a);
	else if (a->unrouted != NO_RCPT)
		return;
	else
		end_attempt(a);
}

void
attempt_stop(struct attempt *a, enum attempt_order order)
{
	a->order = (uint8_t)order;
	list_each(l, &a->groups)
		group_free(list_entry(l, struct group, by_attempt));
	attempt_check(a);
}

static bool
is_expired(const struct attempt *a)
{
	const struct queue *q = a->q;
	uint64_t lifetime = a->env.sender.n > 0 ? q->set.lifetime : q->set.bounce_lifetime;
	uint64_t now = clock_wall(), age = now > a->m->arrival ? now - a->m->arrival : 0;
	return age >= lifetime && (lifetime == 0 || sched_may_expire(q));
}

/* What is still open fails now; the reason is that of the last attempt. */
static void
expire(struct attempt *a, bool forced)
{
	struct message *m = a->m;
	record_expired(m, &a->env, forced);
	for (uint32_t i = 0; i < m->nrcpt; i++) {
		if (message_status(m)[i] != RS_OPEN || (a->env.rcpt[i].held && !forced)) /* nobody is told of what waits for the quarantine */
			continue;
		if (m->why[i] == NULL)
			message_set_why(&a->q->table, m, i,
			    forced ? reason_get(&a->q->table.reasons, SPAN("4.7.0"), SPAN("message is administratively expired"), SPAN_EMPTY, SPAN_EMPTY)
			           : reason_get(&a->q->table.reasons, SPAN("4.4.7"), SPAN("delivery time expired"), SPAN_EMPTY, SPAN_EMPTY));
		message_set_status(m, i, RS_FAILED);
		if (a->env.flags & MSGF_RELEASED)
			quarantine_outcome(a, i, false);
	}
	a->changed = true;
}

static void
end_attempt(struct attempt *a)
{
	struct message *m = a->m;
	a->ending = true;
	bool forced = (m->flags & MF_FORCE_EXPIRE) != 0;
	if (m->open > 0 && (forced || is_expired(a)))
		expire(a, forced);
	report_start(a);
	if (a->reports == 0)
		settle(a);
}

void
attempt_report_done(struct attempt *a, bool ok)
{
	CHECK(a, ATTEMPT_MAGIC);
	BUG_ON(a->reports == 0);
	a->reports--;
	if (!ok)
		a->reports_failed = true;
	if (a->reports == 0)
		settle(a);
}

/* The reports are on disk: what they told about is finished. Before that the original is not touched:
 * a crash in between repeats a report, it never loses one. */
static void
finish_reported(struct attempt *a)
{
	struct message *m = a->m;
	for (uint32_t i = 0; i < m->nrcpt; i++) {
		uint8_t s = message_status(m)[i];
		if (s == RS_FAILED || s == RS_RELAYED || s == RS_DELIVERED) {
			message_set_status(m, i, RS_FINISHED);
			message_set_why(&a->q->table, m, i, NULL);
			a->changed = true;
		}
	}
}

static bool
all_finished(struct message *m)
{
	if (m->open > 0)
		return false;
	for (uint32_t i = 0; i < m->nrcpt; i++)
		if (message_status(m)[i] != RS_FINISHED)
			return false;
	return true;
}

static void
settle(struct attempt *a)
{
	struct queue *q = a->q;
	struct message *m = a->m;
	enum attempt_order order = (enum attempt_order)a->order;
	if (a->ending && !a->reports_failed)
		finish_reported(a);
	else if (a->warned)
		m->flags &= (uint8_t)~MF_DELAY_WARNED;
	bool changed = a->changed || (m->flags & MF_HAS_STATE) == 0, reports_failed = a->reports_failed;
	m->attempt = NULL;
	attempt_free(a);
	message_set_queue(&q->table, m, MQ_NONE);
	if (all_finished(m) || order == ORDER_DELETE) {
		record_removed(m, order == ORDER_DELETE);
		sched_finish(q, m);
		return;
	}
	switch (order) {
	case ORDER_NONE:
	case ORDER_DELETE:
		sched_defer(q, m, reports_failed ? q->set.minimal_backoff : sched_backoff(q, m), changed);
		return;
	case ORDER_HOLD:
		sched_hold(q, m);
		return;
	case ORDER_REQUEUE:
		sched_requeue(q, m);
		return;
	}
}

void
attempt_abandon(struct attempt *a)
{
	struct queue *q = a->q;
	struct message *m = a->m;
	list_each(l, &a->groups)
		group_free(list_entry(l, struct group, by_attempt));
	a->jobs = a->reports = 0;
	m->attempt = NULL;
	attempt_free(a);
	message_set_queue(&q->table, m, MQ_NONE);
}
