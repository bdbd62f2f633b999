/* SPDX-License-Identifier: BSD-2-Clause */
/* Sender ownership and client certificates, with facts set by hand: as Debian's Postfix 3.7 decides. */
#include "policy_says.h"

#define OWNERS "smtpd_sasl_auth_enable = yes\nsmtpd_sender_login_maps = inline:{{own@s.example=joe, Ann},{@dom.example=bob},{loc=joe}}\n"
#define HERE "mydestination = here.example\nlocal_recipient_maps =\n"
#define NOT_OWNED(a, u) "553 5.7.1 <" a ">: Sender address rejected: not owned by user " u
#define NOT_LOGGED_IN(a) "553 5.7.1 <" a ">: Sender address rejected: not logged in"

enum { BOTH, KNOWN, AUTH, UNAUTH, RULES };

static const char *const rules[RULES] = {
	"reject_sender_login_mismatch", "reject_known_sender_login_mismatch", "reject_authenticated_sender_login_mismatch",
	"reject_unauthenticated_sender_login_mismatch",
};

static void
test_owners(void **state)
{
	static const struct {
		const char *login, *from;
		const char *want[RULES];
	} rows[] = {
		{ "joe", "own@s.example", { "ok", "ok", "ok", "ok" } },
		{ "ANN", "own@s.example", { "ok", "ok", "ok", "ok" } },
		{ "bob", "own@s.example", { NOT_OWNED("own@s.example", "bob"), NOT_OWNED("own@s.example", "bob"), NOT_OWNED("own@s.example", "bob"), "ok" } },
		{ "bob", "x@dom.example", { "ok", "ok", "ok", "ok" } },
		{ "jo", "own@s.example", { NOT_OWNED("own@s.example", "jo"), NOT_OWNED("own@s.example", "jo"), NOT_OWNED("own@s.example", "jo"), "ok" } },
		{ "joe", "nobody@x.example", { NOT_OWNED("nobody@x.example", "joe"), "ok", NOT_OWNED("nobody@x.example", "joe"), "ok" } },
		{ "", "own@s.example", { NOT_LOGGED_IN("own@s.example"), NOT_LOGGED_IN("own@s.example"), "ok", NOT_LOGGED_IN("own@s.example") } },
		{ "", "x@x.example", { "ok", "ok", "ok", "ok" } },
		{ "joe", "", { "ok", "ok", "ok", "ok" } },
		{ "", "", { "ok", "ok", "ok", "ok" } },
		{ "joe", "own+ext@s.example", { NOT_OWNED("own+ext@s.example", "joe"), "ok", NOT_OWNED("own+ext@s.example", "joe"), "ok" } },
		{ "joe", "loc@here.example", { "ok", "ok", "ok", "ok" } },
		{ "joe", "loc@there.example", { NOT_OWNED("loc@there.example", "joe"), "ok", NOT_OWNED("loc@there.example", "joe"), "ok" } },
	};
	char lines[2000];
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++)
		for (unsigned k = 0; k < RULES; k++) {
			struct facts f = policy_facts();
			f.login = span_str(rows[i].login);
			f.sender = span_str(rows[i].from);
			snprintf(lines, sizeof lines, "%s%s%ssmtpd_sender_restrictions = %s\n", POLICY_COMMON, HERE, OWNERS, rules[k]);
			policy_says(lines, POLICY_RCPT, &f, rows[i].want[k]);
		}
	struct facts f = policy_facts();
	f.login = SPAN("joe");
	f.sender = SPAN("own+ext@s.example");
	policy_says(POLICY_COMMON OWNERS "recipient_delimiter = +\nsmtpd_sender_restrictions = reject_sender_login_mismatch\n", POLICY_RCPT, &f, "ok");
	f.sender = SPAN("Own@S.Example"); /* asked in lower case (flag i: case counts) */
	policy_says(POLICY_COMMON "smtpd_sasl_auth_enable = yes\nsmtpd_sender_login_maps = regexp:{{/^own@s\\.example$$/i joe}}\n"
	    "smtpd_sender_restrictions = reject_sender_login_mismatch\n", POLICY_RCPT, &f, "ok");
	f.sender = SPAN("a@b.example");
	policy_says(POLICY_COMMON "smtpd_sasl_auth_enable = yes\nsmtpd_sender_restrictions = reject_sender_login_mismatch\n", POLICY_RCPT, &f,
	    NOT_OWNED("a@b.example", "joe"));
}

static void
test_trouble(void **state)
{
	struct facts f = policy_facts();
	(void)state;
	f.login = SPAN("joe");
	policy_says(POLICY_COMMON "smtpd_sender_login_maps = static:bob\nsmtpd_sender_restrictions = reject_sender_login_mismatch, "
				  "reject_known_sender_login_mismatch, reject_authenticated_sender_login_mismatch\n",
	    POLICY_RCPT, &f,
	    "ok | warning: restriction `reject_authenticated_sender_login_mismatch' ignored: no SASL support | warning: restriction "
	    "`reject_unauthenticated_sender_login_mismatch' ignored: no SASL support | warning: restriction `reject_known_sender_login_mismatch' "
	    "ignored: no SASL support | warning: restriction `reject_authenticated_sender_login_mismatch' ignored: no SASL support");
	policy_says(POLICY_COMMON "smtpd_recipient_restrictions = permit_sasl_authenticated, check_sasl_access static:OK, reject\n", POLICY_RCPT, &f,
	    "554 5.7.1 <b@example.org>: Recipient address rejected: Access denied | warning: restriction `check_sasl_access' ignored: no SASL support");
	policy_says(POLICY_COMMON "smtpd_sasl_auth_enable = yes\nsmtpd_log_access_permit_actions = static:all\nsmtpd_recipient_restrictions = "
				  "permit_sasl_authenticated, reject\n",
	    POLICY_RCPT, &f, "ok | permit: action=permit_sasl_authenticated for Client host=c.example[192.0.2.7] ");
	policy_says(POLICY_COMMON "smtpd_sasl_auth_enable = yes\nsmtpd_log_access_permit_actions = static:all\nsmtpd_recipient_restrictions = "
				  "check_sasl_access static:OK, reject\n",
	    POLICY_RCPT, &f, "ok | permit: action=OK for SASL login name=joe from static:OK");
	struct conf *c = NULL;
	struct policy *p = policy_of(POLICY_COMMON "smtpd_sasl_auth_enable = yes\nsmtpd_sender_login_maps = fail:x\nsmtpd_sender_restrictions = "
						   "reject_sender_login_mismatch\n", &c);
	struct op_owner owner;
	struct policy_run r;
	op_owner_init(&owner);
	policy_run_init(&r, &owner, NULL);
	assert_true(policy_run_now(&r, p, POLICY_RCPT, &f));
	assert_span(r.verdict.reply, "451 4.3.0 <a@s.example>: Temporary lookup failure");
	policy_run_fini(&r);
	policy_free(&p);
	conf_unref(&c);
}

#define PRINT "AA:BB:CC"
#define KEY "11:22:33"

static void
certs(struct facts *f, const char *cert, const char *key)
{
	*f = policy_facts();
	f->is_tls = true;
	f->has_cert = cert != NULL;
	f->cert_fingerprint = span_str(cert);
	f->pubkey_fingerprint = span_str(key);
}

static void
test_certs(void **state)
{
	static const char *const permit = POLICY_COMMON "relay_clientcerts = inline:{{" PRINT "=x},{" KEY "=y}}\n"
							"smtpd_recipient_restrictions = permit_tls_clientcerts, reject\n";
	static const char *const denied = "554 5.7.1 <b@example.org>: Recipient address rejected: Access denied";
	struct facts f;
	(void)state;
	certs(&f, PRINT, "00");
	policy_says(permit, POLICY_RCPT, &f, "ok");
	certs(&f, "00", KEY);
	policy_says(permit, POLICY_RCPT, &f, "ok");
	certs(&f, "00", "01");
	policy_says(permit, POLICY_RCPT, &f, denied);
	f.is_cert_verified = true; /* by our authorities, but not in the table */
	policy_says(permit, POLICY_RCPT, &f, denied);
	policy_says(POLICY_COMMON "smtpd_recipient_restrictions = permit_tls_all_clientcerts, reject\n", POLICY_RCPT, &f, "ok");
	f.is_cert_verified = false;
	policy_says(POLICY_COMMON "smtpd_recipient_restrictions = permit_tls_all_clientcerts, reject\n", POLICY_RCPT, &f, denied);
	certs(&f, NULL, NULL);
	policy_says(permit, POLICY_RCPT, &f, denied);
	certs(&f, "", "");
	f.has_cert = true;
	policy_says(POLICY_COMMON "relay_clientcerts = static:x\nsmtpd_recipient_restrictions = permit_tls_clientcerts, reject\n", POLICY_RCPT, &f, denied);
}

static void
test_ccert_access(void **state)
{
	static const struct {
		const char *arg, *want;
	} rows[] = {
		{ "inline:{{" PRINT "=REJECT whole},{" KEY "=REJECT key}}", "554 5.7.1 <c.example[192.0.2.7]>: Client certificate rejected: whole" },
		{ "inline:{{" KEY "=REJECT key}}", "554 5.7.1 <c.example[192.0.2.7]>: Client certificate rejected: key" },
		{ "{ inline:{{" PRINT "=REJECT whole},{" KEY "=REJECT key}}, { search_order = pubkey_fingerprint, cert_fingerprint } }",
		    "554 5.7.1 <c.example[192.0.2.7]>: Client certificate rejected: key" },
		{ "{ inline:{{" PRINT "=REJECT whole}}, { search_order = pubkey_fingerprint } }", "ok" },
		{ "{ inline:{{" PRINT "=REJECT whole}} }", "554 5.7.1 <c.example[192.0.2.7]>: Client certificate rejected: whole" },
		{ "inline:{{" PRINT "=DUNNO},{" KEY "=REJECT key}}", "554 5.7.1 <c.example[192.0.2.7]>: Client certificate rejected: key" },
		{ "inline:{{" PRINT "=OK},{" KEY "=REJECT key}}", "ok" },
		{ "static:{HOLD}", "ok | held | hold: <c.example[192.0.2.7]>: Client certificate triggers HOLD action" },
		{ "inline:{{other=REJECT}}", "ok" },
	};
	static const char *const bad[] = { "inline", "{ inline:{{a=b}}, search_order }", "{ inline:{{a=b}}, { search_order = serial } }",
		"{ inline:{{a=b}}, { search_order = } }", "{ inline:{{a=b}}, { order = cert_fingerprint } }", "{ }" };
	struct facts f;
	char lines[2000];
	(void)state;
	certs(&f, PRINT, KEY);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		snprintf(lines, sizeof lines, "%ssmtpd_tls_ask_ccert = yes\nsmtpd_client_restrictions = check_ccert_access %s\n", POLICY_COMMON, rows[i].arg);
		policy_says(lines, POLICY_RCPT, &f, rows[i].want);
	}
	certs(&f, NULL, NULL);
	policy_says(POLICY_COMMON "smtpd_tls_ask_ccert = yes\nsmtpd_client_restrictions = check_ccert_access static:REJECT\n", POLICY_RCPT, &f, "ok");
	policy_says(POLICY_COMMON "smtpd_client_restrictions = check_ccert_access static:REJECT\n", POLICY_RCPT, &f,
	    "ok | warning: check_ccert_access is requested, but \"smtpd_tls_ask_ccert = no\"");
	struct conf *checked = NULL;
	struct policy *q = policy_of(POLICY_COMMON "smtpd_client_restrictions = check_ccert_access static:OK, check_sasl_access static:OK, "
						   "reject_sender_login_mismatch\n", &checked);
	assert_true(confdir_has_problem(checked, CONF_WARNING, "check_ccert_access is requested, but smtpd_tls_ask_ccert = no"));
	assert_true(confdir_has_problem(checked, CONF_WARNING, "restriction `check_sasl_access' ignored: smtpd_sasl_auth_enable = no"));
	assert_true(confdir_has_problem(checked, CONF_WARNING, "restriction `reject_sender_login_mismatch' ignored"));
	policy_free(&q);
	conf_unref(&checked);
	static const struct {
		const char *settings;
		bool warns;
	} empty[] = {
		{ "smtpd_sender_restrictions = reject_sender_login_mismatch\n", true },
		{ "smtpd_recipient_restrictions = reject_authenticated_sender_login_mismatch\n", true },
		{ "smtpd_sender_restrictions = reject_known_sender_login_mismatch\n", false },
		{ "smtpd_sender_restrictions = reject_unauthenticated_sender_login_mismatch\n", false },
		{ "smtpd_sender_restrictions = reject_sender_login_mismatch\nsmtpd_sender_login_maps = inline:{a@a.test=a}\n", false },
	};
	for (size_t i = 0; i < NELEMS(empty); i++) {
		char settings[2000];
		snprintf(settings, sizeof settings, POLICY_COMMON "smtpd_sasl_auth_enable = yes\n%s", empty[i].settings);
		checked = NULL;
		q = policy_of(settings, &checked);
		assert_int_equal(confdir_has_problem(checked, CONF_WARNING, "refuses every sender of every user: smtpd_sender_login_maps is empty"), empty[i].warns);
		policy_free(&q);
		conf_unref(&checked);
	}
	for (size_t i = 0; i < NELEMS(bad); i++) {
		struct policy *p = NULL;
		struct err e;
		snprintf(lines, sizeof lines, "%ssmtpd_client_restrictions = check_ccert_access %s\n", POLICY_COMMON, bad[i]);
		struct conf *c = confdir_load(lines);
		if (policy_compile(c, conf_service_find(c, "smtp", "inet"), &p, &e) != RC_PERM)
			fail_msg("%s compiles", bad[i]);
		conf_unref(&c);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_owners),
		cmocka_unit_test(test_trouble),
		cmocka_unit_test(test_certs),
		cmocka_unit_test(test_ccert_access),
	};
	return cmocka_run_group_tests(tests, policy_says_begin, policy_says_end);
}
