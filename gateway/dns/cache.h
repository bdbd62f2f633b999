/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.h - answers kept until their TTL is over, in a limit of bytes.
 *
 * Two lists, each with the most recently used first. An answer begins in the fresh one and gets into the proven one when it
 * is asked for again DNS_CACHE_PROVE_USEC later; what has to leave leaves from the end of the fresh one, and the proven ones have
 * three quarters at most. So a client that has thousands of names of its own looked up pushes out what
 * was asked once, as his, and not the answers that everybody's mail needs.
 *
 * An answer is one block of memory with its records and bytes behind it (dns_answer_pack), so that a
 * copy is one allocation and mem_free() frees all of it.
 */
#ifndef DNS_CACHE_H
#define DNS_CACHE_H

#include "base/htab.h"
#include "base/list.h"
#include "dns/answer.h"

enum { DNS_CACHE_PROVE_USEC = 10 * 1000000, DNS_CACHE_SHARE = 256 /* an answer larger than this part of all is not kept */ };

struct dns_cache {
	struct htab by_key;
	struct list fresh, proven;
	size_t count, bytes, proven_bytes, max;
};

void dns_cache_init(struct dns_cache *c, size_t max_bytes);
/* What is too much leaves. */
void dns_cache_limit(struct dns_cache *c, size_t max_bytes);
void dns_cache_fini(struct dns_cache *c);
/* rc and answer of a question asked before; false: not known, or too old. now: monotonic usec. The
 * answer is borrowed until the next call. */
bool dns_cache_find(struct dns_cache *c, enum dns_type type, struct span name, uint64_t now, enum rc *rc_out, const struct dns_answer **out);
/* Keeps a copy when rc is RC_OK or RC_NONE; replaces what was there. A second at least, whatever the TTL: what was asked
 * ahead of time, or by the rule before, is the answer for this command. */
void dns_cache_put(struct dns_cache *c, enum dns_type type, struct span name, uint64_t now, enum rc rc, const struct dns_answer *a);

void dns_cache_drop(struct dns_cache *c, enum dns_type type, struct span name);

struct dns_answer *dns_answer_pack(const struct dns_answer *a) MUST_CHECK; /* given; free with mem_free */
/* Case does not matter in keys, nor does a final dot. */
struct span dns_key(struct span name);
uint64_t dns_key_hash(enum dns_type type, struct span name);

#endif
