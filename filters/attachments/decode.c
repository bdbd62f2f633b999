/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/decode.h"

enum { CHUNK = 16 * 1024 };

/* Value of a character of base64, 64 for padding, 65 for what is skipped; the alphabet for URLs is read, too. */
static unsigned char base64_values[256];

static void
make_values(void)
{
	static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	memset(base64_values, 65, sizeof base64_values);
	for (unsigned i = 0; i < 64; i++)
		base64_values[(unsigned char)alphabet[i]] = (unsigned char)i;
	base64_values['='] = 64;
}

int
decode_hex(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
has_word(struct span s, const char *word)
{
	size_t n = strlen(word);
	for (size_t i = 0; i + n <= s.n; i++)
		if (span_casestarts(span_from(s, i), span_of(word, n)))
			return true;
	return false;
}

unsigned
decode_cte_of(struct span value)
{
	unsigned bits = 0;
	if (has_word(value, "base") || has_word(value, "b64"))
		bits |= DECODE_BASE64;
	if (has_word(value, "quoted") || has_word(value, "printable"))
		bits |= DECODE_QP;
	if (has_word(value, "uu"))
		bits |= DECODE_UU;
	if (has_word(value, "yenc"))
		bits |= DECODE_YENC;
	if (has_word(value, "binhex") || has_word(value, "hqx"))
		bits |= DECODE_BINHEX;
	if (bits == 0 && span_trim(value).n > 0 && !has_word(value, "bit") && !has_word(value, "binary"))
		bits = DECODE_NONE | DECODE_BASE64 | DECODE_QP; /* nobody knows what they make of it */
	return bits != 0 ? bits : DECODE_NONE;
}

void
decode_base64(struct span in, struct buf *out, size_t max)
{
	if (base64_values['='] != 64)
		make_values();
	uint32_t quantum = 0;
	unsigned have = 0;
	size_t i = 0, made = 0;
	while (i < in.n && made < max) {
		size_t room = max - made < CHUNK ? max - made : CHUNK, n = 0;
		unsigned char *p = buf_reserve(out, room + 4);
		if (p == NULL)
			return;
		for (; i < in.n && n < room; i++) {
			while (have == 0 && i + 4 <= in.n && n < room) { /* whole groups, as nearly all are */
				unsigned char a = base64_values[in.p[i]], b = base64_values[in.p[i + 1]], c = base64_values[in.p[i + 2]], d = base64_values[in.p[i + 3]];
				if (((a | b | c | d) & 0xc0) != 0)
					break;
				p[n++] = (unsigned char)(a << 2 | b >> 4);
				p[n++] = (unsigned char)(b << 4 | c >> 2);
				p[n++] = (unsigned char)(c << 6 | d);
				i += 4;
			}
			if (i >= in.n || n >= room)
				break;
			unsigned char v = base64_values[in.p[i]];
			if (v < 64) {
				quantum = quantum << 6 | v;
				if (++have < 4)
					continue;
				p[n++] = (unsigned char)(quantum >> 16);
				p[n++] = (unsigned char)(quantum >> 8);
				p[n++] = (unsigned char)quantum;
				have = 0;
			} else if (v == 64) { /* padding ends a group; what follows is read all the same */
				if (have >= 2)
					p[n++] = (unsigned char)(quantum >> (have == 3 ? 10 : 4));
				if (have == 3)
					p[n++] = (unsigned char)(quantum >> 2);
				have = 0;
			}
		}
		buf_commit(out, n);
		made += n;
	}
	if (i >= in.n && have >= 2 && made < max) {
		buf_putc(out, (unsigned char)(quantum >> (have == 3 ? 10 : 4)));
		if (have == 3)
			buf_putc(out, (unsigned char)(quantum >> 2));
	}
}

void
decode_qp(struct span in, struct buf *out, size_t max)
{
	size_t made = 0;
	for (size_t i = 0; i < in.n && made < max;) {
		size_t plain = i;
		while (plain < in.n && in.p[plain] != '=' && plain - i < max - made)
			plain++;
		buf_put(out, span_of(in.p + i, plain - i));
		made += plain - i;
		i = plain;
		if (i >= in.n || in.p[i] != '=' || made >= max)
			continue;
		int high = i + 1 < in.n ? decode_hex(in.p[i + 1]) : -1, low = i + 2 < in.n ? decode_hex(in.p[i + 2]) : -1;
		if (high >= 0 && low >= 0) {
			buf_putc(out, (unsigned char)(high << 4 | low));
			made++;
			i += 3;
			continue;
		}
		size_t k = i + 1; /* a soft line end, blanks before it */
		while (k < in.n && (in.p[k] == ' ' || in.p[k] == '\t'))
			k++;
		if (k < in.n && in.p[k] == '\r')
			k++;
		if (k < in.n && in.p[k] == '\n')
			k++;
		else if (k == i + 1) {
			buf_putc(out, '=');
			made++;
		}
		i = k;
	}
}

/* The next line without its end. */
static bool
take_line(struct span *rest, struct span *line)
{
	if (rest->n == 0)
		return false;
	size_t end = span_chr(*rest, '\n');
	*line = span_head(*rest, end);
	*rest = end == SIZE_MAX ? SPAN_EMPTY : span_from(*rest, end + 1);
	while (line->n > 0 && line->p[line->n - 1] == '\r')
		line->n--;
	return true;
}

void
decode_uu(struct span in, struct buf *out, size_t max)
{
	struct span line;
	size_t made = 0;
	while (made < max && take_line(&in, &line)) {
		if (line.n == 0)
			continue;
		size_t want = (line.p[0] - 0x20u) & 0x3f, n = 0;
		unsigned char octets[64];
		for (size_t i = 1; i < line.n && n < want; i += 4) {
			uint32_t q = 0;
			for (size_t k = 0; k < 4; k++)
				q = q << 6 | (i + k < line.n ? (line.p[i + k] - 0x20u) & 0x3f : 0);
			for (int shift = 16; shift >= 0 && n < want; shift -= 8)
				octets[n++] = (unsigned char)(q >> shift);
		}
		n = n < max - made ? n : max - made;
		buf_put(out, span_of(octets, n));
		made += n;
	}
}

void
decode_yenc(struct span in, struct buf *out, size_t max)
{
	struct span line;
	size_t made = 0;
	while (made < max && take_line(&in, &line)) {
		if (span_starts(line, SPAN("=y")))
			continue;
		for (size_t i = 0; i < line.n && made < max; i++) {
			unsigned char c = line.p[i];
			if (c == '=' && i + 1 < line.n)
				c = (unsigned char)(line.p[++i] - 64);
			buf_putc(out, (unsigned char)(c - 42));
			made++;
		}
	}
}

enum rc
decode_binhex(struct span in, struct buf *scratch, struct buf *out, size_t max, struct span *name_out)
{
	static const char alphabet[] = "!\"#$%&'()*+,-012345689@ABCDEFGHIJKLMNPQRSTUVXYZ[`abcdefhijklmpqr";
	size_t start = span_chr(in, ':');
	uint32_t quantum = 0;
	unsigned have = 0;
	unsigned char last = 0;
	bool repeat = false;
	if (start == SIZE_MAX)
		return RC_NONE;
	buf_reset(scratch);
	for (size_t i = start + 1; i < in.n && in.p[i] != ':' && buf_len(scratch) < max + 512 && !scratch->over; i++) {
		const char *at = in.p[i] != 0 ? strchr(alphabet, in.p[i]) : NULL;
		if (at == NULL)
			continue;
		quantum = quantum << 6 | (uint32_t)(at - alphabet);
		have += 6;
		if (have < 8)
			continue;
		have -= 8;
		unsigned char c = (unsigned char)(quantum >> have);
		if (repeat) { /* 0x90 and a count; a count of 0 is 0x90 itself */
			repeat = false;
			for (unsigned n = c; n > 1; n--)
				buf_putc(scratch, last);
			if (c == 0) {
				last = 0x90;
				buf_putc(scratch, last);
			}
		} else if (c == 0x90) {
			repeat = true;
		} else {
			last = c;
			buf_putc(scratch, c);
		}
	}
	struct cur c = cur_of(buf_span(scratch));
	struct span name = cur_take(&c, cur_u8(&c));
	(void)cur_take(&c, 1 + 4 + 4 + 2); /* version, type, creator, flags */
	uint32_t data = cur_be32(&c);
	(void)cur_take(&c, 4 + 2);
	if (c.bad || name.n == 0)
		return RC_NONE;
	size_t n = cur_left(&c) < data ? cur_left(&c) : data;
	*name_out = name;
	buf_put(out, cur_take(&c, n < max ? n : max));
	return RC_OK;
}

void
decode_one(enum decode_cte cte, struct span in, struct buf *out, size_t max)
{
	switch (cte) {
	case DECODE_NONE:
		buf_put(out, span_head(in, max));
		return;
	case DECODE_BASE64:
		decode_base64(in, out, max);
		return;
	case DECODE_QP:
		decode_qp(in, out, max);
		return;
	case DECODE_UU:
		decode_uu(in, out, max);
		return;
	case DECODE_YENC:
		decode_yenc(in, out, max);
		return;
	case DECODE_BINHEX:
		break;
	}
}

bool
decode_looks_base64(struct span in)
{
	if (base64_values['='] != 64)
		make_values();
	size_t n = 0;
	while (in.n > 0 && (in.p[0] == ' ' || (in.p[0] >= '\t' && in.p[0] <= '\r')))
		in = span_from(in, 1);
	while (n < in.n && base64_values[in.p[n]] < 64)
		n++;
	return n >= 40 || (n >= 8 && n + 2 >= in.n);
}
