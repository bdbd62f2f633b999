/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slotkey.h - keys of slots in the tables that all edge processes share: limits.h, rates.h, lockout.h.
 *
 * A key is mixed from a salt that all of them have, so each finds the same slot, and no client can aim at another's.
 */
#ifndef SMTP_SLOTKEY_H
#define SMTP_SLOTKEY_H

#include "base/ipaddr.h"
#include "base/span.h"

static inline uint64_t
slotkey_mix(uint64_t h, uint64_t w)
{
	h ^= w;
	h *= UINT64_C(0x9fb21c651e98df25);
	h ^= h >> 35;
	h *= UINT64_C(0x9fb21c651e98df25);
	return h ^ h >> 28;
}

/* kind: what the table counts of an address; 0 where that is one thing. */
static inline uint64_t
slotkey_addr(uint64_t h, unsigned kind, const struct ipaddr *a)
{
	uint64_t hi, lo;
	memcpy(&hi, a->b, 8);
	memcpy(&lo, a->b + 8, 8);
	return slotkey_mix(slotkey_mix(slotkey_mix(h, (uint64_t)kind << 8 | a->family), hi), lo);
}

/* ASCII letters in either case are the same. */
static inline uint64_t
slotkey_name(uint64_t h, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = s.p[i];
		h = slotkey_mix(h, c >= 'A' && c <= 'Z' ? c | 0x20u : c);
	}
	return h;
}

#endif
