/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include "filters/attachments/decode.h"
#include "filters/attachments/names.h"
#include "filters/attachments/search.h"

/* One row: a header block, what somebody reads from it. */
static const struct {
	const char *block;
	const char *name;            /* one of the names; NULL: there is none at all */
	const char *never;           /* a name nobody reads; NULL: not looked at */
	int deceptive;               /* -1: not looked at */
} names[] = {
	{ "Content-Type: text/plain\r\n", NULL, NULL, 0 },
	{ "Subject: filename=evil.exe\r\n", NULL, NULL, 0 },
	{ "Content-Disposition: attachment; filename=a.txt\r\n", "a.txt", "attachment", 0 },
	{ "Content-Disposition: attachment; filename=\"a b.txt\"; size=3\r\n", "a b.txt", "a", 0 },
	{ "CONTENT-TYPE: x/y; NAME=evil.exe\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename*0=\"ev\"; filename*1=\"il.e\"; filename*2=\"xe\"\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename*=utf-8''evil%2Eexe\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename*0*=utf-8''ev%69; filename*1=\"l.exe\"\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename*1=\"il.exe\"; filename*0=\"ev\"\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename*10=\"e\"; filename*9=\"ex\"; filename*8=\"evil.\"\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename=\"=?utf-8?B?ZXZpbC5leGU=?=\"\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename=\"=?utf-8?Q?ev?= =?x-unknown?B?aWwuZXhl?=\"\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename=\"=?koi8-r?Q?=D4?=.txt\"\r\n", "\xd1\x82.txt", NULL, 0 },
	{ "Content-Disposition: attachment; filename=\"evil.\r\n exe\"\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment;\r\n\tfilename=\r\n\t\"evil.exe\"\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename=\"evil.exe \"\r\n", "evil.exe", "evil.exe ", 0 },
	{ "Content-Disposition: attachment; filename=\"evil.exe.\"\r\n", "evil.exe", "evil.exe.", 1 },
	{ "Content-Disposition: attachment; filename=\"..\\x\\evil.exe\"\r\n", "evil.exe", "..\\x\\evil.exe", 0 },
	{ "Content-Disposition: attachment; filename=\"evil.exe::$DATA\"\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename=\"evil\xe2\x80\xaegpj.exe\"\r\n", "evilgpj.exe", NULL, 1 },
	{ "Content-Disposition: attachment; filename=\"evil\xef\xbc\x8e\xef\xbd\x85xe\"\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename=\"invoice.pdf.exe\"\r\n", "invoice.pdf.exe", NULL, 1 },
	{ "Content-Disposition: attachment; filename=\"invoice.pdf          .exe\"\r\n", "invoice.pdf          .exe", NULL, 1 },
	{ "Content-Disposition: attachment; filename=\"a.tar.gz\"\r\n", "a.tar.gz", NULL, 0 },
	{ "Content-Disposition: attachment; filename=\"Version 1.2.\"\r\n", "Version 1.2", NULL, 0 },
	{ "Content-Disposition: attachment; filename=\"\xcf\xd2\xc9.txt\"\r\n", "\xc3\x8f\xc3\x92\xc3\x89.txt", NULL, 0 },
	{ "Content-Disposition: attachment; filename=a.txt; filename=evil.exe\r\n", "evil.exe", NULL, 0 },
	{ "Content-Disposition: attachment; filename=evil.exe(a.txt)\r\n", "evil.exe", NULL, 0 },
	{ "Content-Type: x/y\rContent-Disposition: attachment; filename=evil.exe\r", "evil.exe", NULL, 0 },
	{ "Content-Type: x/y\nContent-Disposition: attachment; filename=evil.exe\n", "evil.exe", NULL, 0 },
	{ "Content-Description: evil.exe\r\n", "evil.exe", NULL, 0 },
	{ "Content-Location: http://example.com/a/evil.exe?x#y\r\n", "evil.exe", "example.com", 0 },
	{ "Content-Location: http://example.com\r\n", NULL, NULL, 0 },
};

static bool
has(const struct reading *r, const char *name)
{
	for (size_t i = 0; i < r->nnames; i++)
		if (span_eq_str(r->names[i], name))
			return true;
	return false;
}

static void
test_names(void **state)
{
	(void)state;
	search_prepare();
	for (size_t i = 0; i < NELEMS(names); i++) {
		struct arena a;
		struct reading r;
		arena_init(&a, 1 << 20);
		reading_init(&r, &a);
		reading_header(&r, span_str(names[i].block));
		if (names[i].name == NULL ? r.nnames > 0 : !has(&r, names[i].name))
			fail_msg("%s: not %s", names[i].block, names[i].name != NULL ? names[i].name : "nothing");
		if (names[i].never != NULL && has(&r, names[i].never))
			fail_msg("%s: %s", names[i].block, names[i].never);
		if (names[i].deceptive >= 0 && r.is_deceptive != (names[i].deceptive == 1))
			fail_msg("%s: deceptive %d", names[i].block, (int)r.is_deceptive);
		assert_false(r.is_over);
		arena_fini(&a);
	}
}

static void
test_nul(void **state)
{
	struct arena a;
	struct reading r;
	(void)state;
	arena_init(&a, 1 << 20);
	reading_init(&r, &a);
	reading_name(&r, SPAN("evil.exe\0.txt"));
	assert_true(has(&r, "evil.exe"));
	assert_true(has(&r, "evil.exe.txt"));
	assert_true(r.is_deceptive);
	reading_init(&r, &a);
	reading_name(&r, SPAN("e\0v\0i\0l\0.\0e\0x\0e\0"));
	assert_true(has(&r, "evil.exe"));
	arena_fini(&a);
}

static void
test_limits(void **state)
{
	struct arena a;
	struct reading r;
	struct buf b;
	(void)state;
	arena_init(&a, 8 << 20);
	buf_init(&b, 1 << 20);
	for (unsigned i = 0; i < READING_NAMES + 1; i++) {
		buf_printf(&b, "Content-Disposition: attachment; filename=a%u.txt\r\n", i);
	}
	reading_init(&r, &a);
	reading_header(&r, buf_span(&b));
	assert_true(r.is_over);
	buf_reset(&b);
	buf_puts(&b, "Content-Disposition: attachment; filename=\"");
	for (unsigned i = 0; i < 60000; i++)
		buf_putc(&b, 'a');
	buf_puts(&b, ".exe\"\r\n");
	reading_init(&r, &a);
	reading_header(&r, buf_span(&b));
	assert_true(r.is_over);
	buf_fini(&b);
	arena_fini(&a);
}

static void
test_types(void **state)
{
	static const struct {
		const char *value, *type;
	} cases[] = {
		{ "Text/Plain; charset=utf-8", "text/plain" }, { " text / plain", "text/plain" }, { "text/(x)plain", "text/plain" }, { "multipart", "multipart" },
		{ "\"text/plain\"", "text/plain" }, { "message/partial ;id=x", "message/partial" }, { "text/plain foo", "text/plain" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct arena a;
		struct reading r;
		arena_init(&a, 1 << 16);
		reading_init(&r, &a);
		reading_type(&r, span_str(cases[i].value));
		assert_int_equal(r.ntypes, 1);
		assert_span(r.types[0], cases[i].type);
		arena_fini(&a);
	}
}

static void
test_decode(void **state)
{
	static const struct {
		enum decode_cte cte;
		const char *in, *out;
	} cases[] = {
		{ DECODE_BASE64, "aGVsbG8=", "hello" }, { DECODE_BASE64, "aGV\r\nsbG8", "hello" }, { DECODE_BASE64, "a!G*V s b G 8 =", "hello" },
		{ DECODE_BASE64, "aA==ZWxsbw==", "hello" }, { DECODE_BASE64, "", "" }, { DECODE_BASE64, "a", "" }, { DECODE_BASE64, "aG", "h" },
		{ DECODE_QP, "a=3Db=\r\nc", "a=bc" }, { DECODE_QP, "a= \t\r\nb", "ab" }, { DECODE_QP, "=4", "=4" }, { DECODE_QP, "=zz=41", "=zzA" },
		{ DECODE_UU, "%:&5L;&\\\r\n`\r\n", "hello" }, { DECODE_NONE, "x", "x" }, { DECODE_YENC, "\x92\x8f\x96\x96\x99", "hello" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct buf b;
		buf_init(&b, 1000);
		decode_one(cases[i].cte, span_str(cases[i].in), &b, 900);
		assert_span(buf_span(&b), cases[i].out);
		buf_fini(&b);
	}
	struct buf b;
	buf_init(&b, 1000);
	decode_base64(SPAN("aGVsbG8gaGVsbG8gaGVsbG8="), &b, 3);
	assert_true(buf_len(&b) >= 3 && buf_len(&b) <= 6);
	buf_fini(&b);
	assert_int_equal(decode_cte_of(SPAN(" BASE64 (x)")), DECODE_BASE64);
	assert_int_equal(decode_cte_of(SPAN("quoted-printable, base64")), DECODE_BASE64 | DECODE_QP);
	assert_int_equal(decode_cte_of(SPAN("7bit")), DECODE_NONE);
	assert_int_equal(decode_cte_of(SPAN(" ")), DECODE_NONE);
	assert_int_equal(decode_cte_of(SPAN("x-foo")), DECODE_NONE | DECODE_BASE64 | DECODE_QP);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_decode),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
