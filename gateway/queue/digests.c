/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/notices_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "msg/addr.h"
#include "queue/sched.h"

enum { PAGE = 100 };
/* Of the timer, because the clock may be set; and until a round that failed is tried again. */
#define SLEEP_USEC (600 * USEC_PER_SEC)

struct digests {
	struct notices *n;
	struct op_owner ops;
	struct timer timer;
	uint64_t due;                    /* wall clock; 0: never */
	struct list waiters;             /* who asked for this round */
	/* the round */
	bool running, failed;
	uint64_t upto;
	struct quar_req begin, told, list, set; /* its time; recipients; messages of one; how far he was told */
	struct accept_wait accepted;
	size_t at;                       /* in told.told */
	struct buf after;                /* the last recipient of the page */
	uint32_t sent;
};

static void next_rcpt(struct digests *d);
static void next_page(struct digests *d);

static void
arm(struct digests *d)
{
	uint64_t now = clock_wall(), left = d->due > now ? d->due - now : 0;
	if (d->due == 0 || d->running || matchlist_empty(d->n->set->digest_recipients)) /* the end of a round sets it again */
		timer_clear(&d->timer);
	else
		timer_set(&d->timer, left < SLEEP_USEC ? left : SLEEP_USEC);
}

static void
round_ends(struct digests *d, enum rc rc)
{
	d->running = false;
	if (d->sent > 0)
		log_info(NULL, "quarantine: %u digest%s sent", (unsigned)d->sent, d->sent == 1 ? "" : "s");
	list_each(l, &d->waiters) {
		struct digest_wait *w = list_entry(l, struct digest_wait, link);
		list_remove(l);
		w->sent = d->sent;
		op_finish(&w->op, rc == RC_OK && d->failed ? RC_TEMP : rc);
	}
	d->due = d->failed ? clock_wall() + SLEEP_USEC : schedule_next(&d->n->set->schedule, clock_wall());
	arm(d);
}

static void
on_begin(struct op *op)
{
	struct digests *d = container_of(container_of(op, struct quar_req, op), struct digests, begin);
	if (op->rc != RC_OK) { /* a store that cannot note who was told gets nobody told */
		d->failed = true;
		round_ends(d, RC_TEMP);
		return;
	}
	d->upto = d->begin.cursor;
	next_page(d);
}

static void
round_begins(struct digests *d)
{
	d->failed = d->n->q->quarantine.store == NULL;
	d->sent = 0;
	if (d->failed) { /* its directory cannot be used */
		round_ends(d, RC_TEMP);
		return;
	}
	d->running = true;
	buf_reset(&d->after);
	quar_req_fini(&d->begin);
	quar_req_init(&d->begin, &d->ops, on_begin);
	quar_told_begin(d->n->q->quarantine.store, &d->begin);
}

/* ---- one recipient ---- */

static enum rc
is_wanted(const struct digests *d, struct span addr)
{
	size_t at = span_rchr(addr, '@');
	enum rc rc = matchlist_name(d->n->set->digest_recipients, addr, NULL);
	if (rc == RC_NONE && at != SIZE_MAX)
		rc = matchlist_name(d->n->set->digest_recipients, span_from(addr, at + 1), NULL);
	return rc;
}

static struct quar_told *
whom(struct digests *d)
{
	return &d->told.told[d->at];
}

static void
on_set(struct op *op)
{
	struct digests *d = container_of(container_of(op, struct quar_req, op), struct digests, set);
	d->failed |= op->rc != RC_OK && op->rc != RC_NONE;
	d->at++;
	next_rcpt(d);
}

static void
tell_store(struct digests *d)
{
	quar_req_fini(&d->set);
	quar_req_init(&d->set, &d->ops, on_set);
	quar_told_set(d->n->q->quarantine.store, &d->set, whom(d)->addr, d->upto);
}

static void
on_accepted(struct op *op)
{
	struct digests *d = container_of(container_of(op, struct accept_wait, op), struct digests, accepted);
	if (op->rc == RC_OK) {
		d->sent++;
		metric_add(M_quarantine_digests, 1);
		tell_store(d);
		return;
	}
	d->failed = true;
	d->at++;
	next_rcpt(d);
}

/* Newest first, as lists are. */
static void
send_digest(struct digests *d)
{
	const struct quar_told *t = whom(d);
	size_t n = d->list.nrows;
	struct notice_item *items = mem_calloc(n, sizeof *items);
	for (size_t i = 0; i < n; i++) {
		const struct quar_row *r = &d->list.rows[i];
		items[i] = (struct notice_item){ .id = r->id, .arrival = r->arrival, .size = r->size, .expires = r->expires, .class = r->class,
			.sender = r->sender, .from = r->from, .subject = r->subject, .reason = r->reason, .signature = r->signature, .client = r->client_name,
			.rcpt = &t->addr, .nrcpt = 1, .hide_rcpts = true };
	}
	struct notice notice = { .text = NT_DIGEST, .items = items, .nitems = n, .count = t->messages > n ? t->messages : n };
	notices_fill(d->n, &notice, t->addr);
	struct buf to;
	char id[SPOOL_ID_TEXT];
	buf_init(&to, 4096);
	LOG(quarantine_digest, NULL, F_SPAN(to, addr_shown(t->addr, &to)), F_NUM(count, notice.count), F_SPAN(newid, span_of(id, spool_id_text(&notice.id, id))));
	buf_fini(&to);
	op_init(&d->accepted.op, &d->ops, on_accepted);
	notices_accept(d->n, &notice, SPAN_EMPTY, &d->accepted);
	mem_free(&items);
}

static void on_list(struct op *op);

static void
list_from(struct digests *d, uint64_t cursor)
{
	const struct quar_told *t = whom(d);
	struct quar_filter f = { .since = t->told, .until = d->upto, .recipient = t->addr, .state = QUAR_HELD, .limit = d->n->set->digest_limit,
		.after = cursor, .round = d->upto };
	quar_req_fini(&d->list);
	quar_req_init(&d->list, &d->ops, on_list);
	quar_list(d->n->q->quarantine.store, &d->list, &f);
}

static void
on_list(struct op *op)
{
	struct digests *d = container_of(container_of(op, struct quar_req, op), struct digests, list);
	if (op->rc == RC_OK && d->list.nrows == 0 && d->list.more) { /* a page may end early */
		list_from(d, d->list.cursor);
		return;
	}
	if (op->rc == RC_OK && d->list.nrows > 0) {
		send_digest(d);
		return;
	}
	d->failed |= op->rc != RC_OK && op->rc != RC_NONE;
	d->at++; /* what there was has gone meanwhile */
	next_rcpt(d);
}

static void
next_rcpt(struct digests *d)
{
	for (; d->at < d->told.n; d->at++) {
		const struct quar_told *t = whom(d);
		switch (is_wanted(d, t->addr)) {
		case RC_OK:
			break;
		case RC_TEMP:
			d->failed = true;
			continue;
		case RC_NONE:
		case RC_PERM:
			continue;
		}
		list_from(d, 0);
		return;
	}
	if (d->told.more)
		next_page(d);
	else
		round_ends(d, RC_OK);
}

static void
on_told(struct op *op)
{
	struct digests *d = container_of(container_of(op, struct quar_req, op), struct digests, told);
	if (op->rc != RC_OK && op->rc != RC_NONE) {
		d->failed = true;
		round_ends(d, RC_TEMP);
		return;
	}
	if (op->rc == RC_NONE || d->told.n == 0) {
		round_ends(d, RC_OK);
		return;
	}
	buf_reset(&d->after);
	buf_put(&d->after, d->told.told[d->told.n - 1].addr);
	d->at = 0;
	next_rcpt(d);
}

static void
next_page(struct digests *d)
{
	quar_req_fini(&d->told);
	quar_req_init(&d->told, &d->ops, on_told);
	quar_told_list(d->n->q->quarantine.store, &d->told, buf_span(&d->after), d->upto, PAGE);
}

/* ---- when ---- */

static void
on_timer(struct timer *t)
{
	struct digests *d = container_of(t, struct digests, timer);
	if (d->due != 0 && clock_wall() >= d->due && !d->running)
		round_begins(d);
	else
		arm(d);
}

static void
detach(struct op *op)
{
	list_remove(&container_of(op, struct digest_wait, op)->link);
}

static const struct op_provider provider = { "digests", detach };

void
digests_now(struct digests *d, struct digest_wait *w)
{
	if (matchlist_empty(d->n->set->digest_recipients)) {
		op_finish(&w->op, RC_NONE);
		return;
	}
	list_init(&w->link);
	list_append(&d->waiters, &w->link);
	op_pend(&w->op, &provider);
	if (!d->running)
		round_begins(d);
}

void
digests_reload(struct digests *d)
{
	d->due = schedule_next(&d->n->set->schedule, clock_wall());
	arm(d);
}

uint64_t
digests_next(const struct digests *d)
{
	return matchlist_empty(d->n->set->digest_recipients) ? 0 : d->due;
}

struct digests *
digests_new(struct notices *n)
{
	struct digests *d = mem_zalloc(sizeof *d);
	d->n = n;
	op_owner_init(&d->ops);
	list_init(&d->waiters);
	buf_init(&d->after, 4096);
	timer_init(&d->timer, on_timer);
	quar_req_init(&d->begin, &d->ops, on_begin);
	quar_req_init(&d->told, &d->ops, on_told);
	quar_req_init(&d->list, &d->ops, on_list);
	quar_req_init(&d->set, &d->ops, on_set);
	digests_reload(d);
	return d;
}

void
digests_free(struct digests **dp)
{
	struct digests *d = *dp;
	if (d == NULL)
		return;
	timer_clear(&d->timer);
	ops_cancel_all(&d->ops);
	list_each(l, &d->waiters)
		op_cancel(&list_entry(l, struct digest_wait, link)->op);
	quar_req_fini(&d->begin);
	quar_req_fini(&d->told);
	quar_req_fini(&d->list);
	quar_req_fini(&d->set);
	buf_fini(&d->after);
	mem_free(dp);
}
