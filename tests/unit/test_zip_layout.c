/* SPDX-License-Identifier: BSD-2-Clause */
/* ZIP files whose headers and directory say the same, and others; content of signatures. */
#include "unit.h"

#include "base/buf.h"
#include "filters/signed_content.h"
#include "filters/zip_layout.h"

#define KNOWN (UINT64_C(1) << ZIP_STORED | UINT64_C(1) << ZIP_DEFLATE)

static void
put16(struct buf *b, unsigned v)
{
	buf_putc(b, (unsigned char)v);
	buf_putc(b, (unsigned char)(v >> 8));
}

static void
put32(struct buf *b, uint32_t v)
{
	put16(b, v & 0xffff);
	put16(b, v >> 16);
}

struct says {
	unsigned flags, method;
	uint32_t packed, size;
	const char *name;
};

static void
put_local(struct buf *b, struct says s, const char *data)
{
	buf_put(b, ZIP_LOCAL);
	put16(b, 20), put16(b, s.flags), put16(b, s.method);
	put32(b, 0), put32(b, 0);
	put32(b, s.packed), put32(b, s.size);
	put16(b, (unsigned)strlen(s.name)), put16(b, 0);
	buf_puts(b, s.name);
	buf_puts(b, data);
}

static void
put_entry(struct buf *b, struct says s, size_t offset)
{
	buf_put(b, ZIP_ENTRY);
	put16(b, 20), put16(b, 20), put16(b, s.flags), put16(b, s.method);
	put32(b, 0), put32(b, 0);
	put32(b, s.packed), put32(b, s.size);
	put16(b, (unsigned)strlen(s.name)), put16(b, 0), put16(b, 0);
	put16(b, 0), put16(b, 0), put32(b, 0);
	put32(b, (uint32_t)offset);
	buf_puts(b, s.name);
}

static void
put_end(struct buf *b, size_t directory, size_t base)
{
	uint32_t size = (uint32_t)(buf_len(b) - directory);
	buf_put(b, ZIP_END);
	put16(b, 0), put16(b, 0), put16(b, 1), put16(b, 1);
	put32(b, size), put32(b, (uint32_t)(directory - base));
	put16(b, 0);
}

/* Two members; the second's header as local says, its entry as entry says. */
static void
build(struct buf *b, const char *before, struct says local, struct says entry, const char *between)
{
	static const struct says first = { 0, ZIP_STORED, 5, 5, "a" };
	buf_init(b, 4096);
	buf_puts(b, before);
	size_t base = buf_len(b);
	put_local(b, first, "hello");
	buf_puts(b, between);
	size_t second = buf_len(b);
	put_local(b, local, "world");
	size_t directory = buf_len(b);
	put_entry(b, first, 0);
	put_entry(b, entry, second - base);
	put_end(b, directory, base);
}

static void
test_doubt(void **state)
{
	(void)state;
	static const struct says straight = { 0, ZIP_STORED, 5, 5, "b" }, behind = { ZIP_FLAG_SIZES_BEHIND, ZIP_STORED, 0, 0, "b" };
	static const char *const crooked = "an archive contradicts its directory";
	const struct {
		const char *before;
		struct says local, entry;
		const char *between, *why;
	} rows[] = {
		{ "", straight, straight, "", NULL },
		{ "junk", straight, straight, "", NULL },
		{ "", behind, straight, "", NULL },
		{ "", straight, straight, "PK\7\10", NULL },
		{ "", { 0, ZIP_STORED, 4, 5, "b" }, straight, "", crooked },
		{ "", { 0, ZIP_STORED, 5, 6, "b" }, straight, "", crooked },
		{ "junk", { 0, ZIP_STORED, 4, 5, "b" }, straight, "", crooked },
		{ "", { 0, ZIP_DEFLATE, 5, 5, "b" }, straight, "", crooked },
		{ "", { ZIP_FLAG_SIZES_BEHIND, ZIP_DEFLATE, 0, 0, "b" }, straight, "", crooked },
		{ "", { ZIP_FLAG_ENCRYPTED, ZIP_STORED, 5, 5, "b" }, straight, "", crooked },
		{ "", { 0, ZIP_STORED, 5, 5, "c" }, straight, "", crooked },
		{ "", { 0, ZIP_STORED, 500, 500, "b" }, { 0, ZIP_STORED, 500, 500, "b" }, "", crooked },
		{ "", { 0, 14, 5, 5, "b" }, { 0, 14, 5, 5, "b" }, "", "a member of an archive is packed in a way that cannot be read" },
		{ "", { 0, 64, 5, 5, "b" }, { 0, 64, 5, 5, "b" }, "", "a member of an archive is packed in a way that cannot be read" },
		{ "", { ZIP_FLAG_ENCRYPTED, ZIP_AES, 5, 5, "b" }, { ZIP_FLAG_ENCRYPTED, ZIP_AES, 5, 5, "b" }, "", NULL },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		build(&b, rows[i].before, rows[i].local, rows[i].entry, rows[i].between);
		const char *why = zip_doubt(buf_span(&b), KNOWN);
		if ((why == NULL) != (rows[i].why == NULL) || (why != NULL && strcmp(why, rows[i].why) != 0))
			fail_msg("row %zu: %s", i, why != NULL ? why : "no doubt");
		assert_true(zip_is_one(buf_span(&b)));
		/* cut anywhere: bounded, and never one without a doubt while it is an archive from its front */
		for (size_t n = 0; n < buf_len(&b); n++) {
			struct span cut = span_head(buf_span(&b), n);
			why = zip_doubt(cut, KNOWN);
			if (rows[i].before[0] == '\0' && n >= 32 && n + 2 < buf_len(&b)) /* without the length of a comment it is one still */
				assert_non_null(why);
		}
		buf_fini(&b);
	}
}

static void
test_hidden(void **state)
{
	(void)state;
	static const struct says m = { 0, ZIP_STORED, 5, 5, "b" };
	struct buf hidden, b;
	buf_init(&hidden, 1000);
	put_local(&hidden, m, "world");
	/* between two members, and in front of the archive; the octets hold NULs */
	for (unsigned where = 0; where < 2; where++) {
		buf_init(&b, 4096);
		if (where == 0)
			buf_put(&b, buf_span(&hidden));
		size_t base = buf_len(&b);
		put_local(&b, m, "world");
		if (where == 1)
			buf_put(&b, buf_span(&hidden));
		size_t directory = buf_len(&b);
		put_entry(&b, m, 0);
		put_end(&b, directory, base);
		assert_string_equal(zip_doubt(buf_span(&b), KNOWN), "an archive has members that its directory does not have");
		buf_fini(&b);
	}
	/* one member twice */
	buf_init(&b, 4096);
	put_local(&b, m, "world");
	size_t directory = buf_len(&b);
	put_entry(&b, m, 0);
	put_entry(&b, m, 0);
	put_end(&b, directory, 0);
	assert_string_equal(zip_doubt(buf_span(&b), KNOWN), "members of an archive lie on another");
	buf_fini(&b);
	buf_fini(&hidden);
	assert_null(zip_doubt(SPAN("no archive"), KNOWN));
	assert_false(zip_is_one(SPAN("no archive PK\5\6")));
}

#define SIGNED_OID "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"
#define DATA_OID "\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
#define FRONT "\x30\x80" SIGNED_OID "\xa0\x80\x30\x80\x02\x01\x01\x31\x00"

static void
test_signed(void **state)
{
	(void)state;
	static const struct {
		struct span in;
		enum rc rc;
		const char *content;
	} rows[] = {
		{ SPAN(FRONT "\x30\x80" DATA_OID "\xa0\x80\x04\x03" "abc\0\0"), RC_OK, "abc" },
		{ SPAN(FRONT "\x30\x80" DATA_OID "\xa0\x80\x24\x80\x04\x02" "ab\x04\x01" "c\0\0\0\0"), RC_OK, "abc" },
		{ SPAN(FRONT "\x30\x80" DATA_OID "\xa0\x80\x24\x80\x24\x80\x04\x01" "a\0\0\x24\x80\x04\x02" "bc\0\0\0\0\0\0\xa0\x03\x04\x01X"), RC_OK, "abc" },
		{ SPAN(FRONT "\x30\x80" DATA_OID "\xa0\x80\x04\x7f" "cut"), RC_OK, "cut" },
		{ SPAN(FRONT "\x30\x80" DATA_OID "\0\0"), RC_NONE, "" },
		{ SPAN(FRONT "\x30\x0b" DATA_OID "\xa0\x03\x04\x01X"), RC_NONE, "" }, /* certificates */
		{ SPAN(FRONT "\x30\x80" DATA_OID), RC_NONE, "" },
		{ SPAN(FRONT "\x30\x80"), RC_PERM, "" },
		{ SPAN("\x30\x80" SIGNED_OID "\x04"), RC_PERM, "" },
		{ SPAN("\x30\x80" SIGNED_OID "\xa0\x80\x30\x80\x02\x89\x01\x01\x01\x01\x01\x01\x01\x01\x01"), RC_PERM, "" },
		{ SPAN("\x30\x80\x06\x01\x01"), RC_NONE, "" },
		{ SPAN("\x30"), RC_NONE, "" },
		{ SPAN(""), RC_NONE, "" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 1000);
		if (signed_content(rows[i].in, &b) != rows[i].rc)
			fail_msg("row %zu", i);
		if (rows[i].rc == RC_OK)
			assert_span(buf_span(&b), rows[i].content);
		buf_fini(&b);
		for (size_t n = 0; n < rows[i].in.n; n++) { /* cut anywhere */
			buf_init(&b, 1000);
			(void)!signed_content(span_head(rows[i].in, n), &b);
			buf_fini(&b);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_doubt), cmocka_unit_test(test_hidden), cmocka_unit_test(test_signed) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
