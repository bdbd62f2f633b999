/* SPDX-License-Identifier: BSD-2-Clause */
/* status.h - JSON members about the queue for `dogana status`, and the gauges. */
#ifndef QUEUE_STATUS_H
#define QUEUE_STATUS_H

#include "queue/queue.h"

void queue_status(struct queue *q, struct buf *json_out);

#endif
