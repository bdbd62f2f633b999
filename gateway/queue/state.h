/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * state.h - what the spool keeps about a message besides envelope and content: which recipients are
 * finished, why the others wait, when the next attempt is due, how often a relay died with it.
 *
 * The encoding has a version byte in front; what cannot be read is as if it were not there (the message
 * is tried again: a duplicate is better than a loss).
 */
#ifndef QUEUE_STATE_H
#define QUEUE_STATE_H

#include "queue/message.h"

struct state_head {
	uint64_t next_attempt;   /* wall clock */
	uint8_t flags;           /* MF_DURABLE */
	uint8_t strikes;
	bool held, tried;        /* on hold; at least one attempt has ended */
};

void state_put(struct buf *out, const struct state_head *h, struct message *m);
/* Fills head_out, and m's statuses and reasons. RC_PERM: not a state of this message; m is unchanged. */
enum rc state_get(struct span in, struct state_head *head_out, struct message_table *t, struct message *m) MUST_CHECK;

#endif
