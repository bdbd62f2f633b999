/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/check.h"

#include "confdir.h"
#include "unit.h"

#define SAFE "compatibility_level = 3.6\nmyhostname = gw.example.com\nmydestination =\ninet_interfaces = 127.0.0.1\nmynetworks = 127.0.0.0/8\n"
#define STOCK "smtp unix - - n - - smtp\nrelay unix - - n - - smtp\nerror unix - - n - - error\nretry unix - - n - - error\n"

static int
setup(void **state)
{
	(void)state;
	confdir_make();
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	confdir_remove();
	return 0;
}

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

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_start, setup, teardown) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
