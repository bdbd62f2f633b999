/* SPDX-License-Identifier: BSD-2-Clause */
/* Pattern tables: rules as text, results, required literals, and whole tables. */
#include "map/literal.h"
#include "map/pattern.h"
#include "map/prefilter.h"
#include "map/regex.h"
#include "map/subst.h"
#include "map/table.h"

#include "confdir.h"
#include "unit.h"

/* ---- one rule as text ---- */

static const struct {
	const char *line;
	enum pattern_flavour flavour;
	enum rc rc;
	enum pattern_kind kind;
	bool negated;
	const char *regex;
	unsigned flags;
	const char *result;
	bool doubtful;
} rules[] = {
	{ "/a/ b", PATTERN_PCRE, RC_OK, PATTERN_MATCH, false, "a", PATTERN_CASELESS | PATTERN_DOTALL, "b", false },
	{ "/a/ b", PATTERN_REGEXP, RC_OK, PATTERN_MATCH, false, "a", PATTERN_CASELESS | PATTERN_EXTENDED, "b", false },
	{ "/a/i  b c ", PATTERN_PCRE, RC_OK, PATTERN_MATCH, false, "a", PATTERN_DOTALL, "b c", false },
	{ "/a/imsxAEU b", PATTERN_PCRE, RC_OK, PATTERN_MATCH, false, "a",
	    PATTERN_MULTILINE | PATTERN_EXTENDED | PATTERN_ANCHORED | PATTERN_DOLLAR_END | PATTERN_UNGREEDY, "b", false },
	{ "/a/ii b", PATTERN_PCRE, RC_OK, PATTERN_MATCH, false, "a", PATTERN_CASELESS | PATTERN_DOTALL, "b", false },
	{ "/a/X b", PATTERN_PCRE, RC_OK, PATTERN_MATCH, false, "a", PATTERN_CASELESS | PATTERN_DOTALL, "b", true },
	{ "/a/imx b", PATTERN_REGEXP, RC_OK, PATTERN_MATCH, false, "a", PATTERN_MULTILINE, "b", false },
	{ "/a/s b", PATTERN_REGEXP, RC_PERM, PATTERN_MATCH, false, NULL, 0, NULL, false },
	{ "/a/q b", PATTERN_PCRE, RC_PERM, PATTERN_MATCH, false, NULL, 0, NULL, false },
	{ "!/a/ b", PATTERN_PCRE, RC_OK, PATTERN_MATCH, true, "a", PATTERN_CASELESS | PATTERN_DOTALL, "b", false },
	{ "! !/a/ b", PATTERN_PCRE, RC_OK, PATTERN_MATCH, false, "a", PATTERN_CASELESS | PATTERN_DOTALL, "b", false },
	{ "|a\\|/| b", PATTERN_PCRE, RC_OK, PATTERN_MATCH, false, "a\\|/", PATTERN_CASELESS | PATTERN_DOTALL, "b", false },
	{ "/a\\\\/ b", PATTERN_PCRE, RC_OK, PATTERN_MATCH, false, "a\\\\", PATTERN_CASELESS | PATTERN_DOTALL, "b", false },
	{ "// b", PATTERN_PCRE, RC_OK, PATTERN_MATCH, false, "", PATTERN_CASELESS | PATTERN_DOTALL, "b", false },
	{ "/a/", PATTERN_PCRE, RC_OK, PATTERN_MATCH, false, "a", PATTERN_CASELESS | PATTERN_DOTALL, "", true },
	{ "/a\\/ b", PATTERN_PCRE, RC_PERM, PATTERN_MATCH, false, NULL, 0, NULL, false },
	{ "/a\\", PATTERN_PCRE, RC_PERM, PATTERN_MATCH, false, NULL, 0, NULL, false },
	{ "/a", PATTERN_PCRE, RC_PERM, PATTERN_MATCH, false, NULL, 0, NULL, false },
	{ "a b", PATTERN_PCRE, RC_PERM, PATTERN_MATCH, false, NULL, 0, NULL, false },
	{ "!", PATTERN_PCRE, RC_PERM, PATTERN_MATCH, false, NULL, 0, NULL, false },
	{ "!a b", PATTERN_PCRE, RC_PERM, PATTERN_MATCH, false, NULL, 0, NULL, false },
	{ "if /a/", PATTERN_PCRE, RC_OK, PATTERN_IF, false, "a", PATTERN_CASELESS | PATTERN_DOTALL, "", false },
	{ "IF/a/i", PATTERN_PCRE, RC_OK, PATTERN_IF, false, "a", PATTERN_DOTALL, "", false },
	{ "if !/a/ x", PATTERN_PCRE, RC_OK, PATTERN_IF, true, "a", PATTERN_CASELESS | PATTERN_DOTALL, "x", true },
	{ "if", PATTERN_PCRE, RC_PERM, PATTERN_IF, false, NULL, 0, NULL, false },
	{ "iffy x", PATTERN_PCRE, RC_PERM, PATTERN_IF, false, NULL, 0, NULL, false },
	{ "endif", PATTERN_PCRE, RC_OK, PATTERN_ENDIF, false, "", 0, "", false },
	{ "EndIf # x", PATTERN_PCRE, RC_OK, PATTERN_ENDIF, false, "", 0, "", true },
};

static void
test_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(rules); i++) {
		struct pattern_rule p;
		struct err e = { .why = "" };
		enum rc rc = pattern_parse(span_str(rules[i].line), rules[i].flavour, &p, &e);
		if (rc != rules[i].rc)
			fail_msg("row %zu: %s: rc %d %s", i, rules[i].line, rc, e.why);
		if (rc != RC_OK)
			continue;
		if (p.kind != rules[i].kind || p.negated != rules[i].negated || p.flags != rules[i].flags || (p.doubt != NULL) != rules[i].doubtful
		    || !span_eq_str(p.regex, rules[i].regex) || !span_eq_str(p.result, rules[i].result))
			fail_msg("row %zu: %s: kind %d negated %d flags %u regex <%.*s>", i, rules[i].line, p.kind, p.negated, p.flags,
			    (int)p.regex.n, (const char *)p.regex.p);
	}
}

/* ---- results ---- */

static const struct {
	const char *text;
	enum rc rc;
	unsigned most;
	const char *gives;           /* with groups 1 = "one", 2 = "", 3 = "three" of 4 */
} results[] = {
	{ "plain", RC_OK, 0, "plain" },
	{ "", RC_OK, 0, "" },
	{ "$$", RC_OK, 0, "$" },
	{ "a$$b$$", RC_OK, 0, "a$b$" },
	{ "$1", RC_OK, 1, "one" },
	{ "<$1>${3}$(1)$2.", RC_OK, 3, "<one>threeone." },
	{ "$1$3", RC_OK, 3, "onethree" },
	{ "$$1", RC_OK, 0, "$1" },
	{ "$$$1", RC_OK, 1, "$one" },
	{ "$9", RC_OK, 9, "" },
	{ "$99", RC_OK, 99, "" },
	{ "$100", RC_PERM, 0, NULL },
	{ "$0", RC_PERM, 0, NULL },
	{ "$1x", RC_PERM, 0, NULL },
	{ "${1}x", RC_OK, 1, "onex" },
	{ "${x}", RC_PERM, 0, NULL },
	{ "${1", RC_PERM, 0, NULL },
	{ "$(1}", RC_PERM, 0, NULL },
	{ "${}", RC_PERM, 0, NULL },
	{ "$", RC_PERM, 0, NULL },
	{ "a $ b", RC_PERM, 0, NULL },
	{ "$99999999999999999999", RC_PERM, 0, NULL },
};

static void
test_results(void **state)
{
	(void)state;
	const struct span groups[] = { SPAN("whole"), SPAN("one"), SPAN_EMPTY, SPAN("three") };
	for (size_t i = 0; i < NELEMS(results); i++) {
		struct arena a;
		struct subst s;
		struct buf out;
		struct err e = { .why = "" };
		arena_init(&a, 1 << 20);
		buf_init(&out, 1000);
		enum rc rc = subst_parse(span_str(results[i].text), &a, &s, &e);
		if (rc != results[i].rc || (rc == RC_OK && s.most != results[i].most))
			fail_msg("row %zu: %s: rc %d %s", i, results[i].text, rc, e.why);
		if (rc == RC_OK) {
			subst_put(&s, groups, NELEMS(groups), &out);
			if (!span_eq_str(buf_span(&out), results[i].gives))
				fail_msg("row %zu: %s gives <%s>", i, results[i].text, buf_cstr(&out));
		}
		buf_fini(&out);
		arena_fini(&a);
	}
}

/* ---- required literals ---- */

static const struct {
	const char *regex;
	const char *pcre, *regexp;   /* separated by spaces, "" for none */
} literals[] = {
	{ "^spam@example\\.com$", "spam@example.com", "spam@example.com" },
	{ "Example", "example", "example" },
	{ "ab", "", "" },
	{ "abc?", "", "" },
	{ "abcd?", "abc", "abc" },
	{ "abcd*e", "abc", "abc" },
	{ "abcd+efghi", "efghi", "efghi" },
	{ "abcde+fgh", "abcde", "abcde" },
	{ "abcd+*", "", "" },
	{ "abcd+?", "abcd", "" },
	{ "abcd++e", "abcd", "" },
	{ "abcd{0,3}efghi", "efghi", "efghi" },
	{ "abcd{", "", "" },
	{ "abcd{x}", "", "" },
	{ "(foo|bar)\\.example", ".example", ".example" },
	{ "(foo", "", "" },
	{ "foo)bar", "", "" },
	{ "foo|bar", "foo bar", "foo bar" },
	{ "foo|ba", "", "" },
	{ "foo|bar|", "", "" },
	{ "(?i)foo", "", "" },
	{ "(?:x|y)foo", "foo", "" },
	{ "(?!x)foobar", "foobar", "" },
	{ "(?<=x)foobar", "foobar", "" },
	{ "(?<name>x)foobar", "", "" },
	{ "(*UTF)foobar", "", "" },
	{ "[abc]def[[:digit:]]+ghij", "ghij", "ghij" },
	{ "[]x]foo", "foo", "foo" },
	{ "[^]x]foo", "foo", "foo" },
	{ "[\\]foo]bar", "bar", "foo" },
	{ "[[:]foo", "", "" },
	{ "[[:alpha:]foo", "", "" },
	{ "\\Qfoo\\E", "", "" },
	{ "\\dfoo\\w", "foo", "" },
	{ "\\wfoo\\w", "foo", "foo" },
	{ "\\x41foo", "", "" },
	{ "f\\.o\\-o", "f.o-o", "f.o-o" },
	{ "\\<foo\\>", "foo", "foo" },
	{ "f\xc3\xb6obar", "obar", "obar" },
	{ "(a(b)c)(foo)xyz", "xyz", "xyz" },
	{ "(\\(x)foo", "foo", "foo" },
	{ "(\\Q(\\E)foo", "", "" },
	{ "a.b.c", "", "" },
};

static void
test_literals(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(literals); i++)
		for (int f = 0; f < 2; f++) {
			enum pattern_flavour flavour = f == 0 ? PATTERN_PCRE : PATTERN_REGEXP;
			const char *want = f == 0 ? literals[i].pcre : literals[i].regexp;
			struct span got[LITERALS_MAX];
			struct arena a;
			struct buf all;
			arena_init(&a, 1 << 20);
			buf_init(&all, 1000);
			size_t n = literals_find(span_str(literals[i].regex), flavour, f == 0 ? PATTERN_CASELESS : PATTERN_EXTENDED, &a, got);
			for (size_t k = 0; k < n; k++) {
				buf_puts(&all, k > 0 ? " " : "");
				buf_put(&all, got[k]);
			}
			if (!span_eq_str(buf_span(&all), want))
				fail_msg("row %zu: %s (%s): <%s>, expected <%s>", i, literals[i].regex, f == 0 ? "pcre" : "regexp", buf_cstr(&all), want);
			assert_int_equal(literals_find(span_str(literals[i].regex), flavour, f == 0 ? PATTERN_EXTENDED : 0, &a, got), 0);
			buf_fini(&all);
			arena_fini(&a);
		}
}

/* Many rules, few of them looked at, and none missed. */
static void
test_prefilter(void **state)
{
	(void)state;
	struct prefilter *p = prefilter_new();
	char text[64];
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(text, sizeof text, "^user%u@domain%u\\.example$", i, i);
		prefilter_add(p, span_str(text), PATTERN_PCRE, PATTERN_CASELESS);
	}
	prefilter_add(p, SPAN("x"), PATTERN_PCRE, PATTERN_CASELESS);
	prefilter_seal(p);
	for (unsigned k = 0; k < 1000; k += 7) {
		unsigned may = 0;
		snprintf(text, sizeof text, "USER%u@domain%u.Example", k, k);
		prefilter_look(p, span_str(text));
		assert_true(prefilter_may(p, k));
		for (unsigned i = 0; i < 1001; i++)
			may += prefilter_may(p, i);
		assert_in_range(may, 2, 3); /* the one, the one without text, and "user1@domain1" for none */
	}
	prefilter_look(p, SPAN("nobody@else"));
	assert_false(prefilter_may(p, 0));
	assert_true(prefilter_may(p, 1000));
	prefilter_look(p, SPAN("\xe2\x84\xaa")); /* a Kelvin sign may be any k */
	assert_true(prefilter_may(p, 0));
	prefilter_look(p, SPAN_EMPTY);
	assert_false(prefilter_may(p, 0));
	prefilter_free(&p);
}

/* ---- whole tables ---- */

struct asked {
	const char *list, *key;
	enum rc rc;
	const char *value;
};

static const struct asked questions[] = {
	{ "pcre:rules", "aXXb", RC_OK, "x XX" },
	{ "pcre:rules", "AxxB", RC_OK, "x xx" },
	{ "regexp:rules", "aXXb", RC_OK, "x XX" },
	{ "pcre:rules", "foobar", RC_OK, "in foo: r$" },
	{ "regexp:rules", "foobar", RC_OK, "in foo: r$" },
	{ "pcre:rules", "foo", RC_OK, "no bar" },
	{ "pcre:rules", "foo deep bar", RC_OK, "deeper" },
	{ "regexp:rules", "foo deep bar", RC_OK, "deeper" },
	{ "pcre:rules", "bar", RC_OK, "last  over lines" },
	{ "pcre:rules", "none", RC_NONE, NULL },
	{ "pcre:rules", "", RC_NONE, NULL },
	{ "pcre:{{/^a(.)/ <$1>}, {!/b/ none}}", "ax", RC_OK, "<x>" },
	{ "pcre:{{/^a(.)/ <$1>}, {!/b/ none}}", "c", RC_OK, "none" },
	{ "pcre:{{/^a(.)/ <$1>}, {!/b/ none}}", "b", RC_NONE, NULL },
	{ "regexp:{{if /a{2}/} {/b/ both} {endif} {/b/ one}}", "baa", RC_OK, "both" },
	{ "regexp:{{if /a{2}/} {/b/ both} {endif} {/b/ one}}", "ba", RC_OK, "one" },
	{ "pcre:{{/(x)?(y)?/ 1<$1>2<$2>}}", "y", RC_OK, "1<>2<y>" },
	{ "regexp:{{/(x)?(y)?/ 1<$1>2<$2>}}", "y", RC_OK, "1<>2<y>" },
	{ "pcre:{{/A/i upper} {/a/ lower}}", "a", RC_OK, "lower" },
	{ "pcre:{{/A/i upper} {/a/ lower}}", "A", RC_OK, "upper" },
	{ "regexp:{{/A/i upper} {/a/ lower}}", "a", RC_OK, "lower" },
	{ "pcre:{{/^.$/ one}}", "\xc3\xb6", RC_OK, "one" },          /* one character */
	{ "pcre:{{/ende$/ bytes}}", "\xff\xfe ende", RC_OK, "bytes" }, /* not UTF-8 */
	{ "pcre:{{/\xc3\x96/ umlaut}}", "\xc3\xb6", RC_OK, "umlaut" },
	{ "pcre:{{/kelvin/ K}}", "\xe2\x84\xaa" "elvin", RC_OK, "K" }, /* the other form of k */
	{ "pcre:{{/a/ }}", "a", RC_TEMP, NULL },
	{ "pcre:{{/(a+)+$/ x}}", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", RC_TEMP, NULL },
	{ "pcre:{{/(/ x}}", "a", RC_TEMP, NULL },
	{ "pcre:missing", "a", RC_TEMP, NULL },
	{ "pcre:", "a", RC_TEMP, NULL },
	{ "pcre:{{/a/ x}", "a", RC_NONE, NULL }, /* no table came of it; the load is refused */
	{ "proxy:pcre:rules", "foo", RC_OK, "no bar" },
	{ "pipemap:{pcre:{{/^(.*)@old$/ $1@new}}, inline:{a@new=b}}", "a@old", RC_OK, "b" },
	{ "unionmap:{pcre:{{/a/ one}}, regexp:{{/b/ two}}}", "ab", RC_OK, "one,two" },
};

static enum rc
open_for(struct conf *c, const char *parameter, const char *list, struct map_list **l)
{
	struct err e = { .why = "" };
	return maps_open(c, NULL, parameter, list, l, &e);
}

static void
test_tables(void **state)
{
	(void)state;
	struct conf *c = confdir_load("smtputf8_enable = yes\nproxy_read_maps = proxy:pcre:rules\n");
	struct buf scratch;
	buf_init(&scratch, 4096);
	for (size_t i = 0; i < NELEMS(questions); i++) {
		const struct asked *q = &questions[i];
		struct map_list *l = NULL;
		struct span v;
		struct err e = { .why = "" };
		(void)!open_for(c, "canonical_maps", q->list, &l);
		enum rc rc = map_find(l, span_str(q->key), 0, &scratch, &v, &e);
		if (rc != q->rc || (rc == RC_OK && !span_eq_str(v, q->value))) {
			confdir_show_problems(c);
			fail_msg("%s [%s]: rc %d <%.*s> %s", q->list, q->key, rc, (int)v.n, (const char *)v.p, e.why);
		}
		if (rc == RC_OK && strstr(q->list, "inline") == NULL) /* a part of a key is not asked for */
			assert_int_equal(map_find(l, span_str(q->key), MAP_PARTIAL, &scratch, &v, &e), RC_NONE);
		map_list_free(&l);
	}
	buf_fini(&scratch);
	conf_unref(&c);
}

static const struct {
	const char *parameter, *list, *says;
	enum conf_severity severity;
} problems[] = {
	{ "canonical_maps", "pcre:bad", "bad:2: bad expression, at octet 2: missing closing parenthesis", CONF_ERROR },
	{ "canonical_maps", "regexp:bad", "bad:2: bad expression: ", CONF_ERROR },
	{ "canonical_maps", "pcre:bad", "bad:5: $2 in the result: the pattern has 1 group", CONF_ERROR },
	{ "canonical_maps", "regexp:bad", "bad:5: $2 in the result: the pattern has 1 group", CONF_ERROR },
	{ "canonical_maps", "pcre:bad", "bad:6: $1 in the result of a negated pattern", CONF_ERROR },
	{ "canonical_maps", "pcre:bad", "bad:7: endif without if", CONF_ERROR },
	{ "canonical_maps", "pcre:bad", "bad:8: if without endif", CONF_ERROR },
	{ "canonical_maps", "pcre:bad", "bad:9: expecting /pattern/flags result", CONF_ERROR },
	{ "canonical_maps", "pcre:bad", "bad:10: unknown flag 'q'", CONF_ERROR },
	{ "canonical_maps", "pcre:{{/(/ x}}", "inline rule:1: bad expression", CONF_ERROR },
	{ "canonical_maps", "pcre:{/a/ x}", "expecting {rule}", CONF_ERROR },
	{ "canonical_maps", "pcre:missing", "missing: No such file", CONF_ERROR },
	{ "canonical_maps", "pcre:{{/a/}}", "no result behind the pattern", CONF_WARNING },
	{ "transport_maps", "pcre:{{/(a)/ smtp:[$1]} {/a/ b}}", "inline rule:1: what a group matched is not put into results here", CONF_WARNING },
};

static void
test_problems(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(problems); i++) {
		struct conf *c = confdir_load("");
		struct map_list *l = NULL;
		enum rc rc = open_for(c, problems[i].parameter, problems[i].list, &l);
		assert_int_equal(rc, problems[i].severity == CONF_ERROR ? RC_PERM : RC_OK);
		if (!confdir_has_problem(c, problems[i].severity, problems[i].says)) {
			confdir_show_problems(c);
			fail_msg("row %zu: %s: expected \"%s\"", i, problems[i].list, problems[i].says);
		}
		map_list_free(&l);
		conf_unref(&c);
	}
}

/* The same file means something else where a sender could choose what comes out of it. */
static void
test_refused_groups(void **state)
{
	(void)state;
	struct conf *c = confdir_load("proxy_read_maps = proxy:pcre:groups\n");
	struct map_list *may = NULL, *may_not = NULL, *nested = NULL;
	struct buf scratch;
	struct span v;
	struct err e;
	buf_init(&scratch, 1000);
	assert_int_equal(open_for(c, "canonical_maps", "pcre:groups", &may), RC_OK);
	assert_int_equal(open_for(c, "transport_maps", "pcre:groups", &may_not), RC_OK);
	assert_int_equal(open_for(c, "transport_maps", "unionmap:{proxy:pcre:groups}", &nested), RC_OK);
	assert_int_equal(map_find(may, SPAN("abc"), 0, &scratch, &v, &e), RC_OK);
	assert_true(span_eq_str(v, "with b"));
	assert_int_equal(map_find(may_not, SPAN("abc"), 0, &scratch, &v, &e), RC_OK);
	assert_true(span_eq_str(v, "without"));
	assert_int_equal(map_find(nested, SPAN("abc"), 0, &scratch, &v, &e), RC_OK);
	assert_true(span_eq_str(v, "without"));
	map_list_free(&may);
	map_list_free(&may_not);
	map_list_free(&nested);
	buf_fini(&scratch);
	conf_unref(&c);
}

/* What one lookup gave is the key of the next, in the same scratch. */
static void
test_same_scratch(void **state)
{
	(void)state;
	struct conf *c = confdir_load("");
	struct map_list *l = NULL;
	struct buf scratch;
	struct span v = SPAN("abc");
	struct err e;
	buf_init(&scratch, 30);
	assert_int_equal(open_for(c, "canonical_maps", "pcre:{{/^(.)(.*)$/ $2${1}x}}", &l), RC_OK);
	for (int i = 0; i < 3; i++)
		assert_int_equal(map_find(l, v, 0, &scratch, &v, &e), RC_OK);
	assert_true(span_eq_str(v, "axbxcx"));
	assert_int_equal(map_find(l, SPAN("a key that does not fit there at all"), 0, &scratch, &v, &e), RC_TEMP);
	map_list_free(&l);
	buf_fini(&scratch);
	conf_unref(&c);
}

static bool
gather(void *arg, const char *table, struct span key, struct span value)
{
	struct buf *out = arg;
	(void)table;
	buf_put(out, key);
	buf_putc(out, '=');
	buf_put(out, value);
	buf_putc(out, ';');
	return true;
}

static void
test_listing(void **state)
{
	(void)state;
	struct conf *c = confdir_load("");
	struct map_list *l = NULL;
	struct buf out;
	buf_init(&out, 1000);
	assert_int_equal(open_for(c, "canonical_maps", "pcre:{{/a(b)/im x $1} {if !/z/} {!|q| y} {endif}}", &l), RC_OK);
	map_list_each(l, gather, &out);
	assert_string_equal(buf_cstr(&out), "/a(b)/im=x $1;!|q|=y;");
	buf_fini(&out);
	map_list_free(&l);
	conf_unref(&c);
}

static int
make_files(void **state)
{
	(void)state;
	confdir_make();
	confdir_write("rules", "# comment\n/^a(.*)b$/ x $1\nif /foo/\n!/bar/ no bar\nif /deep/\n/bar/ deeper\nendif\n/ba(r)/ in foo: $1$$\nendif\n"
	    "/bar/ last\n  over\n# in between\n\n lines\n");
	confdir_write("bad", "/fine/ x\n/a(/ x\n/fine/ x\n  more\n/(a)/ $2\n!/(a)/ $1\nendif\nif /a/\nword x\n/a/q x\n");
	confdir_write("groups", "/a(.)c/ with $1\n/./ without\n");
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_results),
		cmocka_unit_test(test_literals),
		cmocka_unit_test(test_prefilter),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_problems),
		cmocka_unit_test(test_refused_groups),
		cmocka_unit_test(test_same_scratch),
		cmocka_unit_test(test_listing),
	};
	return cmocka_run_group_tests(tests, make_files, confdir_teardown);
}
