/* SPDX-License-Identifier: BSD-2-Clause */
/* worker.h - one process that reads mail, and the head of the datagrams between it, the keeper and the program. */
#ifndef ATTACHMENTS_WORKER_H
#define ATTACHMENTS_WORKER_H

#include "filters/attachments/pool.h"

enum worker_kind {
	WORKER_QUESTION = 1,     /* with a descriptor */
	WORKER_ANSWER,           /* wire_put_answer() behind it, with a descriptor when there is a new body */
	WORKER_DIED,             /* from the keeper */
	WORKER_TOO_LONG,
};

/* Of one machine and one program, so as it is in memory. */
struct worker_word {
	uint32_t number;         /* of the question */
	uint32_t kind;
};

/* Gives up what it does not need and answers questions until the other side is gone. */
NORETURN void worker_run(const struct pool_settings *ps, int fd);

#endif
