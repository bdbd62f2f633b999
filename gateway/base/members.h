/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * members.h - the encoding of a struct, said once for writing and for reading: a row for each member, in the order of the octets.
 *
 * Numbers are little-endian, as buf.h and span.h have them; a bool and an enum are one octet, a span is its length (u32) and its
 * octets. A row bounds what may be read: a number by its value, a span by its length; 0 and 1 are the bools.
 */
#ifndef BASE_MEMBERS_H
#define BASE_MEMBERS_H

#include "base/buf.h"
#include "base/ipaddr.h"

#include <stddef.h>

enum member_kind { MEMBER_U8, MEMBER_U32, MEMBER_U64, MEMBER_BOOL, MEMBER_ENUMERATOR, MEMBER_ADDRESS, MEMBER_SPAN, MEMBER_STRING };

struct member {
	uint8_t kind;                /* enum member_kind */
	uint8_t count;               /* of an array; else 1 */
	uint16_t at;                 /* where the member is, octets */
	uint64_t min, max;           /* what may be read: values; of a span: octets */
};

/* clang-format off */
#define MEMBER_KIND(m) _Generic((m), uint8_t: MEMBER_U8, uint32_t: MEMBER_U32, uint64_t: MEMBER_U64, bool: MEMBER_BOOL, \
	struct span: MEMBER_SPAN, struct ipaddr: MEMBER_ADDRESS)
#define MEMBER_OF(s, member) (((struct s *)0)->member)
#define MEMBER_ROW(s, member, k, n, lo, hi) { .kind = (k), .count = (n), .at = offsetof(struct s, member), .min = (lo), .max = (hi) }

/* A member of struct s: any value; values, or lengths of a span, from lo to hi. */
#define MEMBER(s, member) MEMBER_ROW(s, member, MEMBER_KIND(MEMBER_OF(s, member)), 1, 0, UINT64_MAX)
#define MEMBER_IN(s, member, lo, hi) MEMBER_ROW(s, member, MEMBER_KIND(MEMBER_OF(s, member)), 1, lo, hi)
/* An enum with values below 256. */
#define MEMBER_ENUM(s, member, lo, hi) MEMBER_ROW(s, member, MEMBER_ENUMERATOR, sizeof MEMBER_OF(s, member) == sizeof(int) ? 1 : -1, lo, hi)
/* A span that becomes a C string: no NUL in it. */
#define MEMBER_TEXT(s, member, lo, hi) MEMBER_ROW(s, member, MEMBER_STRING, sizeof MEMBER_OF(s, member) == sizeof(struct span) ? 1 : -1, lo, hi)
/* An array: each of its members. */
#define MEMBER_ARRAY(s, member, lo, hi) MEMBER_ROW(s, member, MEMBER_KIND(MEMBER_OF(s, member)[0]), NELEMS(MEMBER_OF(s, member)), lo, hi)
/* clang-format on */

/* Appends the n members of *s. */
void members_put(struct buf *b, const void *s, const struct member *m, size_t n);

/* Takes them; spans are borrowed from what rd reads. All n are written in any case; false: one is out of its bounds, or there was
 * no more to read (rd->bad). */
bool members_get(struct cur *rd, void *s, const struct member *m, size_t n) MUST_CHECK;

/* The same of a payload that holds nothing else. RC_PERM: it is not one. */
enum rc members_get_whole(struct span payload, void *s, const struct member *m, size_t n) MUST_CHECK;

#endif
