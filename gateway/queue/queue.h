/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue.h - the queue role: one process that owns the spool and decides what is delivered when.
 *
 * Reading order: message.h (the table), dest.h (destinations), attempt.h (one try of one message),
 * sched.h (what is tried next), relay.h (deliveries), edge.h (new mail), report.h (what senders are
 * told), requests.h (administrators). Runs in: queue. One struct queue per process; everything hangs
 * on it, so a test can make its own.
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "ipc/child.h"
#include "queue/dest.h"
#include "queue/greylist.h"
#include "queue/passes.h"
#include "queue/quarantine.h"
#include "queue/message.h"
#include "queue/route.h"
#include "queue/settings.h"
#include "spool/spool.h"

extern const struct role_ops queue_role;

struct relay;
struct verifier;

struct queue {
	struct child *child;             /* NULL in a unit test */
	struct conf *conf;               /* reference; NULL in a unit test */
	struct queue_settings set;
	struct spool *spool;
	struct message_table table;
	struct dest_set dests;
	struct router *router;           /* NULL: everything goes to smtp, next hop = domain (unit tests) */

	/* sched.c */
	struct heap incoming;            /* by order of arrival */
	struct heap deferred;            /* by time of the next attempt, monotonic */
	struct heap flushed;             /* due by an administrator's word */
	struct timer timer;
	uint64_t timer_at;               /* monotonic; what the timer is set to */
	uint64_t next_seq;
	bool turn_of_deferred;           /* whose turn it is when a place is free */
	uint64_t clog_warned;            /* monotonic */
	struct list dying;               /* groups of dead destinations: deferred in slices */
	struct list suspects;            /* groups of messages that two relays died with: one at a time */
	uint32_t suspect_jobs;
	uint64_t suspect_since;          /* monotonic: when the newest of them went to a relay */
	uint64_t no_expiry_until;        /* monotonic: after a jump of the clock */
	int64_t wall_ahead;              /* wall clock minus monotonic when last looked */

	/* attempt.c */
	uint32_t active;                 /* attempts that exist */
	uint64_t next_attempt;
	struct list attempts;

	/* relay.c */
	struct list relays;
	struct htab jobs;                /* by number */
	uint64_t next_job;

	/* edge.c, report.c */
	struct list edges;
	struct list accepting;           /* messages on their way to the disk */
	struct list inspections, looked_at; /* inspect.c */
	uint64_t next_inspection;
	struct op_owner ops;

	struct notices *notices;         /* notices.c; NULL: nobody is told */
	struct verifier *verify;         /* verify.c; NULL: nobody can ask */

	/* requests.c, quarantine_ask.c: to administrators */
	struct list answers;

	/* greylist.c */
	struct greylist greylist;

	/* passes.c */
	struct passes passes;

	/* quarantine.c, release.c, mend.c */
	struct quarantine quarantine;
	struct rescan *rescan;           /* rescan.c; NULL: there is no virus filter */

	/* sites.c */
	struct list sites;

	bool draining;
};

/* The parts of the role, for queue_role and for tests that bring their own spool directory. */
void queue_init(struct queue *q, const struct queue_settings *set);
enum rc queue_open_spool(struct queue *q, const struct spool_settings *s, struct err *e) MUST_CHECK;
enum rc queue_recover(struct queue *q, struct err *e) MUST_CHECK;
void queue_peer(struct queue *q, enum role peer, unsigned index, int fd);
void queue_drain(struct queue *q);
bool queue_idle(const struct queue *q);          /* nothing under way */
void queue_fini(struct queue *q);                /* closes everything; the spool is left in order */

#endif
