/* SPDX-License-Identifier: BSD-2-Clause */
/* When digests are sent. */
#include "unit.h"

#include "base/clock.h"
#include "quarantine/schedule.h"

#include <stdlib.h>
#include <time.h>

static const struct {
	const char *text;
	int ntimes; /* -1: refused */
	uint64_t now, next;
} cases[] = {
	{ "", 0, 1795485600, 0 },
	{ "07:00", 1, 1795485600, 1795500000 },          /* 03:00 in Rome: the same day */
	{ "07:00", 1, 1795500000, 1795500000 + 86400 },  /* at that moment: the next day */
	{ "13:30, 7:00 07:00", 2, 1795500000, 1795523400 },
	{ "4h", 6, 1795485600, 1795489200 },
	{ "1d", 1, 1795485600, 1795561200 },
	{ "30m", 48, 1795485600, 1795487400 },
	{ "07:00", 1, 1792886400 - 8 * 3600, 1792908000 }, /* the night with an hour more: 25 October 2026 */
	{ "29m", -1, 0, 0 }, { "2d", -1, 0, 0 }, { "24:00", -1, 0, 0 }, { "7", -1, 0, 0 }, { "7:0", -1, 0, 0 }, { "07:00 4h", -1, 0, 0 },
	{ "4h 07:00", -1, 0, 0 }, { "daily", -1, 0, 0 }, { "007:00", -1, 0, 0 }, { "-1h", -1, 0, 0 },
};

static void
test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct schedule s;
		struct err e = { .why = "" };
		enum rc rc = schedule_parse(span_str(cases[i].text), &s, &e);
		if (cases[i].ntimes < 0) {
			assert_int_equal(rc, RC_PERM);
			assert_true(e.why[0] != '\0');
			continue;
		}
		assert_int_equal(rc, RC_OK);
		assert_int_equal(s.ntimes, cases[i].ntimes);
		uint64_t next = schedule_next(&s, cases[i].now * USEC_PER_SEC) / USEC_PER_SEC;
		if (next != cases[i].next)
			fail_msg("\"%s\" %llu: %llu", cases[i].text, (unsigned long long)cases[i].now, (unsigned long long)next);
	}
}

/* Over a year with both changes of the clock: always later, never more than a day and an hour. */
static void
test_year(void **state)
{
	(void)state;
	struct schedule s;
	uint64_t now = UINT64_C(1767225600) * USEC_PER_SEC;
	assert_int_equal(schedule_parse(SPAN("02:30 23:59"), &s, NULL), RC_OK);
	for (int i = 0; i < 730; i++) {
		uint64_t next = schedule_next(&s, now);
		assert_true(next > now && next - now <= 25 * 3600 * USEC_PER_SEC);
		now = next;
	}
}

int
main(void)
{
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_table), cmocka_unit_test(test_year) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
