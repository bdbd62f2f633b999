/* SPDX-License-Identifier: BSD-2-Clause */
/* Mail about held mail: built-in texts, template files, and what strangers cannot do to it. */
#include "unit.h"

#include "base/clock.h"
#include "quarantine/notice.h"

#include <stdlib.h>
#include <time.h>

static struct notice_templates built_in;

static struct notice_item
item_of(struct span sender, struct span subject)
{
	static const struct span rcpt[] = { { (const unsigned char *)"anna@here.test", 14 } };
	return (struct notice_item){ .id = { UINT64_C(1795485600000000), 7 }, .arrival = UINT64_C(1795485600000000), .size = 4711, .class = HELD_POLICY,
		.sender = sender, .from = SPAN("Mallory <m@evil.test>"), .subject = subject, .reason = SPAN("listed"), .client = SPAN("x[192.0.2.1]"),
		.rcpt = rcpt, .nrcpt = 1 };
}

static void
write_it(struct buf *out, enum notice_text which, const struct notice_templates *t, const struct notice_item *items, size_t n, uint64_t count)
{
	struct notice notice = { .text = which, .templates = t, .to = SPAN("anna@here.test"), .id = { UINT64_C(1795485600000001), 7 },
		.now = UINT64_C(1795485600000000), .myhostname = "gw.here.test", .myorigin = "here.test", .mail_name = "Dogana",
		.items = items, .nitems = n, .count = count };
	buf_init(out, 1 << 20);
	notice_write(out, &notice);
	assert_false(out->over);
}

static void
has(const struct buf *b, const char *text)
{
	if (span_find(buf_span(b), span_str(text)) == SIZE_MAX)
		fail_msg("not there: \"%s\" in\n%.*s", text, (int)buf_len(b), (const char *)buf_span(b).p);
}

static void
lacks(const struct buf *b, const char *text)
{
	if (span_find(buf_span(b), span_str(text)) != SIZE_MAX)
		fail_msg("there: \"%s\" in\n%.*s", text, (int)buf_len(b), (const char *)buf_span(b).p);
}

static size_t
count(const struct buf *b, const char *text)
{
	size_t n = 0, at;
	for (struct span s = buf_span(b); (at = span_find(s, span_str(text))) != SIZE_MAX; s = span_from(s, at + 1))
		n++;
	return n;
}

static void
test_digest(void **state)
{
	(void)state;
	struct notice_item items[2] = { item_of(SPAN("m@evil.test"), SPAN("Invoice")), item_of(SPAN(""), SPAN("Gr\xc3\xbc\xc3\x9f" "e")) };
	struct buf b;
	write_it(&b, NT_DIGEST, &built_in, items, 2, 7);
	has(&b, "\r\nFrom: Mail quarantine <postmaster@here.test>\r\nSubject: Held mail: 7 new\r\n");
	has(&b, "\r\nTo: anna@here.test\r\n");
	has(&b, "\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n");
	has(&b, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n");
	has(&b, "  Date:     2026-11-24 02:00:00 +0000\r\n  Sender:   m@evil.test\r\n  From:     Mallory <m@evil[.]test>\r\n  Subject:  Invoice\r\n  Reason:   policy (listed)\r\n");
	has(&b, "  Sender:   <>\r\n");
	has(&b, "  Subject:  Gr\xc3\xbc\xc3\x9f" "e\r\n");
	has(&b, "and 5 more that are not shown.\r\n");
	assert_int_equal(count(&b, "\r\n  Number: "), 2);
	buf_fini(&b);
	write_it(&b, NT_DIGEST, &built_in, items, 1, 1);
	has(&b, "charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n");
	lacks(&b, "more that are not shown");
	buf_fini(&b);
}

/* Lines, headers, links, values and escapes that a stranger would like to put in. */
static void
test_hostile(void **state)
{
	(void)state;
	static const struct {
		struct span sender, subject;
		const char *has, *lacks;
	} rows[] = {
		{ SPAN("a@b.test"), SPAN("x\r\n  Number:   4SVLCh0000z1V"), "  Subject:  x\\x0d\\x0a  Number:   4SVLCh0000z1V\r\n", "\n  Number:   4SV" },
		{ SPAN("a@b.test"), SPAN("x\r\n.\r\nBcc: all@b.test"), "x\\x0d\\x0a.\\x0d\\x0aBcc: all@b[.]test\r\n", "\r\nBcc" },
		{ SPAN("a@b.test"), SPAN("click http://evil.test/"), "click http[:]//evil[.]test/", "://" },
		{ SPAN("a@b.test"), SPAN("=?utf-8?B?G1sySg==?="), "  Subject:  =[?]utf-8?B?G1sySg==[?]=\r\n", "=?utf" },
		{ SPAN("a@b.test"), SPAN("$items $recipient $$"), "  Subject:  $items $recipient $$\r\n", "$items anna" },
		{ SPAN("a@b.test"), SPAN("\x1b]0;x\x07 \xe2\x80\xae" "fdp.exe \xff"), "\\x1b]0;x\\x07 \\u{202e}fdp[.]exe \\xff", "\x1b" },
		{ SPAN("http://evil.test/x@b.test"), SPAN("s"), "  Sender:   \"http[:]//evil[.]test/x\"@b[.]test\r\n", "://" },
		{ SPAN("www.evil.test@b.test"), SPAN("s"), "  Sender:   www[.]evil[.]test@b[.]test\r\n", "www.evil" },
		{ SPAN("<script>alert(1)</script>@b.test"), SPAN("s"), "alert(1)", "\r\n<script" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct notice_item item = item_of(rows[i].sender, rows[i].subject);
		struct buf b;
		write_it(&b, NT_DIGEST, &built_in, &item, 1, 1);
		has(&b, rows[i].has);
		lacks(&b, rows[i].lacks);
		assert_int_equal(count(&b, "\r\n  Number: "), 1);
		buf_fini(&b);
	}
}

static void
test_virus(void **state)
{
	(void)state;
	struct notice_item item = item_of(SPAN("m@evil.test"), SPAN("s"));
	item.signature = SPAN("Win.Test\r\nBcc: x@y.test");
	struct buf b;
	write_it(&b, NT_VIRUS_POSTMASTER, &built_in, &item, 1, 1);
	has(&b, "\r\nSubject: Virus held: Win[.]Test\\x0d\\x0aBcc: x@y[.]test\r\n");
	has(&b, "  Recipients: anna@here.test\r\n");
	buf_fini(&b);
	item.signature = SPAN("=?utf-8?Q?=0ABcc=3A?="); /* nobody decodes that on the way to the eye */
	write_it(&b, NT_VIRUS_POSTMASTER, &built_in, &item, 1, 1);
	has(&b, "\r\nSubject: Virus held: =[?]utf-8?Q?=0ABcc=3A?=\r\n");
	buf_fini(&b);
	item.hide_rcpts = true;
	write_it(&b, NT_VIRUS_RECIPIENT, &built_in, &item, 1, 1);
	has(&b, "  Recipients: 1\r\n");
	buf_fini(&b);
	write_it(&b, NT_VIRUS_MORE, &built_in, &item, 1, 312);
	has(&b, "\r\nSubject: 312 more messages with viruses held\r\n");
	buf_fini(&b);
}

static void
test_template_file(void **state)
{
	(void)state;
	struct notice_templates t = built_in;
	struct err e = { .why = "" };
	struct span file = SPAN("# Deutsch\n\ndigest = <<EOF\nFrom: Mail-Quarant\xc3\xa4ne <postmaster@$myorigin>\nSubject: $count zur\xc3\xbc" "ckgehaltene Nachrichten, f\xc3\xbcr die sich jemand interessieren k\xc3\xb6nnte\n\n"
	                        "F\xc3\xbcr $recipient ($$5):\n\n$items\n EOF\nEOF\ndigest_item = <<END\n* $id $subject\nEND\n");
	assert_int_equal(notice_templates_read(&t, file, &e), RC_OK);
	struct notice_item item = item_of(SPAN("m@evil.test"), SPAN("Hallo"));
	struct buf b;
	write_it(&b, NT_DIGEST, &t, &item, 1, 1);
	has(&b, "\r\nFrom: =?UTF-8?B?TWFpbC1RdWFyYW50w6RuZQ==?=\r\n <postmaster@here.test>\r\n");
	has(&b, "\r\nSubject: =?UTF-8?B?");
	has(&b, "?=\r\n =?UTF-8?B?");
	has(&b, "\r\n\r\nF\xc3\xbcr anna@here.test ($5):\r\n\r\n* ");
	has(&b, " Hallo\r\n\r\n EOF\r\n");
	buf_fini(&b);
	assert_true(span_eq(t.text[NT_VIRUS_ITEM], built_in.text[NT_VIRUS_ITEM]));
}

static void
test_template_errors(void **state)
{
	(void)state;
	static const struct {
		const char *file, *why;
	} rows[] = {
		{ "digest\n", "line 1: NAME = <<WORD is wanted, with a name that there is" },
		{ "\n# x\nfailure_template = <<EOF\nEOF\n", "line 3: NAME = <<WORD is wanted, with a name that there is" },
		{ "digest = <<\n", "line 1: NAME = <<WORD is wanted, with a name that there is" },
		{ "digest = <<EOF\nFrom: x\n", "line 1: a text without its end" },
		{ "digest = <<EOF\nFrom: x\nSubject: y\n\n$password\nEOF\n", "line 5: an unknown name behind a dollar sign, or one that does not belong here ($$ is a dollar sign)" },
		{ "digest_item = <<EOF\n$items\nEOF\n", "line 2: an unknown name behind a dollar sign, or one that does not belong here ($$ is a dollar sign)" },
		{ "digest = <<EOF\nFrom: x\nBcc: y\n\nEOF\n", "line 3: a message begins with From:, Subject: or Reply-To:, and an empty line behind them" },
		{ "digest = <<EOF\nFrom: x\n\nSubject: y\nEOF\n", "line 3: one From: and one Subject: are wanted" },
		{ "digest_item = <<EOF\nx\ry\nEOF\n", "line 1: a text with control characters, CR, or not in UTF-8" },
		{ "digest_item = <<EOF\nx\xe4y\nEOF\n", "line 1: a text with control characters, CR, or not in UTF-8" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct notice_templates t = built_in;
		struct err e = { .why = "" };
		assert_int_equal(notice_templates_read(&t, span_str(rows[i].file), &e), RC_PERM);
		assert_string_equal(e.why, rows[i].why);
		assert_memory_equal(&t, &built_in, sizeof t);
	}
}

/* What `write` gives can be read again and is the same: a start for those who translate. */
static void
test_round(void **state)
{
	(void)state;
	struct buf b, again;
	struct notice_templates t = built_in;
	struct err e = { .why = "" };
	buf_init(&b, 1 << 20);
	buf_init(&again, 1 << 20);
	notice_templates_write(&b, &built_in);
	enum rc rc = notice_templates_read(&t, buf_span(&b), &e);
	if (rc != RC_OK)
		fail_msg("%s", e.why);
	notice_templates_write(&again, &t);
	assert_true(span_eq(buf_span(&b), buf_span(&again)));
	buf_fini(&b);
	buf_fini(&again);
}

static void
test_long_lines(void **state)
{
	(void)state;
	struct buf file, b;
	buf_init(&file, 1 << 20);
	buf_puts(&file, "digest_item = <<EOF\n");
	for (int i = 0; i < 900; i++)
		buf_puts(&file, "\xc3\xa4$id ");
	buf_puts(&file, "\nEOF\n");
	struct notice_templates t = built_in;
	struct err e = { .why = "" };
	assert_int_equal(notice_templates_read(&t, buf_span(&file), &e), RC_OK);
	struct notice_item item = item_of(SPAN("m@evil.test"), SPAN("s"));
	write_it(&b, NT_DIGEST, &t, &item, 1, 1);
	assert_true(span_is_utf8(buf_span(&b)));
	size_t line = 0;
	for (size_t i = 0; i < buf_len(&b); i++) {
		line = buf_span(&b).p[i] == '\n' ? 0 : line + 1;
		assert_true(line < 999);
	}
	buf_fini(&b);
	buf_fini(&file);
}

int
main(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
	notice_templates_init(&built_in);
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_digest), cmocka_unit_test(test_hostile), cmocka_unit_test(test_virus),
		cmocka_unit_test(test_template_file), cmocka_unit_test(test_template_errors), cmocka_unit_test(test_round), cmocka_unit_test(test_long_lines) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
