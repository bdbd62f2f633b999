/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/cache.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"

struct entry {
	struct hnode by_key;
	struct list by_use;
	enum dns_type type;
	enum rc rc;
	uint64_t until, born;
	struct dns_answer *answer;
	size_t bytes;
	bool is_proven;
	size_t name_len;
	unsigned char name[];
};

enum { ALLOCATION = 16 };            /* what a block costs besides its size */

void
dns_cache_init(struct dns_cache *c, size_t max_bytes)
{
	*c = (struct dns_cache){ .max = max_bytes };
	list_init(&c->fresh);
	list_init(&c->proven);
}

static void
drop(struct dns_cache *c, struct entry *e)
{
	htab_remove(&c->by_key, &e->by_key);
	list_remove(&e->by_use);
	c->count--;
	c->bytes -= e->bytes;
	if (e->is_proven)
		c->proven_bytes -= e->bytes;
	metric_set(M_dns_cache_bytes, (int64_t)c->bytes);
	mem_free(&e->answer);
	mem_free(&e);
}

static void
drop_all(struct dns_cache *c, struct list *l)
{
	while (!list_empty(l))
		drop(c, list_entry(l->next, struct entry, by_use));
}

void
dns_cache_fini(struct dns_cache *c)
{
	drop_all(c, &c->fresh);
	drop_all(c, &c->proven);
	htab_fini(&c->by_key);
}

/* The oldest proven ones are fresh again. */
static void
keep_share(struct dns_cache *c)
{
	while (c->proven_bytes > c->max / 4 * 3) {
		struct entry *e = list_entry(c->proven.prev, struct entry, by_use);
		e->is_proven = false;
		c->proven_bytes -= e->bytes;
		list_remove(&e->by_use);
		list_prepend(&c->fresh, &e->by_use);
	}
}

void
dns_cache_limit(struct dns_cache *c, size_t max_bytes)
{
	c->max = max_bytes;
	keep_share(c);
	while (c->bytes > c->max)
		drop(c, list_entry(c->fresh.prev, struct entry, by_use));
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
	if (e == NULL || e->until <= now)
		return false;
	list_remove(&e->by_use);
	if (!e->is_proven && now - e->born >= DNS_CACHE_PROVE_USEC) {
		e->is_proven = true;
		c->proven_bytes += e->bytes;
	}
	list_prepend(e->is_proven ? &c->proven : &c->fresh, &e->by_use);
	keep_share(c);
	*rc_out = e->rc;
	*out = e->answer;
	return true;
}

void
dns_cache_drop(struct dns_cache *c, enum dns_type type, struct span name)
{
	struct entry *e = find(c, type, name);
	if (e != NULL)
		drop(c, e);
}

/* Its memory when packed. */
static size_t
packed_size(const struct dns_answer *a)
{
	size_t bytes = sizeof *a + a->n * sizeof(struct dns_rr);
	for (unsigned i = 0; i < a->n; i++)
		bytes += a->rr[i].data.n;
	return bytes;
}

void
dns_cache_put(struct dns_cache *c, enum dns_type type, struct span name, uint64_t now, enum rc rc, const struct dns_answer *a)
{
	struct entry *e = find(c, type, name);
	bool is_proven = false;
	uint64_t born = now;
	if (e != NULL) { /* what is asked for all the time does not begin anew when its time is over */
		is_proven = e->is_proven;
		born = e->born;
		drop(c, e);
	}
	if (rc != RC_OK && rc != RC_NONE)
		return;
	name = dns_key(name);
	size_t bytes = sizeof *e + name.n + ALLOCATION + packed_size(a) + ALLOCATION;
	if (bytes > c->max / DNS_CACHE_SHARE)
		return;
	while (c->bytes + bytes > c->max)
		drop(c, list_entry(c->fresh.prev, struct entry, by_use));
	e = mem_zalloc(sizeof *e + name.n);
	e->type = type;
	e->rc = rc;
	e->born = born;
	e->until = now + (a->ttl > 0 ? a->ttl : 1) * USEC_PER_SEC;
	e->answer = dns_answer_pack(a);
	e->bytes = bytes;
	e->is_proven = is_proven;
	e->name_len = name.n;
	if (name.n > 0)
		memcpy(e->name, name.p, name.n);
	list_init(&e->by_use);
	list_prepend(is_proven ? &c->proven : &c->fresh, &e->by_use);
	htab_insert(&c->by_key, &e->by_key, dns_key_hash(type, name));
	c->count++;
	c->bytes += bytes;
	if (is_proven)
		c->proven_bytes += bytes;
	keep_share(c);
	metric_set(M_dns_cache_bytes, (int64_t)c->bytes);
}

struct dns_answer *
dns_answer_pack(const struct dns_answer *a)
{
	struct dns_answer *copy = mem_alloc(packed_size(a));
	*copy = *a;
	copy->alias = SPAN_EMPTY;
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
