/* SPDX-License-Identifier: BSD-2-Clause */
/* Property: whatever the bytes, what is shown is UTF-8 without controls, bidirectional controls or zero-width characters; in JSON
 * every quote inside is escaped; in a mail nothing is left that begins or holds together a link. */
#include "quarantine/escape.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* A decoder of its own, so that a mistake in the other one is found. */
static void
check(struct span s, bool lines)
{
	BUG_ON(!span_is_utf8(s));
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = s.p[i];
		BUG_ON((c < 0x20 && !(lines && (c == '\n' || c == '\t'))) || c == 0x7f);
		BUG_ON(c == 0xc2 && (s.p[i + 1] < 0xa0 || s.p[i + 1] == 0xad));
		BUG_ON(c == 0xe2 && s.p[i + 1] == 0x80 && ((s.p[i + 2] >= 0x8b && s.p[i + 2] <= 0x8f) || (s.p[i + 2] >= 0xa8 && s.p[i + 2] <= 0xae)));
		BUG_ON(c == 0xe2 && s.p[i + 1] == 0x81 && s.p[i + 2] >= 0xa0 && s.p[i + 2] <= 0xaf);
		BUG_ON(c == 0xef && s.p[i + 1] == 0xbb && s.p[i + 2] == 0xbf);
		BUG_ON(c == 0xf3 && s.p[i + 1] == 0xa0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n < 1)
		return 0;
	struct span in = span_of(p + 1, n - 1);
	size_t max = p[0] < 128 ? p[0] : SIZE_MAX;
	struct buf out;
	buf_init(&out, 64 << 20);
	escape_text(&out, in, max);
	check(buf_span(&out), false);
	buf_reset(&out);
	escape_lines(&out, in, max);
	check(buf_span(&out), true);
	buf_reset(&out);
	escape_mail(&out, in, max);
	check(buf_span(&out), false);
	BUG_ON(span_find(buf_span(&out), SPAN("://")) != SIZE_MAX || span_find(buf_span(&out), SPAN("www.a")) != SIZE_MAX);
	buf_reset(&out);
	escape_json(&out, in, max);
	struct span s = buf_span(&out);
	check(s, false);
	BUG_ON(s.n < 2 || s.p[0] != '"' || s.p[s.n - 1] != '"');
	for (size_t i = 1; i + 1 < s.n; i++) {
		BUG_ON(s.p[i] == '"');
		if (s.p[i] == '\\') {
			i++;
			BUG_ON(i + 1 >= s.n || strchr("\"\\u", s.p[i]) == NULL);
		}
	}
	BUG_ON(out.over);
	buf_fini(&out);
	return 0;
}
