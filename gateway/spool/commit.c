/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop's side of the journal: gathering, giving places, and what follows when a batch is back. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "spool/internal.h"
#include "spool/io.h"

#include <errno.h>

enum { BATCH_BYTES = 8 << 20, WAITING_BYTES = 64 << 20, SPARE_BATCHES = 3, SMALLEST_SEGMENT = 1 << 20 };
enum { LAZY_USEC = 10 * 1000, LAZY_BYTES = 256 << 10 };
enum { REFUSE_AFTER = 2, BACKOFF_MAX_SEC = 30, CLOSE_TRIES = 3 };

static struct batch *
batch_at(struct list *l)
{
	return list_entry(l, struct batch, link);
}

static struct batch *
fresh_batch(struct spool *s)
{
	struct list *l = list_pop(&s->spare);
	return l != NULL ? batch_at(l) : batch_new();
}

static void
recycle_batch(struct spool *s, struct batch *b)
{
	size_t n = 0;
	list_each(l, &s->spare)
		n++;
	batch_reset(b);
	if (n >= SPARE_BATCHES || b->cap > 2 * BATCH_BYTES)
		batch_free(&b);
	else
		list_prepend(&s->spare, &b->link); /* the one whose memory is warm */
}

static bool
forget_in(struct batch *b, const struct op *op)
{
	for (size_t i = 0; i < b->nentries; i++)
		if (b->entries[i].op == op) {
			b->entries[i].op = NULL;
			return true;
		}
	return false;
}

/* Cancelling is rare, so it is looked for. */
void
commit_detach(struct op *op)
{
	const union {
		const struct op_provider *c;
		struct op_provider *p;
	} u = { .c = op->provider };
	struct spool *s = container_of(u.p, struct spool, provider);
	if (s->flight != NULL && forget_in(s->flight, op))
		return;
	list_each(l, &s->waiting)
		if (forget_in(batch_at(l), op))
			return;
	for (size_t i = 0; i < s->naccepts; i++)
		if (s->accepts[i]->op == op)
			s->accepts[i]->op = NULL;
}

size_t
commit_record_max(const struct spool *s)
{
	uint64_t size = s->set.segment_bytes < SMALLEST_SEGMENT ? s->set.segment_bytes : SMALLEST_SEGMENT;
	return (size_t)size - SEG_HEADER;
}

/* A batch crosses the end of a segment at most once, however small the segments are. */
static size_t
batch_max(const struct spool *s)
{
	size_t n = commit_record_max(s) / 2;
	return s->set.segment_bytes >= 2 * (uint64_t)BATCH_BYTES ? BATCH_BYTES : n;
}

bool
commit_room(const struct spool *s, size_t n)
{
	size_t sum = 0;
	list_each(l, &s->waiting)
		sum += batch_at(l)->accepts > 0 ? batch_at(l)->n : 0;
	return sum <= WAITING_BYTES && n <= WAITING_BYTES - sum;
}

void
commit_put(struct spool *s, enum rec_type type, const struct spool_id *id, uint32_t version, struct span head, struct span body,
    struct op *op, bool unlink, uint64_t state_in)
{
	struct batch *b = list_empty(&s->waiting) ? NULL : batch_at(s->waiting.prev);
	if (b == NULL || (b->n > 0 && b->n + rec_size(head.n, body.n) > batch_max(s))) {
		b = fresh_batch(s);
		list_append(&s->waiting, &b->link);
	}
	batch_put(b, type, id, version, head, body, op, unlink, state_in);
}

/* ---- giving places ---- */

static uint64_t
left_in(const struct segment *seg)
{
	return seg != NULL ? seg->head.size - seg->pos : 0;
}

/* Is there room? An accept never takes the last ready segment beyond three quarters: what is left is
 * for states and ends, so that a full disk does not stop deliveries. */
static bool
fits(const struct spool *s, const struct batch *b)
{
	const struct segment *seg = s->current;
	uint64_t left = left_in(seg);
	unsigned taken = 0;
	const struct list *next = s->ready.next;
	if (b->n > left) {
		for (size_t i = 0; i < b->nentries; i++) {
			size_t n = batch_entry_size(b, &b->entries[i]);
			if (n > left) {
				if (taken == s->nready)
					return false;
				const union {
					const struct list *c;
					struct list *p;
				} u = { .c = next };
				seg = list_entry(u.p, struct segment, link);
				next = next->next;
				taken++;
				left = left_in(seg);
				if (n > left)
					return false;
			}
			left -= n;
		}
	} else {
		left -= b->n;
	}
	return b->accepts == 0 || s->nready > taken || left >= seg->head.size / 4;
}

static void
next_segment(struct spool *s)
{
	struct segment *seg = list_entry(list_pop(&s->ready), struct segment, link);
	s->nready--;
	s->nused++;
	list_append(&s->used, &seg->link);
	s->current = seg;
}

static void
end_extent(struct extent *x)
{
	if (x != NULL)
		x->seg->pos = x->at + (x->len + SEG_PAGE - 1) / SEG_PAGE * SEG_PAGE;
}

static void
place(struct spool *s, struct batch *b)
{
	struct extent *x = NULL;
	b->nextents = 0;
	b->seq = ++s->batch_seq;
	for (size_t i = 0; i < b->nentries; i++) {
		const struct entry *e = &b->entries[i];
		size_t n = batch_entry_size(b, e);
		if (x == NULL || n > x->seg->head.size - x->at - x->len) {
			end_extent(x);
			if (n > left_in(s->current))
				next_segment(s);
			x = batch_extent(b);
			*x = (struct extent){ .seg = s->current, .fd = s->current->fd, .at = s->current->pos, .from = e->off, .first = i };
		}
		x->len += n;
		x->n++;
		rec_place(b->p + e->off, seg_stamp(&x->seg->head), b->seq, (uint32_t)i);
	}
	end_extent(x);
}

static void
give(struct spool *s, struct batch *b)
{
	list_remove(&b->link);
	if (b->accepts > 0 || list_empty(&s->waiting))
		s->blocked_since = 0;
	place(s, b);
	s->flight = b;
	committer_give(&s->committer, b);
}

/* ---- when segments are scarce: states and ends go first ---- */

struct pick {
	struct spool *s;
	struct batch *to;
};

static bool
keep_for_later(void *arg, struct batch *b, struct entry *e)
{
	struct pick *p = arg;
	const unsigned char *rec = b->p + e->off;
	struct spool_id id = rec_id_of(rec);
	const struct spool_msg *m;
	switch (rec_type_of(rec)) {
	case REC_ACCEPT:
		/* finished before it was written: then its end must not come to lie before it */
		if (spool_find(p->s, &id) != NULL)
			return true;
		if (e->op != NULL)
			op_finish(e->op, RC_TEMP);
		return false;
	case REC_STATE:
		/* the state of a message that waits stays behind it */
		m = spool_find(p->s, &id);
		if (m != NULL && (m->flags & MSG_PENDING) != 0)
			return true;
		break;
	case REC_DONE:
	case REC_ABORT:
		break;
	case REC_NONE:
	case REC_TYPES:
		BUG("record type");
	}
	if (p->to->n >= batch_max(p->s))
		return true;
	batch_put_entry(p->to, b, e);
	return false;
}

static struct batch *
pick_small(struct spool *s)
{
	struct pick p = { s, fresh_batch(s) };
	list_each(l, &s->waiting) {
		struct batch *b = batch_at(l);
		batch_filter(b, keep_for_later, &p);
		if (b->nentries == 0) {
			list_remove(&b->link);
			recycle_batch(s, b);
		}
	}
	if (p.to->nentries > 0)
		return p.to;
	recycle_batch(s, p.to);
	return NULL;
}

/* Segments became smaller than they were when this batch grew: its front half stays first. */
static void
split(struct spool *s, struct batch *b)
{
	struct batch *rest = fresh_batch(s);
	size_t half = b->n / 2, i = 1;
	while (i + 1 < b->nentries && b->entries[i].off < half)
		i++;
	for (size_t k = i; k < b->nentries; k++)
		batch_put_entry(rest, b, &b->entries[k]);
	b->n = b->entries[i].off;
	b->nentries = i;
	b->accepts -= rest->accepts;
	list_insert_after(&b->link, &rest->link);
}

/* Only ends and states, and few: they go with the next accept, or after LAZY_USEC. Otherwise the next accept would
 * find the disk busy with them, and each message would cost two fdatasyncs instead of one. */
static bool
can_wait(const struct spool *s, const struct batch *b)
{
	return !b->urgent && !s->closing && !s->lazy_due && s->waiting.next == s->waiting.prev && b->n < LAZY_BYTES;
}

void
commit_launch(struct spool *s)
{
	if (s->flight != NULL || list_empty(&s->waiting) || (!s->closing && spool_io->now() < s->retry_after))
		return;
	struct batch *b = batch_at(s->waiting.next);
	if (can_wait(s, b)) {
		if (!s->lazy.armed)
			timer_set(&s->lazy, LAZY_USEC);
		return;
	}
	timer_clear(&s->lazy);
	s->lazy_due = false;
	while (!fits(s, b) && b->nentries > 1 && b->n > commit_record_max(s))
		split(s, b);
	if (fits(s, b)) {
		give(s, b);
		return;
	}
	if (s->blocked_since == 0)
		s->blocked_since = spool_io->now();
	if ((b = pick_small(s)) == NULL)
		return;
	list_prepend(&s->waiting, &b->link);
	if (fits(s, b))
		give(s, b);
}

/* ---- what follows ---- */

static void
landed_accept(struct spool *s, const struct extent *x, const struct entry *e, const unsigned char *rec)
{
	struct spool_id id = rec_id_of(rec);
	struct spool_msg *m = spool_find(s, &id);
	if (m == NULL)
		return; /* finished meanwhile; its DONE comes later */
	uint32_t head, body;
	rec_lengths(rec, &head, &body);
	m->length = body;
	m->segment = m->last_segment = x->seg->head.generation;
	m->head = REC_HEADER + head;
	m->offset = x->at + (e->off - x->from) + m->head;
	m->flags = (uint8_t)(m->flags & ~MSG_PENDING);
	list_append(&x->seg->live, &m->in_segment);
}

static void
landed_state(struct spool *s, const struct extent *x, const unsigned char *rec)
{
	struct spool_id id = rec_id_of(rec);
	struct spool_msg *m = spool_find(s, &id);
	if (m == NULL || (m->flags & MSG_PENDING) != 0)
		return;
	m->last_segment = x->seg->head.generation;
	if ((m->flags & MSG_FILED) == 0)
		return; /* its ACCEPT is older, and goes to a file with the newest state */
	list_remove(&m->in_segment);
	list_append(&x->seg->live, &m->in_segment);
}

static void
landed(struct spool *s, struct batch *b)
{
	struct spool_id *gone = NULL;
	size_t ngone = 0;
	s->failures = 0;
	s->retry_after = 0;
	for (size_t k = 0; k < b->nextents; k++) {
		const struct extent *x = &b->extents[k];
		for (size_t i = x->first; i < x->first + x->n; i++) {
			const struct entry *e = &b->entries[i];
			const unsigned char *rec = b->p + e->off;
			if (rec_type_of(rec) == REC_ACCEPT)
				landed_accept(s, x, e, rec);
			else if (rec_type_of(rec) == REC_STATE)
				landed_state(s, x, rec);
			if (e->unlink) {
				if (gone == NULL)
					gone = mem_calloc(b->nentries, sizeof *gone);
				gone[ngone++] = rec_id_of(rec);
			}
			struct segment *seg = e->state_in != 0 ? segment_find(s, e->state_in) : NULL;
			if (seg != NULL && seg->ending > 0)
				seg->ending--;
			if (e->op != NULL)
				op_finish(e->op, RC_OK);
		}
	}
	if (ngone > 0)
		files_unlink(s, gone, ngone);
	mem_free(&gone);
}

static void
refuse(struct spool *s, struct batch *b, struct entry *e, bool full)
{
	struct spool_id id = rec_id_of(b->p + e->off);
	struct spool_msg *m = spool_find(s, &id);
	if (m != NULL)
		msg_leave(s, m);
	s->was_full = full;
	if (full)
		metric_add(M_spool_full, 1);
	if (e->op != NULL)
		op_finish(e->op, RC_TEMP);
	e->op = NULL;
}

/* The segments it was written to are given up: what the kernel says about them from now on proves
 * nothing. Its accepts end, and that they did is written down; all else is written again. */
static void
failed(struct spool *s, struct batch *b)
{
	bool full = b->error == ENOSPC || b->error == EDQUOT;
	trouble(s, "write the journal", b->error);
	for (size_t k = 0; k < b->nextents; k++) {
		b->extents[k].seg->bad = true;
		if (b->extents[k].seg == s->current)
			s->current = NULL;
	}
	struct batch *again = fresh_batch(s);
	for (size_t i = 0; i < b->nentries; i++) {
		struct entry *e = &b->entries[i];
		if (rec_type_of(b->p + e->off) != REC_ACCEPT) {
			batch_put_entry(again, b, e);
			continue;
		}
		struct spool_id id = rec_id_of(b->p + e->off);
		refuse(s, b, e, full);
		batch_put(again, REC_ABORT, &id, UINT32_MAX, SPAN_EMPTY, SPAN_EMPTY, NULL, false, 0);
	}
	list_prepend(&s->waiting, &again->link);
	if (++s->failures < REFUSE_AFTER)
		return;
	unsigned shift = s->failures - REFUSE_AFTER;
	uint64_t sec = shift < 5 ? UINT64_C(1) << shift : BACKOFF_MAX_SEC;
	s->retry_after = spool_io->now() + sec * USEC_PER_SEC;
	commit_refuse_waiting(s, full);
}

void
commit_landed(struct spool *s, struct batch *b)
{
	BUG_ON(b != s->flight);
	s->flight = NULL;
	metric_add(M_spool_commits, b->syncs);
	metric_add(M_spool_records, (int64_t)b->nentries);
	if (b->error == 0)
		landed(s, b);
	else
		failed(s, b);
	recycle_batch(s, b);
}

struct refusal {
	struct spool *s;
	bool full, all;
};

static bool
not_refused(void *arg, struct batch *b, struct entry *e)
{
	const struct refusal *r = arg;
	if (rec_type_of(b->p + e->off) == REC_ACCEPT)
		refuse(r->s, b, e, r->full);
	else if (!r->all)
		return true;
	else if (e->op != NULL)
		op_finish(e->op, RC_TEMP);
	return false;
}

static void
refuse_from_waiting(struct spool *s, struct refusal r)
{
	list_each(l, &s->waiting) {
		struct batch *b = batch_at(l);
		batch_filter(b, not_refused, &r);
		if (b->nentries == 0) {
			list_remove(&b->link);
			recycle_batch(s, b);
		}
	}
}

void
commit_refuse_waiting(struct spool *s, bool full)
{
	s->blocked_since = 0;
	refuse_from_waiting(s, (struct refusal){ s, full, false });
}

void
commit_close(struct spool *s)
{
	s->closing = true;
	for (unsigned tries = 0; tries < CLOSE_TRIES;) {
		struct batch *b = committer_wait(&s->committer);
		if (b != NULL) {
			tries += b->error != 0;
			commit_landed(s, b);
		}
		if (list_empty(&s->waiting))
			break;
		commit_launch(s);
		if (s->flight != NULL)
			continue;
		/* no segment: perhaps the filer is about to finish one */
		segments_tend(s);
		filer_wait(&s->filer);
		bool any = false;
		for (struct job *j; (j = filer_take(&s->filer)) != NULL; any = true)
			segments_job_done(s, j);
		tries += !any;
	}
	struct batch *b = committer_wait(&s->committer);
	if (b != NULL)
		commit_landed(s, b);
	refuse_from_waiting(s, (struct refusal){ s, false, true });
}
