/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/cache.h"

#include "base/clock.h"
#include "base/mem.h"

struct entry {
	struct hnode by_key;
	struct list by_use;
	enum dns_type type;
	enum rc rc;
	uint64_t until;
	struct dns_answer *answer;
	size_t name_len;
	unsigned char name[];
};

void
dns_cache_init(struct dns_cache *c, size_t max)
{
	*c = (struct dns_cache){ .max = max };
	list_init(&c->by_use);
}

static void
drop(struct dns_cache *c, struct entry *e)
{
	htab_remove(&c->by_key, &e->by_key);
	list_remove(&e->by_use);
	c->count--;
	mem_free(&e->answer);
	mem_free(&e);
}

void
dns_cache_fini(struct dns_cache *c)
{
	while (!list_empty(&c->by_use))
		drop(c, list_entry(c->by_use.next, struct entry, by_use));
	htab_fini(&c->by_key);
}

struct span
dns_key(struct span name)
{
	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	return name;
}

uint64_t
dns_key_hash(enum dns_type type, struct span name)
{
	return span_casehash(dns_key(name)) + (uint64_t)type * UINT64_C(0x9e3779b97f4a7c15);
}

static struct entry *
find(struct dns_cache *c, enum dns_type type, struct span name)
{
	name = dns_key(name);
	for (struct hnode *n = htab_first(&c->by_key, dns_key_hash(type, name)); n != NULL; n = htab_next(n)) {
		struct entry *e = container_of(n, struct entry, by_key);
		if (e->type == type && span_caseeq(span_of(e->name, e->name_len), name))
			return e;
	}
	return NULL;
}

bool
dns_cache_find(struct dns_cache *c, enum dns_type type, struct span name, uint64_t now, enum rc *rc_out, const struct dns_answer **out)
{
	struct entry *e = find(c, type, name);
	if (e == NULL)
		return false;
	if (e->until <= now) {
		drop(c, e);
		return false;
	}
	list_remove(&e->by_use);
	list_prepend(&c->by_use, &e->by_use);
	*rc_out = e->rc;
	*out = e->answer;
	return true;
}

void
dns_cache_put(struct dns_cache *c, enum dns_type type, struct span name, uint64_t now, enum rc rc, const struct dns_answer *a)
{
	struct entry *e = find(c, type, name);
	if (e != NULL)
		drop(c, e);
	if ((rc != RC_OK && rc != RC_NONE) || c->max == 0)
		return;
	while (c->count >= c->max)
		drop(c, list_entry(c->by_use.prev, struct entry, by_use));
	name = dns_key(name);
	e = mem_zalloc(sizeof *e + name.n);
	e->type = type;
	e->rc = rc;
	e->until = now + (a->ttl > 0 ? a->ttl : 1) * USEC_PER_SEC;
	e->answer = dns_answer_pack(a);
	e->name_len = name.n;
	if (name.n > 0)
		memcpy(e->name, name.p, name.n);
	list_init(&e->by_use);
	list_prepend(&c->by_use, &e->by_use);
	htab_insert(&c->by_key, &e->by_key, dns_key_hash(type, name));
	c->count++;
}

void
dns_cache_drop(struct dns_cache *c, enum dns_type type, struct span name)
{
	struct entry *e = find(c, type, name);
	if (e != NULL)
		drop(c, e);
}

struct dns_answer *
dns_answer_pack(const struct dns_answer *a)
{
	size_t bytes = 0;
	for (unsigned i = 0; i < a->n; i++)
		bytes += a->rr[i].data.n;
	size_t records = a->n * sizeof(struct dns_rr);
	struct dns_answer *copy = mem_alloc(sizeof *copy + records + bytes);
	*copy = *a;
	copy->rr = (struct dns_rr *)(void *)(copy + 1);
	unsigned char *p = (unsigned char *)(copy->rr + a->n);
	for (unsigned i = 0; i < a->n; i++) {
		copy->rr[i] = a->rr[i];
		struct span s = a->rr[i].data;
		copy->rr[i].data = span_of(p, s.n);
		if (s.n > 0)
			memcpy(p, s.p, s.n);
		p += s.n;
	}
	return copy;
}
