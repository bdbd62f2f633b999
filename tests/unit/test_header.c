/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/header.h"

#include "base/buf.h"

#include "unit.h"

/* Plays the caller: feeds pieces, inserts what is told. */
static void
scan(struct span in, size_t piece, struct header_scan *h, struct buf *out)
{
	*h = (struct header_scan){ 0 };
	buf_init(out, 1 << 20);
	size_t done = 0;
	for (size_t at = 0; at <= in.n && !h->done;) {
		size_t n = in.n - at < piece ? in.n - at : piece;
		buf_put(out, span_head(span_from(in, at), n));
		at += n;
		bool last = at == in.n;
		for (bool again = true; again && !h->done;) {
			size_t used;
			enum header_event ev = header_feed(h, span_from(buf_span(out), done), last, &used);
			done += used;
			again = ev == HEADER_MBOX;
			const char *insert = ev == HEADER_MBOX ? HEADER_MBOX_NAME : ev == HEADER_NO_BLANK ? "\r\n" : "";
			size_t k = strlen(insert);
			struct buf tail;
			buf_init(&tail, 1 << 20);
			buf_put(&tail, span_from(buf_span(out), done));
			buf_cut(out, done);
			buf_puts(out, insert);
			buf_put(out, buf_span(&tail));
			buf_fini(&tail);
			if (ev == HEADER_NO_BLANK)
				done += k;
		}
		if (h->done)
			buf_put(out, span_from(in, at));
		if (last)
			break;
	}
}

static const struct {
	const char *in, *out; /* NULL: the same */
	unsigned received, count;
	const char *id;
	bool has_8bit;
} cases[] = {
	{ "A: b\r\n\r\nbody\r\n", NULL, 0, 1, "", false },
	{ "A: b\r\n c\r\n\td\r\nReceived: x\r\nreceived : y\r\n\r\nReceived: no\r\n", NULL, 2, 3, "", false },
	{ "Message-ID: <a@b>\r\n\r\n", NULL, 0, 1, "<a@b>", false },
	{ "message-id:\r\n <a@b>\r\nMessage-Id: <c@d>\r\n\r\n", NULL, 0, 2, "<a@b>", false },
	{ "Message-ID:<a@b>", NULL, 0, 1, "<a@b>", false },
	{ "\r\nbody\r\n", NULL, 0, 0, "", false },
	{ "", NULL, 0, 0, "", false },
	{ "A: b\r\n", NULL, 0, 1, "", false },
	{ "A: \xe9\r\n\r\n", NULL, 0, 1, "", true },
	{ "A: b\r\n\r\n\xe9\r\n", NULL, 0, 1, "", false },
	/* E02 */
	{ "A: b\r\nno colon\r\nx\r\n", "A: b\r\n\r\nno colon\r\nx\r\n", 0, 1, "", false },
	{ "A: b\r\nsp ace: x\r\n", "A: b\r\n\r\nsp ace: x\r\n", 0, 1, "", false },
	{ "A: b\r\nn\xe9: x\r\n", "A: b\r\n\r\nn\xe9: x\r\n", 0, 1, "", false },
	{ "A: b\r\n: x\r\n", "A: b\r\n\r\n: x\r\n", 0, 1, "", false },
	{ "A: b\r\nn\001: x\r\n", "A: b\r\n\r\nn\001: x\r\n", 0, 1, "", false },
	{ " folded\r\nA: b\r\n", "\r\n folded\r\nA: b\r\n", 0, 0, "", false },
	{ "body only\r\n", "\r\nbody only\r\n", 0, 0, "", false },
	{ "nocolon", "\r\nnocolon", 0, 0, "", false },
	/* 10.7 */
	{ "From a@b Mon\r\nA: b\r\n\r\n", "X-Mailbox-Line: From a@b Mon\r\nA: b\r\n\r\n", 0, 2, "", false },
	{ ">From a\r\n>>From b\r\nA: b\r\n\r\n", "X-Mailbox-Line: >From a\r\nX-Mailbox-Line: >>From b\r\nA: b\r\n\r\n", 0, 3, "", false },
	{ "From: a@b\r\n\r\n", NULL, 0, 1, "", false },
	{ "A: b\r\nFrom a@b\r\n", "A: b\r\n\r\nFrom a@b\r\n", 0, 1, "", false },
	{ ">: x\r\n\r\n", NULL, 0, 1, "", false },
};

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct span in = span_str(cases[i].in);
		for (size_t piece = 1; piece <= in.n + 1; piece++) {
			struct header_scan h;
			struct buf out;
			scan(in, piece, &h, &out);
			if (strcmp(buf_cstr(&out), cases[i].out != NULL ? cases[i].out : cases[i].in) != 0)
				fail_msg("case %zu, pieces of %zu: \"%s\"", i, piece, buf_cstr(&out));
			assert_int_equal(h.received, cases[i].received);
			assert_int_equal(h.count, cases[i].count);
			assert_int_equal(h.has_8bit, cases[i].has_8bit);
			assert_true(span_eq_str(header_message_id(&h), cases[i].id));
			buf_fini(&out);
		}
	}
}

/* E03: the size of one header counts its folds. */
static void
test_longest(void **state)
{
	(void)state;
	struct header_scan h;
	struct buf out;
	scan(SPAN("A: 1\r\nSubject: xx\r\n yyyy\r\nB: 2\r\n\r\n"), 3, &h, &out);
	assert_int_equal(h.longest, 20);
	assert_int_equal(h.count, 3);
	buf_fini(&out);
	struct buf in;
	buf_init(&in, 1 << 20);
	for (int i = 0; i < 5000; i++)
		buf_putc(&in, 'n'); /* a name without end is not a name */
	buf_puts(&in, ": x\r\n\r\n");
	scan(buf_span(&in), 100, &h, &out);
	assert_true(h.done && h.count == 0 && span_starts(buf_span(&out), SPAN("\r\nnnn")));
	buf_fini(&out), buf_fini(&in);
}

/* What a header says of its body's encoding, wherever the pieces end. */
static void
test_encoding(void **state)
{
	static const struct {
		const char *in;
		bool says_8bit;
	} rows[] = {
		{ "Content-Transfer-Encoding: 8bit\r\n\r\n", true }, { "content-transfer-encoding:8BIT \r\nA: b\r\n\r\n", true },
		{ "Content-Transfer-Encoding : \r\n\tbinary\r\n\r\n", true }, { "Content-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", true },
		{ "Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: 7bit\r\n\r\n", true }, { "Content-Transfer-Encoding: 8bit\r\n", false },
		{ "Content-Transfer-Encoding: 8bit\r\nbody\r\n", true }, { "Content-Transfer-Encoding: 8bits\r\n\r\n", false },
		{ "Content-Transfer-Encoding: quoted-printable\r\n\r\n8bit\r\n", false }, { "X-Content-Transfer-Encoding: 8bit\r\n\r\n", false },
		{ "Content-Transfer-Encoding:\r\n\r\n8bit\r\n", false }, { "Content-Transfer-Encoding: 8bit                                          x\r\n\r\n", false },
		{ "Content-Transfer-Encoding:                                                              8bit\r\n\r\n", true },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++)
		for (size_t piece = 1; piece <= strlen(rows[i].in); piece++) {
			struct header_scan h;
			struct buf out;
			scan(span_str(rows[i].in), piece, &h, &out);
			if (h.says_8bit != rows[i].says_8bit)
				fail_msg("row %zu, pieces of %zu", i, piece);
			buf_fini(&out);
		}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases), cmocka_unit_test(test_longest), cmocka_unit_test(test_encoding) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
