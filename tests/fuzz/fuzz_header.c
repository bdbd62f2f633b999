/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: pieces and whole give the same content and facts; nothing of the input is lost, only the two
 * insertions are added; the header ends at the first empty line of the output. */
#include "smtp/content.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
run(struct content *c, struct span in, size_t piece)
{
	static const struct content_limits limits = { 0, 50000, 1000, 20, 1 << 20, false };
	content_init(c, &limits, false);
	for (size_t at = 0; at < in.n;)
		at += content_feed(c, span_head(span_from(in, at), piece));
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
