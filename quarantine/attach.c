/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attach.c - attachments of a message come into the index: with their sums in the transaction of its row as long as they are few octets, else
 * their sums later, some octets between two batches. The row says that they are owed, so a crash forgets none.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "quarantine/attachments.h"
#include "quarantine/internal.h"
#include "quarantine/rows.h"
#include "quarantine/sums.h"

#include <unistd.h>

enum { SLICE_OCTETS = 4 << 20, RETRY_SUMS_USEC = 60000000 };

struct attach_later {
	struct attachments a;
	struct sums sums;
	struct arena arena;
	struct buf tail;
	uint64_t n;
	struct spool_id id;
	int fd;                          /* -1: none is at hand */
};

/* Octets that have to be read. */
static uint64_t
octets_of(const struct attachments *a)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < a->n; i++)
		sum += a->is_owed[i] && a->part[i].length < SLICE_OCTETS ? a->part[i].length : a->is_owed[i] ? SLICE_OCTETS : 0;
	return sum;
}

static void
sum_now(struct quar_writer *w, const struct spool_id *id, uint64_t length, struct attachments *a)
{
	struct sums s;
	uint64_t octets = octets_of(a);
	bool is_done = true;
	for (uint32_t i = 0; i < a->n; i++)
		is_done &= !a->is_owed[i];
	int fd = !is_done && octets < w->sum_room ? qfile_content_fd(&w->files, id) : -1;
	if (fd >= 0) {
		sums_begin(&s, a->part, a->n, length);
		w->sum_room -= octets;
		is_done = sums_some(&s, fd, UINT64_MAX) != RC_TEMP;
		sums_fini(&s);
		close(fd);
	}
	for (uint32_t i = 0; i < a->n; i++)
		a->is_owed[i] = a->is_owed[i] && !is_done && !a->part[i].is_summed;
	if (!is_done) {
		w->sums_owed = true;
		w->sums_retry_at = 0;
	}
}

enum rc
attach_put(struct quar_writer *w, uint64_t n, const struct spool_id *id, uint64_t length, const struct held *h, struct err *e)
{
	struct attachments a;
	attachments_of(&a, h->parts, h->nparts);
	if (a.n == 0)
		return RC_OK;
	sum_now(w, id, length, &a);
	return attachments_insert(&w->db, n, &a, e);
}

static enum rc
read_held(const struct qview *v, struct arena *a, struct held *h, struct err *e)
{
	return held_get(v->env.held, a, h) == RC_OK ? RC_OK : err_set(e, RC_PERM, "why it was held cannot be read");
}

enum rc
attach_put_view(struct quar_writer *w, uint64_t n, const struct qview *v, struct err *e)
{
	struct arena a;
	struct held h;
	arena_init(&a, 1 << 20);
	enum rc rc = read_held(v, &a, &h, e);
	if (rc == RC_OK)
		rc = attach_put(w, n, &v->c.id, v->c.length, &h, e);
	arena_fini(&a);
	return rc;
}

enum rc
attach_compare(struct quar_writer *w, uint64_t n, const struct qview *v, int fd, bool *same_out, struct err *e)
{
	struct arena arena;
	struct held h;
	struct attachments have, want;
	struct sums s = { .more = false };
	arena_init(&arena, 1 << 20);
	*same_out = true;
	enum rc rc = read_held(v, &arena, &h, e);
	if (rc == RC_OK) {
		attachments_of(&want, h.parts, h.nparts);
		rc = attachments_get(&w->db, n, &arena, &have, e);
	}
	if (rc == RC_OK)
		*same_out = have.n == want.n;
	if (rc == RC_OK && *same_out && fd >= 0 && want.n > 0 && octets_of(&want) < SLICE_OCTETS) {
		sums_begin(&s, want.part, want.n, v->c.length);
		if (sums_some(&s, fd, UINT64_MAX) == RC_TEMP)
			rc = err_set(e, RC_TEMP, "its content cannot be read");
	}
	for (uint32_t i = 0; rc == RC_OK && *same_out && i < have.n; i++) {
		const struct held_part *p = &have.part[i], *q = &want.part[i];
		*same_out = have.number[i] == want.number[i] && span_eq(p->name, q->name) && span_eq(p->type, q->type);
		if (p->is_summed && q->is_summed)
			*same_out &= p->size == q->size && memcmp(p->sha256, q->sha256, sizeof p->sha256) == 0;
		else if (q->is_summed)
			*same_out &= have.is_owed[i];
	}
	sums_fini(&s);
	arena_fini(&arena);
	return rc;
}

enum rc
attach_again(struct quar_writer *w, uint64_t n, const struct qview *v, struct err *e)
{
	enum rc rc = attachments_delete(&w->db, n, e);
	return rc == RC_OK ? attach_put_view(w, n, v, e) : rc;
}

/* ---- later ---- */

static void
drop(struct attach_later *l)
{
	sums_fini(&l->sums);
	arena_fini(&l->arena);
	buf_fini(&l->tail);
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

void
attach_later_reset(struct quar_writer *w)
{
	if (w->later != NULL)
		drop(w->later);
	mem_free(&w->later);
	w->sums_after = 0;
}

/* Where they are in the file; RC_NONE, RC_PERM: there will be no sums. */
static enum rc
open_message(struct quar_writer *w, struct attach_later *l, struct err *e)
{
	struct qview v;
	struct held h;
	arena_init(&l->arena, 256 << 20);
	buf_init(&l->tail, QREC_MAX);
	enum rc rc = attachments_get(&w->db, l->n, &l->arena, &l->a, e);
	if (rc != RC_OK)
		return RC_TEMP;
	rc = qfile_view(&w->files, &l->id, &l->tail, &l->arena, &v, NULL, &l->fd, e);
	if (rc == RC_OK)
		rc = read_held(&v, &l->arena, &h, e);
	for (uint32_t i = 0; i < l->a.n; i++)
		l->a.part[i].at = UINT64_MAX; /* nowhere: those that are not owed are not read */
	for (uint32_t i = 0; rc == RC_OK && i < l->a.n; i++) {
		if (!l->a.is_owed[i] || l->a.number[i] >= h.nparts)
			continue;
		const struct held_part *p = &h.parts[l->a.number[i]];
		l->a.part[i].at = p->at;
		l->a.part[i].length = p->length;
		l->a.part[i].how = p->how;
	}
	sums_begin(&l->sums, l->a.part, l->a.n, rc == RC_OK ? v.c.length : 0);
	return rc;
}

/* What was found out, without a sync: a sum that a crash takes away is made again. */
static enum rc
write_sums(struct quar_writer *w, struct attach_later *l, struct err *e)
{
	uint64_t n;
	enum rc rc = writer_begin(w, e);
	if (rc != RC_OK)
		return rc;
	enum rc found = rows_find(&w->db, &l->id, &n, e);
	for (uint32_t i = 0; i < l->a.n && rc == RC_OK && found == RC_OK && n == l->n; i++)
		if (l->a.is_owed[i])
			rc = attachments_set_sum(&w->db, n, l->a.number[i], &l->a.part[i], e);
	if (rc != RC_OK || found == RC_TEMP || qdb_commit(&w->db, e) != RC_OK) {
		writer_rollback(w);
		return RC_TEMP;
	}
	return RC_OK;
}

bool
attach_later(struct quar_writer *w)
{
	struct err e;
	enum rc rc = RC_OK;
	if (clock_mono() < w->sums_retry_at)
		return false;
	if (w->later == NULL) {
		w->later = mem_zalloc(sizeof *w->later);
		w->later->fd = -1;
	}
	struct attach_later *l = w->later;
	if (l->fd < 0) {
		rc = attachments_owed(&w->db, w->sums_after, &l->n, &l->id, &e);
		if (rc == RC_NONE) { /* none behind; those that could not be read are asked again by and by */
			w->sums_owed = w->sums_failed;
			w->sums_retry_at = w->sums_failed ? clock_mono() + RETRY_SUMS_USEC : 0;
			w->sums_failed = false;
			attach_later_reset(w);
			return false;
		}
		if (rc != RC_OK) {
			w->sums_retry_at = clock_mono() + RETRY_SUMS_USEC;
			return false;
		}
		rc = open_message(w, l, &e);
	}
	if (rc == RC_OK)
		rc = sums_some(&l->sums, l->fd, SLICE_OCTETS);
	if (rc == RC_OK && l->sums.more)
		return true;
	w->sums_after = l->n;
	/* without a file, or with one that ends early, there are none, and that is what the index says */
	if (rc == RC_TEMP || write_sums(w, l, &e) != RC_OK)
		w->sums_failed = true;
	drop(l);
	return true;
}
