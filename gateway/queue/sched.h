/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sched.h - when a message is tried, and the turn of the scheduler.
 *
 * Waiting messages stand in heaps: the cost of a turn does not depend on how many wait. Whoever is
 * called by the loop (a frame, a commit, a timer, a request) ends with sched_poke(); nothing below
 * calls it. Long work is done in slices, so that a queue of 100,000 never holds the loop.
 */
#ifndef QUEUE_SCHED_H
#define QUEUE_SCHED_H

#include "queue/queue.h"

void sched_init(struct queue *q);
void sched_fini(struct queue *q);

/* Fills free places with messages that are due, gives deliveries to relays, sets the timer. */
void sched_poke(struct queue *q);
/* No timers of its own any more. */
void sched_stop(struct queue *q);

/* A message that was never tried; its turn comes at once if there is a place. */
void sched_new(struct queue *q, struct message *m);
/* Tried again after delay; state: the spool's record is out of date. */
void sched_defer(struct queue *q, struct message *m, uint64_t delay, bool state);
/* As recovery found it: due at a wall clock time; late ones are spread over ramp. */
void sched_recovered(struct queue *q, struct message *m, uint64_t due_wall, uint64_t ramp);
void sched_hold(struct queue *q, struct message *m);
void sched_requeue(struct queue *q, struct message *m);  /* reasons are forgotten; due at once */
/* Done with it: recorded, freed. */
void sched_finish(struct queue *q, struct message *m);
/* A waiting message becomes due now, as by "flush". */
void sched_flush(struct queue *q, struct message *m);
/* All of them; dead destinations are forgotten. */
void sched_flush_all(struct queue *q);
/* A message for one destination that has more than its share of the active ones already waits beside it, in no
 * attempt: one slow hub must not take the places of all others. true: it waits there. */
bool sched_park(struct queue *q, struct message *m);
/* Out of its heap, for whoever does something else with it. */
void sched_take(struct queue *q, struct message *m);

/* The age, between minimal and maximal backoff, with a little jitter. */
uint64_t sched_backoff(const struct queue *q, const struct message *m);
uint64_t backoff_clamp(uint64_t age, uint64_t minimal, uint64_t maximal);
/* Not soon after the clock jumped: one wrong clock must not return all mail. */
bool sched_may_expire(const struct queue *q);
/* The same after a restart: the spool was last written so long ago (or under another clock). */
void sched_was_away(struct queue *q, uint64_t usec);
/* When it will be tried next, wall clock; 0: not waiting. */
uint64_t sched_next_attempt(const struct queue *q, const struct message *m);

/* Writes the state record. */
void sched_write_state(struct queue *q, struct message *m);
void sched_state_head(const struct queue *q, const struct message *m, struct buf *out);

/* Route of a recipient of an envelope, as the configuration in force says: to its content filter first. */
void queue_route(struct queue *q, const struct envelope *env, uint32_t rcpt, struct route *out);

/* All groups of a dead destination will be deferred in the next slices. */
void sched_dying(struct queue *q, struct dest *d);

#endif
