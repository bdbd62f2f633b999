/* SPDX-License-Identifier: BSD-2-Clause */
#include "spool/batch.h"

#include "base/mem.h"
#include "spool/io.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

enum { FIRST_BYTES = 64 << 10, FIRST_ENTRIES = 64 };

struct batch *
batch_new(void)
{
	struct batch *b = mem_zalloc(sizeof *b);
	list_init(&b->link);
	return b;
}

void
batch_free(struct batch **bp)
{
	struct batch *b = *bp;
	if (b == NULL)
		return;
	list_remove(&b->link);
	mem_free(&b->p);
	mem_free(&b->entries);
	mem_free(&b->extents);
	mem_free(bp);
}

void
batch_reset(struct batch *b)
{
	b->n = b->nentries = b->nextents = b->accepts = 0;
	b->urgent = false;
	b->error = 0;
	b->syncs = 0;
}

static unsigned char *
room(struct batch *b, size_t n)
{
	if (n > b->cap - b->n) {
		size_t cap = b->cap == 0 ? FIRST_BYTES : b->cap;
		while (cap - b->n < n)
			cap *= 2;
		b->p = mem_realloc(b->p, cap);
		b->cap = cap;
	}
	unsigned char *p = b->p + b->n;
	b->n += n;
	return p;
}

static struct entry *
new_entry(struct batch *b)
{
	if (b->nentries == b->entries_cap) {
		b->entries_cap = b->entries_cap == 0 ? FIRST_ENTRIES : 2 * b->entries_cap;
		b->entries = mem_reallocarray(b->entries, b->entries_cap, sizeof *b->entries);
	}
	return &b->entries[b->nentries++];
}

void
batch_put(struct batch *b, enum rec_type type, const struct spool_id *id, uint32_t version, struct span head, struct span body,
    struct op *op, bool unlink, uint64_t state_in)
{
	*new_entry(b) = (struct entry){ .off = b->n, .op = op, .unlink = unlink, .state_in = state_in };
	rec_put(room(b, rec_size(head.n, body.n)), type, id, version, head, body);
	b->accepts += type == REC_ACCEPT;
	b->urgent |= op != NULL || type == REC_ACCEPT || type == REC_ABORT;
}

size_t
batch_entry_size(const struct batch *b, const struct entry *e)
{
	size_t i = (size_t)(e - b->entries);
	return (i + 1 < b->nentries ? b->entries[i + 1].off : b->n) - e->off;
}

void
batch_put_entry(struct batch *b, const struct batch *from, const struct entry *e)
{
	size_t n = batch_entry_size(from, e);
	*new_entry(b) = (struct entry){ .off = b->n, .op = e->op, .unlink = e->unlink, .state_in = e->state_in };
	memcpy(room(b, n), from->p + e->off, n);
	b->accepts += rec_type_of(from->p + e->off) == REC_ACCEPT;
	b->urgent |= from->urgent;
}

void
batch_filter(struct batch *b, bool (*keep)(void *arg, struct batch *b, struct entry *e), void *arg)
{
	size_t at = 0, kept = 0;
	b->accepts = 0;
	for (size_t i = 0; i < b->nentries; i++) {
		struct entry e = b->entries[i];
		size_t n = batch_entry_size(b, &b->entries[i]);
		if (!keep(arg, b, &b->entries[i]))
			continue;
		b->accepts += rec_type_of(b->p + e.off) == REC_ACCEPT;
		memmove(b->p + at, b->p + e.off, n);
		/* entry i+1 is not touched before its turn: kept <= i */
		b->entries[kept++] = (struct entry){ .off = at, .op = e.op, .unlink = e.unlink, .state_in = e.state_in };
		at += n;
	}
	b->nentries = kept;
	b->n = at;
}

struct extent *
batch_extent(struct batch *b)
{
	if (b->nextents == b->extents_cap) {
		b->extents_cap = b->extents_cap == 0 ? 2 : 2 * b->extents_cap;
		b->extents = mem_reallocarray(b->extents, b->extents_cap, sizeof *b->extents);
	}
	struct extent *x = &b->extents[b->nextents++];
	*x = (struct extent){ 0 };
	return x;
}

void
batch_write(struct batch *b)
{
	static const unsigned char zero[SEG_PAGE];
	b->error = 0;
	for (size_t i = 0; i < b->nentries; i++)
		rec_sum(b->p + b->entries[i].off);
	for (size_t i = 0; i < b->nextents && b->error == 0; i++) {
		const struct extent *x = &b->extents[i];
		union {
			const unsigned char *c;
			void *p;
		} u = { .c = zero };
		struct iovec iov[2] = {
			{ .iov_base = b->p + x->from, .iov_len = x->len },
			{ .iov_base = u.p, .iov_len = (SEG_PAGE - x->len % SEG_PAGE) % SEG_PAGE },
		};
		b->error = io_write(x->fd, iov, 2, x->at);
	}
	for (size_t i = 0; i < b->nextents && b->error == 0; i++) {
		b->syncs++;
		if (spool_io->fdatasync(b->extents[i].fd) != 0)
			b->error = errno; /* never tried again: the kernel may have dropped the pages */
	}
}

static void *
committer_main(void *arg)
{
	struct committer *c = arg;
	pthread_mutex_lock(&c->lock);
	for (;;) {
		while (c->todo == NULL && !c->stop)
			pthread_cond_wait(&c->wake, &c->lock);
		if (c->todo == NULL)
			break;
		struct batch *b = c->todo;
		pthread_mutex_unlock(&c->lock);
		batch_write(b);
		pthread_mutex_lock(&c->lock);
		c->todo = NULL;
		c->done = b;
		pthread_cond_signal(&c->wake);
		uint64_t one = 1;
		(void)!write(c->bell, &one, sizeof one); /* full only when it has rung already */
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

void
committer_start(struct committer *c, int bell)
{
	*c = (struct committer){ .bell = bell, .running = true };
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wake, NULL);
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
	if (pthread_create(&c->thread, NULL, committer_main, c) != 0)
		BUG("pthread_create");
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void
committer_give(struct committer *c, struct batch *b)
{
	pthread_mutex_lock(&c->lock);
	BUG_ON(c->todo != NULL || c->done != NULL);
	c->todo = b;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

struct batch *
committer_take(struct committer *c)
{
	pthread_mutex_lock(&c->lock);
	struct batch *b = c->done;
	c->done = NULL;
	pthread_mutex_unlock(&c->lock);
	return b;
}

struct batch *
committer_wait(struct committer *c)
{
	pthread_mutex_lock(&c->lock);
	while (c->todo != NULL)
		pthread_cond_wait(&c->wake, &c->lock);
	struct batch *b = c->done;
	c->done = NULL;
	pthread_mutex_unlock(&c->lock);
	return b;
}

void
committer_stop(struct committer *c)
{
	if (!c->running)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_cond_broadcast(&c->wake);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->wake);
	c->running = false;
}
