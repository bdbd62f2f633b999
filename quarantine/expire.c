/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * expire.c - what is due goes: by class and age, then, oldest first, what is over the size limit. A slice is one transaction. What is being
 * released stays.
 */
#include "base/clock.h"
#include "quarantine/internal.h"
#include "quarantine/rows.h"

struct victim {
	uint64_t n;
	struct spool_id id;
};

static size_t
victims(struct quar_writer *w, sqlite3_stmt *s, struct victim *out, size_t cap, struct err *e, enum rc *rc_out)
{
	size_t n = 0;
	*rc_out = s == NULL ? RC_TEMP : RC_OK;
	while (*rc_out == RC_OK && n < cap && (*rc_out = qdb_step(&w->db, s, e)) == RC_OK) {
		out[n].n = qdb_column(s, 0);
		out[n].id = (struct spool_id){ qdb_usec(out[n].n), (uint32_t)qdb_column(s, 1) };
		n++;
	}
	if (s != NULL)
		(void)sqlite3_reset(s);
	if (*rc_out == RC_NONE)
		*rc_out = RC_OK;
	return n;
}

/* Octets in the store, this transaction included. */
static uint64_t
total(struct quar_writer *w, struct err *e, enum rc *rc_out)
{
	uint64_t sum = 0;
	sqlite3_stmt *s = qdb_stmt(&w->db, SQL_STAT_GET, e);
	*rc_out = s == NULL ? RC_TEMP : RC_OK;
	while (*rc_out == RC_OK && (*rc_out = qdb_step(&w->db, s, e)) == RC_OK)
		sum += qdb_column(s, 2);
	if (*rc_out == RC_NONE)
		*rc_out = RC_OK;
	for (unsigned c = 0; c < HELD_CLASSES; c++)
		sum += w->db.change[c].bytes;
	return sum;
}

static enum rc
remove_one(struct quar_writer *w, const struct victim *v, bool *done_out, struct err *e)
{
	enum rc rc = rows_is(&w->db, SQL_RCPT_BUSY, v->n, e);
	*done_out = false;
	if (rc != RC_NONE)
		return rc == RC_OK ? RC_OK : rc;
	rc = writer_remove(w, v->n, &v->id, e);
	*done_out = rc == RC_OK;
	return rc;
}

static enum rc
by_age(struct quar_writer *w, struct quar_job *j, uint64_t *removed, bool *more)
{
	struct victim list[SLICE];
	uint64_t now = clock_wall();
	enum rc rc = RC_OK;
	for (unsigned c = 0; c < HELD_CLASSES && rc == RC_OK && *removed < SLICE; c++) {
		if (j->retention[c] == 0 || j->retention[c] > now)
			continue;
		uint64_t from = 0;
		for (size_t n = SLICE; n == SLICE && rc == RC_OK && *removed < SLICE;) {
			sqlite3_stmt *s = qdb_stmt(&w->db, SQL_MSG_OLD_CLASS, &j->why);
			if (s != NULL) {
				qdb_int(s, 1, c);
				qdb_int(s, 2, from);
				qdb_int(s, 3, qdb_n(now - j->retention[c]));
				qdb_int(s, 4, SLICE);
			}
			n = victims(w, s, list, SLICE, &j->why, &rc);
			for (size_t i = 0; i < n && rc == RC_OK && *removed < SLICE; i++) {
				bool done;
				rc = remove_one(w, &list[i], &done, &j->why);
				*removed += done;
				from = list[i].n;
			}
		}
	}
	*more = *removed >= SLICE;
	return rc;
}

static enum rc
by_size(struct quar_writer *w, struct quar_job *j, uint64_t *removed, bool *more)
{
	struct victim list[SLICE];
	enum rc rc;
	uint64_t from = 0;
	if (j->size_limit == 0)
		return RC_OK;
	uint64_t bytes = total(w, &j->why, &rc);
	while (rc == RC_OK && bytes > j->size_limit && *removed < SLICE) {
		sqlite3_stmt *s = qdb_stmt(&w->db, SQL_MSG_OLD, &j->why);
		if (s != NULL) {
			qdb_int(s, 1, from);
			qdb_int(s, 2, SLICE);
		}
		size_t n = victims(w, s, list, SLICE, &j->why, &rc);
		if (n == 0)
			break;
		for (size_t i = 0; i < n && rc == RC_OK && bytes > j->size_limit && *removed < SLICE; i++) {
			bool done;
			rc = remove_one(w, &list[i], &done, &j->why);
			*removed += done;
			from = list[i].n;
			if (rc == RC_OK)
				bytes = total(w, &j->why, &rc);
		}
	}
	*more = *more || (rc == RC_OK && bytes > j->size_limit && *removed >= SLICE);
	return rc;
}

void
expire_run(struct quar_writer *w, struct quar_job *j)
{
	struct quar *q = w->q;
	uint64_t aged = 0, squeezed = 0, aged_bytes = 0, bytes = 0;
	bool more = false;
	j->rc = writer_begin(w, &j->why);
	if (j->rc != RC_OK)
		return;
	j->rc = by_age(w, j, &aged, &more);
	for (unsigned c = 0; c < HELD_CLASSES; c++)
		aged_bytes -= w->db.change[c].bytes; /* what changed is less than nothing */
	if (j->rc == RC_OK && !more)
		j->rc = by_size(w, j, &squeezed, &more);
	for (unsigned c = 0; c < HELD_CLASSES; c++)
		bytes -= w->db.change[c].bytes;
	if (j->rc != RC_OK || (j->rc = writer_commit(w, &j->why, NULL)) != RC_OK) {
		writer_rollback(w);
		return;
	}
	j->res.seen = aged + squeezed;
	j->res.more = more;
	if (aged + squeezed == 0)
		return;
	pthread_mutex_lock(&q->lock);
	q->news.expired += aged;
	q->news.expired_bytes += aged_bytes;
	q->news.squeezed += squeezed;
	q->news.squeezed_bytes += bytes - aged_bytes;
	quar_ring(q);
	pthread_mutex_unlock(&q->lock);
}
