/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * batch.h - records on their way to the journal, and the thread that writes them.
 *
 * The loop gathers records into a batch; nothing in it knows yet where it will lie. When the commit
 * thread is free the loop gives the batch its place (extents in segments, the stamp of each record)
 * and hands it over; until it comes back nobody else touches it. The thread computes the sums,
 * writes, calls fdatasync once per segment, and rings the bell.
 *
 * Each batch begins on a page of the segment: a block that holds records already promised is never
 * written again, so a failed or torn write of this batch cannot take an earlier one with it.
 */
#ifndef SPOOL_BATCH_H
#define SPOOL_BATCH_H

#include "base/list.h"
#include "spool/record.h"

#include <pthread.h>

struct segment;

struct entry {                   /* one record of the batch */
	size_t off;              /* in the batch's bytes; multiple of 8 */
	struct op *op;           /* waits for it; NULL: nobody */
	bool unlink;             /* DONE: there is a file to remove when this is durable */
	uint64_t state_in;       /* DONE: segment with the last state of that file's message; 0: none */
};

struct extent {                  /* a run of records that lies in one segment */
	struct segment *seg;
	int fd;
	uint64_t at;             /* in the segment; a multiple of SEG_PAGE */
	size_t from, len;        /* in the batch's bytes */
	size_t first, n;         /* its entries */
};

struct batch {
	struct list link;
	unsigned char *p;
	size_t n, cap;
	struct entry *entries;
	size_t nentries, entries_cap;
	struct extent *extents;
	size_t nextents, extents_cap;
	size_t accepts;          /* ACCEPT records among them */
	bool urgent;             /* somebody waits for it, or it must not wait: not only ends and states */
	uint32_t seq;
	int error;               /* set by the commit thread: errno, 0 when all of it is durable */
	unsigned syncs;
};

struct batch *batch_new(void);
void batch_free(struct batch **bp);
void batch_reset(struct batch *b);       /* empties, keeps the memory */
/* Appends a record; the bytes are copied. */
void batch_put(struct batch *b, enum rec_type type, const struct spool_id *id, uint32_t version, struct span head,
    struct span body, struct op *op, bool unlink, uint64_t state_in);
/* Appends a record of another batch; its op comes along. */
void batch_put_entry(struct batch *b, const struct batch *from, const struct entry *e);
/* Drops the entries for which keep says no, in place; the caller has seen to their ops. */
void batch_filter(struct batch *b, bool (*keep)(void *arg, struct batch *b, struct entry *e), void *arg);
struct extent *batch_extent(struct batch *b);    /* a new one, zeroed */
size_t batch_entry_size(const struct batch *b, const struct entry *e);

struct committer {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct batch *todo, *done;
	bool stop, running;
	int bell;                /* eventfd; borrowed */
};
void committer_start(struct committer *c, int bell);
void committer_give(struct committer *c, struct batch *b);   /* one at a time */
struct batch *committer_take(struct committer *c);           /* NULL: not finished */
struct batch *committer_wait(struct committer *c);           /* blocks; NULL: nothing was given */
void committer_stop(struct committer *c);                    /* what was given is finished first */

/* Writes one batch and waits for the disk; what the thread does. */
void batch_write(struct batch *b);

#endif
