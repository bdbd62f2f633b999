/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions to tables of other processes: who waits, what is shared, held and failed. */
#include "map/remote.h"

#include "base/clock.h"
#include "base/metric.h"
#include "loop/loop.h"
#include "map/remote_table.h"

#include "confdir.h"
#include "unit.h"

/* The snapshot as a role has it: the loader never asks. */
static struct conf *
role_conf(const char *tables)
{
	struct map_list *l = NULL;
	struct err e = { 0 };
	struct conf *c = confdir_load(""), *r = NULL;
	int fd;
	if (maps_open(c, NULL, "transport_maps", tables, &l, &e) != RC_OK)
		fail_msg("%s", e.why);
	map_list_free(&l);
	assert_int_equal(conf_image_write(c, CONF_FOR_ALL, &fd, &e), RC_OK);
	assert_int_equal(conf_image_read(fd, &r, &e), RC_OK);
	close(fd);
	conf_unref(&c);
	return r;
}

static struct map_question *carried[16];
static size_t ncarried;
static bool refuses;

static bool
carry(struct map_question *q, struct span table, struct span key)
{
	(void)table, (void)key;
	if (refuses)
		return false;
	assert_true(ncarried < NELEMS(carried));
	carried[ncarried++] = q;
	return true;
}

static struct op_owner owner;
static unsigned ndone;
static struct timer stop_timer;

static void
on_done(struct op *op)
{
	assert_int_equal(op->rc, RC_OK);
	ndone++;
}

static void
on_stop(struct timer *t)
{
	(void)t;
	loop_stop();
}

/* The loop for so long, at least one turn. */
static void
turn(uint64_t usec)
{
	timer_set(&stop_timer, usec);
	loop_run();
}

struct world {
	struct conf *conf;
	struct map_list *list;
	struct buf scratch;
	struct span value;
	struct err e;
};

static void
begin(struct world *w, const char *tables)
{
	op_owner_init(&owner);
	ndone = 0;
	ncarried = 0;
	refuses = false;
	w->conf = role_conf(tables);
	buf_init(&w->scratch, 1000);
	assert_int_equal(maps_open(w->conf, NULL, "transport_maps", tables, &w->list, &w->e), RC_OK);
	map_remote_carrier(carry);
	map_forget();
}

static void
end(struct world *w)
{
	map_forget();
	turn(1100000); /* what was kept for a moment goes */
	map_remote_carrier(NULL);
	map_list_free(&w->list);
	conf_unref(&w->conf);
	buf_fini(&w->scratch);
}

static enum rc
find(struct world *w, const char *key)
{
	return map_find(w->list, span_str(key), 0, &w->scratch, &w->value, &w->e);
}

#define TWO "tcp:127.0.0.1:1, socketmap:inet:127.0.0.1:2:n"

static void
one_after_the_other(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct map_wait wait;
	begin(&w, TWO);
	map_wait_init(&wait, &owner, on_done);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	assert_true(map_asked());
	assert_int_equal(ncarried, 0);
	map_wait_start(&wait);
	assert_false(map_asked());
	assert_int_equal(ncarried, 1);
	map_remote_answer(carried[0], RC_NONE, SPAN_EMPTY);
	assert_int_equal(ndone, 0); /* from the loop only */
	turn(0);
	assert_int_equal(ndone, 1);
	assert_int_equal(find(&w, "k"), RC_TEMP); /* the second table */
	assert_true(map_asked());
	map_wait_start(&wait);
	assert_int_equal(ncarried, 2);
	map_remote_answer(carried[1], RC_OK, SPAN("v"));
	turn(1200000); /* longer than the moment: they are held */
	assert_int_equal(ndone, 2);
	assert_int_equal(find(&w, "k"), RC_OK);
	assert_span(w.value, "v");
	assert_false(map_asked());
	map_wait_fini(&wait);
	map_wait_fini(&wait);
	assert_int_equal(find(&w, "k"), RC_OK); /* for a moment */
	turn(1200000);
	assert_int_equal(find(&w, "k"), RC_TEMP); /* and not any more */
	assert_true(map_asked());
	map_forget();
	assert_false(map_asked());
	end(&w);
}

static void
shared(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct map_wait a, b, c;
	begin(&w, TWO);
	map_wait_init(&a, &owner, on_done);
	map_wait_init(&b, &owner, on_done);
	map_wait_init(&c, &owner, on_done);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	map_wait_start(&a);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	map_wait_start(&b);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	map_wait_start(&c);
	assert_int_equal(ncarried, 1); /* one question for all */
	map_wait_fini(&c);             /* its owner is gone */
	op_cancel(&b.op);
	map_remote_answer(carried[0], RC_OK, SPAN("v"));
	turn(0);
	assert_int_equal(ndone, 1);
	assert_int_equal(find(&w, "k"), RC_OK);
	map_wait_fini(&a);
	map_wait_fini(&b);
	/* nothing noted: there at once */
	map_wait_start(&a);
	turn(0);
	assert_int_equal(ndone, 2);
	/* nobody waits for the answer */
	assert_int_equal(find(&w, "other"), RC_TEMP);
	map_wait_start(&a);
	map_wait_fini(&a);
	map_remote_answer(carried[1], RC_OK, SPAN("late"));
	turn(0);
	assert_int_equal(ndone, 2);
	assert_int_equal(find(&w, "other"), RC_OK);
	end(&w);
}

static void
failures(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct map_wait wait;
	begin(&w, "tcp:127.0.0.1:1");
	map_wait_init(&wait, &owner, on_done);
	/* the table cannot say */
	assert_int_equal(find(&w, "k"), RC_TEMP);
	map_wait_start(&wait);
	map_remote_answer(carried[0], RC_TEMP, SPAN("connection refused"));
	turn(0);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	assert_false(map_asked());
	assert_string_equal(w.e.why, "tcp:127.0.0.1:1 lookup error: connection refused");
	map_wait_fini(&wait);
	/* for good: still not "not found" */
	assert_int_equal(find(&w, "perm"), RC_TEMP);
	map_wait_start(&wait);
	map_remote_answer(carried[1], RC_PERM, SPAN("never"));
	turn(0);
	assert_int_equal(find(&w, "perm"), RC_TEMP);
	assert_false(map_asked());
	map_wait_fini(&wait);
	/* nobody takes the question */
	refuses = true;
	assert_int_equal(find(&w, "full"), RC_TEMP);
	assert_true(map_asked());
	map_wait_start(&wait);
	turn(0);
	assert_int_equal(ndone, 3);
	assert_int_equal(find(&w, "full"), RC_TEMP);
	assert_false(map_asked());
	map_wait_fini(&wait);
	refuses = false;
	/* a value too long for its reader, an empty one, and a key that is too long to ask for */
	char *long_text = calloc(1, REMOTE_KEY_MAX + 2);
	memset(long_text, 'x', REMOTE_KEY_MAX + 1);
	assert_int_equal(find(&w, long_text), RC_TEMP);
	assert_false(map_asked());
	assert_int_equal(find(&w, "large"), RC_TEMP);
	assert_int_equal(find(&w, "empty"), RC_TEMP);
	assert_int_equal(find(&w, "nul"), RC_TEMP);
	assert_int_equal(find(&w, "latin"), RC_TEMP);
	assert_int_equal(find(&w, "k\xff"), RC_NONE); /* smtputf8_enable: no such key */
	map_wait_start(&wait);
	assert_int_equal(ncarried, 6);
	map_remote_answer(carried[4], RC_OK, SPAN("a\0b"));
	map_remote_answer(carried[5], RC_OK, SPAN("caf\xe9"));
	map_remote_answer(carried[2], RC_OK, span_str(long_text));
	map_remote_answer(carried[3], RC_OK, SPAN_EMPTY);
	turn(0);
	assert_int_equal(find(&w, "large"), RC_TEMP);
	assert_int_equal(find(&w, "empty"), RC_TEMP);
	assert_int_equal(find(&w, "nul"), RC_TEMP);
	assert_int_equal(find(&w, "latin"), RC_TEMP);
	assert_non_null(strstr(w.e.why, "not UTF-8"));
	assert_false(map_asked());
	map_wait_fini(&wait);
	free(long_text);
	end(&w);
}

static void
no_process(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct map_wait wait;
	begin(&w, "tcp:127.0.0.1:1");
	map_wait_init(&wait, &owner, on_done);
	/* it dies, and is back in time */
	assert_int_equal(find(&w, "k"), RC_TEMP);
	map_wait_start(&wait);
	map_remote_carrier(NULL);
	map_remote_lost(carried[0]);
	turn(100000);
	assert_int_equal(ndone, 0);
	map_remote_carrier(carry);
	assert_int_equal(ncarried, 2);
	assert_ptr_equal(carried[0], carried[1]);
	/* dies again */
	map_remote_lost(carried[1]);
	turn(0);
	assert_int_equal(ndone, 1);
	assert_int_equal(find(&w, "k"), RC_TEMP);
	assert_false(map_asked());
	map_wait_fini(&wait);
	/* it does not come: not for ever */
	map_remote_carrier(NULL);
	uint64_t before = clock_mono();
	assert_int_equal(find(&w, "other"), RC_TEMP);
	assert_true(map_asked());
	map_wait_start(&wait);
	turn(2500000);
	assert_true(clock_mono() - before < 5 * USEC_PER_SEC);
	assert_int_equal(ndone, 2);
	assert_int_equal(find(&w, "other"), RC_TEMP);
	assert_false(map_asked());
	map_wait_fini(&wait);
	end(&w);
}

/* Answers that somebody holds are bounded together: what is over is "not now", and they go with who held them. */
static void
held(void **state)
{
	(void)state;
	enum { EACH = REMOTE_ANSWER_BYTES / 4 };
	struct world w = { 0 };
	struct map_wait wait;
	struct buf large;
	begin(&w, "tcp:127.0.0.1:1");
	buf_init(&large, EACH);
	memset(buf_reserve(&large, EACH), 'x', EACH);
	buf_commit(&large, EACH);
	map_wait_init(&wait, &owner, on_done);
	int64_t before = metric_values[M_lookup_limit];
	for (unsigned i = 0; i < 5; i++) {
		char key[16];
		snprintf(key, sizeof key, "k%u", i);
		assert_int_equal(find(&w, key), RC_TEMP);
	}
	map_wait_start(&wait);
	assert_int_equal(ncarried, 5);
	for (unsigned i = 0; i < 5; i++)
		map_remote_answer(carried[i], RC_OK, buf_span(&large));
	assert_int_equal(metric_values[M_lookup_limit], before + 1);
	turn(0);
	assert_int_equal(find(&w, "k4"), RC_TEMP);
	assert_false(map_asked());
	assert_non_null(strstr(w.e.why, "still in use"));
	map_wait_fini(&wait);
	buf_fini(&large);
	turn(1100000);
	assert_int_equal(find(&w, "k4"), RC_TEMP); /* asked again */
	assert_true(map_asked());
	end(&w);
}

static void
flights(void **state)
{
	(void)state;
	struct world w = { 0 };
	struct map_wait wait;
	begin(&w, "tcp:127.0.0.1:1");
	map_wait_init(&wait, &owner, on_done);
	map_remote_carrier(NULL); /* all of them wait for a process */
	int64_t before = metric_values[M_lookup_limit];
	for (unsigned i = 0; i <= REMOTE_FLIGHTS_MAX; i++) {
		char key[16];
		snprintf(key, sizeof key, "k%u", i);
		assert_int_equal(find(&w, key), RC_TEMP);
	}
	map_wait_start(&wait);
	assert_int_equal(metric_values[M_lookup_limit], before + 1);
	map_wait_fini(&wait);
	turn(2500000);
	end(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_after_the_other, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(shared, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(failures, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(no_process, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(held, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(flights, confdir_setup, confdir_teardown),
	};
	loop_init(); /* one for all: a process has one, and timers stay with it */
	timer_init(&stop_timer, on_stop);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	loop_fini();
	return failed;
}
