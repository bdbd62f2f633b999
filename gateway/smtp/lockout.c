/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/lockout.h"

#include "smtp/slotkey.h"

uint64_t
lockout_key(uint64_t salt, struct span user, const struct ipaddr *network)
{
	return slotkey_mix(slotkey_name(slotkey_addr(salt, 0, network), user), user.n) | 1;
}

static bool
is_over(const struct lockout_bucket *b, int i, uint32_t now)
{
	return (int32_t)(now - atomic_load_explicit(&b->until[i], memory_order_relaxed)) >= 0;
}

static struct lockout_bucket *
bucket_of(struct lockout_table *t, uint64_t key)
{
	return &t->bucket[(key >> 1) % LOCKOUT_BUCKETS];
}

static int
find(const struct lockout_bucket *b, uint64_t key)
{
	for (int i = 0; i < LOCKOUT_WAYS; i++)
		if (atomic_load_explicit(&b->tag[i], memory_order_relaxed) == key)
			return i;
	return -1;
}

static int
make_room(struct lockout_bucket *b, uint32_t now)
{
	int best = 0;
	uint32_t fewest = UINT32_MAX;
	for (int i = 0; i < LOCKOUT_WAYS; i++) {
		bool is_free = atomic_load_explicit(&b->tag[i], memory_order_relaxed) == 0 || is_over(b, i, now);
		uint32_t n = is_free ? 0 : atomic_load_explicit(&b->count[i], memory_order_relaxed) + 1;
		if (n < fewest) {
			fewest = n;
			best = i;
		}
	}
	return best;
}

uint32_t
lockout_count(struct lockout_table *t, uint64_t key, uint32_t now, uint32_t seconds)
{
	struct lockout_bucket *b = bucket_of(t, key);
	int i = find(b, key);
	bool is_new = i < 0 || is_over(b, i, now);
	if (i < 0)
		i = make_room(b, now);
	if (is_new) { /* two processes at once: one failure may be lost */
		atomic_store_explicit(&b->count[i], 0, memory_order_relaxed);
		atomic_store_explicit(&b->until[i], now + seconds, memory_order_relaxed);
		atomic_store_explicit(&b->tag[i], key, memory_order_relaxed);
	}
	uint32_t n = atomic_load_explicit(&b->count[i], memory_order_relaxed);
	return n >= INT32_MAX ? n : atomic_fetch_add_explicit(&b->count[i], 1, memory_order_relaxed) + 1;
}

uint32_t
lockout_seen(struct lockout_table *t, uint64_t key, uint32_t now)
{
	struct lockout_bucket *b = bucket_of(t, key);
	int i = find(b, key);
	return i < 0 || is_over(b, i, now) ? 0 : atomic_load_explicit(&b->count[i], memory_order_relaxed);
}

void
lockout_forget(struct lockout_table *t, uint64_t key)
{
	struct lockout_bucket *b = bucket_of(t, key);
	int i = find(b, key);
	if (i >= 0)
		atomic_store_explicit(&b->tag[i], 0, memory_order_relaxed);
}
