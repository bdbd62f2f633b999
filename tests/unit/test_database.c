/* SPDX-License-Identifier: BSD-2-Clause */
/* SQLite tables as the lookup process asks them. */
#include "lookup/database.h"

#include "base/clock.h"
#include "map/remote_table.h"

#include "confdir.h"
#include "unit.h"

#include <sqlite3.h>

static void
sql(const char *name, const char *statements)
{
	sqlite3 *db = NULL;
	char path[200], *why = NULL;
	snprintf(path, sizeof path, "%s/%s", confdir, name);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, statements, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s: %s", statements, why);
	sqlite3_close(db);
}

struct db {
	struct conf *conf;
	struct remote_table *spec;
	struct database *db;
};

static void
db_open(struct db *d, const char *more)
{
	char text[1000], name[200];
	struct err e = { 0 };
	d->conf = confdir_load("");
	snprintf(text, sizeof text, "dbpath = %s/db\n%s\n", confdir, more);
	confdir_write("db.cf", text);
	snprintf(name, sizeof name, "sqlite:%s/db.cf", confdir);
	struct map_ctx ctx = { .conf = d->conf };
	if (remote_table_open(&ctx, REMOTE_SQLITE, span_str(name), &d->spec, &e) != RC_OK)
		fail_msg("%s", e.why);
	d->db = database_new(d->spec);
}

static void
db_close(struct db *d)
{
	database_free(&d->db);
	remote_table_free(&d->spec);
	conf_unref(&d->conf);
}

static void
db_ask_at(struct db *d, const char *key, enum rc want, const char *text, int line)
{
	struct buf out;
	struct err e = { 0 };
	buf_init(&out, REMOTE_VALUE_MAX);
	enum rc rc = database_ask(d->db, span_str(key), clock_mono() + 5 * USEC_PER_SEC, &out, &e);
	if (rc != want)
		fail_msg("line %d, %s: %d %s", line, key, (int)rc, e.why);
	if (rc == RC_OK)
		assert_span(buf_span(&out), text);
	else if (rc == RC_TEMP && strstr(e.why, text) == NULL)
		fail_msg("line %d, %s: %s", line, key, e.why);
	buf_fini(&out);
}
#define db_ask(d, key, want, text) db_ask_at(d, key, want, text, __LINE__)

static void
databases(void **state)
{
	(void)state;
	struct db d = { 0 };
	db_open(&d, "query = SELECT v FROM t WHERE k = '%s'");
	db_ask(&d, "a", RC_TEMP, "No such file");
	sql("db", "CREATE TABLE t (k TEXT, v); INSERT INTO t VALUES ('a', 'one'), ('o''x', 'two'), ('many', 1), ('many', NULL), ('many', 2), ('e', '')");
	db_ask(&d, "a", RC_OK, "one");
	db_ask(&d, "b", RC_NONE, "");
	db_ask(&d, "e", RC_NONE, "");
	db_ask(&d, "o'x", RC_OK, "two");
	db_ask(&d, "' OR 1 --", RC_NONE, "");
	db_ask(&d, "many", RC_OK, "1,2");
	sql("db", "INSERT INTO t VALUES ('new', 'there at once')");
	db_ask(&d, "new", RC_OK, "there at once");
	/* another file under the same name */
	char path[200], aside[200];
	snprintf(path, sizeof path, "%s/db", confdir);
	snprintf(aside, sizeof aside, "%s/next", confdir);
	sql("next", "CREATE TABLE t (k TEXT, v TEXT); INSERT INTO t VALUES ('a', 'replaced')");
	assert_int_equal(rename(aside, path), 0);
	db_ask(&d, "a", RC_OK, "replaced");
	db_ask(&d, "new", RC_NONE, "");
	/* a writer holds the lock for a moment longer than we are patient */
	sqlite3 *w = NULL;
	assert_int_equal(sqlite3_open(path, &w), SQLITE_OK);
	assert_int_equal(sqlite3_exec(w, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	db_ask(&d, "a", RC_TEMP, "locked");
	assert_int_equal(sqlite3_exec(w, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(w);
	db_ask(&d, "a", RC_OK, "replaced");
	confdir_write("db", "this is no database, but it is long enough to be taken for one at first sight, is it not?\n");
	db_ask(&d, "a", RC_TEMP, "not a database");
	unlink(path);
	db_ask(&d, "a", RC_TEMP, "No such file");
	db_close(&d);
}

static void
bad_queries(void **state)
{
	(void)state;
	static const struct {
		const char *query, *why;
	} rows[] = {
		{ "query = SELECT nosuch FROM t WHERE k = '%s'", "no such column" },
		{ "query = DELETE FROM t WHERE k = '%s'", "not one SELECT" },
		{ "query = SELECT 1; SELECT 2", "not one SELECT" },
		{ "query = ATTACH '/etc/passwd' AS x", "not one SELECT" },
		{ "query = WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n", "no answer in time" },
		{ "query = SELECT k FROM t\nexpansion_limit = 1", "expansion_limit" },
		{ "query = SELECT hex(zeroblob(400000))", "result too long" },
	};
	sql("db", "CREATE TABLE t (k TEXT, v TEXT); INSERT INTO t VALUES ('a', 'b'), ('c', 'd')");
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct db d = { 0 };
		struct buf out;
		struct err e = { 0 };
		db_open(&d, rows[i].query);
		buf_init(&out, REMOTE_VALUE_MAX);
		assert_int_equal(database_ask(d.db, SPAN("a"), clock_mono() + 500000, &out, &e), RC_TEMP);
		if (strstr(e.why, rows[i].why) == NULL)
			fail_msg("row %zu: %s", i, e.why);
		buf_fini(&out);
		db_close(&d);
	}
}

/* WAL: beside a writer, after him, and where nothing may be written. */
static void
wal(void **state)
{
	(void)state;
	struct db d = { 0 };
	char path[200];
	snprintf(path, sizeof path, "%s/db", confdir);
	unlink(path);
	sql("db", "PRAGMA journal_mode = WAL; CREATE TABLE t (k TEXT, v TEXT); INSERT INTO t VALUES ('a', '1')");
	db_open(&d, "query = SELECT v FROM t WHERE k = '%s'");
	assert_int_equal(chmod(confdir, 0555), 0);
	bool is_root = geteuid() == 0;
	if (is_root)
		assert_int_equal(seteuid(61099), 0);
	db_ask(&d, "a", RC_OK, "1"); /* no writer: as one that does not change */
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(confdir, 0755), 0);
	sqlite3 *w = NULL;
	assert_int_equal(sqlite3_open(path, &w), SQLITE_OK);
	assert_int_equal(sqlite3_exec(w, "UPDATE t SET v = '2'", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(chmod(confdir, 0555), 0);
	if (is_root)
		assert_int_equal(seteuid(61099), 0);
	db_ask(&d, "a", RC_OK, "2"); /* what he has written is in the -wal file still */
	db_ask(&d, "a", RC_OK, "2");
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(confdir, 0755), 0);
	assert_int_equal(sqlite3_exec(w, "UPDATE t SET v = '3'", NULL, NULL, NULL), SQLITE_OK);
	if (is_root)
		assert_int_equal(seteuid(61099), 0);
	db_ask(&d, "a", RC_OK, "3");
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(sqlite3_exec(w, "UPDATE t SET v = '4'", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(w);
	if (is_root)
		assert_int_equal(seteuid(61099), 0);
	db_ask(&d, "a", RC_OK, "4");
	if (is_root)
		assert_int_equal(seteuid(0), 0);
	db_close(&d);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(databases, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(bad_queries, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(wal, confdir_setup, confdir_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
