/* SPDX-License-Identifier: BSD-2-Clause */
/* What happens to a store that somebody or something damaged: found, told, mended, and nothing outside is touched. */
#include "unit.h"

#include "quarantine_world.h"
#include "base/log.h"
#include "spool/io.h"

#include <sqlite3.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { N = 12 };

static int
set_up(void **state)
{
	(void)state;
	w_begin();
	for (uint32_t i = 0; i < N; i++) {
		struct w_mail m = { .i = i, .nrcpt = 2, .rcpt = { "a@example.com", "b@example.com" }, .class = i % 2 ? HELD_VIRUS : HELD_MILTER };
		if (w_put(&m) != RC_OK)
			return 1;
	}
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	w_end();
	return 0;
}

static unsigned f[QUAR_FLAWS];
static const struct spool_id copy = { 1800000000000000, 1 };

static void
clean(void **state)
{
	(void)state;
	assert_int_equal(w_check(QUAR_CHECK_SUMS, f), 0);
	assert_int_equal(w.rebuilds_begun, 1); /* it was new */
}

static void
flip(const char *path, off_t at)
{
	unsigned char c;
	int fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	if (at < 0)
		at += lseek(fd, 0, SEEK_END);
	assert_int_equal(pread(fd, &c, 1, at), 1);
	c ^= 1;
	assert_int_equal(pwrite(fd, &c, 1, at), 1);
	close(fd);
}

static void
flaws(void **state)
{
	(void)state;
	char path[300], outside[120];
	snprintf(outside, sizeof outside, "%s/outside", w.dir);
	int fd = open(outside, O_WRONLY | O_CREAT, 0644);
	assert_int_equal(write(fd, "secret", 6), 6);
	close(fd);
	unlink(w_file(1));                         /* lost */
	flip(w_file(2), 3);                        /* content */
	flip(w_file(3), -20);                      /* trailer */
	chmod(w_file(4), 0644);
	unlink(w_file(5));
	assert_int_equal(symlink(outside, w_file(5)), 0);
	snprintf(path, sizeof path, "%s.x", w_file(6));
	assert_int_equal(symlink("/etc/passwd", path), 0);
	snprintf(path, sizeof path, "%s/f", w.path); /* a link in the place of a directory */
	(void)rmdir(path);
	bool has_link = symlink(w.dir, path) == 0;
	assert_int_equal(w_check(QUAR_CHECK_SUMS, f), 6u + 1 + has_link);
	assert_int_equal(f[QUAR_FLAW_NO_FILE], 1);
	assert_int_equal(f[QUAR_FLAW_DAMAGED], 3);
	assert_int_equal(f[QUAR_FLAW_MODE], 1);
	assert_int_equal(f[QUAR_FLAW_ALIEN], 2u + has_link);
	/* a message that cannot be read is not given out */
	struct spool_id id = w_id(2);
	quar_content(w.q, &w.r, &id);
	assert_int_equal(w_wait(), RC_PERM);
	assert_int_equal(w.r.fd, -1);
	id = w_id(5);
	quar_content(w.q, &w.r, &id);
	assert_int_equal(w_wait(), RC_PERM);
	/* what the queue does by itself after a start removes nothing, whatever is missing */
	assert_int_equal(w_check(QUAR_CHECK_STATES | QUAR_CHECK_SUMS, f), 6u + 1 + has_link);
	assert_int_equal(w_check(QUAR_CHECK_SUMS, f), 6u + 1 + has_link);
	assert_int_equal(w_get(1), RC_OK);
	/* mended: what is damaged is in corrupt/, links of others stay where they are */
	(void)w_check(QUAR_CHECK_SUMS | QUAR_CHECK_REPAIR, f);
	assert_int_equal(w_check(QUAR_CHECK_SUMS, f), f[QUAR_FLAW_ALIEN]);
	assert_int_equal(f[QUAR_FLAW_ALIEN], 1u + has_link);
	assert_int_equal(w_get(1), RC_NONE);
	assert_int_equal(w_get(2), RC_NONE);
	assert_int_equal(w_get(0), RC_OK);
	struct stat st;
	assert_int_equal(stat(w_file(4), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	char secret[8] = "";
	fd = open(outside, O_RDONLY);
	assert_int_equal(read(fd, secret, 7), 6);
	close(fd);
	assert_string_equal(secret, "secret");
	assert_int_equal(lstat(outside, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
}

static int
no_rename(int from_fd, const char *from, int to_fd, const char *to)
{
	(void)from_fd, (void)from, (void)to_fd, (void)to;
	errno = EACCES;
	return -1;
}

/* What cannot be moved away is said, and hinders nothing else from being mended. Nor can it be released, and one hears why. */
static void
immovable(void **state)
{
	(void)state;
	static struct spool_io io;
	const struct spool_io *before = spool_io;
	io = *before;
	io.renameat = no_rename;
	flip(w_file(2), -20);
	unlink(w_file(3));
	chmod(w_file(4), 0644);
	spool_io = &io;
	assert_int_equal(w_check(QUAR_CHECK_SUMS | QUAR_CHECK_REPAIR, f), 3);
	spool_io = before;
	assert_int_equal(w_check(QUAR_CHECK_SUMS, f), 1);
	assert_int_equal(f[QUAR_FLAW_DAMAGED], 1);
	struct spool_id id = w_id(2);
	quar_begin_release(w.q, &w.r, &id, NULL, 0, false, &copy, SPAN("root"));
	assert_int_equal(w_wait(), RC_PERM);
	assert_string_equal(w.r.why.why, "its file is gone or damaged");
}

/* Where a message is to be stored lies a link to another place. */
static void
planted(void **state)
{
	(void)state;
	char outside[120];
	struct stat st;
	snprintf(outside, sizeof outside, "%s/outside", w.dir);
	struct w_mail m = { .i = N, .nrcpt = 1, .rcpt = { "a@example.com" } };
	assert_int_equal(symlink(outside, w_file(N)), 0);
	assert_int_equal(w_put(&m), RC_OK);
	assert_int_not_equal(stat(outside, &st), 0);
	assert_int_equal(lstat(w_file(N), &st), 0);
	assert_true(S_ISREG(st.st_mode));
	/* a directory that is a link: nothing is written through it */
	char leaf[300];
	m.i = 20 * 256;
	snprintf(leaf, sizeof leaf, "%s", w_file(m.i));
	*strrchr(leaf, '/') = '\0';
	char upper[300];
	snprintf(upper, sizeof upper, "%s", leaf);
	*strrchr(upper, '/') = '\0';
	(void)mkdir(upper, 0700);
	assert_int_equal(mkdir(outside, 0755), 0);
	assert_int_equal(symlink(outside, leaf), 0);
	assert_int_equal(w_put(&m), RC_TEMP);
	assert_int_equal(rmdir(outside), 0); /* empty */
}

/* Power was lost behind a put that was not answered: the trailer is there, the content is not. Storing it again makes it whole. */
static void
half(void **state)
{
	(void)state;
	struct spool_id id = w_id(2);
	struct w_mail m = { .i = 2, .nrcpt = 2, .rcpt = { "a@example.com", "b@example.com" }, .class = HELD_MILTER };
	flip(w_file(2), 3);
	assert_int_equal(w_put(&m), RC_OK);
	quar_content(w.q, &w.r, &id);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w_check(QUAR_CHECK_SUMS, f), 0);
}

/* The index is gone: everything is there again, and who was released is not held again. */
static void
lost_index(void **state)
{
	(void)state;
	struct spool_id id = w_id(3), other = w_id(4);
	struct span a = SPAN("a@example.com");
	quar_begin_release(w.q, &w.r, &id, &a, 1, false, &copy, SPAN("root"));
	assert_int_equal(w_wait(), RC_OK);
	quar_finish_release(w.q, &w.r, &id, &copy);
	assert_int_equal(w_wait(), RC_OK);
	quar_begin_release(w.q, &w.r, &other, NULL, 0, false, &copy, SPAN("root"));
	assert_int_equal(w_wait(), RC_OK);
	id = w_id(5);
	quar_delete(w.q, &w.r, &id, NULL, 0, SPAN("root"));
	assert_int_equal(w_wait(), RC_OK);
	w_close();
	static const char *const names[] = { "index.db", "index.db-wal", "index.db-shm" };
	for (unsigned i = 0; i < NELEMS(names); i++) {
		char path[200];
		snprintf(path, sizeof path, "%s/%s", w.path, names[i]);
		unlink(path);
	}
	w_open();
	assert_int_equal(w_check(QUAR_CHECK_SUMS, f), 0);
	assert_int_equal(w.rebuilds_begun, 2);
	assert_int_equal(w.rebuilds_ended, 2);
	assert_int_equal(w.rebuilt, N - 1);
	assert_int_equal(w_get(3), RC_OK);
	assert_int_equal(w.r.rows->rcpt[0].state, QUAR_RELEASED);
	assert_int_equal(w.r.rows->rcpt[1].state, QUAR_HELD);
	assert_int_equal(w_get(5), RC_NONE);
	quar_pending(w.q, &w.r);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.n, 1);
	assert_int_equal(w.r.releasing[0].id.usec, other.usec);
	quar_stats(w.q, &w.r);
	assert_int_equal(w_wait(), RC_OK);
	assert_int_equal(w.r.by_class[HELD_VIRUS].messages + w.r.by_class[HELD_MILTER].messages, N - 1);
	struct quar_filter q = { .text = SPAN("subject"), .limit = 100 };
	assert_int_equal(w_list(&q), RC_OK);
	assert_int_equal(w.r.nrows, N - 1);
}

/* The index is damaged under our hands; the allow table is kept where it can be. */
static void
damaged_index(void **state)
{
	(void)state;
	char path[200];
	w_close();
	snprintf(path, sizeof path, "%s/index.db-wal", w.path);
	unlink(path);
	snprintf(path, sizeof path, "%s/index.db", w.path);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (unsigned i = 0; i < 3000; i++)
		assert_int_equal(write(fd, "garbage garbage ", 16), 16);
	close(fd);
	w_open();
	assert_int_equal(w_check(QUAR_CHECK_SUMS, f), 0);
	assert_int_equal(w_get(3), RC_OK);
	assert_true(strstr(w.why, "index") != NULL);
}

/* A page of the allow table is damaged: what can be read is in force, and the log says which row is not. */
static void
half_allowed(void **state)
{
	(void)state;
	enum { ROWS = 400, PAGE = 4096 };
	char path[200], text[4096];
	struct quar_allow a = { .sender = SPAN("a000@x.test"), .recipient = SPAN("b@y.test") };
	quar_allow_add(w.q, &w.r, &a);
	assert_int_equal(w_wait(), RC_OK);
	w_close();
	snprintf(path, sizeof path, "%s/index.db", w.path);
	sqlite3 *db;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	for (unsigned i = 1; i < ROWS; i++) {
		snprintf(text, sizeof text, "INSERT INTO allow VALUES('a%03u@x.test', 'b@y.test', '', 'row number %03u of them', 0)", i, i);
		assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	}
	sqlite3_close(db);
	int fd = open(path, O_RDWR);
	bool found = false;
	for (off_t at = 0; !found && pread(fd, text, PAGE, at) == PAGE; at += PAGE)
		if ((found = memmem(text, PAGE, "row number 300", 14) != NULL))
			assert_int_equal(pwrite(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, at), 8);
	assert_true(found);
	close(fd);
	int log = memfd_create("log", MFD_CLOEXEC);
	log_open(LOG_TO_FD, fcntl(log, F_DUPFD_CLOEXEC, 3), LOG_POSTFIX, "test", "queue");
	w_open();
	assert_int_equal(w_get(1), RC_OK); /* what is told stands before the answer */
	assert_true(quar_allowed(w.q, HELD_POLICY, SPAN("a000@x.test"), SPAN("b@y.test")));
	assert_false(quar_allowed(w.q, HELD_POLICY, SPAN("a300@x.test"), SPAN("b@y.test")));
	log_flush();
	ssize_t n = pread(log, text, sizeof text - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	unsigned row = 0, behind = 0;
	const char *said = strstr(text, "quarantine: row ");
	if (said == NULL || sscanf(said, "quarantine: row %u of the allow table (behind a%u@x.test to b@y.test) cannot be read: ", &row, &behind) != 2)
		fail_msg("\"%s\"", text);
	assert_int_equal(row, behind + 2);
	assert_in_range(row, 2, 301);
	log_open(LOG_TO_STDERR, STDERR_FILENO, LOG_POSTFIX, "dogana", "test");
	close(log);
}

/* SQL that is not ours: a trigger that would empty the store, a view, another column. */
static void
hostile_index(void **state)
{
	(void)state;
	static const char *const sql[] = { "CREATE TRIGGER t AFTER INSERT ON msg BEGIN DELETE FROM msg; END", "CREATE VIEW v AS SELECT * FROM msg",
		"ALTER TABLE msg ADD COLUMN x", "PRAGMA user_version=99", "DROP INDEX rcpt_addr" };
	for (unsigned i = 0; i < NELEMS(sql); i++) {
		w_close();
		w_edit(sql[i]);
		unsigned before = w.rebuilds_begun;
		w_open();
		assert_int_equal(w_check(QUAR_CHECK_SUMS, f), 0);
		assert_int_equal(w.rebuilds_begun, before + 1);
		struct w_mail m = { .i = 100 + i, .nrcpt = 1, .rcpt = { "a@example.com" } };
		assert_int_equal(w_put(&m), RC_OK);
		assert_int_equal(w_get(1), RC_OK);
	}
}

/* A row that says another number of recipients than it has: what it has counts. */
static void
false_number(void **state)
{
	(void)state;
	static const char *const sql[] = { "UPDATE msg SET nrcpt=100000", "UPDATE msg SET nrcpt=0" };
	for (unsigned i = 0; i < NELEMS(sql); i++) {
		w_close();
		w_edit(sql[i]);
		w_open();
		assert_int_equal(w_get(1), RC_OK);
		assert_int_equal(w.r.rows[0].nshown, 2);
		assert_int_equal(w.r.rows[0].nrcpt, 2);
	}
}

/* Another process has it locked: not now, and later it goes on. */
static void
locked_index(void **state)
{
	(void)state;
	char path[200];
	snprintf(path, sizeof path, "%s/index.db", w.path);
	int told[2], end[2];
	char c = 0;
	assert_int_equal(pipe(told), 0);
	assert_int_equal(pipe(end), 0);
	pid_t pid = fork();
	if (pid == 0) {
		/* locks of this process do not count among its own connections, so another one holds it: from what it says until nobody holds the other end */
		sqlite3 *db;
		close(end[1]);
		_exit(sqlite3_open(path, &db) == SQLITE_OK && sqlite3_busy_timeout(db, 20000) == SQLITE_OK &&
		    sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK && write(told[1], "x", 1) == 1 && read(end[0], &c, 1) == 0 ? 0 : 1);
	}
	close(told[1]);
	close(end[0]);
	assert_int_equal(read(told[0], &c, 1), 1);
	struct w_mail m = { .i = 50, .nrcpt = 1, .rcpt = { "a@example.com" } };
	assert_int_equal(w_put(&m), RC_TEMP);
	assert_int_not_equal(access(w_file(50), F_OK), 0);
	assert_true(quar_is_full(w.q));
	assert_int_equal(w_get(1), RC_OK);
	close(end[1]);
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(w_put(&m), RC_OK);
	assert_false(quar_is_full(w.q));
	assert_int_equal(w_check(QUAR_CHECK_SUMS, f), 0);
	close(told[0]);
}

int
main(void)
{
#define T(t) cmocka_unit_test_setup_teardown(t, set_up, tear_down)
	const struct CMUnitTest tests[] = { T(clean), T(flaws), T(planted), T(immovable), T(half), T(lost_index), T(damaged_index), T(half_allowed), T(hostile_index), T(false_number), T(locked_index) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
