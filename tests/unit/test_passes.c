/* SPDX-License-Identifier: BSD-2-Clause */
/* What is remembered of clients that passed triage. */
#include "unit.h"

#include "confdir.h"

#include "base/clock.h"
#include "base/metric.h"
#include "queue/passes.h"

static struct passes p;
static uint64_t now;             /* seconds */

static void
open_it(void)
{
	struct err e;
	if (passes_open(&p, confdir, 1 << 20, 0, &e) != RC_OK)
		fail_msg("%s", e.why);
}

static struct ipaddr
addr(const char *text)
{
	struct ipaddr a;
	assert_int_equal(ipaddr_parse(span_str(text), &a), RC_OK);
	return a;
}

static void
keep(const char *who, uint64_t first, uint64_t second, uint64_t more)
{
	passes_keep(&p, &(struct msg_triage){ .addr = addr(who), .until = { first, second, 1, 1, 0 }, .keep = more });
}

static void
expect(const char *who, bool known, uint64_t first, uint64_t second)
{
	struct ipaddr a = addr(who);
	struct msg_triage_found f = passes_find(&p, &a);
	assert_int_equal(f.known, known);
	assert_int_equal(f.until[0], first);
	assert_int_equal(f.until[1], second);
}

static int
setup(void **state)
{
	(void)state;
	loop_init();
	confdir_make();
	now = clock_wall() / USEC_PER_SEC;
	open_it();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	passes_close(&p);
	loop_fini();
	confdir_remove();
	return 0;
}

static void
test_by_address(void **state)
{
	(void)state;
	expect("192.0.2.1", false, 0, 0);
	keep("192.0.2.1", now + 100, now + 50, 1000);
	keep("2001:db8::1", now + 7, 0, 1000);
	expect("192.0.2.1", true, now + 100, now + 50);
	expect("192.0.2.2", false, 0, 0);
	expect("2001:db8::1", true, now + 7, 0);
	expect("2001:db8::2", false, 0, 0); /* a client is a /128 */
	expect("::192.0.2.1", false, 0, 0);
	assert_int_equal(metric_values[M_triage_known], 2);
}

/* Another process has seen more of the client since. */
static void
test_never_shorter(void **state)
{
	(void)state;
	keep("192.0.2.9", now + 100, now + 50, 1000);
	keep("192.0.2.9", now + 20, now + 90, 1000);
	expect("192.0.2.9", true, now + 100, now + 90);
}

static void
test_restart(void **state)
{
	(void)state;
	keep("192.0.2.10", now + 100, now + 50, 1000);
	passes_close(&p);
	open_it();
	expect("192.0.2.10", true, now + 100, now + 50);
}

static void
test_retention(void **state)
{
	(void)state;
	keep("192.0.2.11", now - 10, now - 20, 60);
	expect("192.0.2.11", true, now - 10, now - 20); /* expired, and known as a client that passed once */
	clock_wall_offset(51 * (int64_t)USEC_PER_SEC);
	expect("192.0.2.11", false, 0, 0);
	clock_wall_offset(0);
}

static void
test_without(void **state)
{
	(void)state;
	struct passes none = { 0 };
	struct ipaddr a = addr("192.0.2.1");
	assert_false(passes_find(&none, &a).known);
	passes_keep(&none, &(struct msg_triage){ .addr = a, .until = { now + 5 } });
	passes_close(&none);
}

/* A flood of clients that pass stays within the store. */
static void
test_flood(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 40000; i++) {
		struct msg_triage m = { .addr = { .family = IPADDR_V6, .b = { 0x20, 1 } }, .until = { now + i }, .keep = 10 };
		memcpy(m.addr.b + 8, &i, sizeof i);
		passes_keep(&p, &m);
	}
	assert_true(metric_values[M_store_evicted] > 0);
	assert_true(store_count(p.store) < 20000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_address),
		cmocka_unit_test(test_never_shorter),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_retention),
		cmocka_unit_test(test_without),
		cmocka_unit_test(test_flood),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
