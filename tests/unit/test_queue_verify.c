/* SPDX-License-Identifier: BSD-2-Clause */
/* Address verification in the queue: an edge asks, relays are asked; who waits, who is told what, what is remembered. */
#include "queue_world.h"

#include "base/metric.h"
#include "queue/verify.h"
#include "queue/verify_cache.h"

enum { QUESTIONS = 64 };

static struct question {
	struct ipc_call call;
	bool over, foreign;
	enum rc rc;
	enum verify_status status;
	char text[200];
} asked[QUESTIONS];
static struct op_owner owner;
static size_t nasked, want_over, want_jobs;

static void
on_verified(struct op *op)
{
	struct ipc_call *call = container_of(op, struct ipc_call, op);
	struct question *a = container_of(call, struct question, call);
	struct msg_verified m;
	a->over = true;
	a->rc = op->rc;
	if (op->rc == RC_OK) {
		assert_int_equal(msg_verified_get(buf_span(&call->reply), &m), RC_OK);
		a->status = m.status;
		a->foreign = m.foreign;
		snprintf(a->text, sizeof a->text, "%.*s", (int)m.text.n, (const char *)m.text.p);
	}
}

static struct question *
question(const char *addr, uint64_t wait_usec)
{
	struct question *a = &asked[nasked++];
	assert_true(nasked <= QUESTIONS);
	*a = (struct question){ .over = false };
	ipc_call_init(&a->call, &owner, on_verified);
	msg_verify_put(ipc_call_begin(&a->call, w.edge, IPC_VERIFY), &(struct msg_verify){ span_str(addr), wait_usec });
	ipc_call_send(&a->call, 0);
	return a;
}

static size_t
count_over(void)
{
	size_t n = 0;
	for (size_t i = 0; i < nasked; i++)
		n += asked[i].over;
	return n;
}

static bool
all_over(void)
{
	return count_over() >= want_over;
}

static bool
jobs_came(void)
{
	return w.njobs >= want_jobs;
}

#define MINUTE (60 * USEC_PER_SEC)

static const struct question *waited_for;

static bool
this_is_over(void)
{
	return waited_for->over;
}

static struct question *
answer_to(const char *addr)
{
	struct question *a = question(addr, MINUTE);
	waited_for = a;
	RUN_UNTIL(this_is_over);
	return a;
}

static int
setup(void **state)
{
	int r = world_setup(state);
	nasked = 0;
	op_owner_init(&owner);
	verify_open(&w.q, w.dir);
	return r;
}

static int
teardown(void **state)
{
	for (size_t i = 0; i < nasked; i++)
		ipc_call_fini(&asked[i].call);
	return world_teardown(state);
}

static enum act
by_name(const struct got_job *j)
{
	assert_true(j->flags & MSGF_PROBE);
	assert_int_equal(j->n, 1);
	return strncmp(j->first, "bad", 3) == 0 ? ACT_BOUNCE : strncmp(j->first, "busy", 4) == 0 ? ACT_DEFER : strncmp(j->first, "keep", 4) == 0 ? ACT_KEEP : ACT_SEND;
}

static void
answers_and_cache(void **state)
{
	(void)state;
	w.decide = by_name;
	world_relay(0);
	assert_int_equal(answer_to("good@hub.test")->status, VERIFY_OK);
	struct question *bad = answer_to("bad@hub.test");
	assert_int_equal(bad->status, VERIFY_BOUNCE);
	assert_true(bad->foreign);
	assert_non_null(strstr(bad->text, "said: 550 5.1.1 no such user"));
	assert_int_equal(answer_to("busy@hub.test")->status, VERIFY_DEFER);
	assert_int_equal(w.njobs, 3);
	assert_int_equal(w.q.table.count, 0);
	assert_string_equal(w.jobs[0].nexthop, "hub.test");
	/* known now, in any case of letters */
	assert_int_equal(answer_to("Good@HUB.test")->status, VERIFY_OK);
	assert_int_equal(answer_to("bad@hub.test")->status, VERIFY_BOUNCE);
	assert_int_equal(answer_to("busy@hub.test")->status, VERIFY_DEFER);
	assert_int_equal(w.njobs, 3);
	clock_wall_offset(301 * (int64_t)USEC_PER_SEC); /* what was only not now is asked again */
	assert_int_equal(answer_to("busy@hub.test")->status, VERIFY_DEFER);
	assert_int_equal(answer_to("bad@hub.test")->status, VERIFY_BOUNCE);
	assert_int_equal(w.njobs, 4);
}

static void
refreshed_in_the_background(void **state)
{
	(void)state;
	w.decide = by_name;
	world_relay(0);
	assert_int_equal(answer_to("good@hub.test")->status, VERIFY_OK);
	clock_wall_offset(8 * 86400 * (int64_t)USEC_PER_SEC);
	w.decide = NULL;
	assert_int_equal(answer_to("good@hub.test")->status, VERIFY_OK); /* at once, and asked again */
	want_jobs = 2;
	RUN_UNTIL(jobs_came);
	assert_int_equal(answer_to("good@hub.test")->status, VERIFY_OK);
	run_turns(3);
	assert_int_equal(w.njobs, 2);
}

static void
same_question_once(void **state)
{
	(void)state;
	w.decide = by_name;
	world_relay(0);
	for (int i = 0; i < 5; i++)
		question("keep@hub.test", MINUTE);
	question("KEEP@hub.test", 1000); /* has no patience */
	want_over = 1;
	RUN_UNTIL(all_over);
	assert_int_equal(asked[5].status, VERIFY_TODO);
	assert_int_equal(w.njobs, 1);
	answer_job(w.relay[0], &w.jobs[0], ACT_SEND);
	want_over = 6;
	RUN_UNTIL(all_over);
	for (int i = 0; i < 5; i++)
		assert_int_equal(asked[i].status, VERIFY_OK);
	assert_int_equal(answer_to("keep@hub.test")->status, VERIFY_OK);
	assert_int_equal(w.njobs, 1);
}

static void
limits(void **state)
{
	(void)state;
	char addr[40];
	w.decide = by_name;
	world_relay(0);
	for (int i = 0; i < 20; i++) {
		snprintf(addr, sizeof addr, "keep%d@hub.test", i);
		question(addr, MINUTE);
	}
	want_jobs = 5;
	RUN_UNTIL(jobs_came);
	run_turns(3);
	assert_int_equal(w.njobs, 5); /* initial_destination_concurrency, whoever asks */
	answer_job(w.relay[0], &w.jobs[0], ACT_SEND);
	want_jobs = 6;
	RUN_UNTIL(jobs_came);
	run_turns(3);
	assert_int_equal(w.njobs, 6);
	assert_int_equal(answer_to("good@other.test")->status, VERIFY_OK); /* others do not wait for them */
	w.decide = NULL;
	for (size_t i = 1; i < 6; i++)
		answer_job(w.relay[0], &w.jobs[i], ACT_SEND);
	want_over = nasked;
	RUN_UNTIL(all_over);
}

/* Fifty domains whose hosts never answer: half of the transport's places at most, and the rest has its turn. */
static void
a_transport_keeps_places_for_mail(void **state)
{
	(void)state;
	char addr[40];
	w.decide = by_name;
	world_relay(0);
	assert_int_equal(answer_to("good@hub.test")->status, VERIFY_OK);
	transport_get(&w.q.dests, NULL, SPAN("smtp"))->set.max_jobs = 20;
	for (int i = 0; i < 50; i++) {
		snprintf(addr, sizeof addr, "keep@d%d.test", i);
		question(addr, MINUTE);
	}
	want_jobs = 11;
	RUN_UNTIL(jobs_came);
	run_turns(3);
	assert_int_equal(w.njobs, 11);
	submit("a@sender.test", "keep.mail@hub.test"); /* mail has its places */
	w.decide = NULL;
	want_jobs = 12;
	RUN_UNTIL(jobs_came);
	assert_int_equal(w.jobs[11].flags & MSGF_PROBE, 0);
	for (size_t i = 1; i < 11; i++)
		answer_job(w.relay[0], &w.jobs[i], ACT_SEND);
	want_over = nasked;
	RUN_UNTIL(all_over);
	for (size_t i = 0; i < nasked; i++)
		assert_int_equal(asked[i].status, VERIFY_OK);
}

static void
a_dead_hub_is_not_asked(void **state)
{
	(void)state;
	char addr[40];
	w.decide = by_name;
	world_relay(0);
	for (int i = 0; i < 20; i++) {
		snprintf(addr, sizeof addr, "keep%d@down.test", i);
		question(addr, MINUTE);
	}
	want_jobs = 5;
	RUN_UNTIL(jobs_came);
	for (size_t i = 0; count_over() < nasked && i < 20; i++) {
		for (size_t k = 0; k < w.njobs; k++)
			if (!w.jobs[k].answered)
				answer_job(w.relay[0], &w.jobs[k], ACT_DOWN);
		run_turns(2);
	}
	assert_int_equal(count_over(), nasked);
	for (size_t i = 0; i < nasked; i++) {
		assert_int_equal(asked[i].status, VERIFY_DEFER);
		assert_true(asked[i].foreign);
	}
	size_t jobs = w.njobs;
	assert_true(jobs < 12);
	assert_int_equal(answer_to("another@down.test")->status, VERIFY_DEFER);
	assert_int_equal(w.njobs, jobs);
	assert_true(logged("to=<another@down.test>, relay=none"));
}

static void
relay_dies(void **state)
{
	(void)state;
	w.decide = by_name;
	world_relay(0);
	question("keep@hub.test", MINUTE);
	want_jobs = 1;
	RUN_UNTIL(jobs_came);
	ipc_chan_free(&w.relay[0]);
	run_turns(3);
	assert_int_equal(count_over(), 0);
	world_relay(0); /* the next one tries it once more */
	want_jobs = 2;
	RUN_UNTIL(jobs_came);
	ipc_chan_free(&w.relay[0]);
	want_over = 1;
	RUN_UNTIL(all_over);
	assert_int_equal(asked[0].status, VERIFY_DEFER);
	assert_false(asked[0].foreign);
	w.decide = by_name;
	world_relay(0);
	assert_int_equal(answer_to("good@hub.test")->status, VERIFY_OK);
}

static void
edge_dies(void **state)
{
	(void)state;
	w.decide = by_name;
	world_relay(0);
	question("keep@hub.test", MINUTE);
	want_jobs = 1;
	RUN_UNTIL(jobs_came);
	ipc_chan_free(&w.edge);
	want_over = 1;
	RUN_UNTIL(all_over);
	assert_int_equal(asked[0].rc, RC_TEMP);
	run_turns(3);
	world_edge();
	answer_job(w.relay[0], &w.jobs[0], ACT_SEND); /* nobody waits any more; it is remembered */
	run_turns(3);
	assert_int_equal(answer_to("keep@hub.test")->status, VERIFY_OK);
	assert_int_equal(w.njobs, 1);
}

static void
survives_a_restart(void **state)
{
	(void)state;
	w.decide = by_name;
	world_relay(0);
	assert_int_equal(answer_to("good@hub.test")->status, VERIFY_OK);
	question("keep@hub.test", MINUTE);
	want_jobs = 2;
	RUN_UNTIL(jobs_came);
	world_restart();
	verify_open(&w.q, w.dir);
	run_turns(2);
	assert_int_equal(asked[1].rc, RC_TEMP);
	assert_int_equal(answer_to("good@hub.test")->status, VERIFY_OK); /* no relay is needed */
	world_relay(0);
	w.decide = NULL;
	assert_int_equal(answer_to("keep@hub.test")->status, VERIFY_OK);
	assert_int_equal(w.njobs, 3);
}

static void
bad_questions(void **state)
{
	(void)state;
	world_relay(0);
	struct question *a = question("a\r\nRCPT TO:<b@hub.test>", MINUTE);
	want_over = 1;
	RUN_UNTIL(all_over); /* an edge that asks this has been taken over */
	assert_int_equal(a->rc, RC_TEMP);
	assert_int_equal(w.njobs, 0);
}

/* One edge has no more calls waiting than it has sessions, however few the probes are. */
static void
one_edge_waits_so_often(void **state)
{
	(void)state;
	int64_t refused = metric_values[M_verify_refused];
	w.decide = by_name;
	world_relay(0);
	for (uint64_t i = 0; i < 1000; i++) { /* nobody hears the answers: they are not calls of this edge */
		msg_verify_put(ipc_begin(w.edge, IPC_VERIFY, (UINT64_C(1) << 40) + i), &(struct msg_verify){ SPAN("keep@hub.test"), MINUTE });
		ipc_end(w.edge);
	}
	assert_int_equal(answer_to("keep@hub.test")->status, VERIFY_TODO);
	assert_int_equal(answer_to("new@hub.test")->status, VERIFY_TODO);
	assert_int_equal(metric_values[M_verify_refused], refused + 2);
	want_jobs = 1;
	RUN_UNTIL(jobs_came);
	answer_job(w.relay[0], &w.jobs[0], ACT_SEND);
	run_turns(3);
	assert_int_equal(answer_to("keep@hub.test")->status, VERIFY_OK);
	assert_int_equal(answer_to("new@hub.test")->status, VERIFY_OK);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(answers_and_cache), T(refreshed_in_the_background), T(same_question_once), T(limits), T(a_transport_keeps_places_for_mail), T(a_dead_hub_is_not_asked),
		T(relay_dies), T(edge_dies), T(survives_a_restart), T(bad_questions),
		T(one_edge_waits_so_often),
	};
	return cmocka_run_group_tests_name("queue_verify", tests, NULL, NULL);
}
