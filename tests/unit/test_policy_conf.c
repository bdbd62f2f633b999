/* SPDX-License-Identifier: BSD-2-Clause */
/* Configurations: no form of an address opens the relay, what must not start, what is warned of. */
#include "policy_cases.h"

/* A01: nmap's sixteen forms and their relatives, for every sender, with every kind of relay list. */
static void
test_open_relay_forms(void **state)
{
	static const char *const senders[] = { "", "a@remote.test", "a@gw.test", "a@[127.0.0.1]", "a", "antispam@local.test" };
	static const char *const rcpts[] = { /* internal form: quotes are gone */
		"v@remote.test", "v%remote.test@[127.0.0.1]", "v%remote.test@gw.test", "v%remote.test@local.test", "v%remote.test",
		"v@remote.test@[127.0.0.1]", "v@remote.test@gw.test", "v@remote.test@local.test", "@[127.0.0.1]:v@remote.test",
		"@gw.test:v@remote.test", "@local.test,@x:v@remote.test", "remote.test!v", "remote.test!v@[127.0.0.1]", "remote.test!v@gw.test",
		"remote.test!v@local.test", "v%a%remote.test@local.test", "v%a%remote.test@gw.test", "a!b!v@local.test", "a!remote.test!v@gw.test",
		"v%remote.test%gw.test@gw.test", "v@remote.test.", "v@remote.test.@gw.test", "v%remote.test@gw.test.", "v@remote.test@", "v@[127.0.0.1]@remote.test",
		"v%gw.test@remote.test", "gw.test!v@remote.test", "v@REMOTE.test", "local.test!v%remote.test@gw.test", "v%remote.test@local.test@gw.test",
		" v@remote.test@gw.test", "v @remote.test@gw.test", "remote.test!v%local.test", "v@local.test%remote.test@gw.test", "v@remote.test%local.test@gw.test",
	};
	static const char *const lists[] = {
		"smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n",
		"smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination\n",
		"smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination, permit\n",
		"smtpd_relay_restrictions = permit_auth_destination, reject\n",
		"smtpd_relay_restrictions = reject_unauth_destination\nresolve_dequoted_address = no\nsmtpd_recipient_restrictions = reject_unauth_destination\n",
		"smtpd_relay_restrictions = reject_unauth_destination\nrelay_recipient_maps =\n",
	};
	(void)state;
	for (size_t l = 0; l < NELEMS(lists); l++) {
		struct conf *c = NULL;
		char lines[2000];
		snprintf(lines, sizeof lines, "myhostname = gw.test\nmydestination = gw.test, localhost\nrelay_domains = local.test\nmynetworks = 127.0.0.2\n"
		    "inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nlocal_recipient_maps =\n%s", lists[l]);
		struct policy *p = compile(lines, &c);
		for (size_t s = 0; s < NELEMS(senders); s++)
			for (size_t i = 0; i < NELEMS(rcpts); i++) {
				struct op_owner owner;
				struct policy_run r;
				struct facts f;
				op_owner_init(&owner);
				policy_run_init(&r, &owner, never);
				facts_of(&f, &(struct said){ NULL, "c", senders[s], rcpts[i], NULL, NULL });
				assert_true(policy_run_now(&r, p, POLICY_RCPT, &f));
				/* quoted, and the administrator said that quotes are not to be looked into: the hub's affair */
				bool opaque = strstr(lists[l], "dequoted") != NULL && strchr(rcpts[i], '@') != strrchr(rcpts[i], '@');
				if (r.verdict.kind != VERDICT_REFUSE && !opaque)
					fail_msg("%s: from <%s> to <%s> would be relayed", lists[l], senders[s], rcpts[i]);
				policy_run_fini(&r);
			}
		policy_free(&p);
		conf_unref(&c);
	}
}

static void
test_refused_configurations(void **state)
{
#define OPEN_RELAY "in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance of: reject_unauth_destination, defer_unauth_destination, reject, defer or defer_if_permit"
	static const struct {
		const char *lines, *says; /* NULL: fine */
	} rows[] = {
		{ "smtpd_relay_restrictions =\n", OPEN_RELAY },
		{ "smtpd_relay_restrictions = permit_mynetworks\nsmtpd_recipient_restrictions = permit_mynetworks\n", OPEN_RELAY },
		{ "smtpd_relay_restrictions = warn_if_reject reject_unauth_destination\n", OPEN_RELAY },
		{ "smtpd_relay_restrictions = permit, reject_unauth_destination\n", OPEN_RELAY },
		{ "smtpd_relay_restrictions =\nsmtpd_client_restrictions = reject_unauth_destination\n", OPEN_RELAY },
		{ "smtpd_relay_restrictions =\nsmtpd_recipient_restrictions = reject\n", NULL },
		{ "smtpd_relay_restrictions = defer_if_permit\n", NULL },
		{ "smtpd_relay_restrictions = permit_mynetworks, inner\nsmtpd_restriction_classes = inner\ninner = reject_unauth_destination\n", NULL },
		{ "smtpd_relay_restrictions = permit_mynetworks, inner\nsmtpd_restriction_classes = inner\ninner = permit_mynetworks\n", OPEN_RELAY },
		{ "smtpd_recipient_restrictions = reject_rbl_client zen.example=127.0.0.300\n", "restriction reject_rbl_client: bad address pattern" },
		{ "smtpd_recipient_restrictions = reject_rhsbl_sender 192.0.2.1\n", "restriction reject_rhsbl_sender: 192.0.2.1: not a domain name" },
		{ "smtpd_recipient_restrictions = reject_unauth_destnation\n", "unknown smtpd restriction: \"reject_unauth_destnation\": did you mean reject_unauth_destination?" },
		{ "smtpd_recipient_restrictions = zzz\n", "unknown smtpd restriction: \"zzz\"" },
		{ "smtpd_recipient_restrictions = check_relay_domains\n", "restriction check_relay_domains is gone: write permit_mynetworks, reject_unauth_destination" },
		{ "smtpd_recipient_restrictions = check_sender_access\n", "restriction check_sender_access needs an argument" },
		{ "smtpd_recipient_restrictions = check_sender_access reject\n", "restriction check_sender_access: bad argument \"reject\": need maptype:mapname" },
		{ "smtpd_recipient_restrictions = check_sender_access ldap:/x\n", "table type ldap: is not supported yet" },
		{ "smtpd_recipient_restrictions = check_sender_access hash:/nonexistent/x\n", "No such file" },
		{ "smtpd_data_restrictions = hash:/x\n", "a table needs a restriction in front of it here" },
		{ "smtpd_recipient_restrictions = { reject\n", "unbalanced braces" },
		{ "smtpd_restriction_classes = a\na = a, reject\nsmtpd_recipient_restrictions = a\n", "restriction class a refers to itself" },
		{ "smtpd_restriction_classes = a\na = check_client_access inline:{k=a}, reject\nsmtpd_recipient_restrictions = a, reject\n",
		    "restriction class a asks this table the same again" },
		{ "smtpd_restriction_classes = a b\na = b\nb = check_sender_access pcre:{{/x/ a}}\nsmtpd_sender_restrictions = check_sender_access pcre:{{/x/ a}}\n",
		    "restriction class a asks this table the same again" },
		{ "smtpd_restriction_classes = a\nsmtpd_recipient_restrictions = a\n", "restriction class a is not defined" },
		{ "smtpd_client_restrictions = check_sender_access inline:{a=b}\nsmtpd_delay_reject = no\n", "restriction check_sender_access has nothing to look at here" },
		{ "smtpd_client_restrictions = check_sender_access inline:{a=b}\n", NULL },
		{ "smtpd_client_restrictions = reject_unknown_client, reject_unknown_reverse_client_hostname\n", NULL },
		{ "smtpd_client_restrictions = check_client_access inline:{a=b}\n", NULL },
		{ "smtpd_client_restrictions = check_client_access inline:{{a=reject_rbl_client}}\n", "restriction reject_rbl_client without a domain of a DNS list" },
		{ "smtpd_client_restrictions = check_client_access inline:{{a=check_sender_access hash:x}}\n", "restriction check_sender_access is not supported in a table" },
		{ "smtpd_client_restrictions = check_client_access inline:{{a=nonsense}, {b=550 x}, {c=OK}, {d=1234}, {e=permit_mynetworks, reject}}\n", NULL },
		{ "smtpd_recipient_restrictions = check_recipient_access static:{sleep x}, reject\n", "restriction sleep without a number of seconds" },
		{ "smtpd_recipient_restrictions = sleep x\n", "restriction sleep: bad argument" },
		{ "mynetworks = 1.2.3.4/24\n", "non-null host address bits in \"1.2.3.4/24\", perhaps you should use \"1.2.3.0/24\" instead" },
		{ "relay_domains = ldap:/x\n", "table type ldap: is not supported yet" },
		{ "relay_domains = /nonexistent/file\n", "No such file" },
		{ "transport_maps = hash:/nonexistent/file\n", "No such file" },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct conf *c = confdir_load(rows[i].lines);
		struct policy *p = NULL;
		struct err e;
		enum rc rc = policy_compile(c, conf_service_find(c, "smtp", "inet"), &p, &e);
		if (rc != (rows[i].says == NULL ? RC_OK : RC_PERM) || (p == NULL) != (rc != RC_OK)) {
			confdir_show_problems(c);
			fail_msg("%s: rc %d", rows[i].lines, rc);
		}
		if (rows[i].says != NULL && !confdir_has_problem(c, CONF_ERROR, rows[i].says)) {
			confdir_show_problems(c);
			fail_msg("%s: expected \"%s\"", rows[i].lines, rows[i].says);
		}
		policy_free(&p);
		conf_unref(&c);
	}
}

static void
test_warnings(void **state)
{
	static const struct {
		const char *lines, *says;
	} rows[] = {
		{ "smtpd_recipient_restrictions = permit, reject\n", "restriction `reject' after `permit' is ignored" },
		{ "smtpd_client_restrictions = check_client_access inline:{a=nonsense}\n", "key a: unknown smtpd restriction: \"nonsense\"" },
		{ "smtpd_client_restrictions = check_client_access inline:{{a=REDIRECT a@b.example, c@d.example}}\n", "key a: bad argument of REDIRECT" },
		{ "smtpd_client_restrictions = check_client_access inline:{{a=BCC @}}\n", "key a: bad argument of BCC" },
		{ "smtpd_client_restrictions = check_client_access inline:{{a=REDIRECT}}\n", "key a: bad argument of REDIRECT" },
		{ "smtpd_client_restrictions = check_client_access cidr:$config_directory/acl\n", "/acl:2: key 192.0.2.1/32: bad argument of BCC" },
		{ "smtpd_client_restrictions = check_client_access pcre:$config_directory/rules\n", "/rules:3: key /c/: bad argument of REDIRECT" },
		{ "mydestination = a.example\nvirtual_mailbox_domains = A.example\n", "do not list domain a.example in BOTH mydestination and virtual_mailbox_domains" },
		{ "relay_domains = a.example\nvirtual_mailbox_domains = a.example\n", "do not list domain a.example in BOTH virtual_mailbox_domains and relay_domains" },
	};
	(void)state;
	confdir_write("acl", "# bad\n192.0.2.1 BCC x y@z.example\n");
	confdir_write("rules", "/a(.*)/ REDIRECT $1@x.example\n# bad\n/c/ REDIRECT a@b.example, c@d.example\n");
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct conf *c = confdir_load(rows[i].lines);
		policy_check(c);
		if (conf_problem_count(c, CONF_ERROR) > 0 || !confdir_has_problem(c, CONF_WARNING, rows[i].says)) {
			confdir_show_problems(c);
			fail_msg("%s: expected \"%s\"", rows[i].lines, rows[i].says);
		}
		conf_unref(&c);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_relay_forms),
		cmocka_unit_test(test_refused_configurations),
		cmocka_unit_test(test_warnings),
	};
	return cmocka_run_group_tests(tests, confdir_setup, confdir_teardown);
}
