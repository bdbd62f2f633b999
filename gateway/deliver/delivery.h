/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * delivery.h - one job on its way: which address next, until every recipient is decided (facts 5.5).
 *
 * Next hops in order, then smtp_fallback_relay; for each the addresses target.c found. A session at rest
 * is used first. A connect or handshake failure and a temporary refusal go to the next address, while
 * there is one; a refusal for good is final; a connection lost after the end of data defers, and no other
 * host is tried for it.
 */
#ifndef DELIVER_DELIVERY_H
#define DELIVER_DELIVERY_H

#include "deliver/outdest.h"
#include "deliver/segments.h"

struct relay {                       /* what deliveries share; the role owns it */
	struct outdests dests;
	struct segments segments;
	struct own own;
	struct list deliveries;
	void (*idle)(struct relay *);    /* the last delivery is over; may be NULL */
};

/* j is given. Starts at once. */
void delivery_start(struct relay *r, struct conf *conf, struct job *j);
/* The channel to queue is gone: nobody wants the results. Transactions under way are aborted. */
void deliveries_abort(struct relay *r);

#endif
