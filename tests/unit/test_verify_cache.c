/* SPDX-License-Identifier: BSD-2-Clause */
/* What is known about addresses, and for how long; the clock is steered. */
#include "unit.h"

#include "base/clock.h"
#include "base/log.h"
#include "loop/loop.h"
#include "queue/verify_cache.h"

#include <fcntl.h>
#include <unistd.h>

static char dir[64];
static struct verify_cache cache;
static int64_t ahead; /* seconds */
enum { HOUR = 3600, DAY = 86400 };

static int
setup(void **state)
{
	(void)state;
	struct err e = { .why = "" };
	snprintf(dir, sizeof dir, "/tmp/verify-XXXXXX");
	assert_non_null(mkdtemp(dir));
	loop_init();
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_POSTFIX, "test", "queue");
	clock_wall_offset(ahead = 0);
	verify_settings_read(&cache.set, NULL);
	if (store_open(dir, "v", 1 << 20, &cache.store, &e) != RC_OK)
		fail_msg("%s", e.why);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	char p[128];
	store_close(&cache.store);
	log_flush();
	loop_fini();
	snprintf(p, sizeof p, "%s/v", dir);
	unlink(p);
	snprintf(p, sizeof p, "%s/v.state", dir);
	unlink(p);
	rmdir(dir);
	clock_wall_offset(0);
	return 0;
}

static void
pass(int64_t seconds)
{
	ahead += seconds;
	clock_wall_offset(ahead * (int64_t)USEC_PER_SEC);
}

static void
learn(const char *addr, enum verify_status status, const char *text)
{
	uint64_t now = clock_wall();
	struct verify_entry e = { .status = status, .updated = now, .probed = now, .dsn = SPAN("5.1.1"), .text = span_str(text), .foreign = true };
	verify_cache_learn(&cache, span_str(addr), &e);
}

/* VERIFY_TODO: not known */
static enum verify_status
known(const char *addr)
{
	struct verify_entry e;
	return verify_cache_get(&cache, span_str(addr), &e) == RC_OK ? e.status : VERIFY_TODO;
}

static bool
is_due(const char *addr)
{
	struct verify_entry e;
	return verify_cache_get(&cache, span_str(addr), &e) == RC_OK && verify_cache_is_due(&cache, &e, clock_wall());
}

static void
test_times(void **state)
{
	(void)state;
	learn("good@x", VERIFY_OK, "");
	learn("bad@x", VERIFY_BOUNCE, "no such user");
	learn("busy@x", VERIFY_DEFER, "later");
	assert_int_equal(known("good@x"), VERIFY_OK);
	assert_int_equal(known("GOOD@X"), VERIFY_OK);
	assert_int_equal(known("other@x"), VERIFY_TODO);
	assert_false(is_due("good@x") || is_due("bad@x") || is_due("busy@x"));
	pass(299);
	assert_int_equal(known("busy@x"), VERIFY_DEFER);
	pass(2);
	assert_int_equal(known("busy@x"), VERIFY_TODO); /* a hub that came back is asked soon */
	pass(3 * HOUR);
	assert_int_equal(known("bad@x"), VERIFY_BOUNCE);
	assert_true(is_due("bad@x"));
	assert_false(is_due("good@x"));
	pass(3 * DAY);
	assert_int_equal(known("bad@x"), VERIFY_TODO);
	pass(4 * DAY);
	assert_true(is_due("good@x"));
	assert_int_equal(known("good@x"), VERIFY_OK);
	pass(24 * DAY);
	assert_int_equal(known("good@x"), VERIFY_TODO);
}

static void
test_optimistic(void **state)
{
	(void)state;
	learn("good@x", VERIFY_OK, "");
	pass(8 * DAY);
	learn("good@x", VERIFY_BOUNCE, "gone");
	learn("good@x", VERIFY_DEFER, "hub down");
	assert_int_equal(known("good@x"), VERIFY_OK);
	assert_true(is_due("good@x"));
	pass(24 * DAY);
	assert_int_equal(known("good@x"), VERIFY_TODO); /* bad news did not prolong it */
	learn("good@x", VERIFY_BOUNCE, "gone");
	assert_int_equal(known("good@x"), VERIFY_BOUNCE);
	learn("good@x", VERIFY_DEFER, "hub down");
	assert_int_equal(known("good@x"), VERIFY_BOUNCE); /* what is not known now changes nothing */
	learn("good@x", VERIFY_OK, "");
	assert_int_equal(known("good@x"), VERIFY_OK);
}

static void
test_asked_again_at_most(void **state)
{
	(void)state;
	struct verify_entry e;
	learn("bad@x", VERIFY_BOUNCE, "no such user");
	pass(4 * HOUR);
	assert_true(is_due("bad@x"));
	assert_int_equal(verify_cache_get(&cache, SPAN("bad@x"), &e), RC_OK);
	verify_cache_probing(&cache, SPAN("bad@x"), &e, clock_wall());
	assert_false(is_due("bad@x"));
	pass(999);
	assert_false(is_due("bad@x"));
	pass(2);
	assert_true(is_due("bad@x"));
	assert_int_equal(verify_cache_get(&cache, SPAN("bad@x"), &e), RC_OK);
	assert_span(e.text, "no such user");
	assert_span(e.dsn, "5.1.1");
	assert_true(e.foreign);
	pass(-5 * DAY); /* another clock */
	assert_false(is_due("bad@x"));
}

static void
test_without_negative(void **state)
{
	(void)state;
	cache.set.keep_negative = false;
	learn("bad@x", VERIFY_BOUNCE, "no such user");
	learn("busy@x", VERIFY_DEFER, "later");
	learn("good@x", VERIFY_OK, "");
	assert_int_equal(known("bad@x"), VERIFY_TODO);
	assert_int_equal(known("busy@x"), VERIFY_TODO);
	assert_int_equal(known("good@x"), VERIFY_OK);
}

static void
test_lengths(void **state)
{
	(void)state;
	char addr[800], text[3000];
	struct verify_entry e;
	memset(addr, 'a', sizeof addr - 1);
	memset(text, 't', sizeof text - 1);
	addr[sizeof addr - 1] = text[sizeof text - 1] = '\0';
	learn(addr, VERIFY_OK, "");
	assert_int_equal(known(addr), VERIFY_TODO); /* too long to be remembered */
	learn("bad@x", VERIFY_BOUNCE, text);
	assert_int_equal(verify_cache_get(&cache, SPAN("bad@x"), &e), RC_OK);
	assert_int_equal(e.text.n, 1000);
	struct store *s = cache.store;
	cache.store = NULL; /* a disk that cannot be written */
	learn("good@x", VERIFY_OK, "");
	assert_int_equal(known("good@x"), VERIFY_TODO);
	cache.store = s;
}

static void
test_encoding(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 2000);
	struct verify_entry e = { .status = VERIFY_BOUNCE, .foreign = true, .updated = 1, .probed = 2, .dsn = SPAN("5.1.1"), .text = SPAN("x") }, out;
	verify_entry_put(&b, &e);
	for (size_t n = 0; n < buf_len(&b); n++)
		assert_int_equal(verify_entry_get(span_head(buf_span(&b), n), &out), RC_PERM);
	assert_int_equal(verify_entry_get(buf_span(&b), &out), RC_OK);
	buf_putc(&b, 'x');
	assert_int_equal(verify_entry_get(buf_span(&b), &out), RC_PERM);
	b.p[1] = 9;
	assert_int_equal(verify_entry_get(span_head(buf_span(&b), buf_len(&b) - 1), &out), RC_PERM);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_times, setup, teardown),
		cmocka_unit_test_setup_teardown(test_optimistic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_asked_again_at_most, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_negative, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lengths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_encoding, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
