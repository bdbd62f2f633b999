/* SPDX-License-Identifier: BSD-2-Clause */
/* A header as a list: what is not touched stays octet for octet. And the names that are watched for. */
#include "msg/header.h"
#include "msg/headers.h"

#include "unit.h"

static const char block[] = "Received: from a\r\n\tby b\r\nTo: x\r\nSubject : y\r\nto:z\r\n \r\nX-Odd:\xff\r\n";

static struct {
	struct arena a;
	struct headers h;
	struct buf b;
} t;

static void
begin(const char *text)
{
	arena_init(&t.a, 1 << 20);
	buf_init(&t.b, 1 << 20);
	assert_int_equal(headers_parse(&t.h, span_str(text), &t.a), RC_OK);
}

static const char *
written(void)
{
	buf_reset(&t.b);
	headers_write(&t.h, &t.b);
	return buf_cstr(&t.b);
}

static void
end(void)
{
	arena_fini(&t.a);
	buf_fini(&t.b);
}

static void
test_parse(void **state)
{
	(void)state;
	begin(block);
	assert_int_equal(t.h.n, 5);
	assert_string_equal(written(), block);
	assert_false(t.h.is_changed);
	assert_span(header_name(&t.h.row[2]), "Subject");
	assert_span(header_value(&t.h.row[2]), " y");
	assert_span(header_value(&t.h.row[0]), " from a\r\n\tby b");
	assert_int_equal(t.h.row[3].id, HEADER_TO);
	assert_true(headers_present(&t.h) == (UINT64_C(1) << HEADER_RECEIVED | UINT64_C(1) << HEADER_TO | 1));
	end();
	static const char *const bad[] = { "x\r\n", ": y\r\n", "a b: c\r\n", " x: y\r\n", "a: b", "a: b\n", "\xff: x\r\n", "a: b\r\n\r\n", "a\x01: b\r\n" };
	for (size_t i = 0; i < NELEMS(bad); i++) {
		arena_init(&t.a, 1 << 16);
		assert_int_equal(headers_parse(&t.h, span_str(bad[i]), &t.a), RC_PERM);
		arena_fini(&t.a);
	}
	arena_init(&t.a, 100);
	assert_int_equal(headers_parse(&t.h, span_str(block), &t.a), RC_PERM);
	arena_fini(&t.a);
}

static void
test_edit(void **state)
{
	(void)state;
	begin(block);
	assert_int_equal(headers_find(&t.h, SPAN("TO"), 1), 1);
	assert_int_equal(headers_find(&t.h, SPAN("To"), 2), 3);
	assert_true(headers_find(&t.h, SPAN("To"), 3) == SIZE_MAX);
	headers_remove(&t.h, 1);
	assert_int_equal(headers_find(&t.h, SPAN("To"), 1), 3);
	assert_int_equal(headers_replace(&t.h, 3, SPAN("To: new\r\n")), RC_OK);
	assert_int_equal(headers_insert(&t.h, 0, SPAN("First: 1\r\n 2\r\n")), RC_OK);
	assert_int_equal(headers_insert(&t.h, SIZE_MAX, SPAN("Last: 3\r\n")), RC_OK);
	assert_string_equal(written(), "First: 1\r\n 2\r\nReceived: from a\r\n\tby b\r\nSubject : y\r\nTo: new\r\nX-Odd:\xff\r\nLast: 3\r\n");
	assert_true(t.h.is_changed);
	/* E06: what would be more than one header, or the end of the header, is none */
	static const char *const bad[] = { "", "x\r\n", "X: y\r\nZ: w\r\n", "X: y\r\n\r\n", "X: y", "X: y\nZ: w\r\n", "\r\n", " X: y\r\n" };
	for (size_t i = 0; i < NELEMS(bad); i++) {
		assert_int_equal(headers_insert(&t.h, 0, span_str(bad[i])), RC_PERM);
		assert_int_equal(headers_replace(&t.h, 0, span_str(bad[i])), RC_PERM);
	}
	for (int i = 0; i < 100; i++)
		assert_int_equal(headers_insert(&t.h, 1, SPAN("Many: x\r\n")), RC_OK);
	assert_int_equal(headers_find(&t.h, SPAN("many"), 100), 100);
	end();
}

static void
test_names(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		enum header_id id;
	} rows[] = {
#define HEADER_NAME(id, name, flags, doc) { name, HEADER_##id },
#include "msg/header_names.def"
#undef HEADER_NAME
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		char upper[64];
		size_t n = strlen(rows[i].name);
		for (size_t k = 0; k <= n; k++)
			upper[k] = rows[i].name[k] >= 'a' && rows[i].name[k] <= 'z' ? (char)(rows[i].name[k] - 32) : rows[i].name[k];
		assert_int_equal(header_id(span_str(rows[i].name)), rows[i].id);
		assert_int_equal(header_id(span_str(upper)), rows[i].id);
		assert_int_equal(header_id(span_of(upper, n - 1)), HEADER_OTHER);
	}
	assert_int_equal(header_id(SPAN("Tp")), HEADER_OTHER);
	assert_int_equal(header_id(SPAN_EMPTY), HEADER_OTHER);
}

static void
test_watch(void **state)
{
	(void)state;
	struct span names[] = { SPAN("bcc"), SPAN("Content-Length"), SPAN("x") };
	struct header_watch w;
	header_watch_init(&w, names, NELEMS(names));
	static const char *const yes[] = { "Bcc", "BCC", "content-length", "X" };
	static const char *const no[] = { "", "Cc", "Bcx", "Content-Lengtx", "y", "xx", "Content-Type" };
	for (size_t i = 0; i < NELEMS(yes); i++)
		assert_true(header_watched(&w, span_str(yes[i])));
	for (size_t i = 0; i < NELEMS(no); i++)
		assert_false(header_watched(&w, span_str(no[i])));
	static const char text[] = "To: a\r\nbCC: b\r\n\r\n";
	struct header_scan h = { .watch = &w };
	size_t used;
	assert_int_equal(header_feed(&h, span_head(span_str(text), 7), false, &used), HEADER_MORE);
	assert_false(h.is_watched);
	assert_int_equal(header_feed(&h, span_from(span_str(text), 7), false, &used), HEADER_END);
	assert_true(h.is_watched);
	header_watch_init(&w, NULL, 0);
	assert_false(header_watched(&w, SPAN("Bcc")));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse), cmocka_unit_test(test_edit), cmocka_unit_test(test_names), cmocka_unit_test(test_watch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
