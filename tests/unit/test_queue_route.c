/* SPDX-License-Identifier: BSD-2-Clause */
/* Which transport and next hop a recipient gets. Facts 5.2, 5.3, 5.7. */
#include "unit.h"

#include "queue/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char main_cf[] =
    "compatibility_level = 3.6\n"
    "myhostname = gw.test\n"
    "mydomain = test\n"
    "myorigin = gw.test\n"
    "mydestination = gw.test\n"
    "local_transport = error:5.1.1 local mail delivery is disabled\n"
    "relay_domains = relay.test, mapped.test, .sub.test\n"
    "virtual_alias_domains = alias.test\n"
    "virtual_mailbox_domains = box.test\n"
    "virtual_transport = lmtp:unix:/run/lmtp\n"
    "relayhost = [out.test]:587\n"
    "recipient_delimiter = +\n"
    "transport_maps = inline:{ { mapped.test = smtp:[hub.test]:2525 } { .sub.test = relay: } { keep.test = : }\n"
    "   { hop.test = :[hop.test] } { bad.test = error:5.7.1 not here } { wait.test = retry: } { user@mapped.test = lmtp:inet:l.test:24 }\n"
    "   { name.test = slow } { alias.test = smtp:[wrong] } }\n"
    "relocated_maps = inline:{ { gone@relay.test = new@elsewhere.test } }\n"
    "sender_dependent_relayhost_maps = inline:{ { boss@gw.test = [boss.test] } { @other.test = [other.test] } { dunno@other.test = DUNNO } }\n"
    "sender_dependent_default_transport_maps = inline:{ { fax@gw.test = smtp:[fax.test] } }\n"
    "address_verify_transport_maps = inline:{ { mapped.test = smtp:[probe.test] } }\n"
    "address_verify_relay_transport = relay:[probe-relay.test]\n"
    "address_verify_relayhost =\n"
    "address_verify_sender = probe\n";

static struct conf *conf;
static struct router *router;
static char dir[] = "/dev/shm/dogana-route-test-XXXXXX";

static void
put_file(const char *name, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int
setup(void **state)
{
	(void)state;
	struct err e = { .why = "" };
	if (mkdtemp(dir) == NULL)
		return -1;
	put_file("main.cf", main_cf);
	put_file("master.cf", "smtp unix - - n - - smtp\nrelay unix - - n - - smtp\nslow unix - - n - 3 smtp\n");
	if (conf_load(dir, &conf, &e) != RC_OK)
		fail_msg("%s", e.why);
	if (router_open(conf, &router, &e) != RC_OK)
		fail_msg("%s", e.why);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	char path[128];
	router_free(&router);
	conf_unref(&conf);
	snprintf(path, sizeof path, "%s/main.cf", dir);
	unlink(path);
	snprintf(path, sizeof path, "%s/master.cf", dir);
	unlink(path);
	return rmdir(dir);
}

static void
routes(void **state)
{
	(void)state;
	static const struct {
		const char *sender, *rcpt;
		enum route_kind kind;
		const char *first, *second; /* transport and next hop, or code and text */
	} cases[] = {
		/* classes without a row */
		{ "x@y.test", "a@relay.test", ROUTE_DELIVER, "relay", "[out.test]:587" },
		{ "x@y.test", "a@far.test", ROUTE_DELIVER, "smtp", "[out.test]:587" },
		{ "x@y.test", "a@box.test", ROUTE_DELIVER, "lmtp", "unix:/run/lmtp" },
		{ "x@y.test", "a@gw.test", ROUTE_DELIVER, "error", "5.1.1 local mail delivery is disabled" },
		{ "x@y.test", "a@alias.test", ROUTE_DELIVER, "error", "5.1.1 User unknown in virtual alias table" },
		/* transport_maps */
		{ "x@y.test", "a@mapped.test", ROUTE_DELIVER, "smtp", "[hub.test]:2525" },
		{ "x@y.test", "A@MAPPED.test", ROUTE_DELIVER, "smtp", "[hub.test]:2525" },
		{ "x@y.test", "user@mapped.test", ROUTE_DELIVER, "lmtp", "inet:l.test:24" },
		{ "x@y.test", "user+ext@mapped.test", ROUTE_DELIVER, "lmtp", "inet:l.test:24" },
		{ "x@y.test", "a@deep.sub.test", ROUTE_DELIVER, "relay", "deep.sub.test" },
		{ "x@y.test", "a@keep.test", ROUTE_DELIVER, "smtp", "[out.test]:587" },
		{ "x@y.test", "a@hop.test", ROUTE_DELIVER, "smtp", "[hop.test]" },
		{ "x@y.test", "a@bad.test", ROUTE_DELIVER, "error", "5.7.1 not here" },
		{ "x@y.test", "a@wait.test", ROUTE_DELIVER, "retry", "Address is undeliverable" },
		{ "x@y.test", "a@name.test", ROUTE_DELIVER, "slow", "name.test" },
		/* senders */
		{ "boss@gw.test", "a@far.test", ROUTE_DELIVER, "smtp", "[boss.test]" },
		{ "boss@gw.test", "a@relay.test", ROUTE_DELIVER, "relay", "[boss.test]" },
		{ "who@other.test", "a@far.test", ROUTE_DELIVER, "smtp", "[other.test]" },
		{ "dunno@other.test", "a@far.test", ROUTE_DELIVER, "smtp", "[out.test]:587" },
		{ "boss@gw.test", "a@mapped.test", ROUTE_DELIVER, "smtp", "[hub.test]:2525" },
		{ "fax@gw.test", "a@far.test", ROUTE_DELIVER, "smtp", "[fax.test]" },
		{ "fax@gw.test", "a@relay.test", ROUTE_DELIVER, "relay", "[out.test]:587" },
		{ "", "a@far.test", ROUTE_DELIVER, "smtp", "[out.test]:587" },
		/* special */
		{ "x@y.test", "gone@relay.test", ROUTE_FAIL, "5.1.6", "User has moved to new@elsewhere.test" },
		{ "x@y.test", "-x@far.test", ROUTE_FAIL, "5.1.3", "bad address syntax" },
		{ "x@y.test", "double-bounce@gw.test", ROUTE_DROP, "", "" },
		{ "x@y.test", "double-bounce@far.test", ROUTE_DELIVER, "smtp", "[out.test]:587" },
	};
	for (int round = 0; round < 2; round++) /* the second time from memory */
		for (size_t i = 0; i < NELEMS(cases); i++) {
			struct route r;
			router_lookup(router, span_str(cases[i].sender), span_str(cases[i].rcpt), &r);
			if (r.kind != cases[i].kind)
				fail_msg("%s -> %s: kind %d", cases[i].sender, cases[i].rcpt, (int)r.kind);
			assert_span(r.kind == ROUTE_DELIVER ? r.transport : r.dsn, cases[i].first);
			assert_span(r.kind == ROUTE_DELIVER ? r.nexthop : r.text, cases[i].second);
		}
}

static void
addresses(void **state)
{
	(void)state;
	static const struct {
		const char *rcpt, *final;
	} cases[] = {
		{ "a@far.test", "a@far.test" }, { "a%b.test@gw.test", "a@b.test" }, { "A%B.Test@gw.test", "A@B.Test" }, { "a%GW.test@gw.test", "a@GW.test" }, { "b.test!a@gw.test", "a@b.test" }, { "a@b.test@gw.test", "a@b.test" },
		{ "a%b.test@far.test", "a%b.test@far.test" }, { "%@gw.test", "%@gw.test" }, { "-x%b.test@gw.test", "-x%b.test@gw.test" },
	};
	for (size_t i = 0; i < NELEMS(cases); i++)
		assert_span(router_address(router, span_str(cases[i].rcpt)), cases[i].final);
}

/* Probes have tables of their own; what those leave out is as for mail. */
static void
probes(void **state)
{
	(void)state;
	static const struct {
		const char *rcpt, *transport, *nexthop;
	} rows[] = {
		{ "x@mapped.test", "smtp", "[probe.test]" },
		{ "user@mapped.test", "smtp", "[probe.test]" },
		{ "x@relay.test", "relay", "[probe-relay.test]" },
		{ "x@box.test", "lmtp", "unix:/run/lmtp" },
		{ "x@elsewhere.test", "smtp", "elsewhere.test" },
		{ "x@hop.test", "smtp", "hop.test" },
	};
	struct route r;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		router_lookup_probe(router, SPAN("probe@gw.test"), span_str(rows[i].rcpt), &r);
		assert_int_equal(r.kind, ROUTE_DELIVER);
		assert_span(r.transport, rows[i].transport);
		assert_span(r.nexthop, rows[i].nexthop);
	}
	router_lookup_probe(router, SPAN("probe@gw.test"), SPAN("x@alias.test"), &r);
	assert_span(r.transport, "error");
	router_lookup(router, SPAN("a@b.test"), SPAN("x@mapped.test"), &r); /* mail has not changed */
	assert_span(r.nexthop, "[hub.test]:2525");
	router_lookup(router, SPAN("a@b.test"), SPAN("probe@gw.test"), &r); /* answers to probes go nowhere */
	assert_int_equal(r.kind, ROUTE_DROP);
}

static void
filters_and_reasons(void **state)
{
	(void)state;
	static const struct {
		const char *filter, *otherwise, *transport, *nexthop;
	} filters[] = {
		{ "scan:[127.0.0.1]:10024", "", "scan", "[127.0.0.1]:10024" },
		{ "scan:", "", "scan", "r.test" },
		{ "scan", "", "scan", "r.test" },
		{ "scan:", "[f.test]", "scan", "[f.test]" },
		{ " scan : [f.test] ", "", "scan", "[f.test]" },
	};
	static const struct {
		const char *hop;
		char class;
		const char *dsn, *text;
	} reasons[] = {
		{ "5.7.1 go away", '5', "5.7.1", "go away" },
		{ "go away", '5', "x.0.0", "go away" },
		{ "4.2.2 full", '5', "x.0.0", "full" },
		{ "5.2.2 full", '4', "x.0.0", "full" },
		{ "4.3.2", '4', "4.3.2", "" },
		{ "5.7 go", '5', "x.0.0", "5.7 go" },
		{ "", '2', "x.0.0", "" },
	};
	struct route r;
	struct span dsn, text;
	for (size_t i = 0; i < NELEMS(filters); i++) {
		route_to_filter(span_str(filters[i].filter), filters[i].otherwise, SPAN("a@r.test"), &r);
		assert_span(r.transport, filters[i].transport);
		assert_span(r.nexthop, filters[i].nexthop);
	}
	for (size_t i = 0; i < NELEMS(reasons); i++) {
		route_reason(span_str(reasons[i].hop), reasons[i].class, "x.0.0", &dsn, &text);
		assert_span(dsn, reasons[i].dsn);
		assert_span(text, reasons[i].text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes), cmocka_unit_test(addresses), cmocka_unit_test(probes), cmocka_unit_test(filters_and_reasons),
	};
	return cmocka_run_group_tests_name("queue_route", tests, setup, teardown);
}
