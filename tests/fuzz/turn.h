/* SPDX-License-Identifier: BSD-2-Clause */
/* turn.h - one turn of the loop for a harness, without waiting. */
#ifndef TESTS_FUZZ_TURN_H
#define TESTS_FUZZ_TURN_H

#include "loop/loop.h"

static inline void
turn_stop(struct timer *t)
{
	(void)t;
	loop_stop();
}

static inline void
turn_once(void)
{
	static struct timer t;
	if (t.fn == NULL)
		timer_init(&t, turn_stop);
	timer_set(&t, 0);
	loop_run();
}

#endif
