/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/db.h"

#include <stdint.h>

enum { VERSION = 3, APPLICATION = 0x44674e51, BUSY_MSEC = 2000, CACHE_KIB = 8192, CHECKPOINT_PAGES = 2000 };

static const char *const sql_of[SQL_STATEMENTS] = {
#define STATEMENT(name, sql) [SQL_##name] = sql,
#include "quarantine/statements.def"
#undef STATEMENT
};

/* Step k makes version k + 1 out of version k. A step is never changed once it was released. */
static const char *const steps[VERSION] = {
	"CREATE TABLE meta(k TEXT PRIMARY KEY, v INTEGER) WITHOUT ROWID;"
	"CREATE TABLE msg(n INTEGER PRIMARY KEY, serial INTEGER NOT NULL, arrival INTEGER NOT NULL, class INTEGER NOT NULL, size INTEGER NOT NULL,"
	" bytes INTEGER NOT NULL, nrcpt INTEGER NOT NULL, sender TEXT NOT NULL, client_addr TEXT NOT NULL, client_name TEXT NOT NULL,"
	" subject TEXT NOT NULL, sender_from TEXT NOT NULL, message_id TEXT NOT NULL, reason TEXT NOT NULL, filter TEXT NOT NULL, rule TEXT NOT NULL,"
	" signature TEXT NOT NULL, score TEXT NOT NULL, helo TEXT NOT NULL, tls TEXT NOT NULL, login TEXT NOT NULL);"
	"CREATE INDEX msg_sender ON msg(sender COLLATE NOCASE);"
	"CREATE INDEX msg_client ON msg(client_addr COLLATE NOCASE);"
	"CREATE INDEX msg_client_name ON msg(client_name COLLATE NOCASE) WHERE client_name<>'';"
	"CREATE INDEX msg_class ON msg(class);"
	"CREATE TABLE rcpt(n INTEGER NOT NULL, i INTEGER NOT NULL, addr TEXT NOT NULL, state INTEGER NOT NULL, added INTEGER NOT NULL, orig TEXT NOT NULL,"
	" orcpt TEXT NOT NULL, notify INTEGER NOT NULL, copy_usec INTEGER NOT NULL, copy_serial INTEGER NOT NULL, changed INTEGER NOT NULL,"
	" who TEXT NOT NULL, PRIMARY KEY(n, i)) WITHOUT ROWID;"
	"CREATE INDEX rcpt_addr ON rcpt(addr COLLATE NOCASE, n, state);"
	"CREATE INDEX rcpt_state ON rcpt(state, n) WHERE state<>1;"
	"CREATE INDEX rcpt_copy ON rcpt(copy_usec) WHERE copy_usec<>0;"
	"CREATE VIRTUAL TABLE words USING fts5(subject, sender, rcpt, content='', tokenize='unicode61 remove_diacritics 2');"
	"CREATE TABLE stat(class INTEGER PRIMARY KEY, messages INTEGER NOT NULL, bytes INTEGER NOT NULL);"
	"CREATE TABLE gone(usec INTEGER NOT NULL, serial INTEGER NOT NULL, PRIMARY KEY(usec, serial)) WITHOUT ROWID;"
	"CREATE TABLE allow(sender TEXT NOT NULL COLLATE NOCASE, recipient TEXT NOT NULL COLLATE NOCASE, who TEXT NOT NULL, note TEXT NOT NULL,"
	" added INTEGER NOT NULL, PRIMARY KEY(sender, recipient)) WITHOUT ROWID;"
	"CREATE TABLE told(addr TEXT PRIMARY KEY COLLATE NOCASE, upto INTEGER NOT NULL) WITHOUT ROWID;"
	"INSERT INTO meta(k, v) VALUES('rebuild', 1);",
	/* stored after the round of digests that was to announce it (at: of that round); the next one does */
	"CREATE TABLE late(addr TEXT NOT NULL COLLATE NOCASE, n INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(addr, n)) WITHOUT ROWID;"
	"CREATE INDEX late_n ON late(n);",
	/* sha256: NULL as long as it is owed, empty when there can be none. names: one row for a message, of parts of three letters. What was stored
	 * before comes from the files */
	"CREATE TABLE attachment(n INTEGER NOT NULL, i INTEGER NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, size INTEGER NOT NULL, sha256 BLOB,"
	" PRIMARY KEY(n, i)) WITHOUT ROWID;"
	"CREATE INDEX attachment_sha256 ON attachment(sha256, n);"
	"CREATE VIRTUAL TABLE names USING fts5(name, content='', columnsize=0, tokenize='trigram');"
	"INSERT OR REPLACE INTO meta(k, v) VALUES('rebuild', 1 + (SELECT count(*) FROM (SELECT 1 FROM msg LIMIT 1)));",
};

enum rc
qdb_failed(struct qdb *d, int result, struct err *e)
{
	int primary = result & 0xff;
	const char *why = d->db != NULL ? sqlite3_errmsg(d->db) : sqlite3_errstr(result);
	/* an error in a text of ours means that tables are not what they were */
	if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || primary == SQLITE_ERROR || primary == SQLITE_FORMAT || primary == SQLITE_MISMATCH)
		d->is_bad = true;
	return err_set(e, RC_TEMP, "index: %s", why);
}

sqlite3_stmt *
qdb_stmt(struct qdb *d, enum qdb_statement which, struct err *e)
{
	sqlite3_stmt **s = &d->stmt[which];
	if (*s == NULL) {
		int r = sqlite3_prepare_v3(d->db, sql_of[which], -1, SQLITE_PREPARE_PERSISTENT, s, NULL);
		if (r != SQLITE_OK) {
			(void)qdb_failed(d, r, e);
			return NULL;
		}
	}
	(void)sqlite3_reset(*s);
	(void)sqlite3_clear_bindings(*s);
	return *s;
}

void
qdb_int(sqlite3_stmt *s, int at, uint64_t v)
{
	(void)sqlite3_bind_int64(s, at, (sqlite3_int64)(v <= INT64_MAX ? v : INT64_MAX));
}

void
qdb_text(sqlite3_stmt *s, int at, struct span v)
{
	(void)sqlite3_bind_text64(s, at, v.n > 0 ? (const char *)v.p : "", v.n, SQLITE_STATIC, SQLITE_UTF8);
}

void
qdb_blob(sqlite3_stmt *s, int at, struct span v)
{
	(void)sqlite3_bind_blob64(s, at, v.n > 0 ? (const void *)v.p : "", v.n, SQLITE_STATIC);
}

enum rc
qdb_step(struct qdb *d, sqlite3_stmt *s, struct err *e)
{
	int r = sqlite3_step(s);
	if (r == SQLITE_ROW)
		return RC_OK;
	if (r == SQLITE_DONE) {
		(void)sqlite3_reset(s);
		return RC_NONE;
	}
	enum rc rc = qdb_failed(d, r, e);
	(void)sqlite3_reset(s);
	return rc;
}

enum rc
qdb_run(struct qdb *d, sqlite3_stmt *s, struct err *e)
{
	if (s == NULL)
		return RC_TEMP;
	enum rc rc = qdb_step(d, s, e);
	(void)sqlite3_reset(s);
	return rc == RC_TEMP ? RC_TEMP : RC_OK;
}

uint64_t
qdb_column(sqlite3_stmt *s, int at)
{
	sqlite3_int64 v = sqlite3_column_int64(s, at);
	return v < 0 ? 0 : (uint64_t)v;
}

struct span
qdb_column_text(sqlite3_stmt *s, int at)
{
	const unsigned char *p = sqlite3_column_text(s, at);
	int n = sqlite3_column_bytes(s, at);
	return p == NULL || n <= 0 ? SPAN_EMPTY : span_of(p, (size_t)n);
}

struct span
qdb_column_blob(sqlite3_stmt *s, int at)
{
	const unsigned char *p = sqlite3_column_blob(s, at);
	int n = sqlite3_column_bytes(s, at);
	return p == NULL || n <= 0 ? SPAN_EMPTY : span_of(p, (size_t)n);
}

/* ---- transactions ---- */

enum rc
qdb_begin(struct qdb *d, struct err *e)
{
	memset(d->change, 0, sizeof d->change);
	enum rc rc = qdb_run(d, qdb_stmt(d, SQL_BEGIN, e), e);
	d->in_transaction = rc == RC_OK;
	return rc;
}

enum rc
qdb_commit(struct qdb *d, struct err *e)
{
	for (unsigned c = 0; c < HELD_CLASSES; c++) {
		if (d->change[c].messages == 0 && d->change[c].bytes == 0)
			continue;
		sqlite3_stmt *s = qdb_stmt(d, SQL_STAT_ADD, e);
		if (s == NULL)
			return RC_TEMP;
		(void)sqlite3_bind_int64(s, 1, c);
		(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)d->change[c].messages);
		(void)sqlite3_bind_int64(s, 3, (sqlite3_int64)d->change[c].bytes);
		if (qdb_run(d, s, e) != RC_OK)
			return RC_TEMP;
	}
	enum rc rc = qdb_run(d, qdb_stmt(d, SQL_COMMIT, e), e);
	if (rc == RC_OK)
		d->in_transaction = false;
	return rc;
}

void
qdb_rollback(struct qdb *d)
{
	if (d->in_transaction && d->db != NULL && !sqlite3_get_autocommit(d->db))
		(void)sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
	d->in_transaction = false;
}

static int
on_commit(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct qdb *d = arg;
	(void)db;
	(void)name;
	d->log_pages = pages;
	return SQLITE_OK;
}

enum rc
qdb_checkpoint(struct qdb *d, bool *did_out, struct err *e)
{
	int log = 0, done = 0;
	*did_out = false;
	if (d->log_pages < CHECKPOINT_PAGES)
		return RC_OK;
	int r = sqlite3_wal_checkpoint_v2(d->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &log, &done);
	if (r == SQLITE_BUSY || r == SQLITE_LOCKED)
		return RC_OK;
	if (r != SQLITE_OK)
		return qdb_failed(d, r, e);
	d->log_pages = log - done;
	*did_out = true;
	return RC_OK;
}

/* ---- opening ---- */

static enum rc
pragma(struct qdb *d, const char *sql, struct err *e)
{
	int r = sqlite3_exec(d->db, sql, NULL, NULL, NULL);
	return r == SQLITE_OK ? RC_OK : qdb_failed(d, r, e);
}

/* One number that a text of ours gives. */
static enum rc
ask(struct qdb *d, const char *sql, int64_t *out, struct err *e)
{
	sqlite3_stmt *s = NULL;
	int r = sqlite3_prepare_v2(d->db, sql, -1, &s, NULL);
	if (r == SQLITE_OK)
		r = sqlite3_step(s);
	enum rc rc = RC_OK;
	if (r == SQLITE_ROW)
		*out = sqlite3_column_int64(s, 0);
	else
		rc = qdb_failed(d, r == SQLITE_DONE ? SQLITE_CORRUPT : r, e);
	(void)sqlite3_finalize(s);
	return rc;
}

static enum rc
migrate(struct qdb *d, int64_t from, struct err *e)
{
	char sql[64];
	for (int64_t v = from; v < VERSION; v++) {
		if (pragma(d, "BEGIN IMMEDIATE", e) != RC_OK)
			return RC_TEMP;
		snprintf(sql, sizeof sql, "PRAGMA user_version=%lld", (long long)(v + 1));
		if (pragma(d, steps[v], e) != RC_OK || pragma(d, sql, e) != RC_OK || pragma(d, "COMMIT", e) != RC_OK) {
			(void)sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
			return RC_TEMP;
		}
	}
	return RC_OK;
}

/* Everything in the schema, in order. */
static bool
schema_text(sqlite3 *db, struct buf *out)
{
	sqlite3_stmt *s = NULL;
	int r = sqlite3_prepare_v2(db, "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name", -1, &s, NULL);
	if (r == SQLITE_OK)
		while ((r = sqlite3_step(s)) == SQLITE_ROW)
			for (int i = 0; i < 4; i++)
				buf_put_block(out, qdb_column_text(s, i));
	(void)sqlite3_finalize(s);
	return r == SQLITE_DONE && !out->over;
}

/* The schema is ours to the letter: no trigger, view or table that somebody left there. */
static enum rc
check_schema(struct qdb *d, struct err *e)
{
	struct buf have, want;
	struct qdb fresh = { .db = NULL };
	enum rc rc = RC_TEMP;
	buf_init(&have, 1 << 20);
	buf_init(&want, 1 << 20);
	if (sqlite3_open_v2(":memory:", &fresh.db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) != SQLITE_OK || migrate(&fresh, 0, e) != RC_OK ||
	    !schema_text(fresh.db, &want))
		rc = err_set(e, RC_TEMP, "index: no memory for a schema");
	else if (!schema_text(d->db, &have) || !span_eq(buf_span(&have), buf_span(&want)))
		rc = err_set(e, RC_PERM, "index: its tables are not ours");
	else
		rc = RC_OK;
	(void)sqlite3_close(fresh.db);
	buf_fini(&have);
	buf_fini(&want);
	return rc;
}

static enum rc
check(struct qdb *d, bool writer, struct err *e)
{
	int64_t version = 0, application = 0, tables = 0;
	if (ask(d, "SELECT count(*) FROM sqlite_schema", &tables, e) != RC_OK || ask(d, "PRAGMA user_version", &version, e) != RC_OK ||
	    ask(d, "PRAGMA application_id", &application, e) != RC_OK)
		return d->is_bad ? RC_PERM : RC_TEMP;
	if (tables == 0 && version == 0 && writer) {
		char sql[64];
		snprintf(sql, sizeof sql, "PRAGMA application_id=%d", APPLICATION);
		if (pragma(d, sql, e) != RC_OK)
			return d->is_bad ? RC_PERM : RC_TEMP;
		application = APPLICATION;
	}
	if (application != APPLICATION || version < 0 || version > VERSION)
		return err_set(e, RC_PERM, "index: version %lld is not ours", (long long)version);
	if (version < VERSION && (!writer || migrate(d, version, e) != RC_OK))
		return d->is_bad ? RC_PERM : RC_TEMP;
	return check_schema(d, e);
}

enum rc
qdb_open(struct qdb *d, const char *path, bool writer, struct err *e)
{
	char cache[64];
	*d = (struct qdb){ .newest = UINT64_MAX };
	int r = sqlite3_open_v2(path, &d->db, SQLITE_OPEN_READWRITE | (writer ? SQLITE_OPEN_CREATE : 0) | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, "unix");
	if (r != SQLITE_OK) {
		enum rc rc = qdb_failed(d, r, e);
		qdb_close(d);
		return rc;
	}
	(void)sqlite3_extended_result_codes(d->db, 1);
	(void)sqlite3_busy_timeout(d->db, BUSY_MSEC);
	(void)sqlite3_db_config(d->db, SQLITE_DBCONFIG_DEFENSIVE, writer ? 0 : 1, (int *)NULL);
	(void)sqlite3_db_config(d->db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)NULL);
	(void)sqlite3_db_config(d->db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)NULL);
	(void)sqlite3_db_config(d->db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, (int *)NULL);
	(void)sqlite3_db_config(d->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	(void)sqlite3_limit(d->db, SQLITE_LIMIT_ATTACHED, 0);
	snprintf(cache, sizeof cache, "PRAGMA cache_size=-%d", CACHE_KIB);
	enum rc rc = RC_OK;
	if (pragma(d, "PRAGMA synchronous=OFF; PRAGMA temp_store=MEMORY; PRAGMA secure_delete=OFF; PRAGMA cell_size_check=ON; PRAGMA foreign_keys=OFF", e) != RC_OK ||
	    pragma(d, cache, e) != RC_OK || (writer && pragma(d, "PRAGMA journal_mode=WAL; PRAGMA journal_size_limit=67108864", e) != RC_OK) ||
	    (!writer && pragma(d, "PRAGMA query_only=ON", e) != RC_OK))
		rc = d->is_bad ? RC_PERM : RC_TEMP;
	if (rc == RC_OK)
		rc = check(d, writer, e);
	if (rc != RC_OK) {
		bool is_bad = rc == RC_PERM;
		qdb_close(d);
		d->is_bad = is_bad;
		return rc;
	}
	(void)sqlite3_wal_hook(d->db, on_commit, d); /* in place of SQLite's own checkpoints, which would not wait for our sync */
	return RC_OK;
}

void
qdb_close(struct qdb *d)
{
	for (unsigned i = 0; i < SQL_STATEMENTS; i++) {
		(void)sqlite3_finalize(d->stmt[i]);
		d->stmt[i] = NULL;
	}
	(void)sqlite3_close(d->db);
	d->db = NULL;
	d->in_transaction = false;
}
