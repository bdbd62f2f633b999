/* SPDX-License-Identifier: BSD-2-Clause */
/* What servers of tcp and socketmap tables are told and may answer, whole and byte by byte; names in /etc/hosts. */
#include "lookup/hosts.h"
#include "lookup/wire.h"

#include "unit.h"

typedef enum rc reply_fn(struct span in, size_t max, struct buf *text_out, struct wire_reply *out, struct err *e);

struct reply_row {
	reply_fn *fn;
	const char *in;
	enum rc parsed;              /* RC_NONE: not whole; RC_PERM: no reply */
	enum rc said;
	const char *text;
	size_t left;                 /* bytes behind the reply */
};

#define TCP wire_tcp_reply
#define SM wire_socketmap_reply
static const struct reply_row replies[] = {
	{ TCP, "200 value\n", RC_OK, RC_OK, "value", 0 },
	{ TCP, "200 two%20words%0a%25\n", RC_OK, RC_OK, "two words\n%", 0 },
	{ TCP, "200 a b\n", RC_OK, RC_OK, "a b", 0 },
	{ TCP, "200 value\r\n", RC_OK, RC_OK, "value", 0 },
	{ TCP, "200 \n", RC_OK, RC_OK, "", 0 },
	{ TCP, "299 x\n", RC_OK, RC_OK, "x", 0 },
	{ TCP, "500 not found\n", RC_OK, RC_NONE, "not found", 0 },
	{ TCP, "400 try later\n", RC_OK, RC_TEMP, "try later", 0 },
	{ TCP, "200 value\n200 ", RC_OK, RC_OK, "value", 4 },
	{ TCP, "200 value", RC_NONE, 0, NULL, 0 },
	{ TCP, "", RC_NONE, 0, NULL, 0 },
	{ TCP, "200\n", RC_PERM, 0, NULL, 0 },
	{ TCP, "\n", RC_PERM, 0, NULL, 0 },
	{ TCP, "OK value\n", RC_PERM, 0, NULL, 0 },
	{ TCP, "300 value\n", RC_PERM, 0, NULL, 0 },
	{ TCP, "2000 value\n", RC_PERM, 0, NULL, 0 },
	{ TCP, "200-value\n", RC_PERM, 0, NULL, 0 },
	{ TCP, "200 bad%2\n", RC_PERM, 0, NULL, 0 },
	{ TCP, "200 bad%\n", RC_PERM, 0, NULL, 0 },
	{ TCP, "200 bad%zz\n", RC_PERM, 0, NULL, 0 },
	{ TCP, "500 bad%0g\n", RC_PERM, 0, NULL, 0 },
	{ SM, "8:OK value,", RC_OK, RC_OK, "value", 0 },
	{ SM, "3:OK ,", RC_OK, RC_OK, "", 0 },
	{ SM, "008:OK value,", RC_OK, RC_OK, "value", 0 },
	{ SM, "9:OK a b, c,", RC_OK, RC_OK, "a b, c", 0 },
	{ SM, "9:NOTFOUND ,", RC_OK, RC_NONE, "", 0 },
	{ SM, "8:NOTFOUND,", RC_OK, RC_NONE, "", 0 },
	{ SM, "8:TEMP why,", RC_OK, RC_TEMP, "why", 0 },
	{ SM, "11:TIMEOUT why,", RC_OK, RC_TEMP, "why", 0 },
	{ SM, "8:PERM why,", RC_OK, RC_PERM, "why", 0 },
	{ SM, "8:OK value,8:O", RC_OK, RC_OK, "value", 3 },
	{ SM, "8:OK value", RC_NONE, 0, NULL, 0 },
	{ SM, "8", RC_NONE, 0, NULL, 0 },
	{ SM, "8:", RC_NONE, 0, NULL, 0 },
	{ SM, "2:OK,", RC_PERM, 0, NULL, 0 },
	{ SM, "8:ok value,", RC_PERM, 0, NULL, 0 },
	{ SM, "0:,", RC_PERM, 0, NULL, 0 },
	{ SM, "8:OK value;", RC_PERM, 0, NULL, 0 },
	{ SM, ":OK value,", RC_PERM, 0, NULL, 0 },
	{ SM, "-1:OK value,", RC_PERM, 0, NULL, 0 },
	{ SM, "1001:", RC_PERM, 0, NULL, 0 },
	{ SM, "9999999999:", RC_PERM, 0, NULL, 0 },
	{ SM, "0000000008:OK value,", RC_PERM, 0, NULL, 0 },
	{ SM, "hello", RC_PERM, 0, NULL, 0 },
};

static void
reply(void **state)
{
	(void)state;
	struct buf text;
	buf_init(&text, 10000);
	for (size_t i = 0; i < NELEMS(replies); i++) {
		const struct reply_row *row = &replies[i];
		struct span in = span_str(row->in);
		struct wire_reply out;
		struct err e = { 0 };
		enum rc rc = row->fn(in, 1000, &text, &out, &e);
		if (rc != row->parsed)
			fail_msg("row %zu \"%s\": %d %s", i, row->in, (int)rc, e.why);
		if (rc == RC_PERM && e.why[0] == '\0')
			fail_msg("row %zu \"%s\": no reason", i, row->in);
		if (rc != RC_OK)
			continue;
		assert_int_equal(out.rc, row->said);
		assert_span(buf_span(&text), row->text);
		assert_int_equal(in.n - out.used, row->left);
		for (size_t n = 0; n < out.used; n++) { /* byte by byte: not before the last one */
			void *copy = malloc(n > 0 ? n : 1);
			memcpy(copy, row->in, n);
			if (row->fn(span_of(copy, n), 1000, &text, &out, &e) != RC_NONE)
				fail_msg("row %zu \"%s\" at %zu", i, row->in, n);
			free(copy);
			assert_int_equal(row->fn(in, 1000, &text, &out, &e), RC_OK);
		}
	}
	buf_fini(&text);
}

static void
long_lines(void **state)
{
	(void)state;
	unsigned char line[WIRE_TCP_LINE_MAX + 1];
	struct buf text;
	struct wire_reply out;
	struct err e;
	buf_init(&text, sizeof line);
	memset(line, 'x', sizeof line);
	memcpy(line, "200 ", 4);
	assert_int_equal(wire_tcp_reply(span_of(line, WIRE_TCP_LINE_MAX - 1), 100000, &text, &out, &e), RC_NONE);
	assert_int_equal(wire_tcp_reply(span_of(line, WIRE_TCP_LINE_MAX), 100000, &text, &out, &e), RC_PERM);
	line[WIRE_TCP_LINE_MAX - 1] = '\n';
	assert_int_equal(wire_tcp_reply(span_of(line, WIRE_TCP_LINE_MAX), 100000, &text, &out, &e), RC_OK);
	buf_fini(&text);
}

static void
request(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 1000);
	wire_tcp_request(&b, SPAN_EMPTY, SPAN("a b%\n\x7f\xc3\xa9@x"));
	assert_span(buf_span(&b), "get a%20b%25%0A%7F%C3%A9@x\n");
	buf_reset(&b);
	wire_socketmap_request(&b, SPAN("map"), SPAN("a b,c"));
	assert_span(buf_span(&b), "9:map a b,c,");
	buf_fini(&b);
}

static void
hosts(void **state)
{
	(void)state;
	struct ipaddr a[4];
	char text[IPADDR_TEXT];
	struct span file = SPAN("# a file\n127.0.0.1\tlocalhost  db # db2\n192.0.2.1 DB.example db\nnonsense db\n::1 localhost\n192.0.2.2");
	assert_int_equal(hosts_find(file, SPAN("localhost"), a, NELEMS(a)), 2);
	ipaddr_text(&a[1], text);
	assert_string_equal(text, "::1");
	assert_int_equal(hosts_find(file, SPAN("db"), a, NELEMS(a)), 2);
	assert_int_equal(hosts_find(file, SPAN("db"), a, 1), 1);
	assert_int_equal(hosts_find(file, SPAN("db.EXAMPLE"), a, NELEMS(a)), 1);
	assert_int_equal(hosts_find(file, SPAN("db2"), a, NELEMS(a)), 0);
	assert_int_equal(hosts_find(file, SPAN("192.0.2.2"), a, NELEMS(a)), 0);
	assert_true(hosts_ask(SPAN("localhost"), a, NELEMS(a)) > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(reply), cmocka_unit_test(long_lines), cmocka_unit_test(request), cmocka_unit_test(hosts) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
