/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * message.h - the table of messages in the queue: one compact object each, found by queue id through the
 * spool.
 *
 * A message is one allocation: the spool's part, its place in the schedule, and behind it what the
 * envelope says (as it was encoded) and one status and one reason per recipient. What a delivery needs
 * besides is an attempt (attempt.h) and lives only as long as the message is active.
 *
 * Ownership: the table owns all messages. message_free() moves every walker that stands on it.
 */
#ifndef QUEUE_MESSAGE_H
#define QUEUE_MESSAGE_H

#include "base/heap.h"
#include "base/list.h"
#include "msg/envelope.h"
#include "queue/reason.h"
#include "spool/spool.h"

enum message_queue { MQ_NONE = 0, MQ_INCOMING, MQ_ACTIVE, MQ_DEFERRED, MQ_HOLD, MQ_QUEUES };
const char *message_queue_name(enum message_queue q);    /* as postqueue -j says it */
enum message_queue message_queue_of(struct span name);   /* MQ_NONE: no such queue */

/* What has become of a recipient. */
enum rcpt_state {
	RS_OPEN = 0,             /* to be tried (again) */
	RS_FAILED,               /* failed for good; the sender has not been told yet */
	RS_RELAYED,              /* passed on to a system that sends no reports; a success report is due */
	RS_FINISHED,             /* nothing more to do */
	RS_DELIVERED,            /* as RS_RELAYED, into a mailbox (LMTP) */
	RS_STATES
};

enum {                           /* flags of a message */
	MF_FORCE_EXPIRE = 1,     /* by an administrator */
	MF_DELAY_WARNED = 2,
	MF_HAS_STATE = 4,        /* the spool has a state record */
	/* in memory only */
	MF_FLUSHED = 64,         /* its place is in the heap of flushed messages; in the attempt: try deferred transports too */
	MF_PARKED = 128,         /* its place is in the heap of its destination */
};
enum { MF_DURABLE = MF_FORCE_EXPIRE | MF_DELAY_WARNED };

struct attempt;
struct dest;

struct message {
	struct spool_msg spool;          /* id, place and length of the content */
	struct list all;                 /* in the table, in order of acceptance */
	struct heap_node due;            /* key: monotonic time of the next attempt, or the order of arrival */
	union {
		struct attempt *attempt; /* MQ_ACTIVE */
		struct dest *parked_at;  /* MF_PARKED */
	};
	uint64_t arrival;                /* wall clock */
	uint32_t nrcpt, open;            /* recipients; those in RS_OPEN */
	uint32_t env_len;
	uint8_t queue;                   /* enum message_queue */
	uint8_t strikes;                 /* relays that died with it */
	uint8_t flags;                   /* MF_* */
	struct reason *why[];            /* nrcpt; then the status bytes, then the envelope */
};

struct message_walker {
	struct list link;
	struct message *at;              /* next to be looked at; NULL at the end */
	size_t left;                     /* messages that came later are not visited */
};

struct message_table {
	struct list all, walkers;
	size_t count, in_queue[MQ_QUEUES];
	struct reason_pool reasons;
};

void message_table_init(struct message_table *t);
void message_table_fini(struct message_table *t);        /* frees all messages */

/* envelope is the encoding; env what it says. */
struct message *message_new(struct message_table *t, const struct envelope *env, struct span encoded);
void message_free(struct message_table *t, struct message **mp);

/* Two relays died with it: the next one gets it alone. After one it is most likely innocent. */
static inline bool
message_is_suspect(const struct message *m)
{
	return m->strikes >= 2;
}

static inline uint8_t *
message_status(struct message *m)
{
	return (uint8_t *)(m->why + m->nrcpt);
}

static inline struct span
message_envelope(const struct message *m)
{
	return span_of((const unsigned char *)(m->why + m->nrcpt) + m->nrcpt, m->env_len);
}

/* Decodes the envelope again; spans point into the message. */
void message_decode(const struct message *m, struct arena *a, struct envelope *out);
void message_set_queue(struct message_table *t, struct message *m, enum message_queue q);
/* New status of a recipient; keeps the count of open ones. */
void message_set_status(struct message *m, uint32_t rcpt, enum rcpt_state s);
/* New reason; takes the caller's reference. */
void message_set_why(struct message_table *t, struct message *m, uint32_t rcpt, struct reason *why);

/* Walks all messages in order of acceptance; any may be freed between two steps. */
void message_walk(struct message_table *t, struct message_walker *w);
struct message *message_next(struct message_table *t, struct message_walker *w);  /* NULL at the end */
void message_walk_end(struct message_walker *w);                                  /* idempotent */

#endif
