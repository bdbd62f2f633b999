/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * remote.h - tables that are not here: sqlite, tcp, socketmap (the lookup role asks them).
 *
 * Asking such a table never blocks. map_find() looks into what this process has been told; when the answer is not
 * there it notes the question and says RC_TEMP, and map_asked() tells that apart from a table that failed. Who can
 * wait then starts a map_wait and does the whole step again when it is done: the same lookups now find their answers.
 * A step that may be done again must have no effects before its last lookup.
 *
 *	rc = rewrite_rcpt(...);
 *	if (rc == RC_TEMP && map_asked()) { map_wait_start(&s->maps); return STEP_WAIT; }    and on done(): the same step
 *
 * Answers that somebody waited for stay until his map_wait_fini(), so a step always comes to its end; others for a
 * moment. No answer in time, or no lookup process: RC_TEMP that map_asked() is false for. Runs in: edge, queue, relay.
 */
#ifndef MAP_REMOTE_H
#define MAP_REMOTE_H

#include "loop/op.h"
#include "map/map.h"

/* Has a lookup since the last map_wait_start() or map_forget() been put off because its answer is not here yet? */
bool map_asked(void);
/* Forgets what was noted, for those who do not wait: begin a step that can wait with it. */
void map_forget(void);

struct map_wait {
	struct op op;                /* RC_OK: all answers are here (some may be "could not") */
	struct list questions;       /* private: what it keeps alive */
	size_t left;
};
void map_wait_init(struct map_wait *w, struct op_owner *owner, op_fn *done);
/* Waits for all noted questions; may be started again for the next ones while the answers of before stay. */
void map_wait_start(struct map_wait *w);
/* Cancels, lets the answers go. Idempotent; fine on zeroed memory. */
void map_wait_fini(struct map_wait *w);

#endif
