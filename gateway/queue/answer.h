/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * answer.h - an answer to an administrator on its way out of a descriptor.
 *
 * Embedded in the one who gives it, and in a list of all there are. Nothing is read. The owner writes to answer_out(), waits for the
 * reader when answer_is_full() (memory does not grow with what is told), and ends it. He is freed in over(), which comes once,
 * from the loop: when all has left after answer_end(), when the reader is gone or does not read, or from answers_fini().
 */
#ifndef QUEUE_ANSWER_H
#define QUEUE_ANSWER_H

#include "loop/conn.h"

struct answer;
struct answer_ops {
	void (*more)(struct answer *);   /* what was written has left (answer_wait) */
	void (*over)(struct answer *);   /* give everything back, answer_fini() too, and loop_bury() */
};

struct answer {
	struct list link;
	struct conn conn;
	const struct answer_ops *ops;
	bool ended;
};

void answer_init(struct answer *a, struct list *all, int fd, const struct answer_ops *ops);     /* fd is given */
void answer_fini(struct answer *a);
/* Where to write. What is there leaves when the loop has its turn. */
struct buf *answer_out(struct answer *a);
bool answer_is_full(const struct answer *a);
/* more() comes when everything has left. */
void answer_wait(struct answer *a);
/* Nothing follows what was written. */
void answer_end(struct answer *a);
/* As the first line and the last one: "error WHY". */
void answer_refuse(struct answer *a, const char *why);

/* All of a list, over(). */
void answers_fini(struct list *all);

#endif
