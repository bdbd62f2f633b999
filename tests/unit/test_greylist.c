/* SPDX-License-Identifier: BSD-2-Clause */
/* Greylisting: who is the same, and what the queue remembers. */
#include "policy/greylist_key.h"
#include "queue/greylist.h"

#include "base/clock.h"
#include "base/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "confdir.h"
#include "unit.h"

/* ---- keys ---- */

static void
test_clients(void **state)
{
	(void)state;
	static const struct {
		const char *addr, *name, *want;
	} rows[] = {
		{ "192.0.2.77", NULL, "192.0.2.0/24" },
		{ "2001:db8:1:2:3::7", NULL, "2001:db8:1:2::/64" },
		{ "209.85.222.182", "mail-qk1-f182.google.com", "google.com" },
		{ "40.107.8.89", "mail-eopbgr80089.outbound.protection.outlook.com", "outbound.protection.outlook.com" },
		{ "192.0.2.1", "MX1.Example.COM", "example.com" },
		{ "192.0.2.1", "example.com", "example.com" },
		{ "192.0.2.1", "example.co.uk", "example.co.uk" },
		{ "192.0.2.1", "mx.example.co.uk", "example.co.uk" },
		{ "192.0.2.1", "localhost", "192.0.2.0/24" },
		/* the provider's names */
		{ "192.0.100.7", "host-7-100.dyn.example.com", "192.0.100.7" },
		{ "203.0.113.9", "203.0.113.9.static.isp.example", "203.0.113.9" },
		{ "203.0.113.9", "ip203000113009.isp.example", "203.0.113.9" },
		{ "203.0.113.9", "ipCB007109.isp.example", "203.0.113.9" },
		{ "203.0.113.9", "isp-113-89.isp.example", "isp.example" },
		{ "192.0.7.7", "mail7.example.com", "example.com" },
		{ "192.0.7.7", "h7-7-0.example.com", "192.0.7.7" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct facts f = { .client_name = SPAN("unknown"), .client_name_rc = RC_NONE };
		struct buf b;
		buf_init(&b, 1000);
		assert_int_equal(ipaddr_parse(span_str(rows[i].addr), &f.client), RC_OK);
		if (rows[i].name != NULL) {
			f.client_name = span_str(rows[i].name);
			f.client_name_rc = RC_OK;
		}
		greylist_client(&b, &f, 24, 64);
		assert_span(buf_span(&b), rows[i].want);
		buf_reset(&b);
		f.client_name_rc = RC_TEMP; /* not verified: its network */
		greylist_client(&b, &f, 32, 128);
		assert_int_equal(span_chr(buf_span(&b), '/'), SIZE_MAX);
		buf_fini(&b);
	}
}

static void
test_senders(void **state)
{
	(void)state;
	static const struct {
		const char *a, *b;   /* the same; b NULL: a stays as it is, in lower case */
	} rows[] = {
		{ "anna@example.com", NULL },
		{ "", NULL },
		{ "a1b2@example.com", NULL },
		{ "deadbeef@example.com", NULL },
		{ "list-return-1234-anna=local.test@example.com", "list-return-99-anna=local.test@example.com" },
		{ "bounces+4711-8f2c-anna=x.test@em.example.com", "bounces+12@em.example.com" },
		{ "0100018abcd12345-c0ffee00-0000@amazonses.example", "0100018fff012345-beef1234-0001@amazonses.example" },
		{ "SRS0=HHH1=TT=origin.test=anna@fwd.test", "srs0=abCD=XX=origin.test=Anna@fwd.test" },
		{ "SRS0+HHH1=TT=origin.test=anna@fwd.test", "SRS0-abCD=XX=origin.test=anna@fwd.test" },
		{ "prvs=0123456789=anna@example.com", "prvs=9876abcdef=anna@example.com" },
		{ "prvs=0123456789=anna@example.com", "anna@example.com" },
		{ "btv1==01234567890abcd==anna@example.com", "anna@example.com" },
		{ "Anna@Example.COM", "anna@example.com" },
		{ "anna+tag@example.com", "anna@example.com" },
	};
	static const char *const different[][2] = {
		{ "anna@example.com", "bert@example.com" },
		{ "anna@a1.example", "anna@a2.example" },
		{ "SRS0=HHH1=TT=origin.test=anna@fwd.test", "SRS0=HHH1=TT=other.test=anna@fwd.test" },
		{ "+anna@example.com", "+bert@example.com" },
	};
	struct buf x, y;
	buf_init(&x, 1000);
	buf_init(&y, 1000);
	for (size_t i = 0; i < NELEMS(rows); i++, buf_reset(&x), buf_reset(&y)) {
		greylist_sender(&x, span_str(rows[i].a));
		if (rows[i].b == NULL) {
			assert_span(buf_span(&x), rows[i].a);
			continue;
		}
		greylist_sender(&y, span_str(rows[i].b));
		assert_string_equal(buf_cstr(&x), buf_cstr(&y));
	}
	for (size_t i = 0; i < NELEMS(different); i++, buf_reset(&x), buf_reset(&y)) {
		greylist_sender(&x, span_str(different[i][0]));
		greylist_sender(&y, span_str(different[i][1]));
		assert_string_not_equal(buf_cstr(&x), buf_cstr(&y));
	}
	buf_fini(&x);
	buf_fini(&y);
}

/* ---- what is remembered ---- */

static struct greylist g;
static uint64_t start;

static int
world_open(void **state)
{
	(void)state;
	struct err e;
	loop_init();
	start = clock_wall();
	confdir_make();
	if (greylist_open(&g, confdir, 1 << 20, &e) != RC_OK) {
		print_error("%s\n", e.why);
		return 1;
	}
	return 0;
}

static int
world_close(void **state)
{
	(void)state;
	greylist_close(&g);
	loop_fini();
	confdir_remove();
	return 0;
}

static struct msg_greylist
question(const char *client, const char *sender, const char *rcpt)
{
	return (struct msg_greylist){ .client = span_str(client), .sender = span_str(sender), .rcpt = span_str(rcpt), .client_name = SPAN("unknown"),
		.client_addr = SPAN("192.0.2.1"), .delay = 300, .window = 7200, .expire = 1000000, .allow_after = 3 };
}

static void
expect(const struct msg_greylist *m, uint64_t after_seconds, enum greylist_verdict verdict, uint32_t seconds)
{
	clock_wall_offset((int64_t)(after_seconds * USEC_PER_SEC));
	struct msg_greylist_answer a = greylist_ask(&g, m, start + after_seconds * USEC_PER_SEC);
	assert_int_equal(a.verdict, verdict);
	assert_int_equal(a.seconds, seconds);
}

static void
test_triplet(void **state)
{
	(void)state;
	struct msg_greylist m = question("192.0.2.0/24", "a@x", "b@y"), other = question("192.0.2.0/24", "a@x", "c@y"), null = question("192.0.2.0/24", "", "b@y");
	expect(&m, 0, GREYLIST_DEFER, 300);
	expect(&m, 100, GREYLIST_DEFER, 200);
	expect(&m, 299, GREYLIST_DEFER, 1);
	expect(&null, 299, GREYLIST_DEFER, 300);
	expect(&m, 301, GREYLIST_PASS_NOW, 301);
	expect(&m, 302, GREYLIST_PASS, 0);
	expect(&other, 302, GREYLIST_DEFER, 300);
	expect(&other, 302 + 7201, GREYLIST_DEFER, 300);     /* not within the window: anew */
	expect(&m, 302 + 7201, GREYLIST_PASS, 0);            /* what came again is known for longer */
	expect(&m, 302 + 7201 + 1000001, GREYLIST_DEFER, 300);
}

/* Parts must not run into each other. */
static void
test_apart(void **state)
{
	(void)state;
	struct msg_greylist m = question("apart", "a@x", "b@y"), n = question("apart", "a@xb", "@y"), o = question("aparta", "@x", "b@y");
	m.delay = n.delay = o.delay = 0;
	m.allow_after = n.allow_after = o.allow_after = 0;
	expect(&m, 0, GREYLIST_DEFER, 0);
	expect(&n, 0, GREYLIST_DEFER, 0);
	expect(&o, 0, GREYLIST_DEFER, 0);
	expect(&m, 1, GREYLIST_PASS_NOW, 1);
}

static void
test_allowed(void **state)
{
	(void)state;
	char rcpt[8][32];
	for (unsigned i = 0; i < 8; i++)
		snprintf(rcpt[i], sizeof rcpt[i], "r%u@y", i);
	for (unsigned i = 0; i < 3; i++) { /* at once: only the first counts */
		struct msg_greylist m = question("big.example", "a@x", rcpt[i]);
		expect(&m, 0, GREYLIST_DEFER, 300);
		expect(&m, 400, GREYLIST_PASS_NOW, 400);
	}
	for (unsigned i = 3; i < 5; i++) {
		struct msg_greylist m = question("big.example", "a@x", rcpt[i]);
		expect(&m, 4000 * (i - 2), GREYLIST_DEFER, 300);
		expect(&m, 4000 * (i - 2) + 300, GREYLIST_PASS_NOW, 300);
	}
	struct msg_greylist m = question("big.example", "new@x", "new@y"), strict = m, n = question("small.example", "new@x", "new@y");
	expect(&m, 9000, GREYLIST_PASS, 0);
	expect(&n, 9000, GREYLIST_DEFER, 300);
	strict.allow_after = 0;
	expect(&strict, 9000, GREYLIST_DEFER, 300);
	/* used, it is known on; unused it is forgotten */
	for (uint64_t t = 9000; t < 3000000; t += 900000)
		expect(&m, t, GREYLIST_PASS, 0);
	expect(&m, 9000 + 5 * UINT64_C(1000000), GREYLIST_DEFER, 300);
}

/* One client cannot fill the store: what it has been asked to come again with is bounded. */
static void
test_crowded(void **state)
{
	(void)state;
	char rcpt[32];
	struct msg_greylist good = question("good.example", "a@x", "b@y");
	good.allow_after = 0;
	expect(&good, 0, GREYLIST_DEFER, 300);
	size_t before = store_count(g.store);
	for (unsigned i = 0; i < 3 * GREYLIST_WAITED_FOR_MAX; i++) {
		snprintf(rcpt, sizeof rcpt, "r%u@y", i);
		struct msg_greylist m = question("bad.example", "a@x", rcpt);
		expect(&m, 0, GREYLIST_DEFER, 300);
	}
	assert_int_equal(store_count(g.store), before + GREYLIST_WAITED_FOR_MAX + 1);
	expect(&good, 300, GREYLIST_PASS_NOW, 300);
	/* when those are dead it may again */
	struct msg_greylist m = question("bad.example", "a@x", "later@y");
	m.allow_after = 0;
	expect(&m, 8000, GREYLIST_DEFER, 300);
	expect(&m, 8300, GREYLIST_PASS_NOW, 300);
}

/* Whoever has a network of IPv6 has more clients than the store has room: who waits elsewhere, and the rest of the world, pass. */
static void
flood_networks(const char *prefix, unsigned sites, unsigned clients, unsigned rcpts, unsigned second)
{
	char client[64], addr[64], rcpt[32];
	for (unsigned i = 0; i < sites * clients * rcpts; i++) {
		unsigned site = i / (clients * rcpts), who = i / rcpts % clients;
		snprintf(client, sizeof client, "%s:%x:%x::/64", prefix, site + 1, who);
		snprintf(addr, sizeof addr, "%s:%x:%x::1", prefix, site + 1, who);
		snprintf(rcpt, sizeof rcpt, "r%u@y", i % rcpts);
		struct msg_greylist m = question(client, "a@x", rcpt);
		m.client_addr = span_str(addr);
		assert_int_equal(greylist_ask(&g, &m, start + second * USEC_PER_SEC).verdict, GREYLIST_DEFER);
	}
}

static void
test_networks(void **state)
{
	(void)state;
	struct msg_greylist good = question("waits.example", "a@x", "b@y"), six = question("2001:db9:1::/64", "a@x", "b@y");
	struct msg_greylist late = question("2001:db8:1:fff::/64", "a@x", "b@y");
	six.client_addr = SPAN("2001:db9:1::1");
	late.client_addr = SPAN("2001:db8:1:fff::1");
	clock_wall_offset(0);
	store_empty(g.store); /* what the others left */
	expect(&good, 0, GREYLIST_DEFER, 300);
	expect(&six, 0, GREYLIST_DEFER, 300);
	int64_t crowded = metric_values[M_greylist_crowded], evicted = metric_values[M_store_evicted];
	flood_networks("2001:db8", 1, 300, 50, 1);   /* one /48 */
	assert_true(metric_values[M_greylist_crowded] - crowded >= 15000 - (1 << 20) / GREYLIST_SHARE);
	flood_networks("2001:db8", 300, 10, 5, 2);   /* one /32 */
	assert_int_equal(metric_values[M_store_evicted], evicted);
	expect(&good, 300, GREYLIST_PASS_NOW, 300);
	expect(&six, 300, GREYLIST_PASS_NOW, 300);
	/* when those are dead the network may again; who came again is no longer waited for */
	late.allow_after = 0;
	expect(&late, 8000, GREYLIST_DEFER, 300);
	expect(&late, 8300, GREYLIST_PASS_NOW, 300);
	clock_wall_offset((int64_t)(9000 * USEC_PER_SEC));
	char rcpt[32];
	for (unsigned i = 0; i < 1100; i++) {
		snprintf(rcpt, sizeof rcpt, "again%u@y", i);
		late.rcpt = span_str(rcpt);
		assert_int_equal(greylist_ask(&g, &late, start + 9000 * USEC_PER_SEC).verdict, GREYLIST_DEFER);
		assert_int_equal(greylist_ask(&g, &late, start + 9300 * USEC_PER_SEC).verdict, GREYLIST_PASS_NOW);
	}
}

/* Very many clients: bounded, and who has come again stays longer than who has not. */
static void
test_flood(void **state)
{
	(void)state;
	char client[32];
	struct msg_greylist good = question("known.example", "a@x", "b@y");
	good.allow_after = 0;
	expect(&good, 0, GREYLIST_DEFER, 300);
	expect(&good, 300, GREYLIST_PASS_NOW, 300);
	for (unsigned i = 0; i < 20000; i++) {
		snprintf(client, sizeof client, "10.%u.%u.0/24", i >> 8, i & 255);
		struct msg_greylist m = question(client, "a@x", "b@y");
		struct msg_greylist_answer a = greylist_ask(&g, &m, start + 301 * USEC_PER_SEC);
		assert_int_equal(a.verdict, GREYLIST_DEFER);
	}
	assert_true(store_count(g.store) < 20000);
	assert_true(metric_values[M_store_evicted] > 0);
	expect(&good, 302, GREYLIST_PASS, 0);
}

static void
test_without(void **state)
{
	(void)state;
	struct greylist none = { 0 };
	struct msg_greylist m = question("c", "a@x", "b@y");
	assert_int_equal(greylist_ask(&none, &m, start).verdict, GREYLIST_UNAVAILABLE);
	greylist_close(&none);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clients),
		cmocka_unit_test(test_senders),
		cmocka_unit_test(test_triplet),
		cmocka_unit_test(test_apart),
		cmocka_unit_test(test_allowed),
		cmocka_unit_test(test_crowded),
		cmocka_unit_test(test_networks),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_without),
	};
	return cmocka_run_group_tests(tests, world_open, world_close);
}
