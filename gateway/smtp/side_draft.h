/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * side_draft.h - one more draft of a transaction: a body that a milter replaces, the changed content of a large message.
 *
 * Embedded in its owner, who begins it (all zero: there is none), waits for op, and gives it back with side_draft_drop(), in any
 * state, unless it became the message's own (side_draft_take()).
 */
#ifndef SMTP_SIDE_DRAFT_H
#define SMTP_SIDE_DRAFT_H

#include "smtp/edge.h"

struct side_draft {
	struct edge *edge;
	struct ipc_call *call;       /* being asked for; else NULL */
	uint64_t number;             /* 0: none */
	unsigned generation;         /* of the queue that gave it */
	int fd;                      /* with number; -1: taken */
	bool was_full;               /* there was none for want of space */
};

/* done(op) comes from the loop. RC_TEMP: there is no queue. */
enum rc side_draft_ask(struct side_draft *d, struct edge *edge, struct op_owner *owner, op_fn *done) MUST_CHECK;
/* In done(), or later: RC_OK: number and fd are there. */
enum rc side_draft_got(struct side_draft *d) MUST_CHECK;
bool side_draft_is_lost(const struct side_draft *d); /* its queue process is gone */
/* It is the caller's now: number and descriptor. */
uint64_t side_draft_take(struct side_draft *d);
/* Idempotent. */
void side_draft_drop(struct side_draft *d);

#endif
