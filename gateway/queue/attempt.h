/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attempt.h - one try of one message: its recipients are routed, grouped by destination, delivered, and
 * what is left at the end is told to the sender or waits for the next attempt.
 *
 *	attempt_begin -> groups in the queues of destinations -> jobs in relay (relay.h) -> results
 *	-> no group and no job is left -> reports, if any, are made durable -> done, deferred, or held
 *
 * An attempt lives as long as its message is active and owns its groups and jobs (one arena).
 */
#ifndef QUEUE_ATTEMPT_H
#define QUEUE_ATTEMPT_H

#include "base/arena.h"
#include "ipc/msgs.h"
#include "map/remote.h"
#include "queue/queue.h"

/* What an administrator wants as soon as nothing of it is in relay. */
enum attempt_order { ORDER_NONE = 0, ORDER_DELETE, ORDER_HOLD, ORDER_REQUEUE };

struct attempt {
	unsigned magic;
	struct queue *q;
	struct message *m;
	struct list link;                /* in q->attempts */
	struct arena arena;
	struct envelope env;
	uint64_t number;
	uint64_t active;                 /* wall clock when it began */
	uint32_t *next;                  /* chains of recipients, NO_RCPT ends one */
	struct list groups;
	struct map_wait maps;            /* tables of other processes that routing asks */
	struct op_owner ops;
	uint32_t unrouted;               /* chain of recipients whose route is not known yet, NO_RCPT: none */
	uint32_t to_store;               /* chain of recipients that go into the quarantine, NO_RCPT: none */
	struct held *held;               /* quarantine.c; NULL: not read yet */
	struct span held_text;           /* "class: reason" */
	uint32_t jobs;                   /* in relay, or on their way into the quarantine */
	uint32_t reports;                /* on their way to the disk */
	uint8_t order;                   /* enum attempt_order */
	bool in_begin;                   /* still routing: the end comes later */
	bool ending;
	bool changed;                    /* the state record is out of date */
	bool warned;                     /* a delay notice belongs to its reports */
	bool reports_failed;             /* the spool did not take one */
	bool ignore_defer;               /* flushed by an administrator: defer_transports does not count */
	struct map_wait report_maps;     /* tables that say where reports go */
	uint32_t finished;               /* recipients that ended well in this attempt, not yet in a state record */
};

enum { NO_RCPT = UINT32_MAX };

/* Recipients of one message for one destination that are not in relay. */
struct group {
	struct list link;                /* in dest->groups, q->suspects or q->dying */
	struct list by_attempt;
	struct attempt *a;
	struct dest *dest;
	uint32_t first, last, n;         /* chain in a->next */
};

/* The message must be in no heap. It may be gone on return (all recipients failed at once, ...). */
void attempt_begin(struct queue *q, struct message *m);

/* The machine itself is the best mail exchanger of a recipient that came to via: best_mx_transport takes it, or, where that
 * would come to the same end, it waits. */
void attempt_ours(struct attempt *a, uint32_t rcpt, const struct transport *via);
/* Results, from relay.c and from here. text as in the log. */
void attempt_sent(struct attempt *a, uint32_t rcpt, enum program by, const struct rcpt_result *r);
void attempt_deferred(struct attempt *a, uint32_t rcpt, struct reason *why);    /* takes the reference */
void attempt_bounced(struct attempt *a, uint32_t rcpt, struct reason *why);     /* takes the reference */
void attempt_failed(struct attempt *a, uint32_t rcpt, struct reason *why);      /* the same, whatever soft_bounce says */
/* It is dealt with, nobody is to be told. */
void attempt_kept(struct attempt *a, uint32_t rcpt);
/* Ends the attempt if nothing is left to wait for; a may be gone on return. */
void attempt_check(struct attempt *a);
/* A report is durable, or not. */
void attempt_report_done(struct attempt *a, bool ok);

/* Takes its waiting groups back and does what is ordered when the jobs have come back; a may be gone. */
void attempt_stop(struct attempt *a, enum attempt_order order);
/* A group's recipients are deferred with the reason of its dead destination; its attempt may be gone. */
void group_suspend(struct group *g, const struct reason *dead);
/* The group has no recipients any more (they are in jobs, or decided). */
void group_free(struct group *g);
/* At shutdown: forgets it; the message stays as it is on disk. */
void attempt_abandon(struct attempt *a);

/* A log line about a recipient, by a transport that is handled in this process. */
void attempt_log(const struct attempt *a, uint32_t rcpt, const char *service, struct span dsn, const char *status, struct span text);

#endif
