/* SPDX-License-Identifier: BSD-2-Clause */
/* From next hops to addresses, with a DNS server of our own: facts 5.5 and attacks N04, N09, N11, N12. */
#include "deliver/target.h"

#include "base/log.h"
#include "base/metric.h"
#include "fake_dns.h"
#include "loop_until.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct fake_rr rows[] = {
	{ "one.test", FD_MX, "mx1.test", 10 }, { "mx1.test", FD_A, "192.0.2.1", 0 },
	{ "two.test", FD_MX, "mx2.test", 20 }, { "two.test", FD_MX, "mx1.test", 10 }, { "mx2.test", FD_A, "192.0.2.2", 0 },
	{ "mx2.test", FD_AAAA, "2001:db8::2", 0 },
	{ "nomx.test", FD_A, "192.0.2.9", 0 },
	{ "null.test", FD_MX, "", 0 },
	{ "nullplus.test", FD_MX, "", 0 }, { "nullplus.test", FD_MX, "mx1.test", 10 },
	{ "servfail.test", FD_RCODE, "", 2 }, { "refused.test", FD_RCODE, "", 5 }, { "silent.test", FD_SILENT, "", 0 },
	{ "garbage.test", FD_GARBAGE, "", 0 },
	{ "mxservfail.test", FD_MX, "servfail.test", 10 },
	{ "mxgone.test", FD_MX, "gone.test", 10 },
	{ "mxhalf.test", FD_MX, "servfail.test", 10 }, { "mxhalf.test", FD_MX, "mx2.test", 20 },
	{ "mxliteral.test", FD_MX, "192.0.2.77", 10 },
	{ "mxcname.test", FD_MX, "alias.test", 10 }, { "alias.test", FD_CNAME, "mx1.test", 0 },
	{ "loop.test", FD_CNAME, "loop.test", 0 },
	{ "self.test", FD_MX, "me.test", 10 }, { "me.test", FD_A, "127.0.0.1", 0 },
	{ "backupself.test", FD_MX, "mx1.test", 5 }, { "backupself.test", FD_MX, "me.test", 10 }, { "backupself.test", FD_MX, "mx2.test", 20 },
	{ "primarygone.test", FD_MX, "gone.test", 5 }, { "primarygone.test", FD_MX, "me.test", 10 },
	{ "zero.test", FD_MX, "zeroa.test", 10 }, { "zeroa.test", FD_A, "0.0.0.0", 0 },
	{ "mapped.test", FD_MX, "mappeda.test", 10 }, { "mappeda.test", FD_AAAA, "::ffff:127.0.0.1", 0 },
	{ "bcast.test", FD_MX, "bcasta.test", 10 }, { "bcasta.test", FD_A, "255.255.255.255", 0 },
	{ NULL, 0, NULL, 0 },
};

static struct fake_dns server;
static struct op_owner owner;
static struct own own;

static struct settings
usual(void)
{
	return (struct settings){ .myhostname = "gw.test", .helo_name = "gw.test", .tcp_port = "smtp", .known_ports = "smtp=25", .want_v4 = true,
		.want_v6 = true, .balance = true, .randomize = true, .mx_address_limit = 5, .relayhost = "", .fallback_relay = "" };
}

static enum rc
find(struct target *t, const struct settings *set, const char *text)
{
	struct nexthop hop;
	struct err e;
	struct span rest = span_str(text);
	assert_int_equal(nexthop_next(&rest, set->lmtp, set->tcp_port, set->known_ports, &hop, &e), RC_OK);
	target_init(t, &owner, loop_on_done);
	target_find(t, set, &own, &hop);
	loop_until(1);
	return t->op.rc;
}

#define NS(name, type) "Host or domain name not found. Name service error for name=" name " type=" type ": "

static void
test_outcomes(void **state)
{
	static const struct {
		const char *hop;
		enum rc rc;
		const char *dsn, *text; /* RC_OK: addresses in order, else why */
	} cases[] = {
		{ "one.test", RC_OK, "", "mx1.test[192.0.2.1]:25" },
		{ "nomx.test:26", RC_OK, "", "nomx.test[192.0.2.9]:26" },
		{ "[nomx.test]:26", RC_OK, "", "nomx.test[192.0.2.9]:26" },
		{ "[192.0.2.5]:27", RC_OK, "", "192.0.2.5[192.0.2.5]:27" },
		{ "[::1]:27", RC_OK, "", "::1[::1]:27" },
		{ "mxcname.test", RC_OK, "", "alias.test[192.0.2.1]:25" },
		{ "nullplus.test", RC_PERM, "5.1.0", "Domain nullplus.test does not accept mail (nullMX)" },
		{ "backupself.test", RC_OK, "", "mx1.test[192.0.2.1]:25" },
		{ "self.test:26", RC_OK, "", "me.test[127.0.0.1]:26" }, /* another port is not us */
		{ "null.test", RC_PERM, "5.1.0", "Domain null.test does not accept mail (nullMX)" },
		{ "nosuch.test", RC_PERM, "5.4.4", NS("nosuch.test", "MX") "Host not found" },
		{ "[nosuch.test]", RC_PERM, "5.4.4", NS("nosuch.test", "A") "Host not found" },
		{ "servfail.test", RC_TEMP, "4.4.3", NS("servfail.test", "MX") "Host not found, try again" },
		{ "refused.test", RC_TEMP, "4.4.3", NS("refused.test", "MX") "Host not found, try again" },
		{ "silent.test", RC_TEMP, "4.4.3", NS("silent.test", "MX") "Host not found, try again" },
		{ "garbage.test", RC_TEMP, "4.4.3", NS("garbage.test", "MX") "Malformed or unexpected name server reply" },
		{ "loop.test", RC_TEMP, "4.4.3", NS("loop.test", "MX") "Host not found, try again" },
		{ "[servfail.test]", RC_TEMP, "4.4.3", NS("servfail.test", "A") "Host not found, try again" },
		{ "mxservfail.test", RC_TEMP, "4.4.3", NS("servfail.test", "A") "Host not found, try again" },
		{ "mxgone.test", RC_PERM, "5.4.4", NS("gone.test", "A") "Host not found" },
		{ "mxliteral.test", RC_PERM, "5.4.4", NS("mxliteral.test", "A") "Host not found" },
		{ "bcast.test", RC_PERM, "5.4.4", NS("bcasta.test", "A") "Host not found" },
		{ "self.test", RC_PERM, "5.4.6", "mail for self.test loops back to myself" },
		{ "zero.test", RC_PERM, "5.4.6", "mail for zero.test loops back to myself" },
		{ "mapped.test", RC_PERM, "5.4.6", "mail for mapped.test loops back to myself" },
		{ "primarygone.test", RC_TEMP, "4.4.4", "unable to find primary relay for primarygone.test" },
		{ "1.2.3.4", RC_PERM, "5.4.4", NS("1.2.3.4", "MX") "Malformed name" },
		{ "a..b", RC_PERM, "5.4.4", NS("a..b", "MX") "Malformed name" },
	};
	(void)state;
	struct settings set = usual();
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct target t;
		char text[200] = "";
		enum rc rc = find(&t, &set, cases[i].hop);
		const char *got = t.why;
		if (rc == RC_OK) {
			snprintf(text, sizeof text, "%s[%s]:%u", arena_cstr(&t.arena, t.addr[0].host), arena_cstr(&t.arena, t.addr[0].ip), t.addr[0].port);
			got = text;
			assert_int_equal(t.n, 1);
		}
		if (rc != cases[i].rc || strcmp(t.dsn, cases[i].dsn) != 0 || strcmp(got, cases[i].text) != 0)
			fail_msg("%s: rc %d dsn %s: %s", cases[i].hop, rc, t.dsn, got);
		target_fini(&t);
	}
}

static void
test_settings(void **state)
{
	struct target t;
	(void)state;
	struct settings set = usual();
	assert_int_equal(find(&t, &set, "two.test"), RC_OK);
	assert_int_equal(t.n, 3);
	assert_int_equal(t.addr[0].pref, 10);
	assert_int_equal(t.addr[2].pref, 20);
	target_fini(&t);
	set.prefer = 6;
	assert_int_equal(find(&t, &set, "[mx2.test]"), RC_OK);
	assert_int_equal(t.addr[0].addr.family, IPADDR_V6);
	target_fini(&t);
	set.want_v6 = false;
	assert_int_equal(find(&t, &set, "[mx2.test]"), RC_OK);
	assert_int_equal(t.n, 1);
	target_fini(&t);
	set = usual();
	set.ignore_mx_error = true;
	assert_int_equal(find(&t, &set, "servfail.test"), RC_TEMP);
	assert_string_equal(t.why, NS("servfail.test", "A") "Host not found, try again");
	target_fini(&t);
	set = usual();
	set.defer_if_no_address = true;
	assert_int_equal(find(&t, &set, "mxgone.test"), RC_TEMP);
	target_fini(&t);
	set = usual();
	set.no_dns = true;
	assert_int_equal(find(&t, &set, "one.test"), RC_TEMP);
	target_fini(&t);
	assert_int_equal(find(&t, &set, "[localhost]:26"), RC_OK);
	assert_int_equal(t.n, 2);
	target_fini(&t);
	assert_int_equal(find(&t, &set, "[127.0.0.1]:26"), RC_OK);
	target_fini(&t);
	/* a temporary failure of the best MX does not stop the others */
	set = usual();
	assert_int_equal(find(&t, &set, "mxhalf.test"), RC_OK);
	assert_int_equal(t.addr[0].pref, 20);
	target_fini(&t);
	assert_int_equal(metric_values[M_op_pending], 0);
}

static void
test_cancelled(void **state)
{
	struct target t;
	struct settings set = usual();
	struct nexthop hop = { .host = SPAN("silent.test"), .port = 25, .use_mx = true };
	(void)state;
	target_init(&t, &owner, loop_on_done);
	target_find(&t, &set, &own, &hop);
	op_cancel(&t.op);
	target_fini(&t);
	assert_int_equal(metric_values[M_op_pending], 0);
}

static void
test_order(void **state)
{
	enum { N = 12 };
	(void)state;
	struct settings set = usual();
	for (int round = 0; round < 200; round++) {
		struct taddr a[N] = { 0 };
		unsigned n6 = 0;
		for (unsigned i = 0; i < N; i++) {
			a[i].pref = (uint16_t)(i < 8 ? 10 : 20);
			a[i].addr.family = i == 11 ? IPADDR_V6 : IPADDR_V4;
			a[i].port = (uint16_t)i;
		}
		unsigned n = target_order(&set, a, N);
		assert_int_equal(n, 5);
		for (unsigned i = 0; i < n; i++) {
			n6 += a[i].addr.family == IPADDR_V6;
			assert_true(i == 0 || a[i].pref >= a[i - 1].pref);
		}
		assert_int_equal(n6, 1); /* balanced in, although it is the worst */
	}
	set.balance = false;
	set.randomize = false;
	struct taddr b[3] = { { .pref = 2, .port = 1 }, { .pref = 1, .port = 2 }, { .pref = 1, .port = 3 } };
	assert_int_equal(target_order(&set, b, 3), 3);
	assert_true(b[0].port == 2 && b[1].port == 3 && b[2].port == 1);
	set.mx_address_limit = 1;
	assert_int_equal(target_order(&set, b, 3), 1);
	set.mx_address_limit = 0;
	assert_int_equal(target_order(&set, b, 3), 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outcomes), cmocka_unit_test(test_settings), cmocka_unit_test(test_cancelled), cmocka_unit_test(test_order),
	};
	struct err e;
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_APPEND | O_CLOEXEC), LOG_POSTFIX, "dogana", "relay");
	loop_init();
	op_owner_init(&owner);
	own_init(&own, "127.0.0.1, [::1]", "");
	fake_dns_start(&server, rows);
	struct dns_settings s = { .servers = server.servers, .timeout_usec = 100 * 1000, .tries = 1 };
	if (dns_open(&s, &e) != RC_OK)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	dns_close();
	fake_dns_stop(&server);
	loop_fini();
	return failed;
}
