/* SPDX-License-Identifier: BSD-2-Clause */
/* Address lists of headers: what is found in them, and what is left when addresses change. Attacks E01, E02, E04. */
#include "msg/mailboxes.h"

#include "unit.h"

/* "a@b|?|-": an address, an element that is none, nothing; then the separator when it is none of ','. */
static const char *
found(struct span value, size_t max)
{
	static struct buf b;
	struct arena a;
	struct mailboxes l;
	if (b.max == 0)
		buf_init(&b, 1 << 20);
	buf_reset(&b);
	arena_init(&a, 1 << 24);
	enum rc rc = mailboxes_parse(value, max, &a, &l);
	for (size_t i = 0; rc == RC_OK && i < l.n; i++) {
		const struct mailbox *box = &l.item[i];
		if (i > 0)
			buf_putc(&b, '|');
		if (box->addr.n > 0)
			buf_put(&b, box->addr);
		else
			buf_putc(&b, box->is_opaque ? '?' : '-');
		if (box->after != ',' && box->after != 0)
			buf_putc(&b, box->after);
	}
	arena_fini(&a);
	return rc == RC_OK ? buf_cstr(&b) : rc == RC_NONE ? "not understood" : "too much";
}

static const struct {
	const char *in, *want;
} cases[] = {
	{ "a@b", "a@b" }, { " a@b , c@d ", "a@b|c@d" }, { "", "-" }, { ",a,,b,", "-|a|-|b|-" }, { "<>", "-" }, { "x <>", "-" }, { "(only comment)", "-" },
	{ "Some One <a@b>", "a@b" }, { "\"One, Some\" <a@b>, c", "a@b|c" }, { "Mr. X (y) <a@b> (z)", "a@b" }, { "<a@b>", "a@b" }, { "a@b <c@d>", "c@d" },
	{ "a (x) @ (y) b (z)", "a@b" }, { "a . b @ c . d", "a.b@c.d" }, { "\"a b\"@c", "a b@c" }, { "\"a\\\"b\"@c", "a\"b@c" }, { "\"a\".b@c", "a.b@c" },
	{ "a@[192.0.2.1]", "a@[192.0.2.1]" }, { "<@a,@b:c@d>", "c@d" }, { "<@a:c>", "c" }, { "a@b.", "a@b" }, { "\"a\r\n b\"@c", "a b@c" },
	{ "a\r\n\t@\r\n b", "a@b" }, { "\xc3\xbc@x", "\xc3\xbc@x" }, { "J\xfcrgen <j@x>", "j@x" },
	/* groups */
	{ "g: a, b@c;, d", "-:|a|b@c;|-|d" }, { "g:;", "-:|-;|-" }, { "undisclosed-recipients:;", "-:|-;|-" }, { "\"x y\" z: <a>;", "-:|a;|-" },
	{ "g: a; (c), b", "-:|a;|-|b" }, { "g: a; b", "not understood" }, { "g: a, h: b; ;", "not understood" }, { "g: a", "not understood" },
	{ ": a;", "not understood" }, { "a@b: c;", "not understood" }, { "mailto:a@b", "not understood" },
	/* elements that are no address; their neighbours are */
	{ "a b", "?" }, { "a b, c@d", "?|c@d" }, { "a;b", "?" }, { "a; b; c, d", "?|d" }, { "a <b> c, d", "?|d" }, { "<a> <b>, c", "?|c" }, { "a> b, c", "?|c" },
	{ "a@b@c", "?" }, { "@", "?" }, { "a@", "?" }, { "@b", "?" }, { "@a,@b:c@d", "not understood" }, { "a@.b", "?" }, { "a@b..c", "?" }, { "a)b", "?" }, { "a]b", "?" },
	{ "[a]", "?" }, { "a@[b]c", "?" }, { "a@b[c]", "?" }, { "a@\"b\"", "?" }, { "\"a@b\"", "?" }, { "\"\"@b", "?" }, { "\\a@b", "?" }, { "a\\,b@c, d", "?|d" },
	{ "a\x01" "b", "?" }, { "\"a\x01\"@b", "?" }, { "..@b", "?" }, { "<a b>, c", "?|c" },
	/* where the list's own ends are in doubt */
	{ "\"open, a@b", "not understood" }, { "a (open, b@c", "not understood" }, { "a <b, c@d", "not understood" }, { "a@[open, b", "not understood" },
	{ "a <b <c>>", "not understood" }, { "a\rb", "not understood" }, { "a\nb", "not understood" }, { "a\r\nb", "not understood" }, { "\"a\rb\" <c>", "not understood" },
	{ "(a\\", "not understood" }, { "a\\", "not understood" },
};

static void
test_found(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++)
		if (strcmp(found(span_str(cases[i].in), 1000), cases[i].want) != 0) {
			print_error("case \"%s\": got \"%s\", want \"%s\"\n", cases[i].in, found(span_str(cases[i].in), 1000), cases[i].want);
			fail();
		}
}

/* Every address at old becomes the same at new.example. */
static const char *
mapped(const char *in)
{
	static struct buf b;
	struct arena a;
	struct mailboxes l;
	bool changed = false;
	if (b.max == 0)
		buf_init(&b, 1 << 20);
	buf_reset(&b);
	arena_init(&a, 1 << 20);
	bool understood = mailboxes_parse(span_str(in), 1000, &a, &l) == RC_OK;
	for (size_t i = 0; understood && i < l.n; i++) {
		size_t at = span_rchr(l.item[i].addr, '@');
		if (at == SIZE_MAX || !span_eq(span_from(l.item[i].addr, at + 1), SPAN("old")))
			continue;
		unsigned char *p = arena_alloc(&a, at + 12);
		memcpy(p, l.item[i].addr.p, at);
		memcpy(p + at, "@new.example", 12);
		l.item[i].becomes = span_of(p, at + 12);
		changed = true;
	}
	if (changed)
		mailboxes_write(&b, SPAN("To"), &l);
	arena_fini(&a);
	return buf_cstr(&b);
}

static const struct {
	const char *in, *want; /* "": nothing changes, nothing is written */
} writes[] = {
	{ "a@old", "To: a@new.example\r\n" }, { "a@other", "" }, { "A  B<a@old>", "To: A B <a@new.example>\r\n" }, { "a b, c@old", "To: a b, c@new.example\r\n" },
	{ "a   b,c@old", "To: a   b, c@new.example\r\n" }, { "\"q,  r\" <a@old>(x)", "To: \"q,  r\" <a@new.example> (x)\r\n" },
	{ "g:a@old,b;,c", "To: g: a@new.example, b;, c\r\n" }, { "<@x,@y:a@old>", "To: <a@new.example>\r\n" }, { "\"a b\"@old", "To: \"a b\"@new.example\r\n" },
	{ "a (in) @ old (out)", "To: a@new.example (in) (out)\r\n" }, { "x @ y, a@old", "To: x@y, a@new.example\r\n" }, { "a@old,", "To: a@new.example,\r\n" },
	{ "Mr. X.Y <a@old>", "To: Mr. X.Y <a@new.example>\r\n" }, { "\"f\r\n old\" <a@old>", "To: \"f old\" <a@new.example>\r\n" }, { "a@old, \"open", "" },
	{ "aaaaaaaaaa@old, bbbbbbbbbbbb@old, cccccccccc@old, dddddddddd@old",
	    "To: aaaaaaaaaa@new.example, bbbbbbbbbbbb@new.example,\r\n\tcccccccccc@new.example, dddddddddd@new.example\r\n" },
};

static void
test_written(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(writes); i++)
		if (strcmp(mapped(writes[i].in), writes[i].want) != 0) {
			print_error("case \"%s\": got \"%s\", want \"%s\"\n", writes[i].in, mapped(writes[i].in), writes[i].want);
			fail();
		}
}

/* An element of many lines keeps them: it would be one line of over 998 octets. */
static void
test_long(void **state)
{
	(void)state;
	struct buf in;
	buf_init(&in, 1 << 20);
	for (int i = 0; i < 100; i++)
		buf_puts(&in, "=?utf-8?q?word_word?=\r\n ");
	buf_puts(&in, "<a@old>");
	const char *out = mapped(buf_cstr(&in));
	assert_non_null(strstr(out, "word?=\r\n =?utf"));
	assert_non_null(strstr(out, "<a@new.example>\r\n"));
	buf_fini(&in);
}

static void
test_limits(void **state)
{
	(void)state;
	assert_string_equal(found(SPAN("a,b,c"), 5), "a|b|c");
	assert_string_equal(found(SPAN("a,b,c"), 4), "too much");
	struct buf in;
	buf_init(&in, 1 << 22);
	for (int i = 0; i < 200000; i++)
		buf_putc(&in, '(');
	assert_string_equal(found(buf_span(&in), 1000), "not understood");
	for (int i = 0; i < 200000; i++)
		buf_putc(&in, ')');
	assert_string_equal(found(buf_span(&in), 1000), "-");
	buf_reset(&in);
	for (int i = 0; i < MAILBOX_MAX + 1; i++)
		buf_putc(&in, 'a');
	assert_string_equal(found(buf_span(&in), 1000), "?");
	buf_fini(&in);
}

static void
test_can_write(void **state)
{
	(void)state;
	static const char *const good[] = { "a", "a@b", "a b@c.example", "a@[192.0.2.1]", "\xc3\xbc@\xc3\xbc.example" };
	static const char *const bad[] = { "", "@b", "a@b c", "a@", "a@b@c", "a@b\r\nX: y", "a\r\nb", "a@b,c@d", "a@[x", "a@.b" };
	for (size_t i = 0; i < NELEMS(good); i++)
		assert_true(mailbox_can_write(span_str(good[i])));
	for (size_t i = 0; i < NELEMS(bad); i++)
		assert_false(mailbox_can_write(span_str(bad[i])));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_found), cmocka_unit_test(test_written), cmocka_unit_test(test_long), cmocka_unit_test(test_limits),
		cmocka_unit_test(test_can_write),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
