/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/syntax.h"

#include "msg/xtext.h"

#include "unit.h"

static const struct {
	const char *in;
	enum rc rc;
	enum esmtp_param fault;
	uint64_t size;
	const char *envid;
} mail[] = {
	{ "", RC_OK, 0, 0, "" },
	{ " SIZE=100", RC_OK, 0, 100, "" },
	{ " size=0", RC_OK, 0, 0, "" },
	{ " SIZE=", RC_PERM, PARAM_SIZE, 0, NULL },
	{ " SIZE=-1", RC_PERM, PARAM_SIZE, 0, NULL },
	{ " SIZE=abc", RC_PERM, PARAM_SIZE, 0, NULL },
	{ " SIZE", RC_PERM, PARAM_NONE, 0, NULL },
	{ " SIZE=99999999999999999999", RC_OK, 0, UINT64_MAX, "" },
	{ " SIZE=1 SIZE=2", RC_PERM, PARAM_SIZE, 0, NULL },
	{ " BODY=7BIT", RC_OK, 0, 0, "" },
	{ "\tBODY=8bitmime ", RC_OK, 0, 0, "" },
	{ " BODY=FOO", RC_PERM, PARAM_NONE, 0, NULL },
	{ " BODY=", RC_PERM, PARAM_NONE, 0, NULL },
	{ " RET=full", RC_OK, 0, 0, "" },
	{ " RET=x", RC_PERM, PARAM_RET, 0, NULL },
	{ " RET=FULL RET=HDRS", RC_PERM, PARAM_RET, 0, NULL },
	{ " ENVID=a+2Bb", RC_OK, 0, 0, "a+2Bb" },
	{ " ENVID=", RC_PERM, PARAM_ENVID, 0, NULL },
	{ " ENVID=+0A", RC_PERM, PARAM_ENVID, 0, NULL },
	{ " ENVID=a+zz", RC_PERM, PARAM_ENVID, 0, NULL },
	{ " ENVID=a+2", RC_PERM, PARAM_ENVID, 0, NULL },
	{ " AUTH=<>", RC_OK, 0, 0, "" },
	{ " AUTH=x+0Ay", RC_PERM, PARAM_AUTH, 0, NULL },
	{ " SMTPUTF8", RC_OK, 0, 0, "" },
	{ " SMTPUTF8=1", RC_PERM, PARAM_NONE, 0, NULL },
	{ " FOO=BAR", RC_PERM, PARAM_NONE, 0, NULL },
	{ " =x", RC_PERM, PARAM_NONE, 0, NULL },
	{ " =", RC_PERM, PARAM_NONE, 0, NULL },
	{ " NOTIFY=NEVER", RC_PERM, PARAM_NONE, 0, NULL },
	{ " REQUIRETLS", RC_PERM, PARAM_NONE, 0, NULL },
	{ " SIZE=10 BODY=8BITMIME RET=HDRS ENVID=x SMTPUTF8", RC_OK, 0, 10, "x" },
};

static void
test_mail(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(mail); i++) {
		struct arena a;
		arena_init(&a, 4096);
		struct mail_params p;
		struct param_fault f = { PARAM_NONE, SPAN_EMPTY };
		if (mail_params_parse(span_str(mail[i].in), &a, &p, &f) != mail[i].rc)
			fail_msg("%s", mail[i].in);
		if (mail[i].rc != RC_OK) {
			assert_int_equal(f.param, mail[i].fault);
			assert_true(f.word.n > 0);
		} else {
			assert_true(p.size == mail[i].size);
			assert_true(span_eq_str(p.envid, mail[i].envid));
		}
		arena_fini(&a);
	}
}

static const struct {
	const char *in;
	enum rc rc;
	enum esmtp_param fault;
	unsigned notify;
	const char *orcpt;
} rcpt[] = {
	{ "", RC_OK, 0, 0, "" },
	{ " NOTIFY=NEVER", RC_OK, 0, DSN_NEVER, "" },
	{ " notify=success,delay,FAILURE", RC_OK, 0, DSN_SUCCESS | DSN_DELAY | DSN_FAILURE, "" },
	{ " NOTIFY=SUCCESS,SUCCESS", RC_OK, 0, DSN_SUCCESS, "" },
	{ " NOTIFY=NEVER,FAILURE", RC_PERM, PARAM_NOTIFY, 0, NULL },
	{ " NOTIFY=FAILURE,NEVER", RC_PERM, PARAM_NOTIFY, 0, NULL },
	{ " NOTIFY=", RC_PERM, PARAM_NOTIFY, 0, NULL },
	{ " NOTIFY=SUCCESS,", RC_PERM, PARAM_NOTIFY, 0, NULL },
	{ " NOTIFY=,SUCCESS", RC_PERM, PARAM_NOTIFY, 0, NULL },
	{ " NOTIFY", RC_PERM, PARAM_NONE, 0, NULL },
	{ " NOTIFY=DELAY NOTIFY=DELAY", RC_PERM, PARAM_NOTIFY, 0, NULL },
	{ " ORCPT=rfc822;a@b.example", RC_OK, 0, 0, "rfc822;a@b.example" },
	{ " ORCPT=rfc822;", RC_OK, 0, 0, "rfc822;" },
	{ " ORCPT=rfc822;a+0D+0AX-Evil:+201", RC_PERM, PARAM_ORCPT, 0, NULL },
	{ " ORCPT=rfc822;a+zz", RC_PERM, PARAM_ORCPT, 0, NULL },
	{ " ORCPT=x", RC_PERM, PARAM_ORCPT, 0, NULL },
	{ " ORCPT=;x", RC_PERM, PARAM_ORCPT, 0, NULL },
	{ " ORCPT=a b;x", RC_PERM, PARAM_ORCPT, 0, NULL },
	{ " ORCPT=a ORCPT=b", RC_PERM, PARAM_ORCPT, 0, NULL },
	{ " SIZE=1", RC_PERM, PARAM_NONE, 0, NULL },
};

static void
test_rcpt(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(rcpt); i++) {
		struct arena a;
		arena_init(&a, 4096);
		struct rcpt_params p;
		struct param_fault f = { PARAM_NONE, SPAN_EMPTY };
		if (rcpt_params_parse(span_str(rcpt[i].in), &a, &p, &f) != rcpt[i].rc)
			fail_msg("%s", rcpt[i].in);
		if (rcpt[i].rc != RC_OK) {
			assert_int_equal(f.param, rcpt[i].fault);
		} else {
			assert_int_equal(p.notify, rcpt[i].notify);
			assert_true(span_eq_str(p.orcpt, rcpt[i].orcpt));
		}
		arena_fini(&a);
	}
}

static void
test_limits(void **state)
{
	(void)state;
	char text[700];
	for (int n = 99; n <= 102; n++) {
		struct arena a;
		arena_init(&a, 4096);
		struct mail_params p;
		struct param_fault f;
		memset(text, 'x', sizeof text);
		memcpy(text, " ENVID=", 7);
		assert_int_equal(mail_params_parse(span_of(text, 7 + (size_t)n), &a, &p, &f), n <= 100 ? RC_OK : RC_PERM);
		arena_fini(&a);
	}
}

static void
test_bdat(void **state)
{
	(void)state;
	static const struct {
		const char *in;
		enum rc rc;
		uint64_t count;
		bool last;
	} rows[] = {
		{ "5", RC_OK, 5, false }, { "0", RC_OK, 0, false }, { "0 LAST", RC_OK, 0, true }, { " 12\tlast ", RC_OK, 12, true },
		{ "", RC_PERM, 0, false }, { "-1", RC_PERM, 0, false }, { "+5", RC_PERM, 0, false }, { "5x", RC_PERM, 0, false },
		{ "5 X", RC_PERM, 0, false }, { "5 LAST X", RC_PERM, 0, false }, { "4294967296", RC_OK, 4294967296, false },
		{ "18446744073709551616", RC_PERM, 0, false }, { "18446744073709551615", RC_PERM, 0, false }, { "LAST", RC_PERM, 0, false },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		uint64_t n;
		bool last;
		enum rc rc = bdat_parse(span_str(rows[i].in), &n, &last);
		if (rc != rows[i].rc || (rc == RC_OK && (n != rows[i].count || last != rows[i].last)))
			fail_msg("BDAT %s", rows[i].in);
	}
	struct span rest;
	assert_true(syntax_keyword(SPAN(" from:<a>"), SPAN("FROM:"), &rest) && span_eq(rest, SPAN("<a>")));
	assert_false(syntax_keyword(SPAN("FROM :<a>"), SPAN("FROM:"), &rest));
}

static void
test_xtext(void **state)
{
	(void)state;
	struct buf x, y;
	buf_init(&x, 2048), buf_init(&y, 2048);
	unsigned char all[256];
	for (int i = 0; i < 256; i++)
		all[i] = (unsigned char)i;
	xtext_encode(&x, span_of(all, sizeof all));
	assert_int_equal(xtext_decode(&y, buf_span(&x)), RC_OK);
	assert_true(span_eq(buf_span(&y), span_of(all, sizeof all)));
	assert_false(xtext_is_valid(buf_span(&x), 2048)); /* controls, although encoded */
	assert_true(xtext_is_valid(SPAN("a+40b.c"), 100));
	assert_false(xtext_is_valid(SPAN("a b"), 100));
	assert_false(xtext_is_valid(SPAN("\xc3\xa9"), 100));
	buf_fini(&x), buf_fini(&y);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mail), cmocka_unit_test(test_rcpt), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_bdat), cmocka_unit_test(test_xtext),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
