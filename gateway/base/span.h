/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * span.h - bytes with a length: how everything from outside is held.
 *
 * A span is borrowed, may hold NUL and is never terminated. struct cur reads one from front to back;
 * a short read sets bad (which stays) and gives 0 or an empty span, so a parser is a straight line
 * with one test at the end. No offset arithmetic on outside bytes happens anywhere else.
 */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include "base/base.h"

#include <string.h>

struct span {
	const unsigned char *p;
	size_t n;
};

#define SPAN_EMPTY ((struct span){ NULL, 0 })
/* a string literal as a span */
#define SPAN(lit) ((struct span){ (const unsigned char *)("" lit), sizeof(lit) - 1 })

static inline struct span
span_of(const void *p, size_t n)
{
	return (struct span){ p, n };
}

/* NULL gives the empty span */
static inline struct span
span_str(const char *s)
{
	return (struct span){ (const unsigned char *)s, s != NULL ? strlen(s) : 0 };
}

bool span_eq(struct span a, struct span b);
bool span_caseeq(struct span a, struct span b);          /* ASCII case only */
bool span_eq_str(struct span a, const char *b);
bool span_caseeq_str(struct span a, const char *b);
bool span_starts(struct span s, struct span prefix);
bool span_casestarts(struct span s, struct span prefix);
bool span_caseends(struct span s, struct span suffix);
int span_cmp(struct span a, struct span b);              /* bytewise, shorter first */

/* Sub-spans; positions past the end give empty spans. */
struct span span_from(struct span s, size_t pos);
struct span span_head(struct span s, size_t n);
/* First / last position of c, or SIZE_MAX. */
size_t span_chr(struct span s, unsigned char c);
size_t span_rchr(struct span s, unsigned char c);
/* Position of needle, or SIZE_MAX. */
size_t span_find(struct span s, struct span needle);

struct span span_trim(struct span s);                    /* white space (space, tab, CR, LF, VT, FF) at both ends */
struct span span_rtrim(struct span s);

/* Takes the next word separated by any byte of seps out of *rest; false when nothing is left. */
bool span_word(struct span *rest, const char *seps, struct span *word_out);

/* A copy on the heap with a NUL behind it; given, ends with mem_free(). */
char *span_dup(struct span s) MUST_CHECK;

/* Decimal digits only, the whole span, at most max. */
bool span_u64(struct span s, uint64_t max, uint64_t *out) MUST_CHECK;

/* SipHash-2-4 with a key drawn once per process: for tables keyed by outside bytes. */
uint64_t span_hash(struct span s);
/* The same of the ASCII-lower-cased bytes. */
uint64_t span_casehash(struct span s);

bool span_is_ascii(struct span s);                       /* no byte over 0x7f */
bool span_is_printable(struct span s);                   /* no control character: nothing under a space, no DEL */
bool span_is_utf8(struct span s);                        /* well-formed UTF-8 (RFC 3629) */

struct cur {
	const unsigned char *p, *end;
	bool bad;
};

static inline struct cur
cur_of(struct span s)
{
	return (struct cur){ s.p, s.p + s.n, false };
}

static inline size_t
cur_left(const struct cur *c)
{
	return (size_t)(c->end - c->p);
}

/* Fixed-size integers, little-endian (our own formats) unless the name says be. */
uint8_t cur_u8(struct cur *c);
uint16_t cur_u16(struct cur *c);
uint32_t cur_u32(struct cur *c);
uint64_t cur_u64(struct cur *c);
uint16_t cur_be16(struct cur *c);
uint32_t cur_be32(struct cur *c);
/* Next n bytes; empty and bad when short. */
struct span cur_take(struct cur *c, size_t n);
/* u32 length, then that many bytes. Pair of buf_put_block(). */
struct span cur_block(struct cur *c);
/* All read, and nothing was bad. */
static inline bool MUST_CHECK
cur_done(const struct cur *c)
{
	return !c->bad && c->p == c->end;
}

#endif
