/* SPDX-License-Identifier: BSD-2-Clause */
/* The text of reports, whole. Facts 7.8; RFC 3464, 6522, 6533. */
#include "unit.h"

#include "base/clock.h"
#include "msg/dsn.h"

#include <stdlib.h>
#include <time.h>

static struct dsn_rcpt rcpt = {
	.addr = SPAN("b@hub.test"), .orcpt = SPAN("rfc822;b+2Bx@hub.test"), .action = "failed", .status = SPAN("5.1.1"),
	.text = SPAN("host hub.test[192.0.2.1] said: 550 5.1.1 <b@hub.test>: Recipient address rejected: User unknown (in reply to RCPT TO command)"),
	.mta = SPAN("hub.test"), .diag = SPAN("550 5.1.1 <b@hub.test>: Recipient address rejected: User unknown"),
};

static struct dsn_report
report(void)
{
	return (struct dsn_report){
		.kind = DSN_FAILED, .myhostname = "gw.test", .myorigin = "gw.test", .mail_name = "Dogana", .qid = SPAN("4F1zREPORT"),
		.now = UINT64_C(1741083072) * USEC_PER_SEC, .to = SPAN("a@sender.test"), .about_qid = SPAN("4F1zORIGINAL"),
		.sender = SPAN("a@sender.test"), .envid = SPAN("id+2B1"), .arrival = UINT64_C(1741083000) * USEC_PER_SEC,
		.rcpts = &rcpt, .nrcpt = 1, .content = SPAN("From: a\r\nSubject: s\r\n\r\nbody\r\n"),
	};
}

static const char golden[] =
    "Received: by gw.test (Dogana) id 4F1zREPORT;\r\n"
    "\tTue, 04 Mar 2025 10:11:12 +0000 (UTC)\r\n"
    "Date: Tue, 04 Mar 2025 10:11:12 +0000 (UTC)\r\n"
    "From: Mail Delivery System <MAILER-DAEMON@gw.test>\r\n"
    "Subject: Undelivered Mail Returned to Sender\r\n"
    "To: a@sender.test\r\n"
    "Auto-Submitted: auto-replied\r\n"
    "MIME-Version: 1.0\r\n"
    "Content-Type: multipart/report; report-type=delivery-status;\r\n"
    "\tboundary=\"4F1zREPORT.1741083072/gw.test\"\r\n"
    "Message-Id: <4F1zREPORT@gw.test>\r\n"
    "\r\n"
    "This is a MIME-encapsulated message.\r\n"
    "\r\n"
    "--4F1zREPORT.1741083072/gw.test\r\n"
    "Content-Description: Notification\r\n"
    "Content-Type: text/plain; charset=us-ascii\r\n"
    "\r\n"
    "This is the mail system at host gw.test.\r\n"
    "\r\n"
    "Your message could not be delivered to one or more recipients, and\r\n"
    "no further attempt will be made. It is returned below.\r\n"
    "\r\n"
    "If you ask for help, please write to <postmaster> and include this\r\n"
    "report. Your own text below the report may be left out.\r\n"
    "\r\n"
    "                   The mail system\r\n"
    "\r\n"
    "<b@hub.test>: host hub.test[192.0.2.1] said: 550 5.1.1 <b@hub.test>:\r\n"
    "    Recipient address rejected: User unknown (in reply to RCPT TO command)\r\n"
    "\r\n"
    "--4F1zREPORT.1741083072/gw.test\r\n"
    "Content-Description: Delivery report\r\n"
    "Content-Type: message/delivery-status\r\n"
    "\r\n"
    "Reporting-MTA: dns; gw.test\r\n"
    "Original-Envelope-Id: id+1\r\n"
    "X-Dogana-Queue-ID: 4F1zORIGINAL\r\n"
    "X-Dogana-Sender: rfc822; a@sender.test\r\n"
    "Arrival-Date: Tue, 04 Mar 2025 10:10:00 +0000 (UTC)\r\n"
    "\r\n"
    "Final-Recipient: rfc822; b@hub.test\r\n"
    "Original-Recipient: rfc822;b+x@hub.test\r\n"
    "Action: failed\r\n"
    "Status: 5.1.1\r\n"
    "Remote-MTA: dns; hub.test\r\n"
    "Diagnostic-Code: smtp; 550 5.1.1 <b@hub.test>: Recipient address rejected:\r\n"
    "    User unknown\r\n"
    "\r\n"
    "--4F1zREPORT.1741083072/gw.test\r\n"
    "Content-Description: Undelivered Message\r\n"
    "Content-Type: message/rfc822\r\n"
    "\r\n"
    "Return-Path: <a@sender.test>\r\n"
    "From: a\r\n"
    "Subject: s\r\n"
    "\r\n"
    "body\r\n"
    "\r\n"
    "--4F1zREPORT.1741083072/gw.test--\r\n";

static struct buf out;

static struct span
write_report(const struct dsn_report *r)
{
	buf_init(&out, 1 << 20);
	dsn_write(&out, r);
	assert_false(out.over);
	return buf_span(&out);
}

static bool
has(const char *text)
{
	return span_find(buf_span(&out), span_str(text)) != SIZE_MAX;
}

static void
failure(void **state)
{
	(void)state;
	struct dsn_report r = report();
	assert_span(write_report(&r), golden);
	buf_fini(&out);
}

static void
headers_only(void **state)
{
	(void)state;
	struct dsn_report r = report();
	r.headers_only = true;
	write_report(&r);
	assert_true(has("Content-Description: Undelivered Message Headers\r\nContent-Type: text/rfc822-headers\r\n\r\nReturn-Path: <a@sender.test>\r\nFrom: a\r\nSubject: s\r\n\r\n--4F1z"));
	assert_false(has("body"));
	buf_fini(&out);
}

static void
delay_and_success(void **state)
{
	(void)state;
	struct dsn_report r = report();
	r.kind = DSN_DELAYED;
	r.retry_until = r.arrival + 5 * 86400 * USEC_PER_SEC;
	r.headers_only = true;
	rcpt.action = "delayed";
	rcpt.diag = SPAN_EMPTY;
	write_report(&r);
	assert_true(has("Subject: Delayed Mail (still being retried)\r\n"));
	assert_true(has("Action: delayed\r\n"));
	assert_true(has("Will-Retry-Until: Sun, 09 Mar 2025 10:10:00 +0000 (UTC)\r\n"));
	assert_true(has("Diagnostic-Code: X-Dogana; host hub.test[192.0.2.1] said:"));
	buf_fini(&out);
	r.kind = DSN_SUCCEEDED;
	rcpt.action = "relayed";
	write_report(&r);
	assert_true(has("Subject: Successful Mail Delivery Report\r\n"));
	assert_true(has("Action: relayed\r\n"));
	assert_false(has("Will-Retry-Until"));
	buf_fini(&out);
	r.kind = DSN_FAILED;
	r.postmaster = true;
	r.message_id = SPAN("<x@y.test>");
	write_report(&r);
	assert_true(has("Subject: Postmaster Copy: Undelivered Mail\r\n"));
	assert_true(has("References: <x@y.test>\r\nIn-Reply-To: <x@y.test>\r\nAuto-Submitted: auto-generated\r\n"));
	buf_fini(&out);
}

static void
eight_bit_and_utf8(void **state)
{
	(void)state;
	struct dsn_report r = report();
	r.content = SPAN("Subject: caf\xc3\xa9\r\n\r\nx\r\n");
	write_report(&r);
	assert_true(has("Content-Transfer-Encoding: 8bit\r\nMessage-Id:"));
	assert_true(has("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n"));
	assert_true(dsn_is_8bit(buf_span(&out)));
	buf_fini(&out);
	r.headers_only = true;
	r.content = SPAN("Subject: s\r\n\r\ncaf\xc3\xa9\r\n"); /* only the body has them */
	write_report(&r);
	assert_false(dsn_is_8bit(buf_span(&out)));
	buf_fini(&out);
	struct span was = rcpt.addr;
	rcpt.addr = SPAN("j\xc3\xb6rg@hub.test");
	r.is_utf8 = true;
	write_report(&r);
	assert_true(has("Content-Type: message/global-delivery-status\r\n"));
	assert_true(has("Final-Recipient: utf-8; j\xc3\xb6rg@hub.test\r\n"));
	assert_true(has("Content-Type: message/global-headers\r\n"));
	buf_fini(&out);
	r.is_utf8 = false; /* not declared: the address is shown, not sent */
	write_report(&r);
	assert_true(has("Final-Recipient: rfc822; j??rg@hub.test\r\n"));
	buf_fini(&out);
	rcpt.addr = was;
}

static void
hostile(void **state)
{
	(void)state;
	struct dsn_report r = report();
	unsigned char longline[5000];
	memset(longline, 'x', sizeof longline);
	r.content = span_of(longline, sizeof longline);
	struct span was = rcpt.text;
	rcpt.text = SPAN("550 evil\r\nBcc: victim@x.test\r\n\r\n--boundary");
	rcpt.addr = SPAN("a b\"c@hub.test");
	struct span s = write_report(&r);
	assert_false(has("\nBcc:"));
	assert_true(has("<\"a b\\\"c\"@hub.test>: 550 evil"));
	size_t line = 0;
	for (size_t i = 0; i < s.n; i++) {
		assert_true(s.p[i] != '\n' || (i > 0 && s.p[i - 1] == '\r'));
		line = s.p[i] == '\n' ? 0 : line + 1;
		assert_true(line <= 999); /* with its CR */
	}
	buf_fini(&out);
	rcpt.text = was;
}

int
main(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(failure), cmocka_unit_test(headers_only), cmocka_unit_test(delay_and_success), cmocka_unit_test(eight_bit_and_utf8),
		cmocka_unit_test(hostile),
	};
	return cmocka_run_group_tests_name("dsn", tests, NULL, NULL);
}
