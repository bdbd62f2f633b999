/* SPDX-License-Identifier: BSD-2-Clause */
#include "lookup/database.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BUSY_MSEC = 1000, BUSY_STEP_MSEC = 10, STEPS_BETWEEN_LOOKS = 20000, READS_OF_CLOSED_MAX = 5, HEADER = 20 };

/* A handle with its query. */
struct reader {
	sqlite3 *db;
	sqlite3_stmt *stmt;
};

struct database {
	const struct remote_table *spec;
	struct reader reader;        /* kept open */
	struct stat opened;          /* the file it was opened from */
	uint64_t until;              /* of the question being asked */
	atomic_bool is_stopped;
};

struct database *
database_new(const struct remote_table *spec)
{
	struct database *d = mem_zalloc(sizeof *d);
	d->spec = spec;
	atomic_init(&d->is_stopped, false);
	return d;
}

static void
reader_close(struct reader *r)
{
	sqlite3_finalize(r->stmt);
	sqlite3_close(r->db);
	*r = (struct reader){ 0 };
}

void
database_free(struct database **dp)
{
	struct database *d = *dp;
	*dp = NULL;
	if (d == NULL)
		return;
	reader_close(&d->reader);
	mem_free(&d);
}

void
database_stop(struct database *d)
{
	atomic_store(&d->is_stopped, true);
}

/* ---- opening ---- */

static bool
is_over(const struct database *d)
{
	return atomic_load(&d->is_stopped) || clock_mono() > d->until;
}

static int
on_progress(void *arg)
{
	return is_over(arg);
}

static int
on_busy(void *arg, int tries)
{
	if (is_over(arg) || tries >= BUSY_MSEC / BUSY_STEP_MSEC)
		return 0;
	nanosleep(&(struct timespec){ .tv_nsec = BUSY_STEP_MSEC * 1000000L }, NULL);
	return 1;
}

/* What SQLite said, or that time was up. */
static enum rc
failed(const struct database *d, const struct reader *r, int code, struct err *e)
{
	if (code == SQLITE_INTERRUPT)
		return err_set(e, RC_TEMP, atomic_load(&d->is_stopped) ? "the table is closed" : "no answer in time");
	return err_set(e, RC_TEMP, "%s", r->db != NULL ? sqlite3_errmsg(r->db) : sqlite3_errstr(code));
}

/* "file:/path?immutable=1", with what means something in there escaped. */
static void
immutable_name(const char *path, struct buf *out)
{
	buf_puts(out, "file:");
	for (const char *p = path; *p != '\0'; p++) {
		if (*p == '%' || *p == '?' || *p == '#')
			buf_printf(out, "%%%02X", (unsigned)(unsigned char)*p);
		else
			buf_putc(out, (unsigned char)*p);
	}
	buf_puts(out, "?immutable=1");
}

static int
open_file(struct database *d, struct reader *r, bool is_immutable)
{
	const int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX;
	if (!is_immutable)
		return sqlite3_open_v2(d->spec->dbpath, &r->db, flags, NULL);
	struct buf name;
	buf_init(&name, 3 * 4096 + 32);
	immutable_name(d->spec->dbpath, &name);
	int code = sqlite3_open_v2(buf_cstr(&name), &r->db, flags | SQLITE_OPEN_URI, NULL);
	buf_fini(&name);
	return code;
}

/* The file may be anybody's: its schema may do nothing but be read. */
static void
distrust(struct database *d, sqlite3 *db)
{
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)NULL);
	sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
	sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 4 * REMOTE_VALUE_MAX);
	sqlite3_progress_handler(db, STEPS_BETWEEN_LOOKS, on_progress, d);
	sqlite3_busy_handler(db, on_busy, d);
	(void)sqlite3_exec(db, "PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0", NULL, NULL, NULL);
}

static int
reader_open(struct database *d, struct reader *r, bool is_immutable, struct err *e)
{
	struct span sql = d->spec->query.sql;
	const char *rest = NULL;
	int code = open_file(d, r, is_immutable);
	if (code == SQLITE_OK) {
		distrust(d, r->db);
		code = sqlite3_prepare_v3(r->db, (const char *)sql.p, (int)sql.n, SQLITE_PREPARE_PERSISTENT, &r->stmt, &rest);
	}
	if (code != SQLITE_OK) {
		(void)!failed(d, r, code, e);
	} else if (r->stmt == NULL || span_trim(span_of(rest, sql.n - (size_t)((const unsigned char *)rest - sql.p))).n > 0 ||
	    sqlite3_stmt_readonly(r->stmt) == 0 || sqlite3_column_count(r->stmt) == 0) {
		err_set(e, RC_TEMP, "the query is not one SELECT");
		code = SQLITE_ERROR;
	}
	if (code != SQLITE_OK)
		reader_close(r);
	return code;
}

/* ---- asking ---- */

static int
bind_all(const struct query *q, sqlite3_stmt *stmt, struct span key)
{
	int code = SQLITE_OK;
	struct buf value;
	buf_init(&value, REMOTE_VALUE_MAX);
	for (size_t i = 0; i < q->nbinds && code == SQLITE_OK; i++) {
		buf_reset(&value);
		query_bind(q, i, key, &value);
		struct span v = buf_span(&value);
		code = sqlite3_bind_text(stmt, (int)i + 1, v.n > 0 ? (const char *)v.p : "", (int)v.n, SQLITE_TRANSIENT);
	}
	buf_fini(&value);
	return code;
}

/* Runs the query; *code_out as SQLite has it. */
static enum rc
read_rows(struct database *d, struct reader *r, struct span key, struct buf *out, int *code_out, struct err *e)
{
	const struct query *q = &d->spec->query;
	uint64_t rows = 0;
	enum rc rc = RC_NONE;
	buf_reset(out);
	int code = bind_all(q, r->stmt, key);
	while (code == SQLITE_OK && (code = sqlite3_step(r->stmt)) == SQLITE_ROW) {
		const unsigned char *text = sqlite3_column_text(r->stmt, 0);
		int n = sqlite3_column_bytes(r->stmt, 0);
		code = SQLITE_OK;
		if (text == NULL || query_result(q, key, span_of(text, (size_t)n), out) != RC_OK)
			continue;
		rc = RC_OK;
		if (d->spec->expansion_limit > 0 && ++rows > d->spec->expansion_limit) {
			rc = err_set(e, RC_TEMP, "more rows than expansion_limit");
			break;
		}
	}
	*code_out = code == SQLITE_DONE ? SQLITE_OK : code;
	if (*code_out != SQLITE_OK)
		rc = failed(d, r, code, e);
	else if (out->over)
		rc = err_set(e, RC_TEMP, "result too long");
	sqlite3_reset(r->stmt);
	sqlite3_clear_bindings(r->stmt);
	return rc;
}

/* ---- databases in WAL mode without a writer ---- */

static bool
is_wal_file(const char *path)
{
	unsigned char h[HEADER];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? pread(fd, h, sizeof h, 0) : -1;
	if (fd >= 0)
		close(fd);
	return n == HEADER && memcmp(h, "SQLite format 3", 16) == 0 && h[18] == 2;
}

/* No writer has it open: all of it is in the one file. */
static bool
is_closed(const char *path, struct stat *now_out)
{
	struct buf wal;
	struct stat st;
	buf_init(&wal, 4096 + 8);
	buf_puts(&wal, path);
	buf_puts(&wal, "-wal");
	bool has_wal = wal.over || stat(buf_cstr(&wal), &st) == 0 || errno != ENOENT;
	buf_fini(&wal);
	return !has_wal && stat(path, now_out) == 0;
}

static bool
is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	    a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static enum rc
ask_closed(struct database *d, struct span key, struct buf *out, struct err *e)
{
	for (int i = 0; i < READS_OF_CLOSED_MAX; i++) {
		struct stat before, after;
		struct reader r = { 0 };
		int code;
		if (!is_closed(d->spec->dbpath, &before))
			return RC_TEMP; /* somebody came: the reason of the first try stands */
		if (reader_open(d, &r, true, e) != SQLITE_OK)
			return RC_TEMP;
		enum rc rc = read_rows(d, &r, key, out, &code, e);
		reader_close(&r);
		if (is_closed(d->spec->dbpath, &after) && is_same(&before, &after))
			return rc;
	}
	return err_set(e, RC_TEMP, "the database changes all the time");
}

/* ---- one question ---- */

/* Another file has taken the name: what we have open is the old one. */
static void
drop_replaced(struct database *d)
{
	struct stat now;
	if (d->reader.db != NULL && (stat(d->spec->dbpath, &now) != 0 || now.st_dev != d->opened.st_dev || now.st_ino != d->opened.st_ino))
		reader_close(&d->reader);
}

static enum rc
ask_open(struct database *d, struct span key, struct buf *out, int *code_out, struct err *e)
{
	drop_replaced(d);
	if (d->reader.db == NULL) {
		if (stat(d->spec->dbpath, &d->opened) != 0)
			return err_set(e, RC_TEMP, "%.150s: %s", d->spec->dbpath, strerror(errno));
		*code_out = reader_open(d, &d->reader, false, e);
		if (*code_out != SQLITE_OK)
			return RC_TEMP;
	}
	enum rc rc = read_rows(d, &d->reader, key, out, code_out, e);
	if (*code_out != SQLITE_OK && *code_out != SQLITE_BUSY && *code_out != SQLITE_INTERRUPT)
		reader_close(&d->reader); /* the next question begins from nothing */
	return rc;
}

enum rc
database_ask(struct database *d, struct span key, uint64_t until, struct buf *text_out, struct err *e)
{
	int code = SQLITE_OK;
	d->until = until;
	if (is_over(d))
		return failed(d, &d->reader, SQLITE_INTERRUPT, e);
	enum rc rc = ask_open(d, key, text_out, &code, e);
	if ((code == SQLITE_CANTOPEN || code == SQLITE_READONLY) && is_wal_file(d->spec->dbpath))
		rc = ask_closed(d, key, text_out, e);
	return rc;
}
