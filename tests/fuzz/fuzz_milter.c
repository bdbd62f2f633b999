/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a milter may send. Properties: a packet lies inside what came and byte by byte comes to the same; strings hold no NUL; a reply is
 * clean lines of one code, each but the last continued; a replaced body has CR and LF only as line ends, in whatever pieces it comes.
 */
#include "filters/milter_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check_reply(struct span data)
{
	struct buf b;
	unsigned code = 0;
	buf_init(&b, MW_REPLY_MAX);
	if (mw_reply(data, &b, &code) == RC_OK) {
		struct span rest = buf_span(&b);
		BUG_ON(code < 400 || code > 599 || rest.n < 4 || b.over || !span_is_utf8(rest));
		while (rest.n > 0) {
			size_t lf = span_chr(rest, '\n');
			struct span line = span_head(rest, lf);
			rest = lf == SIZE_MAX ? SPAN_EMPTY : span_from(rest, lf + 1);
			BUG_ON(line.n < 4 || !span_is_printable(line) || memcmp(line.p, data.p, 3) != 0);
			BUG_ON(line.p[3] != (rest.n > 0 ? '-' : ' '));
		}
	}
	buf_fini(&b);
}

static void
check_body(struct span data)
{
	struct buf whole, parts;
	struct mw_lines l = { 0 }, m = { 0 };
	buf_init(&whole, 2 * data.n + 8);
	buf_init(&parts, 2 * data.n + 8);
	mw_lines_put(&l, data, &whole);
	mw_lines_end(&l, &whole);
	for (size_t i = 0; i < data.n; i++)
		mw_lines_put(&m, span_of(data.p + i, 1), &parts);
	mw_lines_end(&m, &parts);
	struct span out = buf_span(&whole);
	BUG_ON(whole.over || !span_eq(out, buf_span(&parts)));
	BUG_ON(data.n > 0 && (out.n < 2 || out.p[out.n - 1] != '\n'));
	for (size_t i = 0; i < out.n; i++) {
		BUG_ON(out.p[i] == '\r' && (i + 1 == out.n || out.p[i + 1] != '\n'));
		BUG_ON(out.p[i] == '\n' && (i == 0 || out.p[i - 1] != '\r'));
	}
	buf_fini(&whole);
	buf_fini(&parts);
}

static void
check_string(struct span s, struct span in)
{
	BUG_ON(s.n > 0 && (s.p < in.p || s.p + s.n >= in.p + in.n || s.p[s.n] != '\0'));
	BUG_ON(span_chr(s, '\0') != SIZE_MAX);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_of(p, n);
	for (;;) {
		struct mw_frame f, g;
		uint32_t length = 0;
		enum mw_state state = mw_next(in, &f, &length), grown = MW_MORE;
		for (size_t k = 0; k <= in.n && k < 300 && grown == MW_MORE; k++)
			grown = mw_next(span_head(in, k), &g, &length);
		BUG_ON(in.n < 300 && grown != state);
		if (state != MW_FRAME) {
			BUG_ON(state == MW_MORE && in.n > MW_FRAME_MAX + 4);
			return 0;
		}
		BUG_ON(f.used > in.n || f.used != f.data.n + 5);
		struct span a, b;
		uint32_t index;
		struct mw_options o;
		if (mw_two(f.data, &a, &b) == RC_OK) {
			check_string(a, f.data);
			check_string(b, f.data);
		}
		if (mw_indexed(f.data, &index, &a, &b) == RC_OK)
			check_string(b, f.data);
		if (mw_one(f.data, &a, &b) == RC_OK)
			check_string(a, f.data);
		if (mw_options(f.data, &o) == RC_OK)
			for (size_t i = 0; i < MW_STAGES; i++)
				check_string(o.symlist[i], f.data);
		check_reply(f.data);
		check_body(f.data);
		(void)mw_reply_name(f.cmd);
		in = span_from(in, f.used);
	}
}
