/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An answer of a name server all the way: from a socket through the resolver and the lists to the reply that a client
 * hears. First byte: the rule. The rest is the answer behind its id, with the question as it was asked; what comes after it, and
 * questions about anything else, get SERVFAIL.
 * Property: the reply is the one for what the parser says of the packet or, when it was not even taken, for "not now"; never
 * that of another outcome; it is one line of at most 512 printable octets with 450, 550 or 554; nothing is left.
 */
#include "base/log.h"
#include "base/metric.h"
#include "conf/conf.h"
#include "dns/dns.h"
#include "policy/ask_dns.h"
#include "rbl/list.h"

#include "../unit/confdir.h"

#include <arpa/inet.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

enum { RULE_BLOCK, RULE_ALLOW, RULE_NAMES, RULE_SENDER, RULE_HELO, RULE_REASON, RULES };

static const struct {
	const char *settings;
	const char *name;            /* whose answer is the packet */
	enum dns_type type;
} rules[RULES] = {
	[RULE_BLOCK] = { "reject_rbl_client list.test", "77.2.0.192.list.test", DNS_A },
	[RULE_ALLOW] = { "permit_dnswl_client list.test, reject", "77.2.0.192.list.test", DNS_A },
	[RULE_NAMES] = { "reject_rhsbl_sender list.test=127.0.[0..3].[2;4..255]", "s.test.list.test", DNS_A },
	[RULE_SENDER] = { "reject_unknown_sender_domain", "s.test", DNS_MX },
	[RULE_HELO] = { "reject_unknown_helo_hostname", "h.test", DNS_A },
	[RULE_REASON] = { "reject_rbl_client list.test", "77.2.0.192.list.test", DNS_TXT },
};

static struct policy *policies[RULES];
static struct watch server;
static struct timer guard;

/* the case */
static struct span packet;
static unsigned rule;
static bool is_sent;
static enum rc said;                 /* by the parser */
static enum rbl_meaning meaning;
static bool is_nxdomain, is_null_mx, has_host, has_alias;

static void
read_packet(struct span whole, struct span name, enum dns_type type)
{
	struct arena a;
	struct dns_answer x;
	struct rbl_list l;
	struct err e;
	arena_init(&a, 512 * 1024);
	said = dns_answer_parse(whole, name, type, &a, &x);
	is_nxdomain = x.nxdomain;
	has_alias = x.alias.n > 0;
	BUG_ON((said == RC_OK) != (x.n > 0) || (said == RC_NONE && x.ttl > DNS_NEGATIVE_TTL_MAX && x.alias.n == 0) || x.ttl > DNS_TTL_MAX);
	is_null_mx = has_host = false;
	for (unsigned i = 0; type == DNS_MX && i < x.n; i++) {
		is_null_mx = is_null_mx || x.rr[i].data.n == 0;
		has_host = has_host || policy_is_host(x.rr[i].data);
	}
	BUG_ON(rbl_list_parse(rule == RULE_NAMES ? SPAN("list.test=127.0.[0..3].[2;4..255]") : SPAN("list.test"), &l, &e) != RC_OK);
	meaning = said == RC_OK && type == DNS_A ? rbl_list_judge(&l, &x, NULL) : RBL_NOT_LISTED;
	for (unsigned i = 0; said == RC_OK && type == DNS_A && i < x.n; i++)
		BUG_ON(rbl_list_matches(&l, x.rr[i].addr.a) && !rbl_is_refusal(x.rr[i].addr.a) && meaning != RBL_LISTED && ntohl(x.rr[i].addr.a.s_addr) >> 24 == 127);
	arena_fini(&a);
}

static void
on_question(struct watch *w, short what)
{
	static const unsigned char yes[] = "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\2";
	unsigned char q[600], out[65536 + 600];
	struct sockaddr_in from;
	socklen_t len = sizeof from;
	char name[256] = "";
	(void)what;
	ssize_t n = recvfrom(w->fd, q, sizeof q, 0, (struct sockaddr *)&from, &len);
	if (n < 17)
		return;
	size_t at = 12, text = 0;
	while (q[at] != 0) {
		if (text > 0)
			name[text++] = '.';
		memcpy(name + text, q + at + 1, q[at]);
		text += q[at];
		at += q[at] + 1u;
	}
	name[text] = '\0';
	unsigned type = (unsigned)q[at + 1] << 8 | q[at + 2];
	size_t question = at + 5 - 12, end = 12 + question;
	memcpy(out, q, end);
	if (rule == RULE_REASON && type == DNS_A) {
		memcpy(out + 2, "\x81\x80\0\1\0\1\0\0\0\0", 10);
		memcpy(out + end, yes, sizeof yes - 1);
		(void)!sendto(w->fd, out, end + sizeof yes - 1, 0, (struct sockaddr *)&from, len);
		return;
	}
	if (!is_sent && type == (unsigned)rules[rule].type && strcasecmp(name, rules[rule].name) == 0) {
		is_sent = true;
		memcpy(out + 2, packet.p, 10);
		memcpy(out + end, packet.p + 10, packet.n - 10);
		read_packet(span_of(out, end + packet.n - 10), span_str(rules[rule].name), rules[rule].type);
		(void)!sendto(w->fd, out, end + packet.n - 10, 0, (struct sockaddr *)&from, len);
	}
	memcpy(out, q, end);
	memcpy(out + 2, "\x81\x82\0\1\0\0\0\0\0\0", 10);
	(void)!sendto(w->fd, out, end, 0, (struct sockaddr *)&from, len);
}

static void
on_guard(struct timer *t)
{
	(void)t;
	BUG("no verdict after ten seconds");
}

static void
on_verdict(struct op *op)
{
	(void)op;
	loop_stop();
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof a;
	char text[1000];
	struct err e;
	(void)argc, (void)argv;
	log_open(LOG_TO_FD, open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_POSTFIX, "dogana", "edge");
	loop_init();
	confdir_make();
	for (unsigned i = 0; i < RULES; i++) {
		snprintf(text, sizeof text,
		    "myhostname = gw.unit.test\nmydestination =\nmynetworks = 127.0.0.2\ninet_interfaces = 192.0.2.200\nrelay_domains = here.test\nrelay_recipient_maps =\n"
		    "smtpd_relay_restrictions = reject_unauth_destination\nunknown_address_reject_code = 550\nunknown_hostname_reject_code = 550\n"
		    "smtpd_recipient_restrictions = %s\n", rules[i].settings);
		struct conf *c = confdir_load(text);
		BUG_ON(policy_compile(c, conf_service_find(c, "smtp", "inet"), &policies[i], &e) != RC_OK);
	}
	confdir_remove();
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	BUG_ON(fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || getsockname(fd, (struct sockaddr *)&a, &len) != 0);
	snprintf(text, sizeof text, "127.0.0.1:%u", ntohs(a.sin_port));
	const struct dns_settings s = { .servers = text, .timeout_usec = 2000000, .tries = 1, .as_typed = true };
	BUG_ON(dns_open(&s, &e) != RC_OK);
	watch_init(&server, fd, on_question);
	watch_want(&server, EV_READ);
	timer_init(&guard, on_guard);
	return 0;
}

static void
check_reply(struct span s)
{
	BUG_ON(s.n < 10 || s.n > 510);
	for (size_t i = 0; i < s.n; i++)
		BUG_ON(s.p[i] < ' ' || s.p[i] > '~');
	BUG_ON(!span_starts(s, SPAN("450 4.")) && !span_starts(s, SPAN("550 5.")) && !span_starts(s, SPAN("554 5.")));
}

/* The reply is right for the outcome. code: of the reply; 0: accepted. */
static bool
fits(enum rc rc, unsigned code)
{
	switch ((int)rule) {
	case RULE_BLOCK:
	case RULE_NAMES:
		return rc == RC_OK && meaning == RBL_LISTED ? code == 554 : code == 0;
	case RULE_ALLOW:
		if (rc == RC_OK && meaning == RBL_LISTED)
			return code == 0;
		return rc == RC_NONE || (rc == RC_OK && meaning == RBL_NOT_LISTED) ? code == 554 : code == 450 || (rc == RC_OK && code == 554);
	case RULE_SENDER:
		if (rc == RC_OK)
			return is_null_mx || !has_host ? code == 550 : code == 0; /* names that are none: as in Postfix */
		return code == 450 || (code == 550 && rc == RC_NONE && is_nxdomain); /* A and AAAA say SERVFAIL */
	case RULE_HELO: /* AAAA and MX say SERVFAIL */
		return rc == RC_OK ? code == 0 : rc == RC_NONE && is_nxdomain ? code == 550 || code == 450 : code == 450;
	case RULE_REASON:
		return code == 554;
	}
	return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct op_owner owner;
	struct policy_run r;
	struct facts f = {
		.client_addr = SPAN("192.0.2.77"), .client_name = SPAN("unknown"), .client_name_rc = RC_NONE, .reverse_name = SPAN("unknown"),
		.reverse_name_rc = RC_NONE, .has_helo = true, .helo = SPAN("h.test"), .has_sender = true, .sender = SPAN("a@s.test"), .has_rcpt = true,
		.rcpt = SPAN("b@here.test"), .qid = SPAN("NOQUEUE"),
	};
	if (n < 11 || n > 60000)
		return 0;
	rule = p[0] % RULES;
	packet = span_of(p + 1, n - 1);
	is_sent = false;
	said = RC_TEMP;
	is_nxdomain = is_null_mx = has_host = has_alias = false;
	meaning = RBL_NOT_LISTED;
	BUG_ON(ipaddr_parse(f.client_addr, &f.client) != RC_OK);
	dns_cache_clear();
	op_owner_init(&owner);
	policy_run_init(&r, &owner, on_verdict);
	timer_set(&guard, 10 * 1000000);
	if (!policy_run_now(&r, policies[rule], POLICY_RCPT, &f))
		loop_run();
	timer_clear(&guard);
	const struct verdict *v = &r.verdict;
	unsigned code = 0;
	if (v->kind == VERDICT_REFUSE) {
		check_reply(v->reply);
		code = (unsigned)(v->reply.p[0] - '0') * 100 + (unsigned)(v->reply.p[1] - '0') * 10 + (unsigned)(v->reply.p[2] - '0');
	}
	for (unsigned i = 0; i < v->nnotes; i++)
		for (size_t k = 0; k < v->notes[i].text.n; k++)
			BUG_ON(v->notes[i].text.p[k] < ' ' || v->notes[i].text.p[k] == 0x7f);
	BUG_ON(rule != RULE_REASON && !fits(said, code) && !fits(RC_TEMP, code));
	/* a well-formed answer to this question is taken for what it is */
	bool is_plain = said == RC_OK || (said == RC_NONE && !has_alias);
	BUG_ON(is_sent && is_plain && (packet.p[0] & 0xf8) == 0x80 && !fits(said, code));
	policy_run_fini(&r);
	BUG_ON(!op_owner_idle(&owner));
	return 0;
}
