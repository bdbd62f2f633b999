/* SPDX-License-Identifier: BSD-2-Clause */
/* Content made 7-bit: each case whole and octet by octet. RFC 6152, RFC 2045 6.7. */
#include "msg/mime7.h"

#include "unit.h"

#define CTE(x) "Content-Transfer-Encoding: " x "\r\n"
#define MULTI(b) "Content-Type: multipart/mixed; boundary=" b "\r\n"
#define S10 "0123456789"
#define S70 S10 S10 S10 S10 S10 S10 S10

static const struct {
	const char *in, *out; /* out NULL: the same */
} cases[] = {
	/* what says nothing, or something else, stays */
	{ "", NULL }, { "\r\n", NULL }, { "Subject: x\r\n", NULL }, { "Subject: x\r\n\r\n\xc3\xa9\r\n", NULL }, { CTE("7bit") "\r\n\xc3\xa9\r\n", NULL },
	{ CTE("base64") "\r\n\xc3\xa9\r\n", NULL }, { CTE("quoted-printable") "\r\n\xc3\xa9=\r\n", NULL }, { "\r\n" CTE("8bit") "\r\n\xc3\xa9\r\n", NULL },
	{ CTE("8bit"), NULL }, { "Subject: \xc3\xa9\r\n" CTE("8bit") "\r\n=\r\n", "Subject: \xc3\xa9\r\n" CTE("quoted-printable") "\r\n=3D\r\n" },
	/* one part */
	{ CTE("8bit") "X: y\r\n\r\n\xc3\xa9\r\n", "X: y\r\n" CTE("quoted-printable") "\r\n=C3=A9\r\n" },
	{ "content-transfer-encoding :\r\n\t(c) 8BIT (d)\r\nX: y\r\n\r\n\xff\r\n", "X: y\r\n" CTE("quoted-printable") "\r\n=FF\r\n" },
	{ CTE("binary") "\r\na b\t\r\n \r\n=\x01\x7f\r\n.\r\n", CTE("quoted-printable") "\r\na b=09\r\n=20\r\n=3D=01=7F\r\n.\r\n" },
	{ CTE("8bit") "\r\n" S70 "123\r\n" S70 "1234\r\n", CTE("quoted-printable") "\r\n" S70 "123\r\n" S70 "123=\r\n4\r\n" },
	{ CTE("8bit") "\r\n" S70 "12\xff\r\n" S70 "12\xff\xff\r\n" S70 "123 \r\n",
	    CTE("quoted-printable") "\r\n" S70 "12=FF\r\n" S70 "12=FF=\r\n=FF\r\n" S70 "123=\r\n=20\r\n" },
	{ CTE("8bit") CTE("8bit") "\r\n\xff\r\n", CTE("quoted-printable") "\r\n=FF\r\n" },
	/* contradictions are left alone */
	{ CTE("8bit") CTE("base64") "\r\n\xff\r\n", NULL }, { CTE("base64") CTE("8bit") "\r\n\xff\r\n", NULL },
	{ CTE("8bit") "broken\r\n\r\n\xff\r\n", NULL },
	/* parts */
	{ MULTI("b") "\r\n\xff\r\n--b\r\n" CTE("8bit") "\r\n\xff\r\n--b\r\n\r\n\xff\r\n--b--\r\n\xff\r\n",
	    MULTI("b") "\r\n\xff\r\n--b\r\n" CTE("quoted-printable") "\r\n=FF\r\n--b\r\n\r\n\xff\r\n--b--\r\n\xff\r\n" },
	{ CTE("8bit") MULTI("\"b c\" ; x=y") "\r\n--b c \t\r\n" CTE("8bit") "\r\n=\r\n--b\r\n--b cd\r\n--b c--\r\n",
	    MULTI("\"b c\" ; x=y") CTE("7bit") "\r\n--b c \t\r\n" CTE("quoted-printable") "\r\n=3D\r\n--b\r\n--b cd\r\n--b c--\r\n" },
	{ MULTI("a") "\r\n--a\r\n" MULTI("b") "\r\n--b\r\n" CTE("8bit") "\r\n=\r\n--a\r\n" CTE("8bit") "\r\n=\r\n--b\r\n=\r\n--a--\r\n=\r\n",
	    MULTI("a") "\r\n--a\r\n" MULTI("b") "\r\n--b\r\n" CTE("quoted-printable") "\r\n=3D\r\n--a\r\n" CTE("quoted-printable") "\r\n=3D\r\n--b\r\n=3D\r\n--a--\r\n=\r\n" },
	{ MULTI("a") "\r\n--a\r\n" CTE("8bit") "--a\r\n\r\n", NULL }, /* a part without a body */
	{ MULTI("a") "\r\n--a\r\nContent-Type: message/rfc822\r\n" CTE("8bit") "\r\nSubject: x\r\n" CTE("8bit") "\r\n=\r\n--a--\r\n",
	    MULTI("a") "\r\n--a\r\nContent-Type: message/rfc822\r\n" CTE("7bit") "\r\nSubject: x\r\n" CTE("quoted-printable") "\r\n=3D\r\n--a--\r\n" },
	{ "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\n" CTE("8bit") "\r\n=\r\n--a\r\nContent-Type: text/plain\r\n" CTE("8bit") "\r\n=\r\n",
	    "Content-Type: multipart/digest; boundary=a\r\n\r\n--a\r\n\r\n" CTE("quoted-printable") "\r\n=3D\r\n--a\r\nContent-Type: text/plain\r\n" CTE("quoted-printable") "\r\n=3D\r\n" },
	{ "Content-Type: message/partial; id=x\r\n" CTE("8bit") "\r\n\xff\r\n", NULL }, { "Content-Type: message/global\r\n" CTE("8bit") "\r\n\xff\r\n", NULL },
	{ "Content-Type: multipart/mixed\r\n" CTE("8bit") "\r\n\xff\r\n", NULL }, { "Content-Type: multipart/mixed; boundary=\"a\\\"\"\r\n" CTE("8bit") "\r\n\xff\r\n",
	    "Content-Type: multipart/mixed; boundary=\"a\\\"\"\r\n" CTE("7bit") "\r\n\xff\r\n" },
	{ "Content-Type: multipart/mixed; x=\"; boundary=no\"; boundary=a\r\n\r\n--no\r\n" CTE("8bit") "\r\n\xff\r\n", NULL },
	{ "Content-Type: multipart/mixed; boundary=a\r\n" CTE("base64") "\r\n--a\r\n" CTE("8bit") "\r\n\xff\r\n",
	    "Content-Type: multipart/mixed; boundary=a\r\n" CTE("base64") "\r\n--a\r\n" CTE("quoted-printable") "\r\n=FF\r\n" },
};

static void
run(struct span in, size_t piece, struct buf *out)
{
	struct mime7 m;
	mime7_init(&m);
	buf_reset(out);
	for (size_t at = 0; at < in.n; at += piece)
		mime7_put(&m, out, span_head(span_from(in, at), piece));
	mime7_end(&m, out);
	mime7_fini(&m);
}

static void
test_cases(void **state)
{
	(void)state;
	struct buf out;
	buf_init(&out, 1 << 20);
	for (size_t i = 0; i < NELEMS(cases); i++) {
		const char *want = cases[i].out != NULL ? cases[i].out : cases[i].in;
		static const size_t pieces[] = { 1, 7, 1 << 20 };
		for (size_t k = 0; k < NELEMS(pieces); k++) {
			run(span_str(cases[i].in), pieces[k], &out);
			if (!span_eq_str(buf_span(&out), want)) {
				print_error("case %zu, pieces of %zu:\n%s\n", i, pieces[k], buf_cstr(&out));
				fail();
			}
		}
	}
	buf_fini(&out);
}

/* Long lines, deep nesting, a field without end: bounded, and nothing is lost. */
static void
test_limits(void **state)
{
	(void)state;
	struct buf in, out;
	buf_init(&in, 1 << 22);
	buf_init(&out, 1 << 22);
	buf_puts(&in, CTE("8bit") "\r\n");
	for (int i = 0; i < 5000; i++)
		buf_puts(&in, "\xff ");
	buf_puts(&in, "\r\nend\r\n");
	run(buf_span(&in), 1000, &out);
	struct span s = buf_span(&out);
	assert_true(span_find(s, SPAN("=20\r\nend\r\n")) != SIZE_MAX);
	for (size_t i = 0, col = 0; i < s.n; i++) {
		col = s.p[i] == '\n' ? 0 : col + 1;
		assert_true(col <= 77 && s.p[i] < 0x80);
	}
	buf_reset(&in);
	for (int i = 0; i < 200; i++)
		buf_printf(&in, "Content-Type: multipart/mixed; boundary=b%03d\r\n\r\n--b%03d\r\n", i, i);
	buf_puts(&in, CTE("8bit") "\r\n\xff\r\n");
	run(buf_span(&in), 1 << 20, &out);
	assert_true(span_eq(buf_span(&out), buf_span(&in))); /* too deep: not looked into */
	buf_reset(&in);
	buf_puts(&in, CTE("8bit") "Content-Type: multipart/mixed;\r\n");
	for (int i = 0; i < 3000; i++)
		buf_puts(&in, " x=yyyyyyyyyyyyyyyy;\r\n");
	buf_puts(&in, " boundary=b\r\n\r\n--b\r\n\xff=\r\n");
	run(buf_span(&in), 50, &out);
	assert_true(buf_len(&out) >= buf_len(&in) && span_find(buf_span(&out), SPAN(" boundary=b\r\n")) != SIZE_MAX);
	assert_true(span_find(buf_span(&out), SPAN("quoted-printable")) == SIZE_MAX);
	buf_fini(&in);
	buf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases), cmocka_unit_test(test_limits) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
