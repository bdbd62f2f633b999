/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of ports, without a look at /etc/services. */
#include "conf/ports.h"

#include "unit.h"

static const struct {
	const char *text, *known;
	unsigned port;               /* 0: there is none */
} cases[] = {
	{ "25", "", 25 }, { "65535", "", 65535 }, { "0", "", 0 }, { "65536", "", 0 }, { "99999", "", 0 }, { "-1", "", 0 }, { "", "", 0 }, { "25x", "", 0 },
	{ "smtp", "", 25 }, { "lmtp", "", 24 }, { "SMTP", "", 25 }, { "smtps", "", 0 },
	{ "lmtp", "lmtp=24, smtp=25, smtps=submissions=465, submission=587", 24 }, { "smtp", "lmtp=24, smtp=25, smtps=submissions=465, submission=587", 25 },
	{ "smtps", "lmtp=24, smtp=25, smtps=submissions=465, submission=587", 465 }, { "submissions", "lmtp=24, smtp=25, smtps=submissions=465, submission=587", 465 },
	{ "submission", "lmtp=24, smtp=25, smtps=submissions=465, submission=587", 587 }, { "Submission", "submission=587", 587 },
	{ "smtp", "smtp=2525", 2525 }, { "a", "a=b=1 c=2", 1 }, { "b", "a=b=1 c=2", 1 }, { "c", "a=b=1 c=2", 2 }, { "1", "a=1", 1 }, { "a", "a", 0 }, { "a", "a=", 0 },
	{ "a", "a=x", 0 }, { "a", "a=65536", 0 }, { "a", "=1", 0 },
};

static void
known(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		uint16_t port = 0;
		enum rc rc = port_known(span_str(cases[i].text), cases[i].known, &port);
		if ((rc == RC_OK) != (cases[i].port != 0) || (rc == RC_OK && port != cases[i].port))
			fail_msg("%s in %s: %d %u", cases[i].text, cases[i].known, (int)rc, (unsigned)port);
	}
}

static void
found(void **state)
{
	(void)state;
	uint16_t port = 0;
	assert_int_equal(port_find(SPAN("of-our-own"), "of-our-own=99", &port), RC_OK);
	assert_int_equal(port, 99);
	assert_int_equal(port_find(SPAN("submissions"), "submissions=4650", &port), RC_OK); /* whatever /etc/services says */
	assert_int_equal(port, 4650);
	assert_int_equal(port_find(SPAN("no-such-port-name"), "smtp=25", &port), RC_PERM);
	assert_int_equal(port_find(SPAN("99999"), "", &port), RC_PERM);
	assert_int_equal(port_find(SPAN(""), "", &port), RC_PERM);
	assert_int_equal(port_find(SPAN("0123456789012345678901234567890123456789012345678901234567890123456789"), "", &port), RC_PERM);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(known), cmocka_unit_test(found) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
