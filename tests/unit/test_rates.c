/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/rates.h"

#include "base/mem.h"

#include <stdlib.h>

#include "unit.h"

static struct ipaddr
addr(unsigned n)
{
	return (struct ipaddr){ .family = IPADDR_V4, .b = { 10, (unsigned char)(n >> 16), (unsigned char)(n >> 8), (unsigned char)n } };
}

static struct rates *
fresh(void)
{
	void *p = aligned_alloc(64, sizeof(struct rates));
	assert_non_null(p);
	memset(p, 0, sizeof(struct rates));
	return p;
}

static void
test_window(void **state)
{
	(void)state;
	struct rates *r = fresh();
	struct ipaddr a = addr(1), b = addr(2);
	uint64_t ka = rates_client(7, &a, SPAN("smtp")), kb = rates_client(7, &b, SPAN("smtp")), kc = rates_client(7, &a, SPAN("submission"));
	for (uint32_t i = 1; i <= 5; i++)
		assert_int_equal(rates_count(r, ka, RATE_MESSAGE, 1000 + i, 60), i);
	assert_int_equal(rates_count(r, kb, RATE_MESSAGE, 1006, 60), 1);
	assert_int_equal(rates_count(r, kc, RATE_MESSAGE, 1006, 60), 1);
	assert_int_equal(rates_count(r, ka, RATE_RECIPIENT, 1007, 60), 1);
	/* from the first event on, as anvil counts: 1001 + 60 is the last second of it */
	assert_int_equal(rates_count(r, ka, RATE_MESSAGE, 1061, 60), 6);
	assert_int_equal(rates_live(r, 1061, 60), 3);
	assert_int_equal(rates_count(r, ka, RATE_MESSAGE, 1062, 60), 1);
	assert_int_equal(rates_count(r, ka, RATE_RECIPIENT, 1062, 60), 1);
	assert_int_equal(rates_live(r, 5000, 60), 0);
	free(r);
}

static void
test_names(void **state)
{
	(void)state;
	assert_true(rates_name(7, RATE_OF_SENDER, SPAN("Anna@x.test")) == rates_name(7, RATE_OF_SENDER, SPAN("anna@X.test")));
	assert_true(rates_name(7, RATE_OF_SENDER, SPAN("anna@x.test")) != rates_name(7, RATE_OF_LOGIN, SPAN("anna@x.test")));
	assert_true(rates_name(7, RATE_OF_SENDER, SPAN("anna@x.test")) != rates_name(8, RATE_OF_SENDER, SPAN("anna@x.test")));
	struct ipaddr v4 = addr(1), v6 = v4;
	v6.family = IPADDR_V6;
	assert_true(rates_client(7, &v4, SPAN("smtp")) != rates_client(7, &v6, SPAN("smtp")));
}

/* Somebody with very many addresses: one that overdoes it is known for what it is, and the others are not refused. */
static void
test_crowd(void **state)
{
	(void)state;
	struct rates *r = fresh();
	struct ipaddr bad = addr(0xffffff);
	uint64_t key = rates_client(7, &bad, SPAN("smtp"));
	for (uint32_t i = 1; i <= 1000; i++)
		assert_int_equal(rates_count(r, key, RATE_MESSAGE, 100, 60), i);
	uint32_t most = 0;
	for (unsigned i = 0; i < 400000; i++) { /* six times what there is room for */
		struct ipaddr a = addr(i);
		uint32_t n = rates_count(r, rates_client(7, &a, SPAN("smtp")), RATE_MESSAGE, 100, 60);
		most = n > most ? n : most;
	}
	assert_true(rates_count(r, key, RATE_MESSAGE, 100, 60) == 1001);
	assert_true(most < 40);
	assert_true(rates_live(r, 100, 60) <= (size_t)RATE_BUCKETS * RATE_WAYS);
	free(r);
}

/* Never less than what happened: whoever is crowded out comes back with at least as much. */
static void
test_no_escape(void **state)
{
	(void)state;
	struct rates *r = fresh();
	uint64_t keys[40];
	uint32_t real[40] = { 0 };
	for (unsigned i = 0; i < NELEMS(keys); i++) /* all in one bucket */
		keys[i] = ((uint64_t)(i + 1) * RATE_BUCKETS) << 1 | 1;
	uint32_t seed = 1;
	for (int n = 0; n < 20000; n++) {
		seed = seed * 1664525 + 1013904223;
		unsigned i = (seed >> 16) % NELEMS(keys);
		assert_true(rates_count(r, keys[i], RATE_MESSAGE, 100, 60) >= ++real[i]);
	}
	free(r);
}

static void
test_maxima(void **state)
{
	(void)state;
	struct rates *r = fresh();
	struct rate_maximum m;
	struct ipaddr a = addr(1), b = { 0 };
	assert_false(rates_take_maximum(r, RATE_MESSAGE, &m));
	rates_note(r, RATE_MESSAGE, 3, 50, SPAN("smtp"), &a);
	rates_note(r, RATE_MESSAGE, 2, 60, SPAN("smtp"), &b);
	assert_true(rates_take_maximum(r, RATE_MESSAGE, &m));
	assert_string_equal(m.name, "smtp:10.0.0.1");
	assert_int_equal(m.when, 50);
	assert_int_equal(atomic_load(&m.value), 3);
	assert_false(rates_take_maximum(r, RATE_MESSAGE, &m));
	char longer[200];
	memset(longer, 'x', sizeof longer);
	rates_note(r, RATE_SESSIONS, 1, 60, span_of(longer, sizeof longer), &b);
	assert_true(rates_take_maximum(r, RATE_SESSIONS, &m) && strlen(m.name) < sizeof m.name);
	free(r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_no_escape),
		cmocka_unit_test(test_maxima),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
