/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: pieces and whole give the same; what says 8bit nowhere comes out as it went in; what comes out goes through
 * again unchanged; line ends stay line ends. */
#include "msg/mime7.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
run(struct span in, size_t piece, struct buf *out)
{
	struct mime7 m;
	buf_init(out, 1 << 24);
	mime7_init(&m);
	for (size_t at = 0; at < in.n; at += piece)
		mime7_put(&m, out, span_head(span_from(in, at), piece));
	mime7_end(&m, out);
	mime7_fini(&m);
	BUG_ON(out->over);
}

static bool
says(struct span s, struct span word)
{
	for (size_t i = 0; i + word.n <= s.n; i++)
		if (span_caseeq(span_of(s.p + i, word.n), word))
			return true;
	return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	struct buf in, a, b, c;
	buf_init(&in, 1 << 22);
	/* content as it is stored: CRLF line ends, a line end at the end */
	for (size_t i = 1; i < n; i++) {
		if (p[i] == '\n')
			buf_putc(&in, '\r');
		if (p[i] != '\r')
			buf_putc(&in, p[i]);
	}
	if (buf_len(&in) > 0 && p[n - 1] != '\n')
		buf_puts(&in, "\r\n");
	run(buf_span(&in), SIZE_MAX / 2, &a);
	run(buf_span(&in), p[0] % 70 + 1u, &b);
	BUG_ON(!span_eq(buf_span(&a), buf_span(&b)));
	if (!says(buf_span(&in), SPAN("8bit")) && !says(buf_span(&in), SPAN("binary")))
		BUG_ON(!span_eq(buf_span(&a), buf_span(&in)));
	run(buf_span(&a), SIZE_MAX / 2, &c);
	BUG_ON(!span_eq(buf_span(&a), buf_span(&c)));
	struct span s = buf_span(&a);
	for (size_t i = 0; i < s.n; i++)
		BUG_ON((s.p[i] == '\n') != (i > 0 && s.p[i - 1] == '\r'));
	buf_fini(&in);
	buf_fini(&a);
	buf_fini(&b);
	buf_fini(&c);
	return 0;
}
