/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/remote.h"

bool
map_asked(void)
{
	return false;
}

void
map_forget(void)
{
}

void
map_wait_init(struct map_wait *w, struct op_owner *owner, op_fn *done)
{
	*w = (struct map_wait){ 0 };
	op_init(&w->op, owner, done);
	list_init(&w->questions);
}

void
map_wait_start(struct map_wait *w)
{
	op_finish(&w->op, RC_OK);
}

void
map_wait_fini(struct map_wait *w)
{
	if (w->op.magic != 0)
		op_cancel(&w->op);
}
