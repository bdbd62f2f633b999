/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * db.h - a connection to the index: schema, statements, errors. A thread's own; everything here blocks.
 *
 * A schema that is not exactly ours, or SQLite saying "corrupt" at any time, makes the index unusable (is_bad): it is then set aside and
 * made anew from the files.
 */
#ifndef QUARANTINE_DB_H
#define QUARANTINE_DB_H

#include "quarantine/store.h"

#include <sqlite3.h>

enum qdb_statement {
#define STATEMENT(name, sql) SQL_##name,
#include "quarantine/statements.def"
#undef STATEMENT
	SQL_STATEMENTS
};

struct qdb {
	sqlite3 *db;                     /* NULL: not open */
	sqlite3_stmt *stmt[SQL_STATEMENTS];
	bool is_bad;                     /* damaged, or not ours */
	bool in_transaction;
	int log_pages;                   /* in the write-ahead log and not in the index */
	uint64_t newest;                 /* no row has a higher number (the writer's); UINT64_MAX: not known */
	uint64_t round;                  /* the last round of digests began then (usec); 0: none (the writer's) */
	struct quar_stat change[HELD_CLASSES]; /* of this transaction; two's complement */
};

/* Opens, and for a writer makes and migrates. RC_TEMP: cannot (try again); RC_PERM: is_bad. */
enum rc qdb_open(struct qdb *d, const char *path, bool writer, struct err *e) MUST_CHECK;
void qdb_close(struct qdb *d);

/* A statement, reset and without values. NULL: cannot be prepared; e says why. */
sqlite3_stmt *qdb_stmt(struct qdb *d, enum qdb_statement which, struct err *e);
void qdb_int(sqlite3_stmt *s, int at, uint64_t v);
void qdb_text(sqlite3_stmt *s, int at, struct span v);   /* borrowed until the statement is reset */
void qdb_blob(sqlite3_stmt *s, int at, struct span v);   /* the same */
/* RC_OK: a row; RC_NONE: the end; RC_TEMP: failed, e says why (and is_bad). */
enum rc qdb_step(struct qdb *d, sqlite3_stmt *s, struct err *e) MUST_CHECK;
/* For a statement without rows. */
enum rc qdb_run(struct qdb *d, sqlite3_stmt *s, struct err *e) MUST_CHECK;
uint64_t qdb_column(sqlite3_stmt *s, int at);
struct span qdb_column_text(sqlite3_stmt *s, int at);    /* borrowed until the next step */
struct span qdb_column_blob(sqlite3_stmt *s, int at);    /* the same */
/* Turns SQLite's result into ours. */
enum rc qdb_failed(struct qdb *d, int result, struct err *e);

enum rc qdb_begin(struct qdb *d, struct err *e) MUST_CHECK;
enum rc qdb_commit(struct qdb *d, struct err *e) MUST_CHECK;     /* after it failed: qdb_rollback() */
void qdb_rollback(struct qdb *d);
/* What the write-ahead log has goes into the index, when it has grown. The log must be durable; sync before the next transaction
 * when *did_out. */
enum rc qdb_checkpoint(struct qdb *d, bool *did_out, struct err *e) MUST_CHECK;

/* ---- numbers of messages: by time, so that every index is in order of arrival ---- */
#define QUAR_USEC_MAX (UINT64_C(1) << 54)
static inline uint64_t
qdb_n(uint64_t usec)
{
	return (usec < QUAR_USEC_MAX ? usec : QUAR_USEC_MAX) << 8;
}
static inline uint64_t
qdb_usec(uint64_t n)
{
	return n >> 8;
}

#endif
