/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/snap.h"
#include "conf/text.h"

#include "confdir.h"
#include "unit.h"

static struct conf *
parse(const char *text)
{
	struct conf *c = snap_new("/nowhere");
	snap_parse_master(c, "master.cf", span_str(text));
	return c;
}

/* want: the service as postconf -M prints it, or the error. */
static void
test_lines(void **state)
{
	(void)state;
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "smtp inet n - n - - smtpd", "smtp       inet  n       -       n       -       -       smtpd" },
		{ "127.0.0.1:10025 inet n n y 60 5 smtpd -v", "127.0.0.1:10025 inet n   n       y       60      5       smtpd -v" },
		{ "tlsmgr unix - - n 1000? 1 tlsmgr", "tlsmgr     unix  -       -       n       1000?   1       tlsmgr" },
		{ "postlog unix-dgram n - n - 1 postlogd", "postlog    unix-dgram n  -       n       -       1       postlogd" },
		{ "a\tinet\tn  - n - 0\tsmtpd\t-o a=b -o c=", "a          inet  n       -       n       -       0       smtpd -o a=b -o c=" },
		{ "a inet n - n - - smtpd\n -o a=b\n#-o x=y\n\n -o c=d", "a          inet  n       -       n       -       -       smtpd -o a=b -o c=d" },
		{ "a inet n - n - - smtpd -o{a=b}", "a          inet  n       -       n       -       -       smtpd -o a=b" },
		{ "a inet n - n - - smtpd -oa=b", "a          inet  n       -       n       -       -       smtpd -o a=b" },
		{ "a inet n - n - - smtpd -o { a = b, c }", "a          inet  n       -       n       -       -       smtpd -o {a=b, c}" },
		{ "a inet n - n - - smtpd -o {a=$b}", "a          inet  n       -       n       -       -       smtpd -o a=$b" },
		{ "p unix - n n - - pipe flags=R user=x argv=/bin/y -o z ${recipient}",
		    "p          unix  -       n       n       -       -       pipe flags=R user=x argv=/bin/y -o z ${recipient}" },
		{ "p unix - n n - - pipe -o a=b user=x argv={/bin/y z} {w w}",
		    "p          unix  -       n       n       -       -       pipe -o a=b user=x {argv={/bin/y z}} {w w}" },
		{ "a inet n - n - - smtpd -- -o a=b", "a          inet  n       -       n       -       -       smtpd -- -o a=b" },
		{ "smtp", "missing transport type field" },
		{ "smtp inet n - n - -", "missing command name field" },
		{ "smtp tcp n - n - - smtpd", "bad transport type field \"tcp\"" },
		{ "smtp inet x - n - - smtpd", "bad private field \"x\"" },
		{ "smtp inet y - n - - smtpd", "cannot be private" },
		{ "smtp inet - - n - - smtpd", "cannot be private" },
		{ "smtp inet n yes n - - smtpd", "bad unprivileged field \"yes\"" },
		{ "smtp inet n - ? - - smtpd", "bad chroot field \"?\"" },
		{ "smtp inet n - n -1 - smtpd", "bad wakeup time field \"-1\"" },
		{ "smtp inet n - n ? - smtpd", "bad wakeup time field \"?\"" },
		{ "smtp inet n - n - 5? smtpd", "bad process limit field \"5?\"" },
		{ "smtp inet n - n - many smtpd", "bad process limit field \"many\"" },
		{ "smtp inet n - n - - /bin/smtpd", "bad command name field" },
		{ "smtp inet n - n - - smtpd -o", "bad option \"-o \"" },
		{ "smtp inet n - n - - smtpd -o a", "bad option \"-o a\"" },
		{ "smtp inet n - n - - smtpd -o =b", "bad option \"-o =b\"" },
		{ "smtp inet n - n - - smtpd -o a = b", "bad option \"-o a\"" },
		{ "smtp inet n - n - - smtpd -o { a b = c }", "bad option" },
		{ "smtp inet n - n - - smtpd -o { a = b", "unbalanced braces" },
		{ "smtp inet n - n - - smtpd -o { a = b }c", "unbalanced braces" },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct conf *c = parse(rows[i].text);
		struct buf got;
		buf_init(&got, SIZE_MAX);
		if (c->nsvc == 1)
			text_service(&got, c->svcs[0], false);
		else if (conf_problem_count(c, CONF_ERROR) > 0)
			buf_puts(&got, conf_problem_at(c, 0, CONF_ERROR)->text);
		bool ok = c->nsvc == 1 ? strcmp(buf_cstr(&got), rows[i].want) == 0 : strstr(buf_cstr(&got), rows[i].want) != NULL;
		if (!ok)
			fail_msg("%s: got \"%s\"", rows[i].text, buf_cstr(&got));
		buf_fini(&got);
		conf_unref(&c);
	}
}

static void
test_fields(void **state)
{
	(void)state;
	struct conf *c = parse("# x\n\nsmtp inet n y - 60? 7 smtpd\nrelay unix - - - - - smtp\n");
	assert_int_equal(c->nsvc, 2);
	const struct service *s = &c->svcs[0]->pub;
	assert_string_equal(s->name, "smtp");
	assert_string_equal(s->type, "inet");
	assert_false(s->is_private);
	assert_true(s->unprivileged);
	assert_int_equal(s->wakeup, 60);
	assert_int_equal(s->maxproc, 7);
	assert_int_equal(s->line, 3);
	assert_int_equal(s->kind, SERVICE_LISTENER);
	assert_null(s->args[0]);
	s = &c->svcs[1]->pub;
	assert_true(s->is_private);
	assert_int_equal(s->wakeup, -1);
	assert_int_equal(s->maxproc, -1);
	assert_int_equal(s->kind, SERVICE_TRANSPORT);
	conf_unref(&c);
}

static void
test_duplicate_service(void **state)
{
	(void)state;
	struct conf *c = parse("smtp inet n - n - - smtpd\nsmtp unix - - n - - smtp\nsmtp inet n - n - 3 smtpd -o a=b\n");
	assert_int_equal(c->nsvc, 2);
	assert_int_equal(c->svcs[0]->pub.maxproc, 3);
	assert_int_equal(c->svcs[0]->nset, 1);
	assert_string_equal(conf_problem_at(c, 0, CONF_WARNING)->text, "duplicate master.cf entry for service \"smtp\" (inet) -- using the last entry");
	conf_unref(&c);
}

/* Every program of the stock file is known, and the built-in list parses. */
static void
test_programs(void **state)
{
	(void)state;
	struct conf *c = parse(snap_default_master);
	assert_int_equal(conf_problem_count(c, CONF_ERROR), 0);
	assert_int_equal(conf_problem_count(c, CONF_WARNING), 0);
	for (size_t i = 0; i < c->nsvc; i++)
		assert_int_not_equal(c->svcs[i]->pub.kind, SERVICE_UNKNOWN);
	conf_unref(&c);
	static const char *const others[] = { "postscreen", "oqmgr", "pipe", "spawn", "qmqpd", "dnsblog", "tlsproxy" };
	for (size_t i = 0; i < NELEMS(others); i++)
		assert_int_not_equal(service_kind_of(others[i], NULL), SERVICE_UNKNOWN);
	assert_int_equal(service_kind_of("smtpdd", NULL), SERVICE_UNKNOWN);
}

static void
test_disabled_and_chroot(void **state)
{
	(void)state;
	static const struct {
		const char *main_cf, *left;
	} rows[] = {
		{ "", "smtp/inet 587/inet smtp/unix " },
		{ "master_service_disable = inet\n", "smtp/unix " },
		{ "master_service_disable = 587/inet\n", "smtp/inet smtp/unix " },
		{ "master_service_disable = !smtp/inet, inet\n", "smtp/inet smtp/unix " },
		{ "master_service_disable = inet, !smtp/inet\n", "smtp/unix " },
		{ "master_service_disable = smtp/tcp\n", "smtp/inet 587/inet smtp/unix " },
	};
	for (size_t i = 0; i < NELEMS(rows); i++) {
		confdir_make();
		confdir_write("main.cf", rows[i].main_cf);
		confdir_write("master.cf", "smtp inet n - - - - smtpd\n587 inet n - n - - smtpd\nsmtp unix - - y - - smtp\n");
		struct conf *c;
		struct err e;
		assert_int_equal(conf_load(confdir, &c, &e), RC_OK);
		struct buf got;
		buf_init(&got, 1000);
		for (size_t k = 0; k < conf_service_count(c); k++)
			buf_printf(&got, "%s/%s ", conf_service(c, k)->name, conf_service(c, k)->type);
		assert_span(buf_span(&got), rows[i].left);
		if (i == 0) {
			assert_true(conf_service(c, 0)->chroot); /* "-" at level 0 */
			assert_false(conf_service(c, 1)->chroot);
			assert_true(conf_service(c, 2)->chroot);
		}
		assert_true((conf_service_find(c, "587", "inet") == NULL) == (strstr(rows[i].left, "587") == NULL));
		buf_fini(&got);
		conf_unref(&c);
		confdir_remove();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_duplicate_service),
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_disabled_and_chroot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
