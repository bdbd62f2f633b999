/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dest.h - transports and destinations: who may be delivered to now, and how much at once. Facts 7.4.
 *
 * A destination is a transport and a next hop (and a recipient, when the transport delivers to one at a
 * time). Its window says how many deliveries may run; it grows with success, shrinks with failure, and
 * after failed_cohort_limit pseudo-cohorts of failures the destination is dead for minimal_backoff_time.
 * A transport with a ready destination stands in the ring of the scheduler; its destinations take turns.
 *
 * Ownership: the set owns both. A destination lives while somebody holds a count on it; idle ones are
 * kept (with their window) up to DEST_IDLE_MAX.
 */
#ifndef QUEUE_DEST_H
#define QUEUE_DEST_H

#include "base/heap.h"
#include "base/htab.h"
#include "base/list.h"
#include "base/span.h"
#include "queue/reason.h"
#include "queue/settings.h"

enum { DEST_IDLE_MAX = 1000 };

/* What a transport does. One row per program in programs.def. */
enum program {
#define PROGRAM(name, command, doc) PROGRAM_##name,
#include "queue/programs.def"
#undef PROGRAM
	PROGRAMS
};

struct transport {
	struct hnode by_name;
	struct list ring;            /* in set->ready */
	struct list ready;           /* destinations that may be given a delivery */
	struct heap_node resume;     /* in set->waiting: rate delay */
	struct transport_settings set;
	enum program program;
	bool deferred;               /* in defer_transports */
	unsigned busy;               /* deliveries under way */
	unsigned probing;            /* probes in relay (verify.c) */
	uint64_t not_before;         /* transport_rate_delay */
	char name[];
};

struct dest {
	struct hnode by_key;
	struct transport *transport;
	struct list groups;          /* of attempts: waiting deliveries (attempt.h) */
	struct list ring;            /* in transport->ready */
	struct list idle;            /* in set->idle */
	struct list parking;         /* in set->parking while parked is not empty */
	struct heap_node resume;     /* in set->waiting: rate delay */
	struct heap parked;          /* messages that wait without being active; each holds us */
	double window, cohorts, success, failure;
	uint64_t dead_until;         /* monotonic; 0: alive */
	uint64_t not_before;         /* destination_rate_delay */
	struct reason *dead_why;
	uint32_t holds, busy;        /* groups and jobs; jobs */
	uint32_t active;             /* messages that have a group here */
	struct list probes;          /* that wait (verify.c) */
	uint32_t probing;            /* probes in relay */
	unsigned home;               /* relay that is asked first */
	uint64_t owner;              /* number of the attempt that looked last, */
	void *group;                 /* and its group: see attempt.c */
	uint32_t nexthop_len, key_len;
	unsigned char key[];         /* nexthop, NUL, transport, NUL, recipient or nothing */
};

struct dest_set {
	struct htab transports, dests;
	struct list ready;           /* transports with ready destinations */
	struct list idle;            /* destinations nobody holds, oldest first */
	struct list parking;         /* destinations with parked messages */
	size_t idle_count;
	struct heap waiting;         /* of rate-delayed transports (is_transport) and destinations */
	struct reason_pool *reasons;
	const struct queue_settings *settings;
	unsigned next_home;
};

void dest_set_init(struct dest_set *s, struct reason_pool *reasons, const struct queue_settings *settings);
void dest_set_fini(struct dest_set *s);

/* Finds or makes. A new one has settings from conf (NULL: defaults) and the program of its service. */
struct transport *transport_get(struct dest_set *s, const struct conf *c, struct span name);
/* After a reload: settings of all transports again. RC_PERM: one is bad; nothing was changed. */
enum rc transports_reload(struct dest_set *s, const struct conf *c, struct err *e) MUST_CHECK;

/* Finds or makes; the caller holds it. recipient is looked at only if the transport wants it. */
struct dest *dest_get(struct dest_set *s, struct transport *t, struct span nexthop, struct span recipient);
void dest_release(struct dest_set *s, struct dest *d);
static inline struct span
dest_nexthop(const struct dest *d)
{
	return span_of(d->key, d->nexthop_len);
}

/* Why nothing may go there now, or NULL. A time of death that is over ends here. */
const struct reason *dest_dead(struct dest_set *s, struct dest *d, uint64_t now);
void dest_revive(struct dest_set *s, struct dest *d);
void dest_revive_all(struct dest_set *s);

/* A delivery begins, ends. update: the ring is right afterwards (call it too when groups changed). */
void dest_begin(struct dest_set *s, struct dest *d, uint64_t now);
void dest_end(struct dest_set *s, struct dest *d, uint64_t now);
void dest_update(struct dest_set *s, struct dest *d, uint64_t now);
/* What a delivery said about the destination. dest_failed returns true when it is dead now. */
void dest_worked(struct dest_set *s, struct dest *d);
bool dest_failed(struct dest_set *s, struct dest *d, uint64_t now, struct reason *why);

/* Next destination to be served, or NULL; takes turns. */
struct dest *dest_next(struct dest_set *s);
/* Lets rate-delayed ones run again; returns when the next is due, UINT64_MAX: none. */
uint64_t dest_resume(struct dest_set *s, uint64_t now);

#endif
