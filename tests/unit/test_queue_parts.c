/* SPDX-License-Identifier: BSD-2-Clause */
/* What the queue computes without anybody else: delays, reasons, states, backoff, walkers, feedback. */
#include "unit.h"

#include "base/clock.h"
#include "queue/delays.h"
#include "queue/sched.h"
#include "queue/settings.h"
#include "queue/state.h"

static void
delays(void **state)
{
	(void)state;
	static const struct {
		uint64_t usec;
		unsigned digits;
		const char *text;
	} cases[] = {
		{ 0, 2, "0" }, { 4000, 2, "0" }, { 6000, 2, "0.01" }, { 100000, 2, "0.1" }, { 123456, 2, "0.12" }, { 994000, 2, "0.99" },
		{ 999999, 2, "1" }, { 1234567, 2, "1.2" }, { 9949999, 2, "9.9" }, { 9999999, 2, "10" }, { 12345678, 2, "12" },
		{ 3600000000, 2, "3600" }, { 4000, 6, "0.004" }, { 12345, 6, "0.012" }, { 1, 6, "0.000001" }, { 120, 6, "0.00012" },
		{ 1600000, 0, "2" }, { 1250000, 1, "1.3" }, { 50000, 1, "0.1" },
	};
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct buf b;
		buf_init(&b, DELAYS_TEXT);
		delay_put(&b, cases[i].usec, cases[i].digits);
		assert_span(buf_span(&b), cases[i].text);
		buf_fini(&b);
	}
}

static void
reasons(void **state)
{
	(void)state;
	struct reason_pool pool = { 0 };
	struct span text = SPAN("host h.test[192.0.2.1] said: 550 5.1.1 no");
	struct reason *a = reason_get(&pool, SPAN("5.1.1"), text, SPAN("h.test"), SPAN("550 5.1.1 no"));
	struct reason *b = reason_get(&pool, SPAN("5.1.1"), text, SPAN("h.test"), SPAN("550 5.1.1 no"));
	struct reason *c = reason_get(&pool, SPAN("5.1.1"), text, SPAN("other"), SPAN_EMPTY);
	assert_ptr_equal(a, b);
	assert_ptr_not_equal(a, c);
	assert_span(reason_dsn(a), "5.1.1");
	assert_span(reason_mta(a), "h.test");
	assert_span(reason_diag(a), "550 5.1.1 no");
	assert_span(reason_mta(c), "other");
	assert_int_equal(reason_diag(c).n, 0);
	assert_true(reason_diag(a).p > reason_text(a).p && reason_diag(a).p < reason_text(a).p + text.n); /* shared */
	struct reason *d = reason_get(&pool, SPAN("not a code"), SPAN("two\r\nlines\0x"), SPAN_EMPTY, SPAN_EMPTY);
	assert_span(reason_dsn(d), "4.0.0");
	assert_span(reason_text(d), "two??lines?x");
	reason_unref(&pool, &a);
	reason_unref(&pool, &b);
	reason_unref(&pool, &c);
	reason_unref(&pool, &d);
	reason_pool_fini(&pool);
}

static void
dsn_codes(void **state)
{
	(void)state;
	static const char *const good[] = { "2.0.0", "4.4.1", "5.7.26", "5.999.999" };
	static const char *const bad[] = { "", "5", "5.1", "5.1.", "3.1.1", "5..1", "5.1.1.1", "5.1.x", "5.1000.1", "5.1.1 ", "-5.1.1", "5.1111.1" };
	for (size_t i = 0; i < NELEMS(good); i++)
		assert_true(dsn_code_valid(span_str(good[i])));
	for (size_t i = 0; i < NELEMS(bad); i++)
		assert_false(dsn_code_valid(span_str(bad[i])));
}

static void
backoff(void **state)
{
	(void)state;
	assert_int_equal(backoff_clamp(0, 300, 4000), 300);
	assert_int_equal(backoff_clamp(299, 300, 4000), 300);
	assert_int_equal(backoff_clamp(301, 300, 4000), 301);
	assert_int_equal(backoff_clamp(5000, 300, 4000), 4000);
}

static void
feedback(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		double at_four;          /* < 0: no feedback */
	} cases[] = {
		{ "1", 1 }, { "0", 0 }, { "0.5", 0.5 }, { "1/5", 0.2 }, { " 3 / 4 ", 0.75 }, { "1/concurrency", 0.25 }, { "2/CONCURRENCY", 0.5 },
		{ "1/sqrt_concurrency", 0.5 }, { "", -1 }, { "x", -1 }, { "1/0", -1 }, { "1/", -1 }, { "/2", -1 }, { "-1", -1 }, { "1/2/3", -1 }, { ".", -1 },
	};
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct feedback f;
		enum rc rc = feedback_parse(span_str(cases[i].text), &f);
		assert_int_equal(rc, cases[i].at_four < 0 ? RC_PERM : RC_OK);
		if (rc == RC_OK) {
			double got = feedback_value(&f, 4);
			assert_true(got > cases[i].at_four - 1e-9 && got < cases[i].at_four + 1e-9);
		}
	}
}

/* A message of n recipients in t. */
static struct message *
make(struct message_table *t, uint32_t n)
{
	struct env_rcpt rcpt[16];
	for (uint32_t i = 0; i < n; i++)
		rcpt[i] = (struct env_rcpt){ .addr = SPAN("b@hub.test") };
	struct envelope env = { .arrival = 1700000000 * USEC_PER_SEC, .sender = SPAN("a@sender.test"), .nrcpt = n, .rcpt = rcpt };
	struct buf b;
	buf_init(&b, 65536);
	envelope_put(&b, &env);
	struct message *m = message_new(t, &env, buf_span(&b));
	buf_fini(&b);
	return m;
}

static void
states(void **state)
{
	(void)state;
	struct message_table t;
	message_table_init(&t);
	struct message *m = make(&t, 12), *other = make(&t, 12), *small = make(&t, 3);
	struct reason *same = reason_get(&t.reasons, SPAN("4.4.1"), SPAN("connect to h: refused"), SPAN_EMPTY, SPAN_EMPTY);
	for (uint32_t i = 0; i < 12; i++) {
		char text[32];
		snprintf(text, sizeof text, "reason %u", i);
		message_set_why(&t, m, i, i % 2 ? reason_ref(same) : reason_get(&t.reasons, SPAN("4.2.0"), span_str(text), SPAN("mta"), SPAN("450 diag")));
	}
	reason_unref(&t.reasons, &same);
	message_set_status(m, 3, RS_FINISHED);
	message_set_status(m, 4, RS_FAILED);
	message_set_status(m, 5, RS_RELAYED);
	assert_int_equal(m->open, 9);
	struct state_head h = { .next_attempt = 123456789, .flags = MF_DELAY_WARNED, .strikes = 2, .held = true, .tried = true }, got;
	struct buf b;
	buf_init(&b, 65536);
	state_put(&b, &h, m);
	assert_int_equal(state_get(buf_span(&b), &got, &t, other), RC_OK);
	assert_int_equal(got.next_attempt, 123456789);
	assert_int_equal(got.flags, MF_DELAY_WARNED);
	assert_int_equal(got.strikes, 2);
	assert_true(got.held && got.tried);
	assert_int_equal(other->open, 9);
	for (uint32_t i = 0; i < 12; i++) {
		assert_int_equal(message_status(other)[i], message_status(m)[i]);
		assert_ptr_equal(other->why[i], i == 3 ? NULL : m->why[i]);
	}
	/* of another message, and cut at every byte */
	assert_int_equal(state_get(buf_span(&b), &got, &t, small), RC_PERM);
	for (size_t n = 0; n < buf_len(&b); n++)
		assert_int_equal(state_get(span_head(buf_span(&b), n), &got, &t, other), RC_PERM);
	buf_fini(&b);
	message_table_fini(&t);
}

static void
walkers(void **state)
{
	(void)state;
	struct message_table t;
	message_table_init(&t);
	struct message *m[5];
	for (int i = 0; i < 5; i++)
		m[i] = make(&t, 1);
	struct message_walker wa;
	message_walk(&t, &wa);
	assert_ptr_equal(message_next(&t, &wa), m[0]);
	message_free(&t, &m[1]); /* the next one */
	struct message *late = make(&t, 1);
	assert_ptr_equal(message_next(&t, &wa), m[2]);
	message_free(&t, &m[2]); /* the one just seen */
	assert_ptr_equal(message_next(&t, &wa), m[3]);
	assert_ptr_equal(message_next(&t, &wa), m[4]);
	message_next(&t, &wa);
	assert_null(message_next(&t, &wa));
	message_walk_end(&wa);
	message_walk_end(&wa);
	assert_non_null(late);
	message_table_fini(&t);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delays), cmocka_unit_test(reasons), cmocka_unit_test(dsn_codes), cmocka_unit_test(backoff),
		cmocka_unit_test(feedback), cmocka_unit_test(states), cmocka_unit_test(walkers),
	};
	return cmocka_run_group_tests_name("queue_parts", tests, NULL, NULL);
}
