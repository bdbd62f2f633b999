/* SPDX-License-Identifier: BSD-2-Clause */
/* Replies of tcp and socketmap servers. Property: a reply has one length, whatever comes behind it and however it is cut;
 * before that there is none; what was said is bounded; and what we ask can be read as one reply's worth of bytes. */
#include "lookup/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { MAX = 1000 };

typedef enum rc reply_fn(struct span in, size_t max, struct buf *text_out, struct wire_reply *out, struct err *e);

static void
cut(reply_fn *fn, struct span in, const struct wire_reply *whole, struct span text)
{
	struct buf again;
	struct wire_reply out;
	struct err e;
	buf_init(&again, 1 << 20);
	BUG_ON(whole->used == 0 || whole->used > in.n || text.n > whole->used);
	BUG_ON(fn(span_head(in, whole->used), MAX, &again, &out, &e) != RC_OK);
	BUG_ON(out.rc != whole->rc || out.used != whole->used || !span_eq(buf_span(&again), text));
	for (size_t i = 0; i < whole->used; i++)
		BUG_ON(fn(span_head(in, i), MAX, &again, &out, &e) != RC_NONE);
	buf_fini(&again);
}

/* The same key makes the same request, and only the last byte ends it. */
static void
ask(struct span key)
{
	struct buf b;
	struct wire_reply out;
	struct err e;
	struct buf text;
	buf_init(&b, 1 << 20);
	buf_init(&text, 1 << 20);
	wire_tcp_request(&b, SPAN_EMPTY, key);
	BUG_ON(span_chr(buf_span(&b), '\n') != buf_len(&b) - 1);
	buf_reset(&b);
	wire_socketmap_request(&b, SPAN("OK"), key); /* reads as a reply that says the key */
	if (key.n + 3 <= MAX) {
		BUG_ON(wire_socketmap_reply(buf_span(&b), MAX, &text, &out, &e) != RC_OK);
		BUG_ON(out.rc != RC_OK || out.used != buf_len(&b) || !span_eq(buf_span(&text), key));
	}
	buf_fini(&text);
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	reply_fn *fn = p[0] & 1 ? wire_tcp_reply : wire_socketmap_reply;
	struct span in = span_of(p + 1, n - 1);
	struct buf text;
	struct wire_reply out;
	struct err e = { 0 };
	buf_init(&text, 1 << 20);
	enum rc rc = fn(in, MAX, &text, &out, &e);
	BUG_ON(rc == RC_TEMP || (rc == RC_PERM && e.why[0] == '\0'));
	BUG_ON(rc == RC_NONE && in.n > MAX + 16);
	if (rc == RC_OK)
		cut(fn, in, &out, buf_span(&text));
	buf_fini(&text);
	if (in.n > 0 && in.n < 2000)
		ask(in);
	return 0;
}
