/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/crc32c.h"

static uint32_t table[8][256];

static void
fill_table(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;
		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
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
