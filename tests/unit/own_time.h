/* SPDX-License-Identifier: BSD-2-Clause */
/* own_time.h - how long a thing took, on a machine that has other things to do. For what may not take long; what has to be waited for is clock_mono(). */
#ifndef TESTS_UNIT_OWN_TIME_H
#define TESTS_UNIT_OWN_TIME_H

#include "base/clock.h"

#include <stdio.h>

/* clock_mono() without the time that this thread was ready to run while others ran, in microseconds. Without that where the kernel does not say. */
static inline uint64_t
own_time(void)
{
	unsigned long long ran = 0, waited = 0;
	FILE *f = fopen("/proc/thread-self/schedstat", "re");
	if (f != NULL) {
		if (fscanf(f, "%llu %llu", &ran, &waited) != 2)
			waited = 0;
		fclose(f);
	}
	return clock_mono() - waited / 1000;
}

#endif
