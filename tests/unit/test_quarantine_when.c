/* SPDX-License-Identifier: BSD-2-Clause */
/* Points in time as administrators write them. */
#include "unit.h"

#include "base/clock.h"
#include "quarantine/when.h"

#include <stdlib.h>
#include <time.h>

#define NOW (UINT64_C(1795485600) * USEC_PER_SEC) /* 2026-11-24 02:00 UTC, 03:00 in Rome */
#define DAY UINT64_C(86400)
#define NEVER UINT64_MAX

static const struct {
	const char *text;
	uint64_t start, end; /* seconds; NEVER: refused */
} cases[] = {
	{ "2d", 1795485600 - 2 * DAY, 1795485600 - 2 * DAY },
	{ "90m", 1795485600 - 5400, 1795485600 - 5400 },
	{ "0s", 1795485600, 1795485600 },
	{ "1w", 1795485600 - 7 * DAY, 1795485600 - 7 * DAY },
	{ "4000000000w", 0, 0 },
	{ "5000000000w", NEVER, NEVER },
	{ "today", 1795474800, 1795474800 + DAY },
	{ "Yesterday", 1795474800 - DAY, 1795474800 },
	{ "2026-11-24", 1795474800, 1795474800 + DAY },
	{ "2026-11-24T03:00", 1795485600, 1795485600 },
	{ "2026-11-24 03:00:00", 1795485600, 1795485600 },
	{ "2026-11-24T02:00Z", 1795485600, 1795485600 },
	{ "2026-11-24T02:00:07z", 1795485607, 1795485607 },
	{ "2026-11-24T04:30+02:30", 1795485600, 1795485600 },
	{ "2026-11-23T21:00-0500", 1795485600, 1795485600 },
	{ "2026-10-25", 1792879200, 1792879200 + DAY + 3600 }, /* the day with 25 hours */
	{ "2024-02-29", 1709161200, 1709161200 + DAY },
	{ "@1795485600", 1795485600, 1795485600 },
	{ "@", NEVER, NEVER }, { "@-1", NEVER, NEVER }, { "@99999999999999", NEVER, NEVER },
	{ "", NEVER, NEVER }, { "2", NEVER, NEVER }, { "d", NEVER, NEVER }, { "-2d", NEVER, NEVER }, { "2 d", NEVER, NEVER }, { "2y", NEVER, NEVER },
	{ "2.5d", NEVER, NEVER }, { "now", NEVER, NEVER }, { "2026", NEVER, NEVER }, { "2026-11", NEVER, NEVER }, { "2026-13-01", NEVER, NEVER },
	{ "2026-02-29", NEVER, NEVER }, { "2026-11-31", NEVER, NEVER }, { "2026-00-10", NEVER, NEVER }, { "2026-11-24T", NEVER, NEVER },
	{ "2026-11-24T24:00", NEVER, NEVER }, { "2026-11-24T10", NEVER, NEVER }, { "2026-11-24T10:60", NEVER, NEVER }, { "2026-11-24T10:00:", NEVER, NEVER },
	{ "2026-11-24T10:00X", NEVER, NEVER }, { "2026-11-24T10:00Zx", NEVER, NEVER }, { "2026-11-24T10:00+25:00", NEVER, NEVER },
	{ "2026-11-24T10:00+1", NEVER, NEVER }, { "2026-11-24 ", NEVER, NEVER }, { "24.11.2026", NEVER, NEVER }, { "1969-12-31", NEVER, NEVER },
	{ "9999-01-01", NEVER, NEVER }, { "2026-11-24T10:00:00.000000000000000000000000000", NEVER, NEVER },
};

static void
test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		for (int is_end = 0; is_end < 2; is_end++) {
			uint64_t want = is_end ? cases[i].end : cases[i].start, got = NEVER;
			enum rc rc = when_parse(span_str(cases[i].text), NOW, is_end, &got);
			if (rc != (want == NEVER ? RC_PERM : RC_OK) || (rc == RC_OK && got != want * USEC_PER_SEC))
				fail_msg("\"%s\" %d: rc %d, %llu", cases[i].text, is_end, (int)rc, (unsigned long long)(got / USEC_PER_SEC));
		}
	}
}

/* Every beginning and every single change of a good text is taken or refused, never read past. */
static void
test_cut(void **state)
{
	(void)state;
	const char *text = "2026-11-24T04:30:00+02:30";
	for (size_t n = 0; n <= strlen(text); n++) {
		unsigned char *exact = malloc(n > 0 ? n : 1);
		assert_non_null(exact);
		memcpy(exact, text, n);
		uint64_t got;
		enum rc rc = when_parse(span_of(exact, n), NOW, false, &got);
		assert_int_equal(rc, n == 10 || n == 16 || n == 19 || n == 25 ? RC_OK : RC_PERM);
		free(exact);
	}
}

int
main(void)
{
	setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
	tzset();
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_table), cmocka_unit_test(test_cut) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
