/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include "base/clock.h"
#include "queue/notices_private.h"

#include <time.h>
#include <unistd.h>

static void
stop(struct timer *t)
{
	(void)t;
	loop_stop();
}

static struct conf *
load(const char *schedule)
{
	char dir[] = "/tmp/test_digests.XXXXXX", path[100];
	struct conf *c;
	struct err e = { .why = "" };
	assert_non_null(mkdtemp(dir));
	static const char *const names[] = { "main.cf", "master.cf" };
	for (unsigned i = 0; i < NELEMS(names); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		FILE *f = fopen(path, "w");
		assert_non_null(f);
		if (i == 0)
			fprintf(f, "compatibility_level = 3.6\nquarantine_digest_recipients = example.org\nquarantine_digest_schedule = %s\n", schedule);
		fclose(f);
	}
	if (conf_load(dir, &c, &e) != RC_OK)
		fail_msg("%s", e.why);
	for (unsigned i = 0; i < NELEMS(names); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
	return c;
}

/* The time of a digest comes, and there is no quarantine: its directory could not be used. Later, perhaps. */
static void
without_a_store(void **state)
{
	(void)state;
	static struct queue q;
	static struct timer t;
	struct notices_settings *s;
	struct notices *n;
	struct err e = { .why = "" };
	char schedule[16];
	uint64_t minute = (clock_wall() / (60 * USEC_PER_SEC) + 1) * 60 * USEC_PER_SEC;
	time_t sec = (time_t)(minute / USEC_PER_SEC);
	struct tm tm;
	assert_non_null(localtime_r(&sec, &tm));
	strftime(schedule, sizeof schedule, "%H:%M", &tm);
	struct conf *c = load(schedule);
	for (uint64_t before = 20000;; before *= 2) { /* on a slow machine it is over before anybody looks */
		clock_wall_offset(0);
		clock_wall_offset((int64_t)(minute - before) - (int64_t)clock_wall());
		assert_int_equal(notices_settings_open(c, &s, &e), RC_OK);
		n = notices_new(&q, s);
		if (notices_next_digest(n) == minute)
			break;
		assert_true(before < 10 * USEC_PER_SEC);
		notices_free(&n);
	}
	timer_init(&t, stop);
	for (unsigned tries = 0; tries < 3000 && notices_next_digest(n) == minute; tries++) {
		timer_set(&t, 10000);
		loop_run();
	}
	assert_true(notices_next_digest(n) > minute);
	assert_true(notices_next_digest(n) < minute + 1000 * USEC_PER_SEC);
	notices_free(&n);
	conf_unref(&c);
	clock_wall_offset(0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(without_a_store) };
	loop_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
