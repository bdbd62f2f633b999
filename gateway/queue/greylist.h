/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * greylist.h - who has been seen with which sender and recipient, and who came again (policy/greylist.c asks).
 *
 * A row per triplet, by a hash of it: when it was first seen, whether it has come again. One that does not come again dies
 * after the retry window, one that did after `expire` without being used. A row per client: how many of its triplets came
 * again (one an hour counts) and how many are waited for. Enough of the first and the client is not asked any more; too many
 * of the second and no more are remembered, so that nobody fills the store alone. Who has one IPv6 network has very many, so
 * triplets that are waited for are counted for the networks around an IPv6 client as well. The store is bounded (store.h),
 * what dies first goes first: those who never came again before those who did.
 */
#ifndef QUEUE_GREYLIST_H
#define QUEUE_GREYLIST_H

#include "ipc/msgs.h"
#include "loop/loop.h"
#include "queue/store.h"

enum {
	GREYLIST_WAITED_FOR_MAX = 500,
	GREYLIST_SITE_MAX = 4000,        /* of a /48, what one customer gets */
	GREYLIST_PROVIDER_MAX = 32000,   /* of a /32 */
	GREYLIST_SHARE = 1024,           /* of such a network never more than one in so many bytes: about a fifth of the store */
	GREYLIST_COUNT_SECONDS = 3600,
};

struct greylist {
	struct store *store;             /* NULL: cannot be used */
	size_t max_bytes;                /* of it */
	struct timer timer;
};

/* RC_TEMP: goes on without: every answer is GREYLIST_UNAVAILABLE. Before the sandbox. */
enum rc greylist_open(struct greylist *g, const char *directory, size_t max_bytes, struct err *e) MUST_CHECK;
void greylist_close(struct greylist *g);         /* fine on zeroed memory */

/* now: wall clock, usec. */
struct msg_greylist_answer greylist_ask(struct greylist *g, const struct msg_greylist *m, uint64_t now);

#endif
