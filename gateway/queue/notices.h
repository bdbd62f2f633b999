/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notices.h - who is told of held mail: digests for recipients, notices about viruses.
 *
 * A digest (quarantine_digest_recipients, quarantine_digest_schedule) names what was held for a recipient since the one before; the
 * store keeps how far he was told, and that is moved on when the digest is durable in the spool: each message is announced once,
 * across restarts (twice, if the process dies between the two). A notice about a virus (virus_notify) is sent when the message is
 * durable in the store; more than quarantine_notice_limit in quarantine_notice_time are gathered into one.
 *
 * All of them are mail of our own (MSGF_INTERNAL): no filter looks at them, they are never held, nothing is returned for them: notices to
 * the postmaster come from the double-bounce address, others from the null sender and with NOTIFY=NEVER. Templates: quarantine/notice.h.
 */
#ifndef QUEUE_NOTICES_H
#define QUEUE_NOTICES_H

#include "conf/conf.h"
#include "loop/op.h"
#include "msg/envelope.h"
#include "msg/held.h"
#include "spool/spool.h"

struct notices;
struct notices_settings;
struct queue;

/* What the configuration says. RC_PERM with *out NULL: the reason; problems go to conf_problem(), too. In the loader it reads the
 * template files into the snapshot, so it is called there first. */
enum rc notices_settings_open(struct conf *c, struct notices_settings **out, struct err *e) MUST_CHECK;
void notices_settings_free(struct notices_settings **sp);

/* s is given. */
struct notices *notices_new(struct queue *q, struct notices_settings *s);
void notices_reload(struct notices *n, struct notices_settings *s);
void notices_free(struct notices **np);          /* NULL inside is fine */

/* A message is durable in the store for these recipients (numbers in env->rcpt). Everything is copied. NULL: nobody tells. */
void notices_held(struct notices *n, const struct spool_id *id, const struct envelope *env, const struct held *held, const uint32_t *rcpt,
    uint32_t nrcpt);

/* Who waits for a round of digests. */
struct digest_wait {
	struct op op;            /* RC_OK: all that were due are in the spool; RC_NONE: nobody wants digests; RC_TEMP: some are not */
	struct list link;
	uint32_t sent;
};
/* Sends the digests that are due without waiting for their time; of one that runs already the end. w: op_init() was called. */
void notices_digest_now(struct notices *n, struct digest_wait *w);
/* When the next ones go (wall clock, usec); 0: never. */
uint64_t notices_next_digest(const struct notices *n);

#endif
