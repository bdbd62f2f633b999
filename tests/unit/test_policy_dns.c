/* SPDX-License-Identifier: BSD-2-Clause */
/* Restrictions that ask the DNS: yes, no, not now, malformed; from the wire and from the cache; and cut off while they wait. */
#include "base/clock.h"
#include "base/metric.h"
#include "dns/dns.h"
#include "policy/engine.h"

#include "confdir.h"
#include "fake_dns.h"
#include "loop_until.h"
#include "own_time.h"
#include "rbl/row.h"
#include "unit.h"

static const struct fake_rr rows[] = {
	{ "host.test", FD_A, "192.0.2.1", 0 }, { "six.test", FD_AAAA, "2001:db8::1", 0 },
	{ "mx.test", FD_MX, "10.mx.test", 10 }, { "mx.test", FD_MX, "20.mx.test", 20 },
	{ "10.mx.test", FD_A, "192.0.2.10", 0 }, { "20.mx.test", FD_A, "192.0.2.20", 0 }, { "20.mx.test", FD_AAAA, "2001:db8::20", 0 },
	{ "null.test", FD_MX, "", 0 }, { "txt.test", FD_TXT, "only text", 0 },
	{ "later.test", FD_RCODE, "", 2 }, { "garbage.test", FD_GARBAGE, "", 0 },
	{ "badmx.test", FD_MX, "not a host.test", 10 },
	{ "halfbad.test", FD_MX, "not a host.test", 10 }, { "halfbad.test", FD_MX, "10.mx.test", 20 },
	{ "numeric.test", FD_MX, "192.0.2.99", 10 }, { "deadmx.test", FD_MX, "gone.test", 10 }, { "latermx.test", FD_MX, "later.test", 10 },
	{ "xn--mller-kva.test", FD_MX, "10.mx.test", 10 },
	{ "alias.test", FD_CNAME, "mx.test", 0 },
	{ "zone.test", FD_NS, "ns.zone.test", 0 }, { "ns.zone.test", FD_A, "192.0.2.53", 0 }, { "a.b.zone.test", FD_A, "192.0.2.7", 0 },
	{ "latezone.test", FD_RCODE, "", 2 }, { "badns.test", FD_NS, "not a host", 0 },
	/* permit_mx_backup: we are gw.unit.test and 192.0.2.200 */
	{ "backup.test", FD_MX, "10.mx.test", 10 }, { "backup.test", FD_MX, "ours.test", 20 }, { "ours.test", FD_A, "192.0.2.200", 0 },
	{ "backname.test", FD_MX, "10.mx.test", 10 }, { "backname.test", FD_MX, "gw.unit.test", 20 },
	{ "primary.test", FD_MX, "ours.test", 10 }, { "primary.test", FD_MX, "20.mx.test", 20 },
	{ "other.test", FD_MX, "10.mx.test", 10 }, { "other.test", FD_MX, "20.mx.test", 20 },
	{ "unsure.test", FD_MX, "later.test", 10 }, { "unsure.test", FD_MX, "ours.test", 20 },
	{ "far.test", FD_MX, "20.mx.test", 10 }, { "far.test", FD_MX, "ours.test", 20 },
	/* DNS lists */
	{ "77.2.0.192.list.test", FD_A, "127.0.0.4", 0 }, { "77.2.0.192.list.test", FD_TXT, "see http://list.test/77", 0 },
	{ "77.2.0.192.quiet.test", FD_A, "127.0.0.9", 0 }, { "77.2.0.192.down.test", FD_RCODE, "", 2 }, { "77.2.0.192.over.test", FD_A, "127.255.255.254", 0 },
	{ "mx.test.names.test", FD_A, "127.0.0.2", 0 }, { "mx.test.names.test", FD_TXT, "one", 0 }, { "mx.test.names.test", FD_TXT, "two $rbl_what", 0 },
	{ NULL, 0, NULL, 0 },
};

#define COMMON                                                                                                                        \
	"myhostname = gw.unit.test\nmydestination = gw.unit.test, here.test\nmynetworks = 127.0.0.2\ninet_interfaces = 192.0.2.200\ninet_protocols = all\n" \
	"local_recipient_maps =\nlocal_transport = smtp:[10.0.0.1]\nrelay_domains = relayed.test, mx.test\nrelay_recipient_maps =\nvirtual_alias_domains = alias.here.test\n"       \
	"smtpd_relay_restrictions = reject_unauth_destination\nsmtpd_delay_reject = yes\n"

struct said {
	const char *conf;
	const char *name, *helo, *from, *to; /* name: of the client, verified */
	const char *reply;           /* "": accepted */
	const char *note;            /* beginning of the first one; NULL: none */
};

/* Instead of a name: DNS could not say; it has one that does not lead back. */
#define LATER "?"
#define FORGED "!"

static struct fake_dns server;

static void
facts_of(struct facts *f, const struct said *s)
{
	*f = (struct facts){ .client_addr = SPAN("192.0.2.77"), .client_name = SPAN("unknown"), .client_name_rc = RC_NONE };
	assert_int_equal(ipaddr_parse(f->client_addr, &f->client), RC_OK);
	if (s->name != NULL && strcmp(s->name, LATER) == 0) {
		f->client_name_rc = RC_TEMP;
	} else if (s->name != NULL && strcmp(s->name, FORGED) != 0) {
		f->client_name = span_str(s->name);
		f->client_name_rc = RC_OK;
	}
	f->reverse_name = s->name != NULL && strcmp(s->name, FORGED) == 0 ? SPAN("forged.test") : f->client_name;
	f->reverse_name_rc = s->name != NULL && strcmp(s->name, FORGED) == 0 ? RC_OK : f->client_name_rc;
	f->has_helo = s->helo != NULL;
	f->helo = span_str(s->helo);
	f->has_sender = f->has_rcpt = true;
	f->sender = span_str(s->from != NULL ? s->from : "");
	f->rcpt = span_str(s->to != NULL ? s->to : "x@relayed.test");
}

static struct policy *
compile(const char *lines, struct conf **conf_out)
{
	struct policy *p = NULL;
	struct err e;
	char all[4000];
	snprintf(all, sizeof all, COMMON "%s", lines);
	struct conf *c = confdir_load(all);
	if (policy_compile(c, conf_service_find(c, "smtp", "inet"), &p, &e) != RC_OK) {
		confdir_show_problems(c);
		fail_msg("%s\ndoes not compile: %s", lines, e.why);
	}
	*conf_out = c;
	return p;
}

static void
compare(const struct policy_run *r, const struct said *s, const char *how)
{
	const struct verdict *v = &r->verdict;
	char got[600] = "", note[600] = "";
	if (v->kind == VERDICT_REFUSE)
		snprintf(got, sizeof got, "%.*s", (int)v->reply.n, (const char *)v->reply.p);
	unsigned k = 0;
	while (k < v->nnotes && v->notes[k].kind == NOTE_LISTED) /* which list said what: for held mail, not for the log */
		k++;
	if (k < v->nnotes)
		snprintf(note, sizeof note, "%s: %.*s", verdict_note_name(v->notes[k].kind), (int)v->notes[k].text.n, (const char *)v->notes[k].text.p);
	if (strcmp(got, s->reply) != 0 || (s->note == NULL ? note[0] != '\0' : strncmp(note, s->note, strlen(s->note)) != 0))
		fail_msg("%s%s, helo %s from <%s> to <%s>:\n  got  \"%s\", note \"%s\"\n  want \"%s\", note \"%s\"", how, s->conf, s->helo, s->from, s->to, got,
		    note, s->reply, s->note != NULL ? s->note : "");
}

/* Whole; and ended after each turn of the loop. */
static void
check(const struct policy *p, const struct said *s, const char *how)
{
	struct op_owner owner;
	struct policy_run r;
	struct facts f;
	op_owner_init(&owner);
	facts_of(&f, s);
	policy_run_init(&r, &owner, loop_on_done);
	if (!policy_run_now(&r, p, POLICY_RCPT, &f))
		loop_until(1);
	compare(&r, s, how);
	policy_run_fini(&r);
	assert_true(op_owner_idle(&owner));
}

static void
check_cut(const struct policy *p, const struct said *s, uint64_t usec)
{
	struct op_owner owner;
	struct policy_run *r = mem_alloc(sizeof *r);
	struct facts f;
	op_owner_init(&owner);
	facts_of(&f, s);
	policy_run_init(r, &owner, loop_on_done);
	dns_cache_clear();
	if (!policy_run_now(r, p, POLICY_RCPT, &f)) {
		loop_for(usec);
		ops_cancel_all(&owner);
	}
	policy_run_fini(r);
	mem_free(&r);
}

static void
check_all(const struct said *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct conf *c = NULL;
		struct policy *p = compile(cases[i].conf, &c);
		struct facts f;
		struct policy_run pre = { 0 };
		dns_cache_clear();
		check(p, &cases[i], "");
		check(p, &cases[i], "(again) ");
		dns_cache_clear();
		facts_of(&f, &cases[i]);
		for (int what = PREFETCH_CLIENT; what <= PREFETCH_RCPT; what++)
			policy_prefetch(&pre, p, (enum policy_prefetch)what, &f);
		check(p, &cases[i], "(prefetched) ");
		check_cut(p, &cases[i], 1);
		policy_free(&p);
		conf_unref(&c);
	}
	loop_for(1000);
	assert_int_equal(metric_values[M_op_pending], 0);
}

#define ACCESS(list, rule, table) "smtpd_" list "_restrictions = check_" rule "_access " table "\n"
#define SAYS(a, class) "554 5.7.1 <" a ">: " class " rejected: no"
#define NAME "smtpd_client_restrictions = reject_unknown_client_hostname\n"
#define REVERSE "smtpd_client_restrictions = reject_unknown_reverse_client_hostname\n"
#define NO_NAME(code, dsn, what) code " " dsn " Client host rejected: cannot find your " what ", [192.0.2.77]"

static void
test_client_names(void **state)
{
	static const struct said cases[] = {
		{ NAME, "host.test", "h", "", NULL, "", NULL },
		{ NAME, NULL, "h", "", NULL, NO_NAME("450", "4.7.25", "hostname"), NULL },
		{ NAME, FORGED, "h", "", NULL, NO_NAME("450", "4.7.25", "hostname"), NULL },
		{ NAME "unknown_client_reject_code = 550\n", FORGED, "h", "", NULL, NO_NAME("550", "5.7.25", "hostname"), NULL },
		{ NAME "unknown_client_reject_code = 550\n", LATER, "h", "", NULL, NO_NAME("450", "4.7.25", "hostname"), NULL },
		{ "smtpd_client_restrictions = reject_unknown_client\n", NULL, "h", "", NULL, NO_NAME("450", "4.7.25", "hostname"), NULL },
		{ REVERSE, "host.test", "h", "", NULL, "", NULL }, { REVERSE, FORGED, "h", "", NULL, "", NULL },
		{ REVERSE, NULL, "h", "", NULL, NO_NAME("450", "4.7.1", "reverse hostname"), NULL },
		{ REVERSE "unknown_client_reject_code = 550\n", NULL, "h", "", NULL, NO_NAME("550", "5.7.1", "reverse hostname"), NULL },
		{ REVERSE "unknown_client_reject_code = 550\n", LATER, "h", "", NULL, NO_NAME("450", "4.7.1", "reverse hostname"), NULL },
		{ ACCESS("client", "client", "inline:{{test=REJECT no}}"), "host.test", "h", "", NULL, SAYS("host.test[192.0.2.77]", "Client host"), NULL },
		{ ACCESS("client", "client", "inline:{{test=REJECT no}}"), FORGED, "h", "", NULL, "", NULL },
		{ ACCESS("client", "reverse_client_hostname", "inline:{{test=REJECT no}}"), FORGED, "h", "", NULL, SAYS("forged.test", "Unverified Client host"), NULL },
	};
	(void)state;
	check_all(cases, NELEMS(cases));
}

#define HELO "smtpd_helo_restrictions = reject_unknown_helo_hostname\n"
#define HELO_SAYS(code, h, t) code " 4.7.1 <" h ">: Helo command rejected: " t

static void
test_unknown_helo(void **state)
{
	static const struct said cases[] = {
		{ HELO, NULL, "host.test", NULL, NULL, "", NULL }, { HELO, NULL, "six.test", NULL, NULL, "", NULL },
		{ HELO, NULL, "mx.test", NULL, NULL, "", NULL }, { HELO, NULL, "null.test", NULL, NULL, "", NULL }, { HELO, NULL, "alias.test", NULL, NULL, "", NULL },
		{ HELO, NULL, NULL, NULL, NULL, "", NULL },
		{ HELO, NULL, "gone.test", NULL, NULL, HELO_SAYS("450", "gone.test", "Host not found"), NULL },
		{ HELO, NULL, "txt.test", NULL, NULL, HELO_SAYS("450", "txt.test", "Host not found"), NULL },
		{ HELO, NULL, "192.0.2.1", NULL, NULL, HELO_SAYS("450", "192.0.2.1", "Host not found"), NULL },
		{ HELO, NULL, "a..b", NULL, NULL, HELO_SAYS("450", "a..b", "Host not found"), NULL },
		{ HELO, NULL, "[192.0.2.1]", NULL, NULL, "", NULL },
		{ HELO, NULL, "[192.0.2]", NULL, NULL, "501 5.5.2 <[192.0.2]>: Helo command rejected: invalid ip address", NULL },
		{ HELO, NULL, "badmx.test", NULL, NULL, HELO_SAYS("450", "badmx.test", "Malformed DNS server reply"), NULL },
		{ HELO, NULL, "halfbad.test", NULL, NULL, "", NULL },
		{ HELO "unknown_hostname_reject_code = 550\n", NULL, "gone.test", NULL, NULL, "550 5.7.1 <gone.test>: Helo command rejected: Host not found", NULL },
		{ HELO "unknown_hostname_reject_code = 550\n", NULL, "later.test", NULL, NULL, HELO_SAYS("450", "later.test", "Host not found"), NULL },
		{ HELO, NULL, "garbage.test", NULL, NULL, HELO_SAYS("450", "garbage.test", "Host not found"), NULL },
		/* a deferral "if permit": something that refuses for good comes first; with "defer" it does not */
		{ HELO, NULL, "later.test", NULL, "x@elsewhere.test", "554 5.7.1 <x@elsewhere.test>: Relay access denied", NULL },
		{ HELO "unknown_helo_hostname_tempfail_action = defer\n", NULL, "later.test", NULL, "x@elsewhere.test", HELO_SAYS("450", "later.test", "Host not found"), NULL },
		{ HELO "reject_tempfail_action = defer\n", NULL, "later.test", NULL, "x@elsewhere.test", HELO_SAYS("450", "later.test", "Host not found"), NULL },
		{ "smtpd_helo_restrictions = warn_if_reject reject_unknown_hostname\n", NULL, "later.test", NULL, NULL, "",
		    "reject_warning: " HELO_SAYS("450", "later.test", "Host not found") },
		{ "smtpd_helo_restrictions = warn_if_reject reject_unknown_hostname\n", NULL, "gone.test", NULL, NULL, "",
		    "reject_warning: " HELO_SAYS("450", "gone.test", "Host not found") },
	};
	(void)state;
	check_all(cases, NELEMS(cases));
}

#define SND "smtpd_sender_restrictions = reject_unknown_sender_domain\n"
#define SND_SAYS(code, dsn, a, t) code " " dsn " <" a ">: Sender address rejected: " t
#define RCP "smtpd_relay_restrictions = reject_unknown_recipient_domain, permit_mynetworks, reject_unauth_destination\n"
#define RCP_SAYS(code, dsn, a, t) code " " dsn " <" a ">: Recipient address rejected: " t

static void
test_unknown_domain(void **state)
{
	static const struct said cases[] = {
		{ SND, NULL, "h", "a@mx.test", NULL, "", NULL }, { SND, NULL, "h", "a@MX.Test", NULL, "", NULL }, { SND, NULL, "h", "a@host.test", NULL, "", NULL },
		{ SND, NULL, "h", "a@six.test", NULL, "", NULL }, { SND, NULL, "h", "", NULL, "", NULL }, { SND, NULL, "h", "a", NULL, "", NULL },
		{ SND, NULL, "h", "a@[192.0.2.1]", NULL, "", NULL }, { SND, NULL, "h", "a@here.test", NULL, "", NULL },
		{ SND, NULL, "h", "a@alias.here.test", NULL, "", NULL }, { SND, NULL, "h", "a@halfbad.test", NULL, "", NULL },
		{ SND, NULL, "h", "a@müller.test", NULL, "", NULL },
		{ SND, NULL, "h", "a@möller.test", NULL, SND_SAYS("450", "4.1.8", "a@möller.test", "Domain not found"), NULL },
		{ SND, NULL, "h", "a@numeric.test", NULL, "", NULL }, { SND, NULL, "h", "a@deadmx.test", NULL, "", NULL },
		{ SND, NULL, "h", "a@gone.test", NULL, SND_SAYS("450", "4.1.8", "a@gone.test", "Domain not found"), NULL },
		{ SND, NULL, "h", "a@txt.test", NULL, SND_SAYS("450", "4.1.8", "a@txt.test", "Domain not found"), NULL },
		{ SND, NULL, "h", "a@relayed.test", NULL, SND_SAYS("450", "4.1.8", "a@relayed.test", "Domain not found"), NULL },
		{ SND "unknown_address_reject_code = 554\n", NULL, "h", "a@gone.test", NULL, SND_SAYS("554", "5.1.8", "a@gone.test", "Domain not found"), NULL },
		{ SND, NULL, "h", "a@badmx.test", NULL, SND_SAYS("450", "4.1.8", "a@badmx.test", "Malformed DNS server reply"), NULL },
		{ SND, NULL, "h", "a@null.test", NULL, SND_SAYS("550", "5.7.27", "a@null.test", "Domain null.test does not accept mail (nullMX)"), NULL },
		{ SND, NULL, "h", "a@later.test", NULL, SND_SAYS("450", "4.1.8", "a@later.test", "Domain not found"), NULL },
		{ SND, NULL, "h", "a@garbage.test", NULL, SND_SAYS("450", "4.1.8", "a@garbage.test", "Domain not found"), NULL },
		{ SND "unknown_address_reject_code = 554\n", NULL, "h", "a@later.test", NULL, SND_SAYS("450", "4.1.8", "a@later.test", "Domain not found"), NULL },
		{ SND, NULL, "h", "a@later.test", "x@elsewhere.test", "554 5.7.1 <x@elsewhere.test>: Relay access denied", NULL },
		{ SND "unknown_address_tempfail_action = defer\n", NULL, "h", "a@later.test", "x@elsewhere.test",
		    SND_SAYS("450", "4.1.8", "a@later.test", "Domain not found"), NULL },
		{ "smtpd_sender_restrictions = reject_unknown_address\n", NULL, "h", "a@gone.test", NULL,
		    SND_SAYS("450", "4.1.8", "a@gone.test", "Domain not found"), NULL },
		{ RCP, NULL, "h", "", "x@mx.test", "", NULL }, { RCP, NULL, "h", "", "x@here.test", "", NULL },
		{ RCP, NULL, "h", "", "x@relayed.test", RCP_SAYS("450", "4.1.2", "x@relayed.test", "Domain not found"), NULL },
		{ RCP, NULL, "h", "", "x@null.test", RCP_SAYS("556", "5.1.10", "x@null.test", "Domain null.test does not accept mail (nullMX)"), NULL },
		{ RCP, NULL, "h", "", "x@badmx.test", RCP_SAYS("450", "4.1.2", "x@badmx.test", "Malformed DNS server reply"), NULL },
		{ RCP, NULL, "h", "", "x@later.test", "554 5.7.1 <x@later.test>: Relay access denied", NULL },
		{ RCP "relay_domains = later.test\n", NULL, "h", "", "x@later.test", RCP_SAYS("450", "4.1.2", "x@later.test", "Domain not found"), NULL },
	};
	(void)state;
	check_all(cases, NELEMS(cases));
}


static void
test_server_access(void **state)
{
	static const struct said cases[] = {
		/* addresses of the name itself, its name is not looked at */
		{ ACCESS("helo", "helo_a", "inline:{{192.0.2.1=REJECT no}}"), NULL, "host.test", NULL, NULL, SAYS("host.test", "Helo command"), NULL },
		{ ACCESS("helo", "helo_a", "inline:{{192.0.2=REJECT no}}"), NULL, "host.test", NULL, NULL, SAYS("host.test", "Helo command"), NULL },
		{ ACCESS("helo", "helo_a", "inline:{{2001:db8=REJECT no}}"), NULL, "six.test", NULL, NULL, SAYS("six.test", "Helo command"), NULL },
		{ ACCESS("helo", "helo_a", "cidr:{{2001:db8::/32 REJECT no}}"), NULL, "six.test", NULL, NULL, SAYS("six.test", "Helo command"), NULL },
		{ ACCESS("helo", "helo_a", "cidr:{{2001:db8::/32 REJECT no}}") "inet_protocols = ipv4\n", NULL, "six.test", NULL, NULL, "", NULL },
		{ ACCESS("helo", "helo_a", "inline:{{host.test=REJECT no}}"), NULL, "host.test", NULL, NULL, "", NULL },
		{ ACCESS("helo", "helo_a", "inline:{{192.0.2.1=REJECT no}}"), NULL, "[192.0.2.1]", NULL, NULL, SAYS("[192.0.2.1]", "Helo command"), NULL },
		{ ACCESS("helo", "helo_a", "inline:{{192.0.2.1=REJECT no}}"), NULL, "gone.test", NULL, NULL, "", NULL },
		{ ACCESS("helo", "helo_a", "inline:{{192.0.2.1=REJECT no}}"), NULL, "later.test", NULL, NULL, "", NULL },
		{ ACCESS("helo", "helo_a", "inline:{{192.0.2.1=OK}}"), NULL, "host.test", NULL, NULL, "451 4.3.5 Server configuration error",
		    "warning: restriction check_helo_a_access" },
		{ ACCESS("helo", "helo_a", "inline:{{192.0.2.1=DUNNO}, {192.0.2=REJECT no}}"), NULL, "host.test", NULL, NULL, "", NULL },
		{ ACCESS("helo", "helo_a", "fail:x"), NULL, "host.test", NULL, NULL, "451 4.3.5 <host.test>: Helo command rejected: Server configuration error", "warning: " },
		/* MX hosts: each by name, then its addresses */
		{ ACCESS("sender", "sender_mx", "inline:{{20.mx.test=REJECT no}}"), NULL, "h", "a@mx.test", NULL, SAYS("a@mx.test", "Sender address"), NULL },
		{ ACCESS("sender", "sender_mx", "inline:{{mx.test=REJECT no}}"), NULL, "h", "a@mx.test", NULL, SAYS("a@mx.test", "Sender address"), NULL },
		{ ACCESS("sender", "sender_mx", "inline:{{192.0.2.20=REJECT no}}"), NULL, "h", "a@mx.test", NULL, SAYS("a@mx.test", "Sender address"), NULL },
		{ ACCESS("sender", "sender_mx", "cidr:{{2001:db8::20 REJECT no}}"), NULL, "h", "a@mx.test", NULL, SAYS("a@mx.test", "Sender address"), NULL },
		{ ACCESS("sender", "sender_mx", "inline:{{192.0.2.10=DUNNO}, {192.0.2.20=REJECT no}}"), NULL, "h", "a@mx.test", NULL, "", NULL },
		{ ACCESS("sender", "sender_mx", "inline:{{192.0.2.1=REJECT no}}"), NULL, "h", "a@host.test", NULL, SAYS("a@host.test", "Sender address"), NULL },
		{ ACCESS("sender", "sender_mx", "inline:{{host.test=REJECT no}}"), NULL, "h", "a@host.test", NULL, SAYS("a@host.test", "Sender address"), NULL },
		{ ACCESS("sender", "sender_mx", "inline:{{192.0.2.99=REJECT no}}"), NULL, "h", "a@numeric.test", NULL, SAYS("a@numeric.test", "Sender address"), NULL },
		{ ACCESS("sender", "sender_mx", "inline:{{192.0.2.9=REJECT no}}"), NULL, "h", "a@[192.0.2.9]", NULL, SAYS("a@[192.0.2.9]", "Sender address"), NULL },
		{ ACCESS("sender", "sender_mx", "static:{REJECT no}"), NULL, "h", "a@null.test", NULL, "", NULL },
		{ ACCESS("sender", "sender_mx", "static:{REJECT no}"), NULL, "h", "", NULL, "", NULL },
		{ ACCESS("helo", "helo_a", "inline:{{192.0.2.1=REJECT no}}"), NULL, "host.test.", NULL, NULL, SAYS("host.test.", "Helo command"), NULL },
		{ ACCESS("sender", "sender_mx", "inline:{{x.test=REJECT no}}"), NULL, "h", "a@deadmx.test", NULL, "",
		    "warning: Unable to look up MX host gone.test for Sender address a@deadmx.test: Name or service not known" },
		{ ACCESS("sender", "sender_mx", "inline:{{x.test=REJECT no}}"), NULL, "h", "a@latermx.test", NULL, "",
		    "warning: Unable to look up MX host later.test for Sender address a@latermx.test: Temporary failure in name resolution" },
		{ ACCESS("sender", "sender_mx", "static:{REJECT no}"), NULL, "h", "a@later.test", NULL, "", "warning: Unable to look up MX host for later.test: Host not found, try again" },
		{ ACCESS("sender", "sender_mx", "static:{REJECT no}"), NULL, "h", "a@badmx.test", NULL, "", "warning: Unable to look up MX host for badmx.test: Malformed DNS server reply" },
		{ ACCESS("sender", "sender_mx", "static:{REJECT no}"), NULL, "h", "a@garbage.test", NULL, "", "warning: Unable to look up MX host for garbage.test" },
		{ ACCESS("sender", "sender_mx", "inline:{{gone.test=REJECT no}}"), NULL, "h", "a@gone.test", NULL, SAYS("a@gone.test", "Sender address"), NULL },
		/* name servers: of the zone */
		{ ACCESS("recipient", "recipient_ns", "inline:{{ns.zone.test=REJECT no}}") "relay_domains = zone.test\n", NULL, "h", "", "x@a.b.zone.test",
		    SAYS("x@a.b.zone.test", "Recipient address"), NULL },
		{ ACCESS("recipient", "recipient_ns", "inline:{{192.0.2.53=REJECT no}}") "relay_domains = zone.test\n", NULL, "h", "", "x@zone.test",
		    SAYS("x@zone.test", "Recipient address"), NULL },
		{ ACCESS("recipient", "recipient_ns", "static:{REJECT no}") "relay_domains = latezone.test\n", NULL, "h", "", "x@a.latezone.test", "",
		    "warning: Unable to look up NS host for latezone.test: Host not found, try again" },
		{ ACCESS("recipient", "recipient_ns", "static:{REJECT no}") "relay_domains = badns.test\n", NULL, "h", "", "x@badns.test", "",
		    "warning: Unable to look up NS host for badns.test: Malformed DNS server reply" },
		{ ACCESS("sender", "sender_ns", "static:{REJECT no}"), NULL, "h", "a@[192.0.2.9]", NULL, "", NULL },
		/* clients */
		{ ACCESS("client", "client_a", "inline:{{192.0.2.1=REJECT no}}"), "host.test", "h", "", NULL, SAYS("host.test[192.0.2.77]", "Client host"), NULL },
		{ ACCESS("client", "client_mx", "inline:{{192.0.2.10=REJECT no}}"), "mx.test", "h", "", NULL, SAYS("mx.test[192.0.2.77]", "Client host"), NULL },
		{ ACCESS("client", "client_ns", "inline:{{ns.zone.test=REJECT no}}"), "a.b.zone.test", "h", "", NULL, SAYS("a.b.zone.test[192.0.2.77]", "Client host"), NULL },
		{ ACCESS("client", "client_ns", "static:{REJECT no}"), NULL, "h", "", NULL, "", NULL },
		{ ACCESS("client", "reverse_client_hostname_a", "inline:{{192.0.2.1=REJECT no}}"), "host.test", "h", "", NULL, SAYS("host.test", "Unverified Client host"), NULL },
		{ ACCESS("client", "reverse_client_hostname_mx", "inline:{{192.0.2.10=REJECT no}}"), "mx.test", "h", "", NULL, SAYS("mx.test", "Unverified Client host"), NULL },
		{ ACCESS("client", "reverse_client_hostname_ns", "inline:{{192.0.2.53=REJECT no}}"), "zone.test", "h", "", NULL, SAYS("zone.test", "Unverified Client host"), NULL },
		/* DNS lists */
		{ "smtpd_client_restrictions = reject_rbl_client list.test\n", NULL, "h", "", NULL,
		    "554 5.7.1 Service unavailable; Client host [192.0.2.77] blocked using list.test; see http://list.test/77", NULL },
		{ "smtpd_client_restrictions = reject_rbl_client quiet.test=127.0.0.[8..10]\nmaps_rbl_reject_code = 450\n", NULL, "h", "", NULL,
		    "450 4.7.1 Service unavailable; Client host [192.0.2.77] blocked using quiet.test", NULL },
		{ "smtpd_client_restrictions = reject_rbl_client quiet.test=127.0.0.[2..8], reject_rbl_client not.test\n", NULL, "h", "", NULL, "", NULL },
		{ "smtpd_client_restrictions = reject_rbl_client down.test\n", NULL, "h", "", NULL, "", "warning: 77.2.0.192.down.test: RBL lookup error: " },
		{ "smtpd_client_restrictions = reject_rbl_client over.test\n", NULL, "h", "", NULL, "", "warning: 77.2.0.192.over.test: RBL lookup error: " },
		{ "smtpd_client_restrictions = reject_rbl_client over.test=127.255.255.254\n", NULL, "h", "", NULL, "", "warning: 77.2.0.192.over.test: RBL lookup error: " },
		{ "smtpd_client_restrictions = permit_dnswl_client list.test, reject\n", NULL, "h", "", NULL, "", NULL },
		{ "smtpd_client_restrictions = permit_dnswl_client list.test, reject\n", NULL, "h", "", "x@elsewhere.test",
		    "554 5.7.1 <unknown[192.0.2.77]>: Client host rejected: Access denied", NULL },
		{ "smtpd_client_restrictions = permit_dnswl_client down.test, reject\n", NULL, "h", "", NULL,
		    "450 4.7.1 <192.0.2.77>: Client host rejected: Service unavailable", "warning: 77.2.0.192.down.test: RBL lookup error: " },
		{ "smtpd_client_restrictions = permit_dnswl_client down.test, reject\n", NULL, "h", "", "x@elsewhere.test",
		    "554 5.7.1 <unknown[192.0.2.77]>: Client host rejected: Access denied", NULL },
		{ "smtpd_client_restrictions = permit_rhswl_client names.test, reject\n", "mx.test", "h", "", NULL, "", NULL },
		{ "smtpd_client_restrictions = reject_rhsbl_client names.test\n", "mx.test", "h", "", NULL,
		    "554 5.7.1 Service unavailable; Client host [mx.test] blocked using names.test; one / two $rbl_what", NULL },
		{ "smtpd_client_restrictions = reject_rhsbl_client names.test, reject_rhsbl_reverse_client names.test\n", NULL, "h", "", NULL, "", NULL },
		{ "smtpd_client_restrictions = reject_rhsbl_reverse_client names.test\n", "mx.test", "h", "", NULL,
		    "554 5.7.1 Service unavailable; Unverified Client host [mx.test] blocked using names.test; one / two $rbl_what", NULL },
		{ "smtpd_helo_restrictions = reject_rhsbl_helo names.test\n", NULL, "mx.test", "", NULL,
		    "554 5.7.1 Service unavailable; Helo command [mx.test] blocked using names.test; one / two $rbl_what", NULL },
		{ "smtpd_helo_restrictions = reject_rhsbl_helo names.test\n", NULL, "[192.0.2.77]", "", NULL, "", NULL },
		{ "smtpd_sender_restrictions = reject_rhsbl_sender names.test\n", NULL, "h", "a@mx.test", NULL,
		    "554 5.7.1 Service unavailable; Sender address [a@mx.test] blocked using names.test; one / two $rbl_what", NULL },
		{ "smtpd_sender_restrictions = reject_rhsbl_sender names.test\n", NULL, "h", "", NULL, "", NULL },
		{ "smtpd_recipient_restrictions = reject_rhsbl_recipient names.test\n", NULL, "h", "", "x@mx.test",
		    "554 5.7.1 Service unavailable; Recipient address [x@mx.test] blocked using names.test; one / two $rbl_what", NULL },
		{ "smtpd_client_restrictions = reject_rbl_client list.test\ndefault_rbl_reply = 521 $helo_name is <${sender_domain?yes}${sender_domain:no}> $$5\n", NULL, "h", "", NULL,
		    "521 5.7.1 h is <no> $5", NULL },
		{ "smtpd_client_restrictions = reject_rbl_client list.test=127.0.0.4\nrbl_reply_maps = static:{451 4.7.9 from the map: $$rbl_domain}\n", NULL, "h", "", NULL,
		    "451 4.7.9 from the map: list.test", NULL },
		{ "smtpd_client_restrictions = reject_rbl_client list.test\ndefault_rbl_reply = nonsense\n", NULL, "h", "", NULL, "450 4.7.1 Service unavailable",
		    "warning: reject_rbl_client list.test: the reply does not begin" },
		{ "smtpd_client_restrictions = reject_rbl_client list.test\ndefault_rbl_reply = 554 $nobody\n", NULL, "h", "", NULL,
		    "554 5.7.1 Service unavailable; Client host [192.0.2.77] blocked using list.test; see http://list.test/77", "warning: unknown name" },
		{ "smtpd_client_restrictions = check_client_access static:{reject_rbl_client list.test}\n", NULL, "h", "", NULL,
		    "554 5.7.1 Service unavailable; Client host [192.0.2.77] blocked using list.test; see http://list.test/77", NULL },
		{ "smtpd_client_restrictions = warn_if_reject reject_rbl_client list.test\n", NULL, "h", "", NULL, "", "reject_warning: 554 5.7.1 Service unavailable; Client host" },
		/* the others */
		{ ACCESS("helo", "helo_mx", "inline:{{192.0.2.20=REJECT no}}"), NULL, "mx.test", "", NULL, SAYS("mx.test", "Helo command"), NULL },
		{ ACCESS("helo", "helo_ns", "inline:{{ns.zone.test=REJECT no}}"), NULL, "zone.test", "", NULL, SAYS("zone.test", "Helo command"), NULL },
		{ ACCESS("sender", "sender_a", "inline:{{192.0.2.1=REJECT no}}"), NULL, "h", "a@host.test", NULL, SAYS("a@host.test", "Sender address"), NULL },
		{ ACCESS("sender", "sender_ns", "inline:{{ns.zone.test=REJECT no}}"), NULL, "h", "a@b.zone.test", NULL, SAYS("a@b.zone.test", "Sender address"), NULL },
		{ ACCESS("recipient", "recipient_a", "inline:{{192.0.2.1=REJECT no}}") "relay_domains = host.test\n", NULL, "h", "", "x@host.test",
		    SAYS("x@host.test", "Recipient address"), NULL },
		{ ACCESS("recipient", "recipient_mx", "inline:{{192.0.2.10=REJECT no}}"), NULL, "h", "", "x@mx.test", SAYS("x@mx.test", "Recipient address"), NULL },
	};
	(void)state;
	check_all(cases, NELEMS(cases));
}

/* Domains full of hosts: said when we do not look at all of them, and never a way past what comes later. */
static void
test_crowds(void **state)
{
	enum { CROWD = 120, FLOODS = 4, HOSTS = 65 }; /* as many as one packet holds */
	static struct fake_rr crowd[3 + CROWD + FLOODS * 2 * HOSTS + 2];
	static char text[NELEMS(crowd)][24];
	static const char *const domains[FLOODS] = { "flood0.test", "flood1.test", "flood2.test", "flood3.test" }, *const hosts[] = { "x.test", "y.test", "z.test" };
	static const struct said many[] = {
		{ ACCESS("helo", "helo_mx", "inline:{{10.9.0.99=REJECT no}}"), NULL, "crowd.test", "", NULL, SAYS("crowd.test", "Helo command"), NULL },
		{ ACCESS("helo", "helo_mx", "inline:{{10.9.0.100=REJECT no}}"), NULL, "crowd.test", "", NULL, "", "warning: MX of Helo command crowd.test: there are more than 100" },
	};
	static const struct said flood = {
		"smtpd_client_restrictions = check_client_mx_access inline:{x=REJECT}, check_client_ns_access inline:{x=REJECT}\n"
		"smtpd_helo_restrictions = check_helo_mx_access inline:{x=REJECT}, check_helo_ns_access inline:{x=REJECT}\n"
		"smtpd_sender_restrictions = check_sender_mx_access inline:{x=REJECT}, check_sender_ns_access inline:{x=REJECT}\n"
		"smtpd_recipient_restrictions = check_recipient_mx_access inline:{x=REJECT}, check_recipient_ns_access inline:{x=REJECT}, reject_rbl_client list.test\n"
		"relay_domains = flood3.test\n", "flood0.test", "flood1.test", "a@flood2.test", "x@flood3.test", "451 4.3.0 Temporary lookup failure", "warning: Unable to look up MX host",
	};
	struct fake_rr *r = crowd;
	(void)state;
	for (int i = 0; i < 3; i++)
		*r++ = (struct fake_rr){ "crowd.test", FD_MX, hosts[i], i };
	for (int i = 0; i < CROWD; i++, r++) {
		snprintf(text[r - crowd], sizeof text[0], "10.9.0.%d", i);
		*r = (struct fake_rr){ hosts[i * 3 / CROWD], FD_A, text[r - crowd], 0 };
	}
	for (int i = 0; i < FLOODS * 2 * HOSTS; i++, r++) {
		snprintf(text[r - crowd], sizeof text[0], "%c%c", 'a' + i / 26, 'a' + i % 26);
		*r = (struct fake_rr){ domains[i / 2 / HOSTS], i / HOSTS % 2 == 0 ? FD_MX : FD_NS, text[r - crowd], 0 };
	}
	*r++ = rows[0];
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (rows[i].name != NULL && strcmp(rows[i].name, "77.2.0.192.list.test") == 0 && rows[i].type == FD_A)
			r[-1] = rows[i];
	server.rows = crowd;
	check_all(many, NELEMS(many));
	struct conf *c = NULL;
	struct policy *p = compile(flood.conf, &c);
	dns_cache_clear();
	check(p, &flood, "");
	check(p, &flood, "(again) ");
	policy_free(&p);
	conf_unref(&c);
	server.rows = rows;
}

#define BACKUP "smtpd_relay_restrictions = permit_mx_backup, reject_unauth_destination\n"
#define DENIED(a) "554 5.7.1 <" a ">: Relay access denied"

static void
test_mx_backup(void **state)
{
	static const struct said cases[] = {
		{ BACKUP, NULL, "h", "", "x@backup.test", "", NULL }, { BACKUP, NULL, "h", "", "x@backname.test", "", NULL },
		{ BACKUP, NULL, "h", "", "x@relayed.test", "", NULL }, { BACKUP, NULL, "h", "", "x@here.test", "", NULL },
		{ BACKUP, NULL, "h", "", "x@primary.test", DENIED("x@primary.test"), NULL }, { BACKUP, NULL, "h", "", "x@other.test", DENIED("x@other.test"), NULL },
		{ BACKUP, NULL, "h", "", "x@gone.test", DENIED("x@gone.test"), NULL }, { BACKUP, NULL, "h", "", "x@null.test", DENIED("x@null.test"), NULL },
		{ BACKUP, NULL, "h", "", "x@[192.0.2.200]", "", NULL }, { BACKUP, NULL, "h", "", "x@[192.0.2.9]", DENIED("x@[192.0.2.9]"), NULL },
		{ BACKUP, NULL, "h", "", "x@badmx.test", DENIED("x@badmx.test"), NULL },
		{ BACKUP, NULL, "h", "", "a%backup.test@relayed.test", DENIED("a%backup.test@relayed.test"), NULL },
		/* not now: no refusal for good */
		{ BACKUP, NULL, "h", "", "x@later.test",
		    "450 4.4.4 <x@later.test>: Recipient address rejected: Unable to look up mail exchanger information: Host not found, try again", NULL },
		{ BACKUP, NULL, "h", "", "x@garbage.test",
		    "450 4.4.4 <x@garbage.test>: Recipient address rejected: Unable to look up mail exchanger information: Malformed or unexpected name server reply", NULL },
		{ BACKUP, NULL, "h", "", "x@latermx.test",
		    "450 4.4.4 <x@latermx.test>: Recipient address rejected: Unable to look up mail exchanger host later.test: Temporary failure in name resolution", NULL },
		{ BACKUP, NULL, "h", "", "x@deadmx.test",
		    "450 4.4.4 <x@deadmx.test>: Recipient address rejected: Unable to look up mail exchanger host gone.test: Name or service not known", NULL },
		{ BACKUP, NULL, "h", "", "x@unsure.test", "", NULL },
		{ BACKUP "permit_mx_backup_networks = 192.0.2.10\n", NULL, "h", "", "x@backup.test", "", NULL },
		{ BACKUP "permit_mx_backup_networks = 192.0.2.11\n", NULL, "h", "", "x@backup.test", DENIED("x@backup.test"), NULL },
		{ BACKUP "permit_mx_backup_networks = 192.0.2.20\n", NULL, "h", "", "x@far.test", DENIED("x@far.test"), NULL },
		{ BACKUP "permit_mx_backup_networks = 192.0.2.20, [2001:db8::]/32\n", NULL, "h", "", "x@far.test", "", NULL },
		{ BACKUP "permit_mx_backup_networks = 192.0.2.20\n", NULL, "h", "", "x@unsure.test",
		    "450 4.4.4 <x@unsure.test>: Recipient address rejected: Unable to look up mail exchanger host later.test: Temporary failure in name resolution", NULL },
	};
	(void)state;
	check_all(cases, NELEMS(cases));
}

/* Three rules about three names, and a server that takes its time: one round when the questions leave together. */
static void
test_rounds(void **state)
{
	static const struct said s = { NULL, "host.test", "six.test", "a@mx.test", "x@relayed.test", "", NULL };
	struct conf *c = NULL;
	struct policy *p = compile("smtpd_helo_restrictions = reject_unknown_helo_hostname\n"
	                           "smtpd_sender_restrictions = reject_unknown_sender_domain, check_sender_ns_access static:{REJECT}\n"
	                           "smtpd_client_restrictions = check_client_a_access inline:{{10.0.0.1=REJECT}}\n", &c);
	struct policy_run pre = { 0 };
	struct facts f;
	uint64_t usec[2], own[2];
	(void)state;
	for (int early = 0; early < 2; early++) {
		dns_cache_clear();
		facts_of(&f, &s);
		server.delay_usec = 40 * 1000;
		uint64_t began = clock_mono(), own_began = own_time();
		for (int what = PREFETCH_CLIENT; early && what <= PREFETCH_RCPT; what++)
			policy_prefetch(&pre, p, (enum policy_prefetch)what, &f);
		struct op_owner owner;
		struct policy_run r;
		op_owner_init(&owner);
		policy_run_init(&r, &owner, loop_on_done);
		assert_false(policy_run_now(&r, p, POLICY_RCPT, &f));
		loop_until(1);
		usec[early] = clock_mono() - began;
		own[early] = own_time() - own_began;
		policy_run_fini(&r);
		loop_for(100 * 1000);
	}
	server.delay_usec = 0;
	printf("four rules, DNS after 40 ms: %llu ms one by one, %llu ms asked ahead\n", (unsigned long long)usec[0] / 1000, (unsigned long long)usec[1] / 1000);
	assert_true(usec[0] >= 160 * 1000);
	assert_true(usec[1] >= 40 * 1000 && own[1] < 120 * 1000); /* NS of the parent is a second round */
	policy_free(&p);
	conf_unref(&c);
}

/* Nothing is asked for clients that a list lets through before it asks, nor without end for one client. */
static void
test_prefetch_bounds(void **state)
{
	static const struct said s = { NULL, NULL, "host.test", "a@mx.test", NULL, "", NULL };
	struct conf *c = NULL;
	struct policy *p = compile("smtpd_helo_restrictions = permit_mynetworks, reject_unknown_helo_hostname\n"
	                           "smtpd_sender_restrictions = permit, reject_unknown_sender_domain\n", &c);
	struct policy_run pre = { 0 };
	struct facts f;
	(void)state;
	dns_cache_clear();
	facts_of(&f, &s);
	int64_t before = metric_values[M_dns_queries];
	policy_prefetch(&pre, p, PREFETCH_SENDER, &f);
	assert_int_equal(metric_values[M_dns_queries], before);
	assert_int_equal(ipaddr_parse(SPAN("127.0.0.2"), &f.client), RC_OK);
	policy_prefetch(&pre, p, PREFETCH_HELO, &f);
	assert_int_equal(metric_values[M_dns_queries], before);
	assert_int_equal(ipaddr_parse(SPAN("192.0.2.77"), &f.client), RC_OK);
	policy_prefetch(&pre, p, PREFETCH_HELO, &f);
	assert_int_equal(metric_values[M_dns_queries], before + 2);
	for (int i = 0; i < 500; i++) {
		char name[40];
		snprintf(name, sizeof name, "h%d.test", i);
		f.helo = span_str(name);
		policy_prefetch(&pre, p, PREFETCH_HELO, &f);
	}
	assert_true(metric_values[M_dns_queries] <= before + 2 * 50);
	loop_for(50 * 1000);
	policy_free(&p);
	conf_unref(&c);
}

/* A list that is paused, out of use, or could not be asked: what that means to a block list and to an allow list. */
static void
test_list_states(void **state)
{
	static const struct {
		enum rbl_state now;
		struct said said[3];
	} cases[] = {
		{ RBL_PAUSED,
		    { { "smtpd_client_restrictions = reject_rbl_client list.test\n", NULL, "h", "", NULL, "", NULL },
		        { "smtpd_client_restrictions = permit_dnswl_client list.test, reject\n", NULL, "h", "", NULL,
		            "450 4.7.1 <192.0.2.77>: Client host rejected: Service unavailable", NULL },
		        { "smtpd_client_restrictions = permit_dnswl_client list.test\n", NULL, "h", "", NULL, "", NULL } } },
		{ RBL_OUT,
		    { { "smtpd_client_restrictions = reject_rbl_client list.test\n", NULL, "h", "", NULL, "", NULL },
		        { "smtpd_client_restrictions = permit_dnswl_client list.test, reject\n", NULL, "h", "", NULL,
		            "554 5.7.1 <unknown[192.0.2.77]>: Client host rejected: Access denied", NULL },
		        { "smtpd_client_restrictions = permit_dnswl_client list.test, reject_rbl_client quiet.test\n", NULL, "h", "", NULL,
		            "554 5.7.1 Service unavailable; Client host [192.0.2.77] blocked using quiet.test", NULL } } },
		{ RBL_USABLE,
		    { { "smtpd_client_restrictions = reject_rbl_client list.test\n", NULL, "h", "", NULL,
		            "554 5.7.1 Service unavailable; Client host [192.0.2.77] blocked using list.test; see http://list.test/77", NULL } } },
	};
	const struct rbl_settings settings = { .timeout = 1000 * 1000, .pause = 60 * USEC_PER_SEC, .pause_limit = 60 * USEC_PER_SEC, .pause_after = 3,
		.exceptions = "", .is_quiet = true };
	(void)state;
	for (size_t i = 0; i < NELEMS(cases); i++) {
		rbl_health_begin(&settings);
		rbl_health_use(RBL_ADDRESSES, SPAN("list.test"));
		rbl_health_end();
		rbl_row_set(rbl_row_get(RBL_ADDRESSES, SPAN("list.test")), cases[i].now, "for a test");
		for (size_t k = 0; k < 3 && cases[i].said[k].conf != NULL; k++) {
			struct conf *c;
			struct policy *p = compile(cases[i].said[k].conf, &c);
			check(p, &cases[i].said[k], rbl_state_name(cases[i].now));
			policy_free(&p);
			conf_unref(&c);
		}
		rbl_health_close();
	}
}

/* Load of our own is no answer: mail waits, whatever list it was; what refuses anyway refuses. */
static void
test_busy(void **state)
{
	static const struct said cases[] = {
		{ "smtpd_client_restrictions = reject_rbl_client list.test\n", NULL, "h", "", NULL,
		    "451 4.3.0 <192.0.2.77>: Client host rejected: Temporary lookup failure", "warning: 77.2.0.192.list.test: RBL lookup error: too many questions" },
		{ "smtpd_sender_restrictions = reject_rhsbl_sender names.test\n", NULL, "h", "a@mx.test", NULL,
		    "451 4.3.0 <a@mx.test>: Sender address rejected: Temporary lookup failure", "warning: mx.test.names.test: RBL lookup error: too many questions" },
		{ "smtpd_client_restrictions = reject_rbl_client list.test, reject\n", NULL, "h", "", NULL,
		    "554 5.7.1 <unknown[192.0.2.77]>: Client host rejected: Access denied", "warning: 77.2.0.192.list.test: RBL" },
		{ "smtpd_client_restrictions = reject_rbl_client list.test\nmynetworks = 192.0.2.0/24\nsmtpd_relay_restrictions = permit_mynetworks, reject\n", NULL, "h", "", NULL,
		    "451 4.3.0 <192.0.2.77>: Client host rejected: Temporary lookup failure", "warning: 77" },
		{ "smtpd_client_restrictions = permit_dnswl_client list.test, reject\n", NULL, "h", "", NULL,
		    "450 4.7.1 <192.0.2.77>: Client host rejected: Service unavailable", "warning: 77" },
		{ "smtpd_client_restrictions = warn_if_reject reject_rbl_client list.test\n", NULL, "h", "", NULL, "", "warning: 77" },
	};
	const struct dns_settings narrow = { .servers = server.servers, .timeout_usec = 5000 * 1000, .tries = 1, .query_limit = 1, .queue_limit = 1 };
	const struct dns_settings wide = { .servers = server.servers, .timeout_usec = 300 * 1000, .tries = 1 };
	struct op_owner owner;
	struct dns_query on_its_way, in_line;
	struct err e;
	(void)state;
	assert_int_equal(dns_open(&narrow, &e), RC_OK);
	dns_cache_clear();
	server.mute = true;
	op_owner_init(&owner);
	dns_query_init(&on_its_way, &owner, loop_on_done);
	dns_query_init(&in_line, &owner, loop_on_done);
	dns_ask(&on_its_way, DNS_A, SPAN("one.test"), 0);
	dns_ask(&in_line, DNS_A, SPAN("two.test"), 0);
	for (size_t i = 0; i < NELEMS(cases); i++) {
		struct conf *c;
		struct policy *p = compile(cases[i].conf, &c);
		check(p, &cases[i], "busy: ");
		policy_free(&p);
		conf_unref(&c);
	}
	dns_query_fini(&on_its_way);
	dns_query_fini(&in_line);
	server.mute = false;
	assert_int_equal(dns_open(&wide, &e), RC_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_client_names), cmocka_unit_test(test_unknown_helo), cmocka_unit_test(test_unknown_domain), cmocka_unit_test(test_server_access),
		cmocka_unit_test(test_crowds),
		cmocka_unit_test(test_mx_backup), cmocka_unit_test(test_rounds), cmocka_unit_test(test_prefetch_bounds), cmocka_unit_test(test_list_states),
		cmocka_unit_test(test_busy),
	};
	struct err e = { 0 };
	loop_init();
	fake_dns_start(&server, rows);
	struct dns_settings settings = { .servers = server.servers, .timeout_usec = 300 * 1000, .tries = 1 };
	if (dns_open(&settings, &e) != RC_OK)
		return 1;
	confdir_make();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	confdir_remove();
	dns_close();
	fake_dns_stop(&server);
	loop_fini();
	return failed;
}
