/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/expand.h"

#include "unit.h"

static const struct {
	const char *name, *raw;
} names[] = {
	{ "full", "x y" },
	{ "empty", "" },
	{ "ref", "$empty" },
	{ "level", "3.9" },
	{ "loop_a", "$loop_b" },
	{ "loop_b", "${loop_a}" },
	{ "self", "$self" },
	{ "broken", "${full" },
	{ "b1", "$b2$b2$b2$b2$b2$b2$b2$b2$b2$b2" },
	{ "b2", "$b3$b3$b3$b3$b3$b3$b3$b3$b3$b3" },
	{ "b3", "$b4$b4$b4$b4$b4$b4$b4$b4$b4$b4" },
	{ "b4", "$b5$b5$b5$b5$b5$b5$b5$b5$b5$b5" },
	{ "b5", "$b6$b6$b6$b6$b6$b6$b6$b6$b6$b6" },
	{ "b6", "$empty" },
};

static bool
lookup(void *arg, struct span name, struct span *raw_out)
{
	(void)arg;
	for (size_t i = 0; i < NELEMS(names); i++)
		if (span_eq_str(name, names[i].name)) {
			*raw_out = span_str(names[i].raw);
			return true;
		}
	return false;
}

/* want NULL: an error, whose text holds why. The expectations are what Postfix's own postconf -x prints. */
static void
test_expansion(void **state)
{
	(void)state;
	static const struct {
		const char *raw, *want, *why;
	} rows[] = {
		{ "", "", NULL },
		{ "plain } text {", "plain } text {", NULL },
		{ "$full-$full_x $full.b ${full}b", "x y- x y.b x yb", NULL },
		{ "$(full)$nosuch|$empty|", "x y||", NULL },
		{ "a$$$full $$$$ $${full}", "a$x y $$ ${full}", NULL },
		{ "${ full }$( full )", "x yx y", NULL },
		{ "${full?yes}${empty?yes}${nosuch?yes}", "yes", NULL },
		{ "${full:no}${empty:no}${nosuch:no}", "nono", NULL },
		{ "${ref?set}${ref:unset}", "set", NULL },
		{ "${full?{a}:{b}}${empty?{a}:{b}}", "ab", NULL },
		{ "${full?{a}:b}${empty?{a}:b}", "ab", NULL },
		{ "${full? {a} : {b} }", "a", NULL },
		{ "${full ?a}", "a", NULL },
		{ "${full?a:b}", "a:b", NULL },
		{ "${empty:{a}}", "a", NULL },
		{ "<${full?{ a }}>", "< a >", NULL },
		{ "<${full? a }>", "< a >", NULL },
		{ "${full?$full ${empty}z}", "x y z", NULL },
		{ "${full?}${full?{}}${empty:}", "", NULL },
		{ "$(full?a(b)c)${full?a{b}c}", "a(b)ca{b}c", NULL },
		{ "${full?a}b}", "ab}", NULL },
		{ "${{a} == {b}?{x}:{y}}", "y", NULL },
		{ "${{a}<{b}?x}${{b} > {a} ? {x} : {y}}", "xx", NULL },
		{ "${{10} > {9}?n}${{01} == {1} ? {n}}", "nn", NULL },
		{ "${{abc} >= {abd} ? {n} : {m}}", "m", NULL },
		{ "${{a}=={a}}${{a}!={a}}", "true", NULL },
		{ "${{a}!={a}:n}", "n", NULL },
		{ "${{ a } == {a}?x}${{} == {} ? e}", " e", NULL },
		{ "${{$full} == {x y}?{$full}:{n}}", "x y", NULL },
		{ "${{3.10}>level{$level}?{up}:{down}}", "up", NULL },
		{ "${{3} <level {3.10} ? {n} : {m}}", "n", NULL },
		{ "${{5}==level{5.0}?e}${{5.0.0}>=level{5}?g}${{5.1}!=level{5}?x}", "egx", NULL },
		{ "${{5} == {5.0}? {a} : {b}}", "b", NULL },
		{ "${empty?$loop_a}ok", "ok", NULL },
		{ "${full", NULL, "truncated macro reference" },
		{ "$(full}", NULL, "truncated macro reference" },
		{ "${full?{a}", NULL, "truncated macro reference" },
		{ "x$broken", NULL, "truncated macro reference" },
		{ "$", NULL, "empty macro name" },
		{ "a$ b", NULL, "empty macro name" },
		{ "${}", NULL, "empty macro name" },
		{ "${a-b}", NULL, "attribute name syntax error" },
		{ "${full!x}", NULL, "attribute name syntax error" },
		{ "${full?{a}{b}}", NULL, "\":\" expected" },
		{ "${full?{a} b}", NULL, "\":\" expected" },
		{ "${full?{a}:{b}:c}", NULL, "unexpected input" },
		{ "${full:{a}x}", NULL, "unexpected input" },
		{ "${{a} ~ {b}?x}", NULL, "expected" },
		{ "${{a}}", NULL, "expected" },
		{ "${{a} == b?x}", NULL, "{expression}" },
		{ "${{x} ==level {3}?a}", NULL, "malformed compatibility level" },
		{ "$loop_a", NULL, "nesting" },
		{ "$self", NULL, "nesting" },
		{ "${full?${self}}", NULL, "nesting" },
		{ "$b1", NULL, "too large" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf out;
		struct err e = { 0 };
		buf_init(&out, EXPAND_MAX);
		enum rc rc = expand_text(lookup, NULL, span_str(rows[i].raw), &out, &e);
		if (rows[i].want != NULL) {
			if (rc != RC_OK)
				fail_msg("%s: %s", rows[i].raw, e.why);
			assert_span(buf_span(&out), rows[i].want);
		} else if (rc != RC_PERM || strstr(e.why, rows[i].why) == NULL) {
			fail_msg("%s: rc %d, \"%s\"", rows[i].raw, rc, e.why);
		}
		buf_fini(&out);
	}
}

/* Deep nesting of braces, not of names: the stack must not grow with the text. */
static void
test_deep(void **state)
{
	(void)state;
	struct buf in, out;
	struct err e;
	buf_init(&in, 1 << 20);
	buf_init(&out, EXPAND_MAX);
	for (int i = 0; i < 50000; i++)
		buf_puts(&in, "${full?");
	for (int i = 0; i < 50000; i++)
		buf_puts(&in, "}");
	assert_int_equal(expand_text(lookup, NULL, buf_span(&in), &out, &e), RC_PERM);
	buf_fini(&in);
	buf_fini(&out);
}

static void
collect(void *arg, struct span name)
{
	buf_put(arg, name);
	buf_putc(arg, ' ');
}

static void
test_names(void **state)
{
	(void)state;
	static const struct {
		const char *raw, *want;
	} rows[] = {
		{ "a b", "" },
		{ "$a ${b} $(c) $$d ${ e }", "a b c e " },
		{ "${f?{$g}:{$h}} ${{$i} == {j}? $k}", "f g h i k " },
		{ "$ ${} $$ $", "" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf all;
		buf_init(&all, 1000);
		expand_names(span_str(rows[i].raw), collect, &all);
		assert_span(buf_span(&all), rows[i].want);
		buf_fini(&all);
	}
}

static void
test_level(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		enum rc rc;
		uint64_t v[3];
	} rows[] = {
		{ "0", RC_OK, { 0, 0, 0 } },      { "3.10", RC_OK, { 3, 10, 0 } }, { "3.6.2", RC_OK, { 3, 6, 2 } },
		{ "", RC_PERM, { 0, 0, 0 } },     { "3.", RC_PERM, { 0, 0, 0 } },  { "3.1.2.3", RC_PERM, { 0, 0, 0 } },
		{ "three", RC_PERM, { 0, 0, 0 } }, { "-1", RC_PERM, { 0, 0, 0 } },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		uint64_t v[3];
		assert_int_equal(expand_level(span_str(rows[i].text), v), rows[i].rc);
		if (rows[i].rc == RC_OK)
			assert_memory_equal(v, rows[i].v, sizeof v);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_expansion),
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_level),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
