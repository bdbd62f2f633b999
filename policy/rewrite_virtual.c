/* SPDX-License-Identifier: BSD-2-Clause */
/* virtual_alias_maps: an address becomes a list, and each of the list may become one in turn. Facts 5.6.5. */
#include "base/mem.h"
#include "policy/rewriter.h"

struct expansion {
	struct span *addr;           /* heap; texts in the arena */
	size_t n, cap;
	struct textset self;         /* those that have expanded into themselves */
};

static void
add_address(struct expansion *x, struct span addr)
{
	if (x->n == x->cap) {
		x->cap = x->cap > 0 ? 2 * x->cap : 4;
		x->addr = mem_reallocarray(x->addr, x->cap, sizeof *x->addr);
	}
	x->addr[x->n++] = addr;
}

/* Replaces x->addr[at] by what the tables say. RC_NONE: nothing. */
static enum rc
expand_once(struct work *k, struct expansion *x, size_t at, struct mapping *m, struct buf *word)
{
	size_t longest = (size_t)k->w->p->p_virtual_alias_address_length_limit;
	struct span was = x->addr[at];
	enum rc rc = mapping_find(m, k->w->virtual_alias, was, (k->w->propagate & PROPAGATE_VIRTUAL) != 0, k->e);
	if (rc != RC_OK)
		return rc;
	for (size_t i = 0; (rc = mapping_next(m, word)) != RC_NONE; i++) {
		struct span addr = buf_span(word);
		if (rc != RC_OK || addr.n > longest)
			return err_set(k->e, RC_PERM, "unreasonable virtual_alias_maps result");
		if (x->n > (size_t)k->w->p->p_virtual_alias_expansion_limit) /* more than the loop above would let pass */
			return err_set(k->e, RC_PERM, "unreasonable virtual_alias_maps map expansion size");
		struct span kept = arena_span(k->a, addr);
		if (i == 0)
			x->addr[at] = kept;
		else
			add_address(x, kept);
		if (span_caseeq(kept, was) && textset_find(&x->self, was) == NULL && textset_add(k, &x->self, was) == NULL)
			break;
	}
	return k->a->over ? err_set(k->e, RC_PERM, "unreasonable virtual_alias_maps map expansion size") : RC_OK;
}

static enum rc
expand_all(struct work *k, struct expansion *x)
{
	size_t limit = (size_t)k->w->p->p_virtual_alias_expansion_limit, deepest = (size_t)k->w->p->p_virtual_alias_recursion_limit;
	struct mapping m;
	struct buf word;
	enum rc all = RC_OK;
	bool on = true;
	mapping_init(&m, k->w->book);
	buf_init(&word, ADDRESS_MAX);
	for (size_t i = 0; i < x->n && on; i++) {
		enum rc rc = RC_OK;
		if (x->n > limit)
			rc = err_set(k->e, RC_PERM, "unreasonable virtual_alias_maps map expansion size");
		for (size_t turns = 0; rc == RC_OK; turns++) {
			if (textset_find(&x->self, x->addr[i]) != NULL)
				rc = RC_NONE;
			else if (turns >= deepest)
				rc = err_set(k->e, RC_PERM, "unreasonable virtual_alias_maps map nesting");
			else
				rc = expand_once(k, x, i, &m, &word);
		}
		on = rewrite_goes_on(k, rc == RC_NONE ? RC_OK : rc, &all);
	}
	mapping_fini(&m);
	buf_fini(&word);
	return all;
}

enum rc
rewrite_virtual(struct work *k, const struct given *g, struct span addr, const struct chain *chain)
{
	struct expansion x = { .addr = NULL };
	struct given mine = *g;
	if (k->w->no_mappings || map_list_empty(k->w->virtual_alias))
		return rewrite_place(k, g, addr, chain);
	add_address(&x, arena_span(k->a, addr));
	enum rc rc = expand_all(k, &x);
	if (rc == RC_OK && (x.n > 1 || !span_eq(x.addr[0], addr)))
		rc = rewrite_say_expanded(k, &mine, addr);
	bool on = rc == RC_OK;
	for (size_t i = 0; i < x.n && on; i++)
		on = rewrite_goes_on(k, rewrite_place(k, &mine, x.addr[i], chain), &rc);
	mem_free(&x.addr);
	textset_clear(&x.self);
	return rc;
}
