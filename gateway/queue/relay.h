/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * relay.h - the relay processes: jobs go out, results come back, and what a dead relay had is taken back.
 *
 * A job is some recipients of one group, in one relay. Its number is all the relay knows; results for a
 * number or a recipient it does not have mean that the relay has gone mad.
 */
#ifndef QUEUE_RELAY_H
#define QUEUE_RELAY_H

#include "base/clock.h"
#include "queue/attempt.h"

enum {
	RELAY_UNSENT_MAX = 4 * 1024 * 1024,   /* bytes waiting for a relay: then it gets no more jobs */
	JOB_BYTES_MAX = 512 * 1024,           /* of recipients in one job: a frame must hold them */
	STRIKES_MAX = 3,                      /* relays that may die with a message before it is held */
};

#define SUSPECT_ALONE (10 * USEC_PER_SEC) /* so long a suspect has the relays for itself */

struct relay {
	struct list link;            /* in q->relays */
	struct queue *q;
	struct ipc_chan *chan;
	unsigned index;
	struct list jobs;
	unsigned njobs;
	uint64_t *segments;          /* it has a descriptor of these, ascending */
	size_t nsegments, cap_segments;
};

struct job {
	struct hnode by_id;
	struct list by_relay;
	uint64_t id;
	struct attempt *a;
	struct dest *dest;
	struct relay *relay;
	uint32_t n, answered;
	bool suspect;
	uint32_t *rcpt;              /* NO_RCPT where the result has come */
};

/* A channel to a relay; replaces one with the same index. fd is given. */
void relay_peer(struct queue *q, unsigned index, int fd);
/* Gone, and its jobs are taken back. crashed: they count as a strike. */
void relay_gone(struct relay *r, bool crashed);
void relay_fini(struct queue *q);
void relay_segment_gone(struct queue *q, uint64_t segment);

bool relay_any(const struct queue *q);                             /* one takes jobs */
struct relay *relay_choose(struct queue *q, struct dest *d);       /* when relay_any() */
/* As many recipients of the group as go into one job. NULL: they could not be sent. The group, and without a job its
 * attempt, may be gone on return. */
struct job *relay_send(struct queue *q, struct relay *r, struct group *g);
/* The next group of a message that two relays died with, if none of them is in a relay now. */
void relay_suspects(struct queue *q);

#endif
