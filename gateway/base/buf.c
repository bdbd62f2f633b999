/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/buf.h"

#include "base/mem.h"

#include <stdio.h>

enum { FIRST_CAP = 64 };

void
buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void
buf_init_secret(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max, .is_secret = true };
}

static void
wipe(struct buf *b, size_t from, size_t n)
{
	if (b->is_secret && b->p != NULL && n > 0)
		mem_wipe(b->p + from, n);
}

static void
give_back(struct buf *b)
{
	wipe(b, 0, b->cap);
	mem_free(&b->p);
}

void
buf_fini(struct buf *b)
{
	give_back(b);
	*b = (struct buf){ .max = b->max, .is_secret = b->is_secret };
}

void
buf_reset(struct buf *b)
{
	wipe(b, 0, b->n);
	b->at = b->n = 0;
	b->over = false;
}

unsigned char *
buf_reserve(struct buf *b, size_t n)
{
	size_t used = b->n - b->at;
	if (b->over || n > b->max - used) {
		b->over = true;
		return NULL;
	}
	if (n <= b->cap - b->n && b->p != NULL)
		return b->p + b->n;
	if (b->p != NULL && used + n <= b->cap && b->at >= used) { /* sliding is cheaper than growing */
		memcpy(b->p, b->p + b->at, used);
		wipe(b, used, b->n - used);
		b->at = 0;
		b->n = used;
		return b->p + used;
	}
	size_t cap = b->cap < FIRST_CAP ? FIRST_CAP : b->cap;
	while (cap < used + n)
		cap += cap;
	if (b->max < SIZE_MAX && cap > b->max + 1)
		cap = b->max + 1; /* one more for buf_cstr */
	unsigned char *p = mem_alloc(cap);
	if (used > 0)
		memcpy(p, b->p + b->at, used);
	give_back(b);
	b->p = p;
	b->cap = cap;
	b->at = 0;
	b->n = used;
	return p + used;
}

void
buf_commit(struct buf *b, size_t n)
{
	BUG_ON(n > b->cap - b->n);
	b->n += n;
}

void
buf_consume(struct buf *b, size_t n)
{
	BUG_ON(n > b->n - b->at);
	wipe(b, b->at, n);
	b->at += n;
	if (b->at == b->n)
		b->at = b->n = 0;
}

void
buf_cut(struct buf *b, size_t len)
{
	BUG_ON(len > b->n - b->at);
	wipe(b, b->at + len, b->n - b->at - len);
	b->n = b->at + len;
}

void
buf_put(struct buf *b, struct span s)
{
	if (s.n == 0)
		return;
	unsigned char *p = buf_reserve(b, s.n);
	if (p != NULL) {
		memcpy(p, s.p, s.n);
		b->n += s.n;
	}
}

void
buf_puts(struct buf *b, const char *literal)
{
	buf_put(b, span_str(literal));
}

void
buf_putc(struct buf *b, unsigned char c)
{
	buf_put(b, (struct span){ &c, 1 });
}

static void
put_le(struct buf *b, uint64_t v, size_t n)
{
	unsigned char *p = buf_reserve(b, n);
	if (p == NULL)
		return;
	for (size_t i = 0; i < n; i++, v >>= 8)
		p[i] = (unsigned char)v;
	b->n += n;
}

void
buf_put_u8(struct buf *b, uint8_t v)
{
	put_le(b, v, 1);
}

void
buf_put_u16(struct buf *b, uint16_t v)
{
	put_le(b, v, 2);
}

void
buf_put_u32(struct buf *b, uint32_t v)
{
	put_le(b, v, 4);
}

void
buf_put_u64(struct buf *b, uint64_t v)
{
	put_le(b, v, 8);
}

void
buf_put_block(struct buf *b, struct span s)
{
	if (s.n > UINT32_MAX) {
		b->over = true;
		return;
	}
	buf_put_u32(b, (uint32_t)s.n);
	buf_put(b, s);
}

void
buf_vprintf(struct buf *b, const char *fmt, va_list ap)
{
	char small[256];
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(small, sizeof small, fmt, ap);
	BUG_ON(n < 0);
	if ((size_t)n < sizeof small) {
		buf_put(b, span_of(small, (size_t)n));
	} else if ((size_t)n > b->max - (b->n - b->at)) {
		b->over = true;
	} else {
		char *big = mem_alloc((size_t)n + 1);
		vsnprintf(big, (size_t)n + 1, fmt, again);
		buf_put(b, span_of(big, (size_t)n));
		mem_free(&big);
	}
	va_end(again);
}

void
buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	buf_vprintf(b, fmt, ap);
	va_end(ap);
}

void
buf_put_dec(struct buf *b, uint64_t v)
{
	unsigned char d[20];
	size_t i = sizeof d;
	do
		d[--i] = (unsigned char)('0' + v % 10);
	while ((v /= 10) > 0);
	buf_put(b, span_of(d + i, sizeof d - i));
}

/* Length of the printable, well-formed character at the front of s, 0 if there is none. */
static size_t
safe_char(struct span s, bool utf8)
{
	unsigned char c = s.p[0];
	if (c >= 0x20 && c < 0x7f)
		return 1;
	if (!utf8 || c < 0xc2)
		return 0;
	size_t len = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
	if (s.n < len || !span_is_utf8(span_head(s, len)))
		return 0;
	if (c == 0xc2 && s.p[1] < 0xa0)
		return 0; /* C1 controls */
	if (c == 0xe2 && ((s.p[1] == 0x80 && (s.p[2] == 0x8e || s.p[2] == 0x8f || (s.p[2] >= 0xa8 && s.p[2] <= 0xae))) ||
	                     (s.p[1] == 0x81 && s.p[2] >= 0xa6 && s.p[2] <= 0xa9)))
		return 0; /* line separators and bidirectional controls */
	return len;
}

void
buf_put_safe(struct buf *b, struct span s, size_t max, bool utf8)
{
	size_t plain = 0;
	while (plain < s.n && plain < max && s.p[plain] >= 0x20 && s.p[plain] < 0x7f)
		plain++;
	buf_put(b, span_head(s, plain));
	for (size_t i = plain; i < s.n && i < max;) {
		struct span rest = span_from(s, i);
		size_t len = safe_char(rest, utf8);
		if (len > max - i)
			return;
		if (len == 0)
			buf_putc(b, '?'), i++;
		else
			buf_put(b, span_head(rest, len)), i += len;
	}
}

void
buf_put_json(struct buf *b, struct span s, size_t max)
{
	struct buf clean;
	buf_init(&clean, max);
	buf_put_safe(&clean, s, max, true);
	struct span c = buf_span(&clean);
	buf_putc(b, '"');
	for (size_t i = 0; i < c.n; i++) {
		if (c.p[i] == '"' || c.p[i] == '\\')
			buf_putc(b, '\\');
		buf_putc(b, c.p[i]);
	}
	buf_putc(b, '"');
	buf_fini(&clean);
}

const char *
buf_cstr(struct buf *b)
{
	if (b->p == NULL || b->n == b->cap) {
		size_t used = b->n - b->at;
		unsigned char *p = mem_alloc(used + 1);
		if (used > 0)
			memcpy(p, b->p + b->at, used);
		mem_free(&b->p);
		b->p = p;
		b->at = 0;
		b->n = used;
		b->cap = used + 1;
	}
	b->p[b->n] = '\0';
	return (const char *)b->p + b->at;
}
