/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/param.h"

#include "confdir.h"
#include "unit.h"

#define STOCK "smtp unix - - n - - smtp\nrelay unix - - n - - smtp\nerror unix - - n - - error\nretry unix - - n - - error\n"

static struct conf *
check(const char *main_cf, const char *master_cf)
{
	struct conf *c;
	struct err e;
	char text[4096];
	snprintf(text, sizeof text, "compatibility_level = 3.10\n%smydestination =\n%s", strstr(main_cf, "mydestination") != NULL ? "#" : "",
	    main_cf);
	confdir_write("main.cf", text);
	confdir_write("master.cf", master_cf);
	enum rc rc = conf_load(confdir, &c, &e);
	assert_true(rc == RC_OK || rc == RC_PERM);
	conf_check_params(c);
	return c;
}

static int PRINTF(2, 3)
sprintf_at(char *to, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(to, 10000, fmt, ap);
	va_end(ap);
	assert_true(n >= 0 && n < 10000);
	return n;
}

static int
count(const struct conf *c, enum conf_severity sev, const char *text)
{
	int n = 0;
	for (size_t i = 0; i < conf_problem_count(c, sev); i++)
		n += strcmp(conf_problem_at(c, i, sev)->text, text) == 0;
	return n;
}

/* The problem that main.cf or master.cf must give; text NULL: none of this severity at all. */
static void
test_problems(void **state)
{
	(void)state;
	static const struct {
		const char *main_cf, *master_cf;
		enum conf_severity sev;
		const char *text;
		int line; /* of the problem; 0: not looked at */
	} rows[] = {
		{ "", STOCK, CONF_WARNING, NULL, 0 },
		{ "", STOCK, CONF_ERROR, NULL, 0 },
		{ "", STOCK, CONF_NOTE, NULL, 0 },
		{ "hopcount_limit = 60\n", STOCK, CONF_WARNING, NULL, 0 },
		{ "biff = no\n", STOCK, CONF_WARNING, NULL, 0 },
		{ "biff = no\n", STOCK, CONF_NOTE, "biff: has no effect here", 3 },
		{ "smtpd_use_tls = yes\n", STOCK, CONF_WARNING, "smtpd_use_tls: Old name: set smtpd_tls_security_level.", 3 },
		{ "smtpd_recipient_limt = 5\n", STOCK, CONF_WARNING,
		    "unused parameter: smtpd_recipient_limt=5; did you mean \"smtpd_recipient_limit\"?", 3 },
		{ "zzz = 5\n", STOCK, CONF_WARNING, "unused parameter: zzz=5", 3 },
		{ "zzz = 5\nmail_name = $zzz\n", STOCK, CONF_WARNING, NULL, 0 },
		{ "zzz = 5\n", STOCK "25 inet n - n - - smtpd -o mail_name=$zzz\n", CONF_WARNING, NULL, 0 },
		{ "smtpd_restriction_classes = strict\nstrict = reject\n", STOCK, CONF_WARNING, NULL, 0 },
		{ "mail_name = $nosuch\n", STOCK, CONF_WARNING, "undefined parameter: nosuch", 3 },
		{ "mail_name = ${nosuch?{a}:{$other}}\n", STOCK, CONF_WARNING, "undefined parameter: other", 3 },
		{ "default_rbl_reply = $rbl_code\n", STOCK, CONF_NOTE, NULL, 0 },
		{ "", STOCK "25 inet n - n - - smtpd -o mail_name=$nosuch\n", CONF_WARNING, "undefined parameter: nosuch", 5 },
		{ "", STOCK "25 inet n - n - - smtpd\n -o mail_name=x\n# c\n\n -o smtpd_timeout=5\n  -o zzz=1\n", CONF_WARNING, "unused parameter: zzz=1", 10 },
		{ "", STOCK "25 inet n - n - - smtpd\n -o { mail_name=x }\n -o smtpd_timeout=5u -o a\n", CONF_ERROR, "bad option \"-o a\"", 7 },
		{ "", STOCK "25 inet n - n - - smtpd\n -o { mail_name=x }\n -o smtpd_timeout=5u\n", CONF_ERROR, "smtpd_timeout = 5u", 7 },
		{ "", STOCK "25 inet n - n - - smtpd -o zzz=1\n", CONF_WARNING, "unused parameter: zzz=1", 5 },
		{ "", STOCK "25 inet n - n - - smtpd -o smtpd_timeout=x\n", CONF_ERROR, "bad time value or unit: smtpd_timeout = x", 5 },
		{ "mail_name = a # b\n", STOCK, CONF_WARNING, "#comment after other text is not allowed", 3 },
		{ "smtp_destination_concurrency_limit = 5\n", STOCK, CONF_WARNING, NULL, 0 },
		{ "smtp_destination_concurrency_limit = 5x\n", STOCK, CONF_ERROR, "smtp_destination_concurrency_limit: as default_destination", 3 },
		{ "smtp_destination_rate_delay = 5y\n", STOCK, CONF_ERROR, "smtp_destination_rate_delay", 3 },
		{ "smtp_delivery_slot_cost = 5\n", STOCK, CONF_NOTE, "smtp_delivery_slot_cost: has no effect here", 3 },
		{ "slow_destination_concurrency_limit = 5\n", STOCK, CONF_WARNING, "unused parameter: slow_destination", 3 },
		{ "transport_maps = hash:x, sqlite:db, hash:y\ndb_dbpath = /x\ndb_query = q\n", STOCK, CONF_WARNING, NULL, 0 },
		{ "transport_maps = sqlite:dbs\ndb_dbpath = /x\n", STOCK, CONF_WARNING, "unused parameter: db_dbpath", 4 },
		{ "default_transport = foo:x\n", STOCK, CONF_ERROR, "master.cf has no service \"foo\" of type unix", 3 },
		{ "default_transport =\n", STOCK, CONF_ERROR, "default_transport: no transport", 3 },
		{ "relay_transport = foo\n", STOCK, CONF_NOTE, "relay_transport = foo: master.cf has no service", 3 },
		{ "relay_transport = foo\nrelay_domains = a.example\n", STOCK, CONF_ERROR, "relay_transport = foo: master.cf has no service", 3 },
		{ "default_transport = p:x\n", STOCK "p unix - n n - - pipe user=x argv=/bin/true\n", CONF_ERROR, "pipe: known, not supported yet", 3 },
		{ "default_transport = c\n", STOCK "c unix n - n - 0 cleanup\n", CONF_ERROR, "cleanup delivers no mail", 3 },
		{ "default_transport = smtp:[hub]:25\n", STOCK, CONF_ERROR, NULL, 0 },
		{ "mydestination = a.example\n", STOCK, CONF_WARNING, "there are no mailboxes", 3 },
		{ "mydestination = a.example\nlocal_transport = smtp:[hub]\n", STOCK, CONF_WARNING, NULL, 0 },
		{ "mydestination = a.example\nlocal_transport = local\n", STOCK "local unix - n n - - local\n", CONF_WARNING, "there are no mailboxes", 3 },
		{ "local_transport = local\n", STOCK "local unix - n n - - local\n", CONF_ERROR, NULL, 0 },
		{ "", STOCK "p unix - n n - - pipe user=x argv=/bin/true\n", CONF_NOTE, "service \"p\" (unix): pipe", 5 },
		{ "", STOCK "25 inet n - n - 1 qmqpd\n", CONF_ERROR, "service \"25\" (inet): qmqpd", 5 },
		{ "", STOCK "25 inet n - n - 1 postscreen\nsmtpd pass - - n - - smtpd\n", CONF_NOTE, NULL, 0 },
		{ "", STOCK "25 inet n - n - 1 postscreen -o smtpd_service_name=x\nsmtpd pass - - n - - smtpd\n", CONF_NOTE, "there is no postscreen", 6 },
		{ "", STOCK "x unix n - n - 1 postscreen\n", CONF_ERROR, "postscreen cannot serve this type", 5 },
		{ "", STOCK "25 inet n - n - 1 smtppd\n", CONF_ERROR, "there is no program \"smtppd\" here", 5 },
		{ "", STOCK "x unix n - n - 1 smtppd\n", CONF_WARNING, "there is no program \"smtppd\" here", 5 },
		{ "", STOCK "smtpd pass - - n - - smtpd\n", CONF_NOTE, "has no effect: there is no postscreen", 5 },
		{ "", STOCK "smtpd unix - - n - - smtpd\n", CONF_ERROR, "smtpd cannot serve this type of socket", 5 },
		{ "", STOCK "2525 inet n - n - - smtp\n", CONF_ERROR, "smtp cannot serve this type", 5 },
		{ "", STOCK "2525 inet n - n - - cleanup\n", CONF_ERROR, "cleanup does not listen here", 5 },
		{ "", STOCK "cleanup unix n - n - 0 cleanup -o header_checks=\n", CONF_NOTE, "its -o settings have no effect", 5 },
		{ "", STOCK "25 inet n - n - - smtpd -v\n", CONF_NOTE, "-v: has no effect here", 5 },
		{ "master_service_disable = inet\n", STOCK "25 inet n - n - 1 qmqpd\n", CONF_ERROR, NULL, 0 },
		{ "minimal_backoff_time = 5000s\n", STOCK, CONF_ERROR, "maximal_backoff_time is less", 0 },
		{ "spool_segments_min = 10\nspool_segments_max = 5\n", STOCK, CONF_ERROR, "spool_segments_max is less", 4 },
		{ "maillog_format = xml\n", STOCK, CONF_ERROR, "maillog_format", 3 },
		{ "queue_directory = spool\n", STOCK, CONF_ERROR, "a full path expected", 3 },
		{ "smtp_address_preference = both\n", STOCK, CONF_ERROR, "any, ipv4 or ipv6 expected", 3 },
		{ "maps_rbl_reject_code = 999\n", STOCK, CONF_WARNING, "maps_rbl_reject_code = 999: 4XX or 5XX expected; refusals are 450", 3 },
		{ "reject_code = 5\n", STOCK, CONF_WARNING, "reject_code = 5: 4XX", 3 },
		{ "unverified_sender_defer_code = 250\n", STOCK, CONF_WARNING, "unverified_sender_defer_code = 250: 4XX", 3 },
		{ "smtpd_forbid_bare_newline_reject_code = 220\n", STOCK, CONF_ERROR, "smtpd_forbid_bare_newline_reject_code = 220: 4XX or 5XX expected", 3 },
		{ "", STOCK "25 inet n - n - - smtpd -o access_map_reject_code=600\n", CONF_WARNING, "access_map_reject_code = 600: 4XX", 5 },
		{ "reject_code = 599\ndefer_code = 400\n", STOCK, CONF_WARNING, NULL, 0 },
		{ "smtpd_forbid_bare_newline = maybe\n", STOCK, CONF_ERROR, "smtpd_forbid_bare_newline", 3 },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct conf *c = check(rows[i].main_cf, rows[i].master_cf);
		bool found = false;
		for (size_t k = 0; k < conf_problem_count(c, rows[i].sev); k++) {
			const struct conf_problem *p = conf_problem_at(c, k, rows[i].sev);
			if (rows[i].text == NULL)
				fail_msg("row %zu: %s:%d: %s", i, p->file, p->line, p->text);
			found = found || (strstr(p->text, rows[i].text) != NULL && (rows[i].line == 0 || rows[i].line == p->line));
		}
		if (rows[i].text != NULL && !found) {
			confdir_show_problems(c);
			fail_msg("row %zu: no \"%s\" at line %d", i, rows[i].text, rows[i].line);
		}
		conf_unref(&c);
	}
}

/* Every row, set to its default: named exactly when it is not in use, in main.cf and behind -o. */
static void
test_states(void **state)
{
	(void)state;
	static char main_cf[200000], master_cf[400000];
	char *m = main_cf, *o = master_cf;
	m += sprintf_at(m, "%s", "");
	o += sprintf_at(o, "%s25 inet n - n - - smtpd\n", STOCK);
	for (size_t i = 0; i < param_count(); i++) {
		const struct param *row = param_at(i);
		m += sprintf_at(m, "%s = %s\n", row->name, row->def);
		if (i < 400) /* there is a limit of arguments */
			o += sprintf_at(o, "  -o {%s = %s}\n", row->name, row->type == PT_RAW ? "" : row->def);
	}
	confdir_write("main.cf", main_cf);
	confdir_write("master.cf", master_cf);
	struct conf *c;
	struct err e = { 0 };
	enum rc rc = conf_load(confdir, &c, &e);
	if (rc != RC_OK)
		fail_msg("%s", e.why);
	conf_check_params(c);
	for (size_t i = 0; i < param_count(); i++) {
		const struct param *row = param_at(i);
		char known[200], ignored[200];
		snprintf(known, sizeof known, "%s: known, not supported yet", row->name);
		snprintf(ignored, sizeof ignored, "%s: has no effect here", row->name);
		if (count(c, CONF_WARNING, known) != ((row->flags & P_KNOWN) != 0 ? (i < 400 ? 2 : 1) : 0))
			fail_msg("%s: known", row->name);
		if (count(c, CONF_NOTE, ignored) != ((row->flags & P_IGNORED) != 0 ? (i < 400 ? 2 : 1) : 0))
			fail_msg("%s: ignored", row->name);
	}
	conf_unref(&c);
}

/* Without compatibility_level the old defaults that matter are named. */
static void
test_old_defaults(void **state)
{
	(void)state;
	struct conf *c;
	struct err e;
	confdir_write("main.cf", "relay_domains = a.example\nsmtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination\n");
	assert_int_equal(conf_load(confdir, &c, &e), RC_OK);
	assert_string_equal(conf_params(c)->p_smtpd_relay_restrictions, "");
	conf_check_params(c);
	assert_true(confdir_has_problem(c, CONF_NOTE, "using backwards-compatible default setting smtpd_relay_restrictions="));
	assert_false(confdir_has_problem(c, CONF_NOTE, "setting relay_domains="));
	conf_unref(&c);
	/* nothing said about relaying at all: the safe default, where the old one could not even start */
	confdir_write("main.cf", "relay_domains = a.example\n");
	assert_int_equal(conf_load(confdir, &c, &e), RC_OK);
	assert_string_equal(conf_params(c)->p_smtpd_relay_restrictions, "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination");
	conf_unref(&c);
}

/* One thing wrong is one problem, however many services and defaults refer to it. */
static void
test_once(void **state)
{
	(void)state;
	struct conf *c = check("smtpd_helo_required = maybe\nsmtpd_banner = ${x\n", STOCK "25 inet n - n - - smtpd -o mail_name=x\n");
	assert_int_equal(conf_problem_count(c, CONF_ERROR), 2);
	conf_unref(&c);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, confdir_setup, confdir_teardown)
	const struct CMUnitTest tests[] = { T(test_problems), T(test_states), T(test_old_defaults), T(test_once) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
