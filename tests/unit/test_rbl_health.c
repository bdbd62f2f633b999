/* SPDX-License-Identifier: BSD-2-Clause */
/* Health of lists against a DNS server of our own: probes, pauses, refusals, and what questions meanwhile come to. */
#include "rbl/ask.h"

#include "base/clock.h"
#include "base/metric.h"
#include "fake_dns.h"
#include "loop_until.h"
#include "own_time.h"
#include "rbl/list.h"
#include "rbl/row.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MSEC UINT64_C(1000)

enum { ROWS = 40 };
static struct fake_rr rows[ROWS + 1];
static struct fake_dns server;
static struct op_owner owner;

static enum rbl_state
state_of(enum rbl_kind kind, const char *domain)
{
	return rbl_row_get(kind, span_str(domain))->state;
}

static const char *
why_of(enum rbl_kind kind, const char *domain)
{
	return rbl_row_get(kind, span_str(domain))->why;
}

static void
wait_state(enum rbl_kind kind, const char *domain, enum rbl_state state)
{
	for (int i = 0; i < 500 && state_of(kind, domain) != state; i++)
		loop_for(10 * MSEC);
	if (state_of(kind, domain) != state)
		fail_msg("%s: %s: %s", domain, rbl_state_name(state_of(kind, domain)), why_of(kind, domain));
}

/* What the server knows from now on. */
static void
serve(const struct fake_rr *list)
{
	size_t n = 0;
	while (list[n].name != NULL)
		n++;
	assert_true(n <= ROWS);
	memcpy(rows, list, (n + 1) * sizeof *list);
}

static const struct rbl_settings quick = { .probe_interval = 60 * 1000 * MSEC, .timeout = 200 * MSEC, .pause = 50 * MSEC, .pause_limit = 100 * MSEC,
	.pause_after = 3, .exceptions = "plain.test other.test.", .is_quiet = true };

static void
use(const struct rbl_settings *s, enum rbl_kind kind, const char *domains)
{
	struct span rest = span_str(domains), word;
	rbl_health_begin(s);
	while (span_word(&rest, " ", &word))
		rbl_health_use(kind, word);
	rbl_health_end();
}

/* One question, to its end. */
static enum rbl_said
ask(enum rbl_kind kind, const char *domain, const char *what)
{
	struct rbl_ask a;
	char query[300];
	snprintf(query, sizeof query, "%s.%s", what, domain);
	rbl_ask_init(&a, &owner, loop_on_done);
	if (!rbl_ask_now(&a, kind, span_str(domain), span_str(query)))
		loop_until(1);
	enum rbl_said said = a.said;
	assert_int_equal(a.answer->n > 0, said == RBL_SAID_YES);
	rbl_ask_fini(&a);
	return said;
}

static int
fresh(void **state)
{
	(void)state;
	rbl_health_close();
	dns_cache_clear();
	serve((const struct fake_rr[]){ { NULL, 0, NULL, 0 } });
	server.mute = false;
	server.mute_below = NULL;
	return 0;
}

static void
test_probes(void **state)
{
	static const struct {
		const char *must, *must_not; /* answers: NULL none, "" SERVFAIL */
		enum rbl_state state;
		const char *why;
	} cases[] = {
		{ "127.0.0.2", NULL, RBL_USABLE, "" },
		{ "127.0.0.2", "127.0.0.2", RBL_OUT, "1.0.0.127.a.test is listed and must not be (127.0.0.2): the list lists everybody" },
		{ NULL, NULL, RBL_OUT, "2.0.0.127.a.test is not listed and must be: the list is empty or gone" },
		{ "127.255.255.254", "127.255.255.254", RBL_OUT, "2.0.0.127.a.test is answered (127.255.255.254): the list refuses us" },
		{ "127.255.255.252", NULL, RBL_OUT, "2.0.0.127.a.test is answered (127.255.255.252): the list refuses us" },
		{ "203.0.113.1", "203.0.113.1", RBL_OUT, "2.0.0.127.a.test is answered (203.0.113.1): no list says that" },
		{ "127.0.0.2", "203.0.113.1", RBL_USABLE, "" }, /* a name server that cannot say no */
		{ "", "", RBL_USABLE, "" }, { "127.0.0.2", "", RBL_USABLE, "" }, { "", NULL, RBL_USABLE, "" },
		{ "", "127.0.0.9", RBL_OUT, "1.0.0.127.a.test is listed" }, { NULL, "", RBL_OUT, "2.0.0.127.a.test is not listed" },
	};
	for (size_t i = 0; i < NELEMS(cases); i++)
		for (int kind = 0; kind < RBL_KINDS; kind++) {
			const char *names[2] = { kind == RBL_NAMES ? "test.a.test" : "2.0.0.127.a.test", kind == RBL_NAMES ? "invalid.a.test" : "1.0.0.127.a.test" };
			const char *data[2] = { cases[i].must, cases[i].must_not };
			struct fake_rr list[3] = { { NULL, 0, NULL, 0 } };
			unsigned n = 0;
			fresh(state);
			for (int k = 0; k < 2; k++)
				if (data[k] != NULL)
					list[n++] = data[k][0] == '\0' ? (struct fake_rr){ names[k], FD_RCODE, "", 2 } : (struct fake_rr){ names[k], FD_A, data[k], 0 };
			serve(list);
			use(&quick, (enum rbl_kind)kind, "a.test");
			for (int w = 0; w < 500 && rbl_health_unprobed() > 0; w++)
				loop_for(2 * MSEC);
			assert_int_equal(rbl_health_unprobed(), 0);
			enum rbl_state got = state_of((enum rbl_kind)kind, "A.test.");
			const char *why = why_of((enum rbl_kind)kind, "a.test");
			if (got != cases[i].state || (kind == RBL_ADDRESSES && strncmp(why, cases[i].why, strlen(cases[i].why)) != 0))
				fail_msg("case %zu, %s: %s: %s", i, rbl_kind_name((enum rbl_kind)kind), rbl_state_name(got), why);
		}
}

/* A list that lists the world lists nobody here, from the first question on. */
static void
test_first_question_waits(void **state)
{
	(void)state;
	serve((const struct fake_rr[]){ { "2.0.0.127.w.test", FD_A, "127.0.0.2", 0 }, { "1.0.0.127.w.test", FD_A, "127.0.0.2", 0 },
	    { "7.2.0.192.w.test", FD_A, "127.0.0.2", 0 }, { "2.0.0.127.g.test", FD_A, "127.0.0.2", 0 }, { "7.2.0.192.g.test", FD_A, "127.0.0.3", 0 },
	    { "2.0.0.127.late.test", FD_A, "127.0.0.2", 0 }, { "7.2.0.192.late.test", FD_A, "127.0.0.3", 0 }, { NULL, 0, NULL, 0 } });
	use(&quick, RBL_ADDRESSES, "w.test g.test");
	assert_int_equal(ask(RBL_ADDRESSES, "w.test", "7.2.0.192"), RBL_SAID_OUT);
	assert_int_equal(ask(RBL_ADDRESSES, "g.test", "7.2.0.192"), RBL_SAID_YES);
	assert_int_equal(ask(RBL_ADDRESSES, "g.test", "8.2.0.192"), RBL_SAID_NO);
	/* one that only a table names */
	assert_int_equal(ask(RBL_ADDRESSES, "late.test", "7.2.0.192"), RBL_SAID_YES);
	assert_true(rbl_row_get(RBL_ADDRESSES, SPAN("late.test"))->is_probed);
	/* nothing leaves for one that is out of use */
	unsigned before = server.asked;
	assert_int_equal(ask(RBL_ADDRESSES, "w.test", "9.2.0.192"), RBL_SAID_OUT);
	rbl_prefetch(RBL_ADDRESSES, SPAN("w.test"), SPAN("10.2.0.192.w.test"));
	loop_for(20 * MSEC);
	assert_int_equal(server.asked, before);
}

/* It comes back by itself when it passes. */
static void
test_out_and_back(void **state)
{
	(void)state;
	use(&quick, RBL_ADDRESSES, "b.test");
	wait_state(RBL_ADDRESSES, "b.test", RBL_OUT);
	assert_int_equal(metric_values[M_rbl_unusable], 1);
	serve((const struct fake_rr[]){ { "2.0.0.127.b.test", FD_A, "127.0.0.2", 0 }, { "7.2.0.192.b.test", FD_A, "127.0.0.2", 0 }, { NULL, 0, NULL, 0 } });
	wait_state(RBL_ADDRESSES, "b.test", RBL_USABLE);
	assert_int_equal(metric_values[M_rbl_unusable], 0);
	assert_int_equal(ask(RBL_ADDRESSES, "b.test", "7.2.0.192"), RBL_SAID_YES);
}

/* A dead list costs its time once; then it is paused, and everybody goes on. */
static void
test_dead(void **state)
{
	(void)state;
	serve((const struct fake_rr[]){ { "2.0.0.127.d.test", FD_A, "127.0.0.2", 0 }, { NULL, 0, NULL, 0 } });
	use(&quick, RBL_ADDRESSES, "d.test");
	loop_for(30 * MSEC);
	assert_true(rbl_row_get(RBL_ADDRESSES, SPAN("d.test"))->is_probed);
	server.mute = true;
	uint64_t began = clock_mono(), own_began = own_time();
	assert_true(ask(RBL_ADDRESSES, "d.test", "7.2.0.192") != RBL_SAID_YES);
	assert_true(clock_mono() - began > 150 * MSEC);
	wait_state(RBL_ADDRESSES, "d.test", RBL_PAUSED);
	assert_true(own_time() - own_began < 250 * MSEC); /* its own questions have told it by then */
	own_began = own_time();
	assert_int_equal(ask(RBL_ADDRESSES, "d.test", "8.2.0.192"), RBL_SAID_PAUSED);
	assert_true(own_time() - own_began < 20 * MSEC);
	/* its pause grows, and is bounded */
	loop_for(1500 * MSEC);
	struct rbl_row *r = rbl_row_get(RBL_ADDRESSES, SPAN("d.test"));
	assert_int_equal(r->state, RBL_PAUSED);
	assert_int_equal(r->pause, quick.pause_limit);
	server.mute = false;
	wait_state(RBL_ADDRESSES, "d.test", RBL_USABLE);
	assert_int_equal(ask(RBL_ADDRESSES, "d.test", "12.2.0.192"), RBL_SAID_NO);
	/* back, but by then a list of the world */
	server.mute = true;
	assert_true(ask(RBL_ADDRESSES, "d.test", "9.2.0.192") != RBL_SAID_YES);
	wait_state(RBL_ADDRESSES, "d.test", RBL_PAUSED);
	serve((const struct fake_rr[]){ { "1.0.0.127.d.test", FD_A, "127.0.0.2", 0 }, { NULL, 0, NULL, 0 } });
	server.mute = false;
	wait_state(RBL_ADDRESSES, "d.test", RBL_OUT);
}

/* The resolver itself was dead: its first answer to anybody ends the pauses. */
static void
test_dead_resolver(void **state)
{
	struct dns_query q;
	struct rbl_settings s = quick;
	(void)state;
	s.pause = s.pause_limit = 60 * 1000 * MSEC;
	serve((const struct fake_rr[]){ { "2.0.0.127.n.test", FD_A, "127.0.0.2", 0 }, { "7.2.0.192.n.test", FD_A, "127.0.0.2", 0 },
	    { "2.0.0.127.o.test", FD_A, "127.0.0.2", 0 }, { "1.0.0.127.o.test", FD_A, "127.0.0.2", 0 }, { "7.2.0.192.o.test", FD_A, "127.0.0.2", 0 },
	    { "x.test", FD_A, "192.0.2.1", 0 }, { NULL, 0, NULL, 0 } });
	server.mute = true;
	use(&s, RBL_ADDRESSES, "n.test o.test");
	(void)ask(RBL_ADDRESSES, "n.test", "1.2.0.192");
	(void)ask(RBL_ADDRESSES, "o.test", "1.2.0.192");
	wait_state(RBL_ADDRESSES, "n.test", RBL_PAUSED);
	wait_state(RBL_ADDRESSES, "o.test", RBL_PAUSED);
	assert_int_equal(ask(RBL_ADDRESSES, "n.test", "7.2.0.192"), RBL_SAID_PAUSED);
	server.mute = false;
	dns_query_init(&q, &owner, loop_on_done);
	dns_ask(&q, DNS_A, SPAN("x.test"), 0);
	loop_until(1);
	dns_query_fini(&q);
	assert_int_equal(ask(RBL_ADDRESSES, "n.test", "7.2.0.192"), RBL_SAID_YES);
	assert_int_equal(ask(RBL_ADDRESSES, "o.test", "7.2.0.192"), RBL_SAID_OUT); /* what came back is not what it was taken for */
}

/* The others answer: then it is the list, however its silence was found out, and no answer of theirs brings it back. */
static void
test_only_one_dead(void **state)
{
	struct rbl_settings s = quick;
	(void)state;
	s.pause = s.pause_limit = 60 * 1000 * MSEC;
	serve((const struct fake_rr[]){ { "2.0.0.127.p.test", FD_A, "127.0.0.2", 0 }, { "2.0.0.127.q.test", FD_A, "127.0.0.2", 0 }, { NULL, 0, NULL, 0 } });
	for (unsigned after = 2; after <= 3; after++) {
		s.pause_after = after;
		use(&s, RBL_ADDRESSES, "p.test q.test");
		for (int i = 0; i < 500 && rbl_health_unprobed() > 0; i++)
			loop_for(2 * MSEC);
		server.mute_below = "p.test";
		rbl_prefetch(RBL_ADDRESSES, SPAN("p.test"), after == 2 ? SPAN("2.2.0.192.p.test") : SPAN("3.2.0.192.p.test"));
		assert_int_equal(ask(RBL_ADDRESSES, "q.test", "7.2.0.192"), RBL_SAID_NO);
		wait_state(RBL_ADDRESSES, "p.test", RBL_PAUSED);
		assert_int_equal(ask(RBL_ADDRESSES, "q.test", "8.2.0.192"), RBL_SAID_NO);
		assert_int_equal(ask(RBL_ADDRESSES, "p.test", "9.2.0.192"), RBL_SAID_PAUSED);
		fresh(state);
		serve((const struct fake_rr[]){ { "2.0.0.127.p.test", FD_A, "127.0.0.2", 0 }, { "2.0.0.127.q.test", FD_A, "127.0.0.2", 0 }, { NULL, 0, NULL, 0 } });
	}
}

/* Questions of others end when the list is paused, they do not wait for their own time. */
static void
test_in_flight(void **state)
{
	struct rbl_ask a[50], gone;
	(void)state;
	serve((const struct fake_rr[]){ { "2.0.0.127.f.test", FD_A, "127.0.0.2", 0 }, { NULL, 0, NULL, 0 } });
	use(&quick, RBL_ADDRESSES, "f.test");
	loop_for(30 * MSEC);
	server.mute = true;
	rbl_ask_init(&gone, &owner, loop_on_done);
	assert_false(rbl_ask_now(&gone, RBL_ADDRESSES, SPAN("f.test"), SPAN("1.2.0.192.f.test")));
	loop_for(150 * MSEC);
	uint64_t began = own_time();
	for (unsigned i = 0; i < NELEMS(a); i++) {
		char query[60];
		snprintf(query, sizeof query, "%u.3.0.192.f.test", i % 25);
		rbl_ask_init(&a[i], &owner, loop_on_done);
		assert_false(rbl_ask_now(&a[i], RBL_ADDRESSES, SPAN("f.test"), span_str(query)));
	}
	rbl_ask_fini(&gone);
	loop_until(NELEMS(a));
	assert_true(own_time() - began < 150 * MSEC);
	for (unsigned i = 0; i < NELEMS(a); i++) {
		assert_int_equal(a[i].said, RBL_SAID_PAUSED);
		assert_int_equal(a[i].op.rc, RC_TEMP);
		rbl_ask_fini(&a[i]);
	}
	assert_true(op_owner_idle(&owner));
}

/* 127.255.255.x: what is said to one is probed at once; a list without test entries is judged by how often it says it. */
static void
test_refusals(void **state)
{
	(void)state;
	serve((const struct fake_rr[]){ { "2.0.0.127.r.test", FD_A, "127.0.0.2", 0 }, { "7.2.0.192.r.test", FD_A, "127.255.255.254", 0 },
	    { "1.2.0.192.plain.test", FD_A, "127.255.255.255", 0 }, { "2.2.0.192.plain.test", FD_A, "127.255.255.255", 0 },
	    { "3.2.0.192.plain.test", FD_A, "127.255.255.255", 0 }, { NULL, 0, NULL, 0 } });
	use(&quick, RBL_ADDRESSES, "r.test plain.test");
	assert_int_equal(ask(RBL_ADDRESSES, "r.test", "7.2.0.192"), RBL_SAID_YES); /* the judge says "refuses" */
	loop_for(30 * MSEC);
	assert_int_equal(state_of(RBL_ADDRESSES, "r.test"), RBL_USABLE); /* only that one */
	serve((const struct fake_rr[]){ { "2.0.0.127.r.test", FD_A, "127.255.255.254", 0 }, { "8.2.0.192.r.test", FD_A, "127.255.255.254", 0 },
	    { "1.2.0.192.plain.test", FD_A, "127.255.255.255", 0 }, { "2.2.0.192.plain.test", FD_A, "127.255.255.255", 0 },
	    { "3.2.0.192.plain.test", FD_A, "127.255.255.255", 0 }, { NULL, 0, NULL, 0 } });
	assert_int_equal(ask(RBL_ADDRESSES, "r.test", "9.2.0.192"), RBL_SAID_NO);
	assert_int_equal(ask(RBL_ADDRESSES, "r.test", "8.2.0.192"), RBL_SAID_YES);
	wait_state(RBL_ADDRESSES, "r.test", RBL_OUT);
	assert_int_equal(ask(RBL_ADDRESSES, "plain.test", "1.2.0.192"), RBL_SAID_YES);
	assert_int_equal(ask(RBL_ADDRESSES, "plain.test", "2.2.0.192"), RBL_SAID_YES);
	assert_int_equal(state_of(RBL_ADDRESSES, "plain.test"), RBL_USABLE);
	(void)ask(RBL_ADDRESSES, "plain.test", "3.2.0.192");
	assert_int_equal(state_of(RBL_ADDRESSES, "plain.test"), RBL_OUT);
	wait_state(RBL_ADDRESSES, "plain.test", RBL_USABLE); /* any other answer */
}

/* What a reload keeps, forgets and finds anew. */
static void
test_reload(void **state)
{
	struct rbl_settings s = quick;
	(void)state;
	use(&quick, RBL_ADDRESSES, "one.test two.test");
	wait_state(RBL_ADDRESSES, "one.test", RBL_OUT);
	wait_state(RBL_ADDRESSES, "two.test", RBL_OUT);
	struct rbl_row *one = rbl_row_get(RBL_ADDRESSES, SPAN("one.test"));
	use(&quick, RBL_ADDRESSES, "one.test three.test");
	assert_ptr_equal(rbl_row_get(RBL_ADDRESSES, SPAN("one.test")), one);
	assert_int_equal(one->state, RBL_OUT);
	assert_int_equal(rbl_health_unprobed(), 1);
	s.exceptions = "one.test";
	use(&s, RBL_ADDRESSES, "one.test");
	assert_int_equal(one->state, RBL_USABLE);
	assert_int_equal(rbl_health_unprobed(), 0);
	assert_int_equal(metric_values[M_rbl_unusable], 0);
	/* names and addresses are two things */
	use(&s, RBL_NAMES, "one.test");
	assert_ptr_not_equal(rbl_row_get(RBL_NAMES, SPAN("one.test")), NULL);
}

static void
test_without_health(void **state)
{
	(void)state;
	rbl_health_close();
	serve((const struct fake_rr[]){ { "7.2.0.192.x.test", FD_A, "127.0.0.2", 0 }, { NULL, 0, NULL, 0 } });
	loop_for(30 * MSEC); /* probes of before */
	unsigned before = server.asked;
	assert_int_equal(ask(RBL_ADDRESSES, "x.test", "7.2.0.192"), RBL_SAID_YES);
	assert_int_equal(server.asked, before + 1);
	assert_int_equal(ask(RBL_ADDRESSES, "x.test", "7.2.0.192"), RBL_SAID_YES);
	assert_int_equal(server.asked, before + 1); /* the cache */
}

/* A list without TXT records costs its clients nothing for long; of each kind it has its own row. */
static void
test_reasons(void **state)
{
	(void)state;
	uint64_t timeout;
	const struct span d = SPAN("plain.test");
	use(&quick, RBL_ADDRESSES, "plain.test");
	for (unsigned i = 0; i < quick.pause_after; i++) {
		assert_true(rbl_reason_may_ask(RBL_ADDRESSES, d, &timeout));
		assert_int_equal(timeout, quick.timeout);
		rbl_reason_heard(RBL_ADDRESSES, d, RBL_SAID_TIMEOUT, quick.timeout);
	}
	assert_false(rbl_reason_may_ask(RBL_ADDRESSES, d, &timeout));
	assert_true(rbl_reason_may_ask(RBL_NAMES, d, &timeout));
	loop_for(quick.pause_limit + 20 * MSEC);
	assert_true(rbl_reason_may_ask(RBL_ADDRESSES, d, &timeout)); /* one goes ahead */
	assert_false(rbl_reason_may_ask(RBL_ADDRESSES, d, &timeout));
	rbl_reason_heard(RBL_ADDRESSES, d, RBL_SAID_ERROR, quick.timeout); /* a resolver that waited in vain itself */
	assert_false(rbl_reason_may_ask(RBL_ADDRESSES, d, &timeout));
	loop_for(quick.pause_limit + 20 * MSEC);
	assert_true(rbl_reason_may_ask(RBL_ADDRESSES, d, &timeout));
	rbl_reason_heard(RBL_ADDRESSES, d, RBL_SAID_NO, 5 * MSEC);
	for (unsigned i = 0; i < 10; i++) { /* what says nothing about the list */
		assert_true(rbl_reason_may_ask(RBL_ADDRESSES, d, &timeout));
		rbl_reason_heard(RBL_ADDRESSES, d, i % 2 == 0 ? RBL_SAID_BUSY : RBL_SAID_TIMEOUT, 5 * MSEC);
	}
	rbl_reason_heard(RBL_ADDRESSES, d, RBL_SAID_TIMEOUT, quick.timeout);
	rbl_reason_heard(RBL_ADDRESSES, d, RBL_SAID_YES, 5 * MSEC);
	for (unsigned i = 0; i + 1 < quick.pause_after; i++)
		rbl_reason_heard(RBL_ADDRESSES, d, RBL_SAID_TIMEOUT, quick.timeout);
	assert_true(rbl_reason_may_ask(RBL_ADDRESSES, d, &timeout));
}

/* A domain per client, out of a pattern table, fills no memory. */
static void
test_many(void **state)
{
	(void)state;
	use(&quick, RBL_ADDRESSES, "");
	for (unsigned i = 0; i < 2 * ROWS_MAX; i++) {
		char domain[40], query[60];
		snprintf(domain, sizeof domain, "d%u.test", i);
		snprintf(query, sizeof query, "1.2.0.192.d%u.test", i);
		rbl_prefetch(RBL_ADDRESSES, span_str(domain), span_str(query));
	}
	for (int w = 0; w < 500 && rbl_health_unprobed() > 0; w++)
		loop_for(10 * MSEC);
	assert_int_equal(rbl_health_unprobed(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_probes, fresh), cmocka_unit_test_setup(test_first_question_waits, fresh),
		cmocka_unit_test_setup(test_out_and_back, fresh), cmocka_unit_test_setup(test_dead, fresh), cmocka_unit_test_setup(test_dead_resolver, fresh), cmocka_unit_test_setup(test_only_one_dead, fresh), cmocka_unit_test_setup(test_in_flight, fresh),
		cmocka_unit_test_setup(test_refusals, fresh), cmocka_unit_test_setup(test_reload, fresh), cmocka_unit_test_setup(test_without_health, fresh),
		cmocka_unit_test_setup(test_reasons, fresh), cmocka_unit_test_setup(test_many, fresh),
	};
	struct err e = { 0 };
	loop_init();
	op_owner_init(&owner);
	fake_dns_start(&server, rows);
	struct dns_settings s = { .servers = server.servers, .timeout_usec = 5000 * MSEC, .tries = 1 };
	BUG_ON(dns_open(&s, &e) != RC_OK);
	int failed = cmocka_run_group_tests_name("rbl_health", tests, NULL, NULL);
	rbl_health_close();
	dns_close();
	fake_dns_stop(&server);
	loop_fini();
	return failed;
}
