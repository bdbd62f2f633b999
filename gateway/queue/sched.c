/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/sched.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/rand.h"
#include "queue/attempt.h"
#include "queue/relay.h"
#include "queue/state.h"

enum { SLICE = 256, SHARES = 4 };  /* a destination may take one of so many shares of the active places */
#define CLOCK_JUMP (3600 * (int64_t)USEC_PER_SEC)
#define GRACE_AFTER_JUMP (86400 * USEC_PER_SEC)
#define GRACE_AFTER_ABSENCE (2 * 3600 * USEC_PER_SEC)   /* short: a gateway that is restarted every day must expire mail too */

static void
on_timer(struct timer *t)
{
	sched_poke(container_of(t, struct queue, timer));
}

static int64_t
wall_ahead(void)
{
	return (int64_t)clock_wall() - (int64_t)clock_mono();
}

void
sched_init(struct queue *q)
{
	timer_init(&q->timer, on_timer);
	list_init(&q->dying);
	list_init(&q->suspects);
	q->wall_ahead = wall_ahead();
}

void
sched_stop(struct queue *q)
{
	timer_clear(&q->timer);
}

void
sched_fini(struct queue *q)
{
	sched_stop(q);
	heap_fini(&q->incoming);
	heap_fini(&q->deferred);
	heap_fini(&q->flushed);
}

/* ---- the clock ---- */

/* Nothing expires for a fifth of the lifetime, or limit; returns that in seconds. */
static unsigned long long
give_grace(struct queue *q, uint64_t limit)
{
	uint64_t grace = q->set.lifetime / 5 < limit ? q->set.lifetime / 5 : limit;
	q->no_expiry_until = loop_now() + grace;
	return (unsigned long long)(grace / USEC_PER_SEC);
}

void
sched_was_away(struct queue *q, uint64_t usec)
{
	unsigned long long grace = give_grace(q, GRACE_AFTER_ABSENCE);
	log_info(NULL, "the newest trace in the spool is %llu seconds old: no mail expires in the next %llu seconds",
	    (unsigned long long)(usec / USEC_PER_SEC), grace);
}

static void
watch_clock(struct queue *q)
{
	int64_t ahead = wall_ahead(), moved = ahead - q->wall_ahead, half = (int64_t)USEC_PER_SEC / 2;
	q->wall_ahead = ahead;
	if (moved > CLOCK_JUMP || moved < -CLOCK_JUMP)
		log_warn(NULL, "the clock moved by %lld seconds at once: no mail expires in the next %llu seconds",
		    (long long)((moved + (moved < 0 ? -half : half)) / (int64_t)USEC_PER_SEC), give_grace(q, GRACE_AFTER_JUMP));
}

bool
sched_may_expire(const struct queue *q)
{
	return loop_now() >= q->no_expiry_until;
}

uint64_t
backoff_clamp(uint64_t age, uint64_t minimal, uint64_t maximal)
{
	return age < minimal ? minimal : age > maximal ? maximal : age;
}

uint64_t
sched_backoff(const struct queue *q, const struct message *m)
{
	uint64_t now = clock_wall(), age = now > m->arrival ? now - m->arrival : 0;
	uint64_t delay = backoff_clamp(age, q->set.minimal_backoff, q->set.maximal_backoff);
	uint32_t room = delay / 10 < UINT32_MAX ? (uint32_t)(delay / 10) : UINT32_MAX;
	return delay + (room > 0 ? rand_below(room) : 0);
}

/* ---- where messages wait ---- */

void
sched_take(struct queue *q, struct message *m)
{
	if (m->due.slot == 0)
		return;
	if (m->flags & MF_PARKED) {
		struct dest *d = m->parked_at;
		heap_remove(&d->parked, &m->due);
		if (d->parked.count == 0)
			list_remove(&d->parking);
		m->flags &= (uint8_t)~MF_PARKED;
		m->parked_at = NULL;
		dest_release(&q->dests, d);
	} else if (m->flags & MF_FLUSHED) {
		heap_remove(&q->flushed, &m->due);
		m->flags &= (uint8_t)~MF_FLUSHED;
	} else {
		heap_remove(m->queue == MQ_INCOMING ? &q->incoming : &q->deferred, &m->due);
	}
}

static uint32_t
share(const struct queue *q)
{
	return q->set.active_limit / SHARES + 1;
}

/* The destination of a message for one recipient, held; NULL: none, or nothing can be said. */
static struct dest *
only_dest(struct queue *q, struct message *m)
{
	struct arena arena;
	struct envelope env;
	struct route r;
	struct dest *d = NULL;
	arena_init(&arena, 65536);
	message_decode(m, &arena, &env);
	queue_route(q, &env, 0, &r);
	if (r.kind == ROUTE_DELIVER) {
		struct transport *t = transport_get(&q->dests, q->conf, r.transport);
		if ((t->program == PROGRAM_SMTP || t->program == PROGRAM_LMTP) && !t->deferred)
			d = dest_get(&q->dests, t, r.nexthop, env.rcpt[0].addr);
	}
	arena_fini(&arena);
	return d;
}

static void
warn_clogged(struct queue *q, const struct dest *d)
{
	uint64_t now = loop_now();
	if (q->set.clog_warn == 0 || (q->clog_warned != 0 && now < q->clog_warned + q->set.clog_warn))
		return;
	q->clog_warned = now;
	struct buf text;
	buf_init(&text, LOG_FIELD_MAX);
	buf_puts(&text, "mail for ");
	buf_put_safe(&text, dest_nexthop(d), 128, true);
	buf_printf(&text, " is using up %u of %u active queue entries", (unsigned)d->active, (unsigned)q->set.active_limit);
	LOG(warning, NULL, F_SPAN(text, buf_span(&text)));
	buf_fini(&text);
}

bool
sched_park(struct queue *q, struct message *m)
{
	if (q->active < share(q) || m->nrcpt != 1 || m->open != 1 || m->strikes > 0)
		return false;
	struct dest *d = only_dest(q, m);
	if (d == NULL)
		return false;
	if (d->active < share(q) || dest_dead(&q->dests, d, loop_now()) != NULL) {
		dest_release(&q->dests, d);
		return false;
	}
	warn_clogged(q, d);
	m->flags = (uint8_t)((m->flags & ~MF_FLUSHED) | MF_PARKED);
	m->parked_at = d;
	message_set_queue(&q->table, m, MQ_INCOMING);
	heap_put(&d->parked, &m->due, q->next_seq++);
	if (!list_linked(&d->parking))
		list_append(&q->dests.parking, &d->parking);
	return true;
}

/* Those whose destination has room again. true: there is more than a slice of it. */
static bool
unpark(struct queue *q)
{
	int n = 0;
	list_each(l, &q->dests.parking) {
		struct dest *d = list_entry(l, struct dest, parking);
		while (d->parked.count > 0 && d->active < share(q) && q->active < q->set.active_limit) {
			if (n++ == SLICE)
				return true;
			struct message *m = container_of(heap_min(&d->parked), struct message, due);
			bool was_last = d->parked.count == 1;
			sched_take(q, m);
			attempt_begin(q, m);
			if (was_last)
				break; /* nobody may hold the destination any more */
		}
	}
	return false;
}

void
sched_new(struct queue *q, struct message *m)
{
	if (q->active < q->set.active_limit && q->incoming.count == 0 && !q->draining) {
		if (!sched_park(q, m))
			attempt_begin(q, m);
		return;
	}
	message_set_queue(&q->table, m, MQ_INCOMING);
	heap_put(&q->incoming, &m->due, q->next_seq++);
}

static void
wait_until(struct queue *q, struct message *m, uint64_t when)
{
	message_set_queue(&q->table, m, MQ_DEFERRED);
	heap_put(&q->deferred, &m->due, when);
}

void
sched_defer(struct queue *q, struct message *m, uint64_t delay, bool state)
{
	wait_until(q, m, loop_now() + delay);
	if (state)
		sched_write_state(q, m);
}

void
sched_recovered(struct queue *q, struct message *m, uint64_t due_wall, uint64_t ramp)
{
	uint64_t now = clock_wall();
	uint64_t delay = due_wall > now ? due_wall - now : 0;
	if (delay > q->set.maximal_backoff) /* written under another clock */
		delay = q->set.maximal_backoff;
	if (delay == 0 && ramp > 0)
		delay = rand_below(ramp < UINT32_MAX ? (uint32_t)ramp : UINT32_MAX);
	wait_until(q, m, loop_now() + delay);
}

void
sched_hold(struct queue *q, struct message *m)
{
	message_set_queue(&q->table, m, MQ_HOLD);
	sched_write_state(q, m);
}

void
sched_requeue(struct queue *q, struct message *m)
{
	for (uint32_t i = 0; i < m->nrcpt; i++)
		if (message_status(m)[i] == RS_OPEN)
			message_set_why(&q->table, m, i, NULL);
	wait_until(q, m, loop_now());
	sched_write_state(q, m);
}

void
sched_flush(struct queue *q, struct message *m)
{
	if (m->queue != MQ_DEFERRED || (m->flags & MF_FLUSHED))
		return;
	sched_take(q, m);
	m->flags |= MF_FLUSHED;
	heap_put(&q->flushed, &m->due, q->next_seq++);
}

void
sched_flush_all(struct queue *q)
{
	dest_revive_all(&q->dests);
	if (q->flushed.count == 0) { /* the whole heap changes its name: no walk */
		struct heap h = q->flushed;
		q->flushed = q->deferred;
		q->deferred = h;
		for (uint32_t i = 0; i < q->flushed.count; i++)
			container_of(q->flushed.nodes[i], struct message, due)->flags |= MF_FLUSHED;
		return;
	}
	while (q->deferred.count > 0)
		sched_flush(q, container_of(q->deferred.nodes[q->deferred.count - 1], struct message, due));
}

void
sched_finish(struct queue *q, struct message *m)
{
	sched_take(q, m);
	spool_done(q->spool, &m->spool);
	metric_add(M_queue_finished, 1);
	message_free(&q->table, &m);
}

uint64_t
sched_next_attempt(const struct queue *q, const struct message *m)
{
	(void)q;
	if (m->queue != MQ_DEFERRED || m->due.slot == 0)
		return 0;
	uint64_t now = loop_now();
	if ((m->flags & (MF_FLUSHED | MF_PARKED)) || m->due.key <= now)
		return clock_wall();
	return clock_wall() + (m->due.key - now);
}

void
sched_state_head(const struct queue *q, const struct message *m, struct buf *out)
{
	struct state_head h = {
		.next_attempt = sched_next_attempt(q, m),
		.flags = m->flags & MF_DURABLE,
		.strikes = m->strikes,
		.held = m->queue == MQ_HOLD,
		.tried = m->queue == MQ_DEFERRED,
	};
	state_put(out, &h, (struct message *)(uintptr_t)m);
}

void
sched_write_state(struct queue *q, struct message *m)
{
	struct buf b;
	buf_init(&b, 64 + m->nrcpt * (size_t)(8 + 4 * (REASON_MAX + 4)));
	sched_state_head(q, m, &b);
	spool_state(q->spool, &m->spool, buf_span(&b), NULL);
	m->flags |= MF_HAS_STATE;
	buf_fini(&b);
}

/* ---- the turn ---- */

static struct message *
take_min(struct heap *h)
{
	struct heap_node *n = heap_min(h);
	heap_remove(h, n);
	return container_of(n, struct message, due);
}

/* New mail and mail that waits take turns, so that neither starves the other. */
static struct message *
pick(struct queue *q, uint64_t now)
{
	const struct heap_node *late = heap_min(&q->deferred);
	bool waiting = q->flushed.count > 0 || (late != NULL && late->key <= now);
	if (q->incoming.count == 0 && !waiting)
		return NULL;
	bool old = waiting && (q->incoming.count == 0 || q->turn_of_deferred);
	q->turn_of_deferred = !old;
	if (!old)
		return take_min(&q->incoming);
	return take_min(q->flushed.count > 0 ? &q->flushed : &q->deferred);
}

/* true: there is more than one slice of it */
static bool
fill(struct queue *q, uint64_t now)
{
	for (int n = 0; n < SLICE; n++) {
		if (q->active >= q->set.active_limit)
			return false;
		struct message *m = pick(q, now);
		if (m == NULL)
			return false;
		if (!sched_park(q, m))
			attempt_begin(q, m);
	}
	return true;
}

void
sched_dying(struct queue *q, struct dest *d)
{
	list_splice(&q->dying, &d->groups);
	dest_update(&q->dests, d, loop_now());
}

static bool
bury_dying(struct queue *q, uint64_t now)
{
	for (int n = 0; n < SLICE; n++) {
		struct list *l = list_pop(&q->dying);
		if (l == NULL)
			return false;
		struct group *g = list_entry(l, struct group, link);
		const struct reason *dead = dest_dead(&q->dests, g->dest, now);
		if (dead == NULL) { /* came back to life meanwhile */
			list_append(&g->dest->groups, &g->link);
			dest_update(&q->dests, g->dest, now);
			continue;
		}
		struct reason *kept = reason_ref(g->dest->dead_why);
		group_suspend(g, kept);
		reason_unref(&q->table.reasons, &kept);
	}
	return true;
}

static void
dispatch(struct queue *q)
{
	if (q->draining)
		return;
	relay_suspects(q);
	while (!list_empty(&q->dests.ready)) {
		if (!relay_any(q))
			return;
		struct dest *d = dest_next(&q->dests);
		(void)relay_send(q, relay_choose(q, d), list_entry(d->groups.next, struct group, link));
	}
}

static void
set_timer(struct queue *q, bool more, uint64_t now, uint64_t resume)
{
	uint64_t when = more ? now : resume;
	const struct heap_node *late = heap_min(&q->deferred);
	if (late != NULL && late->key < when && q->active < q->set.active_limit)
		when = late->key;
	if (!list_empty(&q->suspects) && q->suspect_jobs > 0 && relay_any(q) && q->suspect_since + SUSPECT_ALONE < when)
		when = q->suspect_since + SUSPECT_ALONE;
	if (when == UINT64_MAX || q->draining) {
		if (q->timer.armed)
			timer_clear(&q->timer);
		q->timer_at = 0;
		return;
	}
	if (q->timer.armed && q->timer_at == when)
		return;
	q->timer_at = when;
	timer_set(&q->timer, when > now ? when - now : 0);
}

void
sched_poke(struct queue *q)
{
	uint64_t now = loop_now();
	watch_clock(q);
	bool more = bury_dying(q, now);
	if (!q->draining) {
		more = unpark(q) || more;
		more = fill(q, now) || more;
	}
	uint64_t resume = dest_resume(&q->dests, now);
	dispatch(q);
	set_timer(q, more, now, resume);
}

void
queue_route(struct queue *q, const struct envelope *env, uint32_t rcpt, struct route *out)
{
	struct span addr = env->rcpt[rcpt].addr;
	if (env->filter.n > 0) {
		route_to_filter(env->filter, q->set.filter_nexthop, addr, out);
		return;
	}
	if (q->router != NULL) {
		router_lookup(q->router, env->sender, addr, out);
		return;
	}
	size_t at = span_rchr(addr, '@');
	*out = (struct route){ .kind = ROUTE_DELIVER, .transport = SPAN("smtp"), .nexthop = at != SIZE_MAX ? span_from(addr, at + 1) : addr };
}
