/* SPDX-License-Identifier: BSD-2-Clause */
/* The store in the queue's life, and the way of held recipients into it. */
#include "queue/quarantine.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "map/remote.h"
#include "quarantine/view.h"
#include "queue/attempt.h"
#include "queue/edge.h"
#include "queue/notices.h"
#include "queue/record.h"
#include "queue/release.h"
#include "queue/sched.h"
#include "queue/wish.h"

#include <unistd.h>

enum { REASON_SHOWN = 300, STATS_AGE_SEC = 2 };

/* Recipients of one message on their way into the store. */
struct held_put {
	struct list link;            /* in q->quarantine.puts */
	struct attempt *a;
	struct quar_req req;
	uint32_t first;              /* chain in a->next */
	int own;                     /* the message's file; -1: its content is in the journal, which the pin keeps open */
};

/* ---- life ---- */

static void
on_full(void *owner, bool is_full)
{
	struct queue *q = owner;
	const char *why = q->quarantine.store != NULL ? quar_why_full(q->quarantine.store) : "";
	if (is_full)
		LOG(quarantine_full, NULL, F_STR(reason, why));
	else
		LOG0(quarantine_room, NULL);
	edge_admission(q);
}

static void
on_expired(void *owner, uint64_t messages, uint64_t bytes, bool for_size)
{
	struct queue *q = owner;
	LOG(quarantine_expired, NULL, F_NUM(count, messages), F_NUM(bytes, bytes), F_STR(reason, for_size ? "quarantine_size_limit" : "quarantine_retention"));
	quarantine_changed(q);
}

static void
on_rebuilding(void *owner, bool begins, uint64_t messages, const char *why)
{
	(void)owner;
	if (begins && strcmp(why, "the index is new") != 0)
		log_warn(NULL, "quarantine: the index is made anew from the files: %s", why);
	if (!begins && messages > 0)
		log_info(NULL, "quarantine: the index is complete again: %llu messages", (unsigned long long)messages);
}

static const struct quar_ops store_ops = { .full = on_full, .expired = on_expired, .rebuilding = on_rebuilding };

static void on_stats(struct op *op);

void
quarantine_changed(struct queue *q)
{
	struct quarantine *k = &q->quarantine;
	if (!k->has_stats || k->stats_due)
		return;
	k->stats_due = true;
	timer_set(&k->stats_timer, loop_now() < k->stats_at ? k->stats_at - loop_now() : 0);
}

static void
on_stats_timer(struct timer *t)
{
	struct quarantine *k = container_of(t, struct quarantine, stats_timer);
	k->stats_due = false;
	k->stats_at = loop_now() + STATS_AGE_SEC * USEC_PER_SEC;
	if (k->stats.op.state == OP_IDLE)
		quar_stats(k->store, &k->stats);
	else
		quarantine_changed(container_of(k, struct queue, quarantine));
}

void
quarantine_open(struct queue *q, const struct quar_settings *s)
{
	struct quarantine *k = &q->quarantine;
	struct err e = { .why = "" };
	if (quar_open(&k->store, s, &store_ops, q, &e) != RC_OK) {
		k->store = NULL;
		memcpy(k->why_none, e.why, sizeof k->why_none);
		log_warn(NULL, "quarantine: %s: mail that would be held is deferred", e.why);
	}
}

void
quarantine_start(struct queue *q)
{
	struct quarantine *k = &q->quarantine;
	if (k->store != NULL) {
		quar_start(k->store);
		quar_req_init(&k->stats, &q->ops, on_stats);
		timer_init(&k->stats_timer, on_stats_timer);
		k->has_stats = true;
		quarantine_changed(q);
		scrub_start(q);
	}
}

void
quarantine_recovered(struct queue *q)
{
	mend_start(q);
}

void
quarantine_reconfigure(struct queue *q, const struct quar_settings *s)
{
	if (q->quarantine.store != NULL)
		quar_reconfigure(q->quarantine.store, s);
}

static void
put_free(struct held_put *p)
{
	list_remove(&p->link);
	quar_req_fini(&p->req);
	if (p->own >= 0)
		close(p->own);
	mem_free(&p);
}

void
quarantine_fini(struct queue *q)
{
	struct quarantine *k = &q->quarantine;
	list_each(l, &k->puts)
		put_free(list_entry(l, struct held_put, link));
	release_abandon(q);
	orders_abandon(q);
	mend_stop(q);
	if (k->has_stats) {
		timer_clear(&k->stats_timer);
		quar_req_fini(&k->stats);
		scrub_stop(q);
	}
	k->has_stats = false;
	quar_close(&k->store);
}

bool
quarantine_idle(const struct queue *q)
{
	return list_empty(&q->quarantine.puts) && release_idle(q);
}

bool
quarantine_accepting(const struct queue *q)
{
	return q->quarantine.store != NULL && !quar_is_full(q->quarantine.store);
}

/* ---- who is held ---- */

static void
defer(struct attempt *a, uint32_t i, struct span dsn, struct span text)
{
	attempt_log(a, i, "quarantine", dsn, "deferred", text);
	attempt_deferred(a, i, reason_get(&a->q->table.reasons, dsn, text, SPAN_EMPTY, SPAN_EMPTY));
}

static void
end_rcpt(struct attempt *a, uint32_t i, const char *status, struct span text)
{
	attempt_log(a, i, "quarantine", SPAN("2.0.0"), status, text);
	attempt_kept(a, i);
}

/* Why it is held, once per attempt. */
static bool
read_held(struct attempt *a)
{
	if (a->held != NULL)
		return true;
	struct held *h = arena_zalloc(&a->arena, sizeof *h);
	if (h == NULL || held_get(a->env.held, &a->arena, h) != RC_OK)
		return false;
	struct buf b;
	buf_init(&b, REASON_SHOWN + 64);
	buf_puts(&b, held_class_name(h->class));
	buf_puts(&b, ": ");
	buf_put_safe(&b, h->reason, REASON_SHOWN, true);
	a->held = h;
	a->held_text = arena_span(&a->arena, buf_span(&b));
	buf_fini(&b);
	return true;
}

/* quarantine_recipient_policy. RC_TEMP: it cannot be asked (now). */
static enum rc
ask_wish(struct attempt *a, uint32_t i, enum wish *out)
{
	struct span value;
	struct err e = { .why = "" };
	*out = WISH_HOLD;
	enum rc rc = a->q->router != NULL ? router_held(a->q->router, a->env.rcpt[i].addr, &value) : RC_NONE;
	if (rc == RC_OK && wish_read(value, a->held->class, out, &e) != RC_OK)
		log_warn(NULL, "quarantine_recipient_policy: a value is not understood, the mail is held: %s", e.why);
	return rc == RC_PERM ? RC_TEMP : rc == RC_TEMP ? RC_TEMP : RC_OK;
}

enum held_place
quarantine_place(struct attempt *a, uint32_t i)
{
	struct queue *q = a->q;
	struct quarantine *k = &q->quarantine;
	enum wish wish;
	if (!read_held(a)) { /* was checked when it came */
		defer(a, i, SPAN("4.3.0"), SPAN("why it is held cannot be read"));
		return HELD_PLACED;
	}
	if (k->store == NULL) {
		defer(a, i, SPAN("4.3.0"), SPAN("the quarantine is not available"));
		return HELD_PLACED;
	}
	bool kept = (a->env.flags & MSGF_KEPT) != 0; /* he has had the message, changed: this one only waits for whoever wants it */
	if (!kept && quar_allowed(k->store, a->held->class, a->env.sender, a->env.rcpt[i].addr)) {
		record_passed(a->m, &a->env.rcpt[i], "its sender is in the allow table");
		a->env.rcpt[i].held = false;
		return HELD_GOES_ON;
	}
	if (ask_wish(a, i, &wish) != RC_OK) {
		if (map_asked())
			return HELD_AGAIN;
		defer(a, i, SPAN("4.3.0"), SPAN("quarantine_recipient_policy lookup failure"));
		return HELD_PLACED;
	}
	if (kept && wish == WISH_DELIVER)
		wish = WISH_HOLD;
	switch (wish) {
	case WISH_DELIVER:
		record_passed(a->m, &a->env.rcpt[i], "quarantine_recipient_policy");
		a->env.rcpt[i].held = false;
		return HELD_GOES_ON;
	case WISH_DISCARD:
		end_rcpt(a, i, "discarded", SPAN("quarantine_recipient_policy"));
		return HELD_PLACED;
	case WISH_HOLD:
		break;
	}
	a->next[i] = a->to_store;
	a->to_store = i;
	return HELD_PLACED;
}

/* ---- into the store ---- */

/* Who wants to know (virus_notify) hears of it once it is durable. */
static void
tell(const struct held_put *p)
{
	struct attempt *a = p->a;
	if ((a->env.flags & MSGF_KEPT) != 0) /* they hear of the other copy */
		return;
	uint32_t n = 0, *numbers = mem_calloc(a->m->nrcpt, sizeof *numbers);
	for (uint32_t i = p->first; i != NO_RCPT; i = a->next[i])
		numbers[n++] = i;
	notices_held(a->q->notices, &a->m->spool.id, &a->env, a->held, numbers, n);
	mem_free(&numbers);
}

static void
on_put(struct op *op)
{
	struct held_put *p = container_of(container_of(op, struct quar_req, op), struct held_put, req);
	struct attempt *a = p->a;
	struct queue *q = a->q;
	struct buf why;
	if (op->rc == RC_OK)
		tell(p);
	buf_init(&why, 512);
	buf_puts(&why, "quarantine: ");
	buf_put_safe(&why, span_str(p->req.why.why), 400, true);
	for (uint32_t i = p->first, next; i != NO_RCPT; i = next) {
		next = a->next[i];
		switch (op->rc) {
		case RC_OK:
			end_rcpt(a, i, "held", a->held_text);
			metric_add(M_quarantine_held, 1);
			break;
		case RC_NONE:
		case RC_TEMP:
		case RC_PERM:
			defer(a, i, SPAN("4.3.1"), buf_span(&why));
			break;
		}
	}
	buf_fini(&why);
	put_free(p);
	a->jobs--;
	spool_unpin(q->spool, &a->m->spool);
	quarantine_changed(q);
	attempt_check(a);
	sched_poke(q);
}

static void
put_failed(struct attempt *a, uint32_t first, bool gone, const char *text)
{
	log_warn(NULL, "content of held mail cannot be read: %s", text);
	for (uint32_t i = first, next; i != NO_RCPT; i = next) {
		next = a->next[i];
		if (gone) {
			attempt_log(a, i, "quarantine", SPAN("5.3.0"), "bounced", SPAN("message content is damaged"));
			attempt_failed(a, i, reason_get(&a->q->table.reasons, SPAN("5.3.0"), SPAN("message content is damaged"), SPAN_EMPTY, SPAN_EMPTY));
		} else {
			defer(a, i, SPAN("4.3.0"), SPAN("queue file read error"));
		}
	}
}

void
quarantine_put(struct attempt *a)
{
	struct queue *q = a->q;
	struct spool_msg *sm = &a->m->spool;
	struct err e = { .why = "no descriptor of its journal segment" };
	uint32_t first = a->to_store, n = 0;
	int own = -1, fd = -1;
	if (first == NO_RCPT)
		return;
	a->to_store = NO_RCPT;
	enum rc rc = RC_OK;
	if (sm->segment != 0)
		fd = spool_segment_fd(q->spool, sm->segment);
	else if ((rc = spool_file_open(q->spool, sm, &own, &e)) == RC_OK)
		fd = own;
	if (fd < 0) {
		put_failed(a, first, rc == RC_PERM, e.why);
		return;
	}
	uint32_t *numbers = mem_calloc(a->m->nrcpt, sizeof *numbers);
	for (uint32_t i = first; i != NO_RCPT; i = a->next[i])
		n++;
	for (uint32_t i = first, k = n; i != NO_RCPT; i = a->next[i]) /* the chain is backwards */
		numbers[--k] = i;
	struct held_put *p = mem_zalloc(sizeof *p);
	p->a = a;
	p->first = first;
	p->own = own;
	list_init(&p->link);
	list_append(&q->quarantine.puts, &p->link);
	quar_req_init(&p->req, &q->ops, on_put);
	const struct quar_new new = { .id = sm->id, .env = &a->env, .rcpt = numbers, .nrcpt = n, .fd = fd, .offset = sm->offset, .length = sm->length };
	spool_pin(q->spool, sm);
	a->jobs++;
	quar_put(q->quarantine.store, &p->req, &new);
	mem_free(&numbers);
}

void
quarantine_outcome(const struct attempt *a, uint32_t rcpt, bool delivered)
{
	if (a->q->quarantine.store != NULL)
		quar_outcome(a->q->quarantine.store, NULL, &a->m->spool.id, a->env.rcpt[rcpt].addr, a->env.rcpt[rcpt].orig, delivered);
}

/* ---- status ---- */

static void
on_stats(struct op *op)
{
	struct quar_req *r = container_of(op, struct quar_req, op);
	struct quarantine *k = container_of(r, struct quarantine, stats);
	if (op->rc == RC_OK) {
		memcpy(k->by_class, r->by_class, sizeof k->by_class);
		k->oldest = r->oldest;
	}
}

/* Numbers of the last time somebody asked, and new ones on their way. */
void
quarantine_status(struct queue *q, struct buf *out)
{
	struct quarantine *k = &q->quarantine;
	uint64_t messages = 0, bytes = 0;
	quarantine_changed(q);
	buf_printf(out, ",\"quarantine\":{\"available\":%s,\"accepting\":%s", k->store != NULL ? "true" : "false", quarantine_accepting(q) ? "true" : "false");
	if (k->store != NULL && quar_is_full(k->store)) {
		buf_puts(out, ",\"reason\":");
		buf_put_json(out, span_str(quar_why_full(k->store)), REASON_SHOWN);
	}
	for (int c = HELD_NONE + 1; c < HELD_CLASSES; c++) {
		messages += k->by_class[c].messages;
		bytes += k->by_class[c].bytes;
		buf_printf(out, ",\"%s\":%llu", held_class_name((enum held_class)c), (unsigned long long)k->by_class[c].messages);
	}
	uint64_t limit = k->store != NULL ? quar_size_limit(k->store) : 0, digest = notices_next_digest(q->notices);
	buf_printf(out, ",\"messages\":%llu,\"bytes\":%llu,\"size_limit\":%llu", (unsigned long long)messages, (unsigned long long)bytes, (unsigned long long)limit);
	if (digest != 0)
		buf_printf(out, ",\"next_digest\":%llu", (unsigned long long)(digest / USEC_PER_SEC));
	buf_putc(out, '}');
	metric_set(M_quarantine_messages, (int64_t)messages);
	metric_set(M_quarantine_bytes, (int64_t)bytes);
}

void
quarantine_remarks(struct queue *q, struct buf *out)
{
	struct quarantine *k = &q->quarantine;
	uint64_t messages = 0, bytes = 0, limit = k->store != NULL ? quar_size_limit(k->store) : 0, digest = notices_next_digest(q->notices);
	quarantine_changed(q);
	for (int c = HELD_NONE + 1; c < HELD_CLASSES; c++) {
		messages += k->by_class[c].messages;
		bytes += k->by_class[c].bytes;
	}
	if (k->store == NULL) {
		buf_printf(out, "quarantine: not available, mail that would be held is deferred: %s\n", k->why_none);
		return;
	}
	buf_printf(out, "quarantine: %llu message%s, %llu bytes", (unsigned long long)messages, messages == 1 ? "" : "s", (unsigned long long)bytes);
	const char *sep = " (";
	for (int c = HELD_NONE + 1; c < HELD_CLASSES; c++) {
		if (k->by_class[c].messages == 0)
			continue;
		buf_printf(out, "%s%s %llu", sep, held_class_name((enum held_class)c), (unsigned long long)k->by_class[c].messages);
		sep = ", ";
	}
	buf_puts(out, messages > 0 ? ")" : "");
	if (limit > 0)
		buf_printf(out, ", %llu %% of quarantine_size_limit", (unsigned long long)(bytes / (limit / 100 + 1)));
	if (quar_is_full(k->store)) {
		buf_puts(out, ", takes nothing more: ");
		buf_put_safe(out, span_str(quar_why_full(k->store)), REASON_SHOWN, true);
	}
	if (digest != 0) {
		buf_puts(out, ", next digests ");
		view_time(out, digest);
	}
	buf_putc(out, '\n');
}
