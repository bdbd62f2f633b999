/* SPDX-License-Identifier: BSD-2-Clause */
/* A reply, by the first octet, and a footer. Property: what was in front is untouched; every line ends in CRLF, is short enough and has the
 * reply's code; only the last one ends the reply; nothing else can begin a line. */
#include "smtp/footer.h"
#include "smtp/reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const replies[] = { "554 5.7.1 <x>: refused\r\n", "501 Syntax: HELO hostname\r\n", "421-4.7.0 one\r\n421 4.7.0 two\r\n" };
	if (n < 1)
		return 0;
	struct span reply = span_str(replies[p[0] % NELEMS(replies)]);
	struct buf b, text;
	struct err e;
	const struct footer_values v = { SPAN("192.0.2.1"), 25, "mx.example.com", 0 };
	buf_init(&b, 1 << 20);
	buf_init(&text, 8192);
	buf_puts(&b, "250 Ok\r\n");
	buf_put(&b, reply);
	if (footer_expand(span_of(p + 1, n - 1), &v, &text, &e) == RC_OK && !text.over)
		footer_add(&b, 8, buf_span(&text));
	BUG_ON(!span_starts(buf_span(&b), SPAN("250 Ok\r\n")));
	struct span rest = span_from(buf_span(&b), 8);
	BUG_ON(rest.n < reply.n);
	while (rest.n > 0) {
		size_t lf = span_chr(rest, '\n');
		BUG_ON(lf == SIZE_MAX || lf < 4 || lf > REPLY_LINE_MAX + 1 || rest.p[lf - 1] != '\r');
		struct span line = span_head(rest, lf - 1);
		rest = span_from(rest, lf + 1);
		BUG_ON(!span_starts(line, span_head(reply, 3)) || line.p[3] != (rest.n > 0 ? '-' : ' '));
		for (size_t i = 0; i < line.n; i++)
			BUG_ON(line.p[i] < ' ' || line.p[i] == 0x7f);
	}
	buf_fini(&b);
	buf_fini(&text);
	return 0;
}
