/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * orders.h - what an administrator may do to one message, in whatever state it is: postsuper's -d -h -H -r
 * -e, and flush. Facts 11.5. One row per order in orders.def.
 *
 * A message that is in relay keeps its job: the order is carried out when the job is back, so nothing is
 * delivered twice.
 */
#ifndef QUEUE_ORDERS_H
#define QUEUE_ORDERS_H

#include "queue/queue.h"

enum order {
#define ORDER(name, queues, total, doc) ORDER_KIND_##name,
#include "queue/orders.def"
#undef ORDER
	ORDER_KINDS
};

/* Grammar of queue ids, short and long form: nothing else reaches a table, a path or a log. */
bool order_id_valid(struct span id);
/* NULL: not in the queue (or not committed yet). */
struct message *order_find(const struct queue *q, struct span id);
/* Does it. false: it does not apply to a message in this queue. The message may be gone on return. */
bool order_give(struct queue *q, struct message *m, enum order order);
void order_flush(struct queue *q, struct message *m);
unsigned order_default_queues(enum order order);         /* bit per enum message_queue */
void order_total(struct buf *out, enum order order, uint64_t count); /* "postsuper: Deleted: 2 messages"; nothing for none */
/* Is one of its waiting recipients in this domain ("user@domain" and "@domain" too)? */
bool order_goes_to(const struct message *m, struct span site);

#endif
