/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_cache.h - what is known about addresses from probes, and for how long it counts. Facts 5.9.
 *
 * Good news stays until address_verify_positive_expire_time, whatever later probes say (optimistic, as in Postfix);
 * bad news until it is replaced or address_verify_negative_expire_time is over; what was a temporary failure until
 * minimal_backoff_time is over, so that a hub that came back is believed soon. In the store; without one every question is
 * a probe. Times are wall clock usec.
 */
#ifndef QUEUE_VERIFY_CACHE_H
#define QUEUE_VERIFY_CACHE_H

#include "conf/conf.h"
#include "ipc/msgs.h"
#include "queue/store.h"

/* A fresh probe about an address that is known already is made at most this often. */
#define VERIFY_AGAIN_USEC (UINT64_C(1000) * 1000000)

struct verify_settings {
	uint64_t positive_expire, positive_refresh, negative_expire, negative_refresh, later_expire;
	uint64_t cleanup;
	uint32_t pending_limit;
	bool keep_negative;
};
/* c NULL: Postfix's defaults. */
void verify_settings_read(struct verify_settings *out, const struct conf *c);

struct verify_cache {
	struct store *store;             /* NULL: nothing is remembered */
	struct verify_settings set;
};

struct verify_entry {
	enum verify_status status;       /* VERIFY_TODO: nothing but that a probe was begun */
	bool foreign;                    /* as in struct msg_verified */
	uint64_t updated, probed;        /* when the status was found; when the last probe was begun */
	struct span dsn, text;           /* from the cache: until its next use */
};

/* RC_NONE: not known (any more), or the store cannot say. */
enum rc verify_cache_get(struct verify_cache *c, struct span addr, struct verify_entry *out) MUST_CHECK;
/* Is it time to ask again in the background? */
bool verify_cache_is_due(const struct verify_cache *c, const struct verify_entry *e, uint64_t now);
/* Notes that a probe about a known address begins. */
void verify_cache_probing(struct verify_cache *c, struct span addr, const struct verify_entry *e, uint64_t now);
/* The result of a probe. */
void verify_cache_learn(struct verify_cache *c, struct span addr, const struct verify_entry *e);

/* Encoding of an entry; RC_PERM: none of ours. */
void verify_entry_put(struct buf *b, const struct verify_entry *e);
enum rc verify_entry_get(struct span in, struct verify_entry *out) MUST_CHECK;

#endif
