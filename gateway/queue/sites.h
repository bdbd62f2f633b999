/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sites.h - the mail of a site is tried now because somebody there asked for it (ETRN). The edge has checked that the
 * site may ask.
 *
 * One walk over the queue per site at a time, in slices. Who asks again while it runs, or soon after, is told that it
 * has begun, and no second walk is made: asking is cheap for whoever asks and must be cheap for us.
 */
#ifndef QUEUE_SITES_H
#define QUEUE_SITES_H

#include "queue/queue.h"

enum { SITES_MAX = 32, SITE_REST_USEC = 10 * 1000 * 1000 };

/* false: too many are at it. */
bool sites_flush(struct queue *q, struct span domain);
void sites_fini(struct queue *q);

#endif
