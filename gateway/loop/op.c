/* SPDX-License-Identifier: BSD-2-Clause */
#include "loop/op.h"

#include "base/metric.h"

enum { OP_MAGIC = 0x6f70ae51 };

static struct list ready = { &ready, &ready };

void
op_owner_init(struct op_owner *o)
{
	list_init(&o->ops);
}

void
op_init(struct op *op, struct op_owner *owner, op_fn *done)
{
	*op = (struct op){ .magic = OP_MAGIC, .owner = owner, .done = done };
	list_init(&op->by_owner);
	list_init(&op->by_loop);
}

static void
leave_idle(struct op *op)
{
	list_append(&op->owner->ops, &op->by_owner);
	metric_add(M_op_pending, 1);
}

static void
become_idle(struct op *op)
{
	list_remove(&op->by_owner);
	list_remove(&op->by_loop);
	op->state = OP_IDLE;
	op->provider = NULL;
	metric_add(M_op_pending, -1);
}

void
op_pend(struct op *op, const struct op_provider *provider)
{
	CHECK(op, OP_MAGIC);
	BUG_ON(op->state != OP_IDLE);
	leave_idle(op);
	op->state = OP_PENDING;
	op->provider = provider;
}

void
op_finish(struct op *op, enum rc rc)
{
	CHECK(op, OP_MAGIC);
	BUG_ON(op->state == OP_READY);
	if (op->state == OP_IDLE)
		leave_idle(op);
	op->state = OP_READY;
	op->provider = NULL;
	op->rc = rc;
	list_append(&ready, &op->by_loop);
}

void
op_cancel(struct op *op)
{
	if (op->state == OP_IDLE)
		return; /* also an op that was zeroed and never started */
	CHECK(op, OP_MAGIC);
	if (op->state == OP_PENDING && op->provider != NULL && op->provider->detach != NULL)
		op->provider->detach(op);
	become_idle(op);
}

void
ops_cancel_all(struct op_owner *o)
{
	while (!list_empty(&o->ops))
		op_cancel(list_entry(o->ops.next, struct op, by_owner));
}

bool
ops_any_ready(void)
{
	return !list_empty(&ready);
}

bool
ops_run_ready(void)
{
	struct list batch;
	list_init(&batch);
	list_splice(&batch, &ready);
	bool any = false;
	for (struct list *l; (l = list_pop(&batch)) != NULL;) {
		struct op *op = list_entry(l, struct op, by_loop);
		CHECK(op, OP_MAGIC);
		enum rc rc = op->rc;
		become_idle(op);
		op->rc = rc;
		op->done(op); /* may free its owner and cancel others of the batch: they leave the list */
		any = true;
	}
	return any;
}
