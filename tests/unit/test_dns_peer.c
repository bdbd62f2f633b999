/* SPDX-License-Identifier: BSD-2-Clause */
/* Names of clients: PTR and back, with everything a name server can say; and questions asked ahead of time. */
#include "dns/peer.h"

#include "base/metric.h"
#include "fake_dns.h"
#include "loop_until.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LABEL63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define V6 "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
#define PTR(n) #n ".2.0.192.in-addr.arpa"

static const struct fake_rr rows[] = {
	{ PTR(1), FD_PTR, "mail.good.test", 0 }, { "mail.good.test", FD_A, "192.0.2.9", 0 }, { "mail.good.test", FD_A, "192.0.2.1", 0 },
	{ PTR(2), FD_PTR, "forged.test", 0 }, { "forged.test", FD_A, "192.0.2.77", 0 },
	{ PTR(3), FD_PTR, "gone.test", 0 },
	{ PTR(4), FD_PTR, "broken.test", 0 }, { "broken.test", FD_RCODE, "", 2 },
	{ PTR(5), FD_RCODE, "", 2 },
	{ PTR(6), FD_GARBAGE, "", 0 },
	{ PTR(8), FD_PTR, "two\r\n lines.test", 0 }, { PTR(9), FD_PTR, "1.2.3.4", 0 }, { PTR(10), FD_PTR, "unknown", 0 },
	{ PTR(11), FD_PTR, "-x.test", 0 }, { PTR(12), FD_PTR, "\xff\x80.test", 0 }, { PTR(13), FD_PTR, "", 0 },
	{ PTR(14), FD_PTR, LABEL63 "." LABEL63 "." LABEL63 "." LABEL63, 0 },
	{ PTR(15), FD_PTR, LABEL63 "." LABEL63 "." LABEL63 ".a.test", 0 },
	{ LABEL63 "." LABEL63 "." LABEL63 ".a.test", FD_A, "192.0.2.15", 0 },
	/* several: only one of them is true, one is no name at all, one cannot be asked for */
	{ PTR(16), FD_PTR, "bad name.test", 0 }, { PTR(16), FD_PTR, "forged.test", 0 }, { PTR(16), FD_PTR, "broken.test", 0 },
	{ PTR(16), FD_PTR, "true.test", 0 }, { "true.test", FD_A, "192.0.2.16", 0 },
	{ PTR(17), FD_PTR, "forged.test", 0 }, { PTR(17), FD_PTR, "gone.test", 0 },
	{ PTR(18), FD_CNAME, "18.net.test", 0 }, { "18.net.test", FD_PTR, "alias.test", 0 }, { "alias.test", FD_CNAME, "true18.test", 0 },
	{ "true18.test", FD_A, "192.0.2.18", 0 },
	{ PTR(19), FD_PTR, "mangled.test", 0 }, { "mangled.test", FD_GARBAGE, "", 0 },
	{ PTR(20), FD_SILENT, "", 0 },
	{ PTR(21), FD_PTR, "six.test", 0 }, { "six.test", FD_AAAA, "2001:db8::1", 0 },
	{ "1.0." V6, FD_PTR, "six.test", 0 }, { "2.0." V6, FD_PTR, "six.test", 0 },
	{ PTR(30), FD_PTR, "l1.test", 0 }, { PTR(30), FD_PTR, "l2.test", 0 }, { PTR(30), FD_PTR, "l3.test", 0 }, { PTR(30), FD_PTR, "l4.test", 0 },
	{ PTR(30), FD_PTR, "l5.test", 0 }, { PTR(30), FD_PTR, "l6.test", 0 }, { PTR(30), FD_PTR, "l7.test", 0 }, { PTR(30), FD_PTR, "l8.test", 0 },
	{ PTR(30), FD_PTR, "l9.test", 0 }, { "l9.test", FD_A, "192.0.2.30", 0 },
	{ "mx.test", FD_MX, "h1.mx.test", 10 }, { "mx.test", FD_MX, "h2.mx.test", 20 }, { "mx.test", FD_MX, "not a host", 30 },
	{ "h1.mx.test", FD_A, "192.0.2.1", 0 },
	{ NULL, 0, NULL, 0 },
};

static struct fake_dns server;
static struct op_owner owner;

/* true: an answer was waited for. */
static bool
ask(struct dns_peer *p, const char *addr)
{
	struct ipaddr a;
	assert_int_equal(ipaddr_parse(span_str(addr), &a), RC_OK);
	dns_peer_init(p, &owner, loop_on_done);
	if (dns_peer_ask(p, &a, 5 * 1000000)) {
		assert_true(op_owner_idle(&owner));
		return false;
	}
	loop_until(1);
	return true;
}

static void
test_names(void **state)
{
	static const struct {
		const char *addr;
		enum rc name_rc, reverse_rc;
		const char *name, *reverse, *denied;
	} cases[] = {
		{ "192.0.2.1", RC_OK, RC_OK, "mail.good.test", "mail.good.test", "" },
		{ "::ffff:192.0.2.1", RC_OK, RC_OK, "mail.good.test", "mail.good.test", "" },
		{ "192.0.2.2", RC_NONE, RC_OK, "", "forged.test", "forged.test" },
		{ "192.0.2.3", RC_NONE, RC_OK, "", "gone.test", "gone.test" },
		{ "192.0.2.4", RC_TEMP, RC_OK, "", "broken.test", "broken.test" },
		{ "192.0.2.5", RC_TEMP, RC_TEMP, "", "", "" },
		{ "192.0.2.6", RC_TEMP, RC_TEMP, "", "", "" },
		{ "192.0.2.7", RC_NONE, RC_NONE, "", "", "" },
		{ "192.0.2.8", RC_NONE, RC_NONE, "", "", "" }, { "192.0.2.9", RC_NONE, RC_NONE, "", "", "" },
		{ "192.0.2.10", RC_NONE, RC_NONE, "", "", "" }, { "192.0.2.11", RC_NONE, RC_NONE, "", "", "" },
		{ "192.0.2.12", RC_NONE, RC_NONE, "", "", "" }, { "192.0.2.13", RC_NONE, RC_NONE, "", "", "" },
		{ "192.0.2.14", RC_TEMP, RC_TEMP, "", "", "" }, /* longer than a name can be: malformed */
		{ "192.0.2.15", RC_OK, RC_OK, LABEL63 "." LABEL63 "." LABEL63 ".a.test", LABEL63 "." LABEL63 "." LABEL63 ".a.test", "" },
		{ "192.0.2.16", RC_OK, RC_OK, "true.test", "true.test", "" },
		{ "192.0.2.17", RC_NONE, RC_OK, "", "forged.test", "forged.test" },
		{ "192.0.2.18", RC_OK, RC_OK, "alias.test", "alias.test", "" },
		{ "192.0.2.19", RC_TEMP, RC_OK, "", "mangled.test", "mangled.test" },
		{ "192.0.2.20", RC_TEMP, RC_TEMP, "", "", "" },
		{ "192.0.2.21", RC_NONE, RC_OK, "", "six.test", "six.test" },
		{ "2001:db8::1", RC_OK, RC_OK, "six.test", "six.test", "" },
		{ "2001:db8::2", RC_NONE, RC_OK, "", "six.test", "six.test" },
		{ "192.0.2.30", RC_NONE, RC_OK, "", "l1.test", "l1.test" }, /* the ninth name is not looked at */
		{ "127.0.0.1", RC_OK, RC_OK, "localhost", "localhost", "" }, { "::1", RC_OK, RC_OK, "localhost", "localhost", "" },
		{ "127.0.0.2", RC_NONE, RC_NONE, "", "", "" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct dns_peer p;
		(void)ask(&p, cases[i].addr);
		if (p.name_rc != cases[i].name_rc || p.reverse_rc != cases[i].reverse_rc || !span_eq_str(p.name, cases[i].name) ||
		    !span_eq_str(p.reverse, cases[i].reverse) || !span_eq_str(p.denied, cases[i].denied))
			fail_msg("%s: name %d \"%.*s\", reverse %d \"%.*s\", denied \"%.*s\"", cases[i].addr, p.name_rc, (int)p.name.n,
			    (const char *)p.name.p, p.reverse_rc, (int)p.reverse.n, (const char *)p.reverse.p, (int)p.denied.n,
			    (const char *)p.denied.p);
		dns_peer_fini(&p);
		dns_peer_fini(&p);
	}
	assert_int_equal(metric_values[M_op_pending], 0);
}

/* The second time nobody is asked and nobody waits. */
static void
test_cached(void **state)
{
	struct dns_peer p;
	(void)state;
	dns_cache_clear();
	assert_true(ask(&p, "192.0.2.1"));
	dns_peer_fini(&p);
	unsigned asked = server.asked;
	assert_false(ask(&p, "192.0.2.1"));
	assert_int_equal(p.name_rc, RC_OK);
	dns_peer_fini(&p);
	assert_int_equal(server.asked, asked);
	dns_cache_clear();
}

/* The asker goes away before the PTR answer, and between it and the addresses. */
static void
test_cut(void **state)
{
	(void)state;
	dns_cache_clear();
	server.delay_usec = 20 * 1000;
	for (uint64_t usec = 1000; usec < 60 * 1000; usec += 6000) {
		struct dns_peer *p = mem_alloc(sizeof *p);
		struct ipaddr a;
		dns_cache_clear();
		assert_int_equal(ipaddr_parse(SPAN("192.0.2.16"), &a), RC_OK);
		dns_peer_init(p, &owner, loop_on_done);
		assert_false(dns_peer_ask(p, &a, 0));
		loop_for(usec);
		if (usec & 1000)
			ops_cancel_all(&owner);
		dns_peer_fini(p);
		mem_free(&p);
		assert_true(op_owner_idle(&owner));
	}
	loop_for(60 * 1000);
	server.delay_usec = 0;
	assert_int_equal(metric_values[M_op_pending], 0);
}

static void
test_prefetch(void **state)
{
	struct dns_query q;
	enum rc rc;
	(void)state;
	dns_cache_clear();
	dns_query_init(&q, &owner, loop_on_done);
	unsigned asked = server.asked;
	dns_prefetch(DNS_MX, SPAN("mx.test"), true);
	dns_prefetch(DNS_MX, SPAN("MX.test."), true);
	dns_prefetch(DNS_MX, SPAN(""), true);
	dns_prefetch(DNS_MX, SPAN("a..b"), true);
	assert_false(dns_known(&q, DNS_MX, SPAN("mx.test"), &rc));
	assert_true(op_owner_idle(&owner));
	loop_for(100 * 1000);
	assert_int_equal(server.asked, asked + 5); /* MX, and A and AAAA of two hosts; what is no host is not asked for */
	assert_true(dns_known(&q, DNS_MX, SPAN("mx.test"), &rc));
	assert_int_equal(rc, RC_OK);
	assert_int_equal(q.answer->n, 3);
	assert_true(dns_known(&q, DNS_A, SPAN("h1.mx.test"), &rc) && rc == RC_OK);
	assert_true(dns_known(&q, DNS_AAAA, SPAN("bad name"), &rc) && rc == RC_PERM);
	dns_query_fini(&q);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names), cmocka_unit_test(test_cached), cmocka_unit_test(test_cut), cmocka_unit_test(test_prefetch),
	};
	struct err e = { 0 };
	loop_init();
	op_owner_init(&owner);
	fake_dns_start(&server, rows);
	struct dns_settings s = { .servers = server.servers, .timeout_usec = 100 * 1000, .tries = 2 };
	if (dns_open(&s, &e) != RC_OK)
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	dns_close();
	fake_dns_stop(&server);
	loop_fini();
	return failed;
}
