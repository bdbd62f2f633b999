/* SPDX-License-Identifier: BSD-2-Clause */
/* The store of small facts: rows, time, order of death, limits; closed, killed and damaged files; full and closed directories. */
#include "unit.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "loop/loop.h"
#include "queue/store.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];
static const size_t roomy = 1 << 20;

static int
setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof dir, "/tmp/store-XXXXXX");
	assert_non_null(mkdtemp(dir));
	loop_init();
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	log_open(LOG_TO_FD, null, LOG_POSTFIX, "test", "queue");
	clock_wall_offset(0);
	return 0;
}

static void
path_of(char out[128], const char *name)
{
	snprintf(out, 128, "%s/%s", dir, name);
}

static int
teardown(void **state)
{
	(void)state;
	char p[128];
	log_flush();
	loop_fini();
	path_of(p, "s");
	unlink(p);
	path_of(p, "s.state");
	unlink(p);
	chmod(dir, 0700);
	rmdir(dir);
	clock_wall_offset(0);
	return 0;
}

static struct store *
must_open(size_t max)
{
	struct store *s;
	struct err e = { .why = "" };
	if (store_open(dir, "s", max, &s, &e) != RC_OK)
		fail_msg("%s", e.why);
	return s;
}

static uint64_t
in_seconds(int64_t n)
{
	return (uint64_t)((int64_t)clock_wall() + n * (int64_t)USEC_PER_SEC);
}

static struct span
key_of(char buf[32], unsigned n)
{
	snprintf(buf, 32, "key %u", n);
	return span_str(buf);
}

static void
must_have(struct store *s, const char *key, const char *want)
{
	struct span v;
	uint64_t dies;
	if (want == NULL) {
		assert_int_equal(store_get(s, span_str(key), &v, &dies), RC_NONE);
		return;
	}
	assert_int_equal(store_get(s, span_str(key), &v, &dies), RC_OK);
	assert_span(v, want);
	assert_true(dies > clock_wall());
}

static void
put(struct store *s, const char *key, const char *value, int64_t seconds)
{
	assert_int_equal(store_put(s, span_str(key), span_str(value), in_seconds(seconds)), RC_OK);
}

static void
test_rows(void **state)
{
	(void)state;
	struct store *s = must_open(roomy);
	must_have(s, "a", NULL);
	put(s, "a", "one", 100);
	put(s, "b", "", 100);
	must_have(s, "a", "one");
	must_have(s, "b", "");
	put(s, "a", "two, longer than before", 200);
	must_have(s, "a", "two, longer than before");
	assert_int_equal(store_count(s), 2);
	store_delete(s, SPAN("a"));
	store_delete(s, SPAN("never"));
	must_have(s, "a", NULL);
	assert_int_equal(store_count(s), 1);
	store_close(&s);
	assert_null(s);
	store_close(&s);
}

static void
test_lengths(void **state)
{
	(void)state;
	struct store *s = must_open(roomy);
	unsigned char long_key[STORE_KEY_MAX + 1], long_value[STORE_VALUE_MAX + 1];
	memset(long_key, 'k', sizeof long_key);
	memset(long_value, 0, sizeof long_value);
	struct span v;
	uint64_t dies;
	assert_int_equal(store_put(s, SPAN_EMPTY, SPAN("x"), in_seconds(9)), RC_PERM);
	assert_int_equal(store_put(s, span_of(long_key, sizeof long_key), SPAN("x"), in_seconds(9)), RC_PERM);
	assert_int_equal(store_put(s, SPAN("x"), span_of(long_value, sizeof long_value), in_seconds(9)), RC_PERM);
	assert_int_equal(store_get(s, span_of(long_key, sizeof long_key), &v, &dies), RC_NONE);
	assert_int_equal(store_get(s, SPAN_EMPTY, &v, &dies), RC_NONE);
	store_delete(s, SPAN_EMPTY);
	assert_int_equal(store_put(s, span_of(long_key, STORE_KEY_MAX), span_of(long_value, STORE_VALUE_MAX), in_seconds(9)), RC_OK);
	assert_int_equal(store_get(s, span_of(long_key, STORE_KEY_MAX), &v, &dies), RC_OK);
	assert_int_equal(v.n, STORE_VALUE_MAX);
	store_close(&s);
	s = must_open(roomy);
	assert_int_equal(store_count(s), 1);
	store_close(&s);
}

static void
test_time(void **state)
{
	(void)state;
	struct store *s = must_open(roomy);
	put(s, "short", "1", 10);
	put(s, "long", "2", 1000);
	put(s, "moved", "3", 10);
	put(s, "moved", "3", 1000);
	clock_wall_offset(9 * (int64_t)USEC_PER_SEC);
	must_have(s, "short", "1");
	assert_false(store_bury(s, 10));
	clock_wall_offset(11 * (int64_t)USEC_PER_SEC);
	must_have(s, "short", NULL);
	must_have(s, "moved", "3");
	assert_int_equal(store_count(s), 3);
	assert_false(store_bury(s, 10));
	assert_int_equal(store_count(s), 2);
	put(s, "dead", "born so", -5);
	must_have(s, "dead", NULL);
	store_close(&s);
}

static void
test_bury_in_slices(void **state)
{
	(void)state;
	struct store *s = must_open(roomy);
	char k[32];
	for (unsigned i = 0; i < 250; i++)
		assert_int_equal(store_put(s, key_of(k, i), SPAN("v"), in_seconds(1 + i % 7)), RC_OK);
	put(s, "stays", "x", 1000);
	clock_wall_offset(100 * (int64_t)USEC_PER_SEC);
	assert_true(store_bury(s, 100));
	assert_int_equal(store_count(s), 151);
	assert_true(store_bury(s, 100));
	assert_false(store_bury(s, 100));
	assert_int_equal(store_count(s), 1);
	must_have(s, "stays", "x");
	store_close(&s);
}

/* What is left when it is full: those that die last. */
static void
test_full(void **state)
{
	(void)state;
	enum { N = 20000 };
	struct store *s = must_open(256 * 1024);
	char k[32];
	struct span v;
	uint64_t dies;
	for (unsigned i = 0; i < N; i++) /* 7919 is prime: every time to die once, in no order */
		assert_int_equal(store_put(s, key_of(k, i), SPAN("0123456789012345678901234567890123456789"), in_seconds(1000 + (i * 7919) % N)), RC_OK);
	size_t left = store_count(s);
	assert_in_range(left, 1000, 4000);
	uint64_t least = UINT64_MAX;
	unsigned have = 0;
	for (unsigned i = 0; i < N; i++)
		if (store_get(s, key_of(k, i), &v, &dies) == RC_OK) {
			have++;
			least = dies < least ? dies : least;
		}
	assert_int_equal(have, left);
	/* the last ones came when earlier deaths had been made room for: nobody far from the end is here */
	assert_true(least > in_seconds(1000 + N / 2));
	store_close(&s);
	char p[128];
	struct stat st;
	path_of(p, "s");
	assert_int_equal(stat(p, &st), 0);
	assert_true(st.st_size <= 4 * 256 * 1024 + (4 << 20));
	s = must_open(64 * 1024); /* smaller than it was: shrinks while it is written */
	assert_int_equal(store_count(s), left);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(store_put(s, key_of(k, i), SPAN("x"), in_seconds(50000)), RC_OK);
	assert_true(store_count(s) < left / 2);
	store_close(&s);
}

/* The dead make room in silence; when others have to, that is counted, and said once in a while. */
static void
test_evicted(void **state)
{
	(void)state;
	char k[32], p[128], said[4096] = "";
	path_of(p, "said");
	int fd = open(p, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	log_open(LOG_TO_FD, fd, LOG_POSTFIX, "test", "queue");
	struct store *s = must_open(64 * 1024);
	int64_t before = metric_values[M_store_evicted];
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(store_put(s, key_of(k, i), SPAN("value"), in_seconds(-1)), RC_OK);
	int64_t dead = metric_values[M_store_evicted] - before;
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(store_put(s, key_of(k, i), SPAN("value"), in_seconds(500)), RC_OK);
	size_t left = store_count(s);
	store_close(&s);
	log_flush();
	ssize_t n = pread(fd, said, sizeof said - 1, 0); /* the log closes it */
	assert_int_equal(unlink(p), 0);
	assert_int_equal(dead, 0);
	assert_int_equal(metric_values[M_store_evicted] - before, 5000 - left);
	assert_true(n > 0 && strstr(said, "/s: full (65536 bytes): thrown out before their time: 1\n") != NULL);
	assert_null(strstr(strstr(said, "full") + 1, "full"));
}

static void
test_reopen(void **state)
{
	(void)state;
	struct store *s = must_open(roomy), *second;
	struct err e;
	char k[32];
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(store_put(s, key_of(k, i), SPAN("value"), in_seconds(500 + i)), RC_OK);
	assert_int_equal(store_open(dir, "s", roomy, &second, &e), RC_TEMP); /* one at a time */
	assert_null(second);
	store_close(&s);
	s = must_open(roomy);
	assert_int_equal(store_count(s), 5000);
	must_have(s, "key 4711", "value");
	clock_wall_offset(600 * (int64_t)USEC_PER_SEC);
	assert_true(store_bury(s, 50));
	assert_int_equal(store_count(s), 4950);
	store_close(&s);
}

static void
on_stop(struct timer *t)
{
	(void)t;
	loop_stop();
}

/* A process that is killed keeps what was committed: here 2000 writes at once, then some from the timer. */
static void
test_killed(void **state)
{
	(void)state;
	int fds[2];
	char c;
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		static struct timer stop;
		char k[32];
		loop_fini();
		loop_init();
		struct store *s = must_open(roomy);
		for (unsigned i = 0; i < 2005; i++)
			if (store_put(s, key_of(k, i), SPAN("v"), in_seconds(500)) != RC_OK)
				_exit(1);
		timer_init(&stop, on_stop);
		timer_set(&stop, 1500000);
		loop_run();
		bool ok = store_put(s, SPAN("too late"), SPAN("v"), in_seconds(500)) == RC_OK;
		(void)!write(fds[1], ok ? "x" : "-", 1);
		pause();
		_exit(1);
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &c, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(fds[0]);
	struct store *s = must_open(roomy);
	assert_int_equal(store_count(s), 2005);
	must_have(s, "key 2004", "v");
	must_have(s, "too late", NULL);
	store_close(&s);
}

static void
fill(unsigned n)
{
	char k[32];
	struct store *s = must_open(roomy);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(store_put(s, key_of(k, i), SPAN("some value that takes room"), in_seconds(500)), RC_OK);
	store_close(&s);
}

/* After any damage the store opens, and is whole: either as it was or empty, and can be written. */
static void
must_be_sound(void)
{
	struct store *s = must_open(roomy);
	assert_true(store_count(s) == 0 || store_count(s) == 1000);
	if (store_count(s) > 0)
		must_have(s, "key 7", "some value that takes room");
	put(s, "new", "x", 100);
	must_have(s, "new", "x");
	store_delete(s, SPAN("new"));
	store_close(&s);
	s = must_open(roomy);
	assert_true(store_count(s) == 0 || store_count(s) == 1000);
	store_close(&s);
}

static void
test_damaged(void **state)
{
	(void)state;
	char p[128];
	struct stat st;
	path_of(p, "s");
	unsigned begun_anew = 0;
	for (unsigned round = 0; round < 24; round++) {
		fill(1000);
		assert_int_equal(stat(p, &st), 0);
		off_t size = st.st_size;
		int fd = open(p, O_RDWR);
		unsigned char noise[4096];
		for (size_t i = 0; i < sizeof noise; i++)
			noise[i] = (unsigned char)(i * 31 + round * 17);
		if (round == 0)
			assert_int_equal(ftruncate(fd, 0), 0);
		else if (round < 6)
			assert_int_equal(ftruncate(fd, size / 6 * round), 0);
		else if (round == 6) /* no meta page is left */
			assert_int_equal(pwrite(fd, noise, sizeof noise, 0) + pwrite(fd, noise, sizeof noise, 4096), 2 * (ssize_t)sizeof noise);
		else
			assert_int_equal(pwrite(fd, noise, sizeof noise, (size / 4096 - (off_t)round + 5) * 4096), sizeof noise);
		close(fd);
		struct store *s = must_open(roomy);
		begun_anew += store_count(s) == 0;
		store_close(&s);
		must_be_sound();
		unlink(p);
	}
	assert_true(begun_anew >= 8);
}

static void
test_other_boot(void **state)
{
	(void)state;
	static const struct { const char *state; size_t count; } rows[] = {
		{ "clean\n", 1000 }, { "11111111-2222-3333-4444-555555555555\n", 0 }, { "", 0 }, { "damaged\n", 0 },
	};
	char p[128];
	path_of(p, "s.state");
	for (size_t i = 0; i < NELEMS(rows); i++) {
		fill(1000);
		int fd = open(p, O_WRONLY | O_TRUNC);
		assert_int_equal(write(fd, rows[i].state, strlen(rows[i].state)), strlen(rows[i].state));
		close(fd);
		struct store *s = must_open(roomy);
		assert_int_equal(store_count(s), rows[i].count);
		store_close(&s);
		must_be_sound();
	}
}

static void
test_bad_directory(void **state)
{
	(void)state;
	struct store *s;
	struct err e = { .why = "" };
	char p[128];
	assert_int_equal(store_open("/nonexistent/dir", "s", roomy, &s, &e), RC_TEMP);
	assert_true(strlen(e.why) > 0);
	assert_null(s);
	path_of(p, "s.state");
	assert_int_equal(mkdir(p, 0700), 0); /* also for root, who may write everywhere */
	assert_int_equal(store_open(dir, "s", roomy, &s, &e), RC_TEMP);
	assert_int_equal(rmdir(p), 0);
	path_of(p, "s");
	assert_int_equal(mkdir(p, 0700), 0);
	assert_int_equal(store_open(dir, "s", roomy, &s, &e), RC_TEMP);
	assert_int_equal(rmdir(p), 0);
}

/* A disk that is full: what was committed is there, what was not is said once; when there is room it goes on. */
static void
test_disk_full(void **state)
{
	(void)state;
	struct store *s = must_open(roomy);
	struct rlimit was, small;
	char k[32], p[128];
	struct stat st;
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(store_put(s, key_of(k, i), SPAN("v"), in_seconds(500)), RC_OK);
	path_of(p, "s");
	assert_int_equal(stat(p, &st), 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	small = was;
	small.rlim_cur = (rlim_t)st.st_size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	unsigned refused = 0;
	for (unsigned i = 2000; i < 8000; i++)
		refused += store_put(s, key_of(k, i), SPAN("v"), in_seconds(500)) != RC_OK;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, SIG_DFL);
	store_close(&s);
	s = must_open(roomy);
	assert_true(refused > 0 || store_count(s) < 8000); /* the limit was felt */
	assert_true(store_count(s) >= 2000);
	must_have(s, "key 1999", "v");
	put(s, "goes on", "x", 100);
	must_have(s, "goes on", "x");
	store_close(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rows, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_time, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bury_in_slices, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_evicted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reopen, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_boot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bad_directory, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
