/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/side_draft.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "ipc/msgs.h"

#include <unistd.h>

#define DRAFT_USEC (UINT64_C(300) * USEC_PER_SEC)

enum rc
side_draft_ask(struct side_draft *d, struct edge *edge, struct op_owner *owner, op_fn *done)
{
	BUG_ON(d->call != NULL || d->number != 0);
	*d = (struct side_draft){ .edge = edge, .fd = -1 };
	if (edge->queue == NULL)
		return RC_TEMP;
	d->generation = edge->queue_generation;
	d->call = mem_alloc(sizeof *d->call);
	ipc_call_init(d->call, owner, done);
	(void)ipc_call_begin(d->call, edge->queue, IPC_DRAFT);
	ipc_call_send(d->call, DRAFT_USEC);
	return RC_OK;
}

/* Nobody took what it brought: it goes back, whether its number came or not; the owner of the operations may have cancelled them
 * before. */
static void
forget_call(struct side_draft *d)
{
	if (d->call == NULL)
		return;
	if (d->number == 0 && d->generation == d->edge->queue_generation)
		edge_drop_draft(d->edge, 0, d->call->id);
	ipc_call_fini(d->call);
	mem_free(&d->call);
}

enum rc
side_draft_got(struct side_draft *d)
{
	struct msg_draft m = { .outcome = SUBMIT_FAILED };
	if (d->number != 0)
		return RC_OK;
	if (d->call == NULL)
		return RC_TEMP;
	if (d->call->op.rc == RC_OK && msg_draft_get(buf_span(&d->call->reply), &m) == RC_OK && m.outcome == SUBMIT_OK && m.draft != 0 &&
	    d->call->fd >= 0) {
		d->number = m.draft;
		d->fd = d->call->fd;
		d->call->fd = -1;
		metric_add(M_smtpd_drafts, 1);
	}
	d->was_full = m.outcome == SUBMIT_FULL;
	forget_call(d);
	return d->number != 0 ? RC_OK : RC_TEMP;
}

bool
side_draft_is_lost(const struct side_draft *d)
{
	return d->number != 0 && d->generation != d->edge->queue_generation;
}

uint64_t
side_draft_take(struct side_draft *d)
{
	uint64_t number = d->number;
	BUG_ON(number == 0);
	d->number = 0;
	d->fd = -1;
	return number;
}

void
side_draft_drop(struct side_draft *d)
{
	forget_call(d);
	if (d->number == 0)
		return;
	if (d->fd >= 0)
		close(d->fd);
	metric_add(M_smtpd_drafts, -1);
	if (!side_draft_is_lost(d))
		edge_drop_draft(d->edge, d->number, 0);
	d->number = 0;
	d->fd = -1;
}
