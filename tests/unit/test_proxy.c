/* SPDX-License-Identifier: BSD-2-Clause */
/* The PROXY header, whole and octet by octet, and the attributes of XCLIENT. */
#include "smtp/proxy.h"
#include "smtp/xattr.h"

#include "unit.h"

#define SIG "\r\n\r\n\0\r\nQUIT\n"
#define ROW(s) { (const unsigned char *)(s), sizeof(s) - 1 }
#define V4 "\xc0\x00\x02\x01\xc0\x00\x02\x02\xdb\x05\x00\x19"
#define V6 "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02\xdb\x05\x00\x19"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x01\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\x00\x02\x02\xdb\x05\x00\x19"

/* want: what comes out, or "-" for LOCAL and UNKNOWN, or "!" and the reason, or NULL: more is needed. tail: octets
 * behind the header. */
static const struct {
	struct span in;
	size_t tail;
	const char *want;
} rows[] = {
	/* version 1 */
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2 56069 25\r\n"), 0, "192.0.2.1:56069 192.0.2.2:25" },
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2 56069 25\r\nEHLO x\r\n"), 8, "192.0.2.1:56069 192.0.2.2:25" },
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2 56069 25\n"), 0, "192.0.2.1:56069 192.0.2.2:25" },
	{ ROW("PROXY TCP4 1.2.3.4 4.3.2.1 0 65535\r\n"), 0, "1.2.3.4:0 4.3.2.1:65535" },
	{ ROW("PROXY TCP6 2001:DB8::1 2001:db8:0:0::2 123 321\r\n"), 0, "2001:db8::1:123 2001:db8::2:321" },
	{ ROW("PROXY TCP6 ::ffff:1.2.3.4 ::ffff:4.3.2.1 123 321\r\n"), 0, "1.2.3.4:123 4.3.2.1:321" },
	{ ROW("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n"), 0,
	    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:65535 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe:65535" },
	{ ROW("PROXY UNKNOWN\r\n"), 0, "-" },
	{ ROW("PROXY UNKNOWN ffff:f...f:ffff whatever 65535 x\r\nQUIT\r\n"), 6, "-" },
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2 56069 25"), 0, NULL },
	{ ROW("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"), 0, "!bad or missing client address" },
	{ ROW("PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n"), 0, "!bad or missing client address" },
	{ ROW("PROXY TCP4 192.0.2.1 2001:db8::2 1 2\r\n"), 0, "!bad or missing server address" },
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n"), 0, "!bad or missing client port" },
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 -1\r\n"), 0, "!bad or missing server port" },
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 000002\r\n"), 0, "!bad or missing server port" },
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 025\r\n"), 0, "!bad or missing server port" },
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), 0, "!bad or missing server port" },
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2\r\n"), 0, "!bad or missing client port" },
	{ ROW("PROXY TCP4 192.0.2.1\r\n"), 0, "!bad or missing server address" },
	{ ROW("PROXY TCP4\r\n"), 0, "!bad or missing client address" },
	{ ROW("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"), 0, "!more than a protocol header" },
	{ ROW("PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n"), 0, "!bad or missing client address" },
	{ ROW("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"), 0, "!bad or missing protocol family" },
	{ ROW("PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n"), 0, "!bad or missing protocol family" },
	{ ROW("PROXY \r\n"), 0, "!bad or missing protocol family" },
	{ ROW("PROXY\r\n"), 0, "!no protocol header" },
	{ ROW("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), 0, "!no protocol header" },
	{ ROW("EHLO x\r\n"), 0, "!no protocol header" },
	{ ROW("P"), 0, NULL },
	{ ROW("\n"), 0, "!no protocol header" },
	{ ROW("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"), 0,
	    "-" }, /* 107 octets */
	{ ROW("PROXY UNKNOWN xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n"), 0,
	    "!protocol header too long" },
	/* version 2 */
	{ ROW(SIG "\x21\x11\x00\x0c" V4), 0, "192.0.2.1:56069 192.0.2.2:25" },
	{ ROW(SIG "\x21\x11\x00\x0c" V4 "EHLO x\r\n"), 8, "192.0.2.1:56069 192.0.2.2:25" },
	{ ROW(SIG "\x21\x11\x00\x11" V4 "\x03\x00\x02zz" "X"), 1, "192.0.2.1:56069 192.0.2.2:25" }, /* a TLV */
	{ ROW(SIG "\x21\x21\x00\x24" V6), 0, "2001:db8::1:56069 2001:db8::2:25" },
	{ ROW(SIG "\x21\x21\x00\x24" MAPPED), 0, "192.0.2.1:56069 192.0.2.2:25" },
	{ ROW(SIG "\x20\x11\x00\x0c" V4), 0, "-" },                    /* LOCAL */
	{ ROW(SIG "\x20\x00\x00\x00" "X"), 1, "-" },
	{ ROW(SIG "\x21\x00\x00\x03" "abc"), 0, "-" },                 /* UNSPEC */
	{ ROW(SIG "\x21\x12\x00\x0c" V4), 0, "-" },                    /* UDP */
	{ ROW(SIG "\x21\x31\x00\x02" "ab"), 0, "-" },                  /* UNIX */
	{ ROW(SIG "\x21\x11\x00\x0b" "\xc0\x00\x02\x01\xc0\x00\x02\x02\xdb\x05\x00"), 0, "!short protocol header" },
	{ ROW(SIG "\x21\x11\x00\x00"), 0, "!short protocol header" },
	{ ROW(SIG "\x21\x41\x00\x00"), 0, "!unknown address family 0x41" },
	{ ROW(SIG "\x21\x13\x00\x0c" V4), 0, "!unknown address family 0x13" },
	{ ROW(SIG "\x11\x11\x00\x0c" V4), 0, "!unknown version or command 0x11" },
	{ ROW(SIG "\x22\x11\x00\x0c" V4), 0, "!unknown version or command 0x22" },
	{ ROW(SIG "\x21\x11\x10\x01"), 0, "!protocol header too long" },
	{ ROW(SIG "\x21\x11\x10\x00" V4), 0, NULL },
	{ ROW(SIG "\x21\x11\x00\x0c\xc0\x00"), 0, NULL },
	{ ROW("\r\n\r\n\0\r\nQUIT\r"), 0, "!no protocol header" },
	{ ROW("\r\n\r\nEHLO"), 0, "!no protocol header" },
};

static void
say(const struct proxy_header *h, struct buf *b)
{
	char text[IPADDR_TEXT];
	if (!h->has_client) {
		buf_puts(b, "-");
		return;
	}
	(void)ipaddr_text(&h->client, text);
	buf_printf(b, "%s:%u ", text, h->client_port);
	(void)ipaddr_text(&h->server, text);
	buf_printf(b, "%s:%u", text, h->server_port);
}

static void
test_proxy(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct proxy_header h;
		struct buf b;
		struct err e = { .why = "" };
		size_t used = 0;
		enum rc rc = RC_NONE, early = RC_NONE;
		buf_init(&b, 1000);
		rc = proxy_parse(rows[i].in, &h, &used, &e);
		if (rc == RC_OK)
			say(&h, &b);
		else if (rc == RC_PERM)
			buf_printf(&b, "!%s", e.why);
		if (rows[i].want == NULL) {
			assert_int_equal(rc, RC_NONE);
			assert_int_equal(used, 0);
		} else {
			assert_string_equal(buf_cstr(&b), rows[i].want);
		}
		if (rc == RC_OK)
			assert_int_equal(used, rows[i].in.n - rows[i].tail);
		else
			assert_false(h.has_client);
		/* octet by octet: the same, and never an answer that is taken back */
		for (size_t n = 0; n < rows[i].in.n && early == RC_NONE; n++) {
			unsigned char *exact = test_malloc(n + 1); /* reading past it would show */
			memcpy(exact, rows[i].in.p, n + 1);
			early = proxy_parse(span_of(exact, n + 1), &h, &used, &e);
			test_free(exact);
			if (early == RC_OK)
				assert_int_equal(n + 1, rows[i].in.n - rows[i].tail);
		}
		assert_int_equal(early, rc);
		buf_fini(&b);
	}
}

static const struct {
	const char *in, *name, *value;
	enum xattr_fault fault;
} attrs[] = {
	{ "NAME=mail.example.com", "NAME", "mail.example.com", XATTR_FINE },
	{ "LOGIN=anna+40x.test", "LOGIN", "anna@x.test", XATTR_FINE },
	{ "HELO=a+0D+0Ab", "HELO", "a??b", XATTR_FINE },
	{ "HELO=a+00b", "HELO", "a?b", XATTR_FINE },
	{ "HELO=a+zzb", "HELO", "a+zzb", XATTR_FINE },
	{ "X=a=b", "X", "a=b", XATTR_FINE },
	{ "NAME", "NAME", "", XATTR_NO_VALUE },
	{ "NAME=", "NAME", "", XATTR_NO_VALUE },
	{ "=", "", "", XATTR_NO_VALUE },
};

static void
test_attributes(void **state)
{
	(void)state;
	struct arena a;
	struct xattr x;
	arena_init(&a, 4096);
	for (size_t i = 0; i < NELEMS(attrs); i++) {
		struct span rest = span_str(attrs[i].in);
		assert_true(xattr_next(&rest, &a, &x));
		assert_span(x.name, attrs[i].name);
		assert_span(x.value, attrs[i].value);
		assert_int_equal(x.fault, attrs[i].fault);
		assert_false(xattr_next(&rest, &a, &x));
	}
	char longest[300];
	memset(longest, 'a', sizeof longest);
	memcpy(longest, "X=", 2);
	struct span rest = span_of(longest, 2 + XATTR_VALUE_MAX);
	assert_true(xattr_next(&rest, &a, &x) && x.fault == XATTR_FINE && x.value.n == XATTR_VALUE_MAX);
	rest = span_of(longest, 3 + XATTR_VALUE_MAX);
	assert_true(xattr_next(&rest, &a, &x) && x.fault == XATTR_TOO_LONG);
	rest = SPAN(" \tA=[unavailable]  B=[TEMPUNAVAIL]\t");
	assert_true(xattr_next(&rest, &a, &x) && x.unavailable && !x.tempunavail);
	assert_true(xattr_next(&rest, &a, &x) && !x.unavailable && x.tempunavail);
	assert_false(xattr_next(&rest, &a, &x));
	assert_span(xattr_neuter(SPAN("a<b>(c)\"d\";e@f\\ "), &a), "a?b??c??d??e?f??");
	arena_fini(&a);
}

static void
test_values(void **state)
{
	(void)state;
	struct ipaddr ip;
	uint16_t port;
	assert_int_equal(xattr_address(SPAN("192.0.2.1"), &ip), RC_OK);
	assert_int_equal(xattr_address(SPAN("ipv6:2001:db8::1"), &ip), RC_OK);
	assert_int_equal(ip.family, IPADDR_V6);
	assert_int_equal(xattr_address(SPAN("IPv6:::ffff:192.0.2.1"), &ip), RC_OK);
	assert_int_equal(ip.family, IPADDR_V4);
	static const char *const bad[] = { "", "192.0.2", "2001:db8::1", "IPv6:192.0.2.1", "IPv6:", "[192.0.2.1]", "192.0.2.1 ", "192.0.2.256" };
	for (size_t i = 0; i < NELEMS(bad); i++)
		assert_int_equal(xattr_address(span_str(bad[i]), &ip), RC_PERM);
	assert_int_equal(xattr_port(SPAN("65535"), &port), RC_OK);
	assert_int_equal(port, 65535);
	static const char *const bad_ports[] = { "", "65536", "x", "-1", "000025", " 25" };
	for (size_t i = 0; i < NELEMS(bad_ports); i++)
		assert_int_equal(xattr_port(span_str(bad_ports[i]), &port), RC_PERM);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_proxy),
		cmocka_unit_test(test_attributes),
		cmocka_unit_test(test_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
