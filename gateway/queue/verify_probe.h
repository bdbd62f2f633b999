/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_probe.h - one address that is being probed, and who waits for it; beside verify.h, which has questions and the memory.
 *
 * A probe is rewritten and routed as a message would be, waits for its turn at the destination, goes to a relay and ends with what that
 * says. The verifier owns its probes, a probe the edges' calls that wait for it. A probe that is over is remembered, all who wait
 * are told, and it is gone: a pointer to one is good until the loop goes on, or probe_route().
 */
#ifndef QUEUE_VERIFY_PROBE_H
#define QUEUE_VERIFY_PROBE_H

#include "base/arena.h"
#include "map/remote.h"
#include "queue/queue.h"
#include "queue/verify_cache.h"

enum { VERIFY_ADDRESS_MAX = 1024 };      /* octets */

struct edge;

struct verifier {
	struct queue *q;
	struct verify_cache cache;
	struct htab by_addr, by_job;
	struct list probes;              /* all */
	size_t count;
	struct timer sweep;
	uint64_t warned;                 /* loop time */
};

struct probe {
	unsigned magic;
	struct verifier *v;
	struct hnode by_addr, by_job;
	struct list link;                /* of all */
	struct list queued;              /* in dest->probes */
	struct list waiters;
	struct op_owner ops;
	struct map_wait maps;
	struct timer unsent;
	struct arena arena;
	struct span addr;                /* as asked */
	struct span from;                /* whose question it is, before anything is rewritten */
	struct span sender, rcpt;        /* as it is sent */
	struct spool_id id;              /* for the log */
	uint64_t begun, active;          /* wall clock */
	struct dest *dest;               /* held; NULL: not routed yet */
	struct relay *relay;             /* has it; NULL: none */
	uint64_t job;
	unsigned tries;
};

/* What an edge hears to its question; text is for a failure alone. */
void verify_answer(struct edge *ed, uint64_t call, enum verify_status status, bool foreign, struct span text);

/* NULL: there are too many. It is not routed yet: it could be over before its first waiter is there. */
struct probe *probe_new(struct verifier *v, struct span addr);
/* NULL: none is under way. */
struct probe *probe_find(const struct verifier *v, struct span addr);
/* The call is answered when the probe is over, or "not yet" after usec. */
void probe_await(struct probe *p, struct edge *ed, uint64_t call, uint64_t usec);
/* May end the probe. */
void probe_route(struct probe *p);
/* Without an answer to anybody. */
void probe_free(struct probe *p);

#endif
