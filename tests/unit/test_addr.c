/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/addr.h"

#include "unit.h"

static const struct {
	const char *in;
	unsigned how;
	enum rc rc;
	const char *local, *domain; /* unquoted */
	const char *written;        /* NULL: local@domain */
	unsigned flags;
	const char *rest;
} cases[] = {
	{ "<a@b.example>", 0, RC_OK, "a", "b.example", NULL, 0, "" },
	{ "  <a@b.example> SIZE=1", 0, RC_OK, "a", "b.example", NULL, 0, " SIZE=1" },
	{ "a@b.example SIZE=1", 0, RC_OK, "a", "b.example", NULL, 0, " SIZE=1" },
	{ "a@b.example", ADDR_STRICT, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "a@b.example>", 0, RC_OK, "a", "b.example", NULL, 0, "" },
	{ "<a@b.example", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "< a@b.example >", 0, RC_OK, "a", "b.example", NULL, 0, "" },
	{ "< a@b.example >", ADDR_STRICT, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a @ b.example>", 0, RC_OK, "a", "b.example", NULL, 0, "" },
	{ "<a b@c.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<>", 0, RC_OK, "", "", "", 0, "" },
	{ "<>", ADDR_STRICT, RC_OK, "", "", "", 0, "" },
	{ "", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a>", 0, RC_OK, "a", "", "a", 0, "" },
	{ "<postmaster>", 0, RC_OK, "postmaster", "", "postmaster", 0, "" },
	/* A04: degenerate */
	{ "<@>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<.>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<.!>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<!>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<\"a!b c\">", 0, RC_OK, "a!b c", "", "\"a!b c\"", 0, "" },
	{ "<a@>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<@b.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<\"\"@b.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<\"\">", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<\" \"@b.example>", 0, RC_OK, " ", "b.example", "\" \"@b.example", 0, "" },
	{ "<a@@b.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<\"a@\"@b.example>", 0, RC_OK, "a@", "b.example", "\"a@\"@b.example", 0, "" },
	{ "<a@b..example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@.b.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@b.example.>", 0, RC_OK, "a", "b.example", NULL, 0, "" },
	{ "<a@b.example..>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<.a@b.example>", 0, RC_OK, ".a", "b.example", "\".a\"@b.example", 0, "" },
	{ "<a.@b.example>", 0, RC_OK, "a.", "b.example", "\"a.\"@b.example", 0, "" },
	{ "<a..c@b.example>", 0, RC_OK, "a..c", "b.example", "\"a..c\"@b.example", 0, "" },
	/* A01, A02: routes; what the domain is must never be in doubt */
	{ "<@x.example:a@b.example>", 0, RC_OK, "a", "b.example", NULL, ADDR_ROUTED, "" },
	{ "<@x.example,@y.example:a@b.example>", 0, RC_OK, "a", "b.example", NULL, ADDR_ROUTED, "" },
	{ "<@[127.0.0.1]:a@b.example>", 0, RC_OK, "a", "b.example", NULL, ADDR_ROUTED, "" },
	{ "<@[IPv6:::1]:a@b.example>", 0, RC_OK, "a", "b.example", NULL, ADDR_ROUTED, "" },
	{ "<@x.example:>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@b.example@c.example>", 0, RC_OK, "a@b.example", "c.example", "\"a@b.example\"@c.example", 0, "" },
	{ "<\"a@b.example\"@c.example>", 0, RC_OK, "a@b.example", "c.example", "\"a@b.example\"@c.example", 0, "" },
	{ "<\"a@b.example\">", 0, RC_OK, "a", "b.example", NULL, ADDR_ROUTED, "" },
	{ "<\"a@b..example\">", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a%b.example@c.example>", 0, RC_OK, "a%b.example", "c.example", NULL, 0, "" },
	{ "<b.example!a>", 0, RC_OK, "b.example!a", "", "b.example!a", 0, "" },
	/* A05, A06, A07, A14: no syntax for a shell, a comment or a second address */
	{ "<;for i in 0 1 2;do sh;exit 0;>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<nobody+\"|sh msg*\"@localhost>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<${run{\\x2Fbin\\x2Fsh}}@localhost>", 0, RC_OK, "${run{x2Fbinx2Fsh}}", "localhost", NULL, 0, "" },
	{ "<|/bin/sh>", 0, RC_OK, "|/bin/sh", "", "|/bin/sh", 0, "" },
	{ "<-bs@b.example>", 0, RC_OK, "-bs", "b.example", NULL, 0, "" },
	{ "<:include:/etc/passwd@b.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<() { :;};/bin/touch /tmp/p>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<(any@legit.test>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<any@legit.test(.attacker.test>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<any@legit.test'@a.attacker.test>", 0, RC_OK, "any@legit.test'", "a.attacker.test", "\"any@legit.test'\"@a.attacker.test", 0, "" },
	{ "<@legit.test,@any.test:'any@attacker.test>", 0, RC_OK, "'any", "attacker.test", NULL, ADDR_ROUTED, "" },
	{ "<a@b.example,c@d.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a,b@c.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<<a@b.example>>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@b.example>x", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@b.example>\rRCPT TO:<c@d.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a\x0b" "b\x1b[2J@b.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@b\".example\">", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<\"a@b.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<\"a\\\"b\"@b.example>", 0, RC_OK, "a\"b", "b.example", "\"a\\\"b\"@b.example", 0, "" },
	{ "<\"a\nb\"@b.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	/* A11: literals */
	{ "<a@[127.0.0.1]>", 0, RC_OK, "a", "[127.0.0.1]", NULL, ADDR_IS_LITERAL, "" },
	{ "<a@[IPv6:::1]>", 0, RC_OK, "a", "[IPv6:::1]", NULL, ADDR_IS_LITERAL, "" },
	{ "<a@[::1]>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@[1.2.3]>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@[300.0.0.1]>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@[x:y]>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@[x>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@127.0.0.1>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@2130706433>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@-b.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@b-.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<a@b_c.example>", 0, RC_OK, "a", "b_c.example", NULL, 0, "" },
	/* P29 */
	{ "<\xc3\xbc@b.example>", ADDR_UTF8, RC_OK, "\xc3\xbc", "b.example", NULL, ADDR_HAS_8BIT, "" },
	{ "<a@\xc3\xbc.example>", ADDR_UTF8, RC_OK, "a", "\xc3\xbc.example", NULL, ADDR_HAS_8BIT, "" },
	{ "<a@\xc3\xbc.example>", 0, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<\xc0\xaf@b.example>", ADDR_UTF8, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<\xed\xa0\x80@b.example>", ADDR_UTF8, RC_PERM, NULL, NULL, NULL, 0, NULL },
	{ "<\xc3@b.example>", ADDR_UTF8, RC_PERM, NULL, NULL, NULL, 0, NULL },
	/* K02 */
	{ "<a+b=c#d/e!f@b.example>", 0, RC_OK, "a+b=c#d/e!f", "b.example", NULL, 0, "" },
	{ "<prvs=1234567890=user@b.example>", 0, RC_OK, "prvs=1234567890=user", "b.example", NULL, 0, "" },
	{ "<SRS0+abc=de=x.example=user@b.example>", 0, RC_OK, "SRS0+abc=de=x.example=user", "b.example", NULL, 0, "" },
};

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct arena a;
		arena_init(&a, 4096);
		struct addr out, again;
		struct span rest;
		struct err e;
		enum rc rc = addr_parse_path(span_str(cases[i].in), cases[i].how, &a, &out, &rest, &e);
		if (rc != cases[i].rc)
			fail_msg("%s: rc %d", cases[i].in, rc);
		if (rc == RC_OK) {
			struct buf b;
			buf_init(&b, 1024);
			if (!span_eq_str(out.local, cases[i].local) || !span_eq_str(out.domain, cases[i].domain) || out.flags != cases[i].flags)
				fail_msg("%s: %.*s @ %.*s %u", cases[i].in, (int)out.local.n, out.local.p, (int)out.domain.n, out.domain.p, out.flags);
			assert_true(span_eq_str(rest, cases[i].rest));
			addr_write(&b, &out);
			if (cases[i].written != NULL)
				assert_string_equal(buf_cstr(&b), cases[i].written);
			else
				assert_true(span_eq(buf_span(&b), out.text));
			if (out.text.n > 0) {
				struct addr split = addr_of_internal(out.text);
				assert_true(addr_eq(&split, &out));
				assert_int_equal(addr_parse(buf_span(&b), cases[i].how, &a, &again, &e), RC_OK);
				assert_true(addr_eq(&again, &out));
			}
			buf_fini(&b);
		}
		arena_fini(&a);
	}
}

static enum rc
parse_made(size_t local, size_t domain, bool pairs)
{
	struct buf b;
	buf_init(&b, 8192);
	buf_puts(&b, pairs ? "<\"" : "<");
	for (size_t i = 0; i < local; i++)
		buf_puts(&b, pairs ? "\\a" : "a");
	buf_puts(&b, pairs ? "\"@" : "@");
	for (size_t i = 0; i < domain; i++)
		buf_putc(&b, i % 10 == 9 && i + 1 < domain ? '.' : 'd');
	buf_putc(&b, '>');
	struct arena a;
	arena_init(&a, 4096);
	struct addr out;
	struct err e;
	enum rc rc = addr_parse(buf_span(&b), 0, &a, &out, &e);
	arena_fini(&a);
	buf_fini(&b);
	return rc;
}

/* A10: bounds, and refused rather than cut. */
static void
test_lengths(void **state)
{
	(void)state;
	assert_int_equal(parse_made(64, 20, false), RC_OK);
	assert_int_equal(parse_made(100, 20, false), RC_OK); /* VERP and SRS senders do this */
	assert_int_equal(parse_made(1000, 20, false), RC_PERM);
	assert_int_equal(parse_made(1, 252, false), RC_OK);  /* a path of 256 octets */
	assert_int_equal(parse_made(1, 253, false), RC_PERM);
	assert_int_equal(parse_made(1, 256, false), RC_PERM);
	assert_int_equal(parse_made(1, 4096, false), RC_PERM);
	assert_int_equal(parse_made(2000, 10, true), RC_PERM);
	assert_int_equal(parse_made(100, 10, true), RC_OK);
	char label[80];
	for (int n = 62; n < 66; n++) {
		memset(label, 'x', sizeof label);
		assert_int_equal(addr_is_hostname(span_of(label, (size_t)n), false), n <= 63);
	}
}

static void
test_internal(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{ "a@b.example", "a@b.example" }, { "a b@c.example", "\"a b\"@c.example" }, { "", "" }, { "root", "root" },
		{ "x@y@z.example", "\"x@y\"@z.example" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct buf b;
		buf_init(&b, 256);
		addr_write_text(&b, span_str(rows[i][0]));
		assert_string_equal(buf_cstr(&b), rows[i][1]);
		buf_fini(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_internal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
