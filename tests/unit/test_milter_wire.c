/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets of the milter protocol: lengths, strings, options, reply texts, pieces of a body; whole and byte by byte. */
#include "filters/milter_wire.h"

#include "unit.h"

#define IN(lit) span_of(lit, sizeof(lit) - 1)

static void
test_frames(void **state)
{
	(void)state;
	static const struct {
		struct span in;
		enum mw_state want;
		size_t used;
	} rows[] = {
		{ { NULL, 0 }, MW_MORE, 0 }, { { (const unsigned char *)"\0\0\0\1c", 5 }, MW_FRAME, 5 },
		{ { (const unsigned char *)"\0\0\0\3qxy\0\0", 9 }, MW_FRAME, 7 }, { { (const unsigned char *)"\0\0\0\0c", 5 }, MW_BAD, 0 },
		{ { (const unsigned char *)"\xff\xff\xff\xff", 4 }, MW_BAD, 0 }, { { (const unsigned char *)"\x40\0\0\0c", 5 }, MW_BAD, 0 },
		{ { (const unsigned char *)"\0\x10\0\1c", 5 }, MW_BAD, 0 }, { { (const unsigned char *)"\0\x10\0\0c", 5 }, MW_MORE, 0 },
		{ { (const unsigned char *)"\0\0\0\2c", 5 }, MW_MORE, 0 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct mw_frame f;
		uint32_t length;
		assert_int_equal(mw_next(rows[i].in, &f, &length), rows[i].want);
		if (rows[i].want == MW_FRAME)
			assert_int_equal(f.used, rows[i].used);
		enum mw_state grown = MW_MORE;
		for (size_t n = 0; n <= rows[i].in.n && grown == MW_MORE; n++) /* byte by byte it comes to the same */
			grown = mw_next(span_head(rows[i].in, n), &f, &length);
		assert_int_equal(grown, rows[i].want);
	}
}

static void
test_write(void **state)
{
	(void)state;
	struct buf b;
	struct mw_frame f;
	uint32_t length;
	struct span a, c, rest;
	buf_init(&b, 1000);
	mw_simple(&b, 'A');
	size_t mark = mw_begin(&b, 'L');
	mw_string(&b, IN("na\r\nme\0x"));
	mw_value(&b, IN("one\r\n two\rthree\0\n"));
	mw_end(&b, mark);
	mark = mw_begin(&b, 'm');
	mw_be32(&b, 0x01020304);
	mw_string(&b, SPAN_EMPTY);
	mw_string(&b, IN("v"));
	mw_end(&b, mark);
	assert_int_equal(mw_next(buf_span(&b), &f, &length), MW_FRAME);
	assert_int_equal(f.cmd, 'A');
	buf_consume(&b, f.used);
	assert_int_equal(mw_next(buf_span(&b), &f, &length), MW_FRAME);
	assert_int_equal(mw_two(f.data, &a, &c), RC_OK);
	assert_span(a, "na  me x");
	assert_span(c, "one\n two\rthree \n");
	buf_consume(&b, f.used);
	assert_int_equal(mw_next(buf_span(&b), &f, &length), MW_FRAME);
	assert_int_equal(mw_indexed(f.data, &length, &a, &c), RC_OK);
	assert_int_equal(length, 0x01020304);
	assert_int_equal(a.n, 0);
	assert_span(c, "v");
	assert_int_equal(f.used, buf_len(&b));
	assert_int_equal(mw_one(IN("x"), &a, NULL), RC_PERM);
	assert_int_equal(mw_one(IN("x\0"), &a, NULL), RC_OK);
	assert_int_equal(mw_one(IN("x\0y"), &a, NULL), RC_PERM);
	assert_int_equal(mw_one(IN("x\0y"), &a, &rest), RC_OK);
	assert_int_equal(mw_two(IN("x\0y"), &a, &c), RC_PERM);
	assert_int_equal(mw_two(IN("x\0y\0z"), &a, &c), RC_PERM);
	assert_int_equal(mw_indexed(IN("\0\0\0"), &length, &a, &c), RC_PERM);
	buf_fini(&b);
}

static void
test_reply(void **state)
{
	(void)state;
	static const struct {
		const char *in, *want; /* NULL: refused */
		unsigned code;
	} rows[] = {
		{ "550 5.7.1 no", "550 5.7.1 no", 550 }, { "450 4.7.1 no", "450 4.7.1 no", 450 }, { "550 5.7.1", "550 5.7.1", 550 },
		{ "550 5.7.1 a\r\nb\nc", "550-5.7.1 a\n550-b\n550 c", 550 }, { "550-5.7.1 a\r\n550 5.7.1 b\r\n", "550-5.7.1 a\n550 5.7.1 b", 550 },
		{ "550 5.7.1 a\r\n451 4.0.0 b", "550-5.7.1 a\n550 451 4.0.0 b", 550 }, { "550 5.7.1 a\r\n\r\n\r\n", "550 5.7.1 a", 550 },
		{ "554 5.7.1 \x1b[31m\r red\x01", "554 5.7.1 ?[31m? red?", 554 }, { "554 5.7.1 100%% %s %", "554 5.7.1 100% s ", 554 },
		{ "554 5.7.1 Gr\xc3\xbc\xc3\x9f" "e \xff \xe2\x80\xae", "554 5.7.1 Gr\xc3\xbc\xc3\x9f" "e ? ???", 554 },
		{ "250 2.0.0 yes", NULL, 0 }, { "550 4.7.1 x", NULL, 0 }, { "550 x", "550 x", 550 }, { "55", NULL, 0 }, { "", NULL, 0 }, { "5500 5.7.1", NULL, 0 },
		{ "350 3.0.0 go", NULL, 0 }, { "550-", NULL, 0 }, { "5x0 5.0.0", NULL, 0 }, { "550\t5.7.1 x", NULL, 0 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		unsigned code = 0;
		buf_init(&b, MW_REPLY_MAX);
		enum rc rc = mw_reply(span_str(rows[i].in), &b, &code);
		assert_int_equal(rc, rows[i].want != NULL ? RC_OK : RC_PERM);
		if (rc == RC_OK) {
			assert_span(buf_span(&b), rows[i].want);
			assert_int_equal(code, rows[i].code);
		}
		buf_fini(&b);
	}
	/* a NUL inside is no reply, one at its end is the end; 100 kB are cut */
	struct buf b, big;
	unsigned code;
	buf_init(&b, MW_REPLY_MAX);
	assert_int_equal(mw_reply(IN("550 5.7.1 a\0b"), &b, &code), RC_PERM);
	assert_int_equal(mw_reply(IN("550 5.7.1 a\0"), &b, &code), RC_OK);
	assert_span(buf_span(&b), "550 5.7.1 a");
	for (int lines = 0; lines < 2; lines++) {
		buf_init(&big, 1 << 20);
		buf_puts(&big, "550 5.7.1 ");
		for (int i = 0; i < 100000; i++)
			buf_putc(&big, lines && i % 3 == 2 ? '\n' : 'x');
		buf_reset(&b);
		assert_int_equal(mw_reply(buf_span(&big), &b, &code), RC_OK);
		assert_true(buf_len(&b) <= MW_REPLY_MAX && buf_len(&b) > MW_REPLY_MAX - 16);
		struct span last = span_from(buf_span(&b), span_rchr(buf_span(&b), '\n') == SIZE_MAX ? 0 : span_rchr(buf_span(&b), '\n') + 1);
		assert_true(span_starts(last, SPAN("550 ")));
		buf_fini(&big);
	}
	buf_fini(&b);
}

static void
test_lines(void **state)
{
	(void)state;
	static const struct {
		const char *in, *want;
	} rows[] = {
		{ "", "" }, { "a", "a\r\n" }, { "a\n", "a\r\n" }, { "a\r\n", "a\r\n" }, { "a\r", "a\r\n" }, { "a\rb", "a b\r\n" }, { "\r\r\n\n", " \r\n\r\n" },
		{ "\n.\n", "\r\n.\r\n" }, { "a\n\r", "a\r\n\r\n" }, { "\r\n.\r\nMAIL FROM:<>\r\n", "\r\n.\r\nMAIL FROM:<>\r\n" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		for (size_t step = 1; step <= strlen(rows[i].in) + 1; step++) {
			struct mw_lines l = { 0 };
			struct buf b;
			buf_init(&b, 1000);
			for (struct span s = span_str(rows[i].in); s.n > 0; s = span_from(s, step))
				mw_lines_put(&l, span_head(s, step), &b);
			mw_lines_end(&l, &b);
			assert_span(buf_span(&b), rows[i].want);
			buf_fini(&b);
		}
	}
}

static void
test_options(void **state)
{
	(void)state;
	struct mw_options o;
	assert_int_equal(mw_options(IN("\0\0\0\6\0\0\1\xff\0\x1f\xff\xff"), &o), RC_OK);
	assert_int_equal(o.version, 6);
	assert_int_equal(o.actions, 0x1ff);
	assert_int_equal(o.steps, 0x1fffff);
	assert_int_equal(mw_options(IN("\0\0\0\6\0\0\1\xff\0\x1f\xff"), &o), RC_PERM);
	assert_int_equal(mw_options(IN("\0\0\0\6\0\0\1\xff\0\x1f\xff\xff\0\0\0\2i j\0\0\0\0\1\0\0\0\1\0x\0"), &o), RC_OK);
	assert_true(o.has_symlist[2] && o.has_symlist[1] && !o.has_symlist[0] && o.has_strange_stage);
	assert_span(o.symlist[2], "i j");
	assert_int_equal(o.symlist[1].n, 0);
	assert_int_equal(mw_options(IN("\0\0\0\6\0\0\1\xff\0\x1f\xff\xff\0\0\0\2i j"), &o), RC_PERM);
	assert_string_equal(mw_command_name('E'), "SMFIC_BODYEOB");
	assert_string_equal(mw_reply_name('p'), "SMFIR_PROGRESS");
	assert_string_equal(mw_reply_name('?'), "(unknown filter reply)");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames), cmocka_unit_test(test_write), cmocka_unit_test(test_reply), cmocka_unit_test(test_lines),
		cmocka_unit_test(test_options),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
