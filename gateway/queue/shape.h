/* SPDX-License-Identifier: BSD-2-Clause */
/* shape.h - qshape: how many recipients wait for which domain, and for how long. Facts 11.6. */
#ifndef QUEUE_SHAPE_H
#define QUEUE_SHAPE_H

#include "base/htab.h"
#include "queue/message.h"

enum { SHAPE_BUCKETS_MAX = 24 };

struct shape {
	bool senders, linear;
	unsigned buckets, first_minutes, width, top;
	unsigned queues;                 /* bit per enum message_queue */
	struct htab domains;
	size_t count;
	uint64_t total[SHAPE_BUCKETS_MAX + 1];
};

/* Options as qshape has them: -s -l -b N -t N -w N -n N, then names of queues. RC_PERM with a reason. */
enum rc shape_init(struct shape *s, struct span options, struct err *e) MUST_CHECK;
void shape_fini(struct shape *s);
void shape_add(struct shape *s, const struct message *m, uint64_t now);
void shape_write(const struct shape *s, struct buf *out);

#endif
