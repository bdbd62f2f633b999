/* SPDX-License-Identifier: BSD-2-Clause */
/* What senders are told of their mail, and when: non-delivery, success, delay, expiry. */
#include "queue_expect.h"

static void
failure_is_reported(void **state)
{
	(void)state;
	w.decide = bounce_hub;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test c@hub.test");
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, 2);
	struct got_job *r = &w.jobs[1];
	assert_string_equal(r->nexthop, "sender.test");
	assert_string_equal(r->sender, "");
	assert_string_equal(r->first, "a@sender.test");
	struct span text = buf_span(&r->content);
	assert_true(span_find(text, SPAN("Content-Type: multipart/report; report-type=delivery-status;")) != SIZE_MAX);
	assert_true(span_find(text, SPAN("Final-Recipient: rfc822; b@hub.test\r\n")) != SIZE_MAX);
	assert_true(span_find(text, SPAN("Final-Recipient: rfc822; c@hub.test\r\n")) != SIZE_MAX);
	assert_true(span_find(text, SPAN("Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n")) != SIZE_MAX);
	assert_true(span_find(text, SPAN("\r\nhello\r\n")) != SIZE_MAX);
	assert_true(logged(": sender non-delivery notification: "));
}

static void
null_sender_is_not_told(void **state)
{
	(void)state;
	w.decide = bounce_hub;
	world_relay(0);
	expect(1);
	submit("", "b@hub.test");
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, 1);
	assert_false(logged("notification"));
}

static void
notify_never_and_double_bounce(void **state)
{
	(void)state;
	w.decide = bounce_hub;
	world_relay(0);
	expect(2);
	submit_as("a@sender.test", "b@hub.test", "\r\n", 0, NOTIFY_NEVER);
	submit("double-bounce@gw.test", "b@hub.test");
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, 2);
	assert_true(logged("undeliverable postmaster notification discarded"));
	/* with notify_classes = 2bounce the postmaster hears of a bounce that failed, and that ends there */
	w.q.set.notices = NOTICE_2BOUNCE;
	expect(1);
	submit("", "b@hub.test");
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, 4);
	assert_string_equal(w.jobs[3].sender, "double-bounce@gw.test");
	assert_string_equal(w.jobs[3].first, "postmaster@gw.test");
}

static void
success_is_reported_when_asked(void **state)
{
	(void)state;
	world_relay(0);
	expect(1);
	submit_as("a@sender.test", "b@hub.test", "Subject: s\r\n\r\nbody\r\n", 0, NOTIFY_SUCCESS);
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, 2);
	struct span text = buf_span(&w.jobs[1].content);
	assert_true(span_find(text, SPAN("Action: relayed\r\n")) != SIZE_MAX);
	assert_true(span_find(text, SPAN("\r\nbody\r\n")) == SIZE_MAX);
	assert_true(logged("sender delivery status notification: "));
	transport_get(&w.q.dests, NULL, SPAN("smtp"))->program = PROGRAM_LMTP;
	expect(1);
	submit_as("a@sender.test", "b@hub.test", "Subject: s\r\n\r\nbody\r\n", 0, NOTIFY_SUCCESS);
	RUN_UNTIL(empty);
	assert_true(span_find(buf_span(&w.jobs[3].content), SPAN("Action: delivered\r\n")) != SIZE_MAX);
}

static void
soft_bounce_waits(void **state)
{
	(void)state;
	w.q.set.soft_bounce = true;
	w.decide = bounce_hub;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(nothing_active);
	struct message *m = last_message();
	assert_non_null(m);
	assert_int_equal(m->queue, MQ_DEFERRED);
	assert_span(reason_dsn(m->why[0]), "4.1.1");
}

static void
eight_bit_sender_gets_utf8_report(void **state)
{
	(void)state;
	w.decide = bounce_hub;
	world_relay(0);
	expect(2);
	submit_as("j\xc3\xb6rg@sender.test", "b@hub.test", "Subject: s\r\n\r\nx\r\n", MSGF_SMTPUTF8, 0);
	submit_as("a@sender.test", "b@hub.test", "Subject: s\r\n\r\nx\r\n", MSGF_SMTPUTF8, 0);
	RUN_UNTIL(empty);
	unsigned utf8 = 0, plain = 0;
	for (size_t i = 0; i < w.njobs; i++) {
		if (strcmp(w.jobs[i].sender, "") != 0)
			continue;
		utf8 += (w.jobs[i].flags & MSGF_SMTPUTF8) != 0;
		plain += (w.jobs[i].flags & MSGF_SMTPUTF8) == 0;
		assert_true(w.jobs[i].flags & MSGF_INTERNAL);
	}
	assert_int_equal(utf8, 1);
	assert_int_equal(plain, 1); /* nothing in it needs more than ASCII */
}

static void
expiry(void **state)
{
	(void)state;
	w.q.set.lifetime = 7200 * USEC_PER_SEC;
	w.decide = defer_all;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(nothing_active);
	/* time goes on in steps that are no jump */
	for (int step = 1; step <= 3; step++) {
		assert_int_equal(w.q.table.count, 1);
		clock_wall_offset(step * 2500 * (int64_t)USEC_PER_SEC);
		sched_poke(&w.q);
		ask("flush");
		RUN_UNTIL(nothing_active);
	}
	assert_true(logged("from=<a@sender.test>, status=expired, returned to sender"));
	assert_true(logged("sender non-delivery notification"));
}

static void
a_jump_of_the_clock_expires_nothing(void **state)
{
	(void)state;
	w.decide = defer_all;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(nothing_active);
	clock_wall_offset(400 * 86400 * (int64_t)USEC_PER_SEC);
	ask("flush");
	RUN_UNTIL(nothing_active);
	assert_false(logged("status=expired"));
	assert_true(logged("the clock moved by 34560000 seconds at once"));
	assert_int_equal(w.q.table.count, 1);
	/* and back: the next attempt is not a year away */
	clock_wall_offset(-400 * 86400 * (int64_t)USEC_PER_SEC);
	ask("flush");
	RUN_UNTIL(nothing_active);
	assert_true(last_message()->due.key - loop_now() < 4500 * USEC_PER_SEC);
	world_restart();
	assert_int_equal(w.q.table.count, 1);
	assert_true(last_message()->due.key - loop_now() < 4500 * USEC_PER_SEC);
}

static void
absence_expires_nothing_at_once(void **state)
{
	(void)state;
	w.decide = defer_all;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(nothing_active);
	clock_wall_offset(6 * 86400 * (int64_t)USEC_PER_SEC); /* down for six days, or another clock */
	world_restart();
	assert_true(logged("the newest trace in the spool is 518"));
	world_relay(0);
	ask("flush");
	RUN_UNTIL(nothing_active);
	assert_false(logged("status=expired"));
	assert_int_equal(w.q.table.count, 1);
	w.q.no_expiry_until = 0; /* the grace is over */
	ask("flush");
	RUN_UNTIL(nothing_active);
	assert_true(logged("status=expired"));
}

static void
forced_expiry(void **state)
{
	(void)state;
	w.decide = defer_all;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(nothing_active);
	assert_string_equal(ask("expire ALL"), "ok\npostsuper: Force-expired: 1 message\n");
	assert_non_null(strstr(ask("list"), "#"));
	world_restart(); /* the order is durable */
	world_relay(0);
	ask("flush");
	RUN_UNTIL(nothing_active);
	assert_true(logged("status=force-expired, returned to sender"));
}

static void
delay_notice_once(void **state)
{
	(void)state;
	w.set.delay_warning = w.q.set.delay_warning = USEC_PER_SEC;
	w.decide = defer_all;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(nothing_active);
	assert_false(logged("sender delay notification"));
	clock_wall_offset(10 * (int64_t)USEC_PER_SEC);
	ask("flush");
	RUN_UNTIL(nothing_active);
	assert_true(logged("sender delay notification"));
	forget_log();
	world_restart();
	world_relay(0);
	ask("flush");
	RUN_UNTIL(nothing_active);
	assert_true(logged("from=<a@sender.test>"));
	assert_false(logged("sender delay notification"));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(failure_is_reported), T(null_sender_is_not_told), T(notify_never_and_double_bounce), T(success_is_reported_when_asked),
		T(soft_bounce_waits), T(eight_bit_sender_gets_utf8_report), T(expiry), T(a_jump_of_the_clock_expires_nothing),
		T(absence_expires_nothing_at_once), T(forced_expiry), T(delay_notice_once),
	};
	return cmocka_run_group_tests_name("queue_notices", tests, NULL, NULL);
}
