/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/template.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define DEFAULT_FILTER "\\t\\40!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

static bool
value(void *arg, struct span name, struct buf *out)
{
	(void)arg;
	if (span_eq_str(name, "empty"))
		return true;
	if (span_eq_str(name, "who"))
		buf_puts(out, "x@y.example");
	else if (span_eq_str(name, "evil"))
		buf_puts(out, "$who ${who} a\r\nb\xc3\xa9");
	else if (span_eq_str(name, "long"))
		for (int i = 0; i < 10000; i++)
			buf_putc(out, '$');
	else
		return false;
	return true;
}

static void
templates(void **state)
{
	static const struct {
		const char *text, *out; /* NULL: refused */
	} rows[] = {
		{ "", "" }, { "plain", "plain" }, { "$who", "x@y.example" }, { "<${who}>", "<x@y.example>" }, { "5$$", "5$" },
		{ "a${empty?; not here}b", "ab" }, { "a${who?; $who}b", "a; x@y.exampleb" }, { "a${empty:none}b", "anoneb" }, { "a${who:none}b", "ab" },
		{ "$evil", "$who ${who} a__b__" }, { "${who?$evil}", "$who ${who} a__b__" },
		{ "$nobody", NULL }, { "${who", NULL }, { "${}", NULL },
	};
	(void)state;
	struct template_filter f;
	template_filter_init(&f, DEFAULT_FILTER);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		struct err e = { 0 };
		buf_init(&b, 10000);
		enum rc rc = policy_template(&f, span_str(rows[i].text), value, NULL, &b, &e);
		if (rows[i].out == NULL ? rc != RC_PERM : rc != RC_OK || !span_eq_str(buf_span(&b), rows[i].out))
			fail_msg("\"%s\": %d \"%.*s\" %s", rows[i].text, (int)rc, (int)buf_span(&b).n, (const char *)buf_span(&b).p, e.why);
		buf_fini(&b);
	}
	struct buf b;
	struct err e;
	buf_init(&b, 100000);
	assert_int_equal(policy_template(&f, SPAN("$long"), value, NULL, &b, &e), RC_OK);
	assert_true(buf_len(&b) <= 4096);
	buf_fini(&b);
}

static void
filters(void **state)
{
	(void)state;
	struct template_filter f;
	template_filter_init(&f, DEFAULT_FILTER);
	for (unsigned c = 0; c < 256; c++)
		if (f.ok[c] != (c == '\t' || (c >= 32 && c < 127)))
			fail_msg("%u", c);
	template_filter_init(&f, "\\101b\\\\c");
	assert_true(f.ok['A'] && f.ok['b'] && f.ok['\\'] && f.ok['c']);
	assert_false(f.ok['1'] || f.ok['a']);
	template_filter_init(&f, "x\\");
	assert_true(f.ok['x'] && f.ok['\\']);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(templates), cmocka_unit_test(filters) };
	return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
