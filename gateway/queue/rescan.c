/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/rescan.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "filters/bundled.h"
#include "queue/inspect.h"
#include "queue/notices.h"
#include "queue/quarantine.h"
#include "queue/sched.h"

#include <unistd.h>

enum { RESCAN_MAGIC = 0x4e5ca900, SIGNATURE_MAX = 200 };
static const char who[] = "virus_unavailable";

struct rescan {
	unsigned magic;
	struct queue *q;
	uint64_t interval;
	struct timer timer;
	uint64_t cursor;             /* of the round; newest first */
	struct spool_id id;          /* the message at hand */
	struct spool_id copy;        /* what it is stored as when it is infected; */
	struct span text;            /* and what was found: in.said's */
	struct quar_req list, look, content, put, drop;
	struct inspection in;
	struct quarantine_order order;
	unsigned released, found;    /* in this round */
};

static void next_message(struct rescan *s);

static void
round_over(struct rescan *s)
{
	if (s->released + s->found > 0)
		log_info(NULL, "mail held unscanned was scanned: %u messages released, %u infected", s->released, s->found);
	s->released = s->found = 0;
	s->cursor = 0;
	timer_set(&s->timer, s->interval);
}

static void
drop_content(struct rescan *s)
{
	if (s->content.fd >= 0)
		close(s->content.fd);
	s->content.fd = -1;
}

/* ---- what came of it ---- */

static void
on_released(struct op *op)
{
	struct rescan *s = container_of(op, struct rescan, order.op);
	CHECK(s, RESCAN_MAGIC);
	struct queue *q = s->q;
	s->released += op->rc == RC_OK;
	quarantine_order_fini(&s->order);
	next_message(s);
	sched_poke(q);
}

/* As the filter wants it: with its header, and nobody else's of that name. */
static void
release(struct rescan *s)
{
	const struct msg_inspected *m = &s->in.said;
	quarantine_order_init(&s->order, s->q, &s->q->ops, on_released);
	if (m->header_changed)
		quarantine_release_with(&s->order, &s->id, m->header, span_str(who));
	else
		quarantine_release(&s->order, &s->id, NULL, 0, SPAN_EMPTY, false, span_str(who));
}

static void
on_dropped(struct op *op)
{
	next_message(container_of(op, struct rescan, drop.op));
}

/* "virus: NAME", "attachment: macros: NAME": the class it is held under from now on, and the rest. A refusal counts as a virus. */
static void
read_found(struct span text, struct held *why)
{
	size_t colon = span_chr(text, ':');
	enum held_class class = colon != SIZE_MAX ? held_class_of(span_head(text, colon)) : HELD_NONE;
	if (class != HELD_NONE)
		text = span_trim(span_from(text, colon + 1));
	why->class = class != HELD_NONE ? class : HELD_VIRUS;
	why->reason = span_head(text, HELD_TEXT_MAX);
	why->signature = why->class == HELD_VIRUS ? span_head(text, SIGNATURE_MAX) : SPAN_EMPTY;
}

/* What is held instead: for those who are still held, for what was found. */
static void
describe(const struct rescan *s, struct arena *a, struct held *why, struct envelope *env)
{
	const struct quar_row *row = s->look.rows;
	*why = s->look.held;
	read_found(s->text, why);
	*env = s->look.env;
	env->rcpt = arena_alloc(a, (row->nshown + 1) * sizeof *env->rcpt);
	BUG_ON(env->rcpt == NULL);
	env->nrcpt = 0;
	for (uint32_t i = 0; i < row->nshown; i++)
		if (row->rcpt[i].state == QUAR_HELD)
			env->rcpt[env->nrcpt++] = (struct env_rcpt){ .addr = row->rcpt[i].addr, .orig = row->rcpt[i].orig, .orcpt = row->rcpt[i].orcpt,
				.notify = row->rcpt[i].notify, .held = true };
}

/* As for a virus that was found at once. */
static void
tell(const struct rescan *s)
{
	struct arena a;
	struct held why;
	struct envelope env;
	arena_init(&a, 64 * 1024 * 1024);
	describe(s, &a, &why, &env);
	notices_held(s->q->notices, &s->copy, &env, &why, NULL, env.nrcpt);
	arena_fini(&a);
}

/* It is held as what it is: the message with its old reason can go. */
static void
on_put(struct op *op)
{
	struct rescan *s = container_of(op, struct rescan, put.op);
	CHECK(s, RESCAN_MAGIC);
	drop_content(s);
	if (op->rc != RC_OK) {
		log_warn(NULL, "quarantine: %s", s->put.why.why);
		round_over(s);
		return;
	}
	s->found++;
	tell(s);
	quar_delete(s->q->quarantine.store, &s->drop, &s->id, NULL, 0, span_str(who));
}

static void
hold_as_found(struct rescan *s, struct span text)
{
	struct arena a;
	struct buf held;
	char from[SPOOL_ID_TEXT], to[SPOOL_ID_TEXT];
	struct held why;
	struct envelope env;
	s->copy = spool_id_next((uint32_t)getpid());
	s->text = text;
	arena_init(&a, 64 * 1024 * 1024);
	buf_init(&held, HELD_BYTES_MAX);
	describe(s, &a, &why, &env);
	held_put(&held, &why);
	env.held = buf_span(&held);
	const struct quar_new n = { .id = s->copy, .env = &env, .fd = s->content.fd, .length = s->content.length };
	struct log_ctx ctx = { .qid = span_of(from, spool_id_text(&s->id, from)) };
	struct span id = span_of(to, spool_id_text(&s->copy, to));
	log_info(&ctx, "held as %.*s now: %s: %.*s", (int)id.n, (const char *)id.p, held_class_name(why.class), (int)why.reason.n, (const char *)why.reason.p);
	quar_put(s->q->quarantine.store, &s->put, &n);
	buf_fini(&held);
	arena_fini(&a);
}

static void
on_said(struct op *op)
{
	struct rescan *s = container_of(op, struct rescan, in.op);
	CHECK(s, RESCAN_MAGIC);
	const struct msg_inspected *m = &s->in.said;
	switch (m->outcome) {
	case INSPECT_PASS:
		drop_content(s);
		release(s);
		break;
	case INSPECT_HOLD:
		if (!span_starts(m->text, SPAN("unscanned"))) {
			hold_as_found(s, m->text);
			break;
		}
		drop_content(s); /* nobody can say: for people to decide */
		next_message(s);
		break;
	case INSPECT_REFUSE:
	case INSPECT_DISCARD: /* virus_action: there is no client any more who could be told */
		hold_as_found(s, m->text.n > 0 ? m->text : SPAN("virus"));
		break;
	case INSPECT_NOT_NOW:
		drop_content(s);
		round_over(s);
		break;
	}
}

/* ---- one message ---- */

static void
on_content(struct op *op)
{
	struct rescan *s = container_of(op, struct rescan, content.op);
	CHECK(s, RESCAN_MAGIC);
	const struct quar_row *row = s->look.rows;
	if (op->rc != RC_OK) {
		next_message(s);
		return;
	}
	struct span rcpts[QUAR_PAGE_RCPT];
	char text[SPOOL_ID_TEXT];
	uint32_t n = 0;
	for (uint32_t i = 0; i < row->nshown && n < NELEMS(rcpts); i++)
		if (row->rcpt[i].state == QUAR_HELD)
			rcpts[n++] = row->rcpt[i].addr;
	struct msg_inspect m = { .purpose = INSPECT_AGAIN, .length = s->content.length, .qid = span_of(text, spool_id_text(&s->id, text)),
		.sender = s->look.env.sender, .nrcpt = n };
	inspection_fini(&s->in);
	inspection_init(&s->in, s->q, &s->q->ops, on_said);
	inspection_start(&s->in, s->content.fd, &m, rcpts);
}

static void
on_look(struct op *op)
{
	struct rescan *s = container_of(op, struct rescan, look.op);
	CHECK(s, RESCAN_MAGIC);
	if (op->rc == RC_OK && s->look.nrows == 1)
		quar_content(s->q->quarantine.store, &s->content, &s->id);
	else
		next_message(s);
}

static void
on_list(struct op *op)
{
	struct rescan *s = container_of(op, struct rescan, list.op);
	CHECK(s, RESCAN_MAGIC);
	if (op->rc != RC_OK || s->list.nrows == 0) {
		round_over(s);
		return;
	}
	s->id = s->list.rows[0].id;
	s->cursor = s->list.cursor;
	quar_get(s->q->quarantine.store, &s->look, &s->id);
}

static void
ask_list(struct rescan *s)
{
	const struct quar_filter f = { .class = HELD_UNSCANNED, .state = QUAR_HELD, .limit = 1, .after = s->cursor };
	quar_list(s->q->quarantine.store, &s->list, &f);
}

static void
next_message(struct rescan *s)
{
	if (s->cursor == 0)
		round_over(s);
	else
		ask_list(s);
}

/* A round begins with its first message. */
static void
on_timer(struct timer *t)
{
	struct rescan *s = container_of(t, struct rescan, timer);
	CHECK(s, RESCAN_MAGIC);
	if (s->q->draining || s->q->quarantine.store == NULL)
		return;
	ask_list(s);
}

/* ---- life ---- */

void
rescan_start(struct queue *q, const struct conf *c)
{
	if (q->rescan != NULL || q->quarantine.store == NULL || !bundled_is_on(c, BUNDLED_VIRUS))
		return;
	struct rescan *s = mem_zalloc(sizeof *s);
	s->magic = RESCAN_MAGIC;
	s->q = q;
	s->interval = conf_params(c)->p_virus_rescan_time;
	quar_req_init(&s->list, &q->ops, on_list);
	quar_req_init(&s->look, &q->ops, on_look);
	quar_req_init(&s->content, &q->ops, on_content);
	quar_req_init(&s->put, &q->ops, on_put);
	quar_req_init(&s->drop, &q->ops, on_dropped);
	s->content.fd = -1;
	timer_init(&s->timer, on_timer);
	timer_set(&s->timer, s->interval);
	q->rescan = s;
}

void
rescan_reload(struct queue *q, const struct conf *c)
{
	if (!bundled_is_on(c, BUNDLED_VIRUS))
		rescan_fini(q);
	else if (q->rescan != NULL)
		q->rescan->interval = conf_params(c)->p_virus_rescan_time;
	else
		rescan_start(q, c);
}

void
rescan_fini(struct queue *q)
{
	struct rescan *s = q->rescan;
	q->rescan = NULL;
	if (s == NULL)
		return;
	timer_clear(&s->timer);
	inspection_fini(&s->in);
	quarantine_order_fini(&s->order);
	drop_content(s);
	quar_req_fini(&s->list);
	quar_req_fini(&s->look);
	quar_req_fini(&s->content);
	quar_req_fini(&s->put);
	quar_req_fini(&s->drop);
	mem_poison(s, sizeof *s);
	mem_free(&s);
}
