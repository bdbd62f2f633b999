/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inspect.h - milters look at a message before the queue goes on with it: an edge process talks to them and is given a
 * descriptor to read (INSPECT; the edge's side is smtp/inspect.h). No edge, or one that dies or is silent, is "not now".
 */
#ifndef QUEUE_INSPECT_H
#define QUEUE_INSPECT_H

#include "ipc/msgs.h"
#include "queue/queue.h"

struct edge;

struct inspection {
	struct op op;                /* done when said is valid; from the loop */
	struct msg_inspected said;   /* texts are in this object until inspection_fini() */
	/* private */
	struct queue *q;
	struct list link;            /* in q->inspections */
	struct edge *edge;
	uint64_t number;
	int fd;                      /* of inspection_start_mem(); -1 */
	struct timer timer;
	struct buf texts;
};

enum { INSPECT_CONTENT_MAX = 256 * 1024 * 1024 };

void inspection_init(struct inspection *in, struct queue *q, struct op_owner *owner, op_fn *done);
/* fd is borrowed: length octets from offset on are the content. m says the rest; its number is set here. */
void inspection_start(struct inspection *in, int fd, struct msg_inspect *m, const struct span *rcpts);
/* The same with content in memory. */
void inspection_start_mem(struct inspection *in, struct span content, struct msg_inspect *m, const struct span *rcpts);
/* What milters made of that (said.content_changed), appended. RC_TEMP: it is not there, or too much. */
enum rc inspection_content(const struct inspection *in, struct buf *out) MUST_CHECK;
/* Cancels; idempotent, fine on zeroed memory. */
void inspection_fini(struct inspection *in);

/* From the channel of an edge. RC_PERM: it is not one. An answer to nobody is dropped. */
enum rc inspect_heard(struct queue *q, const struct edge *ed, struct span payload) MUST_CHECK;
void inspect_edge_gone(struct queue *q, const struct edge *ed);

#endif
