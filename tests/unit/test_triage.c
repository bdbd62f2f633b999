/* SPDX-License-Identifier: BSD-2-Clause */
/* What postscreen's settings mean: the access list, actions, times under stress; and the memory of a process. */
#include "unit.h"

#include "confdir.h"

#include "smtp/service.h"
#include "smtp/triage.h"

static struct conf *
load(const char *settings)
{
	struct conf *c = NULL;
	struct err e;
	struct buf b;
	buf_init(&b, 4096);
	buf_puts(&b, "compatibility_level = 3.6\nmyhostname = mx.example.com\nmydestination =\nmynetworks = 192.0.2.0/24, [2001:db8::]/32\nrelay_domains = b.c\n");
	buf_puts(&b, settings);
	buf_putc(&b, '\n');
	confdir_write("main.cf", buf_cstr(&b));
	confdir_write("master.cf", "smtp inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n");
	(void)!conf_load(confdir, &c, &e);
	assert_non_null(c);
	buf_fini(&b);
	return c;
}

static void
test_access_list(void **state)
{
	(void)state;
	static const struct {
		const char *list, *client;
		enum triage_listed want;
	} rows[] = {
		{ "", "192.0.2.1", TRIAGE_DUNNO },
		{ "permit_mynetworks", "192.0.2.1", TRIAGE_PERMIT },
		{ "permit_mynetworks", "2001:db8::7", TRIAGE_PERMIT },
		{ "permit_mynetworks", "198.51.100.1", TRIAGE_DUNNO },
		{ "Permit_MyNetworks, REJECT", "198.51.100.1", TRIAGE_REJECT },
		{ "dunno, reject", "198.51.100.1", TRIAGE_DUNNO },
		{ "permit, reject", "198.51.100.1", TRIAGE_PERMIT },
		{ "inline:{198.51.100.1=reject}, permit", "198.51.100.1", TRIAGE_REJECT },
		{ "inline:{198.51.100=reject}, permit", "198.51.100.1", TRIAGE_PERMIT }, /* whole addresses only */
		{ "inline:{198.51.100.1=dunno}, reject", "198.51.100.1", TRIAGE_REJECT },
		{ "inline:{198.51.100.1=permit_mynetworks}, reject", "198.51.100.1", TRIAGE_REJECT },
		{ "static:{permit_mynetworks reject}", "198.51.100.1", TRIAGE_REJECT },
		{ "static:{permit_mynetworks reject}", "192.0.2.1", TRIAGE_PERMIT },
		{ "static:OK, permit", "198.51.100.1", TRIAGE_TROUBLE },
		{ "cidr:{{198.51.100.0/24 reject}, {2001:db8:1::/48 permit}}", "198.51.100.200", TRIAGE_REJECT },
		{ "cidr:{{198.51.100.0/24 reject}, {2001:db8:1::/48 permit}}", "2001:db8:1::1", TRIAGE_PERMIT },
		{ "cidr:{{198.51.100.0/24 reject}}", "203.0.113.1", TRIAGE_DUNNO },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		char text[300];
		struct triage_acl *a = NULL;
		struct ipaddr client;
		struct err e = { 0 };
		snprintf(text, sizeof text, "postscreen_access_list = %s", rows[i].list);
		struct conf *c = load(text);
		assert_int_equal(ipaddr_parse(span_str(rows[i].client), &client), RC_OK);
		if (triage_acl_open(c, NULL, &a, &e) != RC_OK)
			fail_msg("row %zu: %s", i, e.why);
		enum triage_listed got = triage_acl_eval(a, &client, NULL, NULL, &e);
		if (got != rows[i].want)
			fail_msg("row %zu \"%s\" %s: %d", i, rows[i].list, rows[i].client, got);
		triage_acl_free(&a);
		conf_unref(&c);
	}
}

static void
test_settings(void **state)
{
	(void)state;
	static const struct {
		const char *settings;
		enum rc rc;
	} rows[] = {
		{ "", RC_OK },
		{ "postscreen_greet_action = refuse", RC_PERM },
		{ "postscreen_dnsbl_action = Drop", RC_PERM },
		{ "postscreen_access_list = permit_sasl_authenticated", RC_PERM },
		{ "postscreen_access_list = hash:/nonexistent/x", RC_PERM },
		{ "postscreen_tls_security_level = maybe", RC_PERM },
		{ "postscreen_dnsbl_sites = bl.test=1.2", RC_PERM },
		{ "postscreen_blacklist_action = drop", RC_OK },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct conf *c = load(rows[i].settings);
		struct triage_conf *t = NULL;
		enum rc rc = triage_conf_open(c, conf_service(c, 0), &t, NULL);
		if (rc != rows[i].rc || (t != NULL) != (rc == RC_OK))
			fail_msg("\"%s\": %d", rows[i].settings, rc);
		triage_conf_free(&t);
		conf_unref(&c);
	}
}

static void
test_values(void **state)
{
	(void)state;
	struct conf *c = load("postscreen_blacklist_action = drop\npostscreen_pipelining_enable = yes\npostscreen_bare_newline_ttl = 30s\npostscreen_reject_footer = x $y\n"
	                      "postscreen_command_time_limit = 7s\npostscreen_discard_ehlo_keywords = dsn, silent-discard");
	struct triage_conf *t = NULL;
	assert_int_equal(triage_conf_open(c, conf_service(c, 0), &t, NULL), RC_OK);
	assert_int_equal(t->denylist, TRIAGE_DROP);
	assert_int_equal(t->action[TEST_NON_SMTP], TRIAGE_DROP);
	assert_int_equal(t->enabled, 1u << TEST_PREGREET | 1u << TEST_PIPELINING);
	assert_int_equal(t->min_ttl, 30);
	assert_int_equal(t->greet_wait[0], 6000000);
	assert_int_equal(t->greet_wait[1], 2000000);
	assert_int_equal(t->command_time[0], 7000000);
	assert_int_equal(t->command_time[1], 7000000);
	assert_string_equal(t->footer, "x $y");
	assert_int_equal(t->hidden & 1u << EHLO_DSN, 1u << EHLO_DSN);
	triage_conf_free(&t);
	conf_unref(&c);
	c = load("postscreen_greet_banner =\nsmtpd_reject_footer = from smtpd");
	assert_int_equal(triage_conf_open(c, conf_service(c, 0), &t, NULL), RC_OK);
	assert_int_equal(t->enabled, 0); /* no teaser, no test */
	assert_string_equal(t->footer, "from smtpd");
	triage_conf_free(&t);
	conf_unref(&c);
}

static void
test_known(void **state)
{
	(void)state;
	uint64_t until[TEST_COUNT] = { 10, 20, 1, 1, UINT64_MAX }, got[TEST_COUNT];
	struct ipaddr a = { .family = IPADDR_V4, .b = { 192, 0, 2, 1 } }, other = { .family = IPADDR_V6, .b = { 192, 0, 2, 1 } };
	assert_false(triage_known_find(&a, got));
	triage_known_keep(&a, until);
	assert_true(triage_known_find(&a, got));
	assert_int_equal(got[1], 20);
	assert_int_equal(got[4], UINT32_MAX);
	assert_false(triage_known_find(&other, got));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_access_list),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_known),
	};
	return cmocka_run_group_tests(tests, confdir_setup, confdir_teardown);
}
