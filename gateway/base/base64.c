/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void
base64_encode(struct buf *b, struct span s)
{
	unsigned char *out = s.n > 0 ? buf_reserve(b, BASE64_LEN(s.n)) : NULL;
	if (out == NULL)
		return;
	for (size_t i = 0; i < s.n; i += 3) {
		size_t left = s.n - i;
		uint32_t v = (uint32_t)s.p[i] << 16 | (left > 1 ? (uint32_t)s.p[i + 1] << 8 : 0) | (left > 2 ? s.p[i + 2] : 0u);
		*out++ = (unsigned char)alphabet[v >> 18];
		*out++ = (unsigned char)alphabet[v >> 12 & 63];
		*out++ = left > 1 ? (unsigned char)alphabet[v >> 6 & 63] : '=';
		*out++ = left > 2 ? (unsigned char)alphabet[v & 63] : '=';
	}
	buf_commit(b, BASE64_LEN(s.n));
}

/* 0..63; 64: not a letter of it. The time does not depend on which letter it is: passwords come this way. */
static uint32_t
value(unsigned char c)
{
	uint32_t is_upper = (uint32_t)(c >= 'A') & (uint32_t)(c <= 'Z'), is_lower = (uint32_t)(c >= 'a') & (uint32_t)(c <= 'z');
	uint32_t is_digit = (uint32_t)(c >= '0') & (uint32_t)(c <= '9'), is_plus = c == '+', is_slash = c == '/';
	uint32_t none = !(is_upper | is_lower | is_digit | is_plus | is_slash);
	return is_upper * (c - (uint32_t)'A') + is_lower * (c - (uint32_t)'a' + 26) + is_digit * (c - (uint32_t)'0' + 52) + is_plus * 62 + is_slash * 63 +
	    none * 64;
}

enum rc
base64_decode(struct span in, struct buf *b)
{
	if (in.n % 4 != 0)
		return RC_PERM;
	for (size_t i = 0; i < in.n; i += 4) {
		const unsigned char *p = in.p + i;
		bool is_last = i + 4 == in.n;
		size_t pad = !is_last || p[3] != '=' ? 0 : p[2] != '=' ? 1 : 2;
		uint32_t v = 0;
		for (size_t k = 0; k < 4 - pad; k++) {
			uint32_t x = value(p[k]);
			if (x == 64)
				return RC_PERM;
			v |= x << (18 - 6 * k);
		}
		if ((pad == 1 && (v & 0xff) != 0) || (pad == 2 && (v & 0xffff) != 0))
			return RC_PERM;
		const unsigned char out[3] = { (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v };
		buf_put(b, span_of(out, 3 - pad));
	}
	return b->over ? RC_PERM : RC_OK;
}
