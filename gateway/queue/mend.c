/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a crash left of releases. A copy in the spool without a state, and a release the store knows to be under way, are
 * looked at one by one, before any new release:
 *
 *	the store says releasing, the spool has the copy     the release is finished, the copy goes
 *	the store says releasing, the spool has none         they are held again
 *	the store says released as this copy, or knows nothing of the message     the copy goes
 *	the store says held                                  the copy is one the spool could not take back: it is removed
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/queue.h"
#include "queue/release.h"
#include "queue/sched.h"

#define RETRY_USEC (2 * USEC_PER_SEC)

struct limbo {
	struct list link;            /* in quarantine.limbo */
	struct spool_id id, copy;
	bool known;                  /* id is */
	bool pending;                /* the store says releasing */
};

static void next_limbo(struct queue *q);

static struct queue *
queue_of(struct op *op)
{
	struct quarantine *k = container_of(container_of(op, struct quar_req, op), struct quarantine, look);
	return container_of(k, struct queue, quarantine);
}

static struct quar_req *
renew(struct queue *q, op_fn *done)
{
	struct quar_req *r = &q->quarantine.look;
	if (q->quarantine.has_look)
		quar_req_fini(r);
	q->quarantine.has_look = true;
	quar_req_init(r, &q->ops, done);
	return r;
}

static struct limbo *
first(struct queue *q)
{
	return list_entry(q->quarantine.limbo.next, struct limbo, link);
}

static bool
same(const struct spool_id *a, const struct spool_id *b)
{
	return a->usec == b->usec && a->serial == b->serial;
}

static void
on_again(struct timer *t)
{
	struct queue *q = container_of(container_of(t, struct quarantine, again), struct queue, quarantine);
	next_limbo(q);
	sched_poke(q);
}

static void
later(struct queue *q)
{
	timer_set(&q->quarantine.again, RETRY_USEC);
}

/* NULL: the spool has none, or it is on its way already. */
static struct message *
copy_of(struct queue *q, const struct spool_id *copy)
{
	struct spool_msg *sm = spool_find(q->spool, copy);
	struct message *m = sm != NULL ? container_of(sm, struct message, spool) : NULL;
	return m != NULL && m->queue == MQ_NONE ? m : NULL;
}

static void
limbo_over(struct queue *q)
{
	struct limbo *l = first(q);
	list_remove(&l->link);
	mem_free(&l);
	next_limbo(q);
}

static void
let_go(struct queue *q)
{
	struct message *m = copy_of(q, &first(q)->copy);
	if (m != NULL)
		sched_new(q, m);
	limbo_over(q);
}

static void
on_asked(struct op *op)
{
	struct queue *q = queue_of(op);
	struct quarantine *k = &q->quarantine;
	const struct limbo *l = first(q);
	if (op->rc == RC_TEMP) {
		later(q);
		return;
	}
	bool is_ours = op->rc != RC_OK || k->look.nrows == 0;
	for (uint32_t i = 0; !is_ours && i < k->look.rows[0].nrcpt; i++)
		is_ours = same(&k->look.rows[0].rcpt[i].copy, &l->copy);
	struct message *m = copy_of(q, &l->copy);
	if (is_ours || m == NULL) {
		let_go(q);
	} else {
		log_warn(NULL, "quarantine: the copy of a release that was taken back is removed");
		sched_finish(q, m);
		limbo_over(q);
	}
	sched_poke(q);
}

static void
on_mended(struct op *op)
{
	struct queue *q = queue_of(op);
	if (op->rc == RC_TEMP) {
		later(q);
		return;
	}
	let_go(q);
	sched_poke(q);
}

static void
add(struct quarantine *k, const struct spool_id *id, const struct spool_id *copy, bool pending)
{
	struct limbo *l = NULL;
	list_each(it, &k->limbo)
		if (same(&list_entry(it, struct limbo, link)->copy, copy))
			l = list_entry(it, struct limbo, link);
	if (l == NULL) {
		l = mem_zalloc(sizeof *l);
		list_init(&l->link);
		list_append(&k->limbo, &l->link);
	}
	l->copy = *copy;
	l->pending = pending;
	l->known = id != NULL;
	if (id != NULL)
		l->id = *id;
}

static void
on_pending(struct op *op)
{
	struct queue *q = queue_of(op);
	struct quarantine *k = &q->quarantine;
	if (op->rc == RC_TEMP) {
		later(q);
		return;
	}
	k->knows_pending = true;
	for (size_t i = 0; op->rc == RC_OK && i < k->look.n; i++)
		add(k, &k->look.releasing[i].id, &k->look.releasing[i].copy, true);
	if (!list_empty(&k->limbo))
		log_info(NULL, "quarantine: releases that were under way are looked at");
	next_limbo(q);
	sched_poke(q);
}

static void
next_limbo(struct queue *q)
{
	struct quarantine *k = &q->quarantine;
	if (!k->knows_pending) {
		quar_pending(k->store, renew(q, on_pending));
		return;
	}
	if (list_empty(&k->limbo)) {
		k->is_mending = false;
		return;
	}
	const struct limbo *l = first(q);
	if (l->pending && copy_of(q, &l->copy) != NULL)
		quar_finish_release(k->store, renew(q, on_mended), &l->id, &l->copy);
	else if (l->pending)
		quar_undo_release(k->store, renew(q, on_mended), &l->id, &l->copy);
	else if (l->known)
		quar_get(k->store, renew(q, on_asked), &l->id);
	else
		let_go(q);
}

/* "quarantine[ID]" of the client */
static bool
held_as(const struct message *m, struct spool_id *out)
{
	struct arena arena;
	struct envelope env;
	arena_init(&arena, 64 * 1024 * 1024);
	message_decode(m, &arena, &env);
	struct span s = env.client;
	bool ok = span_starts(s, SPAN(RELEASE_CLIENT)) && s.n > strlen(RELEASE_CLIENT) &&
	    spool_id_parse(span_head(span_from(s, strlen(RELEASE_CLIENT)), s.n - strlen(RELEASE_CLIENT) - 1), out) == RC_OK;
	arena_fini(&arena);
	return ok;
}

void
mend_start(struct queue *q)
{
	struct quarantine *k = &q->quarantine;
	list_each(it, &q->table.all) {
		struct message *m = list_entry(it, struct message, all);
		struct spool_id id;
		if (m->queue == MQ_NONE)
			add(k, held_as(m, &id) ? &id : NULL, &m->spool.id, false);
	}
	k->is_mending = k->store != NULL || !list_empty(&k->limbo);
	timer_init(&k->again, on_again);
	if (k->store != NULL)
		next_limbo(q);
	else if (!list_empty(&k->limbo))
		log_warn(NULL, "quarantine: released mail waits until the quarantine can be asked whether it was released");
}

void
mend_stop(struct queue *q)
{
	struct quarantine *k = &q->quarantine;
	timer_clear(&k->again);
	if (k->has_look)
		quar_req_fini(&k->look);
	k->has_look = false;
	list_each(it, &k->limbo) {
		struct limbo *l = list_entry(it, struct limbo, link);
		list_remove(&l->link);
		mem_free(&l);
	}
}
