/* SPDX-License-Identifier: BSD-2-Clause */
/* postscreen_dnsbl_sites: the syntax, the arithmetic, TTLs, names for replies, time. */
#include "rbl/ask.h"

#include "base/clock.h"
#include "confdir.h"
#include "fake_dns.h"
#include "loop_until.h"
#include "rbl/row.h"
#include "rbl/site.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MSEC UINT64_C(1000)

static const struct fake_rr rows[] = {
	{ "7.2.0.192.a.test", FD_A, "127.0.0.2", 0 }, { "7.2.0.192.a.test", FD_A, "127.0.0.4", 0 }, { "7.2.0.192.a.test", FD_A, "127.0.0.10", 0 },
	{ "7.2.0.192.b.test", FD_A, "127.0.0.3", 0 }, { "7.2.0.192.white.test", FD_A, "127.0.5.2", 0 }, { "7.2.0.192.over.test", FD_A, "127.255.255.254", 0 },
	{ "7.2.0.192.far.test", FD_A, "203.0.113.1", 0 }, { "7.2.0.192.fail.test", FD_RCODE, "", 2 }, { "7.2.0.192.dead.test", FD_SILENT, "", 0 },
	{ "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.b.test", FD_A, "127.0.0.2", 0 },
	{ "2.0.0.127.mad.test", FD_A, "127.0.0.2", 0 }, { "1.0.0.127.mad.test", FD_A, "127.0.0.2", 0 },
	{ NULL, 0, NULL, 0 },
};
static struct fake_dns server;
static struct op_owner owner;

static void
test_items(void **state)
{
	static const struct {
		const char *item, *domain; /* NULL: refused */
		int weight;
		bool has_filter;
	} cases[] = {
		{ "zen.example", "zen.example", 1, false }, { "zen.example*3", "zen.example", 3, false }, { "wl.example*-2", "wl.example", -2, false },
		{ "zen.example=127.0.0.[2..11]*2", "zen.example", 2, true }, { "zen.example=127.0.0.2", "zen.example", 1, true }, { "a.b*+4", "a.b", 4, false },
		{ "a.b*0", "a.b", 0, false }, { "a.b.*7", "a.b", 7, false }, { "a.b*2147483647", "a.b", 2147483647, false },
		{ "a.b*", NULL, 0, false }, { "a.b*x", NULL, 0, false }, { "a.b*1x", NULL, 0, false }, { "a.b*2147483648", NULL, 0, false }, { "a.b*1*2", NULL, 0, false },
		{ "a.b*2=127.0.0.1", NULL, 0, false }, { "*2", NULL, 0, false }, { "=127.0.0.1*2", NULL, 0, false }, { "a.b=127.0.0*2", NULL, 0, false },
		{ "a.b=127.0.0.[1;2*2", NULL, 0, false }, { "a b*2", NULL, 0, false }, { "1.2.3.4*2", NULL, 0, false },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct rbl_site s;
		struct err e = { 0 };
		enum rc rc = rbl_site_parse(span_str(cases[i].item), &s, &e);
		if ((rc == RC_OK) != (cases[i].domain != NULL))
			fail_msg("%s: %s", cases[i].item, rc == RC_OK ? "taken" : e.why);
		if (rc != RC_OK)
			continue;
		if (!span_eq_str(s.list.domain, cases[i].domain) || s.weight != cases[i].weight || s.list.has_filter != cases[i].has_filter)
			fail_msg("%s: %d", cases[i].item, s.weight);
	}
}

static struct rbl_sites *
sites_of(const char *settings, enum rc *rc_out, struct conf **conf_out)
{
	struct rbl_sites *s = NULL;
	struct err e;
	confdir_write("main.cf", settings);
	confdir_write("master.cf", "smtp inet n - n - - smtpd\n");
	assert_int_equal(conf_load(confdir, conf_out, &e), RC_OK);
	*rc_out = rbl_sites_open(*conf_out, NULL, &s, &e);
	return s;
}

static void
test_scores(void **state)
{
	static const struct {
		const char *sites, *addr;
		int score;
		const char *shown; /* NULL: none */
		enum rc rc;
		unsigned failed, questions;
	} cases[] = {
		{ "a.test", "192.0.2.7", 1, "a.test", RC_OK, 0, 1 },
		{ "a.test", "192.0.2.8", 0, NULL, RC_OK, 0, 1 },
		{ "a.test*3, b.test", "192.0.2.7", 4, "a.test", RC_OK, 0, 2 },
		{ "a.test b.test*2", "::ffff:192.0.2.7", 3, "b.test", RC_OK, 0, 2 },
		/* one question, several items; each adds once however many addresses fit */
		{ "a.test=127.0.0.2*2, a.test=127.0.0.[3..10]*4", "192.0.2.7", 6, "a.test", RC_OK, 0, 1 },
		{ "a.test=127.0.0.[2;4;10]*4, A.test=127.0.0.99*8", "192.0.2.7", 4, "a.test", RC_OK, 0, 1 },
		{ "a.test*2, a.test*2", "192.0.2.7", 4, "a.test", RC_OK, 0, 1 },
		{ "a.test*2, white.test=127.0.[0..255].[1..3]*-5", "192.0.2.7", -3, "a.test", RC_OK, 0, 2 },
		{ "white.test*-5", "192.0.2.7", -5, "white.test", RC_OK, 0, 1 },
		{ "b.test*0", "192.0.2.7", 0, "b.test", RC_OK, 0, 1 },
		{ "b.test", "2001:db8::1", 1, "b.test", RC_OK, 0, 1 },
		{ "a.test*2147483647, b.test*2147483647", "192.0.2.7", 2147483647, "a.test", RC_OK, 0, 2 },
		/* what is no listing */
		{ "over.test*9", "192.0.2.7", 0, NULL, RC_TEMP, 1, 1 }, { "over.test=127.255.255.[0..255]*9, a.test", "192.0.2.7", 1, "a.test", RC_TEMP, 1, 2 },
		{ "far.test*9", "192.0.2.7", 0, NULL, RC_OK, 0, 1 }, { "far.test=203.0.113.[0..9]*9", "192.0.2.7", 9, "far.test", RC_OK, 0, 1 },
		{ "fail.test*9, a.test", "192.0.2.7", 1, "a.test", RC_TEMP, 1, 2 },
		{ "dead.test*9, a.test", "192.0.2.7", 1, "a.test", RC_TEMP, 1, 2 },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		char settings[500];
		struct conf *c;
		struct ipaddr a;
		struct rbl_score sc;
		enum rc rc;
		confdir_make();
		dns_cache_clear();
		snprintf(settings, sizeof settings, "postscreen_dnsbl_sites = %s\npostscreen_dnsbl_timeout = 1s\n", cases[i].sites);
		struct rbl_sites *s = sites_of(settings, &rc, &c);
		assert_int_equal(rc, RC_OK);
		assert_non_null(s);
		assert_int_equal(ipaddr_parse(span_str(cases[i].addr), &a), RC_OK);
		unsigned before = server.asked;
		rbl_score_init(&sc, &owner, loop_on_done);
		rbl_score_start(&sc, s, &a, NULL);
		loop_until(1);
		if (sc.score != cases[i].score || sc.op.rc != cases[i].rc || sc.failed != cases[i].failed || sc.pending != 0)
			fail_msg("%s %s: score %d, rc %d, %u failed", cases[i].sites, cases[i].addr, sc.score, sc.op.rc, sc.failed);
		/* of two with the same weight the first that answered is shown */
		if ((sc.shown == NULL) != (cases[i].shown == NULL) || (sc.shown != NULL && sc.score != 2147483647 && strcmp(sc.shown, cases[i].shown) != 0))
			fail_msg("%s %s: %s", cases[i].sites, cases[i].addr, sc.shown != NULL ? sc.shown : "none");
		if (server.asked - before != cases[i].questions)
			fail_msg("%s: %u questions", cases[i].sites, server.asked - before);
		rbl_score_fini(&sc);
		rbl_score_fini(&sc);
		assert_true(op_owner_idle(&owner));
		/* the same again is known: nothing leaves */
		if (cases[i].rc == RC_OK) {
			rbl_score_init(&sc, &owner, loop_on_done);
			rbl_score_start(&sc, s, &a, NULL);
			assert_int_equal(sc.op.state, OP_READY);
			assert_int_equal(sc.score, cases[i].score);
			loop_until(1);
			rbl_score_fini(&sc);
			assert_int_equal(server.asked - before, cases[i].questions);
		}
		rbl_sites_free(&s);
		conf_unref(&c);
		confdir_remove();
	}
}

/* It may be read and ended at any time. */
static void
test_early(void **state)
{
	struct conf *c;
	struct ipaddr a;
	struct rbl_score sc = { 0 };
	enum rc rc;
	(void)state;
	rbl_score_fini(&sc);
	confdir_make();
	dns_cache_clear();
	struct rbl_sites *s = sites_of("postscreen_dnsbl_sites = dead.test, a.test*2\n", &rc, &c);
	assert_int_equal(ipaddr_parse(SPAN("192.0.2.7"), &a), RC_OK);
	rbl_score_init(&sc, &owner, loop_on_done);
	rbl_score_start(&sc, s, &a, NULL);
	assert_int_equal(sc.pending, 2);
	rbl_score_fini(&sc);
	assert_true(op_owner_idle(&owner));
	rbl_score_init(&sc, &owner, loop_on_done);
	rbl_score_start(&sc, s, &a, NULL);
	for (int i = 0; i < 200 && sc.pending != 1; i++) {
		struct rbl_ask tick;
		rbl_ask_init(&tick, &owner, loop_on_done);
		char query[40];
		snprintf(query, sizeof query, "%d.1.1.1.b.test", i);
		if (!rbl_ask_now(&tick, RBL_ADDRESSES, SPAN("b.test"), span_str(query)))
			loop_until(1);
		rbl_ask_fini(&tick);
	}
	assert_int_equal(sc.pending, 1);
	assert_int_equal(sc.score, 2);
	assert_string_equal(sc.shown, "a.test");
	rbl_score_fini(&sc);
	assert_true(op_owner_idle(&owner));
	rbl_sites_free(&s);
	conf_unref(&c);
	confdir_remove();
}

/* What limits of our own kept from being asked is counted, whether it was turned away or still waits. */
static void
test_not_asked(void **state)
{
	struct dns_settings few = { .servers = server.servers, .timeout_usec = 3000 * MSEC, .tries = 1, .query_limit = 1, .queue_limit = 2 }, many = few;
	struct conf *c;
	struct ipaddr a;
	struct rbl_score sc;
	struct err e;
	enum rc rc;
	(void)state;
	many.query_limit = many.queue_limit = 0;
	confdir_make();
	dns_cache_clear();
	struct rbl_sites *s = sites_of("postscreen_dnsbl_sites = dead.test*9, a.test*2, b.test*3, b.test=127.0.0.9*4, white.test*-5, fail.test\n", &rc, &c);
	assert_int_equal(rc, RC_OK);
	assert_int_equal(dns_open(&few, &e), RC_OK);
	assert_int_equal(ipaddr_parse(SPAN("192.0.2.7"), &a), RC_OK);
	rbl_score_init(&sc, &owner, loop_on_done);
	rbl_score_start(&sc, s, &a, NULL);
	rbl_score_fini(&sc);
	assert_int_equal(sc.not_asked, 4); /* all but dead.test */
	assert_int_equal(sc.not_asked_weight, 2 + 3 + 4 + 1);
	rbl_score_fini(&sc);
	assert_int_equal(sc.not_asked, 4);
	assert_int_equal(dns_open(&many, &e), RC_OK);
	assert_int_equal(ipaddr_parse(SPAN("192.0.2.8"), &a), RC_OK); /* what was asked before is still under way */
	rbl_score_init(&sc, &owner, loop_on_done);
	rbl_score_start(&sc, s, &a, NULL);
	rbl_score_fini(&sc);
	assert_int_equal(sc.not_asked, 0);
	assert_int_equal(sc.not_asked_weight, 0);
	assert_true(op_owner_idle(&owner));
	rbl_sites_free(&s);
	conf_unref(&c);
	confdir_remove();
}

static void
test_ttls(void **state)
{
	static const struct {
		const char *bounds;
		uint64_t ttl; /* seconds; the server says 60 */
	} cases[] = {
		/* who has not answered may be the one that knows him */
		{ "postscreen_dnsbl_min_ttl = 7s\npostscreen_dnsbl_sites = a.test, fail.test\n", 7 },
		{ "postscreen_dnsbl_min_ttl = 7s\npostscreen_dnsbl_sites = fail.test\n", 7 },
		{ "postscreen_dnsbl_min_ttl = 7s\npostscreen_dnsbl_sites = over.test\n", 7 },
		{ "postscreen_dnsbl_min_ttl = 7s\npostscreen_dnsbl_sites = mad.test\n", 7 },
		{ "postscreen_dnsbl_min_ttl = 7s\npostscreen_dnsbl_sites = a.test, mad.test\n", 7 },
		{ "postscreen_dnsbl_min_ttl = 7s\npostscreen_dnsbl_timeout = 1s\npostscreen_dnsbl_sites = a.test, dead.test\n", 7 },
		{ "postscreen_dnsbl_min_ttl = 1s\n", 60 }, { "postscreen_dnsbl_min_ttl = 90s\n", 90 }, { "postscreen_dnsbl_min_ttl = 1s\npostscreen_dnsbl_max_ttl = 30s\n", 30 },
		{ "postscreen_dnsbl_min_ttl = 1s\npostscreen_dnsbl_ttl = 5\n", 60 },
	};
	struct rbl_settings health = { .probe_interval = 3600 * 1000 * MSEC, .timeout = 1000 * MSEC, .pause = 1000 * MSEC, .pause_limit = 1000 * MSEC,
		.pause_after = 100, .exceptions = "a.test fail.test over.test dead.test", .is_quiet = true };
	(void)state;
	rbl_health_begin(&health);
	rbl_health_use(RBL_ADDRESSES, SPAN("mad.test")); /* lists what must not be listed: out of use */
	rbl_health_on_probed(loop_stop);
	rbl_health_end();
	loop_until(1);
	rbl_health_on_probed(NULL);
	for (size_t i = 0; i < NELEMS(cases); i++) {
		char settings[300];
		struct conf *c;
		struct ipaddr a;
		struct rbl_score sc;
		enum rc rc;
		confdir_make();
		snprintf(settings, sizeof settings, "postscreen_dnsbl_sites = a.test\n%s", cases[i].bounds);
		struct rbl_sites *s = sites_of(settings, &rc, &c);
		assert_int_equal(ipaddr_parse(SPAN("192.0.2.7"), &a), RC_OK);
		rbl_score_init(&sc, &owner, loop_on_done);
		rbl_score_start(&sc, s, &a, NULL);
		loop_until(1);
		if (sc.ttl_usec / USEC_PER_SEC != cases[i].ttl)
			fail_msg("%s: %llu", cases[i].bounds, (unsigned long long)(sc.ttl_usec / USEC_PER_SEC));
		rbl_score_fini(&sc);
		rbl_sites_free(&s);
		conf_unref(&c);
		confdir_remove();
	}
	rbl_health_close();
}

static void
test_names(void **state)
{
	static const struct {
		const char *settings;
		enum rc rc;
		const char *shown; /* of the first; NULL: no sites */
	} cases[] = {
		{ "", RC_OK, NULL }, { "postscreen_dnsbl_sites =\n", RC_OK, NULL },
		{ "postscreen_dnsbl_sites = secret.a.test\n", RC_OK, "secret.a.test" },
		{ "postscreen_dnsbl_sites = secret.a.test*2\npostscreen_dnsbl_reply_map = inline:{secret.a.test=a.test}\n", RC_OK, "a.test" },
		{ "postscreen_dnsbl_sites = b.test\npostscreen_dnsbl_reply_map = inline:{secret.a.test=a.test}\n", RC_OK, "b.test" },
		{ "postscreen_dnsbl_sites = b.test\npostscreen_dnsbl_reply_map = pcre:{{/^(.)/ $${1}x}}\n", RC_OK, "bx" },
		{ "postscreen_dnsbl_sites = b.test\npostscreen_dnsbl_reply_map = fail:x\n", RC_PERM, NULL },
		{ "postscreen_dnsbl_sites = b.test, c.test*q\n", RC_PERM, NULL }, { "postscreen_dnsbl_sites = b.test=127.0.0\n", RC_PERM, NULL },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct conf *c;
		enum rc rc;
		confdir_make();
		struct rbl_sites *s = sites_of(cases[i].settings, &rc, &c);
		if (rc != cases[i].rc || (s != NULL) != (cases[i].shown != NULL) || (s != NULL && strcmp(s->domains[0].shown, cases[i].shown) != 0))
			fail_msg("%s: rc %d, %s", cases[i].settings, rc, s != NULL ? s->domains[0].shown : "none");
		assert_int_equal(conf_problem_count(c, CONF_ERROR) > 0, rc != RC_OK);
		rbl_sites_free(&s);
		conf_unref(&c);
		confdir_remove();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_items), cmocka_unit_test(test_scores), cmocka_unit_test(test_early), cmocka_unit_test(test_not_asked), cmocka_unit_test(test_ttls),
		cmocka_unit_test(test_names) };
	struct err e = { 0 };
	loop_init();
	op_owner_init(&owner);
	fake_dns_start(&server, rows);
	struct dns_settings s = { .servers = server.servers, .timeout_usec = 3000 * MSEC, .tries = 1 };
	BUG_ON(dns_open(&s, &e) != RC_OK);
	int failed = cmocka_run_group_tests_name("rbl_sites", tests, NULL, NULL);
	rbl_health_close();
	dns_close();
	fake_dns_stop(&server);
	loop_fini();
	return failed;
}
