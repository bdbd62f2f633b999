/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include "base/clock.h"
#include "spool/spool.h"

/* Worked out from the definition of Postfix's long queue ids by another program. */
static const struct {
	uint64_t usec;
	uint32_t serial;
	const char *text;
} known[] = {
	{ 0, 0, "0000000000z0" },
	{ 1, 1, "0000000001z1" },
	{ 51, 50, "000000000zzy" },
	{ 52, 51, "0000000010z10" },
	{ UINT64_C(999999), 0, "00000075plz0" },
	{ UINT64_C(1000000), 0, "0000010000z0" },
	{ UINT64_C(1700000000000000), 77, "4SVLCh0000z1V" },
	{ UINT64_C(19770609663999999), UINT32_MAX, "zzzzzz75plzDQqwN0" },
	{ UINT64_C(19770609664000000), 1, "10000000000z1" },
};

static void
test_known(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(known); i++) {
		struct spool_id id = { .usec = known[i].usec, .serial = known[i].serial }, back;
		char text[SPOOL_ID_TEXT];
		size_t n = spool_id_text(&id, text);
		assert_span(span_of(text, n), known[i].text);
		assert_int_equal(text[n], 0);
		assert_int_equal(spool_id_parse(span_of(text, n), &back), RC_OK);
		assert_true(back.usec == id.usec && back.serial == id.serial);
	}
}

static const char *const not_ids[] = {
	"", "z", "0", "0000000000", "0000000000z", "z0000000000z00000000000000000000000000",
	"000000000z0",       /* nine digits of time */
	"00000000000z0",     /* a leading zero too many */
	"0000000000z00",     /* the same in the serial */
	"0000000000z0a",     /* vowels are no digits */
	"00000A0000z0", "0000000000zz", "0000000000z ", " 0000000000z0", "0000000000z0\n", "0000000000Z0",
	"00000075pmz0",      /* a million microseconds */
	"000000zzzzz0",
	"0000000000zDQqwN1", /* more than 32 bits */
	"0000000000z1000000",
	"zzzzzzzzzzzzzzzzz0", "4SVLCh0000/../x", "../../etcz0",
};

static void
test_not_ids(void **state)
{
	(void)state;
	struct spool_id id;
	for (size_t i = 0; i < NELEMS(not_ids); i++)
		if (spool_id_parse(span_str(not_ids[i]), &id) != RC_PERM)
			fail_msg("\"%s\" is taken for a queue id", not_ids[i]);
	assert_int_equal(spool_id_parse(span_of("0000000000z\0", 12), &id), RC_PERM);
	assert_int_equal(spool_id_parse(SPAN_EMPTY, &id), RC_PERM);
}

static void
test_round_trip(void **state)
{
	(void)state;
	uint64_t x = 12345;
	for (int i = 0; i < 20000; i++) {
		x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
		struct spool_id id = { .usec = x >> (x % 30 + 2), .serial = (uint32_t)(x >> 7) >> x % 32 }, back;
		char text[SPOOL_ID_TEXT];
		size_t n = spool_id_text(&id, text);
		assert_true(n >= 12 && n < SPOOL_ID_TEXT);
		assert_int_equal(spool_id_parse(span_of(text, n), &back), RC_OK);
		assert_true(back.usec == id.usec && back.serial == id.serial);
	}
}

static void
test_next(void **state)
{
	(void)state;
	struct spool_id last = spool_id_next(3);
	for (int i = 0; i < 1000; i++) {
		struct spool_id id = spool_id_next(3);
		assert_true(id.usec > last.usec && id.serial == 3);
		last = id;
	}
	clock_wall_offset(-3600 * (int64_t)USEC_PER_SEC); /* the clock is set back */
	assert_true(spool_id_next(3).usec > last.usec);
	clock_wall_offset(0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_not_ids),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_next),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
