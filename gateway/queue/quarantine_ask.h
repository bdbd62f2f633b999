/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quarantine_ask.h - what an administrator asks of the quarantine (quarantine/ask.h), done and answered on a descriptor.
 *
 * The first line of the answer is "ok trailer" or "error TEXT"; the last one "done" or "error TEXT" (admin/control.h). All work
 * is requests to the store, a few at a time, and waits for a slow reader: memory does not grow with what is held. What changes
 * something, or shows a message, is logged with who asked.
 */
#ifndef QUEUE_QUARANTINE_ASK_H
#define QUEUE_QUARANTINE_ASK_H

#include "queue/queue.h"

/* who: user name of the one who asks; line: what follows "quarantine". fd is given. */
void quarantine_ask_start(struct queue *q, struct span who, struct span line, int fd);

#endif
