/* SPDX-License-Identifier: BSD-2-Clause */
/* Content in wire form, whole and byte by byte; seconds as they are logged. */
#include "base/seconds.h"
#include "msg/wire.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
	struct span in;
	bool stuff;
	size_t line_max;
	struct span out;
} cases[] = {
	{ SPAN(""), true, 998, SPAN("") },
	{ SPAN("a\r\nb\r\n"), true, 998, SPAN("a\r\nb\r\n") },
	{ SPAN("a"), true, 998, SPAN("a\r\n") },
	{ SPAN("a\r\nb"), false, 998, SPAN("a\r\nb\r\n") },
	{ SPAN(".\r\n"), true, 998, SPAN("..\r\n") },
	{ SPAN(".\r\n"), false, 998, SPAN(".\r\n") },
	{ SPAN("..\r\n.x\r\n. \r\na.\r\n"), true, 998, SPAN("...\r\n..x\r\n.. \r\na.\r\n") },
	{ SPAN("\r\n.\r\n\r\n"), true, 998, SPAN("\r\n..\r\n\r\n") },
	{ SPAN("."), true, 998, SPAN("..\r\n") },
	/* what smugglers would need never leaves */
	{ SPAN("a\n.\nb\r\n"), true, 998, SPAN("a . b\r\n") },
	{ SPAN("a\r.\r\nb\r\n"), true, 998, SPAN("a .\r\nb\r\n") },
	{ SPAN("a\r\n.\rb\r\n"), true, 998, SPAN("a\r\n.. b\r\n") },
	{ SPAN("a\n.\r\nb\r\n"), false, 998, SPAN("a .\r\nb\r\n") },
	{ SPAN("a\r\r\nb\r\n"), true, 998, SPAN("a \r\nb\r\n") },
	{ SPAN("\r"), true, 998, SPAN(" \r\n") },
	{ SPAN("\n"), true, 998, SPAN(" \r\n") },
	{ SPAN("a\r"), true, 998, SPAN("a \r\n") },
	{ SPAN("a\0b\r\n"), true, 998, SPAN("a\0b\r\n") },
	/* long lines */
	{ SPAN("1234567890\r\n"), true, 10, SPAN("1234567890\r\n") },
	{ SPAN("12345678901\r\n"), true, 10, SPAN("1234567890\r\n 1\r\n") },
	{ SPAN(".2345678901\r\n"), true, 10, SPAN("..234567890\r\n 1\r\n") },
	{ SPAN("1234567890.\r\n"), true, 10, SPAN("1234567890\r\n .\r\n") },
	{ SPAN("1234567890123456789012\r\n"), true, 10, SPAN("1234567890\r\n 123456789\r\n 012\r\n") },
	{ SPAN("1234567890123456789012\r\n"), true, 0, SPAN("1234567890123456789012\r\n") },
	{ SPAN("123456789\n1\r\n"), true, 10, SPAN("123456789 \r\n 1\r\n") },
};

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++)
		for (size_t piece = 1; piece <= cases[i].in.n + 1; piece++) {
			struct wire w;
			struct buf out;
			buf_init(&out, 10000);
			wire_init(&w, cases[i].stuff, cases[i].line_max);
			for (struct span rest = cases[i].in; rest.n > 0; rest = span_from(rest, piece < rest.n ? piece : rest.n))
				wire_put(&w, &out, span_head(rest, piece));
			wire_end(&w, &out);
			if (!span_eq(buf_span(&out), cases[i].out))
				fail_msg("case %zu in pieces of %zu: \"%s\"", i, piece, buf_cstr(&out));
			bool clean = wire_is_clean(cases[i].stuff, cases[i].line_max, cases[i].in);
			assert_int_equal(clean, span_eq(cases[i].in, cases[i].out));
			buf_fini(&out);
		}
}

static void
test_delays(void **state)
{
	static const struct {
		uint64_t usec;
		unsigned digits;
		const char *text;
	} rows[] = {
		{ 0, 2, "0" }, { 1000, 2, "0" }, { 4999, 2, "0" }, { 5000, 2, "0.01" }, { 10000, 2, "0.01" }, { 99400, 2, "0.1" }, { 123000, 2, "0.12" },
		{ 500000, 2, "0.5" }, { 999900, 2, "1" }, { 1000000, 2, "1" }, { 1230000, 2, "1.2" }, { 1250000, 2, "1.3" }, { 9990000, 2, "10" },
		{ 12300000, 2, "12" }, { 123456789, 2, "123" }, { UINT64_C(86400000000), 2, "86400" }, { 1230, 6, "0.0012" }, { 5, 6, "0.000005" },
		{ 123456, 0, "0" }, { 1600000, 0, "2" }, { 1600000, 1, "1.6" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 100);
		delay_write(&b, rows[i].usec, rows[i].digits);
		if (strcmp(buf_cstr(&b), rows[i].text) != 0)
			fail_msg("%llu: %s, not %s", (unsigned long long)rows[i].usec, buf_cstr(&b), rows[i].text);
		buf_fini(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases), cmocka_unit_test(test_delays) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
