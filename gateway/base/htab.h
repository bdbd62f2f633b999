/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * htab.h - hash table whose nodes live in the objects; grows by doubling.
 *
 * The caller hashes (span_hash, span_casehash: keyed, so outside bytes cannot aim at a bucket) and
 * compares. Owns only its bucket array.
 */
#ifndef BASE_HTAB_H
#define BASE_HTAB_H

#include "base/base.h"

struct hnode {
	struct hnode *next;
	uint64_t hash;
};

struct htab {
	struct hnode **buckets;
	size_t mask;  /* number of buckets - 1; 0 with buckets NULL when empty */
	size_t count;
};

void htab_fini(struct htab *t);                 /* frees the buckets; the objects are the caller's */
void htab_insert(struct htab *t, struct hnode *n, uint64_t hash);
void htab_remove(struct htab *t, struct hnode *n); /* n must be in t */
/* First node with this hash, then the next one; NULL at the end. The caller compares keys. */
struct hnode *htab_first(const struct htab *t, uint64_t hash);
struct hnode *htab_next(const struct hnode *n);
/* Walk over all in no order: start with NULL. The walked-over node may be removed after the next
 * call returned; nothing may be inserted meanwhile. */
struct hnode *htab_walk(const struct htab *t, const struct hnode *n);

#endif
