/* SPDX-License-Identifier: BSD-2-Clause */
/* From SUBMIT to "removed": deliveries, relays that die or lie, orders. What senders are told: test_queue_notices.c. */
#include "queue_expect.h"

static void
one_message_all_the_way(void **state)
{
	(void)state;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(empty);
	assert_int_equal(w.accepted, 1);
	assert_int_equal(w.njobs, 1);
	assert_string_equal(w.jobs[0].nexthop, "hub.test");
	assert_string_equal(w.jobs[0].transport, "smtp");
	assert_string_equal(w.jobs[0].qid, last_qid());
	assert_span(buf_span(&w.jobs[0].content), "From: x\r\nSubject: test\r\n\r\nhello\r\n");
	assert_true(logged("from=<a@sender.test>, size=33, nrcpt=1 (queue active)"));
	assert_true(logged(": removed"));
	assert_true(w.accepting);
}

static void
groups_by_destination(void **state)
{
	(void)state;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@one.test c@two.test d@ONE.test e@two.test f@three.test");
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, 3);
	unsigned n = 0;
	for (size_t i = 0; i < 3; i++)
		n += w.jobs[i].n;
	assert_int_equal(n, 5);
}

static void
large_groups_are_divided(void **state)
{
	(void)state;
	char to[60 * 16] = "";
	for (int i = 0; i < 60; i++)
		snprintf(to + strlen(to), sizeof to - strlen(to), "u%d@hub.test ", i);
	world_relay(0);
	expect(1);
	submit("a@sender.test", to);
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, 2);
	assert_int_equal(w.jobs[0].n, 50);
	assert_int_equal(w.jobs[1].n, 10);
}

static enum act
keep_all(const struct got_job *j)
{
	(void)j;
	return ACT_KEEP;
}

static void
the_window_holds(void **state)
{
	(void)state;
	w.decide = keep_all;
	world_relay(0);
	expect(30);
	for (int i = 0; i < 30; i++)
		submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(all_submitted);
	run_turns(5);
	assert_int_equal(w.njobs, 5); /* initial_destination_concurrency */
	expect(1);
	submit("a@sender.test", "b@other.test");
	want_jobs = 6;
	RUN_UNTIL(jobs_came);
	w.decide = NULL;
	for (size_t i = 0; i < 5; i++)
		answer_job(w.relay[0], &w.jobs[i], ACT_SEND);
	answer_job(w.relay[0], &w.jobs[5], ACT_SEND);
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, 31);
}

static void
waits_for_a_relay(void **state)
{
	(void)state;
	expect(1);
	submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(all_submitted);
	run_turns(3);
	assert_int_equal(w.q.table.count, 1);
	world_relay(0);
	RUN_UNTIL(empty);
}

static void
deferred_then_flushed(void **state)
{
	(void)state;
	w.decide = defer_all;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(nothing_active);
	struct message *m = last_message();
	assert_non_null(m);
	assert_int_equal(m->queue, MQ_DEFERRED);
	uint64_t left = m->due.key - loop_now();
	assert_true(left > 290 * USEC_PER_SEC && left <= 330 * USEC_PER_SEC);
	const char *text = ask("queue list");
	assert_true(strncmp(text, "ok\n----Queue ID-----", 20) == 0);
	assert_non_null(strstr(text, "said: 450 4.2.1 later (in reply to RCPT TO command))\n"));
	assert_non_null(strstr(text, "\n                                               b@hub.test\n\n-- 1 Kbytes in 1 Request.\n"));
	text = ask("list json");
	assert_non_null(strstr(text, "{\"queue_name\": \"deferred\", \"queue_id\": \""));
	assert_non_null(strstr(text, "\"sender\": \"a@sender.test\", \"recipients\": [{\"address\": \"b@hub.test\", \"delay_reason\": \"host hub.test"));
	w.decide = NULL;
	assert_string_equal(ask("queue flush"), "ok\n");
	RUN_UNTIL(empty);
	assert_string_equal(ask("queue list"), "ok\nMail queue is empty\n");
}

static enum act
down_all(const struct got_job *j)
{
	(void)j;
	return ACT_DOWN;
}

static void
dead_destination(void **state)
{
	(void)state;
	w.decide = keep_all;
	world_relay(0);
	expect(20);
	for (int i = 0; i < 20; i++)
		submit("a@sender.test", "b@hub.test");
	RUN_UNTIL(all_submitted);
	w.decide = down_all;
	for (size_t i = 0; i < 5; i++)
		answer_job(w.relay[0], &w.jobs[i], ACT_DOWN);
	RUN_UNTIL(nothing_active);
	/* five failures of a window of five are one cohort; the rest is not tried */
	assert_true(w.njobs < 15);
	assert_true(logged("relay=none"));
	assert_true(logged("dsn=4.4.1, status=deferred (delivery temporarily suspended: connect to hub.test[192.0.2.1]:25: Connection refused)"));
	assert_int_equal(w.q.table.in_queue[MQ_DEFERRED], 20);
	size_t before = w.njobs;
	expect(1);
	submit("a@sender.test", "c@hub.test"); /* new mail is not tried either */
	RUN_UNTIL(nothing_active);
	assert_int_equal(w.njobs, before);
	w.decide = NULL;
	ask("flush");
	RUN_UNTIL(empty);
}

static void
refuses_what_is_not_sound(void **state)
{
	(void)state;
	world_relay(0);
	struct env_rcpt rcpt = { .addr = SPAN("b@hub.test") };
	struct envelope env = { .arrival = clock_wall(), .sender = SPAN("a@b.test"), .nrcpt = 1, .rcpt = &rcpt };
	expect(6);
	submit_env(&env, SPAN("../../etc/passwd"), SPAN("x\r\n"));
	submit_env(&env, SPAN(""), SPAN("x\r\n"));
	char id[SPOOL_ID_TEXT];
	struct spool_id sid = spool_id_next(77);
	struct span qid = span_of(id, spool_id_text(&sid, id));
	env.nrcpt = 0;
	submit_env(&env, qid, SPAN("x\r\n"));
	env.nrcpt = 1;
	rcpt.addr = SPAN("b@hub.test\nx");
	submit_env(&env, qid, SPAN("x\r\n"));
	rcpt.addr = SPAN("b@hub.test");
	rcpt.notify = NOTIFY_NEVER | NOTIFY_SUCCESS;
	submit_env(&env, qid, SPAN("x\r\n"));
	rcpt.notify = 0;
	env.flags = MSGF_INTERNAL;
	submit_env(&env, qid, SPAN("x\r\n"));
	RUN_UNTIL(all_submitted);
	assert_int_equal(w.refused, 6);
	assert_int_equal(w.q.table.count, 0);
	/* an id that is in use */
	w.decide = keep_all;
	env.flags = 0;
	expect(2);
	submit_env(&env, qid, SPAN("x\r\n"));
	submit_env(&env, qid, SPAN("y\r\n"));
	RUN_UNTIL(all_submitted);
	assert_int_equal(w.accepted, 1);
	assert_int_equal(w.refused, 7);
}

static void
orders(void **state)
{
	(void)state;
	char line[200];
	expect(3);
	submit_as("a@sender.test", "b@hub.test", "x\r\n", MSGF_HOLD, 0);
	submit("a@sender.test", "b@hub.test");
	submit("a@sender.test", "c@hub.test");
	RUN_UNTIL(all_submitted);
	assert_int_equal(w.q.table.in_queue[MQ_HOLD], 1);
	assert_string_equal(ask("delete ../../etc/passwd"), "error invalid queue id\n");
	assert_string_equal(ask("delete all"), "error invalid queue id\n");
	assert_string_equal(ask("delete"), "error a queue id, or ALL, is wanted\n");
	assert_string_equal(ask("delete -h"), "error invalid queue id\n");
	assert_string_equal(ask("delete ALL nosuch"), "error no queue has this name\n");
	assert_string_equal(ask("frobnicate"), "error unknown request\n");
	assert_string_equal(ask(""), "error unknown request\n");
	snprintf(line, sizeof line, "queue hold %s", last_qid());
	assert_string_equal(ask(line), "ok\npostsuper: Placed on hold: 1 message\n");
	assert_int_equal(w.q.table.in_queue[MQ_HOLD], 2);
	world_relay(0);
	want_jobs = 1;
	RUN_UNTIL(jobs_came);
	run_turns(3);
	assert_int_equal(w.q.table.count, 2);
	assert_string_equal(ask("delete ALL deferred"), "ok\n");
	snprintf(line, sizeof line, "show %s", last_qid());
	assert_non_null(strstr(ask(line), "queue:              hold\n"));
	snprintf(line, sizeof line, "cat %s", last_qid());
	assert_non_null(strstr(ask(line), "Subject: test\n\nhello\n*** HEADER EXTRACTED"));
	assert_string_equal(ask("shape hold"),
	    "ok\n                                         T  5 10 20 40 80 160 320 640 1280 1280+\n"
	    "                                  TOTAL  2  2  0  0  0  0   0   0   0    0     0\n"
	    "                               hub.test  2  2  0  0  0  0   0   0   0    0     0\n");
	snprintf(line, sizeof line, "release %s", last_qid());
	assert_string_equal(ask(line), "ok\npostsuper: Released from hold: 1 message\n");
	want_jobs = 2;
	RUN_UNTIL(jobs_came);
	assert_string_equal(ask("queue delete ALL"), "ok\npostsuper: Deleted: 1 message\n");
	RUN_UNTIL(empty);
}

static void
orders_meet_deliveries(void **state)
{
	(void)state;
	char line[100];
	w.decide = keep_all;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test c@other.test");
	want_jobs = 2;
	RUN_UNTIL(jobs_came);
	snprintf(line, sizeof line, "delete %s", last_qid());
	assert_string_equal(ask(line), "ok\npostsuper: Deleted: 1 message\n");
	assert_int_equal(w.q.table.count, 1); /* it is in relay */
	answer_job(w.relay[0], &w.jobs[0], ACT_DEFER);
	answer_job(w.relay[0], &w.jobs[1], ACT_DEFER);
	RUN_UNTIL(empty);
	expect(1);
	submit("a@sender.test", "b@hub.test");
	want_jobs = 3;
	RUN_UNTIL(jobs_came);
	snprintf(line, sizeof line, "hold %s", last_qid());
	ask(line);
	answer_job(w.relay[0], &w.jobs[2], ACT_DEFER);
	RUN_UNTIL(nothing_active);
	assert_int_equal(last_message()->queue, MQ_HOLD);
	snprintf(line, sizeof line, "release %s", last_qid());
	ask(line);
	want_jobs = 4;
	RUN_UNTIL(jobs_came);
	snprintf(line, sizeof line, "requeue %s", last_qid());
	ask(line);
	answer_job(w.relay[0], &w.jobs[3], ACT_SEND); /* delivered all the same: not again */
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, 4);
}

static void
relay_dies_with_jobs(void **state)
{
	(void)state;
	w.decide = keep_all;
	world_relay(0);
	expect(3);
	submit("a@sender.test", "b@hub.test");
	submit("a@sender.test", "c@hub.test");
	submit("a@sender.test", "d@hub.test");
	want_jobs = 3;
	RUN_UNTIL(jobs_came);
	ipc_chan_free(&w.relay[0]);
	run_turns(3);
	assert_int_equal(w.q.table.count, 3);
	assert_int_equal(w.q.jobs.count, 0);
	/* they come again at once: most likely nobody is to blame */
	world_relay(0);
	want_jobs = 6;
	RUN_UNTIL(jobs_came);
	ipc_chan_free(&w.relay[0]);
	run_turns(3);
	/* and now one at a time: one of them may have killed it */
	world_relay(0);
	want_jobs = 7;
	RUN_UNTIL(jobs_came);
	run_turns(3);
	assert_int_equal(w.njobs, 7);
	w.decide = NULL;
	answer_job(w.relay[0], &w.jobs[6], ACT_SEND);
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, 9);
	assert_false(logged("status=deferred"));
}

static bool
no_jobs(void)
{
	return w.q.jobs.count == 0;
}

static void
poison_is_set_aside(void **state)
{
	(void)state;
	w.decide = keep_all;
	expect(1);
	submit("a@sender.test", "poison@hub.test");
	RUN_UNTIL(all_submitted);
	for (unsigned i = 1; i <= 3; i++) {
		world_relay(0);
		want_jobs = i;
		RUN_UNTIL(jobs_came);
		ipc_chan_free(&w.relay[0]);
		RUN_UNTIL(no_jobs);
		if (i == 2) /* the count survives us */
			world_restart();
	}
	struct message *m = last_message();
	assert_non_null(m);
	assert_int_equal(m->queue, MQ_HOLD);
	assert_true(logged("three delivery processes died with this message"));
	w.decide = NULL;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "good@hub.test");
	RUN_UNTIL(nothing_active);
	assert_int_equal(w.q.table.count, 1);
}

static enum act
keep_slow(const struct got_job *j)
{
	return strcmp(j->nexthop, "slow.test") == 0 ? ACT_KEEP : ACT_SEND;
}

static bool
other_has_all(void)
{
	unsigned n = 0;
	for (size_t i = 0; i < w.njobs; i++)
		n += strcmp(w.jobs[i].nexthop, "other.test") == 0;
	return n == 10;
}

static bool
few_active(void)
{
	return w.q.active <= 11 + 5 && w.submitted >= want_submitted;
}

static void
a_slow_hub_does_not_stop_others(void **state)
{
	(void)state;
	w.q.set.active_limit = 40;
	w.decide = keep_slow;
	world_relay(0);
	expect(200);
	for (int i = 0; i < 200; i++)
		submit("a@sender.test", "b@slow.test");
	RUN_UNTIL(all_submitted);
	expect(10);
	for (int i = 0; i < 10; i++)
		submit("a@sender.test", "b@other.test");
	RUN_UNTIL(other_has_all);
	RUN_UNTIL(few_active); /* a quarter of the places, and what is in relay */
	assert_int_equal(w.q.table.count, 200);
	assert_true(logged("warning: mail for slow.test is using up 11 of 40 active queue entries"));
	char line[64];
	char id[SPOOL_ID_TEXT];
	struct message *m = list_entry(w.q.table.all.prev, struct message, all); /* the last: it is parked */
	spool_id_text(&m->spool.id, id);
	assert_true(m->flags & MF_PARKED);
	snprintf(line, sizeof line, "hold %s", id);
	assert_string_equal(ask(line), "ok\npostsuper: Placed on hold: 1 message\n");
	world_restart();
	snprintf(line, sizeof line, "delete %s", id);
	assert_string_equal(ask(line), "ok\npostsuper: Deleted: 1 message\n");
	w.decide = NULL;
	w.q.set.active_limit = 40;
	world_relay(0);
	RUN_UNTIL(empty);
}

static enum act
one_of_two(const struct got_job *j)
{
	return strcmp(j->nexthop, "one.test") == 0 ? ACT_SEND : ACT_KEEP;
}

static void
restart_in_the_middle(void **state)
{
	(void)state;
	w.decide = one_of_two;
	world_relay(0);
	expect(2);
	submit("a@sender.test", "b@one.test c@two.test");
	submit("a@sender.test", "d@one.test");
	RUN_UNTIL(all_submitted);
	want_jobs = 3;
	RUN_UNTIL(jobs_came);
	run_turns(3);
	world_restart();
	assert_int_equal(w.q.table.count, 1);
	assert_int_equal(w.q.table.in_queue[MQ_INCOMING] + w.q.table.in_queue[MQ_ACTIVE], 1);
	w.decide = NULL;
	size_t before = w.njobs;
	world_relay(0);
	RUN_UNTIL(empty);
	assert_int_equal(w.njobs, before + 1); /* what was delivered is not delivered again */
	assert_string_equal(w.jobs[before].first, "c@two.test");
}

static void
mad_relay_is_cut_off(void **state)
{
	(void)state;
	w.decide = keep_all;
	world_relay(0);
	expect(1);
	submit("a@sender.test", "b@hub.test");
	want_jobs = 1;
	RUN_UNTIL(jobs_came);
	w.jobs[0].index[0] = 7; /* not its recipient */
	answer_job(w.relay[0], &w.jobs[0], ACT_SEND);
	RUN_UNTIL(no_jobs);
	assert_true(list_empty(&w.q.relays));
	assert_int_equal(w.q.table.count, 1);
}

static void
two_relays_share(void **state)
{
	(void)state;
	w.decide = keep_all;
	world_relay(0);
	world_relay(1);
	expect(40);
	for (int i = 0; i < 40; i++) {
		char to[32];
		snprintf(to, sizeof to, "b@h%d.test", i);
		submit("a@sender.test", to);
	}
	want_jobs = 40;
	RUN_UNTIL(jobs_came);
	for (struct list *l = w.q.relays.next; l != &w.q.relays; l = l->next)
		assert_true(list_entry(l, struct relay, link)->njobs >= 10);
}

static void
a_long_listing_streams(void **state)
{
	(void)state;
	enum { N = 3000 };
	expect(N);
	for (int i = 0; i < N; i++)
		submit_as("a@sender.test", "b@hub.test", "x\r\n", MSGF_HOLD, 0);
	RUN_UNTIL(all_submitted);
	const char *text = ask("list json");
	size_t lines = 0;
	for (; *text != '\0'; text++)
		lines += *text == '\n';
	assert_int_equal(lines, N + 1);
	assert_string_equal(ask("delete ALL hold"), "ok\npostsuper: Deleted: 3000 messages\n");
	assert_int_equal(w.q.table.count, 0);
}

static bool
idle(void)
{
	return queue_idle(&w.q);
}

static void
drains(void **state)
{
	(void)state;
	w.decide = keep_all;
	world_relay(0);
	expect(2);
	submit("a@sender.test", "b@hub.test");
	want_jobs = 1;
	RUN_UNTIL(jobs_came);
	queue_drain(&w.q);
	submit("a@sender.test", "b@other.test");
	RUN_UNTIL(all_submitted);
	assert_int_equal(w.accepted, 2);
	assert_false(queue_idle(&w.q));
	answer_job(w.relay[0], &w.jobs[0], ACT_SEND);
	RUN_UNTIL(idle);
	assert_int_equal(w.njobs, 1);
	assert_int_equal(w.q.table.count, 1);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(one_message_all_the_way), T(groups_by_destination), T(large_groups_are_divided), T(the_window_holds),
		T(waits_for_a_relay), T(deferred_then_flushed), T(dead_destination), T(refuses_what_is_not_sound),
		T(orders), T(orders_meet_deliveries), T(relay_dies_with_jobs), T(poison_is_set_aside),
		T(restart_in_the_middle), T(mad_relay_is_cut_off), T(two_relays_share), T(a_long_listing_streams),
		T(drains), T(a_slow_hub_does_not_stop_others),
	};
	return cmocka_run_group_tests_name("queue_flow", tests, NULL, NULL);
}
