/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/conf.h"

#include "unit.h"

/* want: "line-number text" of each logical line, one a line. */
static void
test_logical_lines(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
		int stray;
	} rows[] = {
		{ "", "", 0 },
		{ "\n\n#x\n", "", 0 },
		{ "a = b", "1 a = b\n", 0 },
		{ "a = b\n", "1 a = b\n", 0 },
		{ "a = b\nc = d\n", "1 a = b\n2 c = d\n", 0 },
		{ "a = b,\n  c\n\td\n", "1 a = b,  c\td\n", 0 },
		{ "a = b\n# no end\n\n  c\n", "1 a = b  c\n", 0 },
		{ "a = b\n   # blank before\n \t \n  c\nd\n", "1 a = b  c\n5 d\n", 0 },
		{ "# first\n\na\n", "3 a\n", 0 },
		{ "  stray\na\n", "2 a\n", 1 },
		{ "a # b\n", "1 a # b\n", 0 },
		{ "a \\\nb\n", "1 a \\\n2 b\n", 0 },
		{ "a\r\n b\r\n", "1 a\r b\r\n", 0 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct conf_lines it = { .rest = span_str(rows[i].text) };
		struct buf line, all;
		int at;
		buf_init(&line, 1000);
		buf_init(&all, 1000);
		while (conf_lines_next(&it, &line, &at) == RC_OK) {
			buf_printf(&all, "%d ", at);
			buf_put(&all, buf_span(&line));
			buf_putc(&all, '\n');
		}
		assert_span(buf_span(&all), rows[i].want);
		assert_int_equal(it.stray_line, rows[i].stray);
		buf_fini(&line);
		buf_fini(&all);
	}
}

static void
test_nul_bytes(void **state)
{
	(void)state;
	struct conf_lines it = { .rest = SPAN("a = b\0 c\nd\n") };
	struct buf line;
	int at;
	buf_init(&line, 1000);
	assert_int_equal(conf_lines_next(&it, &line, &at), RC_OK);
	assert_span(buf_span(&line), "a = b");
	assert_int_equal(it.nul_line, 1);
	buf_fini(&line);
}

static void
test_physical_lines(void **state)
{
	(void)state;
	struct conf_lines it = { .rest = SPAN("x\na = b\n# no\n  c\n\n d\n") };
	struct buf line;
	int at;
	buf_init(&line, 1000);
	assert_int_equal(conf_lines_next(&it, &line, &at), RC_OK);
	assert_int_equal(conf_lines_next(&it, &line, &at), RC_OK);
	assert_span(buf_span(&line), "a = b  c d");
	static const int want[] = { 2, 2, 2, 2, 2, 4, 4, 4, 6, 6 };
	for (size_t i = 0; i < NELEMS(want); i++)
		assert_int_equal(conf_lines_at(&it, i), want[i]);
	buf_fini(&line);
}

/* want: items in < >, groups in { }; "!" for an error. */
static void
test_items(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },
		{ " ,, \t\r\n", "" },
		{ "a", "<a>" },
		{ "a,b c\td\re\nf", "<a><b><c><d><e><f>" },
		{ "{a b}", "{a b}" },
		{ " { a, b } c", "{a, b}<c>" },
		{ "{a {b c} d}", "{a {b c} d}" },
		{ "{}", "{}" },
		{ "inline:{ {k = v}, a=b } x", "<inline:{ {k = v}, a=b }><x>" },
		{ "a}b", "<a}b>" },
		{ "a {b", "<a>!" },
		{ "{a}b c", "!" },
		{ "{a}{b}", "!" },
		{ "x{a b}y", "<x{a b}y>" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct span rest = span_str(rows[i].text), item;
		struct buf all;
		bool group;
		enum rc rc;
		buf_init(&all, 1000);
		while ((rc = conf_item(&rest, &item, &group)) == RC_OK) {
			buf_putc(&all, group ? '{' : '<');
			buf_put(&all, item);
			buf_putc(&all, group ? '}' : '>');
		}
		if (rc == RC_PERM)
			buf_putc(&all, '!');
		assert_span(buf_span(&all), rows[i].want);
		buf_fini(&all);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_logical_lines),
		cmocka_unit_test(test_nul_bytes),
		cmocka_unit_test(test_physical_lines),
		cmocka_unit_test(test_items),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
