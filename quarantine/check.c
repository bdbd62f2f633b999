/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check.c - does the index say what the files say? In slices on the writer's thread, so that nothing changes in between: first the
 * rows, each with its file, then the files, each with its row. The cursor says how far it came.
 */
#include "base/mem.h"
#include "quarantine/internal.h"
#include "quarantine/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* Cursor: 1 rows from the beginning, PHASE_ROWS | n behind row n, PHASE_FILES | directory. */
#define PHASE_ROWS (UINT64_C(1) << 62)
#define PHASE_FILES (UINT64_C(1) << 63)
enum { FINDINGS_MAX = 5000, REPAIRS_MAX = 500 };

struct look {
	struct quar_writer *w;
	struct quar_job *j;
	size_t room;
	bool repair;
	unsigned repairs;        /* in this transaction */
	enum rc rc;
};

static void
found(struct look *k, enum quar_flaw flaw, struct span name, bool repaired, const char *detail)
{
	struct quar_req *r = &k->j->res;
	if (r->n == k->room && r->n < FINDINGS_MAX) {
		size_t room = k->room == 0 ? 32 : 2 * k->room;
		struct quar_finding *more = arena_zalloc(&k->j->arena, room * sizeof *more);
		if (more == NULL)
			return;
		if (r->n > 0)
			memcpy(more, r->findings, r->n * sizeof *more);
		r->findings = more;
		k->room = room;
	}
	if (r->n == k->room)
		return;
	struct buf b;
	buf_init(&b, 2048);
	buf_put_safe(&b, name, 200, true);
	struct span clean = arena_span(&k->j->arena, buf_span(&b));
	buf_reset(&b);
	buf_put_safe(&b, span_str(detail), 300, true);
	r->findings[r->n++] = (struct quar_finding){ .flaw = flaw, .name = clean, .detail = arena_span(&k->j->arena, buf_span(&b)), .repaired = repaired };
	buf_fini(&b);
}

/* A transaction for repairs, now and then a new one. */
static bool
may_write(struct look *k)
{
	struct err *e = &k->j->why;
	if (k->rc != RC_OK)
		return false;
	if (k->repairs >= REPAIRS_MAX) {
		k->rc = writer_commit(k->w, e, NULL);
		k->repairs = 0;
	}
	if (k->rc == RC_OK && k->repairs++ == 0)
		k->rc = writer_begin(k->w, e);
	return k->rc == RC_OK;
}

static bool
may_repair(struct look *k)
{
	return k->repair && may_write(k);
}

static bool
may_settle(struct look *k)
{
	return (k->j->flags & (QUAR_CHECK_REPAIR | QUAR_CHECK_STATES)) != 0 && may_write(k);
}

static void
check_mode(struct look *k, int dir, const char *name, struct span shown, const struct stat *st)
{
	bool is_right = (st->st_mode & 07777) == 0600 && st->st_uid == geteuid();
	if (is_right)
		return;
	char text[100];
	snprintf(text, sizeof text, "mode %o, user %u", (unsigned)st->st_mode & 07777u, (unsigned)st->st_uid);
	int fd = k->repair ? openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK) : -1;
	bool repaired = fd >= 0 && fchmod(fd, 0600) == 0 && st->st_uid == geteuid();
	if (fd >= 0)
		close(fd);
	found(k, QUAR_FLAW_MODE, shown, repaired, text);
}

/* Both sides, recipient by recipient. */
static const char *
compare(struct look *k, uint64_t n, const struct qview *v, struct arena *a, bool *is_later)
{
	struct quar_rcpt *have;
	uint32_t *numbers, count;
	*is_later = false;
	k->rc = rows_rcpt(&k->w->db, n, a, QUAR_RCPT_MAX * 2, &have, &numbers, &count, &k->j->why);
	if (k->rc != RC_OK)
		return NULL;
	for (uint32_t i = 0; i < v->nrcpt; i++) {
		uint32_t at = i < count && numbers[i] == v->numbers[i] ? i : 0;
		while (at < count && numbers[at] != v->numbers[i])
			at++;
		if (at == count) {
			*is_later = true;
			return "a recipient of the file is not in the index";
		}
		/* the row may be further: outcomes are not written to the file; a release that was not answered is none */
		unsigned file = rows_rank(v->rcpt[i].state), row = rows_rank(have[at].state);
		if (file > row && !(v->rcpt[i].state == QUAR_RELEASING && have[at].state == QUAR_HELD)) {
			*is_later = true;
			return "the file knows a later state";
		}
	}
	return count > v->nrcpt ? "the index has recipients the file does not have" : NULL;
}

static void
check_attachments(struct look *k, uint64_t n, const struct qview *v, int fd, struct span shown)
{
	bool same;
	k->rc = attach_compare(k->w, n, v, (k->j->flags & QUAR_CHECK_SUMS) ? fd : -1, &same, &k->j->why);
	if (k->rc == RC_PERM) /* why it was held cannot be read: nothing to compare with */
		k->rc = RC_OK;
	else if (k->rc == RC_OK && !same)
		found(k, QUAR_FLAW_ATTACHMENTS, shown, may_repair(k) && (k->rc = attach_again(k->w, n, v, &k->j->why)) == RC_OK, "");
}

static void
check_row(struct look *k, uint64_t n, const struct spool_id *id, struct buf *tail)
{
	struct arena a;
	struct qview v;
	struct stat st;
	struct err e;
	char name[SPOOL_ID_TEXT];
	int fd = -1;
	struct span shown = span_of(name, spool_id_text(id, name));
	arena_init(&a, 256 << 20);
	enum rc rc = qfile_view(&k->w->files, id, tail, &a, &v, &st, &fd, &e);
	if (rc == RC_OK && (k->j->flags & QUAR_CHECK_SUMS))
		rc = qfile_sum(fd, &v, &e);
	if (rc == RC_NONE || rc == RC_PERM) {
		bool repaired = false;
		const char *detail = rc == RC_NONE ? "" : e.why;
		struct err why;
		if (may_repair(k)) {
			/* what is left of it stays in corrupt/ for people to look at; what cannot be moved stops nothing else */
			if (rc == RC_PERM && qfile_aside(&k->w->files, id, &why) != RC_OK) {
				detail = why.why;
			} else {
				k->rc = writer_remove(k->w, n, id, &k->j->why);
				repaired = k->rc == RC_OK;
			}
		}
		found(k, rc == RC_NONE ? QUAR_FLAW_NO_FILE : QUAR_FLAW_DAMAGED, shown, repaired, detail);
	} else if (rc == RC_TEMP) {
		k->rc = err_set(&k->j->why, RC_TEMP, "%s: %s", name, e.why);
	} else {
		bool is_later, changed;
		const char *what = compare(k, n, &v, &a, &is_later);
		if (what != NULL) {
			bool repaired = is_later && may_settle(k) && (k->rc = rows_merge(&k->w->db, n, &v, true, &changed, &k->j->why)) == RC_OK;
			found(k, QUAR_FLAW_STATES, shown, repaired, what);
		}
		if (k->rc == RC_OK)
			check_attachments(k, n, &v, fd, shown);
		check_mode(k, qfile_leaf_fd(&k->w->files, qfile_leaf(id), false), name, shown, &st);
	}
	if (fd >= 0)
		close(fd);
	arena_fini(&a);
}

static uint64_t
check_rows(struct look *k, uint64_t from)
{
	struct {
		uint64_t n;
		struct spool_id id;
	} rows[SLICE];
	struct quar_job *j = k->j;
	size_t n = 0;
	sqlite3_stmt *s = qdb_stmt(&k->w->db, SQL_MSG_NEXT, &j->why);
	if (s == NULL) {
		k->rc = RC_TEMP;
		return 0;
	}
	qdb_int(s, 1, from);
	qdb_int(s, 2, SLICE);
	enum rc rc = RC_OK;
	while (n < SLICE && (rc = qdb_step(&k->w->db, s, &j->why)) == RC_OK) {
		rows[n].n = qdb_column(s, 0);
		rows[n].id = (struct spool_id){ qdb_usec(rows[n].n), (uint32_t)qdb_column(s, 1) };
		n++;
	}
	(void)sqlite3_reset(s);
	if (rc == RC_TEMP)
		k->rc = rc;
	struct buf tail;
	buf_init(&tail, QREC_MAX);
	for (size_t i = 0; i < n && k->rc == RC_OK; i++)
		check_row(k, rows[i].n, &rows[i].id, &tail);
	buf_fini(&tail);
	j->res.seen = n;
	return n == SLICE ? PHASE_ROWS | rows[n - 1].n : PHASE_FILES;
}

static enum rc
sum_file(struct look *k, const struct spool_id *id, struct err *e)
{
	struct buf tail;
	struct arena a;
	struct qview v;
	int fd = -1;
	buf_init(&tail, QREC_MAX);
	arena_init(&a, 256 << 20);
	enum rc rc = qfile_view(&k->w->files, id, &tail, &a, &v, NULL, &fd, e);
	if (rc == RC_OK)
		rc = qfile_sum(fd, &v, e);
	if (fd >= 0)
		close(fd);
	arena_fini(&a);
	buf_fini(&tail);
	return rc;
}

static void
check_name(struct look *k, int dir, unsigned leaf, const char *name)
{
	struct quar_job *j = k->j;
	struct spool_id id;
	struct stat st;
	struct err e;
	uint64_t n;
	char path[300];
	snprintf(path, sizeof path, "%x/%02x/%.255s", leaf / 256, leaf % 256, name);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return; /* gone meanwhile */
	if (spool_id_parse(span_str(name), &id) != RC_OK || id.usec >= QUAR_USEC_MAX || qfile_leaf(&id) != leaf || !S_ISREG(st.st_mode)) {
		found(k, QUAR_FLAW_ALIEN, span_str(path), false, S_ISLNK(st.st_mode) ? "a link" : S_ISREG(st.st_mode) ? "not a name of ours" : "not a file");
		return;
	}
	enum rc rc = rows_find(&k->w->db, &id, &n, &j->why);
	if (rc != RC_NONE) {
		if (rc == RC_TEMP)
			k->rc = rc;
		return; /* looked at with its row */
	}
	sqlite3_stmt *s = qdb_stmt(&k->w->db, SQL_GONE_HAS, &j->why);
	if (s != NULL) {
		qdb_int(s, 1, id.usec);
		qdb_int(s, 2, id.serial);
		rc = qdb_step(&k->w->db, s, &j->why);
		(void)sqlite3_reset(s);
		if (rc == RC_OK)
			return; /* it is about to go */
	}
	if (s == NULL || rc == RC_TEMP) {
		k->rc = RC_TEMP;
		return;
	}
	bool changed, repaired = false;
	if (may_repair(k)) {
		/* one that nobody was told of may be half on the disk, with a trailer that is whole */
		rc = sum_file(k, &id, &e);
		if (rc == RC_OK)
			rc = rebuild_file(k->w, &id, &changed, &e);
		if (rc == RC_PERM) {
			bool aside = qfile_aside(&k->w->files, &id, &j->why) == RC_OK;
			found(k, QUAR_FLAW_DAMAGED, span_str(name), aside, e.why);
			return;
		}
		if (rc == RC_TEMP)
			k->rc = err_set(&j->why, RC_TEMP, "%s", e.why);
		repaired = rc == RC_OK;
	}
	found(k, QUAR_FLAW_NO_ROW, span_str(name), repaired, "");
}

/* The directories between: nothing but what we make. */
static bool
check_upper(struct look *k, unsigned leaf)
{
	char high[8];
	snprintf(high, sizeof high, "%x", leaf / 256);
	struct stat st;
	if (fstatat(k->w->q->dir_fd, high, &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISDIR(st.st_mode))
		return true;
	found(k, QUAR_FLAW_ALIEN, span_str(high), false, S_ISLNK(st.st_mode) ? "a link" : "not a directory");
	return false;
}

static uint64_t
check_files(struct look *k, unsigned leaf)
{
	char path[16];
	uint64_t seen = 0;
	for (; leaf < LEAVES && seen < SLICE && k->rc == RC_OK; leaf++) {
		if (leaf % 256 == 0 && !check_upper(k, leaf)) {
			leaf += 255;
			continue;
		}
		int fd = qfile_leaf_fd(&k->w->files, leaf, false);
		if (fd < 0) {
			snprintf(path, sizeof path, "%x/%02x", leaf / 256, leaf % 256);
			if (errno != ENOENT)
				found(k, QUAR_FLAW_ALIEN, span_str(path), false, strerrordesc_np(errno));
			continue;
		}
		int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		DIR *d = copy >= 0 && lseek(copy, 0, SEEK_SET) == 0 ? fdopendir(copy) : NULL;
		if (d == NULL) {
			k->rc = err_set(&k->j->why, RC_TEMP, "directory: %s", strerrordesc_np(errno));
			if (copy >= 0)
				close(copy);
			break;
		}
		for (struct dirent *de; k->rc == RC_OK && (de = readdir(d)) != NULL;)
			if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0) {
				check_name(k, dirfd(d), leaf, de->d_name);
				seen++;
			}
		closedir(d);
	}
	k->j->res.seen = seen;
	return leaf < LEAVES ? PHASE_FILES | leaf : 0;
}

void
check_run(struct quar_writer *w, struct quar_job *j)
{
	struct look k = { .w = w, .j = j, .repair = (j->flags & QUAR_CHECK_REPAIR) != 0, .rc = RC_OK };
	uint64_t next;
	if (w->rebuilding) {
		j->rc = err_set(&j->why, RC_TEMP, "the index is being made anew; look again when that is done");
		return;
	}
	if (j->cursor & PHASE_FILES)
		next = check_files(&k, (unsigned)(j->cursor & ~PHASE_FILES));
	else
		next = check_rows(&k, j->cursor & PHASE_ROWS ? j->cursor & ~PHASE_ROWS : 0);
	if (k.repairs > 0 && k.rc == RC_OK)
		k.rc = writer_commit(w, &j->why, NULL);
	if (k.rc != RC_OK) {
		writer_rollback(w);
		for (size_t i = 0; i < j->res.n; i++)
			j->res.findings[i].repaired = false;
	}
	j->rc = k.rc;
	j->res.cursor = next;
	j->res.more = next != 0;
}
