/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inspect_own.h - mail of our own before it is queued: milters look at it (internal_mail_filter_classes, non_smtpd_milters) and change
 * what they like: header, body, sender, recipients. Added recipients and another sender are rewritten as any others. What
 * is refused or thrown away is not sent, and the log says so; what cannot be asked now is tried again with the message it is about.
 */
#ifndef QUEUE_INSPECT_OWN_H
#define QUEUE_INSPECT_OWN_H

#include "msg/envelope.h"
#include "queue/queue.h"

struct attempt;

enum { INTERNAL_BOUNCE = 1, INTERNAL_NOTIFY = 2 };
unsigned inspect_classes(const struct conf *c);  /* which are looked at: bits */
/* true: the report is looked at first; accept_report() of edge.h follows, or attempt_report_done(). Everything is copied. */
bool inspect_report(struct queue *q, struct attempt *parent, uint8_t notice, unsigned mail_class, const struct spool_id *id, const struct envelope *env,
    struct span content);
/* At shutdown: forgotten; the attempts are there still. */
void inspect_fini(struct queue *q);

#endif
