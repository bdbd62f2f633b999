/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/xtext.h"

static int
hex_digit(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Next decoded octet, -1 when malformed. *i moves on. */
static int
next_octet(struct span s, size_t *i)
{
	unsigned char c = s.p[(*i)++];
	if (c <= 0x20 || c >= 0x7f)
		return -1;
	if (c != '+')
		return c;
	if (s.n - *i < 2)
		return -1;
	int hi = hex_digit(s.p[*i]), lo = hex_digit(s.p[*i + 1]);
	*i += 2;
	return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

bool
xtext_is_valid(struct span s, size_t max)
{
	if (s.n > max)
		return false;
	for (size_t i = 0; i < s.n;) {
		int c = next_octet(s, &i);
		if (c < 0x20 || c == 0x7f)
			return false;
	}
	return true;
}

enum rc
xtext_decode(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.n;) {
		int c = next_octet(s, &i);
		if (c < 0)
			return RC_PERM;
		buf_putc(b, (unsigned char)c);
	}
	return RC_OK;
}

void
xtext_encode(struct buf *b, struct span s)
{
	static const char digits[] = "0123456789ABCDEF";
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = s.p[i];
		if (c > 0x20 && c < 0x7f && c != '+' && c != '=') {
			buf_putc(b, c);
		} else {
			buf_putc(b, '+');
			buf_putc(b, (unsigned char)digits[c >> 4]);
			buf_putc(b, (unsigned char)digits[c & 15]);
		}
	}
}

bool
xtext_is_orcpt(struct span s, size_t max)
{
	size_t semi = span_chr(s, ';');
	if (semi == 0 || semi == SIZE_MAX || s.n > max)
		return false;
	for (size_t i = 0; i < semi; i++) {
		unsigned char c = s.p[i];
		bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
		if (!ok)
			return false;
	}
	return xtext_is_valid(span_from(s, semi + 1), max);
}
