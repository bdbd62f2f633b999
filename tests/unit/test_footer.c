/* SPDX-License-Identifier: BSD-2-Clause */
/* The footer of refusals: as Debian's Postfix 3.7 writes them. */
#include "smtp/footer.h"

#include "base/clock.h"
#include "smtp/reply.h"

#include "unit.h"

#define DENIED "554 5.7.1 <c[192.0.2.7]>: Client host rejected: Access denied\r\n"

static void
test_add(void **state)
{
	static const struct {
		const char *reply, *footer, *want;
	} rows[] = {
		{ DENIED, "one", "554-5.7.1 <c[192.0.2.7]>: Client host rejected: Access denied\r\n554 5.7.1 one\r\n" },
		{ DENIED, "\\c. Call\\nus", "554-5.7.1 <c[192.0.2.7]>: Client host rejected: Access denied. Call\r\n554 5.7.1 us\r\n" },
		{ DENIED, "\\c x", "554 5.7.1 <c[192.0.2.7]>: Client host rejected: Access denied x\r\n" },
		{ DENIED, "\\c", DENIED },
		{ DENIED, "", DENIED },
		{ DENIED, "one\\n\\ntwo", "554-5.7.1 <c[192.0.2.7]>: Client host rejected: Access denied\r\n554-5.7.1 one\r\n554-5.7.1 \r\n554 5.7.1 two\r\n" },
		{ DENIED, "one\\n", "554-5.7.1 <c[192.0.2.7]>: Client host rejected: Access denied\r\n554-5.7.1 one\r\n554 5.7.1 \r\n" },
		{ "501 Syntax: HELO hostname\r\n", "one\\ntwo", "501-Syntax: HELO hostname\r\n501-one\r\n501 two\r\n" },
		{ "501 Syntax: HELO hostname\r\n", "\\c x", "501 Syntax: HELO hostname x\r\n" },
		{ "500 5.5.2 x\r\n", "a\\tb x\\\\ny \\q", "500-5.5.2 x\r\n500-5.5.2 a\\tb x\\\r\n500 5.5.2 y \\q\r\n" },
		{ "500-5.5.2 x\r\n500 5.5.2 y\r\n", "z", "500-5.5.2 x\r\n500-5.5.2 y\r\n500 5.5.2 z\r\n" },
		{ "554 5.7 x\r\n", "z", "554-5.7 x\r\n554 z\r\n" },
		{ "nonsense\r\n", "z", "nonsense\r\n" },
		{ "\r\n", "z", "\r\n" },
		{ "", "z", "" },
		{ "550 5.1.1 x\r\n", "a\r\n250 Ok", "550-5.1.1 x\r\n550 5.1.1 a??250 Ok\r\n" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 8192);
		buf_puts(&b, "250 before\r\n");
		size_t from = buf_len(&b);
		buf_puts(&b, rows[i].reply);
		footer_add(&b, from, span_str(rows[i].footer));
		assert_span(span_head(buf_span(&b), from), "250 before\r\n");
		assert_span(span_from(buf_span(&b), from), rows[i].want);
		buf_fini(&b);
	}
}

static void
test_long(void **state)
{
	(void)state;
	struct buf b, footer;
	buf_init(&b, 8192);
	buf_init(&footer, 4000);
	while (buf_len(&footer) < 3000)
		buf_putc(&footer, 'x');
	buf_puts(&b, DENIED);
	footer_add(&b, 0, buf_span(&footer));
	size_t lf = span_rchr(span_head(buf_span(&b), buf_len(&b) - 1), '\n');
	assert_int_equal(buf_len(&b) - lf - 1, REPLY_LINE_MAX + 2);
	buf_fini(&b);
	buf_fini(&footer);
}

static void
test_expand(void **state)
{
	static const struct {
		const char *text;
		bool is_ok;
		const char *want;
	} rows[] = {
		{ "call $client_address:${client_port} $(server_name)", true, "call 192.0.2.7:1234 mx.example.com" },
		{ "$$x", true, "$x" },
		{ "{client_address}", true, "{client_address}" },
		{ "\\c. \\n", true, "\\c. \\n" },
		{ "", true, "" },
		{ "$myhostname", false, "" },
		{ "$client_name", false, "" },
		{ "$(client_address", false, "" },
	};
	const struct footer_values v = { SPAN("192.0.2.7"), 1234, "mx.example.com", 0 };
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		struct err e;
		buf_init(&b, 1000);
		assert_int_equal(footer_expand(span_str(rows[i].text), &v, &b, &e), rows[i].is_ok ? RC_OK : RC_PERM);
		if (rows[i].is_ok)
			assert_span(buf_span(&b), rows[i].want);
		buf_fini(&b);
	}
	setenv("TZ", "UTC", 1);
	struct buf b;
	struct err e;
	const struct footer_values then = { SPAN("::1"), 0, "x", UINT64_C(1700000000) * USEC_PER_SEC };
	buf_init(&b, 1000);
	assert_int_equal(footer_expand(SPAN("$localtime $client_port"), &then, &b, &e), RC_OK);
	assert_span(buf_span(&b), "Nov 14 22:13:20 unknown");
	buf_fini(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_add),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_expand),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
