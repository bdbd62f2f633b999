/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include "base/log.h"

#include <ctype.h>

static const char *
render(enum log_format format, enum log_event_id ev, const struct log_ctx *ctx, const struct log_field *f, size_t n)
{
	static struct buf b = { .max = 65536 };
	buf_reset(&b);
	log_render(&b, format, ev, ctx, f, n);
	return buf_cstr(&b);
}

static void
postfix_lines(void **state)
{
	(void)state;
	struct log_ctx ctx = { .qid = SPAN("4Zabc1z2X") };
	struct log_field f[] = { F_STR(to, "r@b.test"), F_STR(relay, "h[127.0.0.1]:25"), F_STR(delay, "1.2"), F_STR(delays, "0.1/0.01/0.5/0.6"),
		F_STR(dsn, "2.0.0"), F_STR(status, "sent"), F_STR(text, "250 2.0.0 Ok") };
	assert_string_equal(render(LOG_POSTFIX, EV_delivery, &ctx, f, NELEMS(f)),
	    "4Zabc1z2X: to=<r@b.test>, relay=h[127.0.0.1]:25, delay=1.2, delays=0.1/0.01/0.5/0.6, dsn=2.0.0, status=sent (250 2.0.0 Ok)");
	struct log_field g[] = { F_STR(to, "r@b.test"), F_STR(orig_to, "x@b.test"), F_STR(relay, "none"), F_NUM(conn_use, 2) };
	assert_string_equal(render(LOG_POSTFIX, EV_delivery, &ctx, g, NELEMS(g)),
	    "4Zabc1z2X: to=<r@b.test>, orig_to=<x@b.test>, relay=none, conn_use=2, delay=, delays=, dsn=, status= ()");
	struct log_ctx none = { .noqueue = true };
	struct log_field h[] = { F_STR(stage, "RCPT"), F_STR(client, "u[1.2.3.4]"), F_STR(reply, "554 5.7.1 <x>: Relay access denied"), F_STR(from, ""),
		F_STR(to, "x"), F_STR(proto, "ESMTP"), F_STR(helo, "h") };
	assert_string_equal(render(LOG_POSTFIX, EV_smtpd_reject, &none, h, NELEMS(h)),
	    "NOQUEUE: reject: RCPT from u[1.2.3.4]: 554 5.7.1 <x>: Relay access denied; from=<> to=<x> proto=ESMTP helo=<h>");
	assert_string_equal(render(LOG_POSTFIX, EV_queue_removed, &ctx, NULL, 0), "4Zabc1z2X: removed");
}

static void
json_lines(void **state)
{
	(void)state;
	struct log_ctx ctx = { .qid = SPAN("Q") };
	struct log_field f[] = { F_STR(from, "a\"b\\c\n@d"), F_NUM(size, 1234), F_NUM(nrcpt, -1) };
	assert_string_equal(render(LOG_JSON, EV_queue_active, &ctx, f, NELEMS(f)),
	    "\"event\":\"queue_active\",\"level\":\"info\",\"queue_id\":\"Q\",\"from\":\"a\\\"b\\\\c?@d\",\"size\":1234,\"nrcpt\":-1");
}

static void
outside_text_stays_in_its_line(void **state)
{
	(void)state;
	struct log_field f[] = { F_STR(helo, "a\r\nOct 1 fake status=sent"), F_STR(client, "x\x1b[2J"), F_STR(stage, "RCPT"), F_STR(reply, "5") };
	const char *line = render(LOG_POSTFIX, EV_smtpd_reject, NULL, f, NELEMS(f));
	for (const char *p = line; *p != '\0'; p++)
		assert_true(isprint((unsigned char)*p));
	char big[5000];
	memset(big, 'x', sizeof big);
	struct log_field g[] = { { .id = LF_text, .text = span_of(big, sizeof big) } };
	assert_int_equal(strlen(render(LOG_POSTFIX, EV_info, NULL, g, 1)), LOG_FIELD_MAX);
}

/* Every row: its template compiles and each field it names appears when given. */
static void
every_row_renders(void **state)
{
	(void)state;
	for (int ev = 0; ev < EV_COUNT; ev++) {
		struct log_field f[LF_COUNT];
		for (int i = 0; i < LF_COUNT; i++)
			f[i] = (struct log_field){ .id = (enum log_field_id)i, .text = SPAN("v") };
		const char *line = render(LOG_POSTFIX, (enum log_event_id)ev, NULL, f, LF_COUNT);
		assert_true(line[0] != '\0');
		assert_null(strchr(line, '{'));
		assert_null(strchr(line, '}'));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(postfix_lines), cmocka_unit_test(json_lines),
		cmocka_unit_test(outside_text_stays_in_its_line), cmocka_unit_test(every_row_renders) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
