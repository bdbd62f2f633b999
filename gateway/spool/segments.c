/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring of segments. They are reused strictly oldest first: a STATE or DONE record says something
 * about an ACCEPT that is older or in a file, so as long as it may be read its record stays too.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rand.h"
#include "spool/io.h"
#include "spool/internal.h"

#include <errno.h>

enum { READY_WANTED = 2, SMALLEST = 1 << 20, PIECES = 8 };
#define RETRY_USEC (2 * USEC_PER_SEC)
#define QUIET_USEC (60 * USEC_PER_SEC)

struct segment *
segment_new(const struct seg_head *h, uint32_t file, int fd, int ro)
{
	struct segment *seg = mem_zalloc(sizeof *seg);
	list_init(&seg->link);
	list_init(&seg->live);
	seg->head = *h;
	seg->file = file;
	seg->fd = fd;
	seg->ro = ro;
	seg->pos = SEG_HEADER;
	return seg;
}

void
segment_free(struct segment **sp)
{
	struct segment *seg = *sp;
	if (seg == NULL)
		return;
	list_remove(&seg->link);
	while (list_pop(&seg->live) != NULL)
		;
	if (seg->fd >= 0)
		(void)spool_io->close(seg->fd);
	if (seg->ro >= 0)
		(void)spool_io->close(seg->ro);
	mem_free(sp);
}

void
segment_tell_gone(struct spool *s, struct segment *seg)
{
	if (!seg->gone && s->ops->segment_gone != NULL)
		s->ops->segment_gone(s->owner, seg->head.generation);
	seg->gone = true;
}

struct segment *
segment_find(const struct spool *s, uint64_t generation)
{
	/* newest first: that is where deliveries read */
	for (struct list *l = s->used.prev; l != &s->used; l = l->prev)
		if (list_entry(l, struct segment, link)->head.generation == generation)
			return list_entry(l, struct segment, link);
	list_each(l, &s->retired)
		if (list_entry(l, struct segment, link)->head.generation == generation)
			return list_entry(l, struct segment, link);
	if (s->turning != NULL && s->turning->head.generation == generation)
		return s->turning;
	return NULL;
}

static uint64_t
journal_bytes(const struct spool *s)
{
	const struct list *const lists[] = { &s->used, &s->ready, &s->retired };
	uint64_t sum = s->turning != NULL ? s->turning->head.size : 0;
	for (size_t i = 0; i < NELEMS(lists); i++)
		for (const struct list *l = lists[i]->next; l != lists[i]; l = l->next) {
			const union {
				const struct list *c;
				struct list *p;
			} u = { .c = l };
			sum += list_entry(u.p, struct segment, link)->head.size;
		}
	return sum;
}

/* A small file system gets small segments, for the ring must have several; and the journal never takes more
 * than half of what there is, for messages must be able to move to files. */
uint64_t
segments_size(const struct spool *s)
{
	uint64_t size = s->set.segment_bytes, least = size < SMALLEST ? size : SMALLEST;
	uint64_t room = s->free_bytes > s->set.reserve_bytes ? s->free_bytes - s->set.reserve_bytes : 0;
	if (size > room / PIECES)
		size = room / PIECES / SMALLEST * SMALLEST;
	if (size < least)
		size = least;
	return size <= room && (journal_bytes(s) + size <= room - size || s->nused + s->nready < 2) ? size : 0;
}

static struct seg_head
new_head(struct spool *s, uint64_t size)
{
	struct seg_head h = { .generation = s->next_generation++, .size = size, .nonce = (uint32_t)rand_u64() };
	memcpy(h.spool, s->uuid, sizeof h.spool);
	return h;
}

static void
gauge(const struct spool *s)
{
	metric_set(M_spool_segments, s->nused + (s->turning != NULL));
}

/* Tried again every few seconds for as long as it lasts: one line a minute is enough. */
void
trouble(struct spool *s, const char *what, int error)
{
	uint64_t now = spool_io->now();
	metric_add(M_spool_errors, 1);
	if (now < s->quiet_until)
		return;
	s->quiet_until = now + QUIET_USEC;
	log_warn(NULL, "spool: cannot %s: %s", what, strerrordesc_np(error));
}

static void
make(struct spool *s)
{
	uint64_t size = segments_size(s);
	if (s->making != NULL || spool_io->now() < s->make_after)
		return;
	if (size == 0) {
		s->disk_refuses = true;
		return;
	}
	struct job *j = job_new(JOB_CREATE);
	j->seg_head = new_head(s, size);
	j->seg_file = s->next_file++;
	s->making = j;
	filer_give(&s->filer, j);
}

static void
made(struct spool *s, struct job *j)
{
	s->making = NULL;
	s->disk_refuses = j->rc != RC_OK;
	if (j->rc == RC_OK) {
		struct segment *seg = segment_new(&j->seg_head, j->seg_file, j->seg_fd, j->seg_ro);
		list_append(&s->ready, &seg->link);
		s->nready++;
	} else {
		s->make_after = spool_io->now() + RETRY_USEC;
		trouble(s, "make a journal segment", j->error);
	}
	admit_look(s);
}

static void
turn_run(struct spool *s)
{
	struct segment *seg = s->turning;
	struct job *j = job_new(s->turning_retire ? JOB_RETIRE : JOB_PREPARE);
	j->seg = seg;
	j->seg_fd = seg->fd;
	j->seg_file = seg->file;
	j->keep = seg->keep;
	j->seg_head = new_head(s, seg->head.size);
	s->turning_runs = true;
	filer_give(&s->filer, j);
}

static unsigned
count(const struct spool *s)
{
	unsigned n = s->nused + s->nready + (s->making != NULL) + (s->turning != NULL && !s->turning_retire);
	list_each(l, &s->used)
		n -= list_entry(l, struct segment, link)->bad;
	return n;
}

static void
turn(struct spool *s, struct segment *seg)
{
	list_remove(&seg->link);
	s->nused--;
	s->turning_retire = seg->bad || seg->readers > 0 || seg->head.size - SEG_HEADER < commit_record_max(s) ||
	    (count(s) >= s->set.segments_max && s->nready >= READY_WANTED);
	s->turning = seg;
	if (seg->readers == 0)
		segment_tell_gone(s, seg);
	turn_run(s);
}

static void
retired(struct spool *s, struct segment *seg)
{
	if (seg->readers > 0) {
		list_append(&s->retired, &seg->link); /* spool_unpin frees it */
		return;
	}
	segment_tell_gone(s, seg);
	segment_free(&seg);
}

static void
turned(struct spool *s, struct job *j)
{
	struct segment *seg = j->seg;
	s->turning_runs = false;
	if (j->rc != RC_OK) {
		/* stays where it is: none younger may be reused before it */
		s->turning_retire = true;
		s->turn_after = spool_io->now() + RETRY_USEC;
		trouble(s, "reuse a journal segment", j->error);
		return;
	}
	if (j->kind == JOB_RETIRE) {
		retired(s, seg); /* who is told of it still finds it */
		s->turning = NULL;
		admit_look(s);
		return;
	}
	s->turning = NULL;
	seg->head = j->seg_head;
	seg->pos = SEG_HEADER;
	seg->gone = false;
	seg->ending = 0;
	list_append(&s->ready, &seg->link);
	s->nready++;
}

void
segments_job_done(struct spool *s, struct job *j)
{
	switch (j->kind) {
	case JOB_ACCEPT:
		files_accept_done(s, j);
		break;
	case JOB_SPILL:
		spill_done(s, j);
		break;
	case JOB_UNLINK:
		break;
	case JOB_CREATE:
		made(s, j);
		break;
	case JOB_PREPARE:
	case JOB_RETIRE:
		turned(s, j);
		break;
	}
	job_free(&j);
	gauge(s);
}

bool
segments_coming(const struct spool *s)
{
	return s->making != NULL || s->turning_runs || s->spill != NULL || (!s->disk_refuses && count(s) < s->set.segments_max);
}

/* Part of the batch in flight lies there: its messages are in no list yet. */
static bool
is_written(const struct spool *s, const struct segment *seg)
{
	for (size_t i = 0; s->flight != NULL && i < s->flight->nextents; i++)
		if (s->flight->extents[i].seg == seg)
			return true;
	return false;
}

/* Nothing in it matters any more, and that is durable. */
static bool
is_spent(const struct spool *s, const struct segment *seg)
{
	if (!list_empty(&seg->live) || is_written(s, seg) || s->doomed > 0 || (s->spill != NULL && s->spill->seg == seg))
		return false;
	/* A finished message that has a file is in nobody's list, but until its DONE is durable its last state,
	 * which is here, is needed. Unless there is no room for that DONE anywhere else: then a crash may
	 * bring the message back with an older state, which is better than standing still. */
	return seg->ending == 0 || (s->nready == 0 && s->disk_refuses);
}

void
segments_tend(struct spool *s)
{
	uint64_t now = spool_io->now();
	if (s->turning != NULL && !s->turning_runs && now >= s->turn_after)
		turn_run(s);
	struct segment *oldest = list_empty(&s->used) ? NULL : list_entry(s->used.next, struct segment, link);
	if (oldest == s->current)
		oldest = NULL;
	if (oldest != NULL && s->turning == NULL && is_spent(s, oldest)) {
		turn(s, oldest);
		oldest = NULL;
	}
	unsigned coming = (s->making != NULL) + (s->turning_runs && !s->turning_retire);
	if (s->nready + coming >= READY_WANTED && count(s) >= s->set.segments_min)
		return;
	/* beyond the maximum only when records wait and there is nothing else to do */
	if (count(s) < s->set.segments_max || (s->nready + coming == 0 && s->blocked_since != 0 && count(s) < 2 * s->set.segments_max))
		make(s);
	/* when the disk has no room for a segment it may still have room for some files */
	if (oldest != NULL && s->spill == NULL && now >= s->spill_after && s->nready + coming < READY_WANTED &&
	    (count(s) >= s->set.segments_max || s->disk_refuses))
		(void)spill_start(s, oldest);
}
