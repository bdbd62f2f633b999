/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue_expect.h - what a test of the way through the queue waits for, and relays that always say the same.
 * For queue_world.h.
 */
#ifndef TESTS_UNIT_QUEUE_EXPECT_H
#define TESTS_UNIT_QUEUE_EXPECT_H

#include "queue_world.h"

static unsigned want_jobs, want_submitted;

static inline bool UNUSED
empty(void)
{
	return w.submitted >= want_submitted && w.q.table.count == 0;
}

static inline bool UNUSED
jobs_came(void)
{
	return w.njobs >= want_jobs;
}

static inline bool UNUSED
all_submitted(void)
{
	return w.submitted >= want_submitted;
}

static inline bool UNUSED
nothing_active(void)
{
	return w.submitted >= want_submitted && w.q.active == 0 && w.q.incoming.count == 0 && w.q.flushed.count == 0 &&
	    w.q.table.in_queue[MQ_NONE] == 0;
}

static inline void UNUSED
expect(unsigned submitted)
{
	want_submitted = w.submitted + submitted;
}

static inline enum act UNUSED
defer_all(const struct got_job *j)
{
	(void)j;
	return ACT_DEFER;
}

static inline enum act UNUSED
bounce_hub(const struct got_job *j)
{
	return strcmp(j->nexthop, "hub.test") == 0 ? ACT_BOUNCE : ACT_SEND;
}

#endif
