/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/orders.h"

#include "queue/attempt.h"
#include "queue/record.h"
#include "queue/sched.h"

enum { Q_INCOMING = 1 << MQ_INCOMING, Q_ACTIVE = 1 << MQ_ACTIVE, Q_DEFERRED = 1 << MQ_DEFERRED, Q_HOLD = 1 << MQ_HOLD };

static const struct {
	unsigned queues;
	const char *total;
} rows[] = {
#define ORDER(name, queues, total, doc) { queues, total },
#include "queue/orders.def"
#undef ORDER
};

bool
order_id_valid(struct span id)
{
	if (id.n < 6 || id.n >= SPOOL_ID_TEXT)
		return false;
	for (size_t i = 0; i < id.n; i++) {
		unsigned char c = id.p[i];
		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')))
			return false;
	}
	return true;
}

struct message *
order_find(const struct queue *q, struct span text)
{
	struct spool_id id;
	if (!order_id_valid(text) || spool_id_parse(text, &id) != RC_OK)
		return NULL;
	struct spool_msg *sm = spool_find(q->spool, &id);
	struct message *m = sm != NULL ? container_of(sm, struct message, spool) : NULL;
	return m != NULL && m->queue != MQ_NONE ? m : NULL;
}

unsigned
order_default_queues(enum order order)
{
	return rows[order].queues;
}

void
order_total(struct buf *out, enum order order, uint64_t count)
{
	if (count > 0)
		buf_printf(out, "postsuper: %s: %llu message%s\n", rows[order].total, (unsigned long long)count, count == 1 ? "" : "s");
}

/* Waiting messages leave their heap; an active one hears it through its attempt. */
static bool
stop_active(struct message *m, enum attempt_order what)
{
	if (m->queue != MQ_ACTIVE)
		return false;
	attempt_stop(m->attempt, what);
	return true;
}

static void
give_delete(struct queue *q, struct message *m)
{
	if (stop_active(m, ORDER_DELETE))
		return;
	record_removed(m, true);
	sched_finish(q, m);
}

static void
give_hold(struct queue *q, struct message *m)
{
	record_order(m, RECORD_HELD);
	if (stop_active(m, ORDER_HOLD))
		return;
	sched_take(q, m);
	sched_hold(q, m);
}

static void
give_release(struct queue *q, struct message *m)
{
	record_order(m, RECORD_RELEASED);
	sched_take(q, m);
	sched_defer(q, m, 0, true);
}

static void
give_requeue(struct queue *q, struct message *m)
{
	record_order(m, RECORD_REQUEUED);
	if (stop_active(m, ORDER_REQUEUE))
		return;
	sched_take(q, m);
	sched_requeue(q, m);
}

static void
give_expire(struct queue *q, struct message *m)
{
	record_order(m, RECORD_EXPIRED);
	m->flags |= MF_FORCE_EXPIRE;
	sched_write_state(q, m);
}

bool
order_give(struct queue *q, struct message *m, enum order order)
{
	if ((rows[order].queues & 1u << m->queue) == 0)
		return false;
	switch (order) {
	case ORDER_KIND_DELETE: give_delete(q, m); return true;
	case ORDER_KIND_HOLD: give_hold(q, m); return true;
	case ORDER_KIND_RELEASE: give_release(q, m); return true;
	case ORDER_KIND_REQUEUE: give_requeue(q, m); return true;
	case ORDER_KIND_EXPIRE: give_expire(q, m); return true;
	case ORDER_KINDS: break;
	}
	return false;
}

void
order_flush(struct queue *q, struct message *m)
{
	if (m->queue != MQ_DEFERRED)
		return;
	struct arena arena;
	struct envelope env;
	arena_init(&arena, 64 * 1024 * 1024);
	message_decode(m, &arena, &env);
	const uint8_t *status = message_status(m);
	for (uint32_t i = 0; i < m->nrcpt; i++) { /* what it waits for is asked again */
		struct route r;
		if (status[i] != RS_OPEN)
			continue;
		queue_route(q, &env, i, &r);
		if (r.kind != ROUTE_DELIVER)
			continue;
		struct transport *t = transport_get(&q->dests, q->conf, r.transport);
		if (t->program != PROGRAM_SMTP && t->program != PROGRAM_LMTP)
			continue;
		struct dest *d = dest_get(&q->dests, t, r.nexthop, env.rcpt[i].addr);
		dest_revive(&q->dests, d);
		dest_release(&q->dests, d);
	}
	arena_fini(&arena);
	sched_flush(q, m);
}

bool
order_goes_to(const struct message *m, struct span site)
{
	if (m->queue != MQ_DEFERRED || site.n == 0)
		return false;
	size_t site_at = span_rchr(site, '@');
	if (site_at != SIZE_MAX)
		site = span_from(site, site_at + 1);
	struct arena arena;
	struct envelope env;
	arena_init(&arena, 64 * 1024 * 1024);
	message_decode(m, &arena, &env);
	const uint8_t *status = (const uint8_t *)(m->why + m->nrcpt);
	bool found = false;
	for (uint32_t i = 0; i < m->nrcpt && !found; i++) {
		size_t at = span_rchr(env.rcpt[i].addr, '@');
		found = status[i] == RS_OPEN && at != SIZE_MAX && span_caseeq(span_from(env.rcpt[i].addr, at + 1), site);
	}
	arena_fini(&arena);
	return found;
}
