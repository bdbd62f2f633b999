/* SPDX-License-Identifier: BSD-2-Clause */
/* Held mail as an administrator sees it; attack Z02 for terminals and JSON. */
#include "unit.h"

#include "base/clock.h"
#include "quarantine/view.h"

#include <stdlib.h>
#include <time.h>

#define AT (UINT64_C(1795485600) * USEC_PER_SEC)

static struct quar_rcpt rcpts[3];
static struct held_part parts[2];

static struct quar_req
held_message(void)
{
	static struct quar_row row;
	rcpts[0] = (struct quar_rcpt){ .addr = SPAN("anna@here.test"), .state = QUAR_HELD };
	rcpts[1] = (struct quar_rcpt){ .addr = SPAN("b b@here.test"), .orig = SPAN("info@here.test"), .state = QUAR_RELEASED, .copy = { AT + 1, 7 },
		.changed = AT + USEC_PER_SEC, .by = SPAN("root(anna)") };
	rcpts[2] = (struct quar_rcpt){ .addr = SPAN("abuse@here.test"), .state = QUAR_DELIVERED, .added = true };
	parts[0] = (struct held_part){ .depth = 0, .type = SPAN("multipart/mixed"), .is_summed = true, .size = 900 };
	parts[1] = (struct held_part){ .depth = 1, .type = SPAN("application/zip"), .name = SPAN("x\xe2\x80\xae" "piz.exe"), .is_summed = true, .size = 512, .sha256 = { 0xab } };
	row = (struct quar_row){ .id = { AT, 7 }, .arrival = AT, .size = 1234, .expires = AT + 86400 * USEC_PER_SEC, .class = HELD_VIRUS,
		.reason = SPAN("Eicar"), .signature = SPAN("Eicar\x1b[2J"), .client_name = SPAN("mail.x.test"), .client_addr = SPAN("192.0.2.1"),
		.helo = SPAN("mail"), .sender = SPAN("a@x.test"), .subject = SPAN("Hello \x9b \"you\"\r\nX: y"), .from = SPAN("A <a@x.test>"), .nrcpt = 30, .nshown = 3,
		.rcpt = rcpts };
	return (struct quar_req){ .rows = &row, .nrows = 1, .held = { .trace = SPAN("one: yes\ntwo: \x1b]0;x\x07"), .nparts = 2, .parts = parts },
		.env = { .envid = SPAN("a+2Bb") } };
}

static void
lines_are(struct buf *b, const char *const *want, size_t n)
{
	struct span rest = buf_span(b);
	for (size_t i = 0; i < n; i++) {
		size_t lf = span_chr(rest, '\n');
		assert_true(lf != SIZE_MAX);
		assert_span(span_head(rest, lf), want[i]);
		rest = span_from(rest, lf + 1);
	}
	assert_int_equal(rest.n, 0);
}

static void
test_row(void **state)
{
	(void)state;
	struct quar_req r = held_message();
	struct buf b;
	buf_init(&b, 65536);
	view_row(&b, &r.rows[0]);
	static const char *const want[] = {
		"4Xsr9r0000z7      2026-11-24 02:00:00 +0000      1234  virus      Eicar\\x1b[2J",
		"    from:    a@x.test  (A <a@x.test>)",
		"    to:      anna@here.test, \"b b\"@here.test (released), abuse@here.test (delivered) and 27 more",
		"    subject: Hello \\x9b \"you\"\\x0d\\x0aX: y",
		"",
	};
	char id[SPOOL_ID_TEXT];
	size_t n = spool_id_text(&r.rows[0].id, id);
	assert_true(span_starts(buf_span(&b), span_of(id, n)));
	buf_consume(&b, n);
	struct buf first;
	buf_init(&first, 65536);
	buf_puts(&first, "4Xsr9r0000z7");
	buf_put(&first, buf_span(&b));
	lines_are(&first, want, NELEMS(want));
	buf_fini(&first);
	buf_fini(&b);
}

/* Files in lists: names escaped, the first of many, no sum as long as there is none. */
static void
test_files(void **state)
{
	(void)state;
	static struct held_part files[7];
	struct quar_req r = held_message();
	struct buf b;
	for (unsigned i = 0; i < NELEMS(files); i++)
		files[i] = (struct held_part){ .type = SPAN("a/b"), .name = SPAN("\x1b[2J\"\r\nx") };
	files[1].is_summed = true;
	files[1].size = 3;
	files[1].sha256[31] = 0xcd;
	files[2].name = SPAN_EMPTY;
	r.rows[0].attachments = files;
	r.rows[0].nattachments = NELEMS(files);
	buf_init(&b, 65536);
	view_row(&b, &r.rows[0]);
	assert_true(span_find(buf_span(&b), SPAN("\n    files:   \\x1b[2J\"\\x0d\\x0ax, \\x1b[2J\"\\x0d\\x0ax, a/b, \\x1b[2J\"\\x0d\\x0ax, \\x1b[2J\"\\x0d\\x0ax and 2 more\n\n")) != SIZE_MAX);
	buf_reset(&b);
	r.rows[0].nattachments = 3;
	view_row_json(&b, &r.rows[0]);
	assert_true(span_find(buf_span(&b), SPAN("], \"attachments\": [{\"type\": \"a/b\", \"name\": \"\\u001b[2J\\\"\\u000d\\u000ax\"}, {\"type\": \"a/b\", "
	    "\"name\": \"\\u001b[2J\\\"\\u000d\\u000ax\", \"size\": 3, \"sha256\": \"00000000000000000000000000000000000000000000000000000000000000cd\"}, "
	    "{\"type\": \"a/b\"}]}\n")) != SIZE_MAX);
	assert_int_equal(span_chr(buf_span(&b), '\n'), buf_len(&b) - 1);
	buf_fini(&b);
}

/* What was found is shown at the part it was found in, and nothing a stranger wrote looks like it. */
static void
test_findings(void **state)
{
	(void)state;
	static const struct {
		enum held_class class;
		const char *reason, *trace, *want, *never;
		uint32_t nparts;
	} rows[] = {
		{ HELD_ATTACHMENT, "a.zip (rules:3)", "", "\"a.zip\"  attachment: a.zip (rules:3)\n", "text/plain  attachment", 3 },
		{ HELD_ATTACHMENT, "a.zip/in.exe (rules:3)", "", "\"a.zip\"  attachment: a.zip/in.exe (rules:3)\n", NULL, 3 },
		{ HELD_ATTACHMENT, "a.zipper (rules:3)", "", "parts:", "attachment: ", 3 },
		{ HELD_VIRUS, "Eicar", "x: y\nbundled:attachments: quarantine: attachment: a.zip (rules:3)\nz", "attachment: a.zip (rules:3)\n", "virus: Eicar", 3 },
		{ HELD_VIRUS, "Eicar", "RCPT: warn: bundled:attachments: quarantine: attachment: a.zip (rules:3)", "parts:", "  attachment: ", 3 },
		{ HELD_VIRUS, "Eicar", "", "parts:", "virus: Eicar", 3 },
		{ HELD_VIRUS, "Eicar", "", "  virus: Eicar\n", NULL, 1 },
		{ HELD_POLICY, "a.zip (rules:3)", "", "parts:", "  attachment: ", 3 },
	};
	static const struct held_part three[] = { { .depth = 0, .type = SPAN("multipart/mixed") }, { .depth = 1, .type = SPAN("text/plain") },
		{ .depth = 1, .type = SPAN("application/zip"), .name = SPAN("a.zip") } };
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct quar_req r = held_message();
		r.held = (struct held){ .class = rows[i].class, .reason = span_str(rows[i].reason), .trace = span_str(rows[i].trace), .nparts = rows[i].nparts,
			.parts = rows[i].nparts == 1 ? &three[1] : three };
		struct buf b;
		buf_init(&b, 65536);
		view_message(&b, &r, SPAN_EMPTY);
		size_t at = span_find(buf_span(&b), SPAN("parts:"));
		assert_true(at != SIZE_MAX);
		struct span shown = span_from(buf_span(&b), at);
		assert_true(span_find(shown, span_str(rows[i].want)) != SIZE_MAX);
		assert_true(rows[i].never == NULL || span_find(shown, span_str(rows[i].never)) == SIZE_MAX);
		buf_fini(&b);
	}
}

static void
test_message(void **state)
{
	(void)state;
	struct quar_req r = held_message();
	struct buf b;
	buf_init(&b, 65536);
	view_message(&b, &r, view_header_of(SPAN("A: b\r\n\tc\x1b[1m\r\n\r\nbody\r\n")));
	static const char *const want[] = {
		"class:              virus", "reason:             Eicar", "signature:          Eicar\\x1b[2J",
		"client:             mail.x.test[192.0.2.1]", "sender:             a@x.test", "envelope id:        a+b",
		"recipient:          anna@here.test held",
		"trace:\n    one: yes\n    two: \\x1b]0;x\\x07",
		"parts:\n    multipart/mixed                            900  0000",
		"      application/zip                          512  ab00",
		"  \"x\\u{202e}piz.exe\"", "header:\n    A: b\n    \tc\\x1b[1m",
		"\"b b\"@here.test (was info@here.test) released as ", " by root(anna)", "abuse@here.test delivered, a copy sent elsewhere",
	};
	for (size_t i = 0; i < NELEMS(want); i++)
		if (span_find(buf_span(&b), span_str(want[i])) == SIZE_MAX)
			fail_msg("not there: \"%s\" in\n%.*s", want[i], (int)buf_len(&b), (const char *)buf_span(&b).p);
	assert_true(span_find(buf_span(&b), SPAN("body")) == SIZE_MAX);
	for (size_t i = 0; i < buf_len(&b); i++)
		assert_true(buf_span(&b).p[i] >= ' ' || buf_span(&b).p[i] == '\n' || buf_span(&b).p[i] == '\t');
	buf_reset(&b);
	view_message_json(&b, &r, SPAN("A: b\r\n"));
	struct span s = buf_span(&b);
	static const char *const json[] = {
		"{\"queue_id\": \"", ("\"arrival_time\": 1795485600, \"message_size\": 1234, \"class\": \"virus\", \"expires\": 1795572000, \"reason\": \"Eicar\", "
		"\"signature\": \"Eicar\\u001b[2J\", \"client_name\": \"mail.x.test\""), "\"subject\": \"Hello \\ufffd \\\"you\\\"\\u000d\\u000aX: y\"",
		"\"sender\": \"a@x.test\", \"recipient_count\": 30, \"recipients\": [{\"address\": \"anna@here.test\", \"state\": \"held\"}, {\"address\": \"\\\"b b\\\"@here.test\", \"original\": ",
		"\"trace\": [\"one: yes\", \"two: \\u001b]0;x\\u0007\"], \"parts\": [{\"depth\": 0, ", "\"name\": \"x\\u202epiz.exe\"}], \"header\": \"A: b\\u000d\\u000a\"}\n",
	};
	for (size_t i = 0; i < NELEMS(json); i++)
		if (span_find(s, span_str(json[i])) == SIZE_MAX)
			fail_msg("not there: %s in\n%.*s", json[i], (int)s.n, (const char *)s.p);
	assert_int_equal(span_chr(s, '\n'), s.n - 1); /* one line */
	buf_fini(&b);
}

static void
test_numbers(void **state)
{
	(void)state;
	struct quar_req r = { .by_class = { [HELD_VIRUS] = { 2, 100 }, [HELD_POLICY] = { 1, 11 } }, .oldest = AT, .newest = AT };
	struct buf b;
	buf_init(&b, 65536);
	view_stats(&b, &r, "disk full");
	static const char *const want[] = { "class            messages            bytes", "policy                  1               11", "virus                   2              100",
		"total                   3              111", "oldest:             2026-11-24 02:00:00 +0000", "newest:             2026-11-24 02:00:00 +0000", "takes nothing more: disk full" };
	lines_are(&b, want, NELEMS(want));
	buf_reset(&b);
	view_stats_json(&b, &r, NULL);
	assert_true(span_starts(buf_span(&b), SPAN("{\"messages\": 3, \"bytes\": 111, \"classes\": {\"policy\": {\"messages\": 1, \"bytes\": 11}, ")));
	assert_true(span_find(buf_span(&b), SPAN("\"oldest\": 1795485600, \"newest\": 1795485600, \"full\": false}\n")) != SIZE_MAX);
	buf_reset(&b);
	struct quar_allow a = { .sender = SPAN("x@y.test"), .added = AT, .by = SPAN("root"), .note = SPAN("n\x1b") };
	view_allow(&b, &a);
	assert_span(buf_span(&b), "x@y.test  to anybody  since 2026-11-24 02:00:00 +0000 by root: n\\x1b\n");
	buf_reset(&b);
	view_list_tail(&b, 0, 0);
	view_list_tail(&b, 1, 0);
	view_list_tail(&b, 50, 99);
	view_list_tail_json(&b, 0);
	view_list_tail_json(&b, 99);
	assert_span(buf_span(&b), "Nothing in the quarantine fits\n-- 1 message\n-- 50 messages; older ones: --after 99\n{\"after\": 99}\n");
	buf_fini(&b);
}

/* A message that is lost is not "mended". */
static void
test_repairs(void **state)
{
	(void)state;
	static const struct {
		struct quar_finding f;
		const char *want;
	} rows[] = {
		{ { QUAR_FLAW_NO_ROW, SPAN("id"), SPAN(""), true }, "id: no-row (mended)\n" },
		{ { QUAR_FLAW_NO_FILE, SPAN("id"), SPAN(""), true }, "id: no-file (removed from the index)\n" },
		{ { QUAR_FLAW_NO_FILE, SPAN("id"), SPAN(""), false }, "id: no-file\n" },
		{ { QUAR_FLAW_DAMAGED, SPAN("id"), SPAN("its end is damaged"), true }, "id: damaged: its end is damaged (moved to corrupt/)\n" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 1000);
		view_finding(&b, &rows[i].f);
		assert_span(buf_span(&b), rows[i].want);
		buf_fini(&b);
	}
}

int
main(void)
{
	setenv("TZ", "UTC", 1);
	tzset();
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_row), cmocka_unit_test(test_files), cmocka_unit_test(test_message), cmocka_unit_test(test_findings), cmocka_unit_test(test_repairs), cmocka_unit_test(test_numbers) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
