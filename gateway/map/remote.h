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

/* ---- asking ---- */

/* Has a lookup since the last map_wait_start() or map_forget() been put off because its answer is not here yet? */
bool map_asked(void);
/* Room for another question of the same step? Who asks for many things goes on with the next while one has to be waited for, so
 * that the questions leave together, until this is false: others want their share of what is under way, too. */
bool map_asks_more(void);
/* Counts up with every lookup in such a table: who remembers what came of several lookups sees whether he may. */
uint64_t map_remote_lookups(void);
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

/* ---- who carries questions (lookup/asker.h, lookup/direct.h) ---- */

enum {
	REMOTE_KEY_MAX = 8192,       /* longer keys are not asked for: RC_TEMP */
	REMOTE_STEP_MAX = 512,       /* questions of one step: map_asks_more() */
	REMOTE_FLIGHTS_MAX = 4096,   /* questions of one process that are not answered yet; more: RC_TEMP */
	REMOTE_KEPT_MAX = 4096,      /* answers that nobody holds any more; they stay for a second */
	REMOTE_ANSWER_BYTES = 64 * 1024 * 1024, /* of all answers in this process, those that waits hold too; more: RC_TEMP */
	REMOTE_KEPT_BYTES = 4 * 1024 * 1024, /* and of how many bytes */
};

struct map_question;
/* Puts a question on its way; map_remote_answer() or map_remote_lost() follows exactly once, from the loop. false: not now. */
typedef bool map_carrier_fn(struct map_question *q, struct span table, struct span key);
/* NULL: nobody does (any more): questions wait two seconds for the next. */
void map_remote_carrier(map_carrier_fn *carry);
/* The process that had it is gone: it is asked once more, by the next carrier, if that comes soon. Instead of: */
void map_remote_lost(struct map_question *q);
/* text (copied): the value for RC_OK, the reason for RC_TEMP and RC_PERM. */
void map_remote_answer(struct map_question *q, enum rc rc, struct span text);

/* Commands have no lookup process and may wait: fn is asked instead and answers at once. */
typedef enum rc map_direct_fn(struct conf *c, const char *table, struct span key, struct buf *value_out, struct err *e);
void map_remote_direct(map_direct_fn *fn);

/* Names of all such tables in a snapshot, one per line; NULL: none, no lookup process is needed. */
const char *map_remote_tables(const struct conf *c);

/* ---- who may ask ---- */

enum { REMOTE_BY_EDGE = 1, REMOTE_BY_QUEUE = 2, REMOTE_BY_RELAY = 4 };
/* Which roles look up in tables that this parameter (or restriction class) names. */
unsigned map_remote_askers(const char *parameter);
/* Those of all parameters of a snapshot that name the table; 0: none does. */
unsigned map_remote_askers_of(const struct conf *c, const char *table);

#endif
