/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * op.h - one asynchronous wait, embedded in whoever waits.
 *
 * Whoever can complete it (the provider: a timer, an IPC call, a DNS question, a commit) only marks
 * it ready; done() runs later, from the loop, never inside the call that started it and never inside
 * the provider's own walk over waiters. The owner may cancel at any time, in any state, any number of
 * times; afterwards done() will not run. So nobody keeps a pointer to an owner that is gone.
 *
 *	op_init(&s->op, &s->ops, got_answer);
 *	dns_start(&s->query, ...);             the provider calls op_pend, later op_finish
 *	static void got_answer(struct op *op) { struct sess *s = container_of(op, struct sess, op); ... op->rc ... }
 *	ops_cancel_all(&s->ops);               in the one function that ends s
 */
#ifndef LOOP_OP_H
#define LOOP_OP_H

#include "base/list.h"

struct op;
typedef void op_fn(struct op *);

enum op_state { OP_IDLE = 0, OP_PENDING, OP_READY };

struct op_provider {
	const char *name;              /* for dumps and status */
	void (*detach)(struct op *);   /* the owner cancels a pending op: forget it, call nobody */
};

/* Embedded in a session, a transaction, a delivery: everything it waits for. */
struct op_owner {
	struct list ops;               /* pending and ready */
};

struct op {
	unsigned magic;
	enum op_state state;
	enum rc rc;                    /* valid in done() */
	op_fn *done;
	const struct op_provider *provider;
	struct op_owner *owner;
	struct list by_owner, by_loop;
};

void op_owner_init(struct op_owner *o);
static inline bool
op_owner_idle(const struct op_owner *o)
{
	return list_empty(&o->ops);
}

void op_init(struct op *op, struct op_owner *owner, op_fn *done);
/* Provider: in flight from now on. The op must be idle. */
void op_pend(struct op *op, const struct op_provider *provider);
/* Provider: finished; done() will run from the loop. The op must be pending or idle (an answer
 * that was there at once takes the same road). */
void op_finish(struct op *op, enum rc rc);
/* Owner: idempotent; done() will not run. */
void op_cancel(struct op *op);
void ops_cancel_all(struct op_owner *o);

/* Loop only: runs done() of what was ready when called; true if any ran. */
bool ops_run_ready(void);
bool ops_any_ready(void);

#endif
