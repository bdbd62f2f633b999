/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/reply.h"

#include "unit.h"

/* Every row: digits agree, one line, within the limit. */
static void
test_rows(void **state)
{
	(void)state;
	static char long_text[2000];
	memset(long_text, 'x', sizeof long_text);
	memcpy(long_text, "a\r\nb\0\x1b[2J\x0b", 11);
	const struct reply_args args = { "mx.example.com", SPAN("unknown[192.0.2.1]"), SPAN("192.0.2.1"), span_of(long_text, sizeof long_text), UINT64_MAX };
	for (int i = REPLY_NONE + 1; i < REPLY_COUNT; i++) {
		enum reply_id id = (enum reply_id)i;
		unsigned code = reply_code(id);
		const char *enhanced = reply_enhanced(id);
		assert_true(code >= 200 && code <= 599);
		if (enhanced[0] != '\0') {
			assert_int_equal(enhanced[0] - '0', code / 100);
			assert_int_equal(enhanced[1], '.');
		}
		struct buf b;
		buf_init(&b, 4096);
		reply_write(&b, id, 0, &args);
		struct span s = buf_span(&b);
		assert_true(s.n > 4 && s.n <= REPLY_LINE_MAX);
		for (size_t k = 0; k < s.n; k++)
			assert_true(s.p[k] >= 0x20 && s.p[k] < 0x7f && s.p[k] != '%');
		buf_fini(&b);
	}
}

static void
test_text(void **state)
{
	(void)state;
	const struct reply_args args = { "mx.example.com", SPAN("unknown[192.0.2.1]"), SPAN("192.0.2.1"), SPAN("QID"), 17 };
	static const struct {
		enum reply_id id;
		unsigned code;
		const char *want;
	} rows[] = {
		{ REPLY_OK, 0, "250 2.0.0 Ok" },
		{ REPLY_SEND_DATA, 0, "354 End data with <CR><LF>.<CR><LF>" },
		{ REPLY_QUEUED, 0, "250 2.0.0 Ok: queued as QID" },
		{ REPLY_QUEUED_BDAT, 0, "250 2.0.0 Ok: 17 bytes queued as QID" },
		{ REPLY_TOO_MANY_CONNS, 0, "421 4.7.0 mx.example.com Error: too many connections from 192.0.2.1" },
		{ REPLY_DENIED, 0, "503 5.7.0 Error: access denied for unknown[192.0.2.1]" },
		{ REPLY_BARE_LF, 554, "554 5.5.2 mx.example.com Error: bare <LF> received" },
		{ REPLY_SYNTAX_HELO, 0, "501 Syntax: HELO hostname" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 4096);
		reply_write(&b, rows[i].id, rows[i].code, &args);
		assert_string_equal(buf_cstr(&b), rows[i].want);
		buf_fini(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_text) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
