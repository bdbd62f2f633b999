/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * requests.h - what an administrator asks the queue: one text line in, an answer on a descriptor.
 *
 * The first line of the answer is "ok" or "error TEXT"; the end is the end of the stream. Work on many
 * messages is done in slices between turns of the loop and waits for a slow reader, so a listing of
 * 100,000 messages neither holds deliveries up nor fills memory.
 */
#ifndef QUEUE_REQUESTS_H
#define QUEUE_REQUESTS_H

#include "queue/queue.h"

void request_start(struct queue *q, struct span line, int fd);   /* fd is given */

#endif
