/* SPDX-License-Identifier: BSD-2-Clause */
/* More questions than may be on their way: the line, its order and its end; closing and reloading in the middle. */
#include "base/metric.h"
#include "raw_dns.h"

enum { MANY = 100 };

static struct raw_dns server, second;
static char order[500][32];
static unsigned arrived, late_usec;

/* An answer on its way. */
struct late {
	struct timer timer;
	struct raw_question q;
};

static unsigned open_now, open_most;

static void
on_late(struct timer *t)
{
	struct late *l = container_of(t, struct late, timer);
	open_now--;
	raw_answer_a(&l->q, RAW_OK, "192.0.2.1");
	timer_clear(&l->timer);
	mem_free(&l);
}

static void
asked(struct raw_question *q)
{
	if (arrived < NELEMS(order))
		snprintf(order[arrived], sizeof order[0], "%.31s", q->name);
	arrived++;
	if (strncmp(q->name, "silent", 6) == 0)
		return;
	if (late_usec == 0) {
		raw_answer_a(q, RAW_OK, q->server == &second ? "192.0.2.2" : "192.0.2.1");
		return;
	}
	struct late *l = mem_zalloc(sizeof *l);
	l->q = *q;
	if (++open_now > open_most)
		open_most = open_now;
	timer_init(&l->timer, on_late);
	timer_set(&l->timer, late_usec);
}

static void
ask_number(struct dns_query *q, const char *kind, unsigned i, uint64_t timeout)
{
	char name[32];
	snprintf(name, sizeof name, "%s%u.test", kind, i);
	dns_query_init(q, &raw_owner, loop_on_done);
	dns_ask(q, DNS_A, span_str(name), timeout);
}

static void
begin(struct dns_settings s)
{
	s.servers = server.servers;
	arrived = open_now = open_most = 0;
	raw_open(s);
}

static void
nothing_left(void)
{
	assert_int_equal(metric_values[M_dns_waiting], 0);
	assert_int_equal(metric_values[M_dns_flying], 0);
	assert_true(op_owner_idle(&raw_owner));
}

/* Everybody is served, in the order of asking, never more than the limit at once. */
static void
test_burst(void **state)
{
	static struct dns_query q[MANY];
	(void)state;
	late_usec = 2000;
	begin((struct dns_settings){ .query_limit = 7, .timeout_usec = 5 * 1000000 });
	for (unsigned i = 0; i < MANY; i++)
		ask_number(&q[i], "b", i, 0);
	assert_int_equal(metric_values[M_dns_waiting], MANY - 7);
	loop_until(MANY);
	assert_int_equal(arrived, MANY);
	assert_true(open_most <= 7);
	for (unsigned i = 0; i < MANY; i++) {
		char name[32];
		assert_int_equal(q[i].op.rc, RC_OK);
		snprintf(name, sizeof name, "b%u.test", i);
		if (i % 7 == 0) /* those of one round may overtake one another in the sockets */
			assert_string_equal(order[i], name);
		dns_query_fini(&q[i]);
	}
	late_usec = 0;
	nothing_left();
	dns_close();
}

/* Who has gone leaves no packet; the second who waits for the same keeps its place. */
static void
test_leaving(void **state)
{
	static struct dns_query q[20], other;
	(void)state;
	late_usec = 20 * 1000;
	begin((struct dns_settings){ .query_limit = 1, .timeout_usec = 5 * 1000000 });
	for (unsigned i = 0; i < NELEMS(q); i++)
		ask_number(&q[i], "l", i, 0);
	ask_number(&other, "l", 7, 0);
	assert_int_equal(metric_values[M_dns_waiting], NELEMS(q) - 1);
	for (unsigned i = 1; i < NELEMS(q); i++)
		dns_query_fini(&q[i]);
	assert_int_equal(metric_values[M_dns_waiting], 1);
	loop_until(2);
	assert_int_equal(arrived, 2);
	assert_string_equal(order[1], "l7.test");
	assert_int_equal(other.op.rc, RC_OK);
	dns_query_fini(&other);
	dns_query_fini(&q[0]);
	late_usec = 0;
	nothing_left();
	dns_close();
}

/* What is beyond the line ends at once; what is in it when its time is over, counted from asking; neither blames a server. */
static void
test_busy(void **state)
{
	static struct dns_query q[6];
	int64_t before = metric_values[M_dns_busy];
	(void)state;
	begin((struct dns_settings){ .query_limit = 1, .queue_limit = 4, .timeout_usec = 5 * 1000000 });
	ask_number(&q[0], "silent", 0, 80 * 1000);
	for (unsigned i = 1; i < 6; i++)
		ask_number(&q[i], "y", i, i == 1 ? 30 * 1000 : 60 * 1000);
	assert_int_equal(q[5].op.state, OP_READY);
	assert_int_equal(metric_values[M_dns_busy], before + 1);
	/* a prefetch finds no place at all */
	int64_t queries = metric_values[M_dns_queries];
	dns_prefetch(DNS_A, SPAN("ahead.test"), false);
	assert_int_equal(metric_values[M_dns_queries], queries);
	loop_until(6);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(q[i].op.rc, RC_TEMP);
		assert_int_equal(q[i].answer->trouble, i == 0 ? DNS_TROUBLE_TIMEOUT : DNS_TROUBLE_BUSY);
	}
	assert_in_range(q[1].took_usec, 25 * 1000, q[2].took_usec); /* the clock of timers is coarse */
	assert_int_equal(arrived, 1);
	for (unsigned i = 0; i < 6; i++)
		dns_query_fini(&q[i]);
	dns_close();
	nothing_left();
}

/* Questions to servers far away that do not answer do not hold up the others for ever. */
static void
test_late_ones(void **state)
{
	static struct dns_query silent[8], q;
	(void)state;
	begin((struct dns_settings){ .query_limit = 8, .timeout_usec = 100 * 1000, .tries = 5 });
	for (unsigned i = 0; i < 8; i++)
		ask_number(&silent[i], "silent", i, 0);
	ask_number(&q, "q", 0, 0);
	assert_int_equal(metric_values[M_dns_waiting], 1);
	loop_until(1);
	assert_int_equal(q.op.rc, RC_OK);
	assert_true(q.took_usec >= 90 * 1000 && q.took_usec < 1500 * 1000);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(silent[i].op.state, OP_PENDING);
	/* nobody waits any more: no packet follows, and they end */
	for (unsigned i = 0; i < 8; i++)
		dns_query_fini(&silent[i]);
	dns_query_fini(&q);
	unsigned before = arrived;
	for (unsigned i = 0; i < 100 && metric_values[M_dns_flying] > 0; i++)
		loop_for(20 * 1000);
	assert_int_equal(arrived, before);
	nothing_left();
	dns_close();
}

/* A reload: the line goes to the new servers, what is on its way is answered by the old ones and not kept. */
static void
test_reload(void **state)
{
	static struct dns_query q[4];
	struct dns_settings s = { .query_limit = 1, .timeout_usec = 5 * 1000000 };
	(void)state;
	raw_dns_start(&second, false, false, asked);
	late_usec = 30 * 1000;
	begin(s);
	for (unsigned i = 0; i < 4; i++)
		ask_number(&q[i], "r", i, 0);
	loop_for(5 * 1000);
	late_usec = 0;
	struct err e;
	s.servers = second.servers;
	s.query_limit = 100;
	assert_int_equal(dns_open(&s, &e), RC_OK);
	loop_until(4);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(q[i].op.rc, RC_OK);
		assert_int_equal(q[i].answer->rr[0].addr.a.s_addr, inet_addr(i == 0 ? "192.0.2.1" : "192.0.2.2"));
		dns_query_fini(&q[i]);
	}
	enum rc rc;
	dns_query_init(&q[0], &raw_owner, loop_on_done);
	assert_false(dns_known(&q[0], DNS_A, SPAN("r0.test"), &rc));
	assert_true(dns_known(&q[0], DNS_A, SPAN("r1.test"), &rc));
	/* the same servers again: what is known stays */
	assert_int_equal(dns_open(&s, &e), RC_OK);
	assert_true(dns_known(&q[0], DNS_A, SPAN("r1.test"), &rc));
	dns_query_fini(&q[0]);
	nothing_left();
	dns_close();
	raw_dns_stop(&second);
}

/* Everything ends when the resolver is closed: in the line, on its way, on its way since before a reload. */
static void
test_close(void **state)
{
	static struct dns_query q[9];
	struct dns_settings s = { .query_limit = 3, .timeout_usec = 5 * 1000000 };
	(void)state;
	begin(s);
	for (unsigned i = 0; i < 3; i++)
		ask_number(&q[i], "silent", i, 0);
	s.servers = server.servers;
	s.tries = 7;
	s.query_limit = 6;
	struct err e;
	assert_int_equal(dns_open(&s, &e), RC_OK);
	for (unsigned i = 3; i < 9; i++)
		ask_number(&q[i], "silent", i, i % 2 ? 10 * 1000000 : 0);
	assert_int_equal(metric_values[M_dns_flying], 6);
	assert_int_equal(metric_values[M_dns_waiting], 3);
	dns_close();
	loop_until(9);
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(q[i].op.rc, RC_TEMP);
		dns_ask(&q[i], DNS_A, SPAN("closed.test"), 0);
	}
	loop_until(9);
	for (unsigned i = 0; i < 9; i++) {
		assert_int_equal(q[i].op.rc, RC_TEMP);
		dns_query_fini(&q[i]);
	}
	nothing_left();
}

/* More than a receive buffer takes do not leave at once; prefetches wait behind what somebody waits for, and join it. */
static void
test_window(void **state)
{
	enum { N = 3000 };
	static struct dns_query q[N];
	int64_t queries = metric_values[M_dns_queries], repeats = metric_values[M_dns_repeats];
	(void)state;
	loop_for(5 * 1000); /* what the test before has sent */
	begin((struct dns_settings){ .timeout_usec = 5 * 1000000 });
	for (unsigned i = 0; i < 500; i++) {
		char name[32];
		snprintf(name, sizeof name, "w%u.test", i);
		dns_prefetch(DNS_A, span_str(name), false);
	}
	int64_t first = metric_values[M_dns_queries] - queries;
	assert_true(first >= 100 && first <= 200);
	assert_int_equal(metric_values[M_dns_waiting], 500 - first);
	for (unsigned i = 0; i < N; i++)
		ask_number(&q[i], "w", N - 1 - i, 0); /* the last of the prefetches are asked for, and come last */
	loop_until(N);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(q[i].op.rc, RC_OK);
		dns_query_fini(&q[i]);
	}
	assert_int_equal(arrived, N);
	assert_int_equal(metric_values[M_dns_queries] - queries, N);
	assert_int_equal(metric_values[M_dns_repeats], repeats);
	/* the order: what left at once, then those that somebody waited for, from the highest number down */
	assert_string_equal(order[first], "w2999.test");
	nothing_left();
	dns_close();
}

/* What is known costs no packet, yes and no alike. */
static void
test_no_packet(void **state)
{
	struct dns_query q;
	(void)state;
	loop_for(5 * 1000); /* what the test before has sent */
	begin((struct dns_settings){ 0 });
	assert_int_equal(raw_ask(&q, DNS_A, "known.test"), RC_OK);
	assert_int_equal(arrived, 1);
	int64_t queries = metric_values[M_dns_queries];
	for (unsigned i = 0; i < 1000; i++) {
		dns_ask(&q, DNS_A, i % 2 ? SPAN("known.test") : SPAN("KNOWN.Test."), 1000);
		loop_until(1);
		assert_true(q.op.rc == RC_OK && q.took_usec == 0);
		dns_prefetch(DNS_A, SPAN("known.test"), false);
	}
	loop_for(5 * 1000);
	assert_int_equal(arrived, 1);
	assert_int_equal(metric_values[M_dns_queries], queries);
	dns_query_fini(&q);
	dns_close();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_burst), cmocka_unit_test(test_leaving), cmocka_unit_test(test_busy), cmocka_unit_test(test_late_ones),
		cmocka_unit_test(test_reload), cmocka_unit_test(test_close), cmocka_unit_test(test_window), cmocka_unit_test(test_no_packet),
	};
	raw_setup();
	raw_dns_start(&server, false, false, asked);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	raw_dns_stop(&server);
	loop_fini();
	return failed;
}
