/* SPDX-License-Identifier: BSD-2-Clause */
#include "rbl/list.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void
filters(void **state)
{
	static const struct {
		const char *arg, *yes, *no; /* addresses that count and that do not; NULL yes: the argument is refused */
	} rows[] = {
		{ "zen.example", "127.0.0.2 127.0.0.0 127.255.254.255 127.1.2.3", "127.255.255.0 127.255.255.254 127.255.255.255 10.1.2.3 0.0.0.0 128.0.0.1 126.255.255.255" },
		{ "zen.example.", "127.0.0.2", "" },
		{ "zen.example=127.0.0.2", "127.0.0.2", "127.0.0.3 127.0.1.2 126.0.0.2 128.0.0.2" },
		{ "zen.example=127.0.0.[2..11]", "127.0.0.2 127.0.0.7 127.0.0.11", "127.0.0.1 127.0.0.12 127.0.0.255" },
		{ "a.b=127.0.[0;5..6;255].[1;3]", "127.0.0.1 127.0.5.3 127.0.6.1 127.0.255.3", "127.0.1.1 127.0.7.3 127.0.0.2" },
		{ "a.b=[0..255].[0..255].[0..255].[0..255]", "0.0.0.0 255.255.255.255 127.0.0.1", "127.255.255.1" },
		{ "a.b=10.1.2.3", "10.1.2.3", "127.0.0.2" }, { "a.b=127.255.255.254", "", "127.255.255.254" },
		{ "a.b=127.0.0.000", "127.0.0.0", "127.0.0.1" },
		{ "a.b=127.0.0.[5..5]", "127.0.0.5", "127.0.0.4 127.0.0.6" },
		{ "", NULL, NULL }, { ".", NULL, NULL }, { "=127.0.0.1", NULL, NULL }, { "a b", NULL, NULL }, { "a..b", NULL, NULL }, { "1.2.3.4", NULL, NULL },
		{ "a.b=", NULL, NULL }, { "a.b=127.0.0", NULL, NULL }, { "a.b=127.0.0.1.2", NULL, NULL }, { "a.b=127.0.0.256", NULL, NULL },
		{ "a.b=127.0.0.[9..3]", NULL, NULL }, { "a.b=127.0.0.[3.9]", NULL, NULL }, { "a.b=127.0.0.[1;]", NULL, NULL }, { "a.b=127.0.0.[]", NULL, NULL },
		{ "a.b=127.0.0.[1", NULL, NULL }, { "a.b=127.0.0.1]", NULL, NULL }, { "a.b=127.0.0.[1..300]", NULL, NULL }, { "a.b=127.0.0.-1", NULL, NULL },
		{ "a.b=127.0.0.0001", NULL, NULL }, { "a.b=127,0,0,1", NULL, NULL }, { "a.b=127.0.0.1=2", NULL, NULL },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct rbl_list l;
		struct err e = { 0 };
		enum rc rc = rbl_list_parse(span_str(rows[i].arg), &l, &e);
		if ((rc == RC_OK) != (rows[i].yes != NULL))
			fail_msg("%s: %s", rows[i].arg, rc == RC_OK ? "taken" : e.why);
		if (rc != RC_OK) {
			assert_true(e.why[0] != '\0');
			continue;
		}
		for (int yes = 0; yes < 2; yes++) {
			struct span rest = span_str(yes ? rows[i].yes : rows[i].no), word;
			while (span_word(&rest, " ", &word)) {
				char text[32];
				struct in_addr a;
				snprintf(text, sizeof text, "%.*s", (int)word.n, (const char *)word.p);
				assert_int_equal(inet_pton(AF_INET, text, &a), 1);
				if (rbl_list_matches(&l, a) != yes)
					fail_msg("%s: %s", rows[i].arg, text);
			}
		}
	}
}

static void
meanings(void **state)
{
	static const struct {
		const char *arg, *answer;
		enum rbl_meaning says;
		const char *odd;
	} rows[] = {
		{ "a.b", "", RBL_NOT_LISTED, NULL }, { "a.b", "127.0.0.2", RBL_LISTED, NULL }, { "a.b", "1.2.3.4", RBL_FOREIGN, "1.2.3.4" },
		{ "a.b", "1.2.3.4 127.0.0.2", RBL_LISTED, NULL }, { "a.b", "127.255.255.254", RBL_REFUSES, "127.255.255.254" },
		{ "a.b", "127.255.255.254 127.0.0.4", RBL_LISTED, NULL }, { "a.b", "1.2.3.4 127.255.255.252", RBL_REFUSES, "127.255.255.252" },
		{ "a.b", "127.255.255.252 1.2.3.4", RBL_REFUSES, "127.255.255.252" }, { "a.b=127.0.0.[2..4;9]", "127.0.0.5 127.0.0.8 127.0.0.9", RBL_LISTED, NULL },
		{ "a.b=127.0.0.[2..4;9]", "127.0.0.5 127.0.0.8 127.0.0.10", RBL_NOT_LISTED, NULL }, { "a.b=127.0.[0..255].2", "127.0.99.2", RBL_LISTED, NULL },
		{ "a.b=127.0.0.2", "1.2.3.4", RBL_FOREIGN, "1.2.3.4" }, { "a.b=1.2.3.[0..9]", "1.2.3.4", RBL_LISTED, NULL },
		{ "a.b=127.0.0.2", "127.0.0.3 0.0.0.0", RBL_FOREIGN, "0.0.0.0" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct rbl_list l;
		struct err e;
		struct dns_rr rr[8];
		struct dns_answer a = { .rr = rr };
		struct in_addr odd = { 0 };
		struct span rest = span_str(rows[i].answer), word;
		char text[32] = "";
		assert_int_equal(rbl_list_parse(span_str(rows[i].arg), &l, &e), RC_OK);
		while (span_word(&rest, " ", &word)) {
			snprintf(text, sizeof text, "%.*s", (int)word.n, (const char *)word.p);
			assert_int_equal(inet_pton(AF_INET, text, &rr[a.n++].addr.a), 1);
		}
		enum rbl_meaning says = rbl_list_judge(&l, &a, &odd);
		inet_ntop(AF_INET, &odd, text, sizeof text);
		if (says != rows[i].says || (rows[i].odd != NULL && strcmp(text, rows[i].odd) != 0))
			fail_msg("%s: %s: %d, %s", rows[i].arg, rows[i].answer, says, text);
	}
}

static void
addresses(void **state)
{
	static const struct {
		const char *addr, *query;
	} rows[] = {
		{ "192.0.2.7", "7.2.0.192.list.test" }, { "::ffff:192.0.2.7", "7.2.0.192.list.test" },
		{ "2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.list.test" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct ipaddr a;
		struct buf b;
		buf_init(&b, 300);
		assert_int_equal(ipaddr_parse(span_str(rows[i].addr), &a), RC_OK);
		rbl_addr_query(SPAN("list.test"), &a, &b);
		assert_string_equal(buf_cstr(&b), rows[i].query);
		buf_fini(&b);
	}
}

static void
names(void **state)
{
	static const struct {
		const char *name, *query; /* NULL: not asked */
	} rows[] = {
		{ "spam.example", "spam.example.list.test" }, { "spam.example.", "spam.example.list.test" }, { "a", "a.list.test" },
		{ "", NULL }, { ".", NULL }, { "unknown", NULL }, { "Unknown", NULL }, { "[192.0.2.1]", NULL }, { "192.0.2.1", NULL }, { "x.1", NULL },
		{ "a b.example", NULL }, { "a..b", NULL }, { "1.example", "1.example.list.test" }, { "x.1a", "x.1a.list.test" },
	};
	(void)state;
	struct rbl_list l;
	struct err e;
	assert_int_equal(rbl_list_parse(SPAN("list.test"), &l, &e), RC_OK);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 300);
		enum rc rc = rbl_name_query(&l, span_str(rows[i].name), &b);
		if (rows[i].query == NULL ? rc != RC_NONE : rc != RC_OK || !span_eq_str(buf_span(&b), rows[i].query))
			fail_msg("%s", rows[i].name);
		buf_fini(&b);
	}
	char label[256] = "";
	for (int i = 0; i < 24; i++)
		memcpy(label + 10 * i, "abcdefghi.", 10);
	memcpy(label + 240, "abc", 4);
	struct buf b;
	buf_init(&b, 300);
	assert_int_equal(rbl_name_query(&l, span_of((const unsigned char *)label, 243), &b), RC_OK); /* 253 together */
	buf_reset(&b);
	memcpy(label + 243, "d", 2);
	assert_int_equal(rbl_name_query(&l, span_of((const unsigned char *)label, 244), &b), RC_NONE);
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(filters), cmocka_unit_test(names), cmocka_unit_test(meanings), cmocka_unit_test(addresses) };
	return cmocka_run_group_tests_name("rbl_list", tests, NULL, NULL);
}
