/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.h - the processes that read mail: forked workers behind a keeper, one message in one worker at a time.
 *
 * The keeper is forked while the program has one thread; it has no other task than to start workers anew that ended. A worker gets a
 * message as a file descriptor and has nothing else: no files, no sockets, no other message. One that crashes or takes longer than
 * its share of processor time costs its own message.
 */
#ifndef ATTACHMENTS_POOL_H
#define ATTACHMENTS_POOL_H

#include "filters/attachments/judge.h"

enum { POOL_WORKERS_MAX = 256 };

struct pool;

struct pool_settings {
	const struct judge *judge;   /* kept */
	const char *user;            /* as root: whom they become; NULL: nobody */
	unsigned workers;            /* 0: one for each processor */
	unsigned cpu_seconds;        /* for one message */
	uint64_t memory_bytes;       /* of address space of a worker */
};

/* Before any thread. */
enum rc pool_new(const struct pool_settings *ps, struct pool **out, struct err *e) MUST_CHECK;

enum pool_result {
	POOL_ANSWERED = 0,
	POOL_LATER,              /* no worker in time, or no answer that makes sense */
	POOL_CRASHED,            /* the worker ended over this message */
	POOL_TOO_LONG,           /* it took all its processor time */
};
/* From any thread; waits for a free worker. question: the file of wire_put_question() and the message (borrowed). *out points into room
 * (reset first). body_fd_out: the new body, the caller's to close; -1: none. */
enum pool_result pool_ask(struct pool *p, int question, struct buf *room, struct wire_answer *out, int *body_fd_out);

unsigned pool_size(const struct pool *p);
uint64_t pool_crashes(const struct pool *p);

#endif
