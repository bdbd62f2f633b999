/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rebuild.c - the index made anew from the files, some at a time, while everything else goes on. A row that is there already stays as it is,
 * so that it can be begun anew after a crash; a new index remembers (meta "rebuild") that it has not been through all files.
 */
#include "base/clock.h"
#include "quarantine/internal.h"
#include "quarantine/rows.h"

#include <fcntl.h>
#include <unistd.h>

void
rebuild_begin(struct quar_writer *w, const char *why)
{
	struct quar *q = w->q;
	if (w->dir != NULL)
		closedir(w->dir);
	w->dir = NULL;
	w->leaf = 0;
	w->rebuilt = 0;
	w->rebuilding = true;
	pthread_mutex_lock(&q->lock);
	q->news.rebuilding = q->news.rebuild_began = true;
	snprintf(q->news.rebuild_why, sizeof q->news.rebuild_why, "%s", why);
	quar_ring(q);
	pthread_mutex_unlock(&q->lock);
}

enum rc
rebuild_file(struct quar_writer *w, const struct spool_id *id, bool *changed_out, struct err *e)
{
	struct buf tail;
	struct arena a;
	struct qview v;
	struct stat st;
	uint64_t n;
	buf_init(&tail, QREC_MAX);
	arena_init(&a, 256 << 20);
	*changed_out = false;
	enum rc rc = qfile_view(&w->files, id, &tail, &a, &v, &st, NULL, e);
	/* deleted, only its file is still there */
	sqlite3_stmt *s = rc == RC_OK ? qdb_stmt(&w->db, SQL_GONE_HAS, e) : NULL;
	if (s != NULL) {
		qdb_int(s, 1, id->usec);
		qdb_int(s, 2, id->serial);
		enum rc gone = qdb_step(&w->db, s, e);
		(void)sqlite3_reset(s);
		rc = gone == RC_NONE ? RC_OK : gone == RC_OK ? err_set(e, RC_NONE, "no such message") : gone;
	} else if (rc == RC_OK) {
		rc = RC_TEMP;
	}
	if (rc == RC_OK) {
		rc = rows_find(&w->db, id, &n, e);
		if (rc == RC_NONE) {
			rc = rows_insert(&w->db, n, &v, NULL, (uint64_t)st.st_size, e);
			*changed_out = rc == RC_OK;
			if (rc == RC_OK)
				rc = attach_put_view(w, n, &v, e);
		} else if (rc == RC_OK && (rc = rows_merge(&w->db, n, &v, true, changed_out, e)) == RC_OK) {
			/* an index of an older version has none of them */
			bool same;
			if ((rc = attach_compare(w, n, &v, -1, &same, e)) == RC_OK && !same) {
				*changed_out = true;
				rc = attach_again(w, n, &v, e);
			}
		}
	}
	arena_fini(&a);
	buf_fini(&tail);
	return rc;
}

/* The next directory that is there. */
static bool
next_dir(struct quar_writer *w)
{
	while (w->dir == NULL && (w->leaf = qfile_leaf_from(&w->files, w->leaf)) < LEAVES) {
		int fd = qfile_leaf_fd(&w->files, w->leaf++, false), copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (copy < 0)
			continue;
		if (lseek(copy, 0, SEEK_SET) != 0 || (w->dir = fdopendir(copy)) == NULL)
			close(copy);
	}
	return w->dir != NULL;
}

static void
finish(struct quar_writer *w)
{
	struct quar *q = w->q;
	struct err e;
	if (writer_begin(w, &e) == RC_OK) {
		sqlite3_stmt *s = qdb_stmt(&w->db, SQL_META_SET, &e);
		if (s != NULL) {
			qdb_text(s, 1, SPAN("rebuild"));
			qdb_int(s, 2, 0);
		}
		if (qdb_run(&w->db, s, &e) != RC_OK || writer_commit(w, &e, NULL) != RC_OK)
			writer_rollback(w); /* the next start goes through the files again */
	}
	w->rebuilding = false;
	pthread_mutex_lock(&q->lock);
	q->news.rebuilding = false;
	q->news.rebuild_ended = true;
	q->news.rebuilt = w->rebuilt;
	quar_ring(q);
	pthread_mutex_unlock(&q->lock);
}

bool
rebuild_step(struct quar_writer *w)
{
	struct err e;
	unsigned n = 0;
	if (!next_dir(w)) {
		finish(w);
		return false;
	}
	if (writer_begin(w, &e) != RC_OK)
		return false;
	enum rc rc = RC_OK;
	for (struct dirent *de; n < REBUILD_SLICE && next_dir(w); n++) {
		struct spool_id id;
		bool changed;
		if ((de = readdir(w->dir)) == NULL) {
			closedir(w->dir);
			w->dir = NULL;
			continue;
		}
		if (spool_id_parse(span_str(de->d_name), &id) != RC_OK || id.usec >= QUAR_USEC_MAX || qfile_leaf(&id) + 1 != w->leaf)
			continue;
		rc = rebuild_file(w, &id, &changed, &e);
		w->rebuilt += changed;
		if (rc == RC_PERM)
			quar_warn(w->q, "%s: %s", de->d_name, e.why);
		if (rc == RC_TEMP)
			break;
	}
	if (rc == RC_TEMP || writer_commit(w, &e, NULL) != RC_OK) {
		writer_rollback(w);
		/* from the beginning of it all, a little later */
		if (w->dir != NULL)
			closedir(w->dir);
		w->dir = NULL;
		w->leaf = 0;
		return false;
	}
	return true;
}
