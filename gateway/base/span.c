/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/span.h"

#include "base/mem.h"
#include "base/rand.h"

static inline unsigned char
lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

bool
span_eq(struct span a, struct span b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool
span_caseeq(struct span a, struct span b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

bool
span_eq_str(struct span a, const char *b)
{
	return span_eq(a, span_str(b));
}

bool
span_caseeq_str(struct span a, const char *b)
{
	return span_caseeq(a, span_str(b));
}

bool
span_starts(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_eq(span_head(s, prefix.n), prefix);
}

bool
span_casestarts(struct span s, struct span prefix)
{
	return s.n >= prefix.n && span_caseeq(span_head(s, prefix.n), prefix);
}

bool
span_caseends(struct span s, struct span suffix)
{
	return s.n >= suffix.n && span_caseeq(span_from(s, s.n - suffix.n), suffix);
}

int
span_cmp(struct span a, struct span b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int d = n > 0 ? memcmp(a.p, b.p, n) : 0;
	return d != 0 ? d : (a.n > b.n) - (a.n < b.n);
}

struct span
span_from(struct span s, size_t pos)
{
	if (pos >= s.n)
		return (struct span){ s.p != NULL ? s.p + s.n : NULL, 0 };
	return (struct span){ s.p + pos, s.n - pos };
}

struct span
span_head(struct span s, size_t n)
{
	return (struct span){ s.p, n < s.n ? n : s.n };
}

size_t
span_chr(struct span s, unsigned char c)
{
	const unsigned char *q = s.n > 0 ? memchr(s.p, c, s.n) : NULL;
	return q != NULL ? (size_t)(q - s.p) : SIZE_MAX;
}

size_t
span_rchr(struct span s, unsigned char c)
{
	const unsigned char *q = s.n > 0 ? memrchr(s.p, c, s.n) : NULL;
	return q != NULL ? (size_t)(q - s.p) : SIZE_MAX;
}

size_t
span_find(struct span s, struct span needle)
{
	const unsigned char *q = s.n > 0 ? memmem(s.p, s.n, needle.p, needle.n) : NULL;
	return q != NULL ? (size_t)(q - s.p) : SIZE_MAX;
}

static bool
is_white(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct span
span_rtrim(struct span s)
{
	while (s.n > 0 && is_white(s.p[s.n - 1]))
		s.n--;
	return s;
}

struct span
span_trim(struct span s)
{
	while (s.n > 0 && is_white(s.p[0]))
		s.p++, s.n--;
	return span_rtrim(s);
}

bool
span_word(struct span *rest, const char *seps, struct span *word_out)
{
	struct span s = *rest, any = span_str(seps);
	while (s.n > 0 && span_chr(any, s.p[0]) != SIZE_MAX)
		s.p++, s.n--;
	size_t n = 0;
	while (n < s.n && span_chr(any, s.p[n]) == SIZE_MAX)
		n++;
	*word_out = span_head(s, n);
	*rest = span_from(s, n);
	return n > 0;
}

char *
span_dup(struct span s)
{
	char *copy = mem_alloc(s.n + 1);
	if (s.n > 0)
		memcpy(copy, s.p, s.n);
	copy[s.n] = '\0';
	return copy;
}

bool
span_u64(struct span s, uint64_t max, uint64_t *out)
{
	uint64_t v = 0;
	*out = 0;
	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(s.p[i] - '0'), &v))
			return false;
	}
	if (v > max)
		return false;
	*out = v;
	return true;
}

/* SipHash-2-4 (Aumasson, Bernstein), written from the paper. */
struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t
rotl(uint64_t x, int b)
{
	return (x << b) | (x >> (64 - b));
}

static inline void
sip_round(struct sip *s)
{
	s->v0 += s->v1, s->v1 = rotl(s->v1, 13), s->v1 ^= s->v0, s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3, s->v3 = rotl(s->v3, 16), s->v3 ^= s->v2;
	s->v0 += s->v3, s->v3 = rotl(s->v3, 21), s->v3 ^= s->v0;
	s->v2 += s->v1, s->v1 = rotl(s->v1, 17), s->v1 ^= s->v2, s->v2 = rotl(s->v2, 32);
}

static uint64_t
siphash(struct span in, bool fold)
{
	static uint64_t key[2];
	if (key[0] == 0)
		rand_bytes(key, sizeof key), key[0] |= 1;
	struct sip s = { key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
		key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573 };
	uint64_t m = 0;
	for (size_t i = 0; i < in.n; i++) {
		unsigned char c = fold ? lower(in.p[i]) : in.p[i];
		m |= (uint64_t)c << (8 * (i & 7));
		if ((i & 7) == 7) {
			s.v3 ^= m;
			sip_round(&s), sip_round(&s);
			s.v0 ^= m;
			m = 0;
		}
	}
	m |= (uint64_t)(in.n & 0xff) << 56;
	s.v3 ^= m;
	sip_round(&s), sip_round(&s);
	s.v0 ^= m;
	s.v2 ^= 0xff;
	sip_round(&s), sip_round(&s), sip_round(&s), sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

uint64_t
span_hash(struct span s)
{
	return siphash(s, false);
}

uint64_t
span_casehash(struct span s)
{
	return siphash(s, true);
}

/* An octet in each of the eight of a word. */
#define EACH(octet) (UINT64_C(0x0101010101010101) * (octet))

bool
span_is_printable(struct span s)
{
	size_t i = 0;
	for (uint64_t w; s.n - i >= sizeof w; i += sizeof w) {
		memcpy(&w, s.p + i, sizeof w);
		uint64_t del = w ^ EACH(0x7f);
		if ((((w - EACH(' ')) & ~w) | ((del - EACH(1)) & ~del)) & EACH(0x80))
			return false;
	}
	for (; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] == 0x7f)
			return false;
	return true;
}

bool
span_is_ascii(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] > 0x7f)
			return false;
	return true;
}

bool
span_is_utf8(struct span s)
{
	for (size_t i = 0; i < s.n;) {
		uint64_t w;
		if (s.n - i >= sizeof w && (memcpy(&w, s.p + i, sizeof w), (w & EACH(0x80)) == 0)) {
			i += sizeof w;
			continue;
		}
		unsigned char c = s.p[i];
		size_t more = c < 0x80 ? 0 : c >= 0xc2 && c < 0xe0 ? 1 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xf0 && c < 0xf5 ? 3 : 9;
		if (more == 9 || s.n - i <= more)
			return false;
		for (size_t k = 1; k <= more; k++)
			if ((s.p[i + k] & 0xc0) != 0x80)
				return false;
		unsigned char d = more > 0 ? s.p[i + 1] : 0;
		if ((c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) || (c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f))
			return false; /* overlong, surrogate, beyond U+10FFFF */
		i += more + 1;
	}
	return true;
}

struct span
cur_take(struct cur *c, size_t n)
{
	if (c->bad || n > cur_left(c)) {
		c->bad = true;
		return SPAN_EMPTY;
	}
	struct span s = { c->p, n };
	c->p += n;
	return s;
}

static uint64_t
take_le(struct cur *c, size_t n)
{
	struct span s = cur_take(c, n);
	uint64_t v = 0;
	for (size_t i = s.n; i-- > 0;)
		v = v << 8 | s.p[i];
	return v;
}

static uint64_t
take_be(struct cur *c, size_t n)
{
	struct span s = cur_take(c, n);
	uint64_t v = 0;
	for (size_t i = 0; i < s.n; i++)
		v = v << 8 | s.p[i];
	return v;
}

uint8_t
cur_u8(struct cur *c)
{
	return (uint8_t)take_le(c, 1);
}

uint16_t
cur_u16(struct cur *c)
{
	return (uint16_t)take_le(c, 2);
}

uint32_t
cur_u32(struct cur *c)
{
	return (uint32_t)take_le(c, 4);
}

uint64_t
cur_u64(struct cur *c)
{
	return take_le(c, 8);
}

uint16_t
cur_be16(struct cur *c)
{
	return (uint16_t)take_be(c, 2);
}

uint32_t
cur_be32(struct cur *c)
{
	return (uint32_t)take_be(c, 4);
}

struct span
cur_block(struct cur *c)
{
	return cur_take(c, cur_u32(c));
}
