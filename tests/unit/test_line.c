/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/line.h"

#include "base/mem.h"

#include "unit.h"

enum { BDAT = 1, LF_ENDS = 2, KEEP_CR = 4 };

/* Facts expected of the content. */
enum { ENDED = 1, BARE_LF = 2, NUL = 4, STRAY = 8, BIT8 = 16, DOTS = 32, LONG = 64 };

struct result {
	struct buf out;
	size_t used;
	unsigned facts;
};

static void
feed(struct span in, unsigned how, size_t piece, struct result *r)
{
	struct line_data d = { .dots = !(how & BDAT), .lf_ends = how & LF_ENDS, .keep_stray_cr = how & KEEP_CR };
	buf_init(&r->out, 1 << 20);
	r->used = 0;
	while (r->used < in.n && !d.ended) {
		size_t n = in.n - r->used < piece ? in.n - r->used : piece;
		/* a copy of just that piece, so that reading past it is seen */
		unsigned char *p = mem_dup(in.p + r->used, n);
		r->used += line_data_feed(&d, span_of(p, n), &r->out);
		mem_free(&p);
	}
	if (how & BDAT)
		line_data_finish(&d, &r->out);
	r->facts = (d.ended ? ENDED : 0u) | (d.bare_lf ? BARE_LF : 0u) | (d.has_nul ? NUL : 0u) | (d.has_stray_cr ? STRAY : 0u) |
	    (d.has_8bit ? BIT8 : 0u) | (d.has_dots ? DOTS : 0u) | (d.has_long ? LONG : 0u);
}

#define S(lit) { (const unsigned char *)lit, sizeof(lit) - 1 }
static const struct {
	struct span in, out;
	unsigned how, facts;
	size_t left; /* octets behind the end */
} cases[] = {
	{ S("a\r\n.\r\n"), S("a\r\n"), 0, ENDED, 0 },
	{ S("a\r\n.\r\nMAIL"), S("a\r\n"), 0, ENDED, 4 },
	{ S(".\r\n"), S(""), 0, ENDED, 0 },
	{ S("\r\n.\r\n"), S("\r\n"), 0, ENDED, 0 },
	/* P03 */
	{ S("..\r\n...\r\n.x\r\n. \r\n..\r\n.\r\n"), S(".\r\n..\r\nx\r\n \r\n.\r\n"), 0, ENDED | DOTS, 0 },
	/* P01: none of these ends it */
	{ S("a\n.\nX\r\n"), S("a\r\nX\r\n"), 0, BARE_LF, 0 },
	{ S("a\n.\r\nX\r\n"), S("a\r\nX\r\n"), 0, BARE_LF, 0 },
	{ S("a\n.\rX\r\n"), S("a\r\n X\r\n"), 0, BARE_LF | STRAY, 0 },
	{ S("a\r.\rX\r\n"), S("a . X\r\n"), 0, STRAY, 0 },
	{ S("a\r.\nX\r\n"), S("a .\r\nX\r\n"), 0, STRAY | BARE_LF, 0 },
	{ S("a\r.\r\nX\r\n"), S("a .\r\nX\r\n"), 0, STRAY, 0 },
	{ S("a\r\n.\nX\r\n"), S("a\r\nX\r\n"), 0, BARE_LF, 0 },
	{ S("a\r\n.\rX\r\n"), S("a\r\n X\r\n"), 0, STRAY, 0 },
	{ S("a\r\n.\r\r\nX\r\n"), S("a\r\n \r\nX\r\n"), 0, STRAY, 0 },
	{ S("a\r\r\n.\r\r\nX\r\n"), S("a \r\n \r\nX\r\n"), 0, STRAY, 0 },
	{ S("a\r\n\0.\r\nX\r\n"), S("a\r\n .\r\nX\r\n"), 0, NUL, 0 },
	{ S("a\r\n.\0\r\nX\r\n"), S("a\r\n \r\nX\r\n"), 0, NUL, 0 },
	{ S("a\0\r\n.\r\nX"), S("a \r\n"), 0, ENDED | NUL, 1 },
	{ S("a\r\r\n.\r\nX"), S("a \r\n"), 0, ENDED | STRAY, 1 },
	{ S("a\n.\n.\r\n.\r\nX"), S("a\r\n"), 0, ENDED | BARE_LF, 1 },
	/* a client that knows no CRLF, and is trusted */
	{ S("a\n.\nX"), S("a\r\n"), LF_ENDS, ENDED | BARE_LF, 1 },
	{ S(".\nX"), S(""), LF_ENDS, ENDED | BARE_LF, 1 },
	{ S("a\n..b\n.\nX"), S("a\r\n.b\r\n"), LF_ENDS, ENDED | BARE_LF | DOTS, 1 },
	{ S("a\r\n.\r\nX"), S("a\r\n"), LF_ENDS, ENDED, 1 },
	/* stray CRs kept on request */
	{ S("a\rb\r\n.\rc\r\n.\r\n"), S("a\rb\r\n\rc\r\n"), KEEP_CR, ENDED | STRAY, 0 },
	/* P16: in BDAT a dot is a dot, and the end has a line end */
	{ S(".\r\na\r\n."), S(".\r\na\r\n.\r\n"), BDAT, DOTS, 0 },
	{ S("\r\n.\r\n"), S("\r\n.\r\n"), BDAT, DOTS, 0 },
	{ S("a\r"), S("a \r\n"), BDAT, STRAY, 0 },
	{ S("a\nb"), S("a\r\nb\r\n"), BDAT, BARE_LF, 0 },
	{ S(""), S(""), BDAT, 0, 0 },
	{ S("\xff\r\n.\r\n"), S("\xff\r\n"), 0, ENDED | BIT8, 0 },
	{ S("0123456789abcdef\r\n0123456789abcde\xc3\r\n.\r\n"), S("0123456789abcdef\r\n0123456789abcde\xc3\r\n"), 0, ENDED | BIT8, 0 },
};

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++)
		for (size_t piece = 1; piece <= cases[i].in.n + 1; piece++) {
			struct result r;
			feed(cases[i].in, cases[i].how, piece, &r);
			if (!span_eq(buf_span(&r.out), cases[i].out))
				fail_msg("case %zu, pieces of %zu: \"%s\"", i, piece, buf_cstr(&r.out));
			if (r.facts != cases[i].facts)
				fail_msg("case %zu, pieces of %zu: facts %u", i, piece, r.facts);
			assert_int_equal(cases[i].in.n - r.used, cases[i].left);
			buf_fini(&r.out);
		}
}

/* P07: long lines stay whole and are told of. */
static void
test_long(void **state)
{
	(void)state;
	static const size_t lens[] = { 997, 998, 999, 1000, 2048, 100000 };
	for (size_t i = 0; i < NELEMS(lens); i++)
		for (int k = 0; k < 3; k++) {
			struct buf in;
			buf_init(&in, 1 << 20);
			if (k == 1)
				buf_puts(&in, ".."); /* one of them is taken off */
			while (buf_len(&in) < lens[i] + (k == 1 ? 1u : 0u))
				buf_putc(&in, 'x');
			buf_puts(&in, k == 2 ? "\n.\r\n\r\n.\r\n" : "\r\n.\r\n");
			struct result whole, pieces;
			feed(buf_span(&in), 0, SIZE_MAX, &whole);
			feed(buf_span(&in), 0, 7, &pieces);
			assert_int_equal((whole.facts & LONG) != 0, lens[i] > 998);
			assert_int_equal(whole.facts, pieces.facts);
			assert_true(whole.facts & ENDED);
			assert_true(span_eq(buf_span(&whole.out), buf_span(&pieces.out)));
			assert_int_equal(buf_len(&whole.out), lens[i] + (k == 2 ? 4 : 2));
			buf_fini(&in), buf_fini(&whole.out), buf_fini(&pieces.out);
		}
}

static void
test_command(void **state)
{
	(void)state;
	struct line_cmd c;
	size_t used;
	bool unended, ended;
	assert_int_equal(line_command(SPAN("NOOP\r\nX"), 2048, &c, &used, &unended), RC_OK);
	assert_int_equal(used, 6);
	assert_true(span_eq(c.text, SPAN("NOOP")) && !c.bare_lf && !c.has_nul);
	assert_int_equal(line_command(SPAN("NOOP\r\r\n"), 2048, &c, &used, &unended), RC_OK);
	assert_true(span_eq(c.text, SPAN("NOOP")) && !c.bare_lf);
	assert_int_equal(line_command(SPAN("NOOP\n"), 2048, &c, &used, &unended), RC_OK);
	assert_true(span_eq(c.text, SPAN("NOOP")) && c.bare_lf);
	assert_int_equal(line_command(SPAN("\n"), 2048, &c, &used, &unended), RC_OK);
	assert_true(c.text.n == 0 && c.bare_lf);
	assert_int_equal(line_command(SPAN("A\0B\r\n"), 2048, &c, &used, &unended), RC_OK);
	assert_true(c.has_nul && c.text.n == 3);
	assert_int_equal(line_command(SPAN("A\rB\r\n"), 2048, &c, &used, &unended), RC_OK);
	assert_true(c.text.n == 3);
	assert_int_equal(line_command(SPAN("NOOP\r"), 2048, &c, &used, &unended), RC_NONE);
	assert_int_equal(line_command(SPAN("12345678"), 8, &c, &used, &unended), RC_NONE);
	assert_int_equal(line_command(SPAN("123456789"), 8, &c, &used, &unended), RC_PERM);
	assert_true(unended && used == 9);
	assert_int_equal(line_command(SPAN("123456789\r\nX"), 8, &c, &used, &unended), RC_PERM);
	assert_true(!unended && used == 11);
	assert_int_equal(line_skip(SPAN("abc\r\nX"), &ended), 5);
	assert_true(ended);
	assert_int_equal(line_skip(SPAN("abc"), &ended), 3);
	assert_false(ended);
}

static void
test_secrets(void **state)
{
	static const struct {
		struct span sent;
		const char *shown;
		bool is_auth;
	} rows[] = {
		{ S("AUTH PLAIN x"), "AUTH", true },
		{ S("auth:x"), "auth", true },
		{ S("  \t[AuTh x"), "  \t[AuTh", true },
		{ S("\0AUTHx"), "", true },
		{ S("EHLO a\r\nAUTH x"), "EHLO a\r\nAUTH", false },
		{ S("EHLO a\n \"auth x"), "EHLO a\n \"auth", false },
		{ S("EHLO a\rAUTH x"), "EHLO a\rAUTH", false },
		{ S("MAIL FROM:<auth@a.test>"), "MAIL FROM:<auth@a.test>", false },
		{ S("MAIL FROM:<> AUTH=<>"), "MAIL FROM:<> AUTH=<>", false },
		{ S("XAUTH x"), "XAUTH x", false },
		{ S("AUT"), "AUT", false },
		{ S("\r\n\r\n"), "\r\n\r\n", false },
		{ S(""), "", false },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct span shown = line_without_secrets(rows[i].sent);
		assert_int_equal(line_is_auth(rows[i].sent), rows[i].is_auth);
		if (rows[i].shown[0] != '\0' || rows[i].sent.n == 0)
			assert_true(span_eq_str(shown, rows[i].shown));
		else
			assert_int_equal(shown.n, 5);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_command),
		cmocka_unit_test(test_secrets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
