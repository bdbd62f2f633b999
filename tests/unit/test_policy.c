/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine: codes, order of lists, control words, facts. Tables: test_policy_access.c; what must not start: test_policy_conf.c. */
#include "policy_cases.h"

#include "loop/loop.h"

#include "own_time.h"

/* As Debian's Postfix 3.7 answers (tests/compat/postfix-3.7.txt). */
static void
test_defaults(void **state)
{
	static const struct said cases[] = {
		{ NULL, "c.example", FROM, "known@example.org", "", NULL },
		{ NULL, "c.example", FROM, "KNOWN@EXAMPLE.ORG", "", NULL },
		{ NULL, "c.example", FROM, "nobody@example.org", UNKNOWN_RELAY("nobody@example.org"), NULL },
		{ NULL, "c.example", FROM, "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL },
		{ NULL, "c.example", FROM, "x@sub.example.org", UNKNOWN_RELAY("x@sub.example.org"), NULL },
		{ NULL, "c.example", FROM, "x@any.example", "", NULL },
		{ NULL, "c.example", FROM, "x@sub.any.example", "", NULL },
		{ NULL, "c.example", FROM, "x@dot.example", RELAY_DENIED("x@dot.example"), NULL },
		{ NULL, "c.example", FROM, "x@sub.dot.example", RELAY_DENIED("x@sub.dot.example"), NULL },
		{ NULL, "c.example", FROM, "postmaster", "", NULL },
		{ NULL, "c.example", FROM, "POSTMASTER", "", NULL },
		{ NULL, "c.example", FROM, "postmaster@mx.example.com", RELAY_DENIED("postmaster@mx.example.com"), NULL },
		{ NULL, "c.example", FROM, "x@mx.example.com", RELAY_DENIED("x@mx.example.com"), NULL },
		{ NULL, "c.example", FROM, "postmaster@example.org", UNKNOWN_RELAY("postmaster@example.org"), NULL },
		{ NULL, "c.example", FROM, "nobody", RELAY_DENIED("nobody"), NULL },
		{ NULL, "c.example", FROM, "x@[127.0.0.1]", "550 5.1.1 <x@[127.0.0.1]>: Recipient address rejected: User unknown in local recipient table", NULL },
		{ NULL, "c.example", FROM, "x@[192.0.2.9]", RELAY_DENIED("x@[192.0.2.9]"), NULL },
		{ NULL, "c.example", FROM, "x@127.0.0.1", "501 5.1.3 Bad recipient address syntax", NULL },
		{ NULL, "c.example", FROM, "x%elsewhere.example@example.org", RELAY_DENIED("x%elsewhere.example@example.org"), NULL },
		{ NULL, "c.example", FROM, "known%example.org@elsewhere.example", RELAY_DENIED("known%example.org@elsewhere.example"), NULL },
		{ NULL, "c.example", FROM, "elsewhere.example!x@example.org", RELAY_DENIED("elsewhere.example!x@example.org"), NULL },
		{ NULL, "c.example", FROM, "x@elsewhere.example@example.org", RELAY_DENIED("x@elsewhere.example@example.org"), NULL },
		{ NULL, "c.example", FROM, "known@@example.org", RELAY_DENIED("known@@example.org"), NULL },
		{ NULL, "c.example", FROM, "x%any.example", "", NULL },
		{ NULL, "c.example", FROM, "any.example!x", "", NULL },
		{ NULL, "c.example", FROM, "known+ext@example.org", UNKNOWN_RELAY("known+ext@example.org"), NULL },
		{ NULL, "c.example", FROM, "nobody x@example.org", UNKNOWN_RELAY("nobody x@example.org"), NULL },
		{ NULL, "c.example", FROM, "@example.org", UNKNOWN_RELAY("@example.org"), NULL },
		{ NULL, "c.example", FROM, "known@", "501 5.1.3 Bad recipient address syntax", NULL },
		{ NULL, "c.example", FROM, "x@any.example..", "501 5.1.3 Bad recipient address syntax", NULL },
		{ NULL, "c.example", FROM, "x@any.example.", "", NULL },
		{ NULL, "c.example", FROM, "-x@any.example", "501 5.1.3 Bad recipient address syntax", NULL },
		{ NULL, "c.example", FROM, "listed@any2.example", "", NULL },
		{ NULL, "c.example", "", "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL },
		{ "127.0.0.2", "c.example", FROM, "x@elsewhere.example", "", NULL },
		{ "127.0.0.2", "c.example", FROM, "nobody@example.org", UNKNOWN_RELAY("nobody@example.org"), NULL },
		{ "127.0.0.2", "c.example", FROM, "x%elsewhere.example@example.org", UNKNOWN_RELAY("x%elsewhere.example@example.org"), NULL },
		{ "127.0.0.3", "c.example", FROM, "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL },
		{ "127.0.1.200", "c.example", FROM, "x@elsewhere.example", "", NULL },
		{ "127.0.1.9", "c.example", FROM, "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL },
		{ "2001:db8::1", "c.example", FROM, "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL },
		{ NULL, NULL, FROM, "known@example.org", "", NULL },
	};
	(void)state;
	check_all(COMMON, POLICY_RCPT, cases, NELEMS(cases));
}

static void
test_codes(void **state)
{
	static const struct said reject[] = {
		{ NULL, "c", FROM, "x@elsewhere.example", "554 5.7.1 <x@elsewhere.example>: Relay access denied", NULL },
		{ NULL, "c", FROM, "nobody@example.org", "450 4.1.1 <nobody@example.org>: Recipient address rejected: User unknown in relay recipient table", NULL },
	};
	static const struct said all[] = {
		{ NULL, "c", FROM, "known@example.org", "554 5.7.1 <known@example.org>: Recipient address rejected: Access denied", NULL },
		{ NULL, "c", FROM, "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL },
		{ "127.0.0.2", "c", FROM, "x@[192.0.2.9]", "554 5.7.1 <x@[192.0.2.9]>: Recipient address rejected: Access denied", NULL },
		{ NULL, "c", FROM, "postmaster", "", NULL },
	};
	static const struct said soft[] = {
		{ NULL, "c", FROM, "known@example.org", "454 4.7.1 <known@example.org>: Recipient address rejected: Access denied", NULL },
	};
	static const struct said bad[] = {
		{ NULL, "c", FROM, "known@example.org", "450 4.7.1 Service unavailable", "warning: reject: bad reply code 777" },
	};
	static const struct said defer[] = {
		{ NULL, "c", FROM, "known@example.org", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", NULL },
	};
	static const struct said quiet[] = {
		{ NULL, "c", FROM, "nobody@example.org", "550 5.1.1 <nobody@example.org>: Recipient address rejected: User unknown", NULL },
	};
	(void)state;
	check_all(COMMON "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\nunknown_relay_recipient_reject_code = 450\n",
	    POLICY_RCPT, reject, NELEMS(reject));
	check_all(COMMON "smtpd_relay_restrictions =\nunknown_relay_recipient_reject_code = 450\n"
	    "smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, permit\n", POLICY_RCPT, reject, NELEMS(reject));
	check_all(COMMON "smtpd_recipient_restrictions = reject\n", POLICY_RCPT, all, NELEMS(all));
	check_all(COMMON "smtpd_recipient_restrictions = reject\nsoft_bounce = yes\n", POLICY_RCPT, soft, NELEMS(soft));
	check_all(COMMON "smtpd_recipient_restrictions = reject\nreject_code = 777\n", POLICY_RCPT, bad, NELEMS(bad));
	check_all(COMMON "smtpd_recipient_restrictions = defer\n", POLICY_RCPT, defer, NELEMS(defer));
	check_all(COMMON "show_user_unknown_table_name = no\n", POLICY_RCPT, quiet, NELEMS(quiet));
}

/* Order of the two lists at RCPT, permit ends one of them only, delayed lists come first. */
static void
test_order(void **state)
{
	static const struct said relay_first[] = {
		{ NULL, "c", FROM, "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL },
	};
	static const struct said recipient_first[] = {
		{ NULL, "c", FROM, "x@elsewhere.example", "554 5.7.1 <x@elsewhere.example>: Recipient address rejected: Access denied", NULL },
	};
	static const struct said client[] = {
		{ NULL, "c", FROM, "known@example.org", "554 5.7.1 <unknown[127.0.0.9]>: Client host rejected: Access denied", NULL },
		{ "127.0.0.2", "c", FROM, "known@example.org", "", NULL },
	};
	static const struct said helo[] = {
		{ NULL, "c.example", FROM, "known@example.org", "554 5.7.1 <c.example>: Helo command rejected: Access denied", NULL },
		{ NULL, NULL, FROM, "known@example.org", "", NULL },
	};
	static const struct said sender[] = {
		{ NULL, "c", FROM, "known@example.org", "554 5.7.1 <a@sender.example>: Sender address rejected: Access denied", NULL },
		{ NULL, "c", "", "known@example.org", "554 5.7.1 <>: Sender address rejected: Access denied", NULL },
		{ NULL, "c", NULL, "known@example.org", "", NULL },
	};
	static const struct said at_connect[] = { { NULL, NULL, NULL, NULL, "554 5.7.1 <unknown[127.0.0.9]>: Client host rejected: Access denied", NULL } };
	static const struct said at_helo[] = { { NULL, "c.example", NULL, NULL, "554 5.7.1 <c.example>: Helo command rejected: Access denied", NULL } };
	static const struct said at_mail[] = {
		{ NULL, "c", FROM, NULL, "554 5.7.1 <a@sender.example>: Sender address rejected: Access denied", NULL },
	};
	static const struct said nothing[] = { { NULL, "c", FROM, NULL, "", NULL } };
	static const struct said data[] = { { NULL, "c", FROM, NULL, "554 5.7.1 <DATA>: Data command rejected: Access denied", NULL } };
	static const struct said end[] = { { NULL, "c", FROM, NULL, "554 5.7.1 <END-OF-MESSAGE>: End-of-data rejected: Access denied", NULL } };
	static const struct said bad_sender[] = {
		{ NULL, "c", "a@", NULL, "501 5.1.7 Bad sender address syntax", NULL },
		{ NULL, "c", "a@-b.example", NULL, "501 5.1.7 Bad sender address syntax", NULL },
		{ NULL, "c", "a@[300.0.0.1]", NULL, "501 5.1.7 Bad sender address syntax", NULL },
		{ NULL, "c", "a@b_c.example", NULL, "", NULL },
		{ NULL, "c", "a@[IPv6:::1]", NULL, "", NULL },
		{ NULL, "c", "a", NULL, "", NULL },
		{ NULL, "c", "@b.example", NULL, "", NULL },
	};
	(void)state;
	check_all(COMMON "smtpd_recipient_restrictions = reject\n", POLICY_RCPT, relay_first, 1);
	check_all(COMMON "smtpd_recipient_restrictions = reject\nsmtpd_relay_before_recipient_restrictions = no\n", POLICY_RCPT, recipient_first, 1);
	check_all(COMMON "smtpd_client_restrictions = permit_mynetworks, reject\n", POLICY_RCPT, client, NELEMS(client));
	check_all(COMMON "smtpd_helo_restrictions = reject\n", POLICY_RCPT, helo, NELEMS(helo));
	check_all(COMMON "smtpd_sender_restrictions = reject\n", POLICY_RCPT, sender, NELEMS(sender));
	check_all(COMMON "smtpd_client_restrictions = reject\nsmtpd_delay_reject = no\n", POLICY_CONNECT, at_connect, 1);
	check_all(COMMON "smtpd_helo_restrictions = reject\nsmtpd_delay_reject = no\n", POLICY_HELO, at_helo, 1);
	check_all(COMMON "smtpd_sender_restrictions = reject\nsmtpd_delay_reject = no\n", POLICY_MAIL, at_mail, 1);
	check_all(COMMON "smtpd_client_restrictions = reject\nsmtpd_helo_restrictions = reject\nsmtpd_sender_restrictions = reject\n", POLICY_MAIL, nothing, 1);
	check_all(COMMON "smtpd_data_restrictions = reject\n", POLICY_DATA, data, 1);
	static const struct said skipped[] = { { NULL, NULL, NULL, NULL, "", "warning: access table static:{HOLD}: with smtpd_delay_reject=no, action HOLD is always skipped in Client host or Helo command restrictions" } };
	check_all(COMMON "smtpd_client_restrictions = check_client_access static:{HOLD}\nsmtpd_delay_reject = no\n", POLICY_CONNECT, skipped, 1);
	check_all(COMMON "smtpd_end_of_data_restrictions = reject\n", POLICY_END_OF_DATA, end, 1);
	check_all(COMMON, POLICY_MAIL, bad_sender, NELEMS(bad_sender));
}

static void
test_control(void **state)
{
	static const struct said warned[] = {
		{ NULL, "c", FROM, "known@example.org", "", "reject_warning: 554 5.7.1 <known@example.org>: Recipient address rejected: Access denied" },
		{ NULL, "c", FROM, "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL },
	};
	static const struct said once[] = {
		{ NULL, "c", FROM, "known@example.org", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", "reject_warning: 554" },
	};
	static const struct said if_permit[] = {
		{ NULL, "c", FROM, "known@example.org", "450 4.7.0 <known@example.org>: Recipient address rejected: defer_if_permit requested", NULL },
		{ NULL, "c", FROM, "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL },
		{ "127.0.0.2", "c", FROM, "x@[192.0.2.9]", "450 4.7.0 <x@[192.0.2.9]>: Recipient address rejected: defer_if_permit requested", NULL },
	};
	static const struct said if_reject[] = {
		{ NULL, "c", FROM, "known@example.org", "450 4.7.0 <known@example.org>: Recipient address rejected: defer_if_reject requested", NULL },
	};
	static const struct said if_reject_defer[] = {
		{ NULL, "c", FROM, "known@example.org", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", NULL },
	};
	static const struct said both[] = {
		{ NULL, "c", FROM, "known@example.org", "450 4.7.0 <known@example.org>: Recipient address rejected: defer_if_permit requested", NULL },
	};
	static const struct said classes[] = {
		{ NULL, "c", FROM, "known@example.org", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", NULL },
		{ NULL, "c", "b@sender.example", "known@example.org", "", NULL },
	};
	static const struct said warned_class[] = {
		{ NULL, "c", FROM, "known@example.org", "554 5.7.1 <known@example.org>: Recipient address rejected: Access denied", "reject_warning: 450 4.3.2" },
	};
	(void)state;
	check_all(COMMON "smtpd_recipient_restrictions = warn_if_reject reject\n", POLICY_RCPT, warned, NELEMS(warned));
	check_all(COMMON "smtpd_recipient_restrictions = warn_if_reject, reject, defer\n", POLICY_RCPT, once, 1);
	check_all(COMMON "smtpd_recipient_restrictions = defer_if_permit\n", POLICY_RCPT, if_permit, NELEMS(if_permit));
	check_all(COMMON "smtpd_recipient_restrictions = defer_if_reject, reject\n", POLICY_RCPT, if_reject, 1);
	check_all(COMMON "smtpd_recipient_restrictions = defer_if_reject, defer\n", POLICY_RCPT, if_reject_defer, 1);
	check_all(COMMON "smtpd_recipient_restrictions = defer_if_permit, defer_if_reject, reject\n", POLICY_RCPT, both, 1);
	check_all(COMMON "smtpd_restriction_classes = strict, loose\nstrict = check_sender_access inline:{b@=OK}, defer\nloose = permit\n"
	    "smtpd_recipient_restrictions = strict, reject\n", POLICY_RCPT, classes, NELEMS(classes));
	check_all(COMMON "smtpd_restriction_classes = strict\nstrict = defer, defer\nsmtpd_recipient_restrictions = warn_if_reject strict, reject\n",
	    POLICY_RCPT, warned_class, 1);
}

static void
test_syntax_rules(void **state)
{
	static const struct said helo[] = {
		{ NULL, "a.example", FROM, "known@example.org", "", NULL },
		{ NULL, "a..example", FROM, "known@example.org", "501 5.5.2 <a..example>: Helo command rejected: Invalid name", NULL },
		{ NULL, "192.0.2.1", FROM, "known@example.org", "504 5.5.2 <192.0.2.1>: Helo command rejected: need fully-qualified hostname", NULL },
		{ NULL, "a", FROM, "known@example.org", "504 5.5.2 <a>: Helo command rejected: need fully-qualified hostname", NULL },
		{ NULL, "[192.0.2.1]", FROM, "known@example.org", "", NULL },
		{ NULL, "[IPv6:2001:db8::1]", FROM, "known@example.org", "", NULL },
		{ NULL, "[192.0.2]", FROM, "known@example.org", "501 5.5.2 <[192.0.2]>: Helo command rejected: invalid ip address", NULL },
		{ NULL, "a.example.", FROM, "known@example.org", "", NULL },
		{ NULL, NULL, FROM, "known@example.org", "", NULL },
	};
	static const struct said fqdn[] = {
		{ NULL, "c", FROM, "known@example.org", "", NULL },
		{ NULL, "c", "", "known@example.org", "", NULL },
		{ NULL, "c", "a", "known@example.org", "504 5.5.2 <a>: Sender address rejected: need fully-qualified address", NULL },
		{ NULL, "c", "a@b", "known@example.org", "504 5.5.2 <a@b>: Sender address rejected: need fully-qualified address", NULL },
		{ NULL, "c", "a@[192.0.2.1]", "known@example.org", "", NULL },
		{ NULL, "c", FROM, "known", "504 5.5.2 <known>: Recipient address rejected: need fully-qualified address", NULL },
	};
	static const struct said names[] = {
		{ NULL, "c", FROM, "known@example.org", "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.9]", NULL },
	};
	static const struct said tls[] = { { NULL, "c", FROM, "known@example.org", "450 4.7.1 Session encryption is required", NULL } };
	(void)state;
	check_all(COMMON "smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname\n", POLICY_RCPT, helo, NELEMS(helo));
	check_all(COMMON "smtpd_helo_restrictions = reject_invalid_hostname, reject_non_fqdn_hostname\n", POLICY_RCPT, helo, NELEMS(helo));
	check_all(COMMON "smtpd_sender_restrictions = reject_non_fqdn_sender, REJECT_NON_FQDN_RECIPIENT\n", POLICY_RCPT, fqdn, NELEMS(fqdn));
	check_all(COMMON "smtpd_client_restrictions = reject_unknown_client\n", POLICY_RCPT, names, 1);
	check_all(COMMON "smtpd_client_restrictions = reject_plaintext_session\n", POLICY_RCPT, tls, 1);
}

/* Rules about what a client said or did that the table of cases has no column for. */
static void
test_facts(void **state)
{
	enum { LOGIN = 1, TLS = 2, CERT = 4, EARLY = 8, BOUNCE_TWO = 16, NAMED = 32, NAME_TEMP = 64, DISCARDED = 128 };
	static const struct {
		const char *rules;
		unsigned with;
		const char *reply; /* of "<rules>, reject" at DATA */
	} rows[] = {
		{ "permit_sasl_authenticated", LOGIN, "" },
		{ "check_sasl_access inline:{user=OK}", LOGIN, "" },
		{ "check_sasl_access inline:{{user=REJECT not you}}", LOGIN, "554 5.7.1 <user>: SASL login name rejected: not you" },
		{ "check_sasl_access fail:x", LOGIN, "451 4.3.5 <user>: SASL login name rejected: Server configuration error" },
		{ "permit_tls_all_clientcerts", CERT, "" },
		{ "permit_tls_clientcerts", CERT, "554 5.7.1 <DATA>: Data command rejected: Access denied" },
		{ "reject_plaintext_session, permit", TLS, "" },
		{ "reject_unauth_pipelining", EARLY, "503 5.5.0 <DATA>: Data command rejected: Improper use of SMTP command pipelining" },
		{ "reject_multi_recipient_bounce", BOUNCE_TWO, "550 5.5.3 <DATA>: Data command rejected: Multi-recipient bounce" },
		{ "reject_unknown_client_hostname, permit", NAMED, "" },
		{ "reject_unknown_client_hostname, permit", NAME_TEMP, "450 4.7.25 Client host rejected: cannot find your hostname, [127.0.0.9]" },
		{ "reject_unknown_reverse_client_hostname, permit", NAME_TEMP, "450 4.7.1 Client host rejected: cannot find your reverse hostname, [127.0.0.9]" },
		{ "check_client_access inline:{{good.example=OK}}", NAMED, "" },
		{ "check_client_access inline:{{.good.example=OK}}", NAMED, "554 5.7.1 <DATA>: Data command rejected: Access denied" },
		{ "permit_mynetworks", NAMED, "554 5.7.1 <DATA>: Data command rejected: Access denied" },
		{ "defer", DISCARDED, "" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		char lines[2000];
		struct conf *c = NULL;
		snprintf(lines, sizeof lines, COMMON "smtpd_sasl_auth_enable = yes\nunknown_client_reject_code = 550\nsmtpd_data_restrictions = %s, reject\n", rows[i].rules);
		struct policy *p = compile(lines, &c);
		struct op_owner owner;
		struct policy_run r;
		struct facts f;
		op_owner_init(&owner);
		policy_run_init(&r, &owner, never);
		facts_of(&f, &(struct said){ NULL, "c", (rows[i].with & BOUNCE_TWO) != 0 ? "" : FROM, NULL, NULL, NULL });
		f.login = (rows[i].with & LOGIN) != 0 ? SPAN("user") : SPAN_EMPTY;
		f.is_tls = (rows[i].with & TLS) != 0;
		f.is_cert_verified = (rows[i].with & CERT) != 0;
		f.pipelined_early = (rows[i].with & EARLY) != 0;
		f.is_discarded = (rows[i].with & DISCARDED) != 0;
		f.nrcpt = 2;
		if ((rows[i].with & NAMED) != 0) {
			f.client_name = f.reverse_name = SPAN("mail.good.example");
			f.client_name_rc = f.reverse_name_rc = RC_OK;
		}
		if ((rows[i].with & NAME_TEMP) != 0)
			f.client_name_rc = f.reverse_name_rc = RC_TEMP;
		assert_true(policy_run_now(&r, p, POLICY_DATA, &f));
		if (!span_eq_str(r.verdict.reply, rows[i].reply))
			fail_msg("%s: got \"%.*s\"", rows[i].rules, (int)r.verdict.reply.n, (const char *)r.verdict.reply.p);
		policy_run_fini(&r);
		policy_free(&p);
		conf_unref(&c);
	}
}

/* What a command recorded holds for the later ones when nothing is delayed. */
static void
test_carried(void **state)
{
	(void)state;
	struct conf *c = NULL;
	struct policy *p = compile(COMMON "smtpd_delay_reject = no\nsmtpd_helo_restrictions = check_helo_access inline:{{odd.example=DEFER_IF_PERMIT hm}}\n", &c);
	struct op_owner owner;
	struct policy_run r;
	struct facts f;
	op_owner_init(&owner);
	policy_run_init(&r, &owner, never);
	for (int turn = 0; turn < 2; turn++) {
		facts_of(&f, &(struct said){ NULL, turn == 0 ? "odd.example" : "fine.example", FROM, "known@example.org", NULL, NULL });
		assert_true(policy_run_now(&r, p, POLICY_CONNECT, &f) && r.verdict.kind == VERDICT_PERMIT);
		assert_true(policy_run_now(&r, p, POLICY_HELO, &f) && r.verdict.kind == VERDICT_PERMIT);
		assert_true(policy_run_now(&r, p, POLICY_MAIL, &f) && r.verdict.kind == VERDICT_PERMIT);
		for (int rcpt = 0; rcpt < 2; rcpt++) {
			assert_true(policy_run_now(&r, p, POLICY_RCPT, &f));
			if (turn == 0)
				assert_true(span_eq_str(r.verdict.reply, "450 4.7.1 <odd.example>: Helo command rejected: hm"));
			else
				assert_int_equal(r.verdict.kind, VERDICT_PERMIT);
		}
	}
	policy_run_fini(&r);
	policy_free(&p);
	conf_unref(&c);
}

/* ---- a rule that waits ---- */

static int woken;

static void
woke(struct op *op)
{
	assert_int_equal(op->rc, RC_OK);
	woken++;
	loop_stop();
}

static void
test_waiting(void **state)
{
	(void)state;
	struct conf *c = NULL;
	struct policy *p = compile(COMMON "smtpd_recipient_restrictions = sleep 0, check_recipient_access static:{sleep 1}, reject\n", &c);
	struct op_owner owner;
	struct policy_run r;
	struct facts f;
	loop_init();
	op_owner_init(&owner);
	policy_run_init(&r, &owner, woke);
	facts_of(&f, &(struct said){ NULL, "c", FROM, "known@example.org", NULL, NULL });
	assert_false(policy_run_now(&r, p, POLICY_RCPT, &f));
	assert_false(op_owner_idle(&owner));
	loop_run();
	assert_int_equal(woken, 1);
	assert_true(span_eq_str(r.verdict.reply, "554 5.7.1 <known@example.org>: Recipient address rejected: Access denied"));

	assert_false(policy_run_now(&r, p, POLICY_RCPT, &f)); /* the client goes away */
	ops_cancel_all(&owner);
	assert_true(op_owner_idle(&owner));
	policy_run_fini(&r);
	assert_int_equal(woken, 1);
	policy_free(&p);
	conf_unref(&c);
	loop_fini();
}

/* Every row is found by its name in any case, and every supported one is named in some test here or above. */
static void
test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < restriction_count(); i++) {
		const struct restriction *row = restriction_at(i);
		assert_ptr_equal(restriction_find(span_str(row->name)), row);
		for (size_t k = i + 1; k < restriction_count(); k++)
			assert_string_not_equal(row->name, restriction_at(k)->name);
		if (row->fn != NULL)
			assert_true(row->kind != 0 && row->doc[0] != '\0');
	}
	assert_ptr_equal(restriction_find(SPAN("Reject_Unknown_Client")), restriction_find(SPAN("reject_unknown_client_hostname")));
	assert_null(restriction_find(SPAN("permit_everything")));
}

static void
test_other_rules(void **state)
{
	static const struct said own[] = { { "127.0.0.1", "c", FROM, "x@elsewhere.example", "", NULL },
		{ "127.0.0.9", "c", FROM, "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL } };
	static const struct said never_yet[] = { { NULL, "c", FROM, "x@elsewhere.example", RELAY_DENIED("x@elsewhere.example"), NULL } };
	static const struct said reverse[] = { { NULL, "c", FROM, "known@example.org", "450 4.7.1 Client host rejected: cannot find your reverse hostname, [127.0.0.9]", NULL } };
	static const struct said reverse_ok[] = { { NULL, "c", FROM, "known@example.org",
		"451 4.3.5 Server configuration error", "warning: restriction check_reverse_client_hostname_access" } };
	static const struct said softened[] = { { NULL, "c", FROM, "known@example.org", "450 4.7.1 <unknown[127.0.0.9]>: Client host rejected: hmm", NULL } };
	static const struct said twice[] = { { NULL, "c", FROM, "nobody@example.org", UNKNOWN_RELAY("nobody@example.org"), NULL } };
	(void)state;
	check_all(COMMON "smtpd_relay_restrictions = permit_inet_interfaces, defer_unauth_destination\n", POLICY_RCPT, own, 2);
	check_all(COMMON "smtpd_relay_restrictions = permit_tls_clientcerts, permit_tls_all_clientcerts, permit_sasl_authenticated, "
	    "check_sasl_access static:OK, permit_auth_destination, defer_unauth_destination\n", POLICY_RCPT, never_yet, 1);
	check_all(COMMON "smtpd_client_restrictions = reject_unauth_pipelining, reject_multi_recipient_bounce, reject_unknown_reverse_client_hostname\n", POLICY_RCPT, reverse, 1);
	check_all(COMMON "smtpd_client_restrictions = check_reverse_client_hostname_access inline:{unknown=OK}\n", POLICY_RCPT, reverse_ok, 1);
	check_all(COMMON "smtpd_client_restrictions = check_reverse_client_hostname_access inline:{{unknown=permit_mynetworks, permit}}\n", POLICY_RCPT, reverse_ok, 1);
	check_all(COMMON "smtpd_client_restrictions = warn_if_reject check_client_access inline:{{unknown=DEFER_IF_REJECT hmm}}, reject\n", POLICY_RCPT, softened, 1);
	check_all(COMMON "smtpd_recipient_restrictions = check_recipient_maps, reject_unlisted_sender\n", POLICY_RCPT, twice, 1);
}

/* Printed; asserted only far from the goal of 20 us. */
static void
test_speed(void **state)
{
	enum { RUNS = 50000 };
	(void)state;
	char path[256];
	snprintf(path, sizeof path, "%s/senders", confdir);
	FILE *out = fopen(path, "w");
	for (int i = 0; i < 1000; i++)
		fprintf(out, "bad%d.example REJECT\n", i);
	fclose(out);
	struct conf *c = NULL;
	struct policy *p = compile(COMMON "smtpd_client_restrictions = permit_mynetworks, check_client_access hash:senders, check_client_access cidr:{{192.0.2.0/24 REJECT}}\n"
	    "smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname, check_helo_access hash:senders\n"
	    "smtpd_sender_restrictions = reject_non_fqdn_sender, check_sender_access hash:senders, check_sender_access inline:{a=b}, reject_unlisted_sender\n"
	    "smtpd_recipient_restrictions = reject_non_fqdn_recipient, permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination, "
	    "check_recipient_access hash:senders, check_sender_access hash:senders, check_helo_access hash:senders, reject_unlisted_recipient, permit\n", &c);
	struct op_owner owner;
	struct policy_run r;
	struct facts f;
	op_owner_init(&owner);
	policy_run_init(&r, &owner, never);
	facts_of(&f, &(struct said){ "198.51.100.7", "mail.sender.example", FROM, "known@example.org", NULL, NULL });
	uint64_t t = own_time();
	for (int i = 0; i < RUNS; i++)
		assert_true(policy_run_now(&r, p, POLICY_RCPT, &f) && r.verdict.kind == VERDICT_PERMIT);
	t = own_time() - t;
	print_message("22 restrictions, tables of 1000 rows: %.2f us a RCPT\n", (double)t / RUNS);
	assert_true(t / RUNS < 1000);
	policy_run_fini(&r);
	policy_free(&p);
	conf_unref(&c);
	p = compile(COMMON, &c);
	policy_run_init(&r, &owner, never);
	t = own_time();
	for (int i = 0; i < RUNS; i++)
		assert_true(policy_run_now(&r, p, POLICY_RCPT, &f) && r.verdict.kind == VERDICT_PERMIT);
	t = own_time() - t;
	print_message("the default restrictions: %.2f us a RCPT\n", (double)t / RUNS);
	policy_run_fini(&r);
	policy_free(&p);
	conf_unref(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_codes),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_syntax_rules),
		cmocka_unit_test(test_facts),
		cmocka_unit_test(test_carried),
		cmocka_unit_test(test_waiting),
		cmocka_unit_test(test_other_rules),
		cmocka_unit_test(test_speed),
	};
	return cmocka_run_group_tests(tests, confdir_setup, confdir_teardown);
}
