/* SPDX-License-Identifier: BSD-2-Clause */
/* access(5) actions about the message, and the log of permits: lines as Debian's Postfix 3.7 writes them. */
#include "policy_says.h"

#define ABOUT "<b@example.org>: Recipient address "

static void
at_rcpt(const char *rules, const char *want)
{
	char lines[2000];
	struct facts f = policy_facts();
	snprintf(lines, sizeof lines, "%ssmtpd_recipient_restrictions = %s\n", POLICY_COMMON, rules);
	policy_says(lines, POLICY_RCPT, &f, want);
}

static void
test_edits(void **state)
{
	static const struct {
		const char *action, *want;
	} rows[] = {
		{ "FILTER smtp:[127.0.0.1]:10025", "ok | filter: " ABOUT "triggers FILTER smtp:[127.0.0.1]:10025 | FILTER smtp:[127.0.0.1]:10025" },
		{ "filter scan:", "ok | filter: " ABOUT "triggers FILTER scan: | FILTER scan:" },
		{ "FILTER", "ok | warning: access table static:{FILTER} entry \"b@example.org\" has FILTER entry without value" },
		{ "FILTER foo", "ok | warning: access table static:{FILTER foo} entry \"b@example.org\" requires transport:destination" },
		{ "FILTER :foo", "451 4.3.5 Server configuration error | warning: check_recipient_access static:{FILTER :foo}: FILTER without a transport" },
		{ "FILTER a b:c", "ok | warning: access table static:{FILTER a b:c} entry \"b@example.org\" requires transport:destination" },
		{ "FILTER smtp:[a]:1, [b]:2", "ok | filter: " ABOUT "triggers FILTER smtp:[a]:1, [b]:2 | FILTER smtp:[a]:1, [b]:2" },
		{ "REDIRECT x@y.example", "ok | redirect: " ABOUT "triggers REDIRECT x@y.example | REDIRECT x@y.example" },
		{ "REDIRECT <x@y.example>", "ok | redirect: " ABOUT "triggers REDIRECT <x@y.example> | REDIRECT x@y.example" },
		{ "REDIRECT \"x y\"@z.example", "ok | redirect: " ABOUT "triggers REDIRECT \"x y\"@z.example | REDIRECT x y@z.example" },
		{ "REDIRECT", "ok | warning: access table static:{REDIRECT} entry \"b@example.org\" requires user@domain target" },
		{ "REDIRECT x", "ok | warning: access table static:{REDIRECT x} entry \"b@example.org\" requires user@domain target" },
		{ "REDIRECT @y.example", "ok | warning: access table static:{REDIRECT @y.example} entry \"b@example.org\" requires user@domain target" },
		{ "REDIRECT x@y..example", "ok | warning: access table static:{REDIRECT x@y..example} entry \"b@example.org\" requires user@domain target" },
		{ "REDIRECT x@y z@y", "ok | warning: access table static:{REDIRECT x@y z@y} entry \"b@example.org\" requires user@domain target" },
		{ "BCC x@y.example", "ok | bcc: " ABOUT "triggers BCC x@y.example | BCC x@y.example" },
		{ "bcc", "ok | warning: access table static:{bcc} entry \"b@example.org\" requires user@domain target" },
		{ "PREPEND X-Foo: bar", "ok | PREPEND X-Foo: bar" },
		{ "PREPEND X-Foo : bar", "ok | PREPEND X-Foo : bar" },
		{ "prepend X-Foo:", "ok | PREPEND X-Foo:" },
		{ "PREPEND", "ok | warning: access table static:{PREPEND} entry \"b@example.org\" requires header: text" },
		{ "PREPEND foo", "ok | warning: access table static:{PREPEND foo} entry \"b@example.org\" requires header: text" },
		{ "PREPEND a b: c", "ok | warning: access table static:{PREPEND a b: c} entry \"b@example.org\" requires header: text" },
		{ "PREPEND : c", "ok | warning: access table static:{PREPEND : c} entry \"b@example.org\" requires header: text" },
		{ "REJECT 5.1.8 x", "554 5.1.2 " ABOUT "rejected: x | note: mapping DSN status 5.1.8 into Recipient address status 5.1.2" },
		{ "DEFER_IF_PERMIT 4.1.7 x", "450 4.1.3 " ABOUT "rejected: x | note: mapping DSN status 4.1.7 into Recipient address status 4.1.3" },
		{ "REJECT 5.1.2 x", "554 5.1.2 " ABOUT "rejected: x" },
		{ "INFO x y", "ok | info: x y" },
		{ "WARN", "ok | warn: " },
		{ "HOLD it", "ok | held | hold: " ABOUT "it" },
		{ "QUARANTINE", "ok | rcpt quarantined: Recipient address triggers QUARANTINE action | quarantine: " ABOUT "triggers QUARANTINE action" },
		{ "quarantine see ticket 7", "ok | rcpt quarantined: see ticket 7 | quarantine: " ABOUT "see ticket 7" },
		{ "DISCARD", "ok | discarded | discard: " ABOUT "triggers DISCARD action" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		char rules[300];
		snprintf(rules, sizeof rules, "check_recipient_access static:{%s}", rows[i].action);
		at_rcpt(rules, rows[i].want);
	}
}

/* All are kept in order; who applies them takes the last filter and the last redirection. */
static void
test_several(void **state)
{
	(void)state;
	at_rcpt("check_sender_access static:{PREPEND A: 1}, check_sender_access static:{FILTER a:}, check_recipient_access static:{PREPEND B: 2}, "
		"check_recipient_access static:{FILTER b:}, reject",
	    "554 5.7.1 " ABOUT "rejected: Access denied | filter: <a@s.example>: Sender address triggers FILTER a: | filter: " ABOUT
	    "triggers FILTER b: | PREPEND A: 1 | FILTER a: | PREPEND B: 2 | FILTER b:");
	at_rcpt("check_sender_access static:{HOLD}, check_recipient_access static:HOLD", "ok | held | hold: <a@s.example>: Sender address triggers HOLD action");
	at_rcpt("check_sender_access static:{QUARANTINE}, check_recipient_access static:QUARANTINE",
	    "ok | all quarantined: Sender address triggers QUARANTINE action | rcpt quarantined | quarantine: <a@s.example>: Sender address triggers "
	    "QUARANTINE action | quarantine: " ABOUT "triggers QUARANTINE action");
	at_rcpt("check_recipient_access static:QUARANTINE, reject", "554 5.7.1 " ABOUT "rejected: Access denied | rcpt quarantined: Recipient address triggers "
	    "QUARANTINE action | quarantine: " ABOUT "triggers QUARANTINE action");
	at_rcpt("check_sender_access static:{DISCARD}, check_recipient_access static:{BCC x@y}",
	    "ok | discarded | discard: <a@s.example>: Sender address triggers DISCARD action");
	struct facts f = policy_facts();
	f.is_held = true;
	policy_says(POLICY_COMMON "smtpd_sender_restrictions = check_sender_access static:HOLD\n", POLICY_RCPT, &f, "ok");
	/* more than a verdict holds are said, not lost in silence */
	char rules[4000] = "";
	for (unsigned i = 0; i <= VERDICT_EDITS; i++)
		snprintf(rules + strlen(rules), sizeof rules - strlen(rules), "check_recipient_access static:{PREPEND A%u: x}, ", i);
	char lines[5000];
	snprintf(lines, sizeof lines, "%ssmtpd_recipient_restrictions = %spermit\n", POLICY_COMMON, rules);
	struct conf *c = NULL;
	struct policy *p = policy_of(lines, &c);
	struct op_owner owner;
	struct policy_run r;
	f = policy_facts();
	op_owner_init(&owner);
	policy_run_init(&r, &owner, NULL);
	assert_true(policy_run_now(&r, p, POLICY_RCPT, &f));
	assert_int_equal(r.verdict.nedits, VERDICT_EDITS);
	assert_span(r.verdict.edits[VERDICT_EDITS - 1].text, "A31: x");
	assert_int_equal(r.verdict.nnotes, 1);
	assert_span(r.verdict.notes[0].text, "too many actions about one message: some are left out");
	policy_run_fini(&r);
	policy_free(&p);
	conf_unref(&c);
	/* nothing that was to go elsewhere goes where it was sent to, because we keep no more */
	static const char *const elsewhere[] = { "REDIRECT", "FILTER", "BCC" };
	for (unsigned i = 0; i < NELEMS(elsewhere); i++) {
		char far[600], long_one[1400];
		snprintf(lines, sizeof lines, "%ssmtpd_recipient_restrictions = %scheck_recipient_access static:{%s x:y@z}\n", POLICY_COMMON, rules, elsewhere[i]);
		memset(far, 'x', sizeof far - 1);
		far[sizeof far - 1] = '\0';
		far[1] = i == 1 ? ':' : '@';
		snprintf(long_one, sizeof long_one, "%ssmtpd_recipient_restrictions = check_recipient_access static:{%s %s}\n", POLICY_COMMON, elsewhere[i], far);
		const char *confs[] = { lines, long_one };
		for (unsigned k = i == 1 ? 0 : 1; k < 2; k++) {
			p = policy_of(confs[k], &c);
			policy_run_init(&r, &owner, NULL);
			assert_true(policy_run_now(&r, p, POLICY_RCPT, &f));
			assert_span(r.verdict.reply, "451 4.3.5 Server configuration error");
			policy_run_fini(&r);
			policy_free(&p);
			conf_unref(&c);
		}
	}
}

static void
test_where(void **state)
{
	static const char *const actions[] = { "FILTER a:b", "REDIRECT a@b", "BCC a@b", "HOLD", "DISCARD", "PREPEND A: b" };
	struct facts f = policy_facts(), none = policy_facts(), etrn = policy_facts();
	none.has_sender = none.has_rcpt = false;
	etrn.has_sender = etrn.has_rcpt = false;
	etrn.etrn_domain = SPAN("example.org");
	(void)state;
	for (size_t i = 0; i < NELEMS(actions); i++) {
		char lines[1000], want[400];
		struct span word, rest = span_str(actions[i]);
		span_word(&rest, " ", &word);
		snprintf(lines, sizeof lines, "%ssmtpd_delay_reject = no\nsmtpd_client_restrictions = check_client_access static:{%s}\n", POLICY_COMMON, actions[i]);
		snprintf(want, sizeof want,
		    "ok | warning: access table static:{%s}: with smtpd_delay_reject=no, action %.*s is always skipped in Client host or Helo command restrictions",
		    actions[i], (int)word.n, (const char *)word.p);
		policy_says(lines, POLICY_CONNECT, &none, want);
		snprintf(lines, sizeof lines, "%ssmtpd_etrn_restrictions = check_client_access static:{%s}\n", POLICY_COMMON, actions[i]);
		if (!span_eq_str(word, "PREPEND"))
			snprintf(want, sizeof want, "ok | warning: access table static:{%s}: action %.*s is unavailable in smtpd_etrn_restrictions", actions[i],
			    (int)word.n, (const char *)word.p);
		policy_says(lines, POLICY_ETRN, &etrn, want);
	}
	policy_says(POLICY_COMMON "smtpd_end_of_data_restrictions = check_client_access static:{PREPEND A: b}\n", POLICY_END_OF_DATA, &f,
	    "ok | warning: access table static:{PREPEND A: b}: action PREPEND must be used before END-OF-MESSAGE");
	policy_says(POLICY_COMMON "smtpd_end_of_data_restrictions = check_client_access static:{BCC a@b}\n", POLICY_END_OF_DATA, &f,
	    "ok | bcc: <c.example[192.0.2.7]>: Client host triggers BCC a@b | BCC a@b");
	policy_says(POLICY_COMMON "smtpd_data_restrictions = check_client_access static:{PREPEND A: b}\n", POLICY_DATA, &f, "ok | PREPEND A: b");
}

static void
test_is_header(void **state)
{
	static const struct {
		struct span text;
		bool is;
	} rows[] = {
		{ SPAN("A: b"), true }, { SPAN("A:"), true }, { SPAN("A \t: b"), true }, { SPAN("A: b\tc"), true }, { SPAN("A: \xc3\xa4"), true },
		{ SPAN(""), false }, { SPAN(":"), false }, { SPAN(" A: b"), false }, { SPAN("A"), false }, { SPAN("A b: c"), false },
		{ SPAN("A: b\r\nBcc: c"), false }, { SPAN("A: b\nB: c"), false }, { SPAN("A: b\rB: c"), false }, { SPAN("A: b\r\n\r\nbody"), false },
		{ SPAN("A: b\0c"), false }, { SPAN("A\0: b"), false }, { SPAN("\xc3\xa4: b"), false }, { SPAN("A: \x7f"), false }, { SPAN("A: \x1b[2J"), false },
		{ SPAN("A\x7f: b"), false },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (policy_is_header(rows[i].text) != rows[i].is)
			fail_msg("\"%.*s\"", (int)rows[i].text.n, (const char *)rows[i].text.p);
	struct buf b;
	buf_init(&b, 20000);
	buf_puts(&b, "A: ");
	while (buf_len(&b) < 8000)
		buf_putc(&b, 'x');
	assert_true(policy_is_header(buf_span(&b)));
	buf_putc(&b, 'x');
	assert_false(policy_is_header(buf_span(&b)));
	buf_fini(&b);
}

/* The text of an action may have the name of a class in it. */
static void
test_text_is_text(void **state)
{
	struct facts f = policy_facts();
	(void)state;
	policy_says(POLICY_COMMON "smtpd_restriction_classes = cls\ncls = check_sender_access inline:{{s.example=REJECT cls says no}}\n"
				  "smtpd_sender_restrictions = cls\n",
	    POLICY_RCPT, &f, "554 5.7.1 <a@s.example>: Sender address rejected: cls says no");
	policy_says(POLICY_COMMON "smtpd_restriction_classes = cls\ncls = check_sender_access inline:{{s.example=450 cls says no}}\n"
				  "smtpd_sender_restrictions = cls\n",
	    POLICY_RCPT, &f, "450 4.7.1 <a@s.example>: Sender address rejected: cls says no");
}

static void
test_permit_log(void **state)
{
	static const char *const log_all = POLICY_COMMON "smtpd_log_access_permit_actions = static:all\nsmtpd_client_restrictions = ";
	static const struct {
		const char *rules, *want;
	} rows[] = {
		{ "check_client_access static:ok", "ok | permit: action=ok for Client host=c.example[192.0.2.7] from static:ok" },
		{ "check_client_access static:{RELAY x}", "ok | permit: action=RELAY for Client host=c.example[192.0.2.7] from static:{RELAY x}" },
		{ "check_client_access static:123", "ok | permit: action=123 for Client host=c.example[192.0.2.7] from static:123" },
		{ "check_client_access static:permit_auth_destination", "ok | permit: action=permit_auth_destination for Recipient address=b@example.org " },
		{ "permit", "ok | permit: action=permit for Client host=c.example[192.0.2.7] " },
		{ "permit_mynetworks", "ok" },
		{ "defer_if_permit, permit", "450 4.7.0 <c.example[192.0.2.7]>: Client host rejected: defer_if_permit requested" },
	};
	struct facts f = policy_facts();
	char lines[1000];
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		snprintf(lines, sizeof lines, "%s%s\n", log_all, rows[i].rules);
		policy_says(lines, POLICY_RCPT, &f, rows[i].want);
	}
	f.client_addr = SPAN("127.0.0.2");
	assert_int_equal(ipaddr_parse(f.client_addr, &f.client), RC_OK);
	snprintf(lines, sizeof lines, "%spermit_mynetworks\n", log_all);
	policy_says(lines, POLICY_RCPT, &f, "ok | permit: action=permit_mynetworks for Client host=c.example[127.0.0.2] ");
	policy_says(POLICY_COMMON "smtpd_log_access_permit_actions = permit\nsmtpd_client_restrictions = permit_mynetworks\n", POLICY_RCPT, &f, "ok");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_edits),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_where),
		cmocka_unit_test(test_is_header),
		cmocka_unit_test(test_text_is_text),
		cmocka_unit_test(test_permit_log),
	};
	return cmocka_run_group_tests(tests, policy_says_begin, policy_says_end);
}
