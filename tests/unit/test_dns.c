/* SPDX-License-Identifier: BSD-2-Clause */
/* The resolver against a DNS server of our own: outcomes, coalescing, cache, time-outs, cancelling. */
#include "dns/dns.h"

#include "base/metric.h"
#include "dns/cache.h"
#include "dns/servers.h"
#include "fake_dns.h"
#include "loop_until.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const struct fake_rr rows[] = {
	{ "a.test", FD_A, "192.0.2.1", 0 }, { "a.test", FD_A, "192.0.2.2", 0 },
	{ "six.test", FD_AAAA, "2001:db8::1", 0 },
	{ "mx.test", FD_MX, "mx1.test", 10 }, { "mx.test", FD_MX, "mx2.test", 20 },
	{ "null.test", FD_MX, "", 0 },
	{ "txt.test", FD_TXT, "hello; world", 0 },
	{ "2.2.0.192.in-addr.arpa", FD_PTR, "host.test", 0 },
	{ "alias.test", FD_CNAME, "a.test", 0 },
	{ "loop1.test", FD_CNAME, "loop2.test", 0 }, { "loop2.test", FD_CNAME, "loop1.test", 0 },
	{ "dangling.test", FD_CNAME, "gone.test", 0 },
	{ "servfail.test", FD_RCODE, "", 2 }, { "refused.test", FD_RCODE, "", 5 }, { "formerr.test", FD_RCODE, "", 1 },
	{ "notimp.test", FD_RCODE, "", 4 },
	{ "garbage.test", FD_GARBAGE, "", 0 },
	{ "silent.test", FD_SILENT, "", 0 },
	{ NULL, 0, NULL, 0 },
};

static struct fake_dns server;
static struct op_owner owner;

static void
open_resolver(const char *servers)
{
	struct err e = { 0 };
	struct dns_settings s = { .servers = servers, .timeout_usec = 100 * 1000, .tries = 2 };
	if (dns_open(&s, &e) != RC_OK)
		fail_msg("%s", e.why);
}

static void
test_outcomes(void **state)
{
	static const struct {
		enum dns_type type;
		const char *name;
		enum rc rc;
		unsigned n;
		bool nxdomain;
	} cases[] = {
		{ DNS_A, "a.test", RC_OK, 2, false }, { DNS_A, "A.TEST.", RC_OK, 2, false },
		{ DNS_AAAA, "six.test", RC_OK, 1, false }, { DNS_MX, "mx.test", RC_OK, 2, false },
		{ DNS_MX, "null.test", RC_OK, 1, false }, { DNS_TXT, "txt.test", RC_OK, 1, false },
		{ DNS_A, "alias.test", RC_OK, 2, false },
		{ DNS_AAAA, "a.test", RC_NONE, 0, false }, { DNS_A, "nosuch.test", RC_NONE, 0, true },
		{ DNS_A, "loop1.test", RC_TEMP, 0, false },
		{ DNS_A, "servfail.test", RC_TEMP, 0, false }, { DNS_A, "refused.test", RC_TEMP, 0, false },
		{ DNS_A, "notimp.test", RC_TEMP, 0, false }, { DNS_A, "formerr.test", RC_TEMP, 0, false },
		{ DNS_A, "silent.test", RC_TEMP, 0, false },
		{ DNS_A, "garbage.test", RC_PERM, 0, false },
		{ DNS_A, "a..test", RC_PERM, 0, false }, { DNS_A, "", RC_PERM, 0, false }, { DNS_A, ".", RC_PERM, 0, false },
		{ DNS_A, "a b.test", RC_PERM, 0, false }, { DNS_A, "a\\046b.test", RC_PERM, 0, false },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct dns_query q;
		dns_query_init(&q, &owner, loop_on_done);
		dns_ask(&q, cases[i].type, span_str(cases[i].name), 0);
		loop_until(1);
		if (q.op.rc != cases[i].rc || q.answer->n != cases[i].n || q.answer->nxdomain != cases[i].nxdomain)
			fail_msg("%s %s: rc %d, %u records, nxdomain %d", cases[i].name, dns_type_name(cases[i].type), q.op.rc, q.answer->n,
			    q.answer->nxdomain);
		assert_true(q.op.rc == RC_OK || q.answer->why != NULL);
		dns_query_fini(&q);
	}
}

static void
test_values(void **state)
{
	struct dns_query mx, ptr;
	(void)state;
	dns_query_init(&mx, &owner, loop_on_done);
	dns_query_init(&ptr, &owner, loop_on_done);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("192.0.2.2") };
	dns_ask(&mx, DNS_MX, SPAN("mx.test"), 0);
	dns_ask_ptr(&ptr, (struct sockaddr *)&a, 0);
	loop_until(2);
	assert_int_equal(mx.answer->rr[0].pref, 10);
	assert_true(span_eq_str(mx.answer->rr[0].data, "mx1.test"));
	assert_true(span_eq_str(ptr.answer->rr[0].data, "host.test"));
	dns_query_fini(&mx);
	dns_query_fini(&ptr);
}

static void
test_coalesced_and_cached(void **state)
{
	struct dns_query q[20];
	(void)state;
	dns_cache_clear();
	unsigned before = server.asked;
	for (size_t i = 0; i < NELEMS(q); i++) {
		dns_query_init(&q[i], &owner, loop_on_done);
		dns_ask(&q[i], DNS_A, i % 2 ? SPAN("a.test") : SPAN("A.test."), 0);
	}
	loop_until(NELEMS(q));
	assert_int_equal(server.asked - before, 1);
	for (size_t i = 0; i < NELEMS(q); i++) {
		assert_int_equal(q[i].answer->n, 2);
		assert_true(q[i].took_usec > 0);
		dns_query_fini(&q[i]);
	}
	dns_query_init(&q[0], &owner, loop_on_done);
	dns_ask(&q[0], DNS_A, SPAN("a.test"), 0);
	assert_int_equal(q[0].op.state, OP_READY); /* queued, not called back from inside */
	loop_until(1);
	assert_int_equal(server.asked - before, 1);
	assert_int_equal(q[0].took_usec, 0);
	dns_query_fini(&q[0]);
}

static void
test_forget(void **state)
{
	struct dns_query q;
	enum rc rc;
	(void)state;
	dns_query_init(&q, &owner, loop_on_done);
	dns_ask(&q, DNS_A, SPAN("a.test"), 0);
	loop_until(1);
	assert_true(dns_known(&q, DNS_A, SPAN("A.test."), &rc));
	dns_forget(DNS_A, SPAN("a.TEST"));
	assert_false(dns_known(&q, DNS_A, SPAN("a.test"), &rc));
	dns_forget(DNS_A, SPAN("a.test"));
	/* one on its way keeps those who wait for it */
	struct dns_query second;
	dns_query_init(&second, &owner, loop_on_done);
	unsigned before = server.asked;
	dns_ask(&q, DNS_A, SPAN("a.test"), 0);
	dns_forget(DNS_A, SPAN("a.test"));
	dns_ask(&second, DNS_A, SPAN("a.test"), 0);
	loop_until(2);
	assert_int_equal(server.asked - before, 2);
	assert_int_equal(q.op.rc, RC_OK);
	assert_int_equal(second.op.rc, RC_OK);
	dns_query_fini(&q);
	dns_query_fini(&second);
}

static void
test_cancel_and_timeout(void **state)
{
	struct dns_query gone, late;
	(void)state;
	dns_query_init(&gone, &owner, loop_on_done);
	dns_query_init(&late, &owner, loop_on_done);
	dns_ask(&gone, DNS_A, SPAN("silent.test"), 0);
	dns_ask(&late, DNS_A, SPAN("silent.test"), 20 * 1000);
	dns_query_fini(&gone);
	loop_until(1);
	assert_int_equal(late.op.rc, RC_TEMP);
	assert_int_equal(late.answer->trouble, DNS_TROUBLE_TIMEOUT);
	dns_ask(&late, DNS_A, SPAN("servfail.test"), 0);
	loop_until(1);
	assert_int_equal(late.answer->trouble, DNS_TROUBLE_SERVER);
	dns_ask(&late, DNS_A, SPAN("silent.test"), 0); /* until the resolver gives up */
	loop_until(1);
	assert_int_equal(late.answer->trouble, DNS_TROUBLE_TIMEOUT);
	dns_query_fini(&late);
	assert_true(op_owner_idle(&owner));
}

static void
test_resolver_gone_and_back(void **state)
{
	struct dns_query q;
	(void)state;
	dns_cache_clear();
	server.mute = true;
	dns_query_init(&q, &owner, loop_on_done);
	dns_ask(&q, DNS_A, SPAN("a.test"), 0);
	loop_until(1);
	assert_int_equal(q.op.rc, RC_TEMP);
	server.mute = false;
	dns_ask(&q, DNS_A, SPAN("a.test"), 0);
	loop_until(1);
	assert_int_equal(q.op.rc, RC_OK);
	dns_query_fini(&q);
	/* a port where nobody listens, then the good one again: reload */
	open_resolver("127.0.0.1:1");
	dns_cache_clear();
	dns_query_init(&q, &owner, loop_on_done);
	dns_ask(&q, DNS_A, SPAN("a.test"), 0);
	loop_until(1);
	assert_int_equal(q.op.rc, RC_TEMP);
	dns_ask(&q, DNS_A, SPAN("silent.test"), 0);
	open_resolver(server.servers); /* while one is in flight */
	loop_until(1);
	assert_int_equal(q.op.rc, RC_TEMP);
	dns_ask(&q, DNS_A, SPAN("a.test"), 0);
	loop_until(1);
	assert_int_equal(q.op.rc, RC_OK);
	dns_query_fini(&q);
}

/* A question that somebody has waited for in vain is not waited for again while it is on its way. */
static void
test_waited_enough(void **state)
{
	struct dns_query q;
	(void)state;
	dns_query_init(&q, &owner, loop_on_done);
	dns_ask(&q, DNS_AAAA, SPAN("silent.test"), 40 * 1000);
	assert_int_equal(q.op.state, OP_PENDING);
	loop_until(1);
	assert_int_equal(q.op.rc, RC_TEMP);
	dns_ask(&q, DNS_AAAA, SPAN("silent.test"), 40 * 1000);
	assert_int_equal(q.op.state, OP_READY);
	loop_until(1);
	assert_int_equal(q.op.rc, RC_TEMP);
	dns_ask(&q, DNS_AAAA, SPAN("silent.test"), 0); /* until the resolver gives up */
	assert_int_equal(q.op.state, OP_PENDING);
	loop_until(1);
	dns_query_fini(&q);
}

static void
test_close_with_questions(void **state)
{
	struct dns_query q;
	(void)state;
	dns_query_init(&q, &owner, loop_on_done);
	dns_ask(&q, DNS_A, SPAN("silent.test"), 0);
	dns_close();
	loop_until(1);
	assert_int_equal(q.op.rc, RC_TEMP);
	dns_query_fini(&q);
	assert_int_equal(metric_values[M_op_pending], 0);
	open_resolver(server.servers);
}

static void
test_servers(void **state)
{
	static const struct {
		const char *list;
		enum rc rc;
		unsigned n;
		uint16_t port;
	} cases[] = {
		{ "", RC_NONE, 0, 0 }, { "127.0.0.1", RC_OK, 1, 53 }, { "127.0.0.1:5353, [::1]:53", RC_OK, 2, 5353 },
		{ "::1", RC_OK, 1, 53 }, { "[::1]", RC_OK, 1, 53 }, { "dns.test", RC_PERM, 0, 0 }, { "1.2.3.4:0", RC_PERM, 0, 0 },
		{ "1.2.3.4:65536", RC_PERM, 0, 0 }, { "[::1", RC_PERM, 0, 0 }, { "1.2.3.4:", RC_PERM, 0, 0 }, { "[::1]53", RC_PERM, 0, 0 },
	};
	struct dns_server out[DNS_SERVERS_MAX];
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		unsigned n = 0;
		struct err e;
		enum rc rc = dns_servers_parse(span_str(cases[i].list), out, &n, &e);
		if (rc != cases[i].rc || (rc == RC_OK && (n != cases[i].n || out[0].port != cases[i].port)))
			fail_msg("%s: rc %d, %u servers", cases[i].list, rc, n);
	}
}

static void
test_resolv_conf(void **state)
{
	static const struct {
		const char *text, *servers;
	} cases[] = {
		{ "", "" }, { "nameserver 192.0.2.1\n", "192.0.2.1" }, { "nameserver\t192.0.2.1\r\n\n  nameserver 2001:db8::1 # x\n", "192.0.2.1, 2001:db8::1" },
		{ "# nameserver 192.0.2.9\n;nameserver 192.0.2.9\nsearch a b\noptions timeout:1\nnameserver 192.0.2.1", "192.0.2.1" },
		{ "nameserver fe80::1%eth0\nnameserver nonsense\nnameserver\nnameservers 192.0.2.9\nnameserver 192.0.2.2", "192.0.2.2" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct buf b;
		buf_init(&b, 4096);
		dns_servers_of_resolv_conf(span_str(cases[i].text), &b);
		assert_string_equal(buf_cstr(&b), cases[i].servers);
		buf_fini(&b);
	}
}

static void
put_name(struct dns_cache *c, char kind, int i, uint64_t now)
{
	struct dns_answer a = { .ttl = 1000, .nxdomain = true };
	char name[32];
	snprintf(name, sizeof name, "%c%05d.test", kind, i);
	dns_cache_put(c, DNS_A, span_str(name), now, RC_NONE, &a);
}

static bool
has_name(struct dns_cache *c, char kind, int i, uint64_t now)
{
	enum rc rc;
	const struct dns_answer *found;
	char name[32];
	snprintf(name, sizeof name, "%c%05d.test", kind, i);
	return dns_cache_find(c, DNS_A, span_str(name), now, &rc, &found);
}

static void
test_cache_bound(void **state)
{
	struct dns_cache c;
	struct dns_answer a = { .ttl = 10, .nxdomain = true };
	enum rc rc;
	const struct dns_answer *found;
	uint64_t now = 1000;
	(void)state;
	dns_cache_init(&c, 64 * 1024);
	for (int i = 0; i < 1000; i++)
		put_name(&c, 'x', i, now);
	assert_true(c.bytes <= c.max && c.count > 100 && c.count < 1000);
	assert_int_equal(metric_values[M_dns_cache_bytes], c.bytes);
	assert_false(has_name(&c, 'x', 0, now));
	assert_true(has_name(&c, 'x', 999, now));
	dns_cache_put(&c, DNS_A, SPAN("ten.test"), now, RC_NONE, &a);
	assert_true(dns_cache_find(&c, DNS_A, SPAN("TEN.test."), now, &rc, &found));
	assert_true(rc == RC_NONE && found->nxdomain);
	assert_false(dns_cache_find(&c, DNS_AAAA, SPAN("ten.test"), now, &rc, &found));
	assert_false(dns_cache_find(&c, DNS_A, SPAN("ten.test"), now + 10 * 1000000, &rc, &found));
	/* what does not fit is not kept, and what was said before neither */
	char large[4096] = "";
	struct dns_rr rr = { .data = span_of(large, sizeof large) };
	dns_cache_put(&c, DNS_A, SPAN("ten.test"), now, RC_OK, &(struct dns_answer){ .ttl = 10, .n = 1, .rr = &rr });
	assert_false(dns_cache_find(&c, DNS_A, SPAN("ten.test"), now, &rc, &found));
	dns_cache_limit(&c, 0);
	assert_int_equal(c.count, 0);
	assert_int_equal(c.bytes, 0);
	dns_cache_fini(&c);
}

/* Names of one client, each asked about once, do not push out what is asked for again and again. */
static void
test_cache_flood(void **state)
{
	struct dns_cache c;
	uint64_t now = 1000;
	(void)state;
	dns_cache_init(&c, 256 * 1024);
	for (int i = 0; i < 500; i++)
		put_name(&c, 'g', i, now);
	now += DNS_CACHE_PROVE_USEC;
	for (int i = 0; i < 500; i++)
		assert_true(has_name(&c, 'g', i, now));
	for (int i = 0; i < 20000; i++) {
		put_name(&c, 'r', i, now);
		assert_true(has_name(&c, 'r', i, now)); /* the rule after the prefetch */
		assert_true(c.bytes <= c.max);
	}
	for (int i = 0; i < 500; i++)
		assert_true(has_name(&c, 'g', i, now));
	/* and what is proven does not fill everything */
	for (int i = 0; i < 5000; i++) {
		put_name(&c, 's', i, now);
		(void)has_name(&c, 's', i, now + DNS_CACHE_PROVE_USEC);
	}
	assert_true(c.proven_bytes <= c.max / 4 * 3 && c.bytes <= c.max);
	dns_cache_fini(&c);
}

static void
test_reverse(void **state)
{
	static const struct {
		int family;
		const char *addr, *zone, *name;
	} cases[] = {
		{ AF_INET, "192.0.2.200", "", "200.2.0.192.in-addr.arpa" },
		{ AF_INET, "192.0.2.200", "bl.test", "200.2.0.192.bl.test" },
		{ AF_INET6, "::ffff:192.0.2.1", "bl.test", "1.2.0.192.bl.test" },
		{ AF_INET6, "2001:db8::1", "", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct sockaddr_storage ss = { .ss_family = (sa_family_t)cases[i].family };
		void *to = cases[i].family == AF_INET ? (void *)&((struct sockaddr_in *)(void *)&ss)->sin_addr
		                                      : (void *)&((struct sockaddr_in6 *)(void *)&ss)->sin6_addr;
		struct buf b;
		assert_int_equal(inet_pton(cases[i].family, cases[i].addr, to), 1);
		buf_init(&b, 255);
		dns_reverse_name((struct sockaddr *)&ss, span_str(cases[i].zone), &b);
		assert_string_equal(buf_cstr(&b), cases[i].name);
		buf_fini(&b);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_servers), cmocka_unit_test(test_resolv_conf), cmocka_unit_test(test_reverse), cmocka_unit_test(test_cache_bound), cmocka_unit_test(test_cache_flood),
		cmocka_unit_test(test_outcomes), cmocka_unit_test(test_values), cmocka_unit_test(test_coalesced_and_cached),
		cmocka_unit_test(test_forget), cmocka_unit_test(test_cancel_and_timeout), cmocka_unit_test(test_resolver_gone_and_back),
		cmocka_unit_test(test_waited_enough), cmocka_unit_test(test_close_with_questions),
	};
	loop_init();
	op_owner_init(&owner);
	fake_dns_start(&server, rows);
	open_resolver(server.servers);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	dns_close();
	fake_dns_stop(&server);
	loop_fini();
	return failed;
}
