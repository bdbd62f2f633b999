/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * After every start the files of the quarantine and its index are compared, a slice at a time: a crash between a note in a file and the commit
 * of the index leaves the two of different opinions about a recipient, and what the file knows is what happened. Nothing else is repaired by
 * itself: files that are missing may be on a disk that is not mounted. People hear of it and run `dogana quarantine check --repair`.
 */
#include "base/clock.h"
#include "base/log.h"
#include "queue/queue.h"

#define SCRUB_PAUSE_USEC (USEC_PER_SEC / 4)

enum { SCRUB_FAILURES_MAX = 1000 };

static void
on_pause(struct timer *t)
{
	struct quarantine *k = container_of(t, struct quarantine, scrub_timer);
	quar_check(k->store, &k->scrub, QUAR_CHECK_STATES, k->scrub_cursor);
}

static void
on_slice(struct op *op)
{
	struct quarantine *k = container_of(op, struct quarantine, scrub.op);
	for (size_t i = 0; i < k->scrub.n; i++) {
		const struct quar_finding *f = &k->scrub.findings[i];
		if (f->repaired)
			log_info(NULL, "quarantine: %.*s: %s: repaired", (int)f->name.n, (const char *)f->name.p, quar_flaw_name(f->flaw));
		else
			k->scrub_flaws++;
	}
	/* not now: the index is being opened or made anew; the same slice again */
	k->is_scrubbing = op->rc == RC_TEMP ? ++k->scrub_failures < SCRUB_FAILURES_MAX : k->scrub.more;
	if (op->rc != RC_TEMP)
		k->scrub_cursor = k->scrub.cursor;
	if (!k->is_scrubbing && k->scrub_flaws > 0)
		log_warn(NULL, "quarantine: %llu things are not in order: dogana quarantine check says which", (unsigned long long)k->scrub_flaws);
	if (k->is_scrubbing)
		timer_set(&k->scrub_timer, SCRUB_PAUSE_USEC);
}

void
scrub_start(struct queue *q)
{
	struct quarantine *k = &q->quarantine;
	k->is_scrubbing = true;
	k->scrub_cursor = 0;
	k->scrub_failures = 0;
	k->scrub_flaws = 0;
	timer_init(&k->scrub_timer, on_pause);
	quar_req_init(&k->scrub, &q->ops, on_slice);
	quar_check(k->store, &k->scrub, QUAR_CHECK_STATES, 0);
}

void
scrub_stop(struct queue *q)
{
	struct quarantine *k = &q->quarantine;
	timer_clear(&k->scrub_timer);
	quar_req_fini(&k->scrub);
	k->is_scrubbing = false;
}
