/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/escape.h"

/* Characters that are written out, in order. Facts of Unicode 15: general categories Cc, Cf, Zl, Zp, Cn without a
 * character, and letters that look like nothing. */
static const struct {
	uint32_t first, last;
} hidden[] = {
	{ 0x00, 0x1f }, { 0x7f, 0x9f }, { 0xad, 0xad }, { 0x34f, 0x34f }, { 0x600, 0x605 }, { 0x61c, 0x61c }, { 0x6dd, 0x6dd }, { 0x70f, 0x70f },
	{ 0x890, 0x891 }, { 0x8e2, 0x8e2 }, { 0x115f, 0x1160 }, { 0x17b4, 0x17b5 }, { 0x180b, 0x180f }, { 0x200b, 0x200f }, { 0x2028, 0x202e },
	{ 0x2060, 0x206f }, { 0x3164, 0x3164 }, { 0xfdd0, 0xfdef }, { 0xfeff, 0xfeff }, { 0xffa0, 0xffa0 }, { 0xfff0, 0xfffb }, { 0xfffe, 0xffff },
	{ 0x110bd, 0x110bd }, { 0x110cd, 0x110cd }, { 0x13430, 0x1343f }, { 0x1bca0, 0x1bca3 }, { 0x1d173, 0x1d17a }, { 0xe0000, 0xe0fff },
};

static bool
is_hidden(uint32_t c)
{
	for (size_t i = 0; i < NELEMS(hidden) && hidden[i].first <= c; i++)
		if (c <= hidden[i].last)
			return true;
	return c > 0xffff && (c & 0xfffe) == 0xfffe;
}

/* The character at the front and its length; length 0: no UTF-8. */
static size_t
character(struct span s, uint32_t *out)
{
	unsigned char c = s.p[0];
	*out = c;
	if (c < 0x80)
		return 1;
	size_t len = c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	if (len == 0 || s.n < len || !span_is_utf8(span_head(s, len)))
		return 0;
	uint32_t v = c & (0x7fu >> len);
	for (size_t i = 1; i < len; i++)
		v = v << 6 | (s.p[i] & 0x3f);
	*out = v;
	return len;
}

/* How much of s may be shown: max, but not half a character. */
static struct span
cut(struct span s, size_t max)
{
	if (s.n <= max)
		return s;
	size_t n = max;
	while (n > 0 && max - n < 4 && (s.p[n] & 0xc0) == 0x80)
		n--;
	return span_head(s, n);
}

static void
put_hidden(struct buf *out, uint32_t c)
{
	if (c < 0x80)
		buf_printf(out, "\\x%02x", (unsigned)c);
	else
		buf_printf(out, "\\u{%x}", (unsigned)c);
}

enum how { AS_TEXT, AS_LINES, AS_MAIL };

static bool
is_word(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c >= 0x80;
}

/* A colon or dot that begins or holds together what could be clicked; what begins an encoded word (RFC 2047). */
static bool
makes_link(struct span s, size_t i)
{
	if (s.p[i] == '?')
		return i > 0 && s.p[i - 1] == '=';
	if (i + 1 >= s.n)
		return false;
	unsigned char next = s.p[i + 1];
	if (s.p[i] == ':')
		return next == '/' || (i > 0 && is_word(s.p[i - 1]) && next != ' ');
	return s.p[i] == '.' && i > 0 && is_word(s.p[i - 1]) && is_word(next);
}

static void
put(struct buf *out, struct span all, size_t max, enum how how)
{
	struct span s = cut(all, max);
	for (size_t i = 0; i < s.n;) {
		uint32_t c;
		size_t len = character(span_from(s, i), &c);
		if (len == 0) {
			buf_printf(out, "\\x%02x", (unsigned)s.p[i]);
			i++;
			continue;
		}
		bool ends_line = how == AS_LINES && (c == '\n' || (c == '\r' && i + 1 < s.n && s.p[i + 1] == '\n'));
		if (ends_line) {
			if (c == '\n')
				buf_putc(out, '\n');
		} else if (how == AS_LINES && c == '\t') {
			buf_putc(out, '\t');
		} else if (is_hidden(c)) {
			put_hidden(out, c);
		} else if (how == AS_MAIL && makes_link(s, i)) {
			buf_printf(out, "[%c]", (int)c);
		} else {
			buf_put(out, span_head(span_from(s, i), len));
		}
		i += len;
	}
	if (s.n < all.n)
		buf_puts(out, "...");
}

void
escape_text(struct buf *out, struct span s, size_t max)
{
	put(out, s, max, AS_TEXT);
}

void
escape_lines(struct buf *out, struct span s, size_t max)
{
	put(out, s, max, AS_LINES);
}

void
escape_mail(struct buf *out, struct span s, size_t max)
{
	put(out, s, max, AS_MAIL);
}

void
escape_json(struct buf *out, struct span all, size_t max)
{
	struct span s = cut(all, max);
	buf_putc(out, '"');
	for (size_t i = 0; i < s.n;) {
		uint32_t c;
		size_t len = character(span_from(s, i), &c);
		if (len == 0) {
			buf_puts(out, "\\ufffd");
			i++;
			continue;
		}
		if (is_hidden(c) && c > 0xffff)
			buf_printf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)), (unsigned)(0xdc00 + ((c - 0x10000) & 0x3ff)));
		else if (is_hidden(c))
			buf_printf(out, "\\u%04x", (unsigned)c);
		else if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", (int)c);
		else
			buf_put(out, span_head(span_from(s, i), len));
		i += len;
	}
	if (s.n < all.n)
		buf_puts(out, "...");
	buf_putc(out, '"');
}
