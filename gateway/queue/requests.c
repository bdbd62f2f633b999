/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/requests.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/answer.h"
#include "queue/listing.h"
#include "queue/orders.h"
#include "queue/quarantine_ask.h"
#include "queue/sched.h"
#include "queue/shape.h"

enum {
	REQUEST_MAGIC = 0x9e95e571,
	SLICE = 500,                     /* messages between two turns of the loop */
	CAT_PIECE = 64 * 1024,
};

struct request {
	unsigned magic;
	struct grave grave;
	struct queue *q;
	struct answer answer;
	struct timer again;
	struct buf line;                 /* the request; args points into it */
	struct span args;
	struct message_walker walk;
	/* one message of the walk; the end of it */
	void (*visit)(struct request *, struct message *);
	void (*end)(struct request *);
	/* or: more of something else; false at the end */
	bool (*more)(struct request *);
	uint64_t count, bytes;
	unsigned queues;                 /* bit per enum message_queue */
	enum order order;
	struct shape shape;
	bool has_shape;
	struct spool_id id;              /* cat */
	uint64_t at;
};

static void run_slice(struct request *r);

/* ---- life ---- */

static void
dig_request(struct grave *g)
{
	struct request *r = container_of(g, struct request, grave);
	mem_poison(r, sizeof *r);
	mem_free(&r);
}

static void
on_over(struct answer *a)
{
	struct request *r = container_of(a, struct request, answer);
	CHECK(r, REQUEST_MAGIC);
	message_walk_end(&r->walk);
	timer_clear(&r->again);
	answer_fini(&r->answer);
	buf_fini(&r->line);
	if (r->has_shape)
		shape_fini(&r->shape);
	loop_bury(&r->grave, dig_request);
}

static void
on_more(struct answer *a)
{
	struct request *r = container_of(a, struct request, answer);
	CHECK(r, REQUEST_MAGIC);
	run_slice(r);
}

static const struct answer_ops answer_ops = { .more = on_more, .over = on_over };

static void
on_again(struct timer *t)
{
	struct request *r = container_of(t, struct request, again);
	CHECK(r, REQUEST_MAGIC);
	run_slice(r);
}

/* All is written. */
static void
finish(struct request *r)
{
	message_walk_end(&r->walk);
	answer_end(&r->answer);
}

static void
refuse(struct request *r, const char *why)
{
	answer_refuse(&r->answer, why);
}

static struct buf *
ok(struct request *r)
{
	struct buf *out = answer_out(&r->answer);
	buf_puts(out, "ok\n");
	return out;
}

/* Some messages, then other work has its turn. */
static void
run_slice(struct request *r)
{
	struct queue *q = r->q;
	for (int n = 0; n < SLICE && !r->answer.ended && !answer_is_full(&r->answer); n++) {
		if (r->more != NULL) {
			if (!r->more(r))
				finish(r);
			continue;
		}
		struct message *m = message_next(&q->table, &r->walk);
		if (m == NULL) {
			r->end(r);
			finish(r);
		} else if (m->queue != MQ_NONE) { /* else on its way to the disk: not ours yet */
			r->visit(r, m);
		}
	}
	if (!r->answer.ended && answer_is_full(&r->answer))
		answer_wait(&r->answer);
	else if (!r->answer.ended)
		timer_set(&r->again, 0);
	sched_poke(q);
}

static void
start_walk(struct request *r, void (*visit)(struct request *, struct message *), void (*end)(struct request *))
{
	r->visit = visit;
	r->end = end;
	message_walk(&r->q->table, &r->walk);
	run_slice(r);
}

/* ---- lists ---- */

static void
visit_list(struct request *r, struct message *m)
{
	struct buf *out = answer_out(&r->answer);
	if (r->count++ == 0)
		listing_head(out);
	r->bytes += m->spool.length;
	listing_row(out, r->q, m);
}

static void
end_list(struct request *r)
{
	listing_tail(answer_out(&r->answer), r->count, r->bytes);
}

static void
visit_json(struct request *r, struct message *m)
{
	listing_json(answer_out(&r->answer), r->q, m);
}

static void
end_nothing(struct request *r)
{
	(void)r;
}

static void
start_list(struct request *r)
{
	(void)ok(r);
	start_walk(r, visit_list, end_list);
}

static void
start_list_json(struct request *r)
{
	(void)ok(r);
	start_walk(r, visit_json, end_nothing);
}

static void
visit_shape(struct request *r, struct message *m)
{
	shape_add(&r->shape, m, clock_wall());
}

static void
end_shape(struct request *r)
{
	shape_write(&r->shape, answer_out(&r->answer));
}

static void
start_shape(struct request *r)
{
	struct err e;
	if (shape_init(&r->shape, r->args, &e) != RC_OK) {
		refuse(r, e.why);
		return;
	}
	r->has_shape = true;
	(void)ok(r);
	start_walk(r, visit_shape, end_shape);
}

/* ---- one message ---- */

/* NULL after the refusal was written. */
static struct message *
one_message(struct request *r)
{
	struct span word, rest = r->args, more;
	if (!span_word(&rest, " \t", &word) || span_word(&rest, " \t", &more)) {
		refuse(r, "one queue id is wanted");
		return NULL;
	}
	if (!order_id_valid(word)) {
		refuse(r, "invalid queue id");
		return NULL;
	}
	struct message *m = order_find(r->q, word);
	if (m == NULL)
		refuse(r, "no such message");
	return m;
}

static void
start_show(struct request *r)
{
	struct message *m = one_message(r);
	if (m == NULL)
		return;
	listing_show(ok(r), r->q, m);
	finish(r);
}

/* The message may be finished while a slow reader looks at it. */
static bool
more_cat(struct request *r)
{
	struct buf *out = answer_out(&r->answer);
	struct spool_msg *sm = spool_find(r->q->spool, &r->id);
	struct err e;
	if (sm == NULL) {
		buf_puts(out, "\n*** the message left the queue ***\n");
		return false;
	}
	if (r->at >= sm->length) {
		listing_cat_tail(out, r->q, container_of(sm, struct message, spool));
		return false;
	}
	struct buf piece, text;
	buf_init(&piece, CAT_PIECE + 1);
	buf_init(&text, CAT_PIECE + 1);
	enum rc rc = spool_read(r->q->spool, sm, r->at, CAT_PIECE, &piece, &e);
	if (rc != RC_OK || buf_len(&piece) == 0) {
		buf_puts(out, "\n*** the content cannot be read ***\n");
		rc = RC_TEMP;
	}
	r->at += buf_len(&piece);
	struct span s = buf_span(&piece);
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] != '\r' || i + 1 >= s.n || s.p[i + 1] != '\n')
			buf_putc(&text, s.p[i]);
	buf_put(out, buf_span(&text));
	buf_fini(&piece);
	buf_fini(&text);
	return rc == RC_OK;
}

static void
start_cat(struct request *r)
{
	struct message *m = one_message(r);
	if (m == NULL)
		return;
	r->id = m->spool.id;
	listing_cat_head(ok(r), r->q, m);
	r->more = more_cat;
	run_slice(r);
}

static void
start_flush_id(struct request *r)
{
	struct message *m = one_message(r);
	if (m == NULL)
		return;
	order_flush(r->q, m);
	(void)ok(r);
	finish(r);
}

/* ---- orders ---- */

static void
visit_order(struct request *r, struct message *m)
{
	if ((r->queues & 1u << m->queue) != 0 && order_give(r->q, m, r->order))
		r->count++;
}

static void
end_order(struct request *r)
{
	order_total(answer_out(&r->answer), r->order, r->count);
}

static void
order_all(struct request *r, struct span names)
{
	struct span word;
	while (span_word(&names, " \t", &word)) {
		enum message_queue which = message_queue_of(word);
		if (which == MQ_NONE) {
			refuse(r, "no queue has this name");
			return;
		}
		r->queues |= 1u << which;
	}
	if (r->queues == 0)
		r->queues = order_default_queues(r->order);
	(void)ok(r);
	start_walk(r, visit_order, end_order);
}

static void
start_order(struct request *r, enum order order)
{
	struct span rest = r->args, word, check = r->args;
	r->order = order;
	if (!span_word(&rest, " \t", &word)) {
		refuse(r, "a queue id, or ALL, is wanted");
		return;
	}
	if (span_eq_str(word, "ALL")) {
		order_all(r, rest);
		return;
	}
	while (span_word(&check, " \t", &word)) { /* all or nothing */
		if (!order_id_valid(word)) {
			refuse(r, "invalid queue id");
			return;
		}
	}
	struct buf *out = ok(r);
	rest = r->args;
	while (span_word(&rest, " \t", &word)) {
		struct message *m = order_find(r->q, word);
		if (m != NULL && order_give(r->q, m, order))
			r->count++;
	}
	order_total(out, order, r->count);
	finish(r);
}

static void
start_delete(struct request *r)
{
	start_order(r, ORDER_KIND_DELETE);
}

static void
start_hold(struct request *r)
{
	start_order(r, ORDER_KIND_HOLD);
}

static void
start_release(struct request *r)
{
	start_order(r, ORDER_KIND_RELEASE);
}

static void
start_requeue(struct request *r)
{
	start_order(r, ORDER_KIND_REQUEUE);
}

static void
start_expire(struct request *r)
{
	start_order(r, ORDER_KIND_EXPIRE);
}

static void
visit_site(struct request *r, struct message *m)
{
	if (order_goes_to(m, r->args))
		order_flush(r->q, m);
}

static void
start_flush(struct request *r)
{
	r->args = span_trim(r->args);
	(void)ok(r);
	if (r->args.n > 0) {
		start_walk(r, visit_site, end_nothing);
		return;
	}
	sched_flush_all(r->q);
	finish(r);
}

/* ---- which request it is ---- */

enum follows { NOTHING, ONE_ID, IDS, SITE, OPTIONS };

static const struct request_row {
	const char *words;
	void (*start)(struct request *);
	enum follows follows;
} rows[] = {
#define REQUEST(words, start, follows, doc) { words, start, follows },
#include "queue/requests.def"
#undef REQUEST
};

/* The words of a row at the front of the line, as whole words; *rest_out is what follows. */
static bool
matches(struct span line, const char *words, struct span *rest_out)
{
	struct span want = span_str(words), word, wanted;
	while (span_word(&want, " ", &wanted))
		if (!span_word(&line, " \t", &word) || !span_eq(word, wanted))
			return false;
	*rest_out = span_trim(line);
	return true;
}

void
request_start(struct queue *q, struct span line, int fd)
{
	struct span who = SPAN("unknown"), what;
	if (line.n > 0 && line.p[0] == '@') { /* the master says who asks */
		(void)span_word(&line, " ", &who);
		who = span_from(who, 1);
	}
	if (matches(line, "quarantine", &what)) {
		quarantine_ask_start(q, who, what, fd);
		return;
	}
	struct request *r = mem_zalloc(sizeof *r);
	r->magic = REQUEST_MAGIC;
	r->q = q;
	timer_init(&r->again, on_again);
	answer_init(&r->answer, &q->answers, fd, &answer_ops);
	buf_init(&r->line, line.n + 1);
	buf_put(&r->line, line);
	struct span text = span_trim(buf_span(&r->line)), rest;
	if (matches(text, "queue", &rest))
		text = rest;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		if (!matches(text, rows[i].words, &r->args))
			continue;
		if (rows[i].follows == NOTHING && r->args.n > 0)
			refuse(r, "nothing may follow this request");
		else
			rows[i].start(r);
		sched_poke(q);
		return;
	}
	refuse(r, "unknown request");
}
