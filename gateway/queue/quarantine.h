/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quarantine.h - held mail in the queue: into the store, and out of it again.
 *
 * In: a held recipient is a delivery to the built-in transport "quarantine" (attempt.c). The allow table and
 * quarantine_recipient_policy may let him have it (or nobody); otherwise the store gets content, envelope and why, and when that is
 * durable he is finished. If the store cannot take it he waits like any deferred recipient, but for ever: he never expires, and the
 * sender hears nothing of it. New mail to be held is refused meanwhile (ADMISSION).
 *
 * Out: a release makes a new message (MSGF_RELEASED). Exactly once: "releasing, as COPY" is durable in the store; then the copy is
 * durable in the spool; then "released" is durable; then the copy is scheduled. It has no state record until something became of
 * it, so one that is found without is asked about: quarantine_recovered(). Orders go on when whoever gave them is gone.
 */
#ifndef QUEUE_QUARANTINE_H
#define QUEUE_QUARANTINE_H

#include "base/arena.h"
#include "conf/conf.h"
#include "ipc/msgs.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "quarantine/store.h"

struct attempt;
struct release;
struct order_work;
struct message;
struct queue;

struct quarantine {
	struct quar *store;              /* NULL: there is none */
	char why_none[ERR_WHY_MAX];
	struct list puts;                /* on their way into it */
	struct list releases;            /* on their way out */
	struct list works;               /* other orders (quarantine_orders.c) */
	struct list limbo;               /* mend.c: copies and releases a crash left in the middle */
	bool is_mending;                 /* they are being looked at: no new release yet */
	bool knows_pending;
	struct timer again;
	struct quar_req look, stats, scrub;
	struct timer scrub_timer;        /* scrub.c */
	uint64_t scrub_cursor;
	unsigned scrub_failures;
	uint64_t scrub_flaws;            /* left as they are */
	bool is_scrubbing;
	bool has_look, has_stats;
	uint64_t stats_at;               /* loop time; not before it are they asked again */
	bool stats_due;
	struct timer stats_timer;
	struct quar_stat by_class[HELD_CLASSES];
	uint64_t oldest;
};

/* While paths can still be opened. What is wrong is logged: the queue runs without, and mail to be held waits. */
void quarantine_open(struct queue *q, const struct quar_settings *s);
/* Behind the sandbox, before queue_recover(): what that finds is tried at once. */
void quarantine_start(struct queue *q);
/* Behind it: what a crash left of releases. */
void quarantine_recovered(struct queue *q);
void quarantine_reconfigure(struct queue *q, const struct quar_settings *s);
/* Puts and orders are forgotten; what they wrote is durable or done again. Before attempts and spool end. */
void quarantine_fini(struct queue *q);
bool quarantine_idle(const struct queue *q);
/* Messages came or went: what status says of them is counted again, at most every two seconds. */
void quarantine_changed(struct queue *q);

/* Will new mail to be held be taken? */
bool quarantine_accepting(const struct queue *q);

/* ---- in ---- */

enum held_place {
	HELD_GOES_ON = 1,        /* this recipient gets it after all: to be routed as any other */
	HELD_PLACED,             /* dealt with, or waits for quarantine_put() */
	HELD_AGAIN,              /* a table is still being asked */
};
enum held_place quarantine_place(struct attempt *a, uint32_t rcpt);
/* Those that were placed go to the store. */
void quarantine_put(struct attempt *a);

/* ---- out ---- */

/* What somebody ordered; embedded in who waits for it. Cancelled (op_cancel, ops_cancel_all), it is carried out all the same. */
struct quarantine_order {
	struct op op;            /* RC_OK; RC_NONE: no such message, or nobody of these is held; RC_TEMP, RC_PERM: why */
	struct err why;
	struct spool_id copy;    /* release: the new message */
	uint32_t n;              /* recipients, messages or rows it was done for */
	/* private */
	struct queue *q;
	struct release *release;
	struct order_work *work;
};
void quarantine_order_init(struct quarantine_order *o, struct queue *q, struct op_owner *owner, op_fn *done);
/* Cancels and frees; idempotent, fine on zeroed memory. */
void quarantine_order_fini(struct quarantine_order *o);

/* to: empty, or the one address that gets it instead (internal form, complete). addrs: of the message's held
 * recipients; none for all. With to they are not needed. All are copied. who: clean, for log and index. */
void quarantine_release(struct quarantine_order *o, const struct spool_id *id, const struct span *addrs, size_t naddrs, struct span to,
    bool as_attachment, struct span who);
/* For all, with this header (lines with their ends, without the empty one; copied) in the place of the message's. */
void quarantine_release_with(struct quarantine_order *o, const struct spool_id *id, struct span header, struct span who);
void quarantine_delete(struct quarantine_order *o, const struct spool_id *id, const struct span *addrs, size_t naddrs, struct span who);
/* What is due, and over the size limit. */
void quarantine_expire(struct quarantine_order *o, struct span who);
/* Mail from its sender is not held any more: for its recipients (addrs: some of them), or for anybody. RC_PERM: viruses, and mail without a sender. */
void quarantine_allow(struct quarantine_order *o, const struct spool_id *id, const struct span *addrs, size_t naddrs, bool for_everybody,
    struct span who);

/* What became of a recipient of a released message. */
void quarantine_outcome(const struct attempt *a, uint32_t rcpt, bool delivered);

/* ---- scrub.c: files against index, after a start; the store is there ---- */
void scrub_start(struct queue *q);
void scrub_stop(struct queue *q);

/* ---- status ---- */
void quarantine_status(struct queue *q, struct buf *out);
/* A line for people: how much, of what class, how full, when the next digests go. */
void quarantine_remarks(struct queue *q, struct buf *out);

#endif
