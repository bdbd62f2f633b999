/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One release, step by step:
 *
 *	quar_begin_release -> quar_get -> quar_content -> (draft, in slices) -> spool_accept -> quar_finish_release -> scheduled
 *
 * A step that fails before the spool has the copy takes everything back (quar_undo_release). Behind that there is no way back: what
 * cannot be written down now is tried again until it can.
 */
#include "queue/release.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "map/remote.h"
#include "queue/queue.h"
#include "queue/report.h"
#include "queue/sched.h"

#include <unistd.h>

enum {
	RELEASE_MAGIC = 0x9e1ea5ed,
	FRONT_MAX = 16 * 1024,
	HEADER_MAX = 1024 * 1024,    /* of one that takes the place of the message's */
	ENVELOPE_BYTES_MAX = 64 * 1024 * 1024,
	SLICE = 256 * 1024,          /* octets copied into a draft between two turns of the loop */
	INLINE_MAX = 64 * 1024,      /* larger content takes the way of a draft */
};
#define RETRY_USEC (2 * USEC_PER_SEC)

struct release {
	unsigned magic;
	struct list link;            /* in q->quarantine.releases */
	struct queue *q;
	struct quarantine_order *order; /* who waits; NULL: nobody any more */
	struct spool_id id, copy;
	char who[QUAR_WHO_MAX + 1];
	bool as_attachment, elsewhere;
	struct quar_req mark, look;
	struct buf encoded;          /* envelope of the copy */
	struct buf front, back;
	bool has_header;
	struct buf header;           /* in the place of the message's, has_header */
	uint32_t nrcpt;
	int fd;                      /* content */
	uint64_t length, at;         /* of it; what is left out stands before cut */
	uint64_t cut;
	uint32_t crc;
	uint64_t draft;              /* 0: none */
	int draft_fd;
	struct message *m;           /* the copy, from spool_accept() on */
	struct op accept;
	struct map_wait maps;        /* aliases of an address that was no recipient */
	bool has_maps;
	struct timer again;
	void (*retry)(struct release *);
	struct err why;
};

static void on_marked(struct op *op);
static void on_got(struct op *op);
static void on_content(struct op *op);
static void on_maps(struct op *op);
static void on_accepted(struct op *op);
static void on_finished(struct op *op);
static void on_undone(struct op *op);

/* ---- life ---- */

/* The same request for something else: what it gave is given back. */
static struct quar_req *
renew(struct release *r, struct quar_req *req, op_fn *done)
{
	quar_req_fini(req);
	quar_req_init(req, &r->q->ops, done);
	return req;
}

static void
on_again(struct timer *t)
{
	struct release *r = container_of(t, struct release, again);
	CHECK(r, RELEASE_MAGIC);
	r->retry(r);
	sched_poke(r->q);
}

static void
later(struct release *r, uint64_t usec, void (*retry)(struct release *))
{
	r->retry = retry;
	timer_set(&r->again, usec);
}

static struct release *
release_new(struct queue *q, const struct spool_id *id, const struct spool_id *copy)
{
	struct release *r = mem_zalloc(sizeof *r);
	r->magic = RELEASE_MAGIC;
	r->q = q;
	r->id = *id;
	r->copy = *copy;
	r->fd = r->draft_fd = -1;
	quar_req_init(&r->mark, &q->ops, on_marked);
	quar_req_init(&r->look, &q->ops, on_got);
	op_init(&r->accept, &q->ops, on_accepted);
	timer_init(&r->again, on_again);
	buf_init(&r->encoded, ENVELOPE_BYTES_MAX);
	buf_init(&r->front, FRONT_MAX + HEADER_MAX);
	buf_init(&r->back, FRONT_MAX);
	buf_init(&r->header, HEADER_MAX);
	list_init(&r->link);
	list_append(&q->quarantine.releases, &r->link);
	return r;
}

static void
close_files(struct release *r)
{
	if (r->fd >= 0)
		close(r->fd);
	if (r->draft_fd >= 0)
		close(r->draft_fd);
	r->fd = r->draft_fd = -1;
}

/* The order, if somebody still waits for it, is over. */
static void
answer(struct release *r, enum rc rc)
{
	struct quarantine_order *o = r->order;
	r->order = NULL;
	if (o == NULL)
		return;
	o->release = NULL;
	o->why = r->why;
	o->copy = r->copy;
	o->n = r->nrcpt;
	op_finish(&o->op, rc);
}

static void
release_end(struct release *r, enum rc rc)
{
	answer(r, rc);
	list_remove(&r->link);
	close_files(r);
	if (r->draft != 0)
		spool_draft_drop(r->q->spool, r->draft);
	timer_clear(&r->again);
	op_cancel(&r->accept);
	if (r->has_maps)
		map_wait_fini(&r->maps);
	quar_req_fini(&r->mark);
	quar_req_fini(&r->look);
	buf_fini(&r->encoded);
	buf_fini(&r->front);
	buf_fini(&r->back);
	buf_fini(&r->header);
	mem_poison(r, sizeof *r);
	mem_free(&r);
}

/* At shutdown: what is durable is found again at the next start. */
void
release_abandon(struct queue *q)
{
	list_each(l, &q->quarantine.releases) {
		struct release *r = list_entry(l, struct release, link);
		if (r->order != NULL)
			r->order->release = NULL;
		r->order = NULL;
		release_end(r, RC_TEMP);
	}
}

bool
release_idle(const struct queue *q)
{
	return list_empty(&q->quarantine.releases);
}

/* ---- the way back ---- */

static void
undo(struct release *r)
{
	quar_undo_release(r->q->quarantine.store, renew(r, &r->mark, on_undone), &r->id, &r->copy);
}

static void
on_undone(struct op *op)
{
	struct release *r = container_of(container_of(op, struct quar_req, op), struct release, mark);
	CHECK(r, RELEASE_MAGIC);
	if (op->rc == RC_TEMP)
		later(r, RETRY_USEC, undo);
	else
		release_end(r, RC_TEMP);
}

/* Nothing of the copy is in the spool: they are held again. */
static void
give_up(struct release *r, const char *what, const char *why)
{
	(void)!err_set(&r->why, RC_TEMP, "%s: %s", what, why);
	char id[SPOOL_ID_TEXT];
	const struct log_ctx ctx = { .qid = span_of(id, spool_id_text(&r->id, id)) };
	log_warn(&ctx, "quarantine: a release is taken back: %s: %s", what, why);
	close_files(r);
	answer(r, RC_TEMP);
	undo(r);
}

/* ---- into the spool ---- */

/* Octets of the copy. */
static uint64_t
total_of(const struct release *r)
{
	return buf_len(&r->front) + r->length - r->cut + buf_len(&r->back);
}

static void
accept_copy(struct release *r)
{
	struct queue *q = r->q;
	struct arena arena;
	struct envelope env;
	arena_init(&arena, ENVELOPE_BYTES_MAX);
	if (envelope_get(buf_span(&r->encoded), &arena, &env) != RC_OK)
		BUG("an envelope that was just written");
	r->m = message_new(&q->table, &env, buf_span(&r->encoded));
	arena_fini(&arena);
	uint64_t total = total_of(r);
	if (r->draft != 0) {
		uint64_t draft = r->draft;
		r->draft = 0;
		close_files(r);
		spool_accept_draft(q->spool, &r->m->spool, &r->copy, buf_span(&r->encoded), draft, total, r->crc, &r->accept);
		return;
	}
	close_files(r);
	spool_accept(q->spool, &r->m->spool, &r->copy, buf_span(&r->encoded), buf_span(&r->front), &r->accept);
}

static void
finish(struct release *r)
{
	quar_finish_release(r->q->quarantine.store, renew(r, &r->mark, on_finished), &r->id, &r->copy);
}

static void
on_accepted(struct op *op)
{
	struct release *r = container_of(op, struct release, accept);
	CHECK(r, RELEASE_MAGIC);
	if (op->rc == RC_OK) {
		metric_add(M_queue_accepted, 1);
		finish(r);
		return;
	}
	message_free(&r->q->table, &r->m);
	give_up(r, "the copy", spool_was_full(r->q->spool) ? "insufficient system storage" : "queue file write error");
}

static void
on_finished(struct op *op)
{
	struct release *r = container_of(container_of(op, struct quar_req, op), struct release, mark);
	struct queue *q = r->q;
	CHECK(r, RELEASE_MAGIC);
	if (op->rc == RC_TEMP) { /* it must not be delivered before nobody can release it again */
		later(r, RETRY_USEC, finish);
		return;
	}
	char id[SPOOL_ID_TEXT], copy[SPOOL_ID_TEXT];
	const struct log_ctx ctx = { .qid = span_of(id, spool_id_text(&r->id, id)) };
	LOG(quarantine_released, &ctx, F_SPAN(newid, span_of(copy, spool_id_text(&r->copy, copy))), F_NUM(nrcpt, r->nrcpt),
	    F_STR(reason, r->who[0] != '\0' ? r->who : "a restart"));
	metric_add(M_quarantine_released, 1);
	quarantine_changed(q);
	struct message *m = r->m;
	release_end(r, RC_OK);
	sched_new(q, m);
	sched_poke(q);
}

/* ---- content ---- */

/* Up to max octets of content behind what is in out already. */
static bool
read_more(struct release *r, struct buf *out, size_t max)
{
	size_t want = r->length - r->at < max ? (size_t)(r->length - r->at) : max;
	while (want > 0) {
		unsigned char *to = buf_reserve(out, want);
		ssize_t n = to != NULL ? pread(r->fd, to, want, (off_t)r->at) : -1;
		if (n <= 0)
			return false;
		buf_commit(out, (size_t)n);
		r->at += (uint64_t)n;
		want -= (size_t)n;
	}
	return true;
}

static bool
put_draft(struct release *r, struct span s)
{
	r->crc = crc32c(r->crc, s);
	return fd_write(r->draft_fd, s) == 0;
}

static void
copy_slice(struct release *r)
{
	struct buf piece;
	buf_init(&piece, SLICE);
	bool ok = read_more(r, &piece, SLICE) && put_draft(r, buf_span(&piece));
	buf_fini(&piece);
	if (!ok)
		give_up(r, "the content", "cannot be copied");
	else if (r->at < r->length)
		later(r, 0, copy_slice);
	else if (put_draft(r, buf_span(&r->back)))
		accept_copy(r);
	else
		give_up(r, "the content", "cannot be copied");
}

/* The header that was given takes the place of the one that is there; what is behind it, the empty line included, stays. */
static bool
replace_header(struct release *r)
{
	struct buf text;
	size_t end = SIZE_MAX;
	bool ok = true;
	buf_init(&text, HEADER_MAX);
	while (ok && end == SIZE_MAX && r->at < r->length) {
		ok = read_more(r, &text, SLICE);
		end = span_starts(buf_span(&text), SPAN("\r\n")) ? 0 : span_find(buf_span(&text), SPAN("\r\n\r\n"));
	}
	r->cut = r->at = end == SIZE_MAX ? r->length : end == 0 ? 0 : end + 2;
	buf_put(&r->front, buf_span(&r->header));
	buf_fini(&text);
	return ok && !r->front.over && !r->header.over;
}

static void
on_content(struct op *op)
{
	struct release *r = container_of(container_of(op, struct quar_req, op), struct release, look);
	struct err e = { .why = "" };
	CHECK(r, RELEASE_MAGIC);
	if (op->rc != RC_OK) {
		give_up(r, "the content", r->look.why.why);
		return;
	}
	r->fd = r->look.fd;
	r->look.fd = -1;
	r->length = r->look.length;
	if (r->has_header && !replace_header(r)) {
		give_up(r, "the content", "its header cannot be replaced");
		return;
	}
	if (total_of(r) <= INLINE_MAX) {
		struct buf whole;
		buf_init(&whole, INLINE_MAX);
		buf_put(&whole, buf_span(&r->front));
		bool ok = read_more(r, &whole, INLINE_MAX);
		buf_put(&whole, buf_span(&r->back));
		buf_fini(&r->front);
		r->front = whole;
		r->length = r->cut = 0; /* all of it is in front now */
		buf_reset(&r->back);
		if (ok)
			accept_copy(r);
		else
			give_up(r, "the content", "cannot be read");
		return;
	}
	if (spool_draft_open(r->q->spool, &r->draft, &r->draft_fd, &e) != RC_OK) {
		r->draft = 0;
		give_up(r, "the copy", e.why);
		return;
	}
	if (put_draft(r, buf_span(&r->front)))
		later(r, 0, copy_slice);
	else
		give_up(r, "the content", "cannot be copied");
}

/* ---- the envelope of the copy ---- */

/* Who gets the copy. An address that was no recipient goes through canonical and virtual tables as one would have; those who were, did. */
static enum rc
put_rcpts(struct release *r, struct arena *a, struct env_rcpt **out, uint32_t *n_out, struct err *e)
{
	uint32_t n = (uint32_t)r->mark.nrcpt;
	const struct quar_rcpt *c = r->mark.rcpt;
	if (r->elsewhere && n == 1) {
		struct envelope led = { .nrcpt = 0 };
		enum rc rc = report_target(r->q, c->addr, a, &led, e);
		if (rc != RC_OK)
			return rc;
		*out = arena_zalloc(a, (led.nrcpt + 1) * sizeof **out);
		if (*out == NULL)
			return err_set(e, RC_PERM, "too many recipients");
		for (uint32_t i = 0; i < led.nrcpt; i++)
			(*out)[i] = (struct env_rcpt){ .addr = led.rcpt[i].addr, .notify = NOTIFY_NEVER,
				.orig = span_eq(led.rcpt[i].addr, c->addr) ? SPAN_EMPTY : c->addr };
		*n_out = led.nrcpt;
		return RC_OK;
	}
	*out = arena_zalloc(a, (n + 1) * sizeof **out);
	if (*out == NULL)
		return err_set(e, RC_PERM, "too many recipients");
	for (uint32_t i = 0; i < n; i++)
		(*out)[i] = (struct env_rcpt){ .addr = c[i].addr, .orig = c[i].orig, .orcpt = c[i].orcpt, .notify = c[i].added ? NOTIFY_NEVER : c[i].notify };
	*n_out = n;
	return RC_OK;
}

static void
compose(struct release *r, struct env_rcpt *rcpt, uint32_t n)
{
	struct queue *q = r->q;
	const struct envelope *was = &r->look.env;
	const struct quar_row *row = &r->look.rows[0];
	char id[SPOOL_ID_TEXT], copy[SPOOL_ID_TEXT], client[SPOOL_ID_TEXT + 16];
	struct span from = span_of(id, spool_id_text(&r->id, id));
	snprintf(client, sizeof client, RELEASE_CLIENT "%s]", id);
	const uint32_t kept = MSGF_8BITMIME | MSGF_SMTPUTF8 | MSGF_RET_FULL | MSGF_RET_HDRS | MSGF_HAS_8BIT | MSGF_HAS_DOTS | MSGF_HAS_LONG | MSGF_UTF8_HEADERS;
	struct envelope env = {
		.arrival = clock_wall(), .flags = (was->flags & kept) | MSGF_RELEASED, .sender = was->sender, .envid = was->envid,
		.client = span_str(client), .nrcpt = n, .rcpt = rcpt,
	};
	const struct wrap w = {
		.qid = span_of(copy, spool_id_text(&r->copy, copy)), .myhostname = q->set.myhostname, .mail_name = q->set.mail_name,
		.myorigin = q->set.myorigin, .from_id = from, .now = env.arrival, .to = n == 1 ? rcpt[0].addr : SPAN_EMPTY /* nobody hears of the others */, .subject = row->subject,
		.reason = row->reason, .class = span_str(held_class_name(row->class)), .is_8bit = (was->flags & MSGF_HAS_8BIT) != 0,
		.is_utf8 = (was->flags & (MSGF_SMTPUTF8 | MSGF_UTF8_HEADERS)) != 0,
	};
	if (r->as_attachment) { /* from us; the sender hears nothing of it */
		env.sender = env.envid = SPAN_EMPTY;
		env.flags &= ~(uint32_t)(MSGF_RET_FULL | MSGF_RET_HDRS);
		if (!span_is_ascii(row->subject) || !span_is_ascii(row->reason))
			env.flags |= MSGF_HAS_8BIT;
		if (env.flags & MSGF_HAS_8BIT)
			env.flags |= MSGF_8BITMIME;
		for (uint32_t i = 0; i < n; i++)
			rcpt[i].notify = NOTIFY_NEVER;
		wrap_attach(&r->front, &r->back, &w);
	} else {
		wrap_received(&r->front, &w);
	}
	envelope_put(&r->encoded, &env);
	r->nrcpt = n;
}

static void
address(struct release *r)
{
	struct arena a;
	struct err e = { .why = "" };
	struct env_rcpt *rcpt = NULL;
	uint32_t n = 0;
	arena_init(&a, ENVELOPE_BYTES_MAX);
	map_forget();
	enum rc rc = put_rcpts(r, &a, &rcpt, &n, &e);
	if (rc == RC_TEMP && map_asked()) {
		if (!r->has_maps)
			map_wait_init(&r->maps, &r->q->ops, on_maps);
		r->has_maps = true;
		map_wait_start(&r->maps);
		arena_fini(&a);
		return;
	}
	if (rc == RC_OK)
		compose(r, rcpt, n);
	arena_fini(&a);
	if (rc != RC_OK)
		give_up(r, "the recipient", e.why[0] != '\0' ? e.why : "cannot be looked up");
	else if (r->nrcpt == 0 || r->encoded.over || r->front.over)
		give_up(r, "the envelope", "cannot be made");
	else
		quar_content(r->q->quarantine.store, renew(r, &r->look, on_content), &r->id);
}

static void
on_maps(struct op *op)
{
	struct map_wait *w = container_of(op, struct map_wait, op);
	struct release *r = container_of(w, struct release, maps);
	CHECK(r, RELEASE_MAGIC);
	address(r);
	sched_poke(r->q);
}

static void
on_got(struct op *op)
{
	struct release *r = container_of(container_of(op, struct quar_req, op), struct release, look);
	CHECK(r, RELEASE_MAGIC);
	if (op->rc != RC_OK || r->look.nrows == 0) {
		give_up(r, "the envelope", op->rc == RC_NONE ? "no such message" : r->look.why.why);
		return;
	}
	address(r);
}

static void
on_marked(struct op *op)
{
	struct release *r = container_of(container_of(op, struct quar_req, op), struct release, mark);
	CHECK(r, RELEASE_MAGIC);
	if (op->rc != RC_OK) {
		r->why = r->mark.why;
		release_end(r, op->rc);
		return;
	}
	quar_get(r->q->quarantine.store, &r->look, &r->id);
}

/* ---- orders ---- */

static void
forget_order(struct op *op)
{
	struct quarantine_order *o = container_of(op, struct quarantine_order, op);
	if (o->release != NULL)
		o->release->order = NULL;
	o->release = NULL;
}

static const struct op_provider releasing = { "quarantine release", forget_order };

/* NULL: it cannot be done now, and the order is answered. */
static struct release *
begin(struct quarantine_order *o, const struct spool_id *id, struct span who)
{
	struct queue *q = o->q;
	if (q->quarantine.store == NULL || q->quarantine.is_mending || q->draining) {
		op_finish(&o->op, err_set(&o->why, RC_TEMP, q->quarantine.is_mending ? "what a crash left is still being looked at" : "the quarantine is not available"));
		return NULL;
	}
	struct spool_id copy = spool_id_next((uint32_t)getpid());
	struct release *r = release_new(q, id, &copy);
	r->order = o;
	snprintf(r->who, sizeof r->who, "%.*s", (int)(who.n < QUAR_WHO_MAX ? who.n : QUAR_WHO_MAX), (const char *)who.p);
	o->release = r;
	op_pend(&o->op, &releasing);
	return r;
}

void
quarantine_release(struct quarantine_order *o, const struct spool_id *id, const struct span *addrs, size_t naddrs, struct span to,
    bool as_attachment, struct span who)
{
	struct release *r = begin(o, id, who);
	if (r == NULL)
		return;
	r->as_attachment = as_attachment;
	r->elsewhere = to.n > 0;
	if (to.n > 0)
		quar_begin_release(o->q->quarantine.store, &r->mark, id, &to, 1, true, &r->copy, who);
	else
		quar_begin_release(o->q->quarantine.store, &r->mark, id, addrs, naddrs, false, &r->copy, who);
}

void
quarantine_release_with(struct quarantine_order *o, const struct spool_id *id, struct span header, struct span who)
{
	struct release *r = begin(o, id, who);
	if (r == NULL)
		return;
	r->has_header = true;
	buf_put(&r->header, header);
	quar_begin_release(o->q->quarantine.store, &r->mark, id, NULL, 0, false, &r->copy, who);
}
