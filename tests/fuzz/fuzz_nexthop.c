/* SPDX-License-Identifier: BSD-2-Clause */
/* Next hops. First byte: LMTP or not. Property: every item is taken, what comes out is inside what went in,
 * clean, and written in brackets it gives the same host and port. */
#include "base/buf.h"
#include "deliver/nexthop.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char known[] = "lmtp=24, smtp=25, smtps=submissions=465, submission=587";
	if (n < 1)
		return 0;
	struct span rest = span_of(p + 1, n - 1);
	for (;;) {
		struct nexthop hop, again;
		struct err e;
		size_t before = rest.n;
		enum rc rc = nexthop_next(&rest, p[0] & 1, "smtp", known, &hop, &e);
		if (rc == RC_NONE)
			return 0;
		BUG_ON(rest.n >= before);
		if (rc != RC_OK || hop.path.n > 0)
			continue;
		BUG_ON(hop.host.n == 0 || hop.port == 0);
		struct buf b;
		buf_init(&b, 1024);
		buf_putc(&b, '[');
		if (span_casestarts(hop.host, SPAN("IPv6:")))
			buf_puts(&b, "IPv6:");
		buf_put(&b, hop.host);
		buf_puts(&b, "]:");
		buf_put_dec(&b, hop.port);
		struct span text = buf_span(&b);
		BUG_ON(nexthop_next(&text, false, "1", "", &again, &e) != RC_OK);
		BUG_ON(!span_eq(again.host, hop.host) || again.port != hop.port || again.use_mx);
		buf_fini(&b);
	}
}
