/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * buf.h - an owned, growing row of bytes with a limit fixed at init.
 *
 * Writing past the limit sets over (which stays until buf_reset) and writes nothing, so a writer
 * tests once at the end. Consumed bytes at the front are reclaimed when the buffer next grows.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/span.h"

#include <stdarg.h>

struct buf {
	unsigned char *p; /* heap, NULL until first use */
	size_t at;        /* first unconsumed byte */
	size_t n;         /* end of the written bytes; at <= n <= cap <= max */
	size_t cap, max;
	bool over;
	bool is_secret;   /* what is consumed, cut or given back is wiped */
};

void buf_init(struct buf *b, size_t max);
void buf_init_secret(struct buf *b, size_t max); /* for passwords and keys: nothing of it stays in the heap */
void buf_fini(struct buf *b);                    /* frees; usable again as after buf_init with the same max */
void buf_reset(struct buf *b);                   /* empties, keeps the memory, clears over */

static inline size_t
buf_len(const struct buf *b)
{
	return b->n - b->at;
}

/* The unconsumed bytes; borrowed until the next write. */
static inline struct span
buf_span(const struct buf *b)
{
	return (struct span){ b->p != NULL ? b->p + b->at : NULL, b->n - b->at };
}

/* Room for n more bytes, or NULL (and over). buf_commit() says how many were really written. */
unsigned char *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
/* Drops n bytes from the front; n <= buf_len(). */
void buf_consume(struct buf *b, size_t n);
/* Cuts the end so that len unconsumed bytes remain; len <= buf_len(). */
void buf_cut(struct buf *b, size_t len);

void buf_put(struct buf *b, struct span s);
void buf_puts(struct buf *b, const char *literal);
void buf_putc(struct buf *b, unsigned char c);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_u16(struct buf *b, uint16_t v);     /* little-endian, pair of cur_u16 */
void buf_put_u32(struct buf *b, uint32_t v);
void buf_put_u64(struct buf *b, uint64_t v);
void buf_put_block(struct buf *b, struct span s); /* u32 length, then the bytes */
/* For our own numbers and literals; outside bytes go through buf_put or buf_put_safe. */
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) PRINTF(2, 0);
/* Decimal digits, without the cost of printf. */
void buf_put_dec(struct buf *b, uint64_t v);
/* Outside bytes for a log or a reply: controls, DEL, and (unless utf8) bytes over 0x7f become '?';
 * malformed UTF-8 and bidirectional controls become '?' too. At most max bytes. */
void buf_put_safe(struct buf *b, struct span s, size_t max, bool utf8);
/* The same as a JSON string, with its quotes. */
void buf_put_json(struct buf *b, struct span s, size_t max);
/* Adds a NUL behind the bytes (not counted) and returns them as a C string; borrowed. */
const char *buf_cstr(struct buf *b);

#endif
