/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/partsum.h"
#include "msg/survey.h"

#include "unit.h"

/* ---- words ---- */

static const struct {
	const char *in, *want;
} words[] = {
	{ " hello", "hello" },
	{ " one\r\n two\r\n", "one two" },
	{ " =?utf-8?B?QQ0KQmNjOiB4QHk=?=", "A  Bcc: x@y" },                    /* E07: no line end comes out */
	{ " =?utf-8?Q?a=0D=0ABcc:_x=00=1B[2J?=", "a  Bcc: x??[2J" },
	{ " =?ISO-8859-1?Q?caf=E9?= =?iso-8859-1?q?_au_lait?=", "caf\xc3\xa9 au lait" },
	{ " =?utf-8?B?w6Q=?=\r\n =?utf-8*de?B?w7Y=?= x", "\xc3\xa4\xc3\xb6 x" },
	{ " =?utf-8?B?w?= =?utf-8?B?pA==?=", "?" },
	{ " =?utf-8?Q?=C3?= =?utf-8?Q?=A4?=", "\xc3\xa4" },                    /* a character cut in two */
	{ " =?koi8-r?B?8NLJ18XU?=", "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82" },
	{ " =?windows-1252?Q?=80?= =?x-unknown?Q?=80?=", "\xe2\x82\xac =?x-unknown?Q?=80?=" },
	{ " =?utf-8?X?abc?= =?utf-8?Q?abc", "=?utf-8?X?abc?= =?utf-8?Q?abc" },
	{ " =?utf-8?Q?=E2=80=AEgpj.exe?=", "???gpj.exe" },                        /* turns direction */
	{ " =?utf-8?Q?=C2=9B31m?= raw \x9b", "?31m raw ?" },                    /* C1 controls */
	{ "", "" },
};

static void
test_words(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(words); i++) {
		struct buf b;
		buf_init(&b, 1024);
		words_decode(&b, span_str(words[i].in), 1024);
		assert_span(buf_span(&b), words[i].want);
		buf_fini(&b);
	}
}

static const struct {
	const char *in, *want; /* want NULL: none */
} params[] = {
	{ " attachment; filename=a.txt", "a.txt" },
	{ " attachment; filename=\"a b.txt\"; x=y", "a b.txt" },
	{ " attachment; FILENAME*=utf-8'de'%c3%a4.txt; filename=other", "\xc3\xa4.txt" },
	{ " attachment; filename*1=\"d.exe\"; filename*0=\"ba\"", "bad.exe" },
	{ " attachment; filename*0*=iso-8859-1''%e4; filename*1=b; filename*2*=%20c; filename*4=lost", "\xc3\xa4" "b c" },
	{ " attachment; filename=\"=?utf-8?B?w6QuZXhl?=\"", "\xc3\xa4.exe" },
	{ " attachment; filename*=\"utf-8''a%0d%0aBcc:%20x%00\"", "a  Bcc: x?" },
	{ " attachment; filename*=a%2e%2e%2fx", "a../x" },
	{ " attachment; filename=..\\..\\x", "..\\..\\x" },
	{ " attachment; filename*99=x; filename*x=y; filenames=z", NULL },
	{ " attachment; filename=", "" },
	{ " attachment", NULL },
	{ " attachment; filename*=utf-8''%", "%" },
};

static void
test_params(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(params); i++) {
		struct buf b;
		buf_init(&b, 1024);
		bool found = words_param(&b, span_str(params[i].in), "filename", 1024);
		assert_int_equal(found, params[i].want != NULL);
		if (found && strcmp(params[i].want, "..\\..\\x") != 0)
			assert_span(buf_span(&b), params[i].want);
		buf_fini(&b);
	}
}

/* ---- messages ---- */

/* "subject|from|id" and "depth type name size sha" a line; sha: its first four octets. */
static void
told(const char *text, size_t piece, struct buf *out)
{
	struct survey s;
	struct span in = span_str(text);
	survey_init(&s);
	for (size_t at = 0; at < in.n; at += piece)
		survey_put(&s, span_head(span_from(in, at), piece));
	survey_end(&s);
	buf_put(out, buf_span(&s.subject));
	buf_putc(out, '|');
	buf_put(out, buf_span(&s.from));
	buf_putc(out, '|');
	buf_put(out, buf_span(&s.message_id));
	buf_putc(out, '\n');
	struct part_sum sum;
	part_sum_init(&sum);
	for (uint32_t i = 0; i < s.nparts; i++) {
		struct held_part *p = &s.parts[i];
		struct span octets = span_head(span_from(in, (size_t)p->at), (size_t)p->length);
		assert_int_equal(octets.n, p->length);
		part_sum_begin(&sum, p->how);
		for (size_t at = 0; at < octets.n; at += piece)
			part_sum_put(&sum, span_head(span_from(octets, at), piece));
		part_sum_end(&sum, p);
		buf_printf(out, "%u ", p->depth);
		buf_put(out, p->type);
		buf_putc(out, ' ');
		buf_put(out, p->name);
		buf_printf(out, " %llu %02x%02x%02x%02x\n", (unsigned long long)p->size, p->sha256[0], p->sha256[1], p->sha256[2], p->sha256[3]);
	}
	part_sum_fini(&sum);
	survey_fini(&s);
	survey_fini(&s);
}

#define EMPTY_SHA "e3b0c442"
#define ABC_SHA "ba7816bf"       /* SHA-256("abc") */

static const struct {
	const char *in, *want;
} messages[] = {
	{ "Subject: x\r\n\r\nabc", "x||\n0 text/plain  3 " ABC_SHA "\n" },
	{ "", "||\n0 text/plain  0 " EMPTY_SHA "\n" },
	{ "From: =?utf-8?Q?=C3=A4?= <a@b>\r\nMessage-Id: <1@x>\r\nsubject: first\r\nSubject: second\r\nContent-Transfer-Encoding: base64\r\n\r\nYW\r\nJj\r\n",
	    "first|\xc3\xa4 <a@b>|<1@x>\n0 text/plain  3 " ABC_SHA "\n" },
	{ "Content-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\nabc\r\n--b\r\nContent-Type: Application/X-MSDOWNLOAD; name=\"n.exe\"\r\n"
	  "Content-Disposition: attachment; filename=\"f.exe\"\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj\r\n--b--\r\nepilogue\r\n",
	    "||\n0 multipart/mixed  8 9a9b9a1c\n1 text/plain  3 " ABC_SHA "\n1 application/x-msdownload f.exe 3 " ABC_SHA "\n" },
	{ "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n"
	  "Content-Transfer-Encoding: quoted-printable\r\n\r\na=62=\r\nc\r\n--b--\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n"
	  "Content-Type: text/html; name=i.html\r\n\r\nabc\r\n--a--\r\n",
	    "||\n0 multipart/mixed  0 " EMPTY_SHA "\n1 multipart/alternative  0 " EMPTY_SHA "\n2 text/plain  3 " ABC_SHA "\n"
	    "1 message/rfc822  0 " EMPTY_SHA "\n2 text/html i.html 3 " ABC_SHA "\n" },
};

static void
test_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(messages); i++)
		for (size_t piece = 1; piece < 300; piece = piece < 5 ? piece + 1 : piece * 3) {
			struct buf b;
			buf_init(&b, 65536);
			told(messages[i].in, piece, &b);
			if (strcmp(buf_cstr(&b), messages[i].want) != 0)
				fail_msg("message %zu in pieces of %zu:\n%swant\n%s", i, piece, buf_cstr(&b), messages[i].want);
			buf_fini(&b);
		}
}

/* More parts than are listed, and deeper than is read: bounded, and what is told stays right. */
static void
test_many(void **state)
{
	(void)state;
	struct survey s;
	survey_init(&s);
	survey_put(&s, SPAN("Content-Type: multipart/mixed; boundary=b\r\n\r\n"));
	for (unsigned i = 0; i < 10000; i++)
		survey_put(&s, SPAN("--b\r\nContent-Type: image/png; name=x.png\r\n\r\nabc\r\n"));
	survey_end(&s);
	assert_int_equal(s.nparts, HELD_PARTS_MAX);
	assert_int_equal(s.left_out, 10001 - HELD_PARTS_MAX);
	assert_int_equal(s.parts[HELD_PARTS_MAX - 1].length, 3);
	survey_fini(&s);
	survey_init(&s);
	for (unsigned i = 0; i < 300; i++) {
		struct buf b;
		buf_init(&b, 500);
		if (i > 0)
			buf_printf(&b, "--b%u\r\n", i - 1);
		buf_printf(&b, "Content-Type: multipart/mixed; boundary=b%u\r\n\r\n", i);
		survey_put(&s, buf_span(&b));
		buf_fini(&b);
	}
	survey_end(&s);
	assert_true(s.nparts >= 100 && s.nparts <= HELD_PARTS_MAX);
	survey_fini(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_params),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
