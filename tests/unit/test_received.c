/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/received.h"

#include "msg/date.h"

#include <time.h>

#include "unit.h"

static void
check(const struct received *r, const char *want)
{
	struct buf b;
	buf_init(&b, RECEIVED_MAX);
	received_write(&b, r);
	assert_false(b.over);
	assert_string_equal(buf_cstr(&b), want);
	buf_fini(&b);
}

static const struct received model = {
	.helo = { (const unsigned char *)"client.example", 14 }, .client_name = { (const unsigned char *)"unknown", 7 },
	.client_addr = { (const unsigned char *)"192.0.2.1", 9 }, .myhostname = "mx.example.com", .mail_name = "Dogana", .is_esmtp = true,
	.qid = { (const unsigned char *)"4F1A22C0B3", 10 }, .when = UINT64_C(1741083072) * 1000000,
};

static void
test_forms(void **state)
{
	(void)state;
	struct received r = model;
	check(&r, "Received: from client.example (unknown [192.0.2.1])\r\n\tby mx.example.com (Dogana) with ESMTP id 4F1A22C0B3;\r\n"
	          "\tTue, 04 Mar 2025 10:11:12 +0000 (UTC)\r\n");
	r.for_rcpt = SPAN("a b@c.example");
	r.is_utf8 = true;
	check(&r, "Received: from client.example (unknown [192.0.2.1])\r\n\tby mx.example.com (Dogana) with UTF8SMTP id 4F1A22C0B3\r\n"
	          "\tfor <\"a b\"@c.example>; Tue, 04 Mar 2025 10:11:12 +0000 (UTC)\r\n");
	r = model;
	r.is_esmtp = false;
	r.helo = SPAN_EMPTY;
	r.client_name = SPAN("a.example");
	r.client_addr = SPAN("2001:db8::1");
	r.client_is_v6 = true;
	check(&r, "Received: from a.example (a.example [IPv6:2001:db8::1])\r\n\tby mx.example.com (Dogana) with SMTP id 4F1A22C0B3;\r\n"
	          "\tTue, 04 Mar 2025 10:11:12 +0000 (UTC)\r\n");
	r.hide_client = true;
	check(&r, "Received: by mx.example.com (Dogana) id 4F1A22C0B3;\r\n\tTue, 04 Mar 2025 10:11:12 +0000 (UTC)\r\n");
}

/* E06: whatever the client says, it stays one header. */
static void
test_hostile(void **state)
{
	(void)state;
	struct received r = model;
	r.helo = SPAN("a\r\nX: 1 \0\x1b(b");
	r.client_name = SPAN("x) by evil (y");
	check(&r, "Received: from a??X:?1??" "??b (x??by?evil??y [192.0.2.1])\r\n\tby mx.example.com (Dogana) with ESMTP id 4F1A22C0B3;\r\n"
	          "\tTue, 04 Mar 2025 10:11:12 +0000 (UTC)\r\n");
	static char huge[5000];
	memset(huge, 'h', sizeof huge);
	r.helo = r.client_name = r.for_rcpt = span_of(huge, sizeof huge);
	struct buf b;
	buf_init(&b, RECEIVED_MAX);
	received_write(&b, &r);
	assert_false(b.over);
	buf_fini(&b);
}

int
main(void)
{
	setenv("TZ", "UTC0", 1);
	tzset();
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_forms), cmocka_unit_test(test_hostile) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
