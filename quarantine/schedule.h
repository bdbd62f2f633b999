/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * schedule.h - when digests are sent: times of day ("07:00, 13:30"), or a span of time ("4h") counted from local midnight. Pure but
 * for the time zone of the process.
 */
#ifndef QUARANTINE_SCHEDULE_H
#define QUARANTINE_SCHEDULE_H

#include "base/span.h"

enum { SCHEDULE_TIMES_MAX = 48 };

struct schedule {
	unsigned ntimes;
	uint16_t minute[SCHEDULE_TIMES_MAX];     /* of the day, ascending */
};

/* RC_PERM with the reason: no time, too many, or a span of less than half an hour or more than a day. Empty: never. */
enum rc schedule_parse(struct span text, struct schedule *out, struct err *e) MUST_CHECK;
/* The first moment after now (wall clock, usec). 0: never. */
uint64_t schedule_next(const struct schedule *s, uint64_t now);

#endif
