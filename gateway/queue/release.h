/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * release.h - the inside of quarantine.h's way out: what one release does, step by step, and what a crash left of it.
 */
#ifndef QUEUE_RELEASE_H
#define QUEUE_RELEASE_H

#include "queue/quarantine.h"

#define RELEASE_CLIENT "quarantine["  /* and the id it was held as, and "]": the client of a copy's envelope */

bool release_idle(const struct queue *q);
void release_abandon(struct queue *q);
void orders_abandon(struct queue *q);    /* quarantine_orders.c */

/* After queue_recover(): copies that it found without a state, and releases that were under way (mend.c). */
void mend_start(struct queue *q);
void mend_stop(struct queue *q);

/* What stands in front of the content of a copy, and behind it (wrap.c). */
struct wrap {
	struct span qid;             /* of the copy */
	const char *myhostname, *mail_name, *myorigin;
	struct span from_id;         /* it was held as */
	uint64_t now;
	/* as an attachment only */
	struct span to, subject, reason, class; /* to: empty: not for the others to know */
	bool is_8bit, is_utf8;
};
/* One Received line. */
void wrap_received(struct buf *front, const struct wrap *w);
/* A message of its own that has the other one attached. */
void wrap_attach(struct buf *front, struct buf *back, const struct wrap *w);

#endif
