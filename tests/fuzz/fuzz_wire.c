/* SPDX-License-Identifier: BSD-2-Clause */
/* Content. Bytes 0 and 1: stuffing and line limit, where it is cut in two. Property: no CR or LF outside CRLF, no line
 * too long, unstuffed end marker never appears, in two pieces as in one, and unstuffing gives what comes out without
 * stuffing. */
#include "msg/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
put(struct buf *out, bool stuff, size_t line_max, struct span in, size_t cut)
{
	struct wire w;
	buf_init(out, 1 << 22);
	wire_init(&w, stuff, line_max);
	wire_put(&w, out, span_head(in, cut));
	wire_put(&w, out, span_from(in, cut));
	wire_end(&w, out);
	BUG_ON(out->over);
}

static void
check(struct span out, bool stuff, size_t line_max, struct buf *unstuffed)
{
	while (out.n > 0) {
		size_t lf = span_chr(out, '\n');
		BUG_ON(lf == SIZE_MAX || lf == 0 || out.p[lf - 1] != '\r');
		struct span line = span_head(out, lf - 1);
		BUG_ON(span_chr(line, '\r') != SIZE_MAX);
		if (stuff && line.n > 0 && line.p[0] == '.') {
			BUG_ON(line.n < 2 || line.p[1] != '.');
			line = span_from(line, 1);
		}
		BUG_ON(line_max > 1 && line.n > line_max);
		buf_put(unstuffed, line);
		buf_puts(unstuffed, "\r\n");
		out = span_from(out, lf + 1);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 2)
		return 0;
	size_t line_max = p[0];
	struct span in = span_of(p + 2, n - 2);
	struct buf stuffed, plain, cut, back;
	put(&stuffed, true, line_max, in, in.n);
	put(&plain, false, line_max, in, in.n);
	put(&cut, true, line_max, in, p[1]);
	BUG_ON(!span_eq(buf_span(&stuffed), buf_span(&cut)));
	buf_init(&back, 1 << 22);
	check(buf_span(&stuffed), true, line_max, &back);
	BUG_ON(!span_eq(buf_span(&back), buf_span(&plain)));
	BUG_ON(wire_is_clean(true, line_max < 2 && line_max > 0 ? 2 : line_max, in) != span_eq(in, buf_span(&stuffed)));
	buf_fini(&stuffed);
	buf_fini(&plain);
	buf_fini(&cut);
	buf_fini(&back);
	return 0;
}
