/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/check.h"

#include "confdir.h"
#include "unit.h"

#define SAFE "compatibility_level = 3.6\nmyhostname = gw.example.com\nmydestination =\ninet_interfaces = 127.0.0.1\nmynetworks = 127.0.0.0/8\n"
#define STOCK "smtp unix - - n - - smtp\nrelay unix - - n - - smtp\nerror unix - - n - - error\nretry unix - - n - - error\n"

/* What run would refuse at its start, or mail would only wait for, is said by check. */
static void
test_start(void **state)
{
	(void)state;
	static const struct {
		const char *main_cf, *service, *says;
	} rows[] = {
		{ "", "127.0.0.1:10025", NULL },
		{ "", "[::1]:65535", NULL },
		{ "", "smtp", NULL },
		{ "", "127.0.0.1:99999", "there is no port \"99999\"" },
		{ "", "65536", "there is no port \"65536\"" },
		{ "", "127.0.0.1:0", "there is no port \"0\"" },
		{ "", "no-such-service", "there is no port \"no-such-service\"" },
		{ "relayhost = [192.0.2.1]:2525, [hub.example.com]\n", "smtp", NULL },
		{ "relayhost = [192.0.2.1\n", "smtp", "relayhost: " },
		{ "relayhost = [192.0.2.1]:99999\n", "smtp", "relayhost: " },
		{ "smtp_fallback_relay = [192.0.2.1]:no-such\n", "smtp", "smtp_fallback_relay: " },
		{ "maillog_file = /dev/stdout\n", "smtp", NULL },
		{ "maillog_file = /var/log/dogana.log\n", "smtp", NULL },
		{ "maillog_file = /srv/dogana.log\n", "smtp", "maillog_file = /srv/dogana.log is not below maillog_file_prefixes" },
		{ "maillog_file = /srv/dogana.log\nmaillog_file_prefixes = /srv\n", "smtp", NULL },
		{ "smtpd_milters = inet:127.0.0.1:1\n", "smtp", NULL },
		{ "smtpd_milters = inet:127.0.0.1:1\nmilter_default_action = drop\n", "smtp", "milter_default_action: " },
		{ "smtpd_milters = { inet:127.0.0.1:1, default_action=drop }\n", "smtp", "smtpd_milters: " },
		{ "smtpd_milters = { inet:127.0.0.1:1\n", "smtp", "unbalanced braces" },
		{ "smtpd_milters = {}\n", "smtp", "smtpd_milters: " },
		{ "smtpd_milters = inet:127.0.0.1:1\nmilter_protocol = 99\n", "smtp", "milter_protocol: " },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		char text[2048];
		snprintf(text, sizeof text, SAFE "%s", rows[i].main_cf);
		confdir_write("main.cf", text);
		snprintf(text, sizeof text, "%s inet n - n - - smtpd\n" STOCK, rows[i].service);
		confdir_write("master.cf", text);
		struct conf *c = NULL;
		struct err e = { .why = "" };
		enum rc rc = check_load(confdir, &c, &e);
		assert_non_null(c);
		if (rows[i].says == NULL) {
			assert_int_equal(rc, RC_OK);
		} else {
			assert_int_equal(rc, RC_PERM);
			assert_int_equal(conf_problem_count(c, CONF_ERROR), 1);
			assert_non_null(strstr(conf_problem_at(c, 0, CONF_ERROR)->text, rows[i].says));
			assert_true(conf_problem_at(c, 0, CONF_ERROR)->line > 0);
		}
		conf_unref(&c);
	}
}

/* Rows of tables that send mail nowhere: an error for who asks, a warning for a start. */
static void
test_routes(void **state)
{
	(void)state;
	static const struct {
		const char *row, *says;
	} rows[] = {
		{ "a.example smtp:[192.0.2.1]:25", NULL },
		{ "a.example relay:", NULL },
		{ "a.example :[192.0.2.1]", NULL },
		{ "a.example :", NULL },
		{ "a.example error:5.1.1 nobody: here", NULL },
		{ "a.example retry:later", NULL },
		{ "a.example own:hub.example.com:26, [b.example.com]", NULL },
		{ "a.example nosuch:[192.0.2.1]", "transport_maps: transport:3: a.example: master.cf has no service \"nosuch\" of type unix" },
		{ "a.example [192.0.2.1]:25", "transport_maps: transport:3: a.example: master.cf has no service \"[192.0.2.1]\" of type unix" },
		{ "a.example smtp:[192.0.2.1", "transport_maps: transport:3: a.example: bad next hop" },
		{ "a.example own:[192.0.2.1]:99999", "transport_maps: transport:3: a.example: unknown service or bad port" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		char text[2048];
		confdir_write("main.cf", SAFE "transport_maps = texthash:transport\n");
		confdir_write("master.cf", "smtp inet n - n - - smtpd\nown unix - - n - - smtp\n" STOCK);
		snprintf(text, sizeof text, "# routes\nb.example smtp:\n%s\n", rows[i].row);
		confdir_write("transport", text);
		for (int strict = 0; strict < 2; strict++) {
			struct conf *c = NULL;
			struct err e = { .why = "" };
			enum rc rc = strict ? check_strictly(confdir, &c, &e) : check_load(confdir, &c, &e);
			assert_int_equal(rc, strict && rows[i].says != NULL ? RC_PERM : RC_OK);
			enum conf_severity sev = strict ? CONF_ERROR : CONF_WARNING;
			bool found = false;
			for (size_t k = 0; k < conf_problem_count(c, sev); k++) {
				const char *said = conf_problem_at(c, k, sev)->text;
				found = found || strstr(said, rows[i].says != NULL ? rows[i].says : "transport_maps") != NULL;
			}
			if (found != (rows[i].says != NULL))
				fail_msg("%s: %s", rows[i].row, found ? "a complaint" : "no complaint");
			conf_unref(&c);
		}
	}
}

/* Where held mail goes has to be the queue's own, or to be made by it. */
static void
test_quarantine_directory(void **state)
{
	(void)state;
	static const struct {
		const char *dir;
		int mode; /* of the directory above */
		const char *says;
	} rows[] = {
		{ NULL, 0755, NULL },
		{ "held", 0755, "is not there, and queue_user cannot make it" },
		{ "held", 01777, NULL },
		{ "nosuch/held", 0755, "is not there, and queue_user cannot make it" },
		{ "main.cf", 0755, "is no directory" },
		{ "", 0755, "belongs to somebody else" },
	};
	if (geteuid() != 0)
		skip();
	for (size_t i = 0; i < NELEMS(rows); i++) {
		char text[2048];
		struct conf *c = NULL;
		struct err e = { .why = "" };
		int n = snprintf(text, sizeof text, SAFE "queue_user = 61002\nqueue_directory = %s/he\n", rows[i].dir != NULL ? confdir : "/var/spool");
		if (rows[i].dir != NULL)
			snprintf(text + n, sizeof text - (size_t)n, "quarantine_directory = %s/%s\n", confdir, rows[i].dir);
		confdir_write("main.cf", text);
		confdir_write("master.cf", "smtp inet n - n - - smtpd\n" STOCK);
		assert_int_equal(chmod(confdir, (mode_t)rows[i].mode), 0);
		assert_int_equal(check_load(confdir, &c, &e), RC_OK);
		const char *said = NULL;
		for (size_t k = 0; k < conf_problem_count(c, CONF_WARNING); k++)
			if (strstr(conf_problem_at(c, k, CONF_WARNING)->text, "quarantine_directory") != NULL)
				said = conf_problem_at(c, k, CONF_WARNING)->text;
		if (rows[i].says == NULL ? said != NULL : said == NULL || strstr(said, rows[i].says) == NULL)
			fail_msg("row %zu: %s", i, said != NULL ? said : "no complaint");
		conf_unref(&c);
	}
	assert_int_equal(chmod(confdir, 0755), 0);
}

/* A template that listed clients would never see. */
static void
test_rbl_reply(void **state)
{
	(void)state;
	static const struct {
		const char *main_cf, *says;
	} rows[] = {
		{ "", NULL }, { "default_rbl_reply = 554 5.7.1 $rbl_what is listed: $rbl_reason\n", NULL },
		{ "default_rbl_reply = $rbl_code x${rbl_reason?; $rbl_reason}\n", NULL },
		{ "default_rbl_reply = foo\n", "does not begin with 4XX or 5XX" },
		{ "default_rbl_reply = 554\n", "does not begin with 4XX or 5XX" },
		{ "default_rbl_reply = ${rbl_reason?554 $rbl_reason}\n", "does not begin with 4XX or 5XX" },
		{ "default_rbl_reply = 554 $nosuch\n", "unknown name \"nosuch\"" },
		{ "default_rbl_reply = $rbl_code ${rbl_reason?\n", "default_rbl_reply: " },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		char text[1024];
		struct conf *c = NULL;
		struct err e = { .why = "" };
		snprintf(text, sizeof text, SAFE "%s", rows[i].main_cf);
		confdir_write("main.cf", text);
		confdir_write("master.cf", "smtp inet n - n - - smtpd\n" STOCK);
		assert_int_equal(check_load(confdir, &c, &e), RC_OK);
		bool found = false;
		for (size_t k = 0; k < conf_problem_count(c, CONF_WARNING); k++) {
			const struct conf_problem *p = conf_problem_at(c, k, CONF_WARNING);
			if (strstr(p->text, "default_rbl_reply") == NULL)
				continue;
			found = true;
			assert_int_equal(p->line, 6);
			if (rows[i].says == NULL || strstr(p->text, rows[i].says) == NULL)
				fail_msg("%s: %s", rows[i].main_cf, p->text);
		}
		assert_int_equal(found, rows[i].says != NULL);
		conf_unref(&c);
	}
}

/* What is true and harmless is for who asks, and no reason to fail. */
static void
test_notes(void **state)
{
	(void)state;
	struct conf *c = NULL;
	struct err e = { .why = "" };
	struct buf b;
	confdir_write("main.cf", SAFE "biff = no\n");
	confdir_write("master.cf", "smtp inet n - n - - smtpd\n" STOCK);
	assert_int_equal(check_strictly(confdir, &c, &e), RC_OK);
	buf_init(&b, 4096);
	check_print(c, false, &b);
	assert_null(strstr(buf_cstr(&b), "biff"));
	buf_reset(&b);
	check_print(c, true, &b);
	assert_non_null(strstr(buf_cstr(&b), "main.cf:6: note: biff: has no effect here\n"));
	buf_fini(&b);
	conf_unref(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_start, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_routes, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_rbl_reply, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_quarantine_directory, confdir_setup, confdir_teardown),
		cmocka_unit_test_setup_teardown(test_notes, confdir_setup, confdir_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
