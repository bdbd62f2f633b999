/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/limits.h"

#include "base/clock.h"
#include "base/rand.h"
#include "smtp/slotkey.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SLOTS = 16384, WAYS = 8, TABLE_MAGIC = 0x11a17b1e };

struct limits_slot {
	_Atomic uint64_t tag;    /* keyed hash of network and service; 0: never used */
	_Atomic uint16_t count[LIMITS_EDGES_MAX];
};

struct limits_table {
	_Atomic uint32_t magic;  /* set by whoever comes first */
	_Atomic uint64_t key;    /* so that clients cannot aim at a slot */
	struct limits_slot slots[SLOTS];
	struct rates rates;
	struct lockouts lockouts;
};

size_t
limits_table_size(void)
{
	return sizeof(struct limits_table);
}

static enum rc
map_table(struct limits *l, int fd, int flags, unsigned index, struct err *e)
{
	void *p = mmap(NULL, sizeof(struct limits_table), PROT_READ | PROT_WRITE, flags, fd, 0);
	if (p == MAP_FAILED)
		return err_set(e, RC_PERM, "mmap: %s", strerror(errno));
	limits_fini(l);
	l->table = p;
	l->column = index < LIMITS_EDGES_MAX ? index : LIMITS_EDGES_MAX - 1;
	uint64_t none = 0;
	atomic_compare_exchange_strong(&l->table->key, &none, rand_u64() | 1);
	atomic_store(&l->table->magic, TABLE_MAGIC);
	return RC_OK;
}

void
limits_init(struct limits *l, unsigned index)
{
	*l = (struct limits){ 0 };
	struct err e;
	if (map_table(l, -1, MAP_PRIVATE | MAP_ANONYMOUS, index, &e) != RC_OK)
		l->table = NULL; /* nobody is counted then */
}

enum rc
limits_attach(struct limits *l, int fd, unsigned index, struct err *e)
{
	struct stat st;
	enum rc rc = RC_PERM;
	if (fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof(struct limits_table))
		(void)err_set(e, RC_PERM, "the table of client limits is too short");
	else
		rc = map_table(l, fd, MAP_SHARED, index, e);
	close(fd);
	if (rc == RC_OK && index < LIMITS_EDGES_MAX) /* what a predecessor left */
		for (size_t i = 0; i < SLOTS; i++)
			if (atomic_load_explicit(&l->table->slots[i].tag, memory_order_relaxed) != 0)
				atomic_store(&l->table->slots[i].count[index], 0);
	return rc;
}

void
limits_fini(struct limits *l)
{
	if (l->table != NULL)
		munmap(l->table, sizeof *l->table);
	l->table = NULL;
}

static uint64_t
tag_of(uint64_t key, const struct ipaddr *a, struct span service)
{
	uint64_t h = slotkey_addr(key, 0, a);
	for (size_t i = 0; i < service.n; i++)
		h = slotkey_mix(h, service.p[i]);
	return h | 1;
}

static unsigned
total(const struct limits_slot *s)
{
	unsigned n = 0;
	for (int i = 0; i < LIMITS_EDGES_MAX; i++)
		n += atomic_load_explicit(&s->count[i], memory_order_relaxed);
	return n;
}

/* The slot of a tag: one that has it, or a new one, or one nobody needs any more. NULL: all taken. */
static struct limits_slot *
find_slot(struct limits_table *t, uint64_t tag)
{
	struct limits_slot *bucket = &t->slots[(tag >> 1) % (SLOTS / WAYS) * WAYS];
	for (int i = 0; i < WAYS; i++)
		if (atomic_load_explicit(&bucket[i].tag, memory_order_relaxed) == tag)
			return &bucket[i];
	for (int i = 0; i < WAYS; i++) {
		uint64_t old = atomic_load_explicit(&bucket[i].tag, memory_order_relaxed);
		if ((old == 0 || total(&bucket[i]) == 0) && atomic_compare_exchange_strong(&bucket[i].tag, &old, tag))
			return &bucket[i];
	}
	return NULL;
}

unsigned
limits_enter(struct limits *l, const struct ipaddr *network, struct span service, struct limits_ref *ref)
{
	ref->slot = 0;
	if (l->table == NULL)
		return 1;
	struct limits_slot *s = find_slot(l->table, tag_of(l->table->key, network, service));
	if (s == NULL)
		return 1;
	if (atomic_load_explicit(&s->count[l->column], memory_order_relaxed) == UINT16_MAX)
		return total(s) + 1;
	atomic_fetch_add_explicit(&s->count[l->column], 1, memory_order_relaxed);
	ref->slot = (uint32_t)(s - l->table->slots) + 1;
	return total(s);
}

void
limits_leave(struct limits *l, struct limits_ref *ref)
{
	if (ref->slot == 0 || l->table == NULL)
		return;
	struct limits_slot *s = &l->table->slots[ref->slot - 1];
	ref->slot = 0;
	/* never below zero, whatever a sibling wrote there */
	uint16_t n = atomic_load_explicit(&s->count[l->column], memory_order_relaxed);
	if (n > 0)
		atomic_store_explicit(&s->count[l->column], (uint16_t)(n - 1), memory_order_relaxed);
}

struct rates *
limits_rates(struct limits *l)
{
	return l->table != NULL ? &l->table->rates : NULL;
}

struct lockouts *
limits_lockouts(struct limits *l)
{
	return l->table != NULL ? &l->table->lockouts : NULL;
}

uint64_t
limits_salt(const struct limits *l)
{
	return l->table != NULL ? l->table->key : 0;
}

void
limits_note(struct limits *l, unsigned what, uint32_t value, struct span service, const struct ipaddr *network)
{
	if (l->table != NULL)
		rates_note(&l->table->rates, what, value, (uint32_t)(clock_wall() / USEC_PER_SEC), service, network);
}
