/* SPDX-License-Identifier: BSD-2-Clause */
/* What has been dealt with in one rewriting: recipients, and texts. Lists are long, so nothing here looks at all of it. */
#include "base/mem.h"
#include "ipc/msgs.h"
#include "policy/rewriter.h"

/* ---- recipients ---- */

/* Where one of them is in the row. */
struct place {
	struct hnode by_hash;
	uint32_t at;
};

static uint64_t
hash_of(const struct work *k, const struct given *g, struct span addr)
{
	uint64_t h = span_casehash(addr);
	if (k->w->p->p_enable_original_recipient)
		h ^= span_casehash(g->orig) * 3 + span_casehash(g->orcpt) * 5 + g->notify;
	h ^= g->held;
	return h + k->group * UINT64_C(0x9e3779b97f4a7c15);
}

bool
seen_has(const struct work *k, const struct seen *l, const struct given *g, struct span addr)
{
	for (struct hnode *n = htab_first(&l->by_hash, hash_of(k, g, addr)); n != NULL; n = htab_next(n)) {
		const struct env_rcpt *r = &l->rcpt[container_of(n, struct place, by_hash)->at];
		if (!span_caseeq(r->addr, addr) || r->held != g->held)
			continue;
		struct span orig = r->orig.n > 0 ? r->orig : r->addr;
		if (!k->w->p->p_enable_original_recipient || (span_caseeq(orig, g->orig) && span_caseeq(r->orcpt, g->orcpt) && r->notify == g->notify))
			return true;
	}
	return false;
}

enum rc
seen_add(struct work *k, struct seen *l, const struct given *g, struct span addr)
{
	bool told = (g->notify & NOTIFY_EXPANDED) != 0;
	struct place *p = arena_alloc(k->a, sizeof *p);
	struct env_rcpt r = { .addr = arena_span(k->a, addr), .orcpt = g->orcpt, .notify = g->notify, .held = g->held };
	if (p == NULL || k->a->over)
		return err_set(k->e, RC_PERM, "unreasonable alias expansion size");
	if (!span_eq(g->orig, addr))
		r.orig = g->orig;
	if (l->n == l->cap) {
		l->cap = l->cap > 0 ? 2 * l->cap : 4;
		l->rcpt = mem_reallocarray(l->rcpt, l->cap, sizeof *l->rcpt);
	}
	p->at = l->n++;
	l->rcpt[p->at] = r;
	if (!told && p->at < (uint32_t)k->w->p->p_duplicate_filter_limit) /* what comes later is not remembered */
		htab_insert(&l->by_hash, &p->by_hash, hash_of(k, g, addr));
	return RC_OK;
}

void
seen_fini(struct seen *l)
{
	htab_fini(&l->by_hash);
	mem_free(&l->rcpt);
}

/* ---- texts ---- */

struct text *
textset_find(const struct textset *s, struct span text)
{
	for (struct hnode *n = htab_first(&s->by_hash, span_casehash(text)); n != NULL; n = htab_next(n)) {
		struct text *t = container_of(n, struct text, by_hash);
		if (s->exact ? span_eq(t->text, text) : span_caseeq(t->text, text))
			return t;
	}
	return NULL;
}

struct text *
textset_add(struct work *k, struct textset *s, struct span text)
{
	struct text *t = arena_zalloc(k->a, sizeof *t);
	if (t == NULL)
		return NULL;
	t->text = arena_span(k->a, text);
	if (k->a->over)
		return NULL;
	htab_insert(&s->by_hash, &t->by_hash, span_casehash(text));
	return t;
}

void
textset_clear(struct textset *s)
{
	htab_fini(&s->by_hash);
}
