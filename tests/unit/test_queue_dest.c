/* SPDX-License-Identifier: BSD-2-Clause */
/* Windows, dead destinations and turns. Facts 7.4. */
#include "unit.h"

#include "queue/dest.h"

static struct queue_settings set;
static struct reason_pool pool;
static struct dest_set ds;

static int
setup(void **state)
{
	(void)state;
	settings_defaults(&set);
	pool = (struct reason_pool){ 0 };
	dest_set_init(&ds, &pool, &set);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	dest_set_fini(&ds);
	reason_pool_fini(&pool);
	return 0;
}

static struct dest *
get(const char *transport, const char *nexthop)
{
	return dest_get(&ds, transport_get(&ds, NULL, span_str(transport)), span_str(nexthop), SPAN("r@x"));
}

static struct reason *
why(void)
{
	return reason_get(&pool, SPAN("4.4.1"), SPAN("connect: refused"), SPAN_EMPTY, SPAN_EMPTY);
}

static void
interned(void **state)
{
	(void)state;
	struct dest *a = get("smtp", "[Hub.test]:25"), *b = get("smtp", "[hub.TEST]:25"), *c = get("relay", "[hub.test]:25");
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_span(dest_nexthop(a), "[hub.test]:25");
	dest_release(&ds, a);
	dest_release(&ds, a);
	dest_release(&ds, c);
	assert_ptr_equal(get("smtp", "[hub.test]:25"), a); /* kept while idle */
	dest_release(&ds, a);
	/* one recipient at a time: every recipient is a destination */
	struct transport *t = transport_get(&ds, NULL, SPAN("lmtp"));
	t->set.recipient_limit = 1;
	struct dest *x = dest_get(&ds, t, SPAN("h"), SPAN("x@h")), *y = dest_get(&ds, t, SPAN("h"), SPAN("y@h"));
	assert_ptr_not_equal(x, y);
	dest_release(&ds, x);
	dest_release(&ds, y);
	for (int i = 0; i < 3 * DEST_IDLE_MAX; i++) {
		char name[32];
		snprintf(name, sizeof name, "h%d", i);
		dest_release(&ds, get("smtp", name));
	}
	assert_int_equal(ds.dests.count, DEST_IDLE_MAX);
}

static void
window_grows_and_shrinks(void **state)
{
	(void)state;
	struct dest *d = get("smtp", "hub");
	assert_true(d->window == 5);
	dest_worked(&ds, d); /* nothing under way: window < busy + initial does not hold */
	assert_true(d->window == 5);
	d->busy = 5;
	dest_worked(&ds, d);
	assert_true(d->window == 6);
	d->busy = 40;
	for (int i = 0; i < 40; i++)
		dest_worked(&ds, d);
	assert_true(d->window == 20); /* default_destination_concurrency_limit */
	struct reason *r = why();
	assert_false(dest_failed(&ds, d, 1000, r)); /* 1/20 of a cohort */
	assert_true(d->window == 19);
	d->transport->set.positive = (struct feedback){ 1, FEEDBACK_CONCURRENCY };
	dest_worked(&ds, d);
	assert_true(d->window == 19);
	for (int i = 0; i < 19; i++)
		dest_worked(&ds, d);
	assert_true(d->window == 20);
	d->busy = 0;
	reason_unref(&pool, &r);
	dest_release(&ds, d);
}

static void
dies_and_revives(void **state)
{
	(void)state;
	struct dest *d = get("smtp", "hub");
	struct reason *r = why();
	uint64_t now = 1000;
	int failures = 0;
	while (!dest_failed(&ds, d, now, r))
		failures++;
	assert_in_range(failures, 2, 4); /* 1/5 + 1/4 + 1/3 + 1/2 > 1 */
	assert_ptr_equal(dest_dead(&ds, d, now), r);
	assert_non_null(dest_dead(&ds, d, now + set.minimal_backoff - 1));
	assert_null(dest_dead(&ds, d, now + set.minimal_backoff));
	assert_true(d->window == 5 && d->dead_until == 0);
	/* a success in between starts the count again */
	for (int i = 0; i < 50; i++) {
		assert_false(dest_failed(&ds, d, now, r));
		d->busy = 5;
		dest_worked(&ds, d);
	}
	d->transport->set.failed_cohort_limit = 0; /* never dead */
	for (int i = 0; i < 50; i++)
		assert_false(dest_failed(&ds, d, now, r));
	d->busy = 0;
	reason_unref(&pool, &r);
	dest_release(&ds, d);
}

/* Groups are only links here. */
static void
takes_turns(void **state)
{
	(void)state;
	struct list work[4];
	struct dest *d[4] = { get("smtp", "a"), get("smtp", "b"), get("relay", "c"), get("relay", "d") };
	for (int i = 0; i < 4; i++) {
		list_init(&work[i]);
		list_append(&d[i]->groups, &work[i]);
		dest_update(&ds, d[i], 0);
	}
	unsigned seen[4] = { 0 };
	for (int n = 0; n < 16; n++) {
		struct dest *next = dest_next(&ds);
		for (int i = 0; i < 4; i++)
			seen[i] += next == d[i];
		dest_begin(&ds, next, 0);
	}
	for (int i = 0; i < 4; i++)
		assert_int_equal(seen[i], 4);
	for (int n = 0; n < 4; n++)
		dest_begin(&ds, dest_next(&ds), 0);
	assert_null(dest_next(&ds)); /* all windows are full */
	dest_end(&ds, d[2], 0);
	assert_ptr_equal(dest_next(&ds), d[2]);
	/* the process limit of a transport */
	d[0]->transport->set.max_jobs = 3;
	dest_end(&ds, d[0], 0);
	dest_end(&ds, d[0], 0);
	assert_ptr_equal(dest_next(&ds), d[2]);
	assert_ptr_equal(dest_next(&ds), d[2]);
	for (int i = 0; i < 4; i++) {
		list_remove(&work[i]);
		while (d[i]->busy > 0)
			dest_end(&ds, d[i], 0);
		dest_update(&ds, d[i], 0);
		dest_release(&ds, d[i]);
	}
	assert_null(dest_next(&ds));
}

static void
rate_delay(void **state)
{
	(void)state;
	struct list work;
	struct dest *d = get("smtp", "slow");
	d->transport->set.destination_rate_delay = 1000;
	list_init(&work);
	list_append(&d->groups, &work);
	dest_update(&ds, d, 5000);
	assert_ptr_equal(dest_next(&ds), d);
	dest_begin(&ds, d, 5000);
	assert_null(dest_next(&ds)); /* one at a time */
	dest_end(&ds, d, 5100);
	assert_null(dest_next(&ds));
	assert_int_equal(dest_resume(&ds, 5200), 6100);
	assert_int_equal(dest_resume(&ds, 6100), UINT64_MAX);
	assert_ptr_equal(dest_next(&ds), d);
	d->transport->set.destination_rate_delay = 0;
	d->transport->set.transport_rate_delay = 300;
	dest_begin(&ds, d, 7000);
	assert_null(dest_next(&ds));
	assert_int_equal(dest_resume(&ds, 7100), 7300);
	(void)dest_resume(&ds, 7300);
	assert_ptr_equal(dest_next(&ds), d);
	list_remove(&work);
	dest_end(&ds, d, 7400);
	dest_release(&ds, d);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = { T(interned), T(window_grows_and_shrinks), T(dies_and_revives), T(takes_turns), T(rate_delay) };
	return cmocka_run_group_tests_name("queue_dest", tests, NULL, NULL);
}
