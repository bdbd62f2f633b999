/* SPDX-License-Identifier: BSD-2-Clause */
/* Replies of hubs, whole and byte by byte; what EHLO replies offer. */
#include "msg/ehlo.h"
#include "msg/hubreply.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct {
	const char *what;
	struct span in;
	enum rc rc;
	int code;
	const char *dsn, *text; /* as written by hubreply_write */
} cases[] = {
	{ "plain", SPAN("250 2.1.0 Ok\r\n"), RC_OK, 250, "2.1.0", "250 2.1.0 Ok" },
	{ "no text", SPAN("220\r\n"), RC_OK, 220, "2.0.0", "220" },
	{ "empty text", SPAN("220 \r\n"), RC_OK, 220, "2.0.0", "220 " },
	{ "lines", SPAN("550-5.1.1 a\r\n550-\r\n550 5.1.2 b\r\n"), RC_OK, 550, "5.1.2", "550-5.1.1 a 550- 550 5.1.2 b" },
	{ "lines, bare last", SPAN("250-a\r\n250\r\n"), RC_OK, 250, "2.0.0", "250-a 250" },
	{ "dsn of another class", SPAN("450 5.1.1 x\r\n"), RC_OK, 450, "4.0.0", "450 5.1.1 x" },
	{ "dsn with a long part", SPAN("550 5.1.1234 x\r\n"), RC_OK, 550, "5.0.0", "550 5.1.1234 x" },
	{ "dsn at the end", SPAN("550 5.7.26\r\n"), RC_OK, 550, "5.7.26", "550 5.7.26" },
	{ "dsn and a colon", SPAN("550 5.1.1: x\r\n"), RC_OK, 550, "5.0.0", "550 5.1.1: x" },
	{ "354", SPAN("354 go\r\n"), RC_OK, 354, "2.0.0", "354 go" },
	{ "octets over 127", SPAN("250 \xff\r\n"), RC_OK, 250, "2.0.0", "250 \xff" },
	{ "cut", SPAN("250 ok"), RC_NONE, 0, NULL, NULL },
	{ "cut before LF", SPAN("250 ok\r"), RC_NONE, 0, NULL, NULL },
	{ "cut between lines", SPAN("250-ok\r\n"), RC_NONE, 0, NULL, NULL },
	{ "nothing", SPAN(""), RC_NONE, 0, NULL, NULL },
	{ "codes differ", SPAN("250-a\r\n550 b\r\n"), RC_PERM, 0, NULL, NULL },
	{ "letter", SPAN("25O ok\r\n"), RC_PERM, 0, NULL, NULL },
	{ "850", SPAN("850 x\r\n"), RC_PERM, 0, NULL, NULL },
	{ "150", SPAN("150 x\r\n"), RC_PERM, 0, NULL, NULL },
	{ "two digits", SPAN("25\r\n"), RC_PERM, 0, NULL, NULL },
	{ "four digits", SPAN("2500 x\r\n"), RC_PERM, 0, NULL, NULL },
	{ "another separator", SPAN("250_x\r\n"), RC_PERM, 0, NULL, NULL },
	{ "bare LF", SPAN("250 ok\n"), RC_PERM, 0, NULL, NULL },
	{ "bare CR inside", SPAN("250 o\rk\r\n"), RC_PERM, 0, NULL, NULL },
	{ "NUL", SPAN("250 o\0k\r\n"), RC_PERM, 0, NULL, NULL },
	{ "leading space", SPAN(" 250 ok\r\n"), RC_PERM, 0, NULL, NULL },
	{ "empty line", SPAN("\r\n"), RC_PERM, 0, NULL, NULL },
};

static enum rc
feed(struct hubreply *r, struct span in, size_t piece, size_t *used)
{
	enum rc rc = RC_NONE;
	*used = 0;
	while (rc == RC_NONE && in.n > 0) {
		size_t some = in.n < piece ? in.n : piece, n;
		unsigned char *copy = mem_dup(in.p, some); /* exact, so that a read past the end is seen */
		rc = hubreply_feed(r, span_of(copy, some), &n);
		mem_free(&copy);
		if (rc != RC_PERM)
			*used += n;
		in = span_from(in, some);
	}
	return rc;
}

static void
test_replies(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++)
		for (size_t piece = 1; piece <= cases[i].in.n + 1; piece++) {
			struct hubreply r;
			struct buf text;
			size_t used;
			hubreply_init(&r);
			buf_init(&text, 1000);
			enum rc rc = feed(&r, cases[i].in, piece, &used);
			if (rc != cases[i].rc)
				fail_msg("%s in pieces of %zu: rc %d", cases[i].what, piece, rc);
			if (rc == RC_OK) {
				hubreply_write(&r, &text);
				assert_int_equal(r.code, cases[i].code);
				assert_true(span_eq_str(hubreply_dsn(&r), cases[i].dsn));
				assert_string_equal(buf_cstr(&text), cases[i].text);
				assert_int_equal(used, cases[i].in.n);
				assert_false(hubreply_in_progress(&r));
			}
			assert_int_equal(hubreply_in_progress(&r), rc == RC_NONE && cases[i].in.n > 0 ? 1 : rc == RC_OK ? 0 : hubreply_in_progress(&r));
			hubreply_fini(&r);
			buf_fini(&text);
		}
}

static void
test_one_after_another(void **state)
{
	struct span in = SPAN("250 a\r\n251 b\r\n550");
	struct hubreply r;
	size_t used;
	(void)state;
	hubreply_init(&r);
	assert_int_equal(hubreply_feed(&r, in, &used), RC_OK);
	assert_int_equal(used, 7);
	in = span_from(in, used);
	assert_int_equal(hubreply_feed(&r, in, &used), RC_OK);
	assert_int_equal(r.code, 251);
	in = span_from(in, used);
	assert_int_equal(hubreply_feed(&r, in, &used), RC_NONE);
	assert_true(hubreply_in_progress(&r));
	hubreply_fini(&r);
}

static void
test_bounds(void **state)
{
	struct hubreply r;
	size_t used;
	char *big = malloc(1000000);
	(void)state;
	memset(big, 'x', 1000000);
	memcpy(big, "250 ", 4);
	hubreply_init(&r);
	assert_int_equal(hubreply_feed(&r, span_of(big, 1000000), &used), RC_PERM); /* one line without end */
	hubreply_fini(&r);
	hubreply_init(&r);
	size_t fed = 0;
	enum rc rc = RC_NONE;
	for (; rc == RC_NONE && fed < 1000000; fed++)
		rc = hubreply_feed(&r, span_of(fed < 4 ? big + fed : "y", 1), &used);
	assert_int_equal(rc, RC_PERM);
	assert_true(fed <= HUBREPLY_LINE_MAX + 1);
	hubreply_fini(&r);
	hubreply_init(&r);
	rc = RC_NONE;
	for (fed = 0; rc == RC_NONE && fed < 100000; fed++)
		rc = hubreply_feed(&r, SPAN("250-more\r\n"), &used); /* lines without end */
	assert_int_equal(rc, RC_PERM);
	assert_true(fed <= HUBREPLY_LINES_MAX + 1);
	hubreply_fini(&r);
	free(big);
}

static void
test_ehlo(void **state)
{
	struct hubreply r;
	size_t used;
	uint64_t max;
	struct span name;
	(void)state;
	hubreply_init(&r);
	assert_int_equal(hubreply_feed(&r, SPAN("250-hub.test Hello\r\n250-pipelining\r\n250-SIZE 52428800\r\n250-8BITMIME\r\n250-DSN\r\n250-XYZ CHUNKING\r\n"
	                                        "250-AUTH=PLAIN\r\n250 SMTPUTF8\r\n"), &used), RC_OK);
	unsigned f = ehlo_parse(&r, 0, &max, &name);
	assert_int_equal(f, HUB_PIPELINING | HUB_SIZE | HUB_8BITMIME | HUB_DSN | HUB_AUTH | HUB_SMTPUTF8); /* also with = */
	assert_int_equal(max, 52428800);
	assert_true(span_eq_str(name, "hub.test"));
	f = ehlo_parse(&r, ehlo_keywords(SPAN("pipelining, dsn size nonsense")), &max, &name);
	assert_int_equal(f, HUB_8BITMIME | HUB_AUTH | HUB_SMTPUTF8);
	assert_int_equal(max, 0);
	assert_int_equal(hubreply_feed(&r, SPAN("250 \r\n"), &used), RC_OK);
	assert_int_equal(ehlo_parse(&r, 0, &max, &name), 0);
	assert_int_equal(name.n, 0);
	hubreply_fini(&r);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replies), cmocka_unit_test(test_one_after_another), cmocka_unit_test(test_bounds), cmocka_unit_test(test_ehlo),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
