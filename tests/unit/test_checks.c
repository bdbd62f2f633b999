/* SPDX-License-Identifier: BSD-2-Clause */
/* header_checks(5): every action and what is wrong with it, keys, texts. Facts 10.1. */
#include "filters/checks.h"

#include "confdir.h"
#include "unit.h"

static const struct {
	const char *result;
	bool is_line;
	enum check_action action;
	const char *text, *warning;
} rows[] = {
	{ "REJECT", false, CHECK_REJECT, "5.7.1 message content rejected", "" }, { "reject no", false, CHECK_REJECT, "5.7.1 no", "" },
	{ "REJECT 5.7.9 no", false, CHECK_REJECT, "5.7.9 no", "" }, { "REJECT\t 4.1.10 later", false, CHECK_REJECT, "4.1.10 later", "" },
	{ "REJECT 2.1.5 fine", false, CHECK_REJECT, "4.1.5 fine", "bad DSN action in 2.1.5 fine -- need 4.x.x or 5.x.x" },
	{ "REJECT 5.7 no", false, CHECK_REJECT, "5.7.1 5.7 no", "" }, { "REJECT 550 5.1.1 no", false, CHECK_REJECT, "5.7.1 550 5.1.1 no", "" },
	{ "DISCARD x", false, CHECK_DISCARD, "x", "" }, { "HOLD", false, CHECK_HOLD, "", "" }, { "QUARANTINE odd", true, CHECK_QUARANTINE, "odd", "" },
	{ "FILTER a:b", false, CHECK_FILTER, "a:b", "" }, { "FILTER a", false, CHECK_DUNNO, NULL, "bad FILTER command a in header_checks -- need transport:destination" },
	{ "FILTER", false, CHECK_DUNNO, NULL, "missing FILTER command argument in header_checks map" },
	{ "REDIRECT a@b", false, CHECK_REDIRECT, "a@b", "" }, { "REDIRECT a", false, CHECK_DUNNO, NULL, "bad REDIRECT target \"a\" in header_checks map -- need user@domain" },
	{ "BCC a@b", false, CHECK_BCC, "a@b", "" }, { "BCC a", true, CHECK_DUNNO, NULL, "bad BCC address \"a\" in body_checks map -- need user@domain" },
	{ "PREPEND A: b", false, CHECK_PREPEND, "A: b", "" }, { "PREPEND x", true, CHECK_PREPEND, "x", "" },
	{ "PREPEND x", false, CHECK_DUNNO, NULL, "bad PREPEND header text \"x\" in header_checks map -- need \"headername: headervalue\"" },
	{ "PREPEND", true, CHECK_DUNNO, NULL, "PREPEND action without text in body_checks map" },
	{ "REPLACE A : b", false, CHECK_REPLACE, "A : b", "" }, { "REPLACE", false, CHECK_DUNNO, NULL, "REPLACE action without text in header_checks map" },
	{ "REPLACE : b", false, CHECK_DUNNO, NULL, "bad REPLACE header text \": b\" in header_checks map -- need \"headername: headervalue\"" },
	{ "STRIP why", false, CHECK_STRIP, "why", "" }, { "IGNORE x", false, CHECK_IGNORE, "x", "" }, { "WARN w", false, CHECK_WARN, "w", "" },
	{ "info", true, CHECK_INFO, "", "" }, { "Pass p", false, CHECK_PASS, "p", "" }, { "DUNNO x", false, CHECK_DUNNO, NULL, "" }, { "OK", false, CHECK_DUNNO, NULL, "" },
	{ "EXPLODE x", false, CHECK_DUNNO, NULL, "unknown command in header_checks map: EXPLODE x" }, { "REJECTED", true, CHECK_DUNNO, NULL, "unknown command in body_checks map: REJECTED" },
};

static void
test_actions(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf cf, scratch;
		struct checks *ch = NULL;
		struct check_verdict v;
		struct err e;
		buf_init(&cf, 4096);
		buf_init(&scratch, 4096);
		buf_printf(&cf, "%s = static:{%s}\n%s =\n", rows[i].is_line ? "body_checks" : "header_checks", rows[i].result, rows[i].is_line ? "header_checks" : "body_checks");
		struct conf *c = confdir_load(buf_cstr(&cf));
		assert_int_equal(checks_open(c, NULL, CHECKS_IN, &ch, &e), RC_OK);
		enum check_kind kind = rows[i].is_line ? CHECK_BODY : CHECK_HEADER;
		assert_true(checks_has(ch, kind) && !checks_has(ch, rows[i].is_line ? CHECK_HEADER : CHECK_BODY));
		assert_int_equal(checks_ask(ch, kind, SPAN("x"), &scratch, &v, &e), RC_OK);
		if (v.action != rows[i].action || strcmp(v.warning, rows[i].warning) != 0)
			fail_msg("%s: action %d, \"%s\"", rows[i].result, (int)v.action, v.warning);
		if (rows[i].text != NULL && !span_eq_str(v.text, rows[i].text))
			fail_msg("%s: \"%.*s\"", rows[i].result, (int)v.text.n, (const char *)v.text.p);
		assert_int_equal(checks_ask(ch, kind, SPAN_EMPTY, &scratch, &v, &e), RC_OK); /* empty lines are not looked up */
		assert_int_equal(v.action, CHECK_DUNNO);
		checks_free(&ch);
		conf_unref(&c);
		buf_fini(&cf);
		buf_fini(&scratch);
	}
}

/* What check says of rows nobody has asked for yet: the line, and what would be answered 4xx when it is asked for. */
static void
test_notes(void **state)
{
	(void)state;
	static const char *const says[] = { "/rules:2: bad REDIRECT target \"a@b.example, c@d.example\" in header_checks map", "/rules:3: bad REDIRECT target \"\" in",
		"/rules:4: bad BCC address \"@\" in", "/rules:6: unknown command in header_checks map: EXPLODE" };
	struct checks *ch = NULL;
	struct err e;
	confdir_write("rules", "/^a(.*)/ REDIRECT $1@b.example\n/b/ REDIRECT a@b.example, c@d.example\n/c/ REDIRECT\n/d/ BCC @\nif /e/\n/f/ EXPLODE\nendif\n/g/ BCC a@b.example\n");
	struct conf *c = confdir_load("header_checks = pcre:$config_directory/rules\nmime_header_checks =\nnested_header_checks =\n");
	size_t before = conf_problem_count(c, CONF_WARNING);
	assert_int_equal(checks_open(c, NULL, CHECKS_IN, &ch, &e), RC_OK);
	checks_notes(c, NULL, ch);
	for (size_t i = 0; i < NELEMS(says); i++)
		if (!confdir_has_problem(c, CONF_WARNING, says[i])) {
			confdir_show_problems(c);
			fail_msg("expected %s", says[i]);
		}
	assert_int_equal(conf_problem_count(c, CONF_WARNING), before + NELEMS(says));
	checks_free(&ch);
	conf_unref(&c);
}

static void
test_families(void **state)
{
	(void)state;
	struct checks *ch = NULL;
	struct check_verdict v;
	struct buf scratch;
	struct err e;
	buf_init(&scratch, 4096);
	struct conf *c = confdir_load("header_checks = static:REJECT\nreceive_override_options = no_header_body_checks\nsmtp_header_checks = static:REJECT\nlmtp_body_checks = static:{PREPEND x}\n");
	assert_int_equal(checks_open(c, NULL, CHECKS_IN, &ch, &e), RC_OK);
	assert_null(ch);
	assert_int_equal(checks_open(c, NULL, CHECKS_SMTP, &ch, &e), RC_OK);
	assert_true(checks_has(ch, CHECK_HEADER) && !checks_has(ch, CHECK_MIME));
	assert_int_equal(checks_ask(ch, CHECK_HEADER, SPAN("A: b"), &scratch, &v, &e), RC_OK);
	assert_int_equal(v.action, CHECK_DUNNO);
	assert_string_equal(v.warning, "unsupported command in smtp_header_checks map: REJECT");
	checks_free(&ch);
	assert_int_equal(checks_open(c, NULL, CHECKS_LMTP, &ch, &e), RC_OK);
	assert_int_equal(checks_ask(ch, CHECK_BODY, SPAN("line"), &scratch, &v, &e), RC_OK);
	assert_int_equal(v.action, CHECK_PREPEND);
	checks_free(&ch);
	conf_unref(&c);
	/* a table that is broken is "not now", never "nothing" */
	c = confdir_load("header_checks = fail:x\n");
	assert_int_equal(checks_open(c, NULL, CHECKS_IN, &ch, &e), RC_OK);
	assert_true(checks_has(ch, CHECK_MIME) && checks_has(ch, CHECK_NESTED)); /* $header_checks */
	assert_int_equal(checks_ask(ch, CHECK_MIME, SPAN("A: b"), &scratch, &v, &e), RC_TEMP);
	checks_free(&ch);
	conf_unref(&c);
	buf_fini(&scratch);
}

static void
test_texts(void **state)
{
	(void)state;
	static const struct {
		const char *in;
		size_t name, colon;
		const char *key;
	} keys[] = {
		{ "A: b\r\n", 1, 1, "A: b" }, { "A : b\r\n", 1, 2, "A: b" }, { "A: b\r\n\tc\r\n  d\r\n", 1, 1, "A: b\n\tc\n  d" }, { "A:", 1, 1, "A:" }, { "A \t: b\n c\n", 1, 3, "A: b\n c" },
	};
	static const struct {
		const char *in;
		bool is_header;
		const char *out;
	} texts[] = {
		{ "A: b", true, "A: b\r\n" }, { "A: b\nB: c", true, "A: b\r\n\tB: c\r\n" }, { "A: b\n c\r\n\td", true, "A: b\r\n c\r\n\td\r\n" }, { "A: b\n\nc", true, "A: b\r\n\t\r\n\tc\r\n" },
		{ "x\ry", false, "x y\r\n" }, { "x\ny", false, "x\r\ny\r\n" }, { ".", false, ".\r\n" },
	};
	struct buf b;
	buf_init(&b, 4096);
	for (size_t i = 0; i < NELEMS(keys); i++)
		assert_true(span_eq_str(check_key(span_str(keys[i].in), keys[i].name, keys[i].colon, &b), keys[i].key));
	for (size_t i = 0; i < NELEMS(texts); i++) {
		buf_reset(&b);
		check_write(&b, span_str(texts[i].in), texts[i].is_header);
		assert_string_equal(buf_cstr(&b), texts[i].out);
	}
	assert_int_equal(check_kind_of(MIME_PRIMARY, MIME_FIELD_OTHER), CHECK_HEADER);
	assert_int_equal(check_kind_of(MIME_PRIMARY, MIME_FIELD_TYPE), CHECK_MIME);
	assert_int_equal(check_kind_of(MIME_PART, MIME_FIELD_OTHER), CHECK_MIME);
	assert_int_equal(check_kind_of(MIME_NESTED, MIME_FIELD_OTHER), CHECK_NESTED);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_actions), cmocka_unit_test(test_notes), cmocka_unit_test(test_families), cmocka_unit_test(test_texts) };
	confdir_make();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	confdir_remove();
	return failed;
}
