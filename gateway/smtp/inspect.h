/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inspect.h - milters look at a message that came from no client: mail of our own (non_smtpd_milters,
 * internal_mail_filter_classes) and what was held unscanned. The queue asks (INSPECT) and gives a descriptor to read; the
 * milters hear what Postfix tells them of such mail: a client and HELO "localhost", the envelope, the message (facts 9.1, 9.3).
 * What they want changed goes back with the answer, a changed message into the queue's descriptor, behind the other. Of mail that was held
 * the header alone may change, and the log says so. Runs in: edge.
 */
#ifndef SMTP_INSPECT_H
#define SMTP_INSPECT_H

#include "smtp/edge.h"

enum { INSPECTIONS_MAX = 16 };   /* at once; more are "not now" */

/* The frame of the queue; fd is given. RC_PERM: it is not one. */
enum rc inspect_begin(struct edge *e, struct span payload, int fd) MUST_CHECK;
/* The queue has gone, or the process ends. */
void inspect_end_all(struct edge *e);

#endif
