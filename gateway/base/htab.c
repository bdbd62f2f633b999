/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/htab.h"

#include "base/mem.h"

enum { FIRST_BUCKETS = 16 };

void
htab_fini(struct htab *t)
{
	mem_free(&t->buckets);
	*t = (struct htab){ 0 };
}

static void
grow(struct htab *t)
{
	size_t n = t->buckets == NULL ? FIRST_BUCKETS : (t->mask + 1) * 2;
	struct hnode **nb = mem_calloc(n, sizeof *nb);
	for (size_t i = 0; t->buckets != NULL && i <= t->mask; i++)
		for (struct hnode *e = t->buckets[i], *next; e != NULL; e = next) {
			next = e->next;
			e->next = nb[e->hash & (n - 1)];
			nb[e->hash & (n - 1)] = e;
		}
	mem_free(&t->buckets);
	t->buckets = nb;
	t->mask = n - 1;
}

void
htab_insert(struct htab *t, struct hnode *n, uint64_t hash)
{
	if (t->buckets == NULL || t->count > t->mask)
		grow(t);
	n->hash = hash;
	n->next = t->buckets[hash & t->mask];
	t->buckets[hash & t->mask] = n;
	t->count++;
}

void
htab_remove(struct htab *t, struct hnode *n)
{
	BUG_ON(t->buckets == NULL);
	struct hnode **pp = &t->buckets[n->hash & t->mask];
	while (*pp != n) {
		BUG_ON(*pp == NULL);
		pp = &(*pp)->next;
	}
	*pp = n->next;
	n->next = NULL;
	t->count--;
}

struct hnode *
htab_first(const struct htab *t, uint64_t hash)
{
	struct hnode *n = t->buckets != NULL ? t->buckets[hash & t->mask] : NULL;
	while (n != NULL && n->hash != hash)
		n = n->next;
	return n;
}

struct hnode *
htab_next(const struct hnode *n)
{
	uint64_t hash = n->hash;
	struct hnode *m = n->next;
	while (m != NULL && m->hash != hash)
		m = m->next;
	return m;
}

struct hnode *
htab_walk(const struct htab *t, const struct hnode *n)
{
	if (t->buckets == NULL)
		return NULL;
	if (n != NULL && n->next != NULL)
		return n->next;
	for (size_t i = n != NULL ? (n->hash & t->mask) + 1 : 0; i <= t->mask; i++)
		if (t->buckets[i] != NULL)
			return t->buckets[i];
	return NULL;
}
