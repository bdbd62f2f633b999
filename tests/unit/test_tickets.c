/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys of session tickets: the same wherever the same was told, others each hour, and old ones gone. */
#include "unit.h"

#include "base/clock.h"
#include "tls/tickets.h"

#define HOUR (UINT64_C(3600) * USEC_PER_SEC)

static void
two_processes_agree(void **state)
{
	(void)state;
	struct tickets_chain master;
	unsigned char frame[TICKETS_FRAME], name[16], cipher[32];
	uint64_t now = 500000 * HOUR + 17;
	tickets_begin(&master, now);
	tickets_frame(&master, now, frame);
	assert_int_equal(tickets_told(span_of(frame, sizeof frame)), RC_OK);
	/* one goes on by itself for three hours */
	const struct tickets_key *k = tickets_current(now + 3 * HOUR);
	memcpy(name, k->name, sizeof name);
	memcpy(cipher, k->cipher, sizeof cipher);
	assert_int_equal(k->hour, 500003);
	/* the other is told now */
	tickets_frame(&master, now + 3 * HOUR, frame);
	assert_int_equal(tickets_told(span_of(frame, sizeof frame)), RC_OK);
	k = tickets_current(now + 3 * HOUR);
	assert_memory_equal(k->name, name, sizeof name);
	assert_memory_equal(k->cipher, cipher, sizeof cipher);
	assert_memory_not_equal(k->cipher, k->mac, 32);
	/* a master whose clock was set back waits */
	tickets_frame(&master, now, frame);
	assert_int_equal(tickets_told(span_of(frame, sizeof frame)), RC_OK);
	assert_memory_equal(tickets_current(now + 3 * HOUR)->name, name, sizeof name);
}

static void
each_hour_has_its_own_and_a_day_is_kept(void **state)
{
	(void)state;
	struct tickets_chain master;
	unsigned char frame[TICKETS_FRAME], name[16], next[16];
	uint64_t now = 600000 * HOUR;
	tickets_begin(&master, now);
	tickets_frame(&master, now, frame);
	assert_int_equal(tickets_told(span_of(frame, sizeof frame)), RC_OK);
	memcpy(name, tickets_current(now)->name, sizeof name);
	memcpy(next, tickets_current(now + HOUR)->name, sizeof next);
	assert_memory_not_equal(name, next, sizeof name);
	assert_memory_equal(tickets_current(now + 2 * HOUR - 1)->name, next, sizeof next);
	assert_non_null(tickets_named(name, now + 24 * HOUR));
	assert_null(tickets_named(name, now + 25 * HOUR));
	assert_non_null(tickets_named(next, now + 25 * HOUR));
	/* years later: begun anew, and nothing of before is there */
	(void)tickets_current(now + 24 * 400 * HOUR);
	assert_null(tickets_named(next, now + 24 * 400 * HOUR));
}

static void
nonsense_is_no_secret(void **state)
{
	(void)state;
	unsigned char frame[TICKETS_FRAME + 1] = { 0 };
	assert_int_equal(tickets_told(span_of(frame, TICKETS_FRAME)), RC_PERM); /* hour 0 */
	frame[0] = 1;
	assert_int_equal(tickets_told(span_of(frame, TICKETS_FRAME - 1)), RC_PERM);
	assert_int_equal(tickets_told(span_of(frame, TICKETS_FRAME + 1)), RC_PERM);
	assert_int_equal(tickets_told(SPAN_EMPTY), RC_PERM);
	assert_int_equal(tickets_told(span_of(frame, TICKETS_FRAME)), RC_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_processes_agree),
		cmocka_unit_test(each_hour_has_its_own_and_a_day_is_kept),
		cmocka_unit_test(nonsense_is_no_secret),
	};
	return cmocka_run_group_tests_name("tickets", tests, NULL, NULL);
}
