/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets, well-formed and not: what the answer parser makes of them. */
#include "dns/answer.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* header: id, flags, 1 question, answers, authority, 0 */
#define HEAD(flags, an, ns) "\x12\x34" flags "\0\1" an ns "\0\0"
#define OK "\x81\x80"
#define Q_A "\1a\4test\0\0\1\0\1"           /* the name is at 12 */
#define Q_MX "\1a\4test\0\0\17\0\1"
#define Q_PTR "\1a\4test\0\0\14\0\1"
#define Q_TXT "\1a\4test\0\0\20\0\1"
#define Q_SRV "\1a\4test\0\0\41\0\1"
#define Q_TLSA "\1a\4test\0\0\64\0\1"
#define SOA "\xc0\x0e\0\6\0\1\0\0\0\x3c\0\x18" "\xc0\x0e\xc0\x0e" "\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\x1e"
#define RR(type, len) "\xc0\x0c" type "\0\1\0\0\0\x3c" len
#define ONE "\0\1"
#define NIL "\0\0"

static const struct {
	const char *what;
	enum dns_type type;
	struct span packet;
	enum rc rc;
	unsigned n;
	const char *first; /* text of the first record, or NULL */
} cases[] = {
	{ "one address", DNS_A, SPAN(HEAD(OK, ONE, NIL) Q_A RR("\0\1", "\0\4") "\1\2\3\4"), RC_OK, 1, NULL },
	{ "address of 3 bytes", DNS_A, SPAN(HEAD(OK, ONE, NIL) Q_A RR("\0\1", "\0\3") "\1\2\3"), RC_PERM, 0, NULL },
	{ "address of 5 bytes", DNS_A, SPAN(HEAD(OK, ONE, NIL) Q_A RR("\0\1", "\0\5") "\1\2\3\4\5"), RC_PERM, 0, NULL },
	{ "length past the end", DNS_A, SPAN(HEAD(OK, ONE, NIL) Q_A RR("\0\1", "\0\4") "\1\2\3"), RC_PERM, 0, NULL },
	{ "a query, not an answer", DNS_A, SPAN(HEAD("\x01\x80", ONE, NIL) Q_A RR("\0\1", "\0\4") "\1\2\3\4"), RC_PERM, 0, NULL },
	{ "another question", DNS_A, SPAN(HEAD(OK, ONE, NIL) Q_MX RR("\0\1", "\0\4") "\1\2\3\4"), RC_PERM, 0, NULL },
	{ "no data", DNS_A, SPAN(HEAD(OK, NIL, NIL) Q_A), RC_NONE, 0, NULL },
	{ "no such name", DNS_A, SPAN(HEAD("\x81\x83", NIL, NIL) Q_A), RC_NONE, 0, NULL },
	{ "server failure", DNS_A, SPAN(HEAD("\x81\x82", NIL, NIL) Q_A), RC_TEMP, 0, NULL },
	{ "refused", DNS_A, SPAN(HEAD("\x81\x85", NIL, NIL) Q_A), RC_TEMP, 0, NULL },
	{ "bad version, in the OPT record", DNS_A, SPAN("\x12\x34" OK "\0\1" NIL NIL "\0\1" Q_A "\0\0\51\4\320\1\0\0\0\0\0"), RC_TEMP, 0, NULL },
	{ "an OPT record that says nothing", DNS_A, SPAN("\x12\x34" OK "\0\1" NIL NIL "\0\1" Q_A "\0\0\51\4\320\0\0\0\0\0\0"), RC_NONE, 0, NULL },
	{ "no such name, and its address", DNS_A, SPAN(HEAD("\x81\x83", ONE, NIL) Q_A RR("\0\1", "\0\4") "\1\2\3\4"), RC_PERM, 0, NULL },
	{ "truncated", DNS_A, SPAN(HEAD("\x83\x80", ONE, NIL) Q_A RR("\0\1", "\0\4") "\1\2\3\4"), RC_TEMP, 0, NULL },
	{ "another owner", DNS_A, SPAN(HEAD(OK, ONE, NIL) Q_A "\1b\xc0\x0e\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4"), RC_NONE, 0, NULL },
	{ "another class", DNS_A, SPAN(HEAD(OK, ONE, NIL) Q_A "\xc0\x0c\0\1\0\3\0\0\0\x3c\0\4\1\2\3\4"), RC_NONE, 0, NULL },
	{ "alias then address", DNS_A,
	    SPAN(HEAD(OK, "\0\2", NIL) Q_A RR("\0\5", "\0\4") "\1b\xc0\x0e" "\1b\xc0\x0e\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4"), RC_OK, 1, NULL },
	{ "address then alias", DNS_A,
	    SPAN(HEAD(OK, "\0\2", NIL) Q_A "\1b\xc0\x0e\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4" RR("\0\5", "\0\4") "\1b\xc0\x0e"), RC_OK, 1, NULL },
	{ "alias to itself", DNS_A, SPAN(HEAD(OK, ONE, NIL) Q_A RR("\0\5", "\0\2") "\xc0\x0c"), RC_TEMP, 0, NULL },
	{ "alias with a byte too many", DNS_A, SPAN(HEAD(OK, ONE, NIL) Q_A RR("\0\5", "\0\3") "\xc0\x0c\0"), RC_PERM, 0, NULL },
	{ "mx", DNS_MX, SPAN(HEAD(OK, ONE, NIL) Q_MX RR("\0\17", "\0\6") "\0\12\1m\xc0\x0e"), RC_OK, 1, "m.test" },
	{ "null mx", DNS_MX, SPAN(HEAD(OK, ONE, NIL) Q_MX RR("\0\17", "\0\3") "\0\0\0"), RC_OK, 1, "" },
	{ "mx of one byte", DNS_MX, SPAN(HEAD(OK, ONE, NIL) Q_MX RR("\0\17", "\0\1") "\0"), RC_PERM, 0, NULL },
	{ "mx without a name", DNS_MX, SPAN(HEAD(OK, ONE, NIL) Q_MX RR("\0\17", "\0\2") "\0\12"), RC_PERM, 0, NULL },
	{ "mx, empty", DNS_MX, SPAN(HEAD(OK, ONE, NIL) Q_MX RR("\0\17", "\0\0")), RC_PERM, 0, NULL },
	{ "mx, label past the record", DNS_MX, SPAN(HEAD(OK, ONE, NIL) Q_MX RR("\0\17", "\0\4") "\0\12\5m" "mmmm\0"), RC_PERM, 0, NULL },
	{ "pointer forward", DNS_MX, SPAN(HEAD(OK, ONE, NIL) Q_MX RR("\0\17", "\0\4") "\0\12\xc0\xff"), RC_PERM, 0, NULL },
	{ "pointer to itself", DNS_MX, SPAN(HEAD(OK, ONE, NIL) Q_MX RR("\0\17", "\0\4") "\0\12\xc0\x26"), RC_PERM, 0, NULL },
	{ "reserved label type", DNS_MX, SPAN(HEAD(OK, ONE, NIL) Q_MX RR("\0\17", "\0\4") "\0\12\x81\0"), RC_PERM, 0, NULL },
	{ "odd bytes in a ptr", DNS_PTR, SPAN(HEAD(OK, ONE, NIL) Q_PTR RR("\0\14", "\0\10") "\5a.b\n\xff\xc0\x0e"), RC_OK, 1, "a\\.b\\010\\255.test" },
	{ "txt of two strings", DNS_TXT, SPAN(HEAD(OK, ONE, NIL) Q_TXT RR("\0\20", "\0\7") "\2ab\3cde"), RC_OK, 1, "abcde" },
	{ "txt string past the record", DNS_TXT, SPAN(HEAD(OK, ONE, NIL) Q_TXT RR("\0\20", "\0\3") "\5ab"), RC_PERM, 0, NULL },
	{ "srv", DNS_SRV, SPAN(HEAD(OK, ONE, NIL) Q_SRV RR("\0\41", "\0\12") "\0\12\0\5\0\x19\1m\xc0\x0e"), RC_OK, 1, "m.test" },
	{ "srv, not offered", DNS_SRV, SPAN(HEAD(OK, ONE, NIL) Q_SRV RR("\0\41", "\0\7") "\0\12\0\5\0\x19\0"), RC_OK, 1, "" },
	{ "srv without a name", DNS_SRV, SPAN(HEAD(OK, ONE, NIL) Q_SRV RR("\0\41", "\0\6") "\0\12\0\5\0\x19"), RC_PERM, 0, NULL },
	{ "srv of five bytes", DNS_SRV, SPAN(HEAD(OK, ONE, NIL) Q_SRV RR("\0\41", "\0\5") "\0\12\0\5\0"), RC_PERM, 0, NULL },
	{ "srv with a byte too many", DNS_SRV, SPAN(HEAD(OK, ONE, NIL) Q_SRV RR("\0\41", "\0\10") "\0\12\0\5\0\x19\0\0"), RC_PERM, 0, NULL },
	{ "tlsa", DNS_TLSA, SPAN(HEAD(OK, ONE, NIL) Q_TLSA RR("\0\64", "\0\7") "\3\1\1abcd"), RC_OK, 1, "abcd" },
	{ "tlsa without data", DNS_TLSA, SPAN(HEAD(OK, ONE, NIL) Q_TLSA RR("\0\64", "\0\3") "\3\1\1"), RC_PERM, 0, NULL },
	{ "tlsa of two bytes", DNS_TLSA, SPAN(HEAD(OK, ONE, NIL) Q_TLSA RR("\0\64", "\0\2") "\3\1"), RC_PERM, 0, NULL },
	{ "a signature beside the record", DNS_A,
	    SPAN(HEAD(OK, "\0\2", NIL) Q_A RR("\0\1", "\0\4") "\1\2\3\4" RR("\0\56", "\0\5") "\0\1\5\1\0"), RC_OK, 1, NULL },
	{ "more answers claimed than sent", DNS_A, SPAN(HEAD(OK, "\0\2", NIL) Q_A RR("\0\1", "\0\4") "\1\2\3\4"), RC_PERM, 0, NULL },
	{ "nothing", DNS_A, SPAN(""), RC_PERM, 0, NULL },
};

static void
test_packets(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct arena a;
		struct dns_answer out;
		arena_init(&a, 65536);
		/* an exact heap copy, so that the sanitizer sees a read past the end */
		unsigned char *copy = malloc(cases[i].packet.n + 1);
		memcpy(copy, cases[i].packet.p, cases[i].packet.n);
		copy = realloc(copy, cases[i].packet.n > 0 ? cases[i].packet.n : 1);
		enum rc rc = dns_answer_parse(span_of(copy, cases[i].packet.n), SPAN("A.Test."), cases[i].type, &a, &out);
		if (rc != cases[i].rc || out.n != cases[i].n)
			fail_msg("%s: rc %d, %u records", cases[i].what, rc, out.n);
		if (cases[i].first != NULL)
			assert_true(span_eq_str(out.rr[0].data, cases[i].first));
		/* cut anywhere: never a success with more records, never a crash */
		for (size_t n = 0; n < cases[i].packet.n; n++) {
			struct dns_answer cut;
			unsigned char *part = malloc(n > 0 ? n : 1);
			memcpy(part, cases[i].packet.p, n);
			rc = dns_answer_parse(span_of(part, n), SPAN("a.test"), cases[i].type, &a, &cut);
			assert_true(rc != RC_OK && cut.n == 0);
			free(part);
		}
		free(copy);
		arena_fini(&a);
	}
}

static void
test_negative_ttl(void **state)
{
	struct span p = SPAN(HEAD("\x81\x83", NIL, ONE) Q_A "\xc0\x0e\0\6\0\1\0\0\0\x3c\0\x18" "\xc0\x0e\xc0\x0e" "\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0\x1e");
	struct arena a;
	struct dns_answer out;
	(void)state;
	arena_init(&a, 65536);
	assert_int_equal(dns_answer_parse(p, SPAN("a.test"), DNS_A, &a, &out), RC_NONE);
	assert_true(out.nxdomain);
	assert_int_equal(out.ttl, 30);
	arena_fini(&a);
}

/* Weight, port, the three numbers of TLSA; AD. */
static void
test_fields(void **state)
{
	struct arena a;
	struct dns_answer out;
	(void)state;
	arena_init(&a, 65536);
	assert_int_equal(dns_answer_parse(SPAN(HEAD("\x81\xa0", ONE, NIL) Q_SRV RR("\0\41", "\0\12") "\0\12\0\5\0\x19\1m\xc0\x0e"), SPAN("a.test"), DNS_SRV, &a, &out), RC_OK);
	assert_true(out.is_secure && out.rr[0].pref == 10 && out.rr[0].addr.srv.weight == 5 && out.rr[0].addr.srv.port == 25);
	assert_int_equal(dns_answer_parse(SPAN(HEAD(OK, ONE, NIL) Q_TLSA RR("\0\64", "\0\7") "\3\1\2abcd"), SPAN("a.test"), DNS_TLSA, &a, &out), RC_OK);
	assert_true(!out.is_secure && out.rr[0].addr.tlsa.usage == 3 && out.rr[0].addr.tlsa.selector == 1 && out.rr[0].addr.tlsa.matching == 2);
	arena_fini(&a);
}

/* A packet that ends with an alias: to be asked again, unless it says that there is nothing. */
static void
test_alias_alone(void **state)
{
	static const struct {
		struct span packet;
		enum rc rc;
		const char *alias;
		uint32_t ttl;
	} rows[] = {
		{ SPAN(HEAD(OK, ONE, NIL) Q_A RR("\0\5", "\0\4") "\1b\xc0\x0e"), RC_NONE, "b.test", 60 },
		{ SPAN(HEAD(OK, ONE, ONE) Q_A RR("\0\5", "\0\4") "\1b\xc0\x0e" SOA), RC_NONE, "", 30 },
		{ SPAN(HEAD("\x81\x83", ONE, NIL) Q_A RR("\0\5", "\0\4") "\1b\xc0\x0e"), RC_NONE, "", 0 },
		{ SPAN(HEAD(OK, NIL, NIL) Q_A), RC_NONE, "", 0 },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct arena a;
		struct dns_answer out;
		arena_init(&a, 65536);
		assert_int_equal(dns_answer_parse(rows[i].packet, SPAN("a.test"), DNS_A, &a, &out), rows[i].rc);
		assert_true(span_eq_str(out.alias, rows[i].alias));
		assert_int_equal(out.ttl, rows[i].ttl);
		arena_fini(&a);
	}
}

static void
test_hostnames(void **state)
{
	static const char *const good[] = { "a", "mx1.example.com", "a-b.c", "1a.2b", "_x.test", "1.2.3.4a" };
	static const char *const bad[] = { "", ".", "a.", ".a", "a..b", "-a", "a-", "a-.b", "1.2.3.4", "123", "a b", "a\\.b", "a\xc3\xa9", "a/b", "a;b",
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	(void)state;
	for (size_t i = 0; i < NELEMS(good); i++)
		if (!dns_is_hostname(span_str(good[i])))
			fail_msg("%s", good[i]);
	for (size_t i = 0; i < NELEMS(bad); i++)
		if (dns_is_hostname(span_str(bad[i])))
			fail_msg("%s", bad[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packets), cmocka_unit_test(test_negative_ttl), cmocka_unit_test(test_fields), cmocka_unit_test(test_alias_alone), cmocka_unit_test(test_hostnames),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
