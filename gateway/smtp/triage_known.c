/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who has passed triage, as far as this process knows: it spares the question to the queue. A table of fixed size, where a
 * newcomer takes the place of whoever was there; a row is true whenever it is there, because a time that was reached is not
 * taken back.
 */
#include "base/rand.h"
#include "smtp/triage.h"

enum { ROWS = 4096 };

static struct row {
	struct ipaddr addr;
	uint32_t until[TEST_COUNT];
} rows[ROWS];
static uint64_t salt;

static struct row *
place(const struct ipaddr *a)
{
	if (salt == 0)
		salt = rand_u64() | 1; /* nobody aims at another's row */
	uint64_t h = salt, w[2];
	memcpy(w, a->b, sizeof w);
	for (int i = 0; i < 2; i++) {
		h = (h ^ w[i]) * UINT64_C(0x9fb21c651e98df25);
		h ^= h >> 29;
	}
	return &rows[(h ^ a->family) % ROWS];
}

bool
triage_known_find(const struct ipaddr *addr, uint64_t until[TEST_COUNT])
{
	const struct row *r = place(addr);
	if (!ipaddr_eq(&r->addr, addr))
		return false;
	for (int i = 0; i < TEST_COUNT; i++)
		until[i] = r->until[i];
	return true;
}

void
triage_known_keep(const struct ipaddr *addr, const uint64_t until[TEST_COUNT])
{
	struct row *r = place(addr);
	r->addr = *addr;
	for (int i = 0; i < TEST_COUNT; i++)
		r->until[i] = until[i] < UINT32_MAX ? (uint32_t)until[i] : UINT32_MAX;
}
