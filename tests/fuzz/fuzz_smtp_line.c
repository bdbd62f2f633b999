/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: pieces and whole give the same octets, facts and end; the output has no CR or LF but in CRLF and no
 * NUL (a CR only if asked to keep it); DATA ends at CRLF.CRLF and nowhere else. */
#include "smtp/line.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static size_t
feed(struct line_data *d, struct span in, size_t piece, struct buf *out)
{
	size_t used = 0;
	while (used < in.n && !d->ended)
		used += line_data_feed(d, span_head(span_from(in, used), piece), out);
	return used;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 2)
		return 0;
	struct span in = span_of(p + 2, n - 2);
	const struct line_data model = { .dots = p[0] & 1, .lf_ends = p[0] & 2, .keep_stray_cr = p[0] & 4 };
	struct line_data a = model, b = model;
	struct buf x, y;
	buf_init(&x, LINE_GROWTH(n) + 64);
	buf_init(&y, LINE_GROWTH(n) + 64);
	size_t used = feed(&a, in, SIZE_MAX, &x);
	BUG_ON(feed(&b, in, p[1] % 32 + 1u, &y) != used);
	if (!model.dots) {
		BUG_ON(used != in.n);
		line_data_finish(&a, &x);
		line_data_finish(&b, &y);
	}
	BUG_ON(x.over || !span_eq(buf_span(&x), buf_span(&y)));
	BUG_ON(a.ended != b.ended || a.bare_lf != b.bare_lf || a.has_8bit != b.has_8bit || a.has_dots != b.has_dots || a.has_long != b.has_long ||
	       a.has_nul != b.has_nul || a.has_stray_cr != b.has_stray_cr || a.state != b.state || a.line_len != b.line_len);
	struct span s = buf_span(&x);
	for (size_t i = 0; i < s.n; i++) {
		BUG_ON(s.p[i] == '\0');
		BUG_ON(s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r'));
		BUG_ON(s.p[i] == '\r' && !model.keep_stray_cr && i + 1 < s.n && s.p[i + 1] != '\n');
	}
	if (a.ended && !model.lf_ends)
		BUG_ON(!span_caseends(span_head(in, used), SPAN("\r\n.\r\n")) && !(used == 3 && span_starts(in, SPAN(".\r\n"))));
	if (a.ended)
		BUG_ON(s.n > 0 && !span_caseends(s, SPAN("\r\n")));
	/* the end is found if it is there */
	if (model.dots && !a.ended)
		BUG_ON(span_find(in, SPAN("\r\n.\r\n")) != SIZE_MAX || span_starts(in, SPAN(".\r\n")));
	buf_fini(&x);
	buf_fini(&y);
	return 0;
}
