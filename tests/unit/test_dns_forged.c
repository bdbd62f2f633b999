/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers that are not to our question, servers that do not understand it, answers that do not fit: what the resolver believes. */
#include "base/metric.h"
#include "dns/question.h"
#include "raw_dns.h"

static struct raw_dns server;
static struct {
	unsigned opt, plain, ad;
	uint16_t ports[512], ids[512];
	unsigned n;
} seen;

static bool
is(const struct raw_question *q, const char *name)
{
	return strcmp(q->name, name) == 0;
}

static bool
address_is(const struct dns_query *q, const char *address)
{
	return q->op.rc == RC_OK && q->answer->n == 1 && q->answer->rr[0].addr.a.s_addr == inet_addr(address);
}

/* The question in an answer of 66.66.66.66, with its letters turned round. */
static void
forge(struct raw_question *q, const char *what)
{
	struct raw_question x = *q;
	if (strcmp(what, "id") == 0)
		x.packet[0] ^= 0xff;
	if (strcmp(what, "case") == 0)
		for (size_t i = 12; i + 5 < x.question; i++)
			if ((x.packet[i] & 0xdf) >= 'A' && (x.packet[i] & 0xdf) <= 'Z')
				x.packet[i] ^= 0x20;
	if (strcmp(what, "question") == 0)
		x.packet[13] = 'x';
	if (strcmp(what, "type") == 0)
		x.packet[x.question - 3] = 28;
	if (strcmp(what, "class") == 0)
		x.packet[x.question - 1] = 3;
	if (strcmp(what, "port") == 0) {
		x.server = &(struct raw_dns){ .udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0) };
		raw_answer_a(&x, RAW_OK, "66.66.66.66");
		close(x.server->udp);
	} else {
		raw_answer_a(&x, strcmp(what, "query") == 0 ? 0x0100 : RAW_OK, "66.66.66.66");
	}
}

static void
asked_forged(struct raw_question *q)
{
	static const char *const kinds[] = { "id", "question", "type", "class", "port", "query", "case" };
	if (q->by_tcp) /* the letters were wrong once: it is asked over TCP, too */
		return;
	for (size_t i = 0; i < NELEMS(kinds); i++)
		for (int times = 0; times < (strcmp(kinds[i], "case") == 0 ? 1 : 5); times++)
			forge(q, kinds[i]);
	unsigned char garbage[3] = { q->packet[0], q->packet[1], 0x80 };
	raw_send(q, garbage, sizeof garbage);
	raw_answer_a(q, RAW_OK, "192.0.2.1");
}

static void
test_forged(void **state)
{
	struct dns_query q;
	(void)state;
	raw_dns_start(&server, false, true, asked_forged);
	raw_open((struct dns_settings){ .servers = server.servers });
	for (int i = 0; i < 10; i++) {
		char name[] = "forged-name-0.example.test";
		name[12] = (char)('0' + i);
		int64_t before = metric_values[M_dns_unexpected];
		assert_int_equal(raw_ask(&q, DNS_A, name), RC_OK);
		assert_true(address_is(&q, "192.0.2.1"));
		/* 5 each of id, question, type, class, query; the letters; 3 octets; the kernel drops what comes from another port */
		assert_int_equal(metric_values[M_dns_unexpected] - before, 27);
		dns_query_fini(&q);
	}
	dns_close();
	raw_dns_stop(&server);
}

/* ---- letters ---- */

static void
asked_lower(struct raw_question *q)
{
	struct raw_question x = *q;
	for (size_t i = 12; i + 5 < x.question; i++)
		if (x.packet[i] >= 'A' && x.packet[i] <= 'Z')
			x.packet[i] |= 0x20;
	raw_answer_a(&x, RAW_OK, q->by_tcp ? "192.0.2.2" : "192.0.2.1");
}

/* A server that does not repeat letters: over TCP it is believed, and from then on as it is. */
static void
test_letters_lost(void **state)
{
	struct dns_query q;
	(void)state;
	raw_dns_start(&server, false, true, asked_lower);
	raw_open((struct dns_settings){ .servers = server.servers, .timeout_usec = 5 * 1000000 });
	raw_ask(&q, DNS_A, "letters-are-lost.example.test");
	assert_true(address_is(&q, "192.0.2.2"));
	dns_query_fini(&q);
	assert_int_equal(server.by_tcp, 1);
	raw_ask(&q, DNS_A, "letters-are-lost-again.example.test");
	assert_true(address_is(&q, "192.0.2.1"));
	dns_query_fini(&q);
	assert_int_equal(server.by_tcp, 1);
	dns_close();
	raw_dns_stop(&server);
	/* without TCP: three in a row nobody guesses */
	raw_dns_start(&server, false, false, asked_lower);
	raw_open((struct dns_settings){ .servers = server.servers, .timeout_usec = 60 * 1000 });
	raw_ask(&q, DNS_A, "letters-are-lost.example.test");
	assert_true(address_is(&q, "192.0.2.1"));
	assert_int_equal(server.count, 3);
	dns_query_fini(&q);
	raw_ask(&q, DNS_A, "letters-are-lost-again.example.test");
	assert_true(address_is(&q, "192.0.2.1"));
	assert_int_equal(server.count, 4);
	dns_query_fini(&q);
	/* and who does not want that has his own letters */
	raw_open((struct dns_settings){ .servers = server.servers, .as_typed = true });
	raw_ask(&q, DNS_A, "letters-of-mine.example.test");
	assert_true(address_is(&q, "192.0.2.1"));
	assert_int_equal(server.count, 5);
	dns_query_fini(&q);
	dns_close();
	raw_dns_stop(&server);
}

/* Names that are compressed into the question come out with the letters that were given. */
static void
asked_ptr(struct raw_question *q)
{
	unsigned char out[512];
	size_t n = raw_begin(q, out, RAW_OK, 1);
	raw_send(q, out, raw_record(out, n, 15, 60, "\0\12\2mx\xc0\x0c", 7));
}

static void
test_letters_given_back(void **state)
{
	struct dns_query q;
	(void)state;
	raw_dns_start(&server, false, false, asked_ptr);
	raw_open((struct dns_settings){ .servers = server.servers });
	assert_int_equal(raw_ask(&q, DNS_MX, "Example-Of-Some-Length.test"), RC_OK);
	assert_span(q.answer->rr[0].data, "mx.Example-Of-Some-Length.test");
	dns_query_fini(&q);
	dns_close();
	raw_dns_stop(&server);
}

/* ---- ports and ids ---- */

static void
asked_ports(struct raw_question *q)
{
	if (is(q, "silent.test"))
		return;
	seen.ports[seen.n] = q->port;
	seen.ids[seen.n++] = (uint16_t)(q->packet[0] << 8 | q->packet[1]);
	raw_answer_a(q, RAW_OK, "192.0.2.1");
}

static int
by_value(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

static unsigned
different(uint16_t *v, unsigned n)
{
	unsigned count = 0;
	qsort(v, n, sizeof *v, by_value);
	for (unsigned i = 0; i < n; i++)
		count += i == 0 || v[i] != v[i - 1];
	return count;
}

/* Also while there is always a question on its way, ports change. */
static void
test_ports(void **state)
{
	enum { N = 500 };
	struct dns_query silent, q;
	(void)state;
	seen.n = 0;
	raw_dns_start(&server, false, false, asked_ports);
	raw_open((struct dns_settings){ .servers = server.servers, .timeout_usec = 5 * 1000000 });
	dns_query_init(&silent, &raw_owner, loop_on_done);
	dns_ask(&silent, DNS_A, SPAN("silent.test"), 0);
	for (int i = 0; i < N; i++) {
		char name[32];
		snprintf(name, sizeof name, "p%d.test", i);
		assert_int_equal(raw_ask(&q, DNS_A, name), RC_OK);
		dns_query_fini(&q);
	}
	assert_int_equal(seen.n, N);
	assert_true(different(seen.ports, N) >= 2);
	assert_true(different(seen.ids, N) > N - 20);
	dns_query_fini(&silent);
	dns_close();
	raw_dns_stop(&server);
}

/* ---- EDNS ---- */

static void
asked_old(struct raw_question *q)
{
	unsigned char header[12] = { q->packet[0], q->packet[1], 0x81, 0x80 };
	seen.opt += q->has_opt;
	seen.plain += !q->has_opt;
	if (!q->has_opt)
		raw_answer_a(q, RAW_OK, "192.0.2.1");
	else if (is(q, "bare.test"))
		header[3] |= 1, raw_send(q, header, sizeof header);
	else
		raw_answer_code(q, is(q, "notimp.test") ? 4 : 1);
}

/* Servers from before EDNS: everybody of a burst is answered, and they are asked without it afterwards. */
static void
test_no_edns(void **state)
{
	static const char *const first[] = { "formerr.test", "bare.test", "notimp.test" };
	struct dns_query q[20];
	(void)state;
	raw_dns_start(&server, false, true, asked_old);
	for (size_t k = 0; k < NELEMS(first); k++) {
		raw_open((struct dns_settings){ .servers = server.servers, .timeout_usec = 5 * 1000000 });
		seen.opt = seen.plain = 0;
		for (unsigned i = 0; i < NELEMS(q); i++) {
			char name[32];
			snprintf(name, sizeof name, "e%u.test", i);
			dns_query_init(&q[i], &raw_owner, loop_on_done);
			dns_ask(&q[i], DNS_A, i == 0 ? span_str(first[k]) : span_str(name), 0);
		}
		loop_until(NELEMS(q));
		for (unsigned i = 0; i < NELEMS(q); i++) {
			assert_true(address_is(&q[i], "192.0.2.1"));
			dns_query_fini(&q[i]);
		}
		assert_int_equal(seen.opt, NELEMS(q));
		raw_ask(&q[0], DNS_A, "later.test");
		assert_true(address_is(&q[0], "192.0.2.1"));
		dns_query_fini(&q[0]);
		assert_int_equal(seen.opt, NELEMS(q));
		dns_close();
	}
	raw_dns_stop(&server);
}

/* ---- TCP ---- */

static void
asked_large(struct raw_question *q)
{
	static unsigned char out[65536];
	static unsigned char text[256] = { 255 };
	if (!q->by_tcp || is(q, "cut-always.test")) {
		raw_send(q, out, raw_begin(q, out, RAW_TC, 0));
		return;
	}
	memset(text + 1, 'x', 255);
	size_t n = raw_begin(q, out, RAW_OK, 150);
	for (int i = 0; i < 150; i++)
		n = raw_record(out, n, 16, 60, text, sizeof text);
	raw_send(q, out, n);
}

static void
test_cut(void **state)
{
	struct dns_query q;
	(void)state;
	raw_dns_start(&server, false, true, asked_large);
	raw_open((struct dns_settings){ .servers = server.servers });
	assert_int_equal(raw_ask(&q, DNS_TXT, "large.test"), RC_OK);
	assert_int_equal(q.answer->n, 150);
	assert_int_equal(q.answer->rr[149].data.n, 255);
	dns_query_fini(&q);
	assert_int_equal(raw_ask(&q, DNS_TXT, "cut-always.test"), RC_TEMP);
	dns_query_fini(&q);
	dns_close();
	raw_dns_stop(&server);
	raw_dns_start(&server, false, false, asked_large); /* nobody listens there */
	raw_open((struct dns_settings){ .servers = server.servers });
	assert_int_equal(raw_ask(&q, DNS_TXT, "large.test"), RC_TEMP);
	dns_query_fini(&q);
	dns_close();
	raw_dns_stop(&server);
}

/* ---- AD ---- */

static void
alias_to(struct raw_question *q, unsigned flags, const char *to, unsigned ttl)
{
	unsigned char out[512], name[256];
	size_t len = raw_name(to, name), n = raw_begin(q, out, flags, 1);
	raw_send(q, out, raw_record(out, n, 5, ttl, name, len));
}

static void
asked_proven(struct raw_question *q)
{
	seen.ad = q->ad && q->do_bit;
	seen.opt = q->has_opt;
	if (is(q, "alias.test"))
		alias_to(q, RAW_AD, "open.test", 60);
	else
		raw_answer_a(q, is(q, "open.test") ? RAW_OK : RAW_AD, "192.0.2.1");
}

static void
test_proven(void **state)
{
	static const struct {
		enum dns_trust trust;
		const char *name;
		bool asked, secure;
	} rows[] = {
		{ DNS_TRUST_LOOPBACK, "good.test", true, true }, { DNS_TRUST_LOOPBACK, "open.test", true, false }, { DNS_TRUST_LOOPBACK, "alias.test", true, false },
		{ DNS_TRUST_ALL, "good.test", true, true }, { DNS_TRUST_NOBODY, "good.test", false, false },
	};
	(void)state;
	raw_dns_start(&server, false, false, asked_proven);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct dns_query q;
		raw_open((struct dns_settings){ .servers = server.servers, .trust = rows[i].trust });
		assert_int_equal(raw_ask(&q, DNS_A, rows[i].name), RC_OK);
		if (q.answer->is_secure != rows[i].secure || seen.ad != rows[i].asked || !seen.opt)
			fail_msg("%s, trust %d: secure %d, asked %d", rows[i].name, rows[i].trust, q.answer->is_secure, seen.ad);
		dns_query_fini(&q);
		raw_ask(&q, DNS_A, rows[i].name); /* from the cache */
		assert_true(q.answer->is_secure == rows[i].secure && q.took_usec == 0);
		dns_query_fini(&q);
		dns_close();
	}
	raw_dns_stop(&server);
}

/* ---- aliases in packets of their own ---- */

static void
asked_alias(struct raw_question *q)
{
	unsigned k;
	char next[32];
	if (is(q, "first.test"))
		alias_to(q, RAW_OK, "second.test", 30);
	else if (is(q, "second.test"))
		raw_answer_a(q, RAW_OK, "192.0.2.1");
	else if (is(q, "to-none.test"))
		alias_to(q, RAW_OK, "none.test", 60);
	else if (is(q, "none.test"))
		raw_answer_code(q, 3);
	else if (is(q, "to-odd.test"))
		alias_to(q, RAW_OK, "a b.test", 60);
	else if (sscanf(q->name, "chain%u.test", &k) == 1) {
		snprintf(next, sizeof next, "chain%u.test", k + 1);
		alias_to(q, RAW_OK, next, 60);
	}
}

static void
test_aliases(void **state)
{
	struct dns_query q;
	(void)state;
	raw_dns_start(&server, false, false, asked_alias);
	raw_open((struct dns_settings){ .servers = server.servers });
	raw_ask(&q, DNS_A, "first.test");
	assert_true(address_is(&q, "192.0.2.1"));
	assert_int_equal(q.answer->ttl, 30);
	assert_int_equal(q.answer->aliases, 1);
	dns_query_fini(&q);
	assert_int_equal(raw_ask(&q, DNS_A, "to-none.test"), RC_NONE);
	assert_true(q.answer->nxdomain);
	dns_query_fini(&q);
	assert_int_equal(raw_ask(&q, DNS_A, "to-odd.test"), RC_PERM);
	dns_query_fini(&q);
	server.count = 0;
	assert_int_equal(raw_ask(&q, DNS_A, "chain0.test"), RC_TEMP);
	assert_int_equal(server.count, DNS_CNAME_MAX + 1);
	dns_query_fini(&q);
	dns_close();
	raw_dns_stop(&server);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forged), cmocka_unit_test(test_letters_lost), cmocka_unit_test(test_letters_given_back), cmocka_unit_test(test_ports),
		cmocka_unit_test(test_no_edns), cmocka_unit_test(test_cut), cmocka_unit_test(test_proven), cmocka_unit_test(test_aliases),
	};
	raw_setup();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	loop_fini();
	return failed;
}
