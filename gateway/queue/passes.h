/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * passes.h - which clients have passed which tests of triage, and until when (postscreen's cache). Facts 4.2.
 *
 * A row per address, as Postfix: an IPv6 client is its /128. The row dies postscreen_cache_retention_time behind the last of
 * its tests; dead rows are buried every postscreen_cache_cleanup_interval (0: when the store is full). The edge processes ask
 * with TRIAGE_FIND and tell with TRIAGE_KEEP; what they tell of a test that another has prolonged since does not shorten it.
 */
#ifndef QUEUE_PASSES_H
#define QUEUE_PASSES_H

#include "ipc/msgs.h"
#include "loop/loop.h"
#include "queue/store.h"

struct passes {
	struct store *store;             /* NULL: cannot be used; nobody is known */
	uint64_t cleanup_usec;
	struct timer timer;
};

/* RC_TEMP: goes on without. Before the sandbox. */
enum rc passes_open(struct passes *p, const char *directory, size_t max_bytes, uint64_t cleanup_usec, struct err *e) MUST_CHECK;
void passes_close(struct passes *p);             /* fine on zeroed memory */
struct msg_triage_found passes_find(struct passes *p, const struct ipaddr *addr);
void passes_keep(struct passes *p, const struct msg_triage *m);

#endif
