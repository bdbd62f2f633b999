/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/matchlist.h"

#include "map/cidr.h"

#include "confdir.h"
#include "own_time.h"
#include "unit.h"

static const struct {
	const char *parameter;       /* parent_domain_matches_subdomains names some */
	enum matchlist_kind kind;
	const char *list, *name, *addr; /* NULL: not asked about */
	enum rc rc;
} cases[] = {
	/* strings */
	{ "mydestination", MATCH_STRING, "a.example, b.example", "B.Example", NULL, RC_OK },
	{ "mydestination", MATCH_STRING, "a.example b.example", "c.example", NULL, RC_NONE },
	{ "mydestination", MATCH_STRING, "a.example", "sub.a.example", NULL, RC_NONE },
	{ "mydestination", MATCH_STRING, ".a.example", "sub.a.example", NULL, RC_NONE },
	{ "mydestination", MATCH_STRING, "", "a.example", NULL, RC_NONE },
	{ "mydestination", MATCH_STRING, "!a.example, a.example", "a.example", NULL, RC_NONE },
	{ "mydestination", MATCH_STRING, "a.example, !a.example", "a.example", NULL, RC_OK },
	{ "mydestination", MATCH_STRING, "!!a.example", "a.example", NULL, RC_OK },
	{ "mydestination", MATCH_STRING, "inline:{a.example=x}", "A.example", NULL, RC_OK },
	{ "mydestination", MATCH_STRING, "inline:{a.example=x}", "sub.a.example", NULL, RC_NONE },
	{ "mydestination", MATCH_STRING, "inline:{a.example=}", "a.example", NULL, RC_OK }, /* the value does not matter */
	{ "mydestination", MATCH_STRING, "!inline:{a.example=x}, a.example", "a.example", NULL, RC_NONE },
	{ "mydestination", MATCH_STRING, "hash:domains", "table.example", NULL, RC_OK },
	{ "mydestination", MATCH_STRING, "[1.2.3.4]", "[1.2.3.4]", NULL, RC_OK },
	/* files */
	{ "mydestination", MATCH_STRING, "FILE", "one.example", NULL, RC_OK },
	{ "mydestination", MATCH_STRING, "FILE", "two.example", NULL, RC_OK },
	{ "mydestination", MATCH_STRING, "FILE", "three.example", NULL, RC_OK },
	{ "mydestination", MATCH_STRING, "FILE", "not.example", NULL, RC_NONE },
	{ "mydestination", MATCH_STRING, "!FILE, one.example, not.example", "one.example", NULL, RC_NONE },
	{ "mydestination", MATCH_STRING, "!FILE, one.example, not.example", "not.example", NULL, RC_OK }, /* twice excluded */
	{ "mydestination", MATCH_STRING, "/nonexistent/file", "a.example", NULL, RC_TEMP },
	{ "mydestination", MATCH_STRING, "a.example, /nonexistent/file", "a.example", NULL, RC_OK },
	{ "mydestination", MATCH_STRING, "/nonexistent/file, a.example", "a.example", NULL, RC_TEMP },
	{ "mydestination", MATCH_STRING, "fail:x", "a.example", NULL, RC_TEMP },
	{ "mydestination", MATCH_STRING, "a.example, fail:x", "a.example", NULL, RC_OK },
	{ "mydestination", MATCH_STRING, "a.example, fail:x", "b.example", NULL, RC_TEMP },
	{ "mydestination", MATCH_STRING, "hash:missing", "b.example", NULL, RC_TEMP },
	{ "mydestination", MATCH_STRING, "!", "b.example", NULL, RC_TEMP },
	/* domains, with the parameter in parent_domain_matches_subdomains */
	{ "relay_domains", MATCH_DOMAIN, "a.example", "a.example", NULL, RC_OK },
	{ "relay_domains", MATCH_DOMAIN, "a.example", "x.y.a.example", NULL, RC_OK },
	{ "relay_domains", MATCH_DOMAIN, "a.example", "ba.example", NULL, RC_NONE },
	{ "relay_domains", MATCH_DOMAIN, ".a.example", "x.a.example", NULL, RC_NONE },
	{ "relay_domains", MATCH_DOMAIN, ".a.example", ".a.example", NULL, RC_OK },
	{ "relay_domains", MATCH_DOMAIN, "!x.a.example, a.example", "y.x.a.example", NULL, RC_NONE },
	{ "relay_domains", MATCH_DOMAIN, "!x.a.example, a.example", "y.a.example", NULL, RC_OK },
	{ "relay_domains", MATCH_DOMAIN, "a.example, !x.a.example", "x.a.example", NULL, RC_OK },
	{ "relay_domains", MATCH_DOMAIN, "inline:{a.example=x}", "x.A.example", NULL, RC_OK },
	{ "relay_domains", MATCH_DOMAIN, "hash:domains", "sub.table.example", NULL, RC_OK },
	{ "relay_domains", MATCH_DOMAIN, "static:x", "anything", NULL, RC_OK },
	/* and without it */
	{ "fast_flush_domains_not", MATCH_DOMAIN, "a.example", "x.a.example", NULL, RC_NONE },
	{ "fast_flush_domains_not", MATCH_DOMAIN, ".a.example", "x.a.example", NULL, RC_OK },
	{ "fast_flush_domains_not", MATCH_DOMAIN, ".a.example", "x.y.a.example", NULL, RC_OK },
	{ "fast_flush_domains_not", MATCH_DOMAIN, ".a.example", "a.example", NULL, RC_NONE },
	{ "fast_flush_domains_not", MATCH_DOMAIN, "inline:{.a.example=x}", "x.a.example", NULL, RC_OK },
	{ "fast_flush_domains_not", MATCH_DOMAIN, "inline:{a.example=x}", "x.a.example", NULL, RC_NONE },
	/* addresses */
	{ "mynetworks", MATCH_ADDRESS, "10.0.0.0/8, 192.0.2.1", NULL, "10.255.0.1", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "10.0.0.0/8, 192.0.2.1", NULL, "192.0.2.1", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "10.0.0.0/8, 192.0.2.1", NULL, "192.0.2.2", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "10.0.0.0/8, 192.0.2.1", NULL, "11.0.0.0", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "0.0.0.0/0", NULL, "11.0.0.0", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "0.0.0.0/0", NULL, "2001:db8::1", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "!10.1.0.0/16, 10.0.0.0/8", NULL, "10.1.2.3", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "!10.1.0.0/16, 10.0.0.0/8", NULL, "10.2.2.3", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "10.1.2.3, !10.1.0.0/16, 10.0.0.0/8", NULL, "10.1.2.3", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "!10.1.2.3, 10.0.0.0/8", NULL, "10.1.2.3", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "127.0.0.2, !127.0.1.9, 127.0.1.0/24", NULL, "127.0.1.9", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "192.0.2.9/32", NULL, "192.0.2.9", RC_OK }, /* a network of one */
	{ "mynetworks", MATCH_ADDRESS, "192.0.2.9/32", NULL, "192.0.2.8", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "[2001:db8::1]/128", NULL, "2001:db8::1", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "[2001:db8::]/32", NULL, "2001:db8:1::1", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "[2001:db8::]/32", NULL, "2001:db9:1::1", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "[2001:db8::1]", NULL, "2001:db8::1", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "[2001:DB8::1]", NULL, "2001:db8:0::1", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "10.0.0.0/8", NULL, "::ffff:10.0.0.1", RC_OK }, /* a mapped address is an IPv4 client */
	{ "mynetworks", MATCH_ADDRESS, "168.100", NULL, "168.100.1.1", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "1.2.3.4/24", NULL, "1.2.3.4", RC_TEMP },
	{ "mynetworks", MATCH_ADDRESS, "1.2.3.4/24", NULL, "9.9.9.9", RC_TEMP },
	{ "mynetworks", MATCH_ADDRESS, "1.2.3.4/24", NULL, "2001:db8::1", RC_NONE }, /* of the other family: skipped */
	{ "mynetworks", MATCH_ADDRESS, "9.9.9.9, 1.2.3.4/24", NULL, "9.9.9.9", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "[2001:db8::1]/32", NULL, "2001:db8::1", RC_TEMP },
	{ "mynetworks", MATCH_ADDRESS, "1.2.3.0/33", NULL, "1.2.3.4", RC_TEMP },
	{ "mynetworks", MATCH_ADDRESS, "1.2.3.0/", NULL, "1.2.3.4", RC_TEMP },
	{ "mynetworks", MATCH_ADDRESS, "1.2.3/24", NULL, "1.2.3.4", RC_TEMP },
	{ "mynetworks", MATCH_ADDRESS, "2001:db8::/32", NULL, "2001:db8::1", RC_TEMP }, /* must be in [ ] */
	{ "mynetworks", MATCH_ADDRESS, "cidr:nets", NULL, "10.1.1.1", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "cidr:nets", NULL, "11.1.1.1", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "!cidr:nets, 10.0.0.0/8", NULL, "10.1.1.1", RC_NONE },
	{ "mynetworks", MATCH_ADDRESS, "inline:{10.1.1.1=x}", NULL, "10.1.1.1", RC_OK },
	{ "mynetworks", MATCH_ADDRESS, "inline:{10.1=x}", NULL, "10.1.1.1", RC_NONE }, /* not truncated here */
	{ "mynetworks", MATCH_ADDRESS, "FILE", NULL, "10.9.9.9", RC_NONE },
	/* names and addresses */
	{ "mynetworks", MATCH_HOST, "10.0.0.0/8, good.example", "mail.good.example", "192.0.2.1", RC_OK },
	{ "mynetworks", MATCH_HOST, "10.0.0.0/8, good.example", "unknown", "192.0.2.1", RC_NONE },
	{ "mynetworks", MATCH_HOST, "10.0.0.0/8, good.example", "unknown", "10.2.0.1", RC_OK },
	{ "mynetworks", MATCH_HOST, "!good.example, 10.0.0.0/8", "mail.good.example", "10.2.0.1", RC_NONE },
	{ "mynetworks", MATCH_HOST, "cidr:nets", "unknown", "10.1.1.1", RC_OK },
};

static void
test_cases(void **state)
{
	(void)state;
	struct conf *c = confdir_load("");
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct matchlist *m = NULL;
		struct err e = { 0 };
		char list[400], file[100];
		snprintf(file, sizeof file, "%s/file", confdir);
		const char *mark = strstr(cases[i].list, "FILE");
		if (mark != NULL)
			snprintf(list, sizeof list, "%.*s%s%s", (int)(mark - cases[i].list), cases[i].list, file, mark + 4);
		else
			snprintf(list, sizeof list, "%s", cases[i].list);
		(void)!matchlist_open(c, NULL, cases[i].parameter, list, cases[i].kind, &m, &e);
		struct ipaddr a;
		if (cases[i].addr != NULL)
			assert_int_equal(ipaddr_parse(span_str(cases[i].addr), &a), RC_OK);
		enum rc rc = cases[i].addr == NULL ? matchlist_name(m, span_str(cases[i].name), &e)
		    : cases[i].name == NULL    ? matchlist_addr(m, &a, &e)
		                               : matchlist_host(m, span_str(cases[i].name), &a, &e);
		if (rc != cases[i].rc)
			fail_msg("row %zu: \"%s\" has %s %s: rc %d, want %d (%s)", i, list, cases[i].name, cases[i].addr, rc, cases[i].rc, e.why);
		matchlist_free(&m);
	}
	conf_unref(&c);
}

static void
test_problems(void **state)
{
	static const struct {
		const char *list, *says;
	} rows[] = {
		{ "1.2.3.4/24", "non-null host address bits in \"1.2.3.4/24\", perhaps you should use \"1.2.3.0/24\" instead" },
		{ "[2001:db8::1]/32", "perhaps you should use \"[2001:db8::]/32\" instead" },
		{ "2001:db8::/32", "an IPv6 address must be written in [ ]" },
		{ "/nonexistent/file", "No such file" },
		{ "ldap:/x", "not supported yet" },
		{ "10.0.0.0/8, { x", "unbalanced braces" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct conf *c = confdir_load("");
		struct matchlist *m = NULL;
		struct err e;
		assert_int_equal(matchlist_open(c, NULL, "mynetworks", rows[i].list, MATCH_HOST, &m, &e), RC_PERM);
		if (!confdir_has_problem(c, CONF_ERROR, rows[i].says)) {
			confdir_show_problems(c);
			fail_msg("%s: expected \"%s\"", rows[i].list, rows[i].says);
		}
		matchlist_free(&m);
		conf_unref(&c);
	}
}

static void
test_addresses(void **state)
{
	static const struct {
		const char *text, *canonical; /* NULL: no address */
	} rows[] = {
		{ "192.0.2.1", "192.0.2.1" }, { "255.255.255.255", "255.255.255.255" }, { "2001:DB8::1", "2001:db8::1" }, { "::", "::" },
		{ "::ffff:1.2.3.4", "::ffff:1.2.3.4" }, { "010.1.1.1", "10.1.1.1" }, { "", NULL }, { "1", NULL }, { "1.2.3", NULL },
		{ "1.2.3.4.5", NULL }, { "256.1.1.1", NULL }, { "1.2.3.0004", NULL }, { "1..3.4", NULL }, { "1.2.3.4 ", NULL }, { ":::", NULL },
		{ "[::1]", NULL }, { "fe80::1%lo", NULL }, { "1.2.3.4x", NULL }, { "-1.2.3.4", NULL },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct ipaddr a;
		char text[IPADDR_TEXT];
		enum rc rc = ipaddr_parse(span_str(rows[i].text), &a);
		if ((rc == RC_OK) != (rows[i].canonical != NULL))
			fail_msg("\"%s\": rc %d", rows[i].text, rc);
		if (rc == RC_OK) {
			ipaddr_text(&a, text);
			assert_string_equal(text, rows[i].canonical);
		}
	}
	struct cidr net;
	struct ipaddr a;
	for (unsigned bits = 0; bits <= 128; bits++) { /* every length: the last address in, the next one out */
		struct ipaddr all = { .family = IPADDR_V6 };
		memset(all.b, 0xff, sizeof all.b);
		net.net = ipaddr_mask(all, bits);
		assert_true(ipaddr_in(&all, &net.net, bits));
		if (bits > 0) {
			a = all;
			a.b[(bits - 1) / 8] ^= (unsigned char)(0x80 >> ((bits - 1) % 8));
			assert_false(ipaddr_in(&a, &net.net, bits));
		}
	}
}

static void
test_speed(void **state)
{
	(void)state;
	struct conf *c = confdir_load("");
	struct buf list;
	struct matchlist *m = NULL;
	struct err e;
	buf_init(&list, 1 << 20);
	for (int i = 0; i < 10000; i++)
		buf_printf(&list, "domain%d.example, ", i);
	assert_int_equal(matchlist_open(c, NULL, "relay_domains", buf_cstr(&list), MATCH_DOMAIN, &m, &e), RC_OK);
	enum { ASKED = 100000 };
	uint64_t t = own_time();
	for (int i = 0; i < ASKED; i++)
		assert_int_equal(matchlist_name(m, i % 2 == 0 ? SPAN("sub.domain9999.example") : SPAN("sub.elsewhere.example"), &e), i % 2 == 0 ? RC_OK : RC_NONE);
	t = own_time() - t;
	print_message("10000 domains: %.0f ns a question\n", (double)t * 1000 / ASKED);
	assert_true(t * 1000 / ASKED < 50000);
	matchlist_free(&m);
	buf_fini(&list);
	conf_unref(&c);
}

static int
make_files(void **state)
{
	(void)state;
	confdir_make();
	confdir_write("file", "# domains\none.example two.example,\n  three.example\n\n!not.example\n");
	confdir_write("domains", "table.example x\n");
	confdir_write("nets", "10.0.0.0/8 x\n");
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_problems),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_speed),
	};
	return cmocka_run_group_tests(tests, make_files, confdir_teardown);
}
