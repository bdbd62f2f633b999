/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * heap.h - binary min-heap of objects keyed by a 64-bit number (a time), links in the objects.
 * For "which of a million is due next". All O(log n); owns only its pointer array.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include "base/base.h"

struct heap_node {
	uint64_t key;
	uint32_t slot; /* 1-based position; 0 = not in a heap */
};

struct heap {
	struct heap_node **nodes;
	uint32_t count, cap;
};

void heap_fini(struct heap *h);
/* Inserts, or moves when it is in h already. */
void heap_put(struct heap *h, struct heap_node *n, uint64_t key);
void heap_remove(struct heap *h, struct heap_node *n); /* idempotent */
struct heap_node *heap_min(const struct heap *h);      /* NULL when empty */

#endif
