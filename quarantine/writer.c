/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writer.c - the thread that changes things. It takes what has gathered while it was busy: one transaction, one commit, one syncfs for
 * files and index together, then the answers. What was answered with RC_OK is on the disk, in whatever order the disk took it.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "quarantine/internal.h"
#include "quarantine/rows.h"
#include "spool/io.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { RETRY_USEC = 2000000, GATHER_USEC = 100000, FEW = 4, IDLE_USEC = 1000000, GONE_SLICE = 500, SCRATCH_MAX = 128 << 20, SCRATCH_KEEP = 4 << 20, INDEX_ROOM = 8 << 20, ROW_BYTES = 8192 };

/* ---- transactions ---- */

enum rc
writer_begin(struct quar_writer *w, struct err *e)
{
	w->sum_room = SUM_ROOM;
	return w->db.db != NULL ? qdb_begin(&w->db, e) : err_set(e, RC_TEMP, "the index is not open");
}

void
writer_rollback(struct quar_writer *w)
{
	qdb_rollback(&w->db);
	w->ngone = 0; /* they are still there */
}

static enum rc
sync_all(struct quar_writer *w, struct err *e)
{
	if (spool_io->syncfs(w->q->dir_fd) == 0)
		return RC_OK;
	return err_set(e, RC_TEMP, "sync: %s", strerrordesc_np(errno));
}

/* Their rows are gone for good; a name that cannot be removed now stays in the table "gone" for later. */
static void
remove_gone(struct quar_writer *w)
{
	for (size_t i = 0; i < w->ngone; i++)
		(void)qfile_remove(&w->files, &w->gone[i]);
	w->drop_gone |= w->ngone > 0;
	w->ngone = 0;
}

enum rc
writer_commit(struct quar_writer *w, struct err *e, bool *is_committed_out)
{
	bool did;
	enum rc rc = qdb_commit(&w->db, e);
	if (is_committed_out != NULL)
		*is_committed_out = rc == RC_OK;
	if (rc == RC_OK)
		rc = sync_all(w, e);
	if (rc != RC_OK) {
		w->drop_gone |= w->ngone > 0; /* later, if their rows went */
		writer_rollback(w);
		return rc;
	}
	remove_gone(w);
	struct err why;
	if (qdb_checkpoint(&w->db, &did, &why) == RC_OK && did && sync_all(w, &why) != RC_OK) {
		/* what was copied from the log may not be there: the log must not begin anew */
		quar_warn(w->q, "%s", why.why);
		w->db.is_bad = true;
	}
	return RC_OK;
}

enum rc
writer_find(struct quar_writer *w, const struct spool_id *id, uint64_t *n_out, struct err *e)
{
	bool changed;
	enum rc rc = rows_find(&w->db, id, n_out, e);
	if (rc != RC_NONE)
		return rc;
	if (!w->rebuilding)
		return err_set(e, RC_NONE, "no such message");
	rc = rebuild_file(w, id, &changed, e);
	return rc == RC_OK ? rows_find(&w->db, id, n_out, e) : rc == RC_PERM ? RC_NONE : rc;
}

enum rc
writer_remove(struct quar_writer *w, uint64_t n, const struct spool_id *id, struct err *e)
{
	enum rc rc = rows_delete(&w->db, n, id, e);
	if (rc != RC_OK)
		return rc;
	if (w->ngone == w->gone_cap) {
		w->gone_cap = w->gone_cap == 0 ? 64 : 2 * w->gone_cap;
		w->gone = mem_reallocarray(w->gone, w->gone_cap, sizeof *w->gone);
	}
	w->gone[w->ngone++] = *id;
	w->has_gone = true;
	return RC_OK;
}

/* Files whose rows went are removed; their names leave the index when that is durable. */
static void
drop_gone(struct quar_writer *w)
{
	struct err e;
	struct spool_id ids[GONE_SLICE];
	size_t n = 0, dropped = 0;
	sqlite3_stmt *s;
	w->drop_gone = false;
	if (w->db.db == NULL || (s = qdb_stmt(&w->db, SQL_GONE_LIST, &e)) == NULL)
		return;
	qdb_int(s, 1, GONE_SLICE);
	enum rc rc = RC_OK;
	while (n < GONE_SLICE && (rc = qdb_step(&w->db, s, &e)) == RC_OK)
		ids[n++] = (struct spool_id){ qdb_column(s, 0), (uint32_t)qdb_column(s, 1) };
	(void)sqlite3_reset(s);
	bool is_removed[GONE_SLICE];
	if (n == 0 && rc == RC_NONE)
		w->has_gone = false;
	if (n == 0 || sync_all(w, &e) != RC_OK)
		return;
	for (size_t i = 0; i < n; i++)
		is_removed[i] = qfile_remove(&w->files, &ids[i]) == 0;
	if (sync_all(w, &e) != RC_OK || writer_begin(w, &e) != RC_OK)
		return;
	rc = RC_OK;
	for (size_t i = 0; i < n && rc == RC_OK; i++) {
		if (!is_removed[i])
			continue;
		if ((s = qdb_stmt(&w->db, SQL_GONE_DROP, &e)) != NULL) {
			qdb_int(s, 1, ids[i].usec);
			qdb_int(s, 2, ids[i].serial);
		}
		rc = qdb_run(&w->db, s, &e);
		dropped++;
	}
	if (rc != RC_OK || writer_commit(w, &e, NULL) != RC_OK)
		writer_rollback(w);
	else
		w->drop_gone = dropped > 0; /* until none is found */
}

/* ---- the index ---- */

static void
tell_opened(struct quar_writer *w, bool is_open)
{
	struct quar *q = w->q;
	pthread_mutex_lock(&q->lock);
	static unsigned generations;
	q->generation = is_open ? __atomic_add_fetch(&generations, 1, __ATOMIC_RELAXED) : 0;
	q->index_is_bad = false;
	q->news.rebuilding = w->rebuilding;
	q->was_opened = q->was_opened || is_open;
	pthread_cond_broadcast(&q->to_reader);
	quar_ring(q);
	pthread_mutex_unlock(&q->lock);
}

/* Mail is held for want of a row: whoever looks for it has to hear that it was there. */
static void
tell_half(struct quar_writer *w, const struct allow_table *t, const char *why)
{
	struct buf last;
	buf_init(&last, 200);
	if (t->n > 0) {
		buf_puts(&last, " (behind ");
		buf_put_safe(&last, t->rows[t->n - 1].sender, 40, false);
		buf_puts(&last, " to ");
		if (t->rows[t->n - 1].recipient.n > 0)
			buf_put_safe(&last, t->rows[t->n - 1].recipient, 40, false);
		else
			buf_puts(&last, "anybody");
		buf_putc(&last, ')');
	}
	quar_warn(w->q, "row %zu of the allow table%s cannot be read: %.40s; mail of missing rows is held", t->n + 1, buf_cstr(&last), why);
	buf_fini(&last);
}

/* The allow table as the index has it, as far as it can be read. */
static void
read_allow(struct quar_writer *w, struct allow_table *t)
{
	enum { TEXTS = 4 };
	struct err e;
	size_t cap = 64, *at = mem_calloc(cap, TEXTS * sizeof *at);
	*t = (struct allow_table){ .rows = mem_calloc(cap, sizeof *t->rows) };
	buf_init(&t->text, 64 << 20);
	sqlite3_stmt *s = qdb_stmt(&w->db, SQL_ALLOW_LIST, &e);
	enum rc rc = s != NULL ? RC_OK : RC_TEMP;
	if (s != NULL)
		qdb_int(s, 1, 1 << 20);
	while (rc == RC_OK && (rc = qdb_step(&w->db, s, &e)) == RC_OK) {
		if (t->n == cap) {
			t->rows = mem_reallocarray(t->rows, cap *= 2, sizeof *t->rows);
			at = mem_reallocarray(at, cap, TEXTS * sizeof *at);
		}
		for (unsigned i = 0; i < TEXTS; i++) {
			at[t->n * TEXTS + i] = buf_len(&t->text);
			buf_put(&t->text, qdb_column_text(s, (int)i));
		}
		t->rows[t->n++].added = qdb_column(s, 4);
	}
	if (s != NULL)
		(void)sqlite3_reset(s);
	/* the texts stay where they are from here on */
	for (size_t i = 0; i < t->n; i++) {
		struct quar_allow *a = &t->rows[i];
		struct span *const texts[TEXTS] = { &a->sender, &a->recipient, &a->by, &a->note };
		for (unsigned k = 0; k < TEXTS; k++) {
			size_t from = at[i * TEXTS + k], to = i + 1 < t->n || k + 1 < TEXTS ? at[i * TEXTS + k + 1] : buf_len(&t->text);
			*texts[k] = span_head(span_from(buf_span(&t->text), from), to - from);
		}
	}
	mem_free(&at);
	if (rc != RC_NONE)
		tell_half(w, t, e.why);
}

void
allow_table_fini(struct allow_table *t)
{
	mem_free(&t->rows);
	buf_fini(&t->text);
	t->n = 0;
}

/* What could be saved of a damaged index goes into the new one. */
static void
restore_allow(struct quar_writer *w)
{
	struct err e;
	enum rc rc = writer_begin(w, &e);
	for (size_t i = 0; i < w->saved.n && rc == RC_OK; i++) {
		const struct quar_allow *a = &w->saved.rows[i];
		sqlite3_stmt *s = qdb_stmt(&w->db, SQL_ALLOW_SET, &e);
		if (s != NULL) {
			qdb_text(s, 1, a->sender);
			qdb_text(s, 2, a->recipient);
			qdb_text(s, 3, a->by);
			qdb_text(s, 4, a->note);
			qdb_int(s, 5, a->added);
		}
		rc = qdb_run(&w->db, s, &e);
	}
	if (rc != RC_OK || writer_commit(w, &e, NULL) != RC_OK) {
		writer_rollback(w);
		quar_warn(w->q, "the allow table could not be kept: %s", e.why);
	}
	allow_table_fini(&w->saved);
}

static void
load_allow(struct quar_writer *w)
{
	struct quar *q = w->q;
	struct allow_table t;
	if (w->saved.n > 0)
		restore_allow(w);
	read_allow(w, &t);
	pthread_mutex_lock(&q->lock);
	allow_table_fini(&q->news.allow);
	q->news.allow = t;
	q->news.allow_loaded = true;
	quar_ring(q);
	pthread_mutex_unlock(&q->lock);
}

/* The index cannot be used: it goes to corrupt/, and the next one is made from the files. */
static void
set_aside(struct quar_writer *w, const char *why)
{
	static const char *const suffixes[] = { "", "-wal", "-shm" };
	struct quar *q = w->q;
	tell_opened(w, false);
	if (w->db.db != NULL && w->saved.n == 0) {
		struct allow_table t;
		qdb_rollback(&w->db);
		read_allow(w, &t);
		allow_table_fini(&w->saved);
		w->saved = t;
	}
	attach_later_reset(w);
	/* what the reader has open is a file without a name soon; it opens the new one */
	qdb_close(&w->db);
	uint64_t now = clock_wall();
	for (unsigned i = 0; i < NELEMS(suffixes); i++) {
		char from[32], to[64];
		snprintf(from, sizeof from, "index.db%s", suffixes[i]);
		snprintf(to, sizeof to, "index.%llx.db%s", (unsigned long long)now, suffixes[i]);
		if (spool_io->renameat(q->dir_fd, from, q->corrupt_fd, to) != 0 && errno != ENOENT)
			quar_warn(w->q, "%s cannot be moved to corrupt/: %s", from, strerrordesc_np(errno));
	}
	rebuild_begin(w, why);
}

static bool
open_index(struct quar_writer *w)
{
	struct err e;
	sqlite3_stmt *s;
	char bad[256] = "";
	for (unsigned tries = 0; tries < 2; tries++) {
		enum rc rc = qdb_open(&w->db, w->q->path, true, &e);
		if (rc == RC_PERM) {
			snprintf(bad, sizeof bad, "%s", e.why);
			set_aside(w, bad);
			continue;
		}
		struct err why;
		if (rc != RC_OK || sync_all(w, &e) != RC_OK || (s = qdb_stmt(&w->db, SQL_META_GET, &e)) == NULL) {
			qdb_close(&w->db);
			break;
		}
		qdb_text(s, 1, SPAN("rebuild"));
		uint64_t due = qdb_step(&w->db, s, &why) == RC_OK ? qdb_column(s, 0) : 0;
		(void)sqlite3_reset(s);
		qdb_text(s, 1, SPAN("round"));
		if (qdb_step(&w->db, s, &why) == RC_OK)
			w->db.round = qdb_column(s, 0);
		(void)sqlite3_reset(s);
		if ((s = qdb_stmt(&w->db, SQL_MSG_ENDS, &why)) != NULL && qdb_step(&w->db, s, &why) == RC_OK) {
			w->db.newest = qdb_column(s, 1);
			(void)sqlite3_reset(s);
		}
		if (due != 0 && !w->rebuilding)
			rebuild_begin(w, due == 1 ? "the index is new" : "the index is of an older version");
		w->drop_gone = w->has_gone = w->sums_owed = true;
		load_allow(w);
		tell_opened(w, true);
		return true;
	}
	quar_warn(w->q, "the index cannot be opened: %s", e.why);
	pthread_mutex_lock(&w->q->lock);
	w->q->was_opened = true; /* whoever asks is told */
	pthread_cond_broadcast(&w->q->to_reader);
	pthread_mutex_unlock(&w->q->lock);
	w->retry_at = clock_mono() + RETRY_USEC;
	return false;
}

/* ---- batches ---- */

/* What stays free whatever quarantine_minfree says: where the index has no room to note that something goes, nothing can be deleted. */
static uint64_t
index_room(const struct statvfs *v)
{
	uint64_t part = (uint64_t)v->f_blocks * v->f_frsize / 16;
	return part < INDEX_ROOM ? part : INDEX_ROOM;
}

static void
look_at_space(struct quar_writer *w)
{
	struct quar *q = w->q;
	struct statvfs v;
	bool known = spool_io->fstatvfs(q->dir_fd, &v) == 0;
	pthread_mutex_lock(&q->lock);
	bool was = q->news.low_space;
	uint64_t free_bytes = known ? (uint64_t)v.f_bavail * v.f_frsize : 0;
	uint64_t reserve = known && index_room(&v) > q->reserve_bytes ? index_room(&v) : q->reserve_bytes;
	q->news.low_space = known && (free_bytes < reserve || v.f_favail == 0);
	if (v.f_files == 0 && known)
		q->news.low_space = free_bytes < reserve; /* a file system without a number of files */
	w->room = !known ? UINT64_MAX : free_bytes > reserve ? free_bytes - reserve : 0;
	if (q->news.low_space)
		snprintf(q->news.why, sizeof q->news.why, "%llu bytes free, quarantine_minfree is %llu", (unsigned long long)free_bytes,
		    (unsigned long long)reserve);
	if (was != q->news.low_space)
		quar_ring(q);
	pthread_mutex_unlock(&q->lock);
}

bool
writer_has_room(struct quar_writer *w, uint64_t length)
{
	uint64_t need = length + ROW_BYTES;
	if (need > w->room)
		look_at_space(w);
	bool fits = need <= w->room;
	w->room -= fits && w->room != UINT64_MAX ? need : 0;
	return fits;
}

static void
tell_failing(struct quar_writer *w, bool failing, const char *why)
{
	struct quar *q = w->q;
	if (failing == w->failing)
		return;
	w->failing = failing;
	pthread_mutex_lock(&q->lock);
	q->news.failing = failing;
	if (failing)
		snprintf(q->news.why, sizeof q->news.why, "%s", why);
	quar_ring(q);
	pthread_mutex_unlock(&q->lock);
}

static bool
is_change(enum qjob_kind k)
{
	return k != QJOB_EXPIRE && k != QJOB_CHECK;
}

/* Nothing of the batch counts: whoever waits asks again. Files stay when their rows were committed. */
static void
fail_batch(struct quar_writer *w, struct list *jobs, bool is_committed, const struct err *why)
{
	list_each(l, jobs) {
		struct quar_job *j = list_entry(l, struct quar_job, link);
		if (j->rc == RC_PERM)
			continue;
		if (j->made && !is_committed)
			(void)qfile_remove(&w->files, &j->id);
		j->rc = err_set(&j->why, RC_TEMP, "%s", why->why);
		j->res.rcpt = NULL;
		j->res.nrcpt = 0;
	}
}

/* Marks that were committed and are perhaps not durable are taken back: the caller is told that there are none. */
static void
take_back(struct quar_writer *w, struct list *jobs)
{
	struct err e;
	if (writer_begin(w, &e) != RC_OK)
		return;
	enum rc rc = RC_OK;
	list_each(l, jobs) {
		struct quar_job *j = list_entry(l, struct quar_job, link);
		if (j->kind != QJOB_BEGIN || j->note.n == 0 || rc == RC_TEMP)
			continue;
		struct quar_job *undo = qjob_new(QJOB_UNDO);
		undo->id = j->id;
		undo->copy = j->copy;
		change_run(w, undo);
		rc = undo->rc;
		qjob_free(&undo);
	}
	if (rc == RC_TEMP || qdb_commit(&w->db, &e) != RC_OK)
		writer_rollback(w);
}

/* The index itself fails, not a job. */
static bool
index_fails(struct quar_writer *w)
{
	switch (sqlite3_errcode(w->db.db) & 0xff) {
	case SQLITE_FULL: case SQLITE_IOERR: case SQLITE_CORRUPT: case SQLITE_NOTADB: case SQLITE_NOMEM: case SQLITE_BUSY: case SQLITE_LOCKED:
	case SQLITE_CANTOPEN: case SQLITE_READONLY:
		return true;
	default:
		return w->db.is_bad || sqlite3_get_autocommit(w->db.db) != 0;
	}
}

/* Runs all of them in the open transaction. NULL: done; else the job that failed in the middle of what it changes. */
static struct quar_job *
run_jobs(struct quar_writer *w, struct list *jobs)
{
	list_each(l, jobs) {
		struct quar_job *j = list_entry(l, struct quar_job, link);
		j->rc = RC_OK;
		j->touched = j->kind != QJOB_PUT;
		change_run(w, j);
		j->made |= j->is_new;
		if (j->rc == RC_TEMP && j->touched)
			return j;
	}
	return NULL;
}

static void
run_batch(struct quar_writer *w, struct list *jobs)
{
	struct err e = { .rc = RC_OK };
	struct list failed;
	bool is_committed = false;
	enum rc rc;
	list_init(&failed);
	look_at_space(w);
	for (;;) {
		if ((rc = writer_begin(w, &e)) != RC_OK)
			break;
		struct quar_job *bad = run_jobs(w, jobs);
		if (bad == NULL) {
			rc = writer_commit(w, &e, &is_committed);
			if (rc != RC_OK && is_committed)
				take_back(w, jobs);
			break;
		}
		e = bad->why;
		bool all = index_fails(w);
		writer_rollback(w);
		if (all) {
			rc = RC_TEMP;
			break;
		}
		/* its own affair: the others once more, without it */
		list_remove(&bad->link);
		list_append(&failed, &bad->link);
		if (bad->made)
			(void)qfile_remove(&w->files, &bad->id);
		bad->res.nrcpt = 0;
	}
	if (rc != RC_OK)
		fail_batch(w, jobs, is_committed, &e);
	bool is_failing = rc != RC_OK;
	list_each(l, jobs) {
		struct quar_job *j = list_entry(l, struct quar_job, link);
		if (j->kind == QJOB_PUT && j->rc == RC_TEMP && j->req != NULL && !is_failing) {
			is_failing = true;
			e = j->why;
		}
	}
	list_splice(jobs, &failed);
	tell_failing(w, is_failing, e.why);
}

static void
run_alone(struct quar_writer *w, struct quar_job *j)
{
	if (w->db.db == NULL)
		j->rc = err_set(&j->why, RC_TEMP, "the index is not open");
	else if (j->kind == QJOB_EXPIRE)
		expire_run(w, j);
	else
		check_run(w, j);
}

/* A row of changes, or one of the others. Lock held. */
static void
take(struct quar *q, struct list *out)
{
	unsigned n = 0;
	while (n < BATCH_MAX && !list_empty(&q->write)) {
		struct quar_job *j = list_entry(q->write.next, struct quar_job, link);
		if (!is_change(j->kind) && n > 0)
			return;
		list_remove(&j->link);
		q->nwrite--;
		list_append(out, &j->link);
		n++;
		if (!is_change(j->kind))
			return;
	}
}

static void
give_back(struct quar *q, struct list *jobs)
{
	pthread_mutex_lock(&q->lock);
	list_splice(&q->done, jobs);
	quar_ring(q);
	pthread_mutex_unlock(&q->lock);
}

/* What nobody asked for. true: there is more to do at once. */
static bool
background(struct quar_writer *w)
{
	struct quar *q = w->q;
	pthread_mutex_lock(&q->lock);
	bool is_bad = q->index_is_bad;
	pthread_mutex_unlock(&q->lock);
	if (w->db.db != NULL && (w->db.is_bad || is_bad))
		set_aside(w, "the index is damaged");
	if (w->db.db == NULL) {
		if (clock_mono() < w->retry_at || !open_index(w))
			return false;
	}
	if (w->drop_gone)
		drop_gone(w);
	if (w->rebuilding)
		return rebuild_step(w);
	return w->drop_gone || (w->sums_owed && attach_later(w));
}

/* Lock held. */
static void
wait_until(struct quar *q, uint64_t when)
{
	const struct timespec until = { .tv_sec = (time_t)(when / USEC_PER_SEC), .tv_nsec = (long)(when % USEC_PER_SEC * 1000) };
	pthread_cond_clockwait(&q->to_writer, &q->lock, CLOCK_MONOTONIC, &until);
}

/* The first of many messages are stored at once, what follows by and by: a commit costs the same for one and for hundreds, and whoever sent
 * them has his answer. Others are waiting for what is not a put. Lock held. */
static void
gather(struct quar_writer *w)
{
	struct quar *q = w->q;
	uint64_t now;
	while (!q->stop && q->nwrite > 0 && q->nwrite < BATCH_MAX && (now = clock_mono()) < w->next_batch) {
		list_each(l, &q->write)
			if (list_entry(l, struct quar_job, link)->kind != QJOB_PUT)
				return;
		q->gathering = true;
		wait_until(q, w->next_batch);
		q->gathering = false;
	}
	w->next_batch = q->nwrite > FEW ? clock_mono() + GATHER_USEC : 0;
}

void *
writer_main(void *arg)
{
	struct quar *q = arg;
	struct quar_writer *w = mem_zalloc(sizeof *w);
	w->q = q;
	qfiles_init(&w->files, q->dir_fd, q->corrupt_fd);
	buf_init(&w->scratch, SCRATCH_MAX);
	look_at_space(w); /* a disk that was full before is full for the first message, too */
	bool more = background(w);
	for (;;) {
		struct list jobs;
		list_init(&jobs);
		pthread_mutex_lock(&q->lock);
		if (list_empty(&q->write) && !q->stop && !more)
			wait_until(q, clock_mono() + IDLE_USEC);
		gather(w);
		bool stop = q->stop;
		take(q, &jobs);
		pthread_mutex_unlock(&q->lock);
		if (!list_empty(&jobs)) {
			struct quar_job *first = list_entry(jobs.next, struct quar_job, link);
			if (is_change(first->kind))
				run_batch(w, &jobs);
			else
				run_alone(w, first);
			give_back(q, &jobs);
			if (w->scratch.cap > SCRATCH_KEEP)
				buf_fini(&w->scratch);
		} else if (stop) {
			break;
		} else if (!more) {
			look_at_space(w);
		}
		more = background(w);
	}
	if (w->dir != NULL)
		closedir(w->dir);
	attach_later_reset(w);
	qdb_close(&w->db);
	qfiles_fini(&w->files);
	buf_fini(&w->scratch);
	allow_table_fini(&w->saved);
	mem_free(&w->gone);
	mem_free(&w);
	return NULL;
}
