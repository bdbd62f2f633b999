/* SPDX-License-Identifier: BSD-2-Clause */
/* ask_queue.h - the way to the queue process, for rules that ask it (greylisting, address verification). One per process. */
#ifndef POLICY_ASK_QUEUE_H
#define POLICY_ASK_QUEUE_H

#include "ipc/ipc.h"

/* Told by the role whenever it changes; NULL: the queue is not there. */
void policy_set_queue(struct ipc_chan *c);
struct ipc_chan *policy_queue(void);

#endif
