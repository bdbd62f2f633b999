/* SPDX-License-Identifier: BSD-2-Clause */
/* The MIME walker: what it says of a message, whole and octet for octet; limits; time. Facts 10.1, attacks E02 to E04, M03. */
#include "msg/mime.h"

#include "unit.h"

#include <time.h>

#define MULTI(b) "Content-Type: multipart/mixed; boundary=" b "\r\n"
#define CT "Content-Type: "
#define CTE "Content-Transfer-Encoding: "

/* One letter per event, the class of headers, the text with / for line ends; faults. */
static void
tell(struct buf *b, const struct mime_item *it)
{
	static const char letters[] = "?HRE=b", classes[] = "mpn", types[] = "tmxo", encodings[] = "78b6q";
	static enum mime_event last;
	bool goes_on = it->event == last && (it->event == MIME_HEADER_REST || (it->event == MIME_BOUNDARY && !it->is_begin));
	last = it->event;
	if (goes_on)
		buf_cut(b, buf_len(b) - 2); /* in other pieces */
	else
		buf_putc(b, (unsigned char)letters[it->event]);
	if (it->event == MIME_HEADER || it->event == MIME_HEADER_END)
		buf_putc(b, (unsigned char)classes[it->class]);
	if (it->event == MIME_HEADER_END)
		buf_printf(b, "%c%c%c%u%s", types[it->type], encodings[it->encoding], encodings[it->domain], it->depth, it->is_eof ? "!" : "");
	if (it->event == MIME_BOUNDARY && it->is_begin)
		buf_printf(b, "%u%s", it->depth, it->is_close ? "x" : "");
	if (it->event == MIME_BODY)
		buf_printf(b, "%llu", (unsigned long long)it->offset);
	if (it->is_cut)
		buf_putc(b, '~');
	if (!goes_on)
		buf_putc(b, '(');
	for (size_t i = 0; i < it->text.n; i++)
		if (it->text.p[i] != '\r')
			buf_putc(b, it->text.p[i] == '\n' ? '/' : it->text.p[i]);
	buf_putc(b, ')');
	if (it->fault != 0)
		buf_printf(b, "!%u", it->fault);
	buf_putc(b, ' ');
}

static void
run(const struct mime_conf *conf, struct span in, size_t piece, struct buf *out, struct buf *octets)
{
	struct mime_reader r;
	struct mime_item it;
	mime_reader_init(&r, conf);
	buf_reset(out);
	buf_reset(octets);
	for (size_t at = 0; at < in.n || at == 0; at += piece) {
		unsigned char *copy = malloc(piece < in.n ? piece : in.n + 1); /* so that borrowing from an old piece shows */
		struct span s = span_head(span_from(in, at), piece);
		if (s.n > 0)
			memcpy(copy, s.p, s.n);
		mime_reader_put(&r, span_of(copy, s.n));
		while (mime_reader_next(&r, &it) != MIME_MORE) {
			tell(out, &it);
			buf_put(octets, it.text);
		}
		free(copy);
		mime_reader_put(&r, SPAN_EMPTY);
	}
	mime_reader_end(&r);
	while (mime_reader_next(&r, &it) != MIME_MORE) {
		tell(out, &it);
		buf_put(octets, it.text);
	}
	mime_reader_fini(&r);
}

static const struct {
	unsigned flags;
	const char *in, *says;
} cases[] = {
	{ 0, "", "Emt770!() " },
	{ 0, "\r\n", "Emt770(/) " },
	{ 0, "A: b\r\n", "Hm(A: b/) Emt770!() " },
	{ 0, "A: b\r\n c\r\n\td\r\n \r\nB : x\r\n\r\nbody\r\n\r\nend", "Hm(A: b/ c/\td/ /) Hm(B : x/) Emt770(/) b1(body/) b6(/) b7(end) " },
	{ 0, "A: b\nB: c\n\nx\n", "Hm(A: b/) Hm(B: c/) Emt770(/) b1(x/) " },
	/* E02: what is no header begins the body */
	{ 0, "A: b\r\nno colon\r\n\r\n", "Hm(A: b/) Emt770() b0(no colon/) b9(/) " },
	{ 0, "A: b\r\nbad name: x\r\n", "Hm(A: b/) Emt770() b0(bad name: x/) " },
	{ 0, "A: b\r\nX\xc3\xa9: x\r\n", "Hm(A: b/) Emt770() b0(X\xc3\xa9: x/) " },
	{ 0, "A: b\r\n: x\r\n", "Hm(A: b/) Emt770() b0(: x/) " },
	{ 0, "A: b\r\nX\x01: x\r\n", "Hm(A: b/) Emt770() b0(X\x01: x/) " },
	{ 0, " folded\r\nA: b\r\n", "Emt770() b0( folded/) b8(A: b/) " },
	/* what kind of body */
	{ 0, CT "TEXT/html\r\n" CTE "BASE64 (x)\r\n\r\n", "Hm(Content-Type: TEXT/html/) Hm(Content-Transfer-Encoding: BASE64 (x)/) Emt670(/) " },
	{ 0, CTE "8bit\r\n" CTE "foo\r\n\r\n", "Hm(Content-Transfer-Encoding: 8bit/) Hm(Content-Transfer-Encoding: foo/) Emt880(/) " },
	{ 0, CTE "\"base64\"\r\n\r\n", "Hm(Content-Transfer-Encoding: \"base64\"/) Emt770(/) " },
	{ 0, CTE "(c (d)) quoted-printable; x\r\n\r\n", "Hm(Content-Transfer-Encoding: (c (d)) quoted-printable; x/) Emtq70(/) " },
	/* parts */
	{ 0, MULTI("b") "\r\npre\r\n--b\r\nX: y\r\n\r\none\r\n--b extra\r\n\r\ntwo\r\n--b--\r\nepilogue\r\n--b\r\n",
	    "Hm(Content-Type: multipart/mixed; boundary=b/) Emx771(/) b1(pre/) =1(--b/) Hp(X: y/) Ept771(/) b1(one/) =1(--b extra/) Ept771(/) b1(two/) =1x(--b--/) b6(epilogue/) b15(--b/) " },
	{ 0, MULTI("\"a\\\"b\r\n c\"") "\r\n--a\"b c\r\n\r\n", "Hm(Content-Type: multipart/mixed; boundary=\"a\\\"b/ c\"/) Emx771(/) =1(--a\"b c/) Ept771(/) " },
	{ 0, MULTI("\"a\" ; boundary=b") "\r\n--a\r\n\r\nx\r\n--b--\r\n--a\r\n",
	    "Hm(Content-Type: multipart/mixed; boundary=\"a\" ; boundary=b/) Emx772(/) =1(--a/) Ept771(/) b1(x/) b3(--b--/) =1(--a/) Ept771!() " },
	{ 0, MULTI("a") MULTI("b") "\r\n--b\r\n\r\n--a\r\n\r\n",
	    "Hm(Content-Type: multipart/mixed; boundary=a/) Hm(Content-Type: multipart/mixed; boundary=b/) Emx772(/) =2(--b/) Ept772(/) =1(--a/) Ept771(/) " },
	{ 0, CT "multipart/mixed (x; boundary=no); x=\"; boundary=no\"; BOUNDARY = a\r\n\r\n--no\r\n--a\r\n\r\n",
	    "Hm(Content-Type: multipart/mixed (x; boundary=no); x=\"; boundary=no\"; BOUNDARY = a/) Emx771(/) b1(--no/) =1(--a/) Ept771(/) " },
	/* a part without a body, one that is broken */
	{ 0, MULTI("a") "\r\n--a\r\nX: y\r\n--a\r\nnot a header\r\nY: z\r\n--a--\r\n",
	    "Hm(Content-Type: multipart/mixed; boundary=a/) Emx771(/) =1(--a/) Hp(X: y/) Ept771() =1(--a/) Ept771() b0(not a header/) b13(Y: z/) =1x(--a--/) " },
	/* the outer boundary ends what is inside */
	{ 0, MULTI("a") "\r\n--a\r\n" MULTI("b") "\r\n--b\r\n\r\nx\r\n--a\r\n\r\n--b\r\n",
	    "Hm(Content-Type: multipart/mixed; boundary=a/) Emx771(/) =1(--a/) Hp(Content-Type: multipart/mixed; boundary=b/) Epx772(/) =2(--b/) Ept772(/) b1(x/) =1(--a/) Ept771(/) b1(--b/) " },
	/* messages inside */
	{ 0, CT "message/rfc822\r\n\r\nSubject: in\r\n" CT "message/rfc822\r\n\r\nSubject: deeper\r\n\r\ntext\r\n",
	    "Hm(Content-Type: message/rfc822/) Emm770(/) Hn(Subject: in/) Hn(Content-Type: message/rfc822/) Enm770(/) Hn(Subject: deeper/) Ent770(/) b1(text/) " },
	{ 0, CT "multipart/digest; boundary=a\r\n\r\n--a\r\n\r\nSubject: in\r\n\r\ntext\r\n--a\r\n" CT "text/plain\r\n\r\nx: y\r\n",
	    "Hm(Content-Type: multipart/digest; boundary=a/) Emx771(/) =1(--a/) Epm771(/) Hn(Subject: in/) Ent771(/) b1(text/) =1(--a/) Hp(Content-Type: text/plain/) Ept771(/) b1(x: y/) " },
	{ 0, CT "message/partial; id=x\r\n\r\nSubject: in\r\n", "Hm(Content-Type: message/partial; id=x/) Emm770(/) b1(Subject: in/) " },
	/* switched off */
	{ MIME_OFF, MULTI("a") "\r\n--a\r\nX: y\r\n", "Hm(Content-Type: multipart/mixed; boundary=a/) Emt770(/) b1(--a/) b5(X: y/) " },
	/* faults, each told once */
	{ MIME_WANT_7BIT_HEADERS, "A: \xff\r\nB: \xff\r\n\r\n\xff\r\n", "Hm(A: \xff/)!4 Hm(B: \xff/) Emt770(/) b1(\xff/) " },
	{ MIME_WANT_7BIT_BODY, "A: \xff\r\n\r\n\xff\r\n\xff\r\n", "Hm(A: \xff/) Emt770(/) b1(\xff/)!8 b3(\xff/) " },
	{ MIME_WANT_7BIT_BODY, CTE "8bit\r\n\r\n\xff\r\n", "Hm(Content-Transfer-Encoding: 8bit/) Emt880(/) b1(\xff/) " },
	{ MIME_WANT_DOMAIN, CT "message/rfc822\r\n" CTE "base64\r\n\r\n", "Hm(Content-Type: message/rfc822/) Hm(Content-Transfer-Encoding: base64/) Emm670(/)!16 Ent770!() " },
	{ MIME_WANT_DOMAIN, MULTI("a") CTE "binary\r\n\r\n", "Hm(Content-Type: multipart/mixed; boundary=a/) Hm(Content-Transfer-Encoding: binary/) Emxbb1(/) " },
	{ MIME_WANT_DOMAIN, CT "message/partial\r\n" CTE "8bit\r\n\r\n", "Hm(Content-Type: message/partial/) Hm(Content-Transfer-Encoding: 8bit/) Emm880(/)!16 " },
};

static void
test_cases(void **state)
{
	(void)state;
	struct buf out, octets;
	buf_init(&out, 1 << 20);
	buf_init(&octets, 1 << 20);
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct mime_conf conf = mime_conf_default;
		conf.lines_max = UINT64_MAX;
		conf.flags = cases[i].flags;
		static const size_t pieces[] = { 1, 2, 3, 17, 1 << 20 };
		for (size_t k = 0; k < NELEMS(pieces); k++) {
			run(&conf, span_str(cases[i].in), pieces[k], &out, &octets);
			if (!span_eq_str(buf_span(&out), cases[i].says)) {
				print_error("case %zu, pieces of %zu:\n%s\nnot\n%s\n", i, pieces[k], buf_cstr(&out), cases[i].says);
				fail();
			}
			assert_true(span_eq_str(buf_span(&octets), cases[i].in));
		}
	}
	buf_fini(&out);
	buf_fini(&octets);
}

static void
test_limits(void **state)
{
	(void)state;
	struct buf out, octets;
	buf_init(&out, 1 << 20);
	buf_init(&octets, 1 << 20);
	struct mime_conf conf = { .header_max = 20, .line_max = 8, .boundary_max = 4, .nesting_max = 1, .lines_max = UINT64_MAX };
	static const struct {
		const char *in, *says;
	} rows[] = {
		{ "A: 678901234567890\r\nB: c\r\n", "Hm(A: 678901234567890/) Hm(B: c/) Emt770!() " },
		{ "A: 6789012345678901\r\nB: c\r\n\r\n", "Hm~(A: 6789012345678901)!2 R(/) Hm(B: c/) Emt770(/) " },
		{ "A: 6789\r\n 234567890\r\n more\r\n\tyet\r\nB: c\r\n", "Hm~(A: 6789/ 234567890)!2 R(/ more/\tyet/) Hm(B: c/) Emt770!() " },
		{ "\r\n1234567\r\n12345678\r\n123456789\r\n", "Emt770(/) b1(1234567/) b9(12345678) b17(/) b18(12345678) b26(9/) " },
		{ "123456789: x\r\n", "Emt770() b0(12345678) b8(9: x/) " },
	};
	for (size_t i = 0; i < NELEMS(rows); i++)
		for (size_t piece = 1; piece < 50; piece++) {
			run(&conf, span_str(rows[i].in), piece, &out, &octets);
			if (!span_eq_str(buf_span(&out), rows[i].says))
				print_error("row %zu, pieces of %zu:\n%s\nnot\n%s\n", i, piece, buf_cstr(&out), rows[i].says);
			assert_true(span_eq_str(buf_span(&out), rows[i].says));
			assert_true(span_eq_str(buf_span(&octets), rows[i].in));
		}
	/* boundaries are compared as far as they are kept; deeper ones are not looked for */
	conf.header_max = 200;
	static const char deep[] = MULTI("abcdef") "\r\n--abcd--\r\n--abcdXY\r\n" MULTI("b") "\r\n--b\r\n" MULTI("c") "\r\n--c\r\n--b--\r\n";
	conf.line_max = 100;
	for (size_t piece = 1; piece < 200; piece++) {
		run(&conf, span_str(deep), piece, &out, &octets);
		assert_string_equal(buf_cstr(&out), "Hm(Content-Type: multipart/mixed; boundary=abcdef/) Emx771(/) =1x(--abcd--/) b9(--abcdXY/) b18(Content-Type: multipart/mixed; boundary=b/) b60(/) b61(--b/) b65(Content-Type: multipart/mixed; boundary=c/) b107(/) b108(--c/) b112(--b--/) ");
	}
	static const char deeper[] = MULTI("x") "\r\n--x\r\n" MULTI("a") "\r\n--a\r\n" MULTI("b") "\r\n--b\r\n" MULTI("c") "\r\n--c\r\n--b--\r\n";
	for (size_t piece = 1; piece < 200; piece++) {
		run(&conf, span_str(deeper), piece, &out, &octets);
		assert_string_equal(buf_cstr(&out), "Hm(Content-Type: multipart/mixed; boundary=x/) Emx771(/) =1(--x/) Hp(Content-Type: multipart/mixed; boundary=a/) Epx772(/) =2(--a/) Hp(Content-Type: multipart/mixed; boundary=b/) Epx773(/) =3(--b/) Hp(Content-Type: multipart/mixed; boundary=c/)!1 Epx773(/) b1(--c/) =3x(--b--/) ");
	}
	buf_fini(&out);
	buf_fini(&octets);
}

/* Events but for how stretches of bodies are cut. */
static void
outline(const struct mime_conf *conf, struct span in, size_t piece, struct buf *out)
{
	struct mime_reader r;
	struct mime_item it;
	mime_reader_init(&r, conf);
	buf_reset(out);
	for (size_t at = 0; at <= in.n; at += piece) {
		mime_reader_put(&r, span_head(span_from(in, at), piece));
		if (at + piece >= in.n)
			mime_reader_end(&r);
		while (mime_reader_next(&r, &it) != MIME_MORE)
			if (it.event == MIME_BODY)
				buf_put(out, it.text);
			else
				tell(out, &it);
	}
	mime_reader_fini(&r);
}

/* Stretches find the same boundaries as lines do. */
static void
test_stretches(void **state)
{
	(void)state;
	struct buf a, b;
	buf_init(&a, 1 << 20);
	buf_init(&b, 1 << 20);
	for (size_t i = 0; i < NELEMS(cases); i++) {
		if ((cases[i].flags & ~(unsigned)MIME_OFF) != 0)
			continue;
		struct mime_conf conf = mime_conf_default;
		conf.flags = cases[i].flags;
		conf.lines_max = UINT64_MAX;
		outline(&conf, span_str(cases[i].in), 1 << 20, &a);
		static const uint64_t lines[] = { 0, 1, 5, 13 };
		for (size_t k = 0; k < NELEMS(lines); k++)
			for (size_t piece = 1; piece < 40; piece++) {
				conf.lines_max = lines[k];
				outline(&conf, span_str(cases[i].in), piece, &b);
				assert_string_equal(buf_cstr(&a), buf_cstr(&b));
			}
	}
	buf_fini(&a);
	buf_fini(&b);
}

static double
seconds(struct span in, size_t piece, const struct mime_conf *conf, size_t *held_out)
{
	struct timespec a, b;
	struct mime_reader r;
	struct mime_item it;
	size_t held = 0;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	mime_reader_init(&r, conf);
	for (size_t at = 0; at < in.n; at += piece) {
		mime_reader_put(&r, span_head(span_from(in, at), piece));
		while (mime_reader_next(&r, &it) != MIME_MORE)
			;
		if (r.kept.cap + r.mime.bounds.cap + r.mime.token.cap > held)
			held = r.kept.cap + r.mime.bounds.cap + r.mime.token.cap;
	}
	mime_reader_fini(&r);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	*held_out = held;
	return (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

/* E03, E04, M03, I10: an endless header, many headers, deep nesting, near boundaries: memory bounded, time about linear. */
static void
test_attacks(void **state)
{
	(void)state;
	static const char *const units[] = { " fold\r\n", "To: a@b\r\n", CT "message/rfc822\r\n\r\n", MULTI("b") "\r\n--b\r\n", CT "multipart/digest; boundary=q\r\n\r\n--q\r\n\r\n",
		"\r\n--", "\n-", "--b\r\n", CT "multipart/x; boundary=((((((\r\n", CT "x; y=\"\\\"\r\n", "(", "\"" };
	for (size_t u = 0; u < NELEMS(units); u++) {
		struct buf in;
		double took[2];
		size_t held = 0;
		for (int big = 0; big < 2; big++) {
			size_t n = big ? 4000000 : 1000000;
			buf_init(&in, n + 1000);
			buf_puts(&in, CT "multipart/mixed; boundary=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
			while (buf_len(&in) < n)
				buf_puts(&in, units[u]);
			struct mime_conf conf = mime_conf_default;
			conf.lines_max = u % 2 ? UINT64_MAX : 0;
			took[big] = seconds(buf_span(&in), 1000, &conf, &held);
			assert_true(held < 1200000);
			buf_fini(&in);
		}
		if (took[1] > 0.05 && took[1] > 4 * 2.5 * (took[0] + 0.002))
			fail_msg("unit %zu: %f s, four times as much %f s", u, took[0], took[1]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases), cmocka_unit_test(test_limits), cmocka_unit_test(test_stretches), cmocka_unit_test(test_attacks) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
