/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit.h"

#include "base/arena.h"
#include "base/crc32c.h"
#include "base/heap.h"
#include "base/htab.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/rand.h"

static void
span_numbers(void **state)
{
	(void)state;
	static const struct {
		const char *in;
		uint64_t max, want;
		bool ok;
	} rows[] = {
		{ "0", 9, 0, true }, { "10", 10, 10, true }, { "11", 10, 0, false }, { "", 9, 0, false }, { "-1", 9, 0, false },
		{ "+1", 9, 0, false }, { "1x", 99, 0, false }, { " 1", 9, 0, false }, { "18446744073709551615", UINT64_MAX, UINT64_MAX, true },
		{ "18446744073709551616", UINT64_MAX, 0, false }, { "99999999999999999999999", UINT64_MAX, 0, false }, { "007", 9, 7, true },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		uint64_t v = 77;
		assert_int_equal(span_u64(span_str(rows[i].in), rows[i].max, &v), rows[i].ok);
		assert_int_equal(v, rows[i].want);
	}
}

static void
span_parts(void **state)
{
	(void)state;
	struct span s = SPAN(" a,b\t c "), w;
	assert_span(span_trim(s), "a,b\t c");
	assert_true(span_word(&s, ", \t", &w));
	assert_span(w, "a");
	assert_true(span_word(&s, ", \t", &w));
	assert_span(w, "b");
	assert_true(span_word(&s, ", \t", &w));
	assert_span(w, "c");
	assert_false(span_word(&s, ", \t", &w));
	assert_true(span_caseends(SPAN("x.Example.ORG"), SPAN(".example.org")));
	assert_false(span_caseends(SPAN("org"), SPAN("example.org")));
	assert_int_equal(span_find(SPAN("abcabd"), SPAN("abd")), 3);
	assert_int_equal(span_rchr(SPAN("a@b@c"), '@'), 3);
	assert_int_equal(span_from(SPAN("abc"), 9).n, 0);
	assert_true(span_casehash(SPAN("ABC")) == span_casehash(SPAN("abc")));
	assert_true(span_hash(SPAN("ABC")) != span_hash(SPAN("abc")));
	assert_true(span_cmp(SPAN("a"), SPAN("ab")) < 0);
}

static void
span_utf8(void **state)
{
	(void)state;
	static const struct {
		const char *in;
		bool ok;
	} rows[] = {
		{ "abc", true }, { "\xc3\xbc", true }, { "\xe2\x82\xac", true }, { "\xf0\x9f\x98\x80", true }, { "\xc0\xaf", false }, { "\xed\xa0\x80", false },
		{ "\xc3", false }, { "\xe2\x82", false }, { "\xff", false }, { "\xf4\x90\x80\x80", false }, { "\xf0\x80\x80\x80", false }, { "\x80", false },
		{ "\xe0\x80\x80", false },
	};
	for (size_t i = 0; i < NELEMS(rows); i++)
		assert_int_equal(span_is_utf8(span_str(rows[i].in)), rows[i].ok);
}

/* Eight octets are looked at at once: every octet, at every place. */
static void
span_text_octet_by_octet(void **state)
{
	(void)state;
	unsigned char text[27];
	for (size_t n = 1; n <= sizeof text; n++)
		for (size_t at = 0; at < n; at++)
			for (unsigned c = 0; c < 256; c++) {
				memset(text, at % 2 == 0 ? 'a' : ' ', n);
				text[at] = (unsigned char)c;
				assert_int_equal(span_is_printable(span_of(text, n)), c >= ' ' && c != 0x7f);
				assert_int_equal(span_is_utf8(span_of(text, n)), c < 0x80);
				if (at + 1 < n) {
					text[at + 1] = 0xbf;
					assert_int_equal(span_is_utf8(span_of(text, n)), c >= 0xc2 && c < 0xe0);
				}
			}
}

static void
cursor_never_passes_the_end(void **state)
{
	(void)state;
	struct cur c = cur_of(span_of("\x01\x02\x00\x03\x00\x00\x00", 7));
	assert_int_equal(cur_u8(&c), 1);
	assert_int_equal(cur_u16(&c), 2);
	assert_int_equal(cur_u32(&c), 3);
	assert_true(cur_done(&c));
	assert_int_equal(cur_u8(&c), 0);
	assert_true(c.bad);
	assert_false(cur_done(&c));
	struct cur d = cur_of(span_of("\xff\xff\xff\xff" "ab", 6));
	assert_int_equal(cur_block(&d).n, 0);
	assert_true(d.bad);
	struct cur e = cur_of(span_of("\x01\x02\x03\x04\x05\x06", 6));
	assert_int_equal(cur_be16(&e), 0x0102);
	assert_int_equal(cur_be32(&e), 0x03040506);
}

static void
buf_limits_are_sticky(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 10);
	buf_puts(&b, "12345");
	buf_puts(&b, "678901");
	assert_true(b.over);
	assert_span(buf_span(&b), "12345");
	buf_puts(&b, "6");
	assert_span(buf_span(&b), "12345");
	buf_reset(&b);
	buf_puts(&b, "1234567890");
	assert_false(b.over);
	assert_string_equal(buf_cstr(&b), "1234567890");
	buf_consume(&b, 8);
	buf_puts(&b, "abcdefgh");
	assert_span(buf_span(&b), "90abcdefgh");
	buf_cut(&b, 2);
	assert_span(buf_span(&b), "90");
	buf_printf(&b, "%d-%s", 42, "x");
	assert_span(buf_span(&b), "9042-x");
	buf_fini(&b);
}

static void
buf_numbers_come_back(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 100);
	buf_put_u8(&b, 0xfe);
	buf_put_u16(&b, 0xfedc);
	buf_put_u32(&b, 0xfedcba98);
	buf_put_u64(&b, 0xfedcba9876543210);
	buf_put_block(&b, SPAN("xyz"));
	struct cur c = cur_of(buf_span(&b));
	assert_int_equal(cur_u8(&c), 0xfe);
	assert_int_equal(cur_u16(&c), 0xfedc);
	assert_int_equal(cur_u32(&c), 0xfedcba98);
	assert_true(cur_u64(&c) == 0xfedcba9876543210);
	assert_span(cur_block(&c), "xyz");
	assert_true(cur_done(&c));
	buf_reset(&b);
	buf_put_dec(&b, UINT64_MAX);
	assert_span(buf_span(&b), "18446744073709551615");
	buf_fini(&b);
}

static void
buf_cleans_outside_text(void **state)
{
	(void)state;
	static const struct {
		const char *in, *want;
		size_t max;
	} rows[] = {
		{ "plain", "plain", 99 }, { "a\r\nb", "a??b", 99 }, { "\x1b]0;x\x07", "?]0;x?", 99 }, { "\xc3\xbc", "\xc3\xbc", 99 }, { "\xc3(", "?(", 99 },
		{ "\xe2\x80\xae" "x", "???x", 99 }, { "\xc2\x9b" "31m", "??31m", 99 }, { "abcdef", "abc", 3 }, { "ab\xc3\xbc", "ab", 3 }, { "\x7f", "?", 99 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 100);
		buf_put_safe(&b, span_str(rows[i].in), rows[i].max, true);
		assert_span(buf_span(&b), rows[i].want);
		buf_fini(&b);
	}
}

static void
buf_writes_json_strings(void **state)
{
	(void)state;
	struct buf b;
	buf_init(&b, 100);
	buf_put_json(&b, SPAN("a\"b\\c\nd"), 99);
	assert_span(buf_span(&b), "\"a\\\"b\\\\c?d\"");
	buf_reset(&b);
	buf_put_json(&b, SPAN("abcdef"), 3); /* cut, and still closed */
	assert_span(buf_span(&b), "\"abc\"");
	buf_fini(&b);
}

static void
arena_keeps_its_limit(void **state)
{
	(void)state;
	struct arena a;
	arena_init(&a, 1000);
	for (int i = 0; i < 10; i++)
		assert_non_null(arena_alloc(&a, 100));
	assert_null(arena_alloc(&a, 1));
	assert_true(a.over);
	arena_fini(&a);
	assert_false(a.over);
	assert_span(arena_span(&a, SPAN("abc")), "abc");
	assert_null(arena_cstr(&a, span_of("a\0b", 3)));
	assert_string_equal(arena_cstr(&a, SPAN("ab")), "ab");
	arena_fini(&a);
}

struct item {
	struct hnode by_key;
	struct heap_node by_time;
	struct list link;
	unsigned key;
};

static void
htab_finds_what_is_in_it(void **state)
{
	(void)state;
	enum { N = 5000 };
	static struct item items[N];
	struct htab t = { 0 };
	for (unsigned i = 0; i < N; i++) {
		items[i].key = i;
		htab_insert(&t, &items[i].by_key, i / 2); /* pairs share a hash */
	}
	assert_int_equal(t.count, N);
	for (unsigned i = 0; i < N; i += 3)
		htab_remove(&t, &items[i].by_key);
	unsigned seen = 0;
	for (unsigned i = 0; i < N; i++) {
		bool found = false;
		for (struct hnode *n = htab_first(&t, i / 2); n != NULL; n = htab_next(n))
			found |= container_of(n, struct item, by_key)->key == i;
		assert_int_equal(found, i % 3 != 0);
		seen += found;
	}
	unsigned walked = 0;
	for (struct hnode *n = htab_walk(&t, NULL); n != NULL; n = htab_walk(&t, n))
		walked++;
	assert_int_equal(walked, seen);
	htab_fini(&t);
}

static void
heap_gives_the_least(void **state)
{
	(void)state;
	enum { N = 2000 };
	static struct item items[N];
	struct heap h = { 0 };
	for (unsigned i = 0; i < N; i++)
		heap_put(&h, &items[i].by_time, rand_below(1000));
	for (unsigned i = 0; i < N; i += 2)
		heap_put(&h, &items[i].by_time, rand_below(100000));
	for (unsigned i = 0; i < N; i += 5)
		heap_remove(&h, &items[i].by_time);
	heap_remove(&h, &items[0].by_time);
	uint64_t last = 0;
	unsigned n = 0;
	for (struct heap_node *m; (m = heap_min(&h)) != NULL; n++) {
		assert_true(m->key >= last);
		last = m->key;
		heap_remove(&h, m);
	}
	assert_int_equal(n, N - N / 5);
	heap_fini(&h);
}

static void
lists_splice_and_survive_removal(void **state)
{
	(void)state;
	struct item items[4];
	struct list a, b;
	list_init(&a);
	list_init(&b);
	for (unsigned i = 0; i < 4; i++) {
		items[i].key = i;
		list_init(&items[i].link);
		list_append(i < 2 ? &a : &b, &items[i].link);
	}
	list_splice(&a, &b);
	assert_true(list_empty(&b));
	unsigned sum = 0, n = 0;
	list_each(l, &a) {
		sum = sum * 10 + list_entry(l, struct item, link)->key;
		list_remove(l);
		n++;
	}
	assert_int_equal(sum, 123);
	assert_int_equal(n, 4);
	assert_true(list_empty(&a));
	assert_false(list_linked(&items[0].link));
	assert_null(list_pop(&a));
}

static void
crc32c_known_sums(void **state)
{
	(void)state;
	unsigned char zeros[32] = { 0 }, up[32];
	for (unsigned i = 0; i < 32; i++)
		up[i] = (unsigned char)i;
	/* RFC 3720 B.4 */
	assert_int_equal(crc32c(0, span_of(zeros, 32)), 0x8a9136aa);
	assert_int_equal(crc32c(0, span_of(up, 32)), 0x46dd794e);
	assert_int_equal(crc32c(0, SPAN("123456789")), 0xe3069283);
	for (size_t i = 0; i <= 32; i++)
		assert_int_equal(crc32c(crc32c(0, span_of(up, i)), span_of(up + i, 32 - i)), 0x46dd794e);
}

static void
err_prefixes_and_cleans(void **state)
{
	(void)state;
	struct err e;
	assert_int_equal(err_set(&e, RC_TEMP, "bad\nthing %d", 1), RC_TEMP);
	assert_int_equal(err_prefix(&e, "file %s", "x"), RC_TEMP);
	assert_string_equal(e.why, "file x: bad?thing 1");
	assert_int_equal(err_set(NULL, RC_PERM, "x"), RC_PERM);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(span_numbers), cmocka_unit_test(span_parts), cmocka_unit_test(span_utf8), cmocka_unit_test(span_text_octet_by_octet),
		cmocka_unit_test(cursor_never_passes_the_end), cmocka_unit_test(buf_limits_are_sticky), cmocka_unit_test(buf_numbers_come_back),
		cmocka_unit_test(buf_cleans_outside_text), cmocka_unit_test(buf_writes_json_strings), cmocka_unit_test(arena_keeps_its_limit), cmocka_unit_test(htab_finds_what_is_in_it),
		cmocka_unit_test(heap_gives_the_least), cmocka_unit_test(lists_splice_and_survive_removal), cmocka_unit_test(crc32c_known_sums),
		cmocka_unit_test(err_prefixes_and_cleans),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
