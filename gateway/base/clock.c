/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"

#include <time.h>

static int64_t wall_offset;

static uint64_t
read_clock(clockid_t id)
{
	struct timespec ts;
	if (clock_gettime(id, &ts) != 0)
		BUG("clock_gettime");
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t
clock_mono(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t
clock_wall(void)
{
	return read_clock(CLOCK_REALTIME) + (uint64_t)wall_offset;
}

void
clock_wall_offset(int64_t usec)
{
	wall_offset = usec;
}
