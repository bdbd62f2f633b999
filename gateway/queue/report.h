/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.h - who is told what at the end of an attempt: non-delivery, delay and success reports
 * (RFC 3461; facts 7.7), copies for the postmaster, and the end of loops.
 *
 * A report is a message of its own with the null sender, made durable before the original changes. A
 * message from the null sender never causes a report to its sender; one from the double-bounce address
 * causes none at all.
 */
#ifndef QUEUE_REPORT_H
#define QUEUE_REPORT_H

#include "queue/attempt.h"

/* Starts what is due about the recipients that failed, were relayed, or wait for too long. Each one counts in
 * a->reports until attempt_report_done(). */
void report_start(struct attempt *a);

/* Where mail of our own to an address leads: canonical and aliases, no automatic copies. RC_TEMP: a table could not be asked. RC_PERM:
 * aliases without an end; then *out is the address as it was. */
enum rc report_target(const struct queue *q, struct span to, struct arena *arena, struct envelope *out, struct err *e) MUST_CHECK;

/* The sender is the address that gets double bounces: nothing may be sent back to it. */
bool report_is_double_bounce(const struct queue *q, struct span sender);
/* RFC 3461 4.1 and 6.2: is a report of this kind wanted for a recipient? */
bool report_wanted(uint8_t notify, uint8_t kind);

#endif
