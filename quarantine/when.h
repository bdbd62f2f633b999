/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * when.h - points in time as an administrator writes them: "2d", "90m", "today", "2026-11-20", "2026-11-20T10:00Z".
 *
 *   N and s, m, h, d or w      that long before now
 *   today, yesterday           a day
 *   YYYY-MM-DD                 a day
 *   YYYY-MM-DDTHH:MM[:SS]      local time; Z or +HH:MM, -HH:MM behind it: in that zone. A space may stand for the T
 *   @SECONDS                   since 1970
 *
 * A day is its beginning, or as the end of a span of time the beginning of the next. Local means the time zone of the
 * process, so this runs in commands only. Wall clock, microseconds since 1970.
 */
#ifndef QUARANTINE_WHEN_H
#define QUARANTINE_WHEN_H

#include "base/span.h"

/* RC_PERM: none of these, or no such day. */
enum rc when_parse(struct span text, uint64_t now, bool is_end, uint64_t *out) MUST_CHECK;

#endif
