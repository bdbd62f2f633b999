/* SPDX-License-Identifier: BSD-2-Clause */
/* What administrators order about held mail besides a release: delete, expire, allow. Each is logged with who did it. */
#include "queue/quarantine.h"

#include "base/log.h"
#include "base/mem.h"
#include "msg/addr.h"
#include "queue/queue.h"
#include "queue/release.h"

static void on_deleted(struct op *op);
static void on_expired(struct op *op);
static void on_row(struct op *op);
static void on_added(struct op *op);

/* What is still to be done when its asker is gone is in here. */
struct order_work {
	struct list link;            /* in q->quarantine.works */
	struct queue *q;
	struct quarantine_order *order; /* NULL: nobody waits any more */
	struct quar_req req;
	struct arena arena;
	struct spool_id id;
	struct span who, sender;
	struct span *addrs;
	size_t naddrs, at;
	bool for_everybody;
	uint32_t n;
};

/* ---- life ---- */

static void
forget_order(struct op *op)
{
	struct quarantine_order *o = container_of(op, struct quarantine_order, op);
	if (o->work != NULL)
		o->work->order = NULL;
	o->work = NULL;
}

static const struct op_provider working = { "quarantine order", forget_order };

static struct order_work *
work_new(struct quarantine_order *o, const struct spool_id *id, const struct span *addrs, size_t naddrs, struct span who, op_fn *done)
{
	struct order_work *w = mem_zalloc(sizeof *w);
	w->q = o->q;
	w->order = o;
	if (id != NULL)
		w->id = *id;
	arena_init(&w->arena, 64 * 1024 * 1024);
	w->who = arena_span(&w->arena, span_head(who, QUAR_WHO_MAX));
	w->addrs = naddrs > 0 ? arena_alloc(&w->arena, naddrs * sizeof *w->addrs) : NULL;
	for (size_t i = 0; i < naddrs && w->addrs != NULL; i++)
		w->addrs[w->naddrs++] = arena_span(&w->arena, addrs[i]);
	quar_req_init(&w->req, &w->q->ops, done);
	list_init(&w->link);
	list_append(&w->q->quarantine.works, &w->link);
	o->work = w;
	op_pend(&o->op, &working);
	return w;
}

static void
work_end(struct order_work *w, enum rc rc)
{
	struct quarantine_order *o = w->order;
	if (o != NULL) {
		o->work = NULL;
		o->n = w->n;
		o->why = w->req.why;
		op_finish(&o->op, rc);
	}
	quarantine_changed(w->q);
	list_remove(&w->link);
	quar_req_fini(&w->req);
	arena_fini(&w->arena);
	mem_free(&w);
}

void
orders_abandon(struct queue *q)
{
	list_each(l, &q->quarantine.works) {
		struct order_work *w = list_entry(l, struct order_work, link);
		if (w->order != NULL)
			w->order->work = NULL;
		w->order = NULL;
		work_end(w, RC_TEMP);
	}
}

void
quarantine_order_init(struct quarantine_order *o, struct queue *q, struct op_owner *owner, op_fn *done)
{
	*o = (struct quarantine_order){ .q = q };
	op_init(&o->op, owner, done);
}

void
quarantine_order_fini(struct quarantine_order *o)
{
	if (o->q != NULL)
		op_cancel(&o->op);
}

static bool
refused(struct quarantine_order *o)
{
	if (o->q->quarantine.store != NULL && !o->q->draining)
		return false;
	op_finish(&o->op, err_set(&o->why, RC_TEMP, "the quarantine is not available"));
	return true;
}

static struct order_work *
work_of(struct op *op)
{
	return container_of(container_of(op, struct quar_req, op), struct order_work, req);
}

struct log_about {
	char id[SPOOL_ID_TEXT];
	struct log_ctx ctx;
};

static const struct log_ctx *
about(struct log_about *a, const struct spool_id *id)
{
	a->ctx = (struct log_ctx){ .qid = span_of(a->id, spool_id_text(id, a->id)) };
	return &a->ctx;
}

/* ---- delete, expire ---- */

void
quarantine_delete(struct quarantine_order *o, const struct spool_id *id, const struct span *addrs, size_t naddrs, struct span who)
{
	if (refused(o))
		return;
	struct order_work *w = work_new(o, id, addrs, naddrs, who, on_deleted);
	quar_delete(w->q->quarantine.store, &w->req, id, w->addrs, w->naddrs, w->who);
}

static void
on_deleted(struct op *op)
{
	struct order_work *w = work_of(op);
	struct log_about a;
	w->n = (uint32_t)w->req.nrcpt;
	if (op->rc == RC_OK)
		LOG(quarantine_deleted, about(&a, &w->id), F_NUM(nrcpt, w->n), F_SPAN(reason, w->who));
	work_end(w, op->rc);
}

void
quarantine_expire(struct quarantine_order *o, struct span who)
{
	if (refused(o))
		return;
	struct order_work *w = work_new(o, NULL, NULL, 0, who, on_expired);
	quar_expire(w->q->quarantine.store, &w->req);
}

static void
on_expired(struct op *op)
{
	struct order_work *w = work_of(op);
	if (op->rc == RC_OK || op->rc == RC_NONE)
		w->n += (uint32_t)w->req.seen;
	if (op->rc == RC_OK && w->req.more) {
		quar_expire(w->q->quarantine.store, &w->req);
		return;
	}
	LOG(quarantine_swept, NULL, F_NUM(count, w->n), F_SPAN(reason, w->who));
	work_end(w, op->rc == RC_NONE ? RC_OK : op->rc);
}

/* ---- allow ---- */

void
quarantine_allow(struct quarantine_order *o, const struct spool_id *id, const struct span *addrs, size_t naddrs, bool for_everybody,
    struct span who)
{
	if (refused(o))
		return;
	struct order_work *w = work_new(o, id, addrs, naddrs, who, on_row);
	w->for_everybody = for_everybody;
	quar_get(w->q->quarantine.store, &w->req, id);
}

/* The next row of the table. */
static void
add_next(struct order_work *w)
{
	char id[SPOOL_ID_TEXT], note[SPOOL_ID_TEXT + 16];
	(void)spool_id_text(&w->id, id);
	snprintf(note, sizeof note, "allowed with %s", id);
	const struct quar_allow row = { .sender = w->sender, .recipient = w->for_everybody ? SPAN_EMPTY : w->addrs[w->at], .by = w->who, .note = span_str(note) };
	quar_req_fini(&w->req);
	quar_req_init(&w->req, &w->q->ops, on_added);
	quar_allow_add(w->q->quarantine.store, &w->req, &row);
}

static bool
is_named(const struct order_work *w, struct span addr)
{
	for (size_t i = 0; i < w->naddrs; i++)
		if (span_caseeq(w->addrs[i], addr))
			return true;
	return w->naddrs == 0;
}

/* Those of the message that are named, or all. */
static void
pick(struct order_work *w, const struct quar_row *row)
{
	struct span *out = arena_alloc(&w->arena, (row->nrcpt + 1) * sizeof *out);
	size_t n = 0;
	for (uint32_t i = 0; i < row->nshown && out != NULL; i++)
		if (!row->rcpt[i].added && is_named(w, row->rcpt[i].addr))
			out[n++] = arena_span(&w->arena, row->rcpt[i].addr);
	w->addrs = out;
	w->naddrs = n;
}

static void
on_row(struct op *op)
{
	struct order_work *w = work_of(op);
	if (op->rc != RC_OK || w->req.nrows == 0) {
		work_end(w, op->rc == RC_OK ? RC_NONE : op->rc);
		return;
	}
	const struct quar_row *row = &w->req.rows[0];
	if (row->class == HELD_VIRUS || row->sender.n == 0) {
		work_end(w, err_set(&w->req.why, RC_PERM, row->sender.n == 0 ? "mail without a sender cannot be allowed" : "viruses are never allowed"));
		return;
	}
	w->sender = arena_span(&w->arena, row->sender);
	if (!w->for_everybody)
		pick(w, row);
	if (!w->for_everybody && w->naddrs == 0)
		work_end(w, err_set(&w->req.why, RC_NONE, "these are no recipients of the message"));
	else
		add_next(w);
}

static void
on_added(struct op *op)
{
	struct order_work *w = work_of(op);
	struct log_about a;
	struct buf from, to;
	if (op->rc != RC_OK) {
		work_end(w, op->rc);
		return;
	}
	buf_init(&from, 4096);
	buf_init(&to, 4096);
	if (w->for_everybody) /* no recipient: an empty one would read like the null address */
		LOG(quarantine_allowed_all, about(&a, &w->id), F_SPAN(from, addr_shown(w->sender, &from)), F_SPAN(reason, w->who));
	else
		LOG(quarantine_allowed, about(&a, &w->id), F_SPAN(from, addr_shown(w->sender, &from)), F_SPAN(to, addr_shown(w->addrs[w->at], &to)),
		    F_SPAN(reason, w->who));
	buf_fini(&from);
	buf_fini(&to);
	w->n++;
	if (w->for_everybody || ++w->at >= w->naddrs)
		work_end(w, RC_OK);
	else
		add_next(w);
}
