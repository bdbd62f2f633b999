/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/rates.h"

#include "smtp/slotkey.h"

#include <stdio.h>

uint64_t
rates_client(uint64_t salt, const struct ipaddr *network, struct span service)
{
	return slotkey_name(slotkey_addr(salt, RATE_OF_CLIENT, network), service) | 1;
}

uint64_t
rates_name(uint64_t salt, enum rate_whose whose, struct span name)
{
	return slotkey_name(slotkey_mix(salt, (uint64_t)whose << 8), name) | 1;
}

static bool
is_over(const struct rate_slot *s, uint32_t now, uint32_t unit)
{
	uint32_t start = atomic_load_explicit(&s->start, memory_order_relaxed);
	return start == 0 || now - start > unit;
}

static void
begin(struct rate_slot *s, uint32_t now)
{
	for (int k = 0; k < RATE_KINDS; k++)
		atomic_store_explicit(&s->count[k], 0, memory_order_relaxed);
	atomic_store_explicit(&s->start, now, memory_order_relaxed);
}

static uint64_t
events(const struct rate_slot *s)
{
	uint64_t n = 0;
	for (int k = 0; k < RATE_KINDS; k++)
		n += atomic_load_explicit(&s->count[k], memory_order_relaxed);
	return n;
}

/* The slot of a key: its own, or one whose time is over, or the one with the fewest events. */
static struct rate_slot *
find(struct rates *r, uint64_t key, uint32_t now, uint32_t unit)
{
	struct rate_bucket *b = &r->bucket[(key >> 1) % RATE_BUCKETS];
	for (int i = 0; i < RATE_WAYS; i++)
		if (atomic_load_explicit(&b->tag[i], memory_order_relaxed) == key)
			return &b->slot[i];
	int best = 0;
	uint64_t fewest = UINT64_MAX;
	for (int i = 0; i < RATE_WAYS; i++) {
		uint64_t n = is_over(&b->slot[i], now, unit) ? 0 : events(&b->slot[i]);
		if (n < fewest) {
			fewest = n;
			best = i;
		}
	}
	/* two processes at once: the second one's key stands, and one event more is counted for it */
	atomic_store_explicit(&b->tag[best], key, memory_order_relaxed);
	return &b->slot[best];
}

uint32_t
rates_count(struct rates *r, uint64_t key, enum rate_kind kind, uint32_t now, uint32_t unit)
{
	struct rate_slot *s = find(r, key, now, unit);
	if (is_over(s, now, unit))
		begin(s, now);
	uint32_t n = atomic_load_explicit(&s->count[kind], memory_order_relaxed);
	if (n >= INT32_MAX)
		return n;
	return atomic_fetch_add_explicit(&s->count[kind], 1, memory_order_relaxed) + 1;
}

uint32_t
rates_read(struct rates *r, uint64_t key, enum rate_kind kind, uint32_t now, uint32_t unit)
{
	const struct rate_bucket *b = &r->bucket[(key >> 1) % RATE_BUCKETS];
	for (int i = 0; i < RATE_WAYS; i++)
		if (atomic_load_explicit(&b->tag[i], memory_order_relaxed) == key)
			return is_over(&b->slot[i], now, unit) ? 0 : atomic_load_explicit(&b->slot[i].count[kind], memory_order_relaxed);
	return 0;
}

/* Whoever is at it does it; who comes meanwhile has a number that is as good. */
void
rates_note(struct rates *r, unsigned what, uint32_t value, uint32_t wall, struct span service, const struct ipaddr *network)
{
	struct rate_maximum *m = &r->maximum[what];
	if (value <= atomic_load_explicit(&m->value, memory_order_relaxed) || atomic_exchange(&m->busy, 1) != 0)
		return;
	char text[IPADDR_TEXT];
	size_t n = ipaddr_text(network, text);
	snprintf(m->name, sizeof m->name, "%.*s:%s", (int)(service.n < 40 ? service.n : 40), (const char *)service.p, n > 0 ? text : "unknown");
	m->when = wall;
	atomic_store(&m->value, value);
	atomic_store(&m->busy, 0);
}

size_t
rates_live(struct rates *r, uint32_t now, uint32_t unit)
{
	size_t n = 0;
	for (size_t b = 0; b < RATE_BUCKETS; b++)
		for (int i = 0; i < RATE_WAYS; i++)
			if (atomic_load_explicit(&r->bucket[b].tag[i], memory_order_relaxed) != 0)
				n += !is_over(&r->bucket[b].slot[i], now, unit);
	return n;
}

bool
rates_take_maximum(struct rates *r, unsigned what, struct rate_maximum *out)
{
	struct rate_maximum *m = &r->maximum[what];
	uint32_t value = atomic_exchange(&m->value, 0);
	atomic_store(&m->busy, 0); /* also what a process left that died at it */
	if (value == 0)
		return false;
	out->when = m->when;
	memcpy(out->name, m->name, sizeof out->name);
	out->name[RATE_NAME_MAX] = '\0';
	atomic_init(&out->value, value);
	return true;
}
