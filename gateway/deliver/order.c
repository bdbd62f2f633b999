/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/target.h"

#include "base/rand.h"

static bool
comes_before(const struct settings *set, const struct taddr *a, const struct taddr *b)
{
	if (a->pref != b->pref)
		return a->pref < b->pref;
	return set->prefer != 0 && a->addr.family == set->prefer && b->addr.family != set->prefer;
}

/* Insertion keeps equals as they are; n is at most TARGET_ADDRS_MAX. */
static void
sort(const struct settings *set, struct taddr *addr, unsigned n)
{
	for (unsigned i = 1; i < n; i++) {
		struct taddr x = addr[i];
		unsigned j = i;
		for (; j > 0 && comes_before(set, &x, &addr[j - 1]); j--)
			addr[j] = addr[j - 1];
		addr[j] = x;
	}
}

/* The first limit addresses with as many of each family as is fair: a broken family then costs half of the
 * attempts, not all of them. */
static unsigned
balance(struct taddr *addr, unsigned n, unsigned limit)
{
	unsigned n6 = 0;
	for (unsigned i = 0; i < n; i++)
		n6 += addr[i].addr.family == IPADDR_V6;
	unsigned n4 = n - n6, want6 = limit / 2;
	if (n6 < want6)
		want6 = n6;
	unsigned want4 = limit - want6;
	if (n4 < want4) {
		want4 = n4;
		want6 = limit - want4;
	}
	unsigned kept = 0;
	for (unsigned i = 0; i < n && kept < limit; i++) {
		unsigned *room = addr[i].addr.family == IPADDR_V6 ? &want6 : &want4;
		if (*room == 0)
			continue;
		--*room;
		addr[kept++] = addr[i];
	}
	return kept;
}

unsigned
target_order(const struct settings *set, struct taddr *addr, unsigned n)
{
	for (unsigned i = n; set->randomize && i > 1; i--) {
		unsigned j = rand_below(i);
		struct taddr tmp = addr[i - 1];
		addr[i - 1] = addr[j];
		addr[j] = tmp;
	}
	sort(set, addr, n);
	unsigned limit = set->mx_address_limit;
	if (limit == 0 || n <= limit)
		return n;
	return set->balance && limit > 1 ? balance(addr, n, limit) : limit;
}
