/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/heap.h"

#include "base/mem.h"

static void
place(struct heap *h, uint32_t slot, struct heap_node *n)
{
	h->nodes[slot - 1] = n;
	n->slot = slot;
}

static void
sift_up(struct heap *h, struct heap_node *n)
{
	uint32_t at = n->slot;
	while (at > 1 && h->nodes[at / 2 - 1]->key > n->key) {
		place(h, at, h->nodes[at / 2 - 1]);
		at /= 2;
	}
	place(h, at, n);
}

static void
sift_down(struct heap *h, struct heap_node *n)
{
	uint32_t at = n->slot;
	for (;;) {
		uint32_t kid = at * 2;
		if (kid > h->count)
			break;
		if (kid < h->count && h->nodes[kid]->key < h->nodes[kid - 1]->key)
			kid++;
		if (h->nodes[kid - 1]->key >= n->key)
			break;
		place(h, at, h->nodes[kid - 1]);
		at = kid;
	}
	place(h, at, n);
}

void
heap_fini(struct heap *h)
{
	mem_free(&h->nodes);
	*h = (struct heap){ 0 };
}

void
heap_put(struct heap *h, struct heap_node *n, uint64_t key)
{
	if (n->slot == 0) {
		if (h->count == h->cap) {
			h->cap = h->cap > 0 ? h->cap * 2 : 64;
			h->nodes = mem_reallocarray(h->nodes, h->cap, sizeof *h->nodes);
		}
		place(h, ++h->count, n);
	}
	n->key = key;
	sift_up(h, n);
	sift_down(h, n);
}

void
heap_remove(struct heap *h, struct heap_node *n)
{
	if (n->slot == 0)
		return;
	BUG_ON(n->slot > h->count || h->nodes[n->slot - 1] != n);
	struct heap_node *last = h->nodes[--h->count];
	if (last != n) {
		place(h, n->slot, last);
		sift_up(h, last);
		sift_down(h, last);
	}
	n->slot = 0;
}

struct heap_node *
heap_min(const struct heap *h)
{
	return h->count > 0 ? h->nodes[0] : NULL;
}
