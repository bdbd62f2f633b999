/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/conf.h"

#include "confdir.h"
#include "unit.h"

static struct conf *
load(enum rc want)
{
	struct conf *c = NULL;
	struct err e = { 0 };
	enum rc rc = conf_load(confdir, &c, &e);
	if (rc != want)
		fail_msg("rc %d: %s", rc, e.why);
	return c;
}

static void
make_dir(const char *name)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", confdir, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

static void
test_main_and_conf_d(void **state)
{
	(void)state;
	make_dir("conf.d");
	confdir_write("main.cf", "mail_name = main\nrelayhost = main\nmyhostname = mx.example.com\n");
	confdir_write("conf.d/20-b.cf", "mail_name = b\n");
	confdir_write("conf.d/10-a.cf", "mail_name = a\nrelayhost = a\n");
	confdir_write("conf.d/30-c.txt", "mail_name = not read\n");
	confdir_write("conf.d/.hidden.cf", "mail_name = not read\n");
	confdir_write("other.cf", "mail_name = not read\n");
	struct conf *c = load(RC_OK);
	assert_string_equal(conf_params(c)->p_mail_name, "b");
	assert_string_equal(conf_params(c)->p_relayhost, "a");
	assert_string_equal(conf_params(c)->p_compatibility_level, "0");
	assert_int_equal(conf_problem_count(c, CONF_WARNING), 0); /* another file may say it again */
	assert_true(conf_is_loader(c));
	conf_unref(&c);
	assert_null(c);
}

/* "-c etc": what is named through $config_directory is found from anywhere */
static void
test_relative_directory(void **state)
{
	(void)state;
	char before[4096];
	struct conf *c = NULL;
	struct err e;
	struct span text;
	confdir_write("main.cf", "compatibility_level = 3.6\nmyhostname = mx.example.com\nmail_name = $config_directory/names\n");
	confdir_write("names", "one\n");
	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir("/tmp"), 0);
	enum rc rc = conf_load(strrchr(confdir, '/') + 1, &c, &e);
	bool found = rc == RC_OK && conf_file(c, conf_params(c)->p_mail_name, &text, &e) == RC_OK && span_eq_str(text, "one\n");
	assert_int_equal(chdir(before), 0);
	assert_int_equal(rc, RC_OK);
	assert_true(found);
	conf_unref(&c);
}

static void
test_only_conf_d(void **state)
{
	(void)state;
	make_dir("conf.d");
	confdir_write("conf.d/10-a.cf", "mail_name = not read\n");
	confdir_write("20-b.cf", "mail_name = b\n");
	confdir_write("10-a.cf", "mail_name = a\nrelayhost = a\n");
	confdir_write("master.cf", "smtp inet n - n - - smtpd\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n");
	struct conf *c = load(RC_OK);
	assert_string_equal(conf_params(c)->p_mail_name, "b");
	assert_string_equal(conf_params(c)->p_relayhost, "a");
	assert_string_equal(conf_params(c)->p_compatibility_level, CONF_LEVEL);
	assert_string_equal(conf_params(c)->p_smtpd_relay_restrictions, "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination");
	assert_int_equal(conf_service_count(c), 3);
	conf_unref(&c);
}

static void
test_no_directory(void **state)
{
	(void)state;
	struct conf *c;
	struct err e;
	assert_int_equal(conf_load("/nonexistent/dir", &c, &e), RC_PERM);
	assert_null(c);
	assert_non_null(strstr(e.why, "/nonexistent/dir"));
	confdir_write("file", "");
	char path[256];
	snprintf(path, sizeof path, "%s/file", confdir);
	assert_int_equal(conf_load(path, &c, &e), RC_PERM);
	assert_null(c);
}

/* One main.cf per row; want: "name=value" as conf_value gives it, or the start of an error. */
static void
test_values(void **state)
{
	(void)state;
	static const struct {
		const char *main_cf, *name, *want, *error;
	} rows[] = {
		{ "mail_name = a b \n", "mail_name", "a b", NULL },
		{ "mail_name=a\n", "mail_name", "a", NULL },
		{ "mail_name =\n", "mail_name", "", NULL },
		{ "mail_name\n = a\n", "mail_name", "a", NULL },
		{ "mail_name = a = b\n", "mail_name", "a = b", NULL },
		{ "user = x\nmail_name = <$user>\n", "mail_name", "<x>", NULL },
		{ "mail_name = $later\nlater = y\n", "mail_name", "y", NULL },
		{ "mynetworks = 127.0.0.0/8,\n  [::1]/128\n", "mynetworks", "127.0.0.0/8,  [::1]/128", NULL },
		{ "my-own.name = 5\n", "my-own.name", "5", NULL },
		{ "default_rbl_reply = $rbl_code x\n", "default_rbl_reply", "$rbl_code x", NULL },
		{ "fallback_relay = [f.example]\n", "smtp_fallback_relay", "[f.example]", NULL },
		{ "virtual_maps = hash:x\n", "virtual_alias_maps", "hash:x", NULL },
		{ "virtual_maps = hash:x\n", "virtual_alias_domains", "hash:x", NULL },
		{ "postscreen_blacklist_action = drop\n", "postscreen_denylist_action", "drop", NULL },
		{ "smtpd_client_connection_limit_exceptions = x\n", "smtpd_client_event_limit_exceptions", "x", NULL },
		{ "stress = yes\n", "smtpd_timeout", "10s", NULL },
		{ "compatibility_level = 1\nmydestination = a\n", "relay_domains", "a", NULL },
		{ "compatibility_level = 2\nmydestination = a\n", "relay_domains", "", NULL },
		{ "compatibility_level = 3.5\n", "smtpd_tls_fingerprint_digest", "md5", NULL },
		{ "compatibility_level = 3.10\n", "smtpd_tls_fingerprint_digest", "sha256", NULL },
		{ "smtp_destination_concurrency_limit = 7\n", "smtp_destination_concurrency_limit", "7", NULL },
		{ "default_destination_concurrency_limit = 9\n", "relay_destination_concurrency_limit", "9", NULL },
		{ "", "local_destination_concurrency_limit", "2", NULL },
		{ "", "nosuch_destination_concurrency_limit", NULL, NULL },
		{ "", "smtp_time_limit", NULL, NULL },
		{ "", "nosuch", NULL, NULL },
		{ "smtpd_timeout = 5x\n", "smtpd_timeout", "5x", "bad time value" },
		{ "hopcount_limit = 0\n", "hopcount_limit", "0", "too small" },
		{ "a = $b\nb = $a\nmail_name = $a\n", "mail_name", "Dogana", "parameter mail_name: unreasonable" },
		{ "mail_name = ${x\n", "mail_name", "Dogana", "parameter mail_name: truncated" },
		{ "foo\n", "mail_name", "Dogana", "missing '=' after attribute name: \"foo\"" },
		{ "foo bar = x\n", "mail_name", "Dogana", "missing '=' after attribute name" },
		{ "= x\n", "mail_name", "Dogana", "missing attribute name" },
		{ "compatibility_level = new\n", "mail_name", "Dogana", "malformed compatibility level" },
		{ "inet_protocols = ipv5\n", "mail_name", "Dogana", "inet_protocols" },
		{ "mynetworks_style = all\n", "mail_name", "Dogana", "mynetworks_style" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		confdir_write("main.cf", rows[i].main_cf);
		struct conf *c = load(rows[i].error != NULL ? RC_PERM : RC_OK);
		const char *got = conf_value(c, NULL, rows[i].name);
		if (rows[i].want == NULL ? got != NULL : got == NULL || strcmp(got, rows[i].want) != 0)
			fail_msg("%s: %s = \"%s\", want \"%s\"", rows[i].main_cf, rows[i].name, got, rows[i].want);
		if (rows[i].error != NULL && !confdir_has_problem(c, CONF_ERROR, rows[i].error))
			fail_msg("%s: no \"%s\"", rows[i].main_cf, rows[i].error);
		conf_unref(&c);
	}
}

/* A value that was refused leaves the default in the struct, so that whoever reads it is safe. */
static void
test_bad_value_leaves_default(void **state)
{
	(void)state;
	confdir_write("main.cf", "smtpd_timeout = never\nsmtpd_helo_required = maybe\nhopcount_limit = -1\n");
	struct conf *c = load(RC_PERM);
	assert_int_equal(conf_params(c)->p_smtpd_timeout, 300 * 1000000ull);
	assert_false(conf_params(c)->p_smtpd_helo_required);
	assert_int_equal(conf_params(c)->p_hopcount_limit, 50);
	assert_int_equal(conf_problem_count(c, CONF_ERROR), 3);
	const struct conf_problem *p = conf_problem_at(c, 0, CONF_ERROR);
	assert_int_equal(p->line, 3);
	assert_non_null(strstr(p->file, "/main.cf"));
	conf_unref(&c);
}

static void
test_duplicates(void **state)
{
	(void)state;
	confdir_write("main.cf", "mail_name = a\nmail_name = b\nmail_name = b\n");
	struct conf *c = load(RC_OK);
	assert_string_equal(conf_params(c)->p_mail_name, "b");
	assert_int_equal(conf_problem_count(c, CONF_WARNING), 1);
	assert_string_equal(conf_problem_at(c, 0, CONF_WARNING)->text, "overriding earlier entry: mail_name=a");
	assert_int_equal(conf_problem_at(c, 0, CONF_WARNING)->line, 2);
	conf_unref(&c);
}

static void
test_names(void **state)
{
	(void)state;
	static const struct {
		const char *main_cf, *host, *domain, *origin;
	} rows[] = {
		{ "myhostname = mx.a.example\n", "mx.a.example", "a.example", "mx.a.example" },
		{ "myhostname = mx\n", "mx", "localdomain", "mx" },
		{ "mydomain = b.example\nmyhostname = mx.$mydomain\n", "mx.b.example", "b.example", "mx.b.example" },
		{ "myhostname = mx.a.example\nmydomain = c.example\nmyorigin = $mydomain\n", "mx.a.example", "c.example", "c.example" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		confdir_write("main.cf", rows[i].main_cf);
		struct conf *c = load(RC_OK);
		assert_string_equal(conf_params(c)->p_myhostname, rows[i].host);
		assert_string_equal(conf_params(c)->p_mydomain, rows[i].domain);
		assert_string_equal(conf_params(c)->p_myorigin, rows[i].origin);
		conf_unref(&c);
	}
	confdir_write("main.cf", "");
	struct conf *c = load(RC_OK);
	assert_non_null(strchr(conf_params(c)->p_myhostname, '.'));
	assert_true(conf_params(c)->p_mydomain[0] != '\0');
	conf_unref(&c);
}

static void
test_myorigin_file(void **state)
{
	(void)state;
	char text[256];
	confdir_write("mailname", "origin.example\nsecond line\n");
	snprintf(text, sizeof text, "myorigin = %s/mailname\nmail_name = [$myorigin]\n", confdir);
	confdir_write("main.cf", text);
	struct conf *c = load(RC_OK);
	assert_string_equal(conf_params(c)->p_myorigin, "origin.example");
	assert_string_equal(conf_params(c)->p_mail_name, "[origin.example]");
	conf_unref(&c);
	confdir_write("main.cf", "myorigin = /nonexistent/mailname\n");
	c = load(RC_PERM);
	assert_true(confdir_has_problem(c, CONF_ERROR, "parameter myorigin: open /nonexistent/mailname"));
	conf_unref(&c);
}

static void
test_networks(void **state)
{
	(void)state;
	static const struct {
		const char *main_cf, *want, *own;
	} rows[] = {
		{ "mynetworks_style = host\ninet_interfaces = 127.0.0.1\n", "127.0.0.1/32", "127.0.0.1" },
		{ "mynetworks_style = subnet\ninet_interfaces = 127.0.0.1\n", "127.0.0.0/8", "127.0.0.1" },
		{ "mynetworks_style = class\ninet_interfaces = [127.0.0.1]\n", "127.0.0.0/8", "127.0.0.1" },
		{ "mynetworks_style = class\ninet_interfaces = 192.0.2.77, 10.1.2.3, 172.16.5.5\n", "192.0.2.0/24 10.0.0.0/8 172.16.0.0/16",
		    "192.0.2.77 10.1.2.3 172.16.5.5" },
		{ "mynetworks_style = host\ninet_interfaces = 2001:db8::5, 127.0.0.1\n", "[2001:db8::5]/128 127.0.0.1/32", "2001:db8::5 127.0.0.1" },
		{ "mynetworks_style = host\ninet_interfaces = 2001:db8::5, 127.0.0.1\ninet_protocols = ipv4\n", "127.0.0.1/32", "127.0.0.1" },
		{ "mynetworks_style = host\ninet_interfaces = 127.0.0.1 127.0.0.1\n", "127.0.0.1/32", "127.0.0.1" },
		{ "mynetworks = 192.0.2.0/24\ninet_interfaces = 127.0.0.1\n", "192.0.2.0/24", "127.0.0.1" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		confdir_write("main.cf", rows[i].main_cf);
		struct conf *c = load(RC_OK);
		assert_string_equal(conf_params(c)->p_mynetworks, rows[i].want);
		assert_string_equal(conf_own_addresses(c), rows[i].own);
		conf_unref(&c);
	}
	confdir_write("main.cf", "inet_interfaces = loopback-only\ninet_protocols = ipv4\nmynetworks_style = host\n");
	struct conf *c = load(RC_OK);
	assert_non_null(strstr(conf_own_addresses(c), "127.0.0.1"));
	conf_unref(&c);
}

static void
test_overrides(void **state)
{
	(void)state;
	static const char *const set[] = { "mail_name=over", "relayhost = [$mail_name]", NULL };
	struct conf *c;
	struct err e;
	confdir_write("main.cf", "mail_name = file\n");
	assert_int_equal(conf_load_with(confdir, set, &c, &e), RC_OK);
	assert_string_equal(conf_params(c)->p_relayhost, "[over]");
	conf_unref(&c);
}

/* -o settings are seen by the service alone, and by $name there. */
static void
test_service_view(void **state)
{
	(void)state;
	confdir_write("main.cf",
	    "mail_name = main\nsmtpd_banner = $myhostname $mail_name\nmyhostname = mx.example\nmua_list = permit_mynetworks, reject\n"
	    "syslog_name = gw/$service_name\n");
	confdir_write("master.cf",
	    "smtp inet n - n - - smtpd\n"
	    "587 inet n - n - - smtpd\n  -o mail_name=submission\n# -o mail_name=commented\n  -o smtpd_client_restrictions=$mua_list\n"
	    "  -o { smtpd_helo_restrictions = a, b c } -o smtpd_timeout=5\n"
	    "smtp unix - - n - - smtp\n");
	struct conf *c = load(RC_OK);
	const struct service *plain = conf_service_find(c, "smtp", "inet"), *sub = conf_service_find(c, "587", "inet");
	assert_non_null(plain);
	assert_non_null(sub);
	assert_string_equal(plain->params->p_smtpd_banner, "mx.example main");
	assert_string_equal(sub->params->p_smtpd_banner, "mx.example submission");
	assert_string_equal(conf_params(c)->p_smtpd_banner, "mx.example main");
	assert_string_equal(sub->params->p_smtpd_client_restrictions, "permit_mynetworks, reject");
	assert_string_equal(plain->params->p_smtpd_client_restrictions, "");
	assert_string_equal(sub->params->p_smtpd_helo_restrictions, "a, b c");
	assert_int_equal(sub->params->p_smtpd_timeout, 5000000);
	assert_int_equal(plain->params->p_smtpd_timeout, 300000000);
	assert_string_equal(plain->params->p_syslog_name, "gw/smtp");
	assert_string_equal(sub->params->p_syslog_name, "gw/587");
	assert_string_equal(conf_params(c)->p_syslog_name, "gw/");
	assert_string_equal(conf_value(c, sub, "mail_name"), "submission");
	assert_string_equal(conf_value(c, sub, "service_name"), "587");
	assert_string_equal(conf_value(c, NULL, "mua_list"), "permit_mynetworks, reject");
	conf_unref(&c);
}

static void
test_transports(void **state)
{
	(void)state;
	confdir_write("main.cf",
	    "default_destination_concurrency_limit = 11\nslow_destination_concurrency_limit = 1\nslow_destination_rate_delay = 2m\n"
	    "smtp_initial_destination_concurrency = 3\nother_destination_recipient_limit = 5\nrelay_destination_concurrency_limit = lots\n");
	confdir_write("master.cf", "slow unix - - n - - smtp\nsmtp unix - - n - - smtp\nrelay unix - - n - - smtp\n");
	struct conf *c = load(RC_OK);
	assert_int_equal(conf_transport_int(c, "slow", "destination_concurrency_limit"), 1);
	assert_int_equal(conf_transport_int(c, "smtp", "destination_concurrency_limit"), 11);
	assert_int_equal(conf_transport_int(c, "smtp", "initial_destination_concurrency"), 3);
	assert_int_equal(conf_transport_int(c, "slow", "initial_destination_concurrency"), 5);
	assert_int_equal(conf_transport_int(c, "other", "destination_recipient_limit"), 5); /* not in master.cf, but set */
	assert_int_equal(conf_transport_int(c, "nosuch", "destination_recipient_limit"), 50);
	assert_int_equal(conf_transport_int(c, "relay", "destination_concurrency_limit"), 20); /* check says what is wrong */
	assert_int_equal(conf_transport_time(c, "slow", "destination_rate_delay"), 120000000);
	assert_int_equal(conf_transport_time(c, "smtp", "destination_rate_delay"), 0);
	assert_string_equal(conf_transport_str(c, "smtp", "destination_concurrency_positive_feedback"), "1");
	conf_unref(&c);
}

static void
test_files_and_notes(void **state)
{
	(void)state;
	struct span text;
	struct err e;
	confdir_write("main.cf", "");
	confdir_write("table", "first");
	struct conf *c = load(RC_OK);
	assert_int_equal(conf_file(c, "table", &text, &e), RC_OK);
	assert_span(text, "first");
	confdir_write("table", "second"); /* a snapshot does not change */
	assert_int_equal(conf_file(c, "table", &text, &e), RC_OK);
	assert_span(text, "first");
	assert_int_equal(conf_file(c, "missing", &text, &e), RC_TEMP);
	confdir_write("missing", "late");
	assert_int_equal(conf_file(c, "missing", &text, &e), RC_TEMP);
	assert_non_null(strstr(e.why, "No such file"));
	assert_null(conf_attached(c, "k"));
	conf_attach(c, "k", "v");
	conf_attach(c, "k", "w");
	assert_string_equal(conf_attached(c, "k"), "w");
	conf_unref(&c);
}

static void
test_references(void **state)
{
	(void)state;
	confdir_write("main.cf", "mail_name = x\n");
	struct conf *a = load(RC_OK), *b = conf_ref(a);
	conf_unref(&a);
	assert_null(a);
	assert_string_equal(conf_params(b)->p_mail_name, "x");
	conf_unref(&b);
	conf_unref(&b);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, confdir_setup, confdir_teardown)
	const struct CMUnitTest tests[] = {
		T(test_main_and_conf_d), T(test_relative_directory), T(test_only_conf_d), T(test_no_directory), T(test_values), T(test_bad_value_leaves_default),
		T(test_duplicates), T(test_names), T(test_myorigin_file), T(test_networks), T(test_overrides), T(test_service_view),
		T(test_transports), T(test_files_and_notes), T(test_references),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
