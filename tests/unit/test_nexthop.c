/* SPDX-License-Identifier: BSD-2-Clause */
/* Next hops as facts 5.4 has them. */
#include "deliver/nexthop.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char known[] = "lmtp=24, smtp=25, smtps=submissions=465, submission=587";

static const struct {
	const char *in;
	bool lmtp;
	enum rc rc;
	const char *host; /* or "unix:" and the path */
	uint16_t port;
	bool use_mx;
} cases[] = {
	{ "example.com", false, RC_OK, "example.com", 25, true },
	{ "example.com:submission", false, RC_OK, "example.com", 587, true },
	{ "example.com:submissions", false, RC_OK, "example.com", 465, true },
	{ "example.com:SMTPS", false, RC_OK, "example.com", 465, true },
	{ "[mx.example.com]", false, RC_OK, "mx.example.com", 25, false },
	{ "[mx.example.com]:2525", false, RC_OK, "mx.example.com", 2525, false },
	{ "[192.0.2.1]:26", false, RC_OK, "192.0.2.1", 26, false },
	{ "[IPv6:2001:db8::1]:587", false, RC_OK, "2001:db8::1", 587, false },
	{ "[2001:db8::1]", false, RC_OK, "2001:db8::1", 25, false },
	{ "[ipv6:::1]:25", false, RC_OK, "::1", 25, false },
	{ "  ,example.com , ", false, RC_OK, "example.com", 25, true },
	{ "host", true, RC_OK, "host", 24, false },
	{ "inet:host:2424", true, RC_OK, "host", 2424, false },
	{ "inet:[127.0.0.1]:2424", true, RC_OK, "127.0.0.1", 2424, false },
	{ "unix:private/lmtp", true, RC_OK, "unix:private/lmtp", 0, false },
	{ "", false, RC_NONE, NULL, 0, false }, { " , ", false, RC_NONE, NULL, 0, false },
	{ "unix:", true, RC_PERM, NULL, 0, false }, { "unix:path", false, RC_PERM, NULL, 0, false },
	{ "[]", false, RC_PERM, NULL, 0, false }, { "[]:25", false, RC_PERM, NULL, 0, false }, { "[IPv6:]", false, RC_PERM, NULL, 0, false },
	{ "[host", false, RC_PERM, NULL, 0, false }, { "[host]25", false, RC_PERM, NULL, 0, false }, { "[host]:", false, RC_PERM, NULL, 0, false },
	{ "host:", false, RC_PERM, NULL, 0, false }, { ":25", false, RC_PERM, NULL, 0, false }, { "host:0", false, RC_PERM, NULL, 0, false },
	{ "host:65536", false, RC_PERM, NULL, 0, false }, { "host:99999999999999999999", false, RC_PERM, NULL, 0, false },
	{ "host:nosuch", false, RC_PERM, NULL, 0, false }, { "host:-1", false, RC_PERM, NULL, 0, false },
	{ "2001:db8::1", false, RC_PERM, NULL, 0, false }, { "a]b", false, RC_PERM, NULL, 0, false }, { "[a[b]]", false, RC_PERM, NULL, 0, false },
};

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct nexthop hop;
		struct err e = { 0 };
		struct span rest = span_str(cases[i].in);
		enum rc rc = nexthop_next(&rest, cases[i].lmtp, cases[i].lmtp ? "24" : "smtp", known, &hop, &e);
		if (rc != cases[i].rc)
			fail_msg("%s: rc %d", cases[i].in, rc);
		assert_true(rc != RC_PERM || e.why[0] != '\0');
		if (rc != RC_OK)
			continue;
		bool host_ok = hop.path.n > 0 ? span_eq_str(hop.path, cases[i].host + 5) : span_eq_str(hop.host, cases[i].host);
		if (!host_ok || hop.port != cases[i].port || hop.use_mx != cases[i].use_mx)
			fail_msg("%s: port %u, mx %d", cases[i].in, hop.port, hop.use_mx);
	}
}

static void
test_list(void **state)
{
	struct span rest = SPAN("[a]:1, b:2 bad: ,[c]");
	struct nexthop hop;
	struct err e;
	(void)state;
	assert_int_equal(nexthop_next(&rest, false, "25", "", &hop, &e), RC_OK);
	assert_true(span_eq_str(hop.host, "a") && hop.port == 1);
	assert_int_equal(nexthop_next(&rest, false, "25", "", &hop, &e), RC_OK);
	assert_true(span_eq_str(hop.host, "b") && hop.port == 2);
	assert_int_equal(nexthop_next(&rest, false, "25", "", &hop, &e), RC_PERM);
	assert_int_equal(nexthop_next(&rest, false, "25", "", &hop, &e), RC_OK);
	assert_true(span_eq_str(hop.host, "c") && hop.port == 25);
	assert_int_equal(nexthop_next(&rest, false, "25", "", &hop, &e), RC_NONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases), cmocka_unit_test(test_list) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
