/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter_envelope.h - what milters want done to an envelope, as addresses of ours: parsed, completed (append_at_myorigin), with the
 * ESMTP parameters that count. Pure but for log lines about what is of no use. Runs in: edge.
 */
#ifndef SMTP_MILTER_ENVELOPE_H
#define SMTP_MILTER_ENVELOPE_H

#include "base/log.h"
#include "filters/milter.h"
#include "msg/envelope.h"
#include "msg/syntax.h"

/* What the texts below live in, whose settings count, and what the log lines are about. Borrowed. */
struct milter_addresses {
	const struct params *p;
	struct arena *arena;
	const struct log_ctx *log;
};

struct milter_sender {
	struct span addr;        /* internal form; empty: the null sender */
	enum dsn_ret ret;        /* DSN_RET_NONE, empty: not said */
	struct span envid;
};

/* false: it is no address; the sender stays. */
bool milter_sender_of(const struct milter_addresses *in, const struct milter_edits *e, struct milter_sender *out);
/* Somebody to add: RC_NONE: nobody. Somebody to delete: addr alone is set, as the milter said it. RC_TEMP: no room. */
enum rc milter_rcpt_of(const struct milter_addresses *in, const struct milter_rcpt *r, struct env_rcpt *out) MUST_CHECK;

#endif
