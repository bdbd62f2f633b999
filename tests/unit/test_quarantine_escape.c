/* SPDX-License-Identifier: BSD-2-Clause */
/* Text of strangers for people: terminals, JSON, mail. */
#include "unit.h"

#include "quarantine/escape.h"

static const struct {
	struct span in;
	const char *text, *json, *mail; /* NULL: as text */
} cases[] = {
	{ SPAN(""), "", "\"\"", NULL },
	{ SPAN("Plain, \"quoted\" \\ text"), "Plain, \"quoted\" \\ text", "\"Plain, \\\"quoted\\\" \\\\ text\"", NULL },
	{ SPAN("Gr\xc3\xbc\xc3\x9f" "e \xe2\x9d\xa4\xef\xb8\x8f \xf0\x9f\x98\x80"), "Gr\xc3\xbc\xc3\x9f" "e \xe2\x9d\xa4\xef\xb8\x8f \xf0\x9f\x98\x80",
	    "\"Gr\xc3\xbc\xc3\x9f" "e \xe2\x9d\xa4\xef\xb8\x8f \xf0\x9f\x98\x80\"", NULL },
	/* a terminal: clear, title, report, C1 CSI as a byte and as a character */
	{ SPAN("\x1b[2J\x1b]0;x\x07"), "\\x1b[2J\\x1b]0;x\\x07", "\"\\u001b[2J\\u001b]0;x\\u0007\"", NULL },
	{ SPAN("\x9b" "2J"), "\\x9b2J", "\"\\ufffd2J\"", NULL },
	{ SPAN("\xc2\x9b" "2J"), "\\u{9b}2J", "\"\\u009b2J\"", NULL },
	{ SPAN("a\rb\nc\td\0e\x7f"), "a\\x0db\\x0ac\\x09d\\x00e\\x7f", "\"a\\u000db\\u000ac\\u0009d\\u0000e\\u007f\"", NULL },
	/* directions, zero width, separators, tags, no character */
	{ SPAN("x\xe2\x80\xae" "fdp.exe"), "x\\u{202e}fdp.exe", "\"x\\u202efdp.exe\"", "x\\u{202e}fdp[.]exe" },
	{ SPAN("\xe2\x81\xa6\xe2\x80\x8b\xe2\x80\xa8\xef\xbb\xbf\xc2\xad"), "\\u{2066}\\u{200b}\\u{2028}\\u{feff}\\u{ad}", "\"\\u2066\\u200b\\u2028\\ufeff\\u00ad\"", NULL },
	{ SPAN("\xf3\xa0\x81\x81"), "\\u{e0041}", "\"\\udb40\\udc41\"", NULL },
	{ SPAN("\xef\xbf\xbf\xf0\x9f\xbf\xbe"), "\\u{ffff}\\u{1fffe}", "\"\\uffff\\ud83f\\udffe\"", NULL },
	/* what is not UTF-8: overlong, surrogate, alone, cut */
	{ SPAN("\xc0\xaf\xed\xa0\x80\x80"), "\\xc0\\xaf\\xed\\xa0\\x80\\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\\ufffd\"", NULL },
	{ SPAN("\xe2\x80"), "\\xe2\\x80", "\"\\ufffd\\ufffd\"", NULL },
	/* links */
	{ SPAN("see http://evil.test/a.b now."), "see http://evil.test/a.b now.", "\"see http://evil.test/a.b now.\"", "see http[:]//evil[.]test/a[.]b now." },
	{ SPAN("www.x.test mailto:a@b.test Re: x"), "www.x.test mailto:a@b.test Re: x", "\"www.x.test mailto:a@b.test Re: x\"",
	    "www[.]x[.]test mailto[:]a@b[.]test Re: x" },
	{ SPAN("\xd0\xbf.\xd1\x80\xd1\x84 ... a. b"), "\xd0\xbf.\xd1\x80\xd1\x84 ... a. b", "\"\xd0\xbf.\xd1\x80\xd1\x84 ... a. b\"", "\xd0\xbf[.]\xd1\x80\xd1\x84 ... a. b" },
};

static void
test_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct buf b;
		buf_init(&b, 4096);
		escape_text(&b, cases[i].in, 1000);
		assert_span(buf_span(&b), cases[i].text);
		buf_reset(&b);
		escape_json(&b, cases[i].in, 1000);
		assert_span(buf_span(&b), cases[i].json);
		buf_reset(&b);
		escape_mail(&b, cases[i].in, 1000);
		assert_span(buf_span(&b), cases[i].mail != NULL ? cases[i].mail : cases[i].text);
		buf_fini(&b);
	}
}

static void
test_lines(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 4096);
	escape_lines(&b, SPAN("A: b\r\n\tc\r\nD: \x1b[m\rE\n"), 1000);
	assert_span(buf_span(&b), "A: b\n\tc\nD: \\x1b[m\\x0dE\n");
	buf_fini(&b);
}

static void
test_cut(void **state)
{
	(void)state;
	static const char *const want[] = { "...", "a...", "a...", "a...", "a\xe2\x82\xac...", ("a\xe2\x82\xac" "b") };
	struct span in = SPAN("a\xe2\x82\xac" "b");
	for (size_t max = 0; max < NELEMS(want); max++) {
		struct buf b;
		buf_init(&b, 100);
		escape_text(&b, in, max);
		assert_span(buf_span(&b), want[max]);
		buf_fini(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_table), cmocka_unit_test(test_lines), cmocka_unit_test(test_cut) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
