/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * edge.h - the edge processes: new messages, drafts for large ones, and what they are told about room.
 *
 * An edge may have been taken over: everything it sends is checked before it reaches the spool or a log.
 * accept_message() is the one way into the queue, for edges and for our own reports.
 */
#ifndef QUEUE_EDGE_H
#define QUEUE_EDGE_H

#include "queue/queue.h"

struct edge {
	struct list link;            /* in q->edges */
	struct queue *q;
	struct ipc_chan *chan;
	unsigned index;
	struct edge_draft {
		uint64_t draft, call;    /* the call that asked for it */
	} *drafts;                   /* open for it */
	size_t ndrafts, cap_drafts;
	unsigned nverifying;         /* of its VERIFY calls wait for a probe; at most edge_session_limit */
};

enum { DRAFTS_MAX = 4096 };      /* of one edge */

/* Who waits for a message of our own to be durable. */
struct accept_wait {
	struct op op;                /* RC_OK: it is; anything else: it is not there */
	struct accepting *acc;
};

/* One message on its way to the disk. */
struct accepting {
	struct list link;            /* in q->accepting */
	struct queue *q;
	struct op op;
	struct message *m;
	struct edge *edge;           /* to be answered; NULL when it went away, or for a report */
	uint64_t call;
	struct accept_wait *waiter;  /* message of our own; NULL: nobody */
	struct attempt *parent;      /* report: the attempt that waits for it; NULL when it went away */
	bool hold;
	uint8_t notice;              /* report: enum record_notice + 1; 0: none */
	struct spool_id original;
};

void edge_peer(struct queue *q, unsigned index, int fd);
void edge_fini(struct queue *q);
/* What can be taken changed: told to all. */
void edge_admission(struct queue *q);

/* Is it an envelope the queue can live with? RC_PERM with the reason. */
enum rc envelope_check(const struct envelope *env, struct err *e) MUST_CHECK;
/* Content of our own: durable or not, attempt_report_done() of the parent hears it. */
void accept_report(struct queue *q, struct attempt *parent, uint8_t notice, const struct spool_id *id, const struct envelope *env,
    struct span content);
/* The same for what is no report: a notice. w: NULL, or initialised (op_init); cancelling it leaves the message on its way. */
void accept_own(struct queue *q, const struct spool_id *id, const struct envelope *env, struct span content, struct accept_wait *w);
/* At shutdown, or when the attempt is abandoned. */
void accepting_fini(struct queue *q);

#endif
