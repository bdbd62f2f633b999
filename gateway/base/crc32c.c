/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/crc32c.h"

#define POLYNOMIAL 0x82f63b78u

static uint32_t table[8][256];

static void
fill_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ POLYNOMIAL : c >> 1;
		table[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int k = 1; k < 8; k++)
			table[k][i] = table[0][table[k - 1][i] & 0xff] ^ table[k - 1][i] >> 8;
}

static uint32_t
crc_table(uint32_t c, const unsigned char *p, size_t n)
{
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t w;
		memcpy(&w, p, 8);
		w ^= c;
		c = 0;
		for (int k = 0; k < 8; k++)
			c ^= table[7 - k][w >> (8 * k) & 0xff];
	}
	while (n-- > 0)
		c = table[0][(c ^ *p++) & 0xff] ^ c >> 8;
	return c;
}

#ifdef __x86_64__
__attribute__((target("sse4.2"))) static uint32_t
crc_sse42(uint32_t c, const unsigned char *p, size_t n)
{
	uint64_t c8 = c;
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t w;
		memcpy(&w, p, 8);
		c8 = __builtin_ia32_crc32di(c8, w);
	}
	c = (uint32_t)c8;
	while (n-- > 0)
		c = __builtin_ia32_crc32qi(c, *p++);
	return c;
}
#endif

/* Product of two polynomials modulo ours; the highest bit is x^0. */
static uint32_t
times(uint32_t a, uint32_t b)
{
	uint32_t product = 0;
	for (uint32_t bit = 1u << 31; bit != 0; bit >>= 1) {
		if ((a & bit) != 0)
			product ^= b;
		b = (b & 1) != 0 ? b >> 1 ^ POLYNOMIAL : b >> 1;
	}
	return product;
}

uint32_t
crc32c_shift(uint32_t crc, uint64_t len)
{
	uint32_t power = 1u << 23; /* x^8: one octet */
	for (; len > 0; len >>= 1, power = times(power, power))
		if ((len & 1) != 0)
			crc = times(power, crc);
	return crc;
}

typedef uint32_t crc_fn(uint32_t, const unsigned char *, size_t);

uint32_t
crc32c(uint32_t crc, struct span s)
{
	static crc_fn *volatile chosen; /* two threads may both choose: they choose alike */
	crc_fn *fn = chosen;
	if (fn == NULL) {
		fn = crc_table;
#ifdef __x86_64__
		if (__builtin_cpu_supports("sse4.2"))
			fn = crc_sse42;
#endif
		if (fn == crc_table)
			fill_table();
		chosen = fn;
	}
	return s.n > 0 ? ~fn(~crc, s.p, s.n) : crc;
}
