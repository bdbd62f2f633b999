/* SPDX-License-Identifier: BSD-2-Clause */
/* Results of tables: every action, tables that cannot be asked, and classes of restrictions. */
#include "policy_cases.h"

#define ACCESS "smtpd_recipient_restrictions = check_recipient_access inline:{"
static void
test_access(void **state)
{
	static const struct {
		const char *value, *reply, *note;
	} results[] = {
		{ "OK", "", NULL },
		{ "RELAY", "", NULL },
		{ "1234567890", "", NULL },
		{ "DUNNO", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", NULL },
		{ "dunno", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", NULL },
		{ "REJECT", "554 5.7.1 <known@example.org>: Recipient address rejected: Access denied", NULL },
		{ "reject go away", "554 5.7.1 <known@example.org>: Recipient address rejected: go away", NULL },
		{ "REJECT 5.1.3 go away", "554 5.1.3 <known@example.org>: Recipient address rejected: go away", NULL },
		{ "REJECT 5.1.7 go", "554 5.1.3 <known@example.org>: Recipient address rejected: go", NULL },
		{ "REJECT 5.1.8 go", "554 5.1.2 <known@example.org>: Recipient address rejected: go", NULL },
		{ "REJECT 4.7.9 go", "554 5.7.9 <known@example.org>: Recipient address rejected: go", NULL },
		{ "DEFER", "450 4.7.1 <known@example.org>: Recipient address rejected: Access denied", NULL },
		{ "DEFER later", "450 4.7.1 <known@example.org>: Recipient address rejected: later", NULL },
		{ "421 bye", "421 4.7.1 <known@example.org>: Recipient address rejected: bye", NULL },
		{ "550 5.1.1 no such", "550 5.1.1 <known@example.org>: Recipient address rejected: no such", NULL },
		{ "450 5.1.1 no such", "450 4.1.1 <known@example.org>: Recipient address rejected: no such", NULL },
		{ "550", "", NULL }, /* all digits */
		{ "HOLD", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", "hold: <known@example.org>: Recipient address triggers HOLD action" },
		{ "HOLD look at it", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", "hold: <known@example.org>: Recipient address look at it" },
		{ "INFO x", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", "info: x" },
		{ "WARN", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", "warn: " },
		{ "DEFER_IF_PERMIT", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", NULL },
		{ "REJECT,DUNNO", "554 5.7.1 <known@example.org>: Recipient address rejected: Access denied", NULL },
		{ "permit_mynetworks, DUNNO", "451 4.3.5 Server configuration error", NULL },
		{ "permit_mynetworks, reject", "554 5.7.1 <known@example.org>: Recipient address rejected: Access denied", NULL },
		{ "permit", "", NULL },
		{ "nice", "", NULL }, /* a class */
		{ "nasty", "554 5.7.1 <known@example.org>: Recipient address rejected: Access denied", NULL },
		{ "warn_if_reject nasty", "450 4.3.2 <known@example.org>: Recipient address rejected: Try again later", "reject_warning: 554" },
		{ "nonsense", "451 4.3.5 Server configuration error", "warning: unknown smtpd restriction: \"nonsense\"" },
		{ "6NN text", "451 4.3.5 Server configuration error", NULL },
		{ "hash:/x", "451 4.3.5 Server configuration error", NULL },
		{ "DISCARD", "", "discard: <known@example.org>: Recipient address triggers DISCARD action" },
	};
	static const struct said keys[] = {
		{ NULL, "c", "x@spam.example", "known@example.org", "554 5.7.1 <x@spam.example>: Sender address rejected: domain", NULL },
		{ NULL, "c", "x@sub.SPAM.example", "known@example.org", "554 5.7.1 <x@sub.SPAM.example>: Sender address rejected: domain", NULL },
		{ NULL, "c", "friend@spam.example", "known@example.org", "", NULL },
		{ NULL, "c", "bulk@any.where.example", "known@example.org", "554 5.7.1 <bulk@any.where.example>: Sender address rejected: user", NULL },
		{ NULL, "c", "", "known@example.org", "554 5.7.1 <>: Sender address rejected: null", NULL },
		{ NULL, "c", "x@notspam.example", "known@example.org", "", NULL },
		{ "192.0.2.77", "c", FROM, "known@example.org", "554 5.7.1 <unknown[192.0.2.77]>: Client host rejected: net", NULL },
		{ "192.0.3.77", "c", FROM, "known@example.org", "", NULL },
		{ NULL, "mail.bad.example", FROM, "known@example.org", "554 5.7.1 <mail.bad.example>: Helo command rejected: helo", NULL },
	};
	static const struct said broken[] = {
		{ NULL, "c", FROM, "known@example.org", "451 4.3.5 <a@sender.example>: Sender address rejected: Server configuration error", "warning: fail:x lookup error" },
		{ NULL, "c", FROM, "postmaster", "", NULL },
	};
	static const struct said routed[] = { /* an OK is none where a route leads on (A02) */
		{ NULL, "c", FROM, "v%remote.example@example.org", RELAY_DENIED("v%remote.example@example.org"), NULL },
		{ NULL, "c", FROM, "v@remote.example", "", NULL },
	};
	(void)state;
	for (size_t i = 0; i < NELEMS(results); i++) {
		char lines[3000];
		snprintf(lines, sizeof lines, "%ssmtpd_restriction_classes = nice, nasty\nnice = permit\nnasty = permit_mynetworks, reject\n"
		    "smtpd_recipient_restrictions = check_recipient_access inline:{{known@example.org = %s}}, defer\n", COMMON, results[i].value);
		struct said s = { NULL, "c", FROM, "known@example.org", results[i].reply, results[i].note };
		check_all(lines, POLICY_RCPT, &s, 1);
	}
	check_all(COMMON "smtpd_sender_restrictions = inline:{{spam.example = REJECT domain}, {friend@spam.example = OK}, {bulk@ = REJECT user}, {<> = REJECT null}}\n"
	    "smtpd_client_restrictions = check_client_access inline:{{192.0.2 = REJECT net}}\n"
	    "smtpd_helo_restrictions = { check_helo_access inline:{{bad.example = REJECT helo}} }\n", POLICY_RCPT, keys, NELEMS(keys));
	check_all(COMMON "smtpd_sender_restrictions = check_sender_access fail:x\n", POLICY_RCPT, broken, NELEMS(broken));
	check_all(COMMON "smtpd_relay_restrictions = check_recipient_access inline:{{remote.example=OK},{example.org=OK}}, defer_unauth_destination\n"
	    "smtpd_reject_unlisted_recipient = no\n", POLICY_RCPT, routed, NELEMS(routed));
	/* a result that is longer than anything we keep refuses nobody by accident, and lets nobody through */
	static char table[80000];
	memcpy(table, "known@example.org REJECT ", 26);
	memset(table + strlen(table), 'x', 70000);
	confdir_write("long", table);
	static const struct said too_long[] = { { NULL, "c", FROM, "known@example.org", "451 4.3.5 Server configuration error", "warning: check_recipient_access texthash:long" } };
	check_all(COMMON "smtpd_recipient_restrictions = check_recipient_access texthash:long\n", POLICY_RCPT, too_long, 1);
	/* many long results: those behind what fits are not taken for DUNNO */
	char lists[6000] = COMMON "smtpd_recipient_restrictions = ";
	memset(table, 0, sizeof table);
	memcpy(table, "known@example.org PREPEND X: ", 29);
	memset(table + 29, 'x', 7000);
	confdir_write("many", table);
	for (int i = 0; i < 80; i++)
		snprintf(lists + strlen(lists), sizeof lists - strlen(lists), "check_recipient_access texthash:many ");
	snprintf(lists + strlen(lists), sizeof lists - strlen(lists), "check_recipient_access static:{REJECT no}\n");
	static const struct said no_room[] = { { NULL, "c", FROM, "known@example.org", "451 4.3.5 Server configuration error", NULL } };
	check_all(lists, POLICY_RCPT, no_room, 1);
	/* that we do not follow a route does not make it a name: the hub may follow it (A02) */
	static const struct said left[] = {
		{ NULL, "c", FROM, "v%remote.example@any.example", RELAY_DENIED("v%remote.example@any.example"), NULL },
		{ NULL, "c", FROM, "remote.example!v@any.example", RELAY_DENIED("remote.example!v@any.example"), NULL },
		{ NULL, "c", FROM, "v@remote.example@any.example", RELAY_DENIED("v@remote.example@any.example"), NULL },
		{ NULL, "c", FROM, "any.example%luser!remote.example", RELAY_DENIED("any.example%luser!remote.example"), NULL },
	};
	check_all(COMMON "allow_percent_hack = no\nswap_bangpath = no\n", POLICY_RCPT, left, NELEMS(left));
	check_all(COMMON "resolve_dequoted_address = no\n", POLICY_RCPT, left, 3);
	/* addresses are looked up in lower case, names as they came */
	static const struct said folded[] = { { NULL, "C", FROM, "KNOWN@Example.org", "554 5.7.1 <KNOWN@Example.org>: Recipient address rejected: known@example.org", NULL } };
	static const struct said as_given[] = { { NULL, "Client", FROM, "known@example.org", "554 5.7.1 <Client>: Helo command rejected: Client", NULL } };
	check_all(COMMON "smtpd_recipient_restrictions = check_recipient_access regexp:{{/^(.*)$$/ REJECT $$1}}\n", POLICY_RCPT, folded, 1);
	check_all(COMMON "smtpd_helo_restrictions = check_helo_access regexp:{{/^(.*)$$/ REJECT $$1}}\n", POLICY_RCPT, as_given, 1);
	/* so are those who are listed; routing looks at what was typed (flag i: case counts) */
	static const struct said users[] = {
		{ NULL, "c", FROM, "Some.One@Example.Org", "", NULL },
		{ NULL, "c", FROM, "OTHER@example.org", "", NULL },
		{ NULL, "c", FROM, "Third@Example.org", "", NULL },
		{ NULL, "c", FROM, "nobody@example.org", UNKNOWN_RELAY("nobody@example.org"), NULL },
	};
	static const struct said typed[] = {
		{ NULL, "c", FROM, "Tr@Any.Example", "550 5.1.1 <Tr@Any.Example>: Recipient address rejected: typed", NULL },
		{ NULL, "c", FROM, "tr@any.example", "", NULL },
	};
	check_all(COMMON "relay_recipient_maps = regexp:{{/^some\\.one@example\\.org$$/i x}}\nvirtual_alias_maps = regexp:{{/^other@example\\.org$$/i x}}\n"
	    "canonical_maps = regexp:{{/^third@example\\.org$$/i x}}\n", POLICY_RCPT, users, NELEMS(users));
	check_all(COMMON "transport_maps = regexp:{{/^Tr@Any\\.Example$$/i error:5.1.1 typed}}\n", POLICY_RCPT, typed, NELEMS(typed));
}

/* "Not now" of each list and table: deferred, never accepted and never refused for good. */
static void
test_not_now(void **state)
{
	static const struct said nets[] = { { NULL, "c", FROM, "x@elsewhere.example", "451 4.3.0 <x@elsewhere.example>: Temporary lookup failure", NULL } };
	static const struct said domains[] = { { NULL, "c", FROM, "x@elsewhere.example", "451 4.3.0 <x@elsewhere.example>: Temporary lookup failure", NULL } };
	static const struct said users[] = { { NULL, "c", FROM, "x@any.example", "451 4.3.0 <x@any.example>: Temporary lookup failure", NULL } };
	(void)state;
	check_all(COMMON "mynetworks = fail:x\n", POLICY_RCPT, nets, 1);
	check_all(COMMON "relay_domains = fail:x\n", POLICY_RCPT, domains, 1);
	check_all(COMMON "mydestination = fail:x\n", POLICY_RCPT, domains, 1);
	check_all(COMMON "virtual_alias_domains = fail:x\n", POLICY_RCPT, domains, 1);
	check_all(COMMON "relay_recipient_maps = fail:x\n", POLICY_RCPT, users, 1);
	check_all(COMMON "transport_maps = fail:x\n", POLICY_RCPT, users, 1);
	check_all(COMMON "canonical_maps = fail:x\n", POLICY_RCPT, users, 1);
}

static void
test_classes(void **state)
{
	static const struct said cases[] = {
		{ NULL, "c", FROM, "user@alias.example", "", NULL },
		{ NULL, "c", FROM, "nobody@alias.example", "550 5.1.1 <nobody@alias.example>: Recipient address rejected: User unknown in virtual alias table", NULL },
		{ NULL, "c", FROM, "user@box.example", "", NULL },
		{ NULL, "c", FROM, "nobody@box.example", "550 5.1.1 <nobody@box.example>: Recipient address rejected: User unknown in virtual mailbox table", NULL },
		{ NULL, "c", FROM, "local@here.example", "", NULL },
		{ NULL, "c", FROM, "local+x@here.example", "", NULL },
		{ NULL, "c", FROM, "nobody@here.example", "550 5.1.1 <nobody@here.example>: Recipient address rejected: User unknown in local recipient table", NULL },
		{ NULL, "c", FROM, "postmaster@here.example", "", NULL },
		{ NULL, "c", FROM, "Mailer-Daemon@here.example", "", NULL },
		{ NULL, "c", FROM, "x@closed.example", "550 5.2.1 <x@closed.example>: Recipient address rejected: mailbox disabled", NULL },
		{ NULL, "c", FROM, "x@moved.example", "550 5.1.1 <x@moved.example>: Recipient address rejected: gone for good", NULL },
		{ NULL, "c", FROM, "x@later.example", "450 4.1.1 <x@later.example>: Recipient address rejected: try tomorrow", NULL },
		{ NULL, "c", FROM, "x@bare.example", "550 5.1.1 <x@bare.example>: Recipient address rejected: Address is undeliverable", NULL },
		{ NULL, "c", FROM, "x@open.example", "", NULL },
	};
	(void)state;
	check_all("mydestination = here.example\nlocal_transport = smtp:[10.0.0.2]\nlocal_recipient_maps = inline:{local=x}\nrecipient_delimiter = +\n"
	    "virtual_alias_domains = alias.example\nvirtual_alias_maps = inline:{user@alias.example=u@any.example}\n"
	    "virtual_mailbox_domains = box.example\nvirtual_mailbox_maps = inline:{user@box.example=x}\n"
	    "relay_domains = closed.example, moved.example, later.example, bare.example, open.example\n"
	    "transport_maps = inline:{{closed.example = error:5.2.1 mailbox disabled}, {moved.example = error:gone for good}, "
	    "{later.example = retry:try tomorrow}, {bare.example = error:}, {open.example = smtp:[10.0.0.1]}}\n",
	    POLICY_RCPT, cases, NELEMS(cases));
	static const struct said hub_only[] = {
		{ NULL, "c", FROM, "x@here.example", "550 5.1.1 <x@here.example>: Recipient address rejected: local mail delivery is disabled", NULL },
	};
	check_all("mydestination = here.example\nlocal_recipient_maps =\nlocal_transport = error:local mail delivery is disabled\n", POLICY_RCPT, hub_only, 1);
	static const struct said senders[] = {
		{ NULL, "c", "nobody@here.example", "x@open.example", "550 5.1.0 <nobody@here.example>: Sender address rejected: User unknown in local recipient table", NULL },
		{ NULL, "c", "local@here.example", "x@open.example", "", NULL },
		{ NULL, "c", "", "x@open.example", "", NULL },
		{ NULL, "c", FROM, "x@open.example", "", NULL },
	};
	check_all("mydestination = here.example\nlocal_transport = smtp:[10.0.0.2]\nlocal_recipient_maps = inline:{local=x}\nrelay_domains = open.example\nsmtpd_reject_unlisted_sender = yes\n",
	    POLICY_RCPT, senders, NELEMS(senders));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_not_now),
		cmocka_unit_test(test_classes),
	};
	return cmocka_run_group_tests(tests, confdir_setup, confdir_teardown);
}
