/* SPDX-License-Identifier: BSD-2-Clause */
/* Several servers: who is asked first, what becomes of one that is silent, and of one that is back. */
#include "dns/upstream.h"

#include "base/log.h"
#include "base/metric.h"
#include "dns/servers.h"
#include "raw_dns.h"

#include <sys/mman.h>

static struct raw_dns first, other;
static bool first_is_mute;

static void
asked(struct raw_question *q)
{
	if (q->server == &first && first_is_mute)
		return;
	raw_answer_a(q, RAW_OK, q->server == &first ? "192.0.2.1" : "192.0.2.2");
}

static void
order_is(struct dns_upstreams *u, const char *want)
{
	unsigned char out[DNS_SERVERS_MAX];
	char text[DNS_SERVERS_MAX + 1] = "";
	dns_upstreams_order(u, out);
	for (unsigned i = 0; i < u->n; i++)
		text[i] = (char)('0' + out[i]);
	assert_string_equal(text, want);
}

static void
test_order(void **state)
{
	struct dns_server list[3] = { { .family = AF_INET }, { .family = AF_INET }, { .family = AF_INET } };
	struct dns_upstreams u;
	(void)state;
	dns_upstreams_init(&u, list, 3, false, DNS_TRUST_LOOPBACK, 5);
	order_is(&u, "012");
	dns_upstream_answered(&u, 0, 100);
	dns_upstream_missed(&u, 0, 90, 110); /* it answered something after that question had left */
	order_is(&u, "012");
	unsigned version = u.version;
	dns_upstream_missed(&u, 0, 101, 110);
	order_is(&u, "120");
	assert_true(u.version != version);
	dns_upstream_answered(&u, 1, 200);
	dns_upstream_missed(&u, 1, 201, 210);
	order_is(&u, "210"); /* of those that are silent the one that spoke last */
	/* probes: with growing pauses, until it answers */
	assert_int_equal(dns_upstreams_probe(&u, 114), DNS_SERVERS_MAX);
	assert_int_equal(dns_upstreams_probe(&u, 115), 0);
	assert_int_equal(dns_upstreams_probe(&u, 124), DNS_SERVERS_MAX);
	assert_int_equal(dns_upstreams_probe(&u, 125), 0);
	assert_int_equal(dns_upstreams_probe(&u, 144), DNS_SERVERS_MAX);
	dns_upstream_answered(&u, 0, 144);
	assert_int_equal(dns_upstreams_probe(&u, 145), DNS_SERVERS_MAX);
	order_is(&u, "021");
	/* rotation goes over those that answer */
	dns_upstreams_init(&u, list, 3, true, DNS_TRUST_LOOPBACK, 5);
	dns_upstream_missed(&u, 1, 1, 1);
	order_is(&u, "021");
	order_is(&u, "201");
	order_is(&u, "201");
	order_is(&u, "021");
}

static void
test_trust(void **state)
{
	static const struct {
		const char *list;
		enum dns_trust trust;
		bool is_trusted;
	} rows[] = {
		{ "127.0.0.53", DNS_TRUST_LOOPBACK, true }, { "[::1]:5353", DNS_TRUST_LOOPBACK, true }, { "192.0.2.1", DNS_TRUST_LOOPBACK, false },
		{ "2001:db8::1", DNS_TRUST_LOOPBACK, false }, { "192.0.2.1", DNS_TRUST_ALL, true }, { "127.0.0.1", DNS_TRUST_NOBODY, false },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct dns_server list[DNS_SERVERS_MAX];
		struct dns_upstreams u;
		struct err e;
		unsigned n;
		assert_int_equal(dns_servers_parse(span_str(rows[i].list), list, &n, &e), RC_OK);
		dns_upstreams_init(&u, list, n, false, rows[i].trust, 5);
		assert_true(u.s[0].is_trusted == rows[i].is_trusted);
	}
}

static void
test_options(void **state)
{
	static const struct {
		const char *text;
		struct dns_resolv_options o;
	} rows[] = {
		{ "", { 0 } }, { "options timeout:3 attempts:4 rotate trust-ad\n", { 3, 4, true, true } },
		{ "options timeout:1\noptions timeout:2\tattempts:1", { 2, 1, false, false } },
		{ "options timeout:99 attempts:99 ndots:5 edns0", { 30, 5, false, false } },
		{ "#options rotate\n; options rotate\noption rotate\nsearch options rotate\n", { 0 } },
		{ "options timeout: attempts:x timeout:0 rotated attempts:-1 timeout:18446744073709551616", { 0 } },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct dns_resolv_options o;
		dns_options_of_resolv_conf(span_str(rows[i].text), &o);
		if (o.timeout_sec != rows[i].o.timeout_sec || o.attempts != rows[i].o.attempts || o.rotate != rows[i].o.rotate || o.trust_ad != rows[i].o.trust_ad)
			fail_msg("%s: timeout %u, attempts %u, rotate %d, trust-ad %d", rows[i].text, o.timeout_sec, o.attempts, o.rotate, o.trust_ad);
	}
}

static uint64_t
ask_fresh(enum rc want)
{
	static unsigned number;
	struct dns_query q;
	char name[32];
	snprintf(name, sizeof name, "u%u.test", number++);
	assert_int_equal(raw_ask(&q, DNS_A, name), want);
	uint64_t usec = q.took_usec;
	dns_query_fini(&q);
	return usec;
}

static bool
log_has(int fd, const char *text)
{
	static char buf[4096];
	log_flush();
	ssize_t n = pread(fd, buf, sizeof buf - 1, 0);
	buf[n > 0 ? n : 0] = '\0';
	return strstr(buf, text) != NULL;
}

/* One question pays for the silence of the first server; it is probed, and is the first again when it is back. */
static void
test_dead_server(void **state)
{
	char servers[100], down[100], up[100];
	int fd = memfd_create("log", MFD_CLOEXEC);
	(void)state;
	log_open(LOG_TO_FD, fd, LOG_POSTFIX, "t", "t");
	raw_dns_start(&first, false, false, asked);
	raw_dns_start(&other, false, false, asked);
	snprintf(down, sizeof down, "warning: DNS server %s does not answer", first.servers);
	snprintf(up, sizeof up, "DNS server %s answers again", first.servers);
	snprintf(servers, sizeof servers, "%s, %s", first.servers, other.servers);
	first_is_mute = true;
	raw_open((struct dns_settings){ .servers = servers, .timeout_usec = 100 * 1000 });
	assert_true(ask_fresh(RC_OK) >= 90 * 1000);
	unsigned before = first.count;
	for (unsigned i = 0; i < 20; i++)
		assert_true(ask_fresh(RC_OK) < 90 * 1000);
	assert_int_equal(first.count, before);
	/* it is asked whether it lives, and nobody waits for that */
	for (unsigned i = 0; first.count == before; i++) {
		assert_true(i < 100);
		assert_true(ask_fresh(RC_OK) < 90 * 1000);
		loop_for(10 * 1000);
	}
	assert_int_equal(first.count, before + 1);
	for (unsigned i = 0; !log_has(fd, down); i++) {
		assert_true(i < 100);
		loop_for(10 * 1000);
	}
	assert_false(log_has(fd, up));
	first_is_mute = false;
	for (unsigned i = 0; first.count < before + 4; i++) {
		assert_true(i < 200);
		assert_true(ask_fresh(RC_OK) < 90 * 1000);
		loop_for(10 * 1000);
	}
	assert_true(log_has(fd, up));
	before = other.count;
	ask_fresh(RC_OK);
	assert_int_equal(other.count, before);
	/* both silent, then back: no restart needed */
	first_is_mute = true;
	raw_dns_stop(&other);
	ask_fresh(RC_TEMP);
	first_is_mute = false;
	ask_fresh(RC_OK);
	dns_close();
	raw_dns_stop(&first);
	log_open(LOG_TO_STDERR, -1, LOG_POSTFIX, "t", "t");
	close(fd);
}

/* A port where nobody listens costs no time at all, and is not asked each time. */
static void
test_closed_port(void **state)
{
	char servers[100];
	(void)state;
	first_is_mute = false;
	raw_dns_start(&first, false, false, asked);
	snprintf(servers, sizeof servers, "127.0.0.1:1, %s", first.servers);
	raw_open((struct dns_settings){ .servers = servers, .timeout_usec = 3 * 1000000 });
	for (unsigned i = 0; i < 10; i++)
		assert_true(ask_fresh(RC_OK) < 1000 * 1000);
	int64_t repeats = metric_values[M_dns_repeats];
	for (unsigned i = 0; i < 10; i++)
		ask_fresh(RC_OK);
	assert_int_equal(metric_values[M_dns_repeats], repeats);
	dns_close();
	raw_dns_stop(&first);
}

/* Who says that he cannot is asked once, then the next. */
static void
asked_failing(struct raw_question *q)
{
	raw_answer_code(q, q->server == &first ? 2 : 5);
}

static void
test_failing_servers(void **state)
{
	char servers[100];
	(void)state;
	raw_dns_start(&first, false, false, asked_failing);
	raw_dns_start(&other, false, false, asked_failing);
	snprintf(servers, sizeof servers, "%s, %s", first.servers, other.servers);
	raw_open((struct dns_settings){ .servers = servers, .timeout_usec = 3 * 1000000 });
	assert_true(ask_fresh(RC_TEMP) < 1000 * 1000);
	assert_int_equal(first.count, 1);
	assert_int_equal(other.count, 1);
	dns_close();
	raw_dns_stop(&other);
	raw_open((struct dns_settings){ .servers = first.servers, .timeout_usec = 3 * 1000000 });
	assert_true(ask_fresh(RC_TEMP) < 1000 * 1000);
	assert_int_equal(first.count, 2);
	dns_close();
	raw_dns_stop(&first);
}

static void
test_ipv6(void **state)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	(void)state;
	bool has = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
	if (fd >= 0)
		close(fd);
	if (!has)
		skip();
	raw_dns_start(&first, true, true, asked);
	raw_open((struct dns_settings){ .servers = first.servers, .timeout_usec = 3 * 1000000 });
	assert_true(ask_fresh(RC_OK) < 1000 * 1000);
	dns_close();
	raw_dns_stop(&first);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order), cmocka_unit_test(test_trust), cmocka_unit_test(test_options), cmocka_unit_test(test_dead_server),
		cmocka_unit_test(test_closed_port), cmocka_unit_test(test_failing_servers), cmocka_unit_test(test_ipv6),
	};
	raw_setup();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	loop_fini();
	return failed;
}
