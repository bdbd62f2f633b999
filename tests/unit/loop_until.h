/* SPDX-License-Identifier: BSD-2-Clause */
/* loop_until.h - turns of the loop for a test: until operations are done, or for a while. Nothing for LOOP_GUARD: the program ends. */
#ifndef TESTS_UNIT_LOOP_UNTIL_H
#define TESTS_UNIT_LOOP_UNTIL_H

#include "loop/loop.h"
#include "loop/op.h"

#include <stdio.h>
#include <unistd.h>

#define LOOP_GUARD (UINT64_C(30) * 1000 * 1000)

static unsigned loop_done, loop_stop_at;

/* What operations say that a test waits for. */
static inline void
loop_on_done(struct op *op)
{
	(void)op;
	if (++loop_done == loop_stop_at)
		loop_stop();
}

static inline void
loop_on_guard(struct timer *t)
{
	(void)t;
	fprintf(stderr, "nothing happened for 30 seconds\n");
	_exit(1);
}

static inline void
loop_on_pause(struct timer *t)
{
	(void)t;
	loop_stop();
}

static inline void
loop_run_with(timer_fn *ends, uint64_t usec)
{
	struct timer t;
	timer_init(&t, ends);
	timer_set(&t, usec);
	loop_run();
	timer_clear(&t);
}

/* Until n more are done. */
static inline void
loop_until(unsigned n)
{
	loop_stop_at = loop_done + n;
	loop_run_with(loop_on_guard, LOOP_GUARD);
}

/* Whatever is done meanwhile. */
static inline UNUSED void
loop_for(uint64_t usec)
{
	loop_stop_at = loop_done;
	loop_run_with(loop_on_pause, usec);
}

#endif
