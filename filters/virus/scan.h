/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * scan.h - one message at an engine: what is asked and what came of it. The same for workers (pool.h) and for clamd (clamd.h).
 *
 *	s->scan = (struct scan){ .head = ..., .message = ... };
 *	op_init(&s->scan.op, &s->ops, scanned);
 *	pool_scan(&s->scan);                     scanned() runs from the loop; op_cancel() and nobody comes back
 */
#ifndef VIRUS_SCAN_H
#define VIRUS_SCAN_H

#include "filters/virus/verdict.h"
#include "loop/loop.h"
#include "loop/op.h"

enum scan_end {
	SCAN_DONE = 0,               /* the verdict counts */
	SCAN_FAILED,                 /* the worker died of it, or ran over time */
	SCAN_AWAY,                   /* there was nobody to scan it */
};

struct scan {
	struct op op;
	struct span head, message;   /* borrowed until it is done; head: in front of it, not part of it */
	enum scan_end end;
	struct virus_verdict verdict;/* SCAN_DONE */
	struct err why;              /* a line, of the others */
	/* private to the engine */
	struct list link;
	struct timer timer;
	uint64_t until;
	unsigned attempts;
	void *at;                    /* the worker, the connection to clamd */
};

#endif
