/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lockout.h - how often logins failed, per user and client network, counted over all edge processes: part of the memory they share
 * (limits.h).
 *
 * A table of fixed size. The time of a counter begins with its first failure and is not made longer by later ones. Where a bucket has
 * no room, a counter whose time is over gives way, else the lowest, and the new one begins at nothing: crowding it makes us forget,
 * never lock out somebody who did nothing.
 */
#ifndef SMTP_LOCKOUT_H
#define SMTP_LOCKOUT_H

#include "base/ipaddr.h"

#include <stdatomic.h>

enum { LOCKOUT_BUCKETS = 4096, LOCKOUT_WAYS = 8 };

struct lockout_bucket {
	_Alignas(64) _Atomic uint64_t tag[LOCKOUT_WAYS];
	_Atomic uint32_t until[LOCKOUT_WAYS];    /* seconds */
	_Atomic uint32_t count[LOCKOUT_WAYS];
};
struct lockout_table {
	struct lockout_bucket bucket[LOCKOUT_BUCKETS];
};
struct lockouts {
	struct lockout_table failed, good;       /* apart: logins that succeed must not crowd out those that failed */
};

/* user: letters' case does not matter; empty: any. network: family 0: any. */
uint64_t lockout_key(uint64_t salt, struct span user, const struct ipaddr *network);

/* One more; gives how many there are, this one included. now: monotonic seconds; seconds: how long a new counter counts. */
uint32_t lockout_count(struct lockout_table *t, uint64_t key, uint32_t now, uint32_t seconds);
/* How many there are. */
uint32_t lockout_seen(struct lockout_table *t, uint64_t key, uint32_t now);
void lockout_forget(struct lockout_table *t, uint64_t key);

#endif
