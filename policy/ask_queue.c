/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/ask_queue.h"

static struct ipc_chan *queue;

void
policy_set_queue(struct ipc_chan *c)
{
	queue = c;
}

struct ipc_chan *
policy_queue(void)
{
	return queue;
}
