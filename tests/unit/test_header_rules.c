/* SPDX-License-Identifier: BSD-2-Clause */
/* What becomes of headers: each row is a configuration, whose headers they are, a header, and what it must become. */
#include "policy/header_rules.h"

#include "confdir.h"
#include "unit.h"

static struct {
	struct conf *conf;
	struct address_book *book;
	struct rewriter *w;
	struct header_rules *r;
} t;

static void
open_conf(const char *lines)
{
	char text[6000];
	struct err e = { .why = "" };
	snprintf(text, sizeof text,
	    "myhostname = mx.example\nmyorigin = home.example\nmydomain = dom.example\nappend_dot_mydomain = no\nmydestination =\nalias_maps =\n"
	    "inet_interfaces = 127.0.0.1\ncompatibility_level = 3.6\nmynetworks = 192.0.2.0/24\n%s\n", lines);
	t.conf = confdir_load(text);
	if (address_book_open(t.conf, NULL, &t.book, &e) != RC_OK || rewriter_open(t.conf, NULL, t.book, &t.w, &e) != RC_OK ||
	    header_rules_open(t.conf, NULL, t.book, t.w, &t.r, &e) != RC_OK)
		confdir_show_problems(t.conf);
}

static void
close_conf(void)
{
	header_rules_free(&t.r);
	rewriter_free(&t.w);
	address_book_free(&t.book);
	conf_unref(&t.conf);
}

static const char *
after(enum header_context context, const char *block, const char *sender)
{
	static struct buf b;
	struct arena a;
	struct headers h;
	struct err e = { .why = "" };
	const struct header_message m = { .context = context, .qid = SPAN("QID"), .sender = span_str(sender), .arrival = 0 };
	if (b.max == 0)
		buf_init(&b, 1 << 20);
	buf_reset(&b);
	arena_init(&a, 1 << 22);
	assert_int_equal(headers_parse(&h, span_str(block), &a), RC_OK);
	enum rc rc = header_rules_apply(t.r, &m, &h, &e);
	if (rc == RC_OK)
		headers_write(&h, &b);
	else
		buf_puts(&b, rc == RC_TEMP ? "TEMP" : "PERM");
	arena_fini(&a);
	return buf_cstr(&b);
}

#define MID "Message-Id: <QID@mx.example>\r\n"
#define DATE "Date: Thu, 01 Jan 1970 00:00:00 +0000 (UTC)\r\n"
#define FULL "Message-Id: <x>\r\nDate: x\r\n"
#define F HEADERS_FOREIGN
#define L HEADERS_LOCAL
#define A HEADERS_ADOPTED

static const struct row {
	const char *conf;
	enum header_context context;
	const char *in, *sender, *want; /* want NULL: the same */
} rows[] = {
	/* E10: a stranger's message is nobody's to mend */
	{ "", F, "Subject: x\r\n", "s@x", NULL },
	{ "", F, "", "s@x", NULL },
	{ "", F, "To: a, b@c\r\nFrom: <d>\r\n", "s@x", NULL },
	{ "", F, "Bcc: a\r\nTo: b\r\nReturn-Path: <c>\r\nCONTENT-LENGTH: 3\r\nresent-bcc: d\r\n e\r\n", "", "To: b\r\n" },
	{ "", F, "Bcc : a\r\nTo : b\r\n", "", "To: b\r\n" },
	{ "message_drop_headers = x-a", F, "Bcc: a\r\nX-A: b\r\nX-B: c\r\n", "", "Bcc: a\r\nX-B: c\r\n" },
	{ "message_drop_headers =", F, "Bcc: a\r\n", "", NULL },
	{ "always_add_missing_headers = yes", F, "To: a\r\n", "s@x", "To: a\r\n" MID DATE "From: s@x\r\n" },
	{ "always_add_missing_headers = yes", F, "To: a\r\n", "", "To: a\r\n" MID DATE "From: MAILER-DAEMON\r\n" },
	{ "always_add_missing_headers = yes", F, "", "a b@x", MID DATE "From: \"a b\"@x\r\n" },
	{ "always_add_missing_headers = yes", F, "Resent-To: a\r\nDate: y\r\n", "s@x",
	    "Resent-To: a\r\nDate: y\r\nResent-" MID "Resent-" DATE "Resent-From: s@x\r\n" },
	{ "always_add_missing_headers = yes\nundisclosed_recipients_header = To: u:;", F, FULL "From: a\r\n", "s@x", FULL "From: a\r\nTo: u:;\r\n" },
	{ "always_add_missing_headers = yes\nundisclosed_recipients_header = To: u:;", F, FULL "From: a\r\nCc: b\r\n", "s@x", NULL },
	{ "always_add_missing_headers = yes\nmessage_drop_headers = from", F, FULL "From: a\r\n", "s@x", FULL },
	/* local clients */
	{ "", L, FULL "From: a\r\nTo: b@c, d!e, f%g\r\n", "", FULL "From: a@home.example\r\nTo: b@c, e@d, f@g\r\n" },
	{ "append_dot_mydomain = yes", L, FULL "From: a@b\r\nTo: c@d., e!f\r\n", "", FULL "From: a@b.dom.example\r\nTo: c@d, f@e.dom.example\r\n" },
	{ "swap_bangpath = no\nallow_percent_hack = no", L, FULL "From: a!b\r\nTo: c%d\r\n", "", FULL "From: a!b@home.example\r\nTo: c%d@home.example\r\n" },
	{ "", L, FULL "From: \"a!b\"\r\nTo: x@y\r\n", "", FULL "From: a!b@home.example\r\nTo: x@y\r\n" },
	{ "append_at_myorigin = no", L, FULL "From: a\r\n", "", NULL },
	{ "", L, FULL "From: a@b\r\nTo: not an address\r\n", "", NULL },
	{ "canonical_maps = inline:{x@y=z@w}", L, FULL "From: x@y\r\nTo: N <x@y>, v\r\nX-To: x@y\r\n", "",
	    FULL "From: z@w\r\nTo: N <z@w>, v@home.example\r\nX-To: x@y\r\n" },
	{ "sender_canonical_maps = inline:{x@y=z@w}", L, FULL "From: x@y\r\nTo: x@y\r\nReply-To: x@y\r\n", "", FULL "From: z@w\r\nTo: x@y\r\nReply-To: z@w\r\n" },
	{ "canonical_maps = inline:{x@y=z@w}", F, FULL "From: x@y\r\n", "", NULL },
	{ "canonical_maps = inline:{s@x=z@w}", L, "Message-Id: <x>\r\nDate: x\r\n", "s@x", FULL "From: z@w\r\n" },
	{ "masquerade_domains = b.c", L, FULL "From: x@a.b.c\r\n", "", FULL "From: x@b.c\r\n" },
	{ "remote_header_rewrite_domain = r.example", A, FULL "From: x\r\nTo: y@z\r\n", "", FULL "From: x@r.example\r\nTo: y@z\r\n" },
	/* a table that cannot be asked, a result that is none */
	{ "canonical_maps = fail:x", L, FULL "From: x@y\r\n", "", "TEMP" },
	{ "sender_canonical_maps = fail:x", L, "Date: x\r\nMessage-Id: <x>\r\n", "s@x", "TEMP" },
	{ "canonical_maps = fail:x", L, FULL "From: not an address\r\n", "", NULL },
	{ "canonical_maps = fail:x", F, FULL "From: x@y\r\n", "", NULL },
	{ "header_address_token_limit = 5", L, FULL "From: x\r\nTo: a,b,c,d\r\n", "", "PERM" },
};

static void
test_rows(void **state)
{
	(void)state;
	setenv("TZ", "UTC", 1);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		const struct row *r = &rows[i];
		open_conf(r->conf);
		const char *want = r->want != NULL ? r->want : r->in, *got = after(r->context, r->in, r->sender);
		if (strcmp(got, want) != 0) {
			print_error("row %zu (%s): got\n%swant\n%s", i, r->conf, got, want);
			fail();
		}
		close_conf();
	}
}

static const struct {
	const char *clients, *client, *login;
	bool verified;
	enum rc rc;
	enum header_context want;
} clients[] = {
	{ "permit_inet_interfaces", "127.0.0.1", "", false, RC_OK, L }, { "permit_inet_interfaces", "127.0.0.2", "", false, RC_OK, F },
	{ "permit_mynetworks", "192.0.2.7", "", false, RC_OK, L }, { "permit_mynetworks", "127.0.0.1", "", false, RC_OK, F },
	{ "permit_sasl_authenticated", "127.0.0.1", "u", false, RC_OK, L }, { "permit_sasl_authenticated", "127.0.0.1", "", false, RC_OK, F },
	{ "permit_tls_all_clientcerts", "127.0.0.1", "", true, RC_OK, L }, { "permit_tls_all_clientcerts", "127.0.0.1", "", false, RC_OK, F },
	{ "permit_tls_clientcerts", "127.0.0.1", "", true, RC_OK, L },
	{ "check_address_map inline:{127.0.0.9=x}", "127.0.0.9", "", false, RC_OK, L }, { "inline:{127.0.0.9=x}", "127.0.0.9", "", false, RC_OK, L },
	{ "inline:{127.0.0.9=x}", "127.0.0.8", "", false, RC_OK, F }, { "", "127.0.0.1", "", false, RC_OK, F },
	{ "no_such_thing, permit_inet_interfaces", "127.0.0.1", "", false, RC_OK, L }, { "fail:x", "127.0.0.1", "", false, RC_TEMP, F },
	{ "permit_inet_interfaces, fail:x", "127.0.0.1", "", false, RC_OK, L },
};

static void
test_clients(void **state)
{
	(void)state;
	for (size_t i = 0; i < NELEMS(clients); i++) {
		char conf[400];
		struct facts f = { .client_addr = span_str(clients[i].client), .client_name = SPAN("unknown"), .login = span_str(clients[i].login),
			.is_cert_verified = clients[i].verified, .cert_fingerprint = clients[i].verified ? SPAN("AA:BB") : SPAN_EMPTY };
		enum header_context got = A;
		struct err e = { .why = "" };
		snprintf(conf, sizeof conf, "relay_clientcerts = inline:{AA:BB=x}\nlocal_header_rewrite_clients = %s", clients[i].clients);
		assert_int_equal(ipaddr_parse(f.client_addr, &f.client), RC_OK);
		open_conf(conf);
		if (header_rules_context(t.r, &f, &got, &e) != clients[i].rc || (clients[i].rc == RC_OK && got != clients[i].want)) {
			print_error("client %zu (%s)\n", i, clients[i].clients);
			fail();
		}
		close_conf();
	}
	open_conf("remote_header_rewrite_domain = x.example\nlocal_header_rewrite_clients =");
	struct facts f = { .client_name = SPAN("unknown") };
	enum header_context got = F;
	struct err e;
	assert_int_equal(header_rules_context(t.r, &f, &got, &e), RC_OK);
	assert_int_equal(got, A);
	close_conf();
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows), cmocka_unit_test(test_clients) };
	return cmocka_run_group_tests(tests, confdir_setup, confdir_teardown);
}
