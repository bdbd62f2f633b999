/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: pieces and whole give the same content and facts; nothing of the input is lost, only the two
 * insertions are added; the header ends at the first empty line of the output. */
#include "msg/headers.h"
#include "smtp/content.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* A header that has to be looked at stays as it is, or is written out again from its rows. */
static bool
settle(struct content *c)
{
	if (!content_wants_edit(c))
		return false;
	struct arena a;
	struct headers h;
	struct buf b;
	struct span old = content_header(c);
	arena_init(&a, 1 << 24);
	buf_init(&b, 1 << 24);
	BUG_ON(headers_parse(&h, old, &a) != RC_OK || h.n != c->header.count);
	headers_write(&h, &b);
	BUG_ON(!span_eq(buf_span(&b), old));
	content_settle_header(c, buf_span(&b));
	BUG_ON(content_wants_edit(c));
	buf_fini(&b);
	arena_fini(&a);
	return true;
}

static void
run(struct content *c, struct span in, size_t piece)
{
	static const struct content_limits limits = { .header_size = 50000, .header_count = 1000, .header_total = 1 << 20, .hops = 20, .inline_max = 1 << 20 };
	content_init(c, &limits, false);
	content_watch(c, NULL, true);
	for (size_t at = 0; at < in.n;) {
		at += content_feed(c, span_head(span_from(in, at), piece));
		settle(c);
	}
	content_finish(c);
	if (settle(c))
		content_finish(c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	struct content a, b;
	struct span in = span_of(p + 1, n - 1);
	run(&a, in, SIZE_MAX);
	run(&b, in, p[0] % 64 + 1u);
	BUG_ON(a.fault != b.fault);
	if (a.fault == CONTENT_FINE) {
		struct span x = buf_span(&a.out), y = buf_span(&b.out);
		BUG_ON(!span_eq(x, y) || a.crc != b.crc || a.len != b.len || a.len != x.n);
		BUG_ON(a.header.received != b.header.received || a.header.count != b.header.count || a.header.longest != b.header.longest);
		BUG_ON(!span_eq(header_message_id(&a.header), header_message_id(&b.header)) || content_flags(&a) != content_flags(&b));
		/* again: what is right stays as it is, except that a line may look like a header now */
		struct content c;
		run(&c, x, SIZE_MAX);
		if (c.fault == CONTENT_FINE && a.header.count == c.header.count)
			BUG_ON(!span_eq(buf_span(&c.out), x));
		content_fini(&c);
	}
	content_fini(&a);
	content_fini(&b);
	return 0;
}
