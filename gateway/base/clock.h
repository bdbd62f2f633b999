/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clock.h - the only source of time. Microseconds everywhere.
 *
 * Monotonic time is for timers and durations, wall time for queue ids, ages and dates. Tests that
 * need to steer time set the offset.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/base.h"

#define USEC_PER_SEC UINT64_C(1000000)

uint64_t clock_mono(void);   /* since some point in the past; never goes back */
uint64_t clock_wall(void);   /* since 1970, UTC; may jump */
void clock_wall_offset(int64_t usec); /* tests: added to clock_wall() */

#endif
