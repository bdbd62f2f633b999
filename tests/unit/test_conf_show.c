/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/show.h"

#include "confdir.h"
#include "unit.h"

#include <sys/wait.h>

static const char main_cf[] =
    "compatibility_level = 3.10\n# a comment\nmail_name = a,\n  b   c\n# in between\n  d\nuser = x\nsmtpd_banner = $user hi\nunusd = 1\n"
    "mynetworks = 127.0.0.0/8\n";
static const char master_cf[] =
    "smtp inet n - n - - smtpd\n"
    "10025 inet n - n - - smtpd -v\n  -o content_filter= -o {smtpd_client_restrictions = permit_mynetworks, reject}\n  -o smtpd_timeout=5\n"
    "smtp unix - - n - - smtp\n";

static void
slurp(const char *name, char *to, size_t size)
{
	char path[256];
	snprintf(path, sizeof path, "%s/%s", confdir, name);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	to[fread(to, 1, size - 1, f)] = '\0';
	fclose(f);
}

/* Runs the command line (words by '|') in a child; its output and status. */
static int
run(const char *words, char *out, char *err, size_t size)
{
	static const char *const types[] = { "cidr", "hash", NULL };
	char copy[1024], *argv[32] = { NULL }, out_path[256], err_path[256], *rest = copy, *word;
	int argc = 0, status;
	snprintf(copy, sizeof copy, "/usr/sbin/postconf|%s", words);
	while ((word = strsep(&rest, "|")) != NULL && argc < 31)
		if (*word != '\0' || rest != NULL)
			argv[argc++] = word;
	snprintf(out_path, sizeof out_path, "%s/.out", confdir);
	snprintf(err_path, sizeof err_path, "%s/.err", confdir);
	fflush(NULL);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (freopen(out_path, "w", stdout) == NULL || freopen(err_path, "w", stderr) == NULL)
			_exit(99);
		int rc = conf_command(confdir, argc, argv, types);
		fflush(NULL);
		_exit(rc);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	slurp(".out", out, size);
	slurp(".err", err, size);
	return WEXITSTATUS(status);
}

/* Output as Postfix's own postconf gives it for the same files. */
static void
test_output(void **state)
{
	(void)state;
	static const struct {
		const char *words;
		int status;
		const char *out, *err; /* err: a part; NULL: none at all with -q */
	} rows[] = {
		{ "-n", 0, "compatibility_level = 3.10\nmail_name = a, b c d\nmynetworks = 127.0.0.0/8\nsmtpd_banner = $user hi\nuser = x\n",
		    "main.cf: unused parameter: unusd=1" },
		{ "-n|-x", 0, "compatibility_level = 3.10\nmail_name = a, b c d\nmynetworks = 127.0.0.0/8\nsmtpd_banner = x hi\nuser = x\n", "postconf: warning: " },
		{ "-nq|mail_name|relayhost", 0, "mail_name = a, b c d\n", NULL },
		{ "mail_name|nosuch|relayhost", 0, "mail_name = a, b c d\nrelayhost =\n", "postconf: warning: nosuch: unknown parameter" },
		{ "-qh|mail_name|user", 0, "a, b c d\nx\n", NULL },
		{ "-H|mail_name", 0, "mail_name\n", "" },
		{ "-d|mail_name|user", 0, "mail_name = Dogana\n", "user: unknown parameter" },
		{ "-dx|hopcount_limit|smtpd_banner|relay_domains", 0, NULL, "" },
		{ "-q|-o|mail_name=zz|mail_name", 0, "mail_name = zz\n", NULL },
		{ "-qx|-o|user=zz|smtpd_banner", 0, "smtpd_banner = zz hi\n", NULL },
		{ "-q|smtp_destination_concurrency_limit", 0, "smtp_destination_concurrency_limit = $default_destination_concurrency_limit\n", NULL },
		{ "-qf|propagate_unmatched_extensions|smtpd_relay_restrictions", 0,
		    "propagate_unmatched_extensions = canonical, virtual\n"
		    "smtpd_relay_restrictions = ${{$compatibility_level} <level {1} ?\n    "
		    "{${smtpd_recipient_restrictions?{}:{permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination}}}\n    "
		    ": {permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination}}\n", NULL },
		{ "-qM", 0,
		    "smtp       inet  n       -       n       -       -       smtpd\n"
		    "10025      inet  n       -       n       -       -       smtpd -v -o content_filter= "
		    "-o {smtpd_client_restrictions=permit_mynetworks, reject} -o smtpd_timeout=5\n"
		    "smtp       unix  -       -       n       -       -       smtp\n", NULL },
		{ "-M|smtp/unix|no", 0, "smtp       unix  -       -       n       -       -       smtp\n", "unmatched request: \"no\"" },
		{ "-qMf|10025", 0,
		    "10025      inet  n       -       n       -       -       smtpd -v\n    -o content_filter=\n"
		    "    -o {smtpd_client_restrictions=permit_mynetworks, reject}\n    -o smtpd_timeout=5\n", NULL },
		{ "-qP|10025", 0,
		    "10025/inet/content_filter =\n10025/inet/smtpd_client_restrictions = permit_mynetworks, reject\n10025/inet/smtpd_timeout = 5\n", NULL },
		{ "-qP|*/inet/smtpd_timeout", 0, "10025/inet/smtpd_timeout = 5\n", NULL },
		{ "-qF|smtp/unix/command|10025/inet/process_limit", 0, "smtp/unix/command = smtp\n10025/inet/process_limit = -\n", NULL },
		{ "-qF|10025/inet/command", 0,
		    "10025/inet/command = smtpd -v -o content_filter= -o {smtpd_client_restrictions=permit_mynetworks, reject} -o smtpd_timeout=5\n", NULL },
		{ "-m", 0, "cidr\nhash\n", "" },
		{ "-Z", 1, "", "usage: postconf" },
		{ "-c|/nonexistent|-n", 1, "", "postconf: fatal: configuration directory /nonexistent" },
		{ "-qE|hopcount_limit", 0, NULL, NULL },
		{ "-E|hopcount_limi", 1, "", "did you mean: hopcount_limit" },
		{ "-e", 1, "", "usage" },
		{ "-#|a=b", 1, "", "accept names only" },
		{ "-e|foo", 1, "", "name=value expected" },
		{ "-e|a b=c", 1, "", "name=value expected" },
		{ "-e|a=b\nc", 1, "", "name=value expected" },
	};
	static char out[100000], err[10000];
	confdir_write("main.cf", main_cf);
	confdir_write("master.cf", master_cf);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		int status = run(rows[i].words, out, err, sizeof err);
		if (status != rows[i].status || (rows[i].out != NULL && strcmp(out, rows[i].out) != 0))
			fail_msg("%s: status %d, output:\n%s%s", rows[i].words, status, out, err);
		if (rows[i].err == NULL ? err[0] != '\0' : strstr(err, rows[i].err) == NULL)
			fail_msg("%s: stderr:\n%s", rows[i].words, err);
	}
}

static void
test_fatal(void **state)
{
	(void)state;
	static char out[100000], err[10000];
	confdir_write("main.cf", "mail_name = x\nfoo\n");
	assert_int_equal(run("-n", out, err, sizeof err), 1);
	assert_non_null(strstr(err, "main.cf, line 2: missing '=' after attribute name: \"foo\""));
	/* Values out of range are shown, or nobody could look at them. */
	confdir_write("main.cf", "hopcount_limit = x\nmail_name = y\nmail_name = z\n");
	assert_int_equal(run("-n", out, err, sizeof err), 0);
	assert_string_equal(out, "hopcount_limit = x\nmail_name = z\n");
	assert_non_null(strstr(err, "main.cf, line 3: overriding earlier entry: mail_name=y"));
}

/* What the files say after a command. */
static void
test_edits(void **state)
{
	(void)state;
	static const struct {
		const char *words, *main_cf, *master_cf; /* afterwards; NULL: as before */
	} rows[] = {
		{ "-e|mail_name=new value", "# c\nmail_name = new value\nmydomain = x\n", NULL },
		{ "relayhost = [h]:25|mydomain=", "# c\nmail_name = a\n b\nmydomain =\nrelayhost = [h]:25\n", NULL },
		{ "-#|mail_name", "# c\n#mail_name = a\n# b\nmydomain = x\n", NULL },
		{ "-X|mail_name|nosuch", "# c\nmydomain = x\n", NULL },
		{ "-Me|smtp/inet=smtp inet n - n - 5 smtpd -o a=b", NULL,
		    "# m\nsmtp       inet  n       -       n       -       5       smtpd\n    -o a=b\n587 inet n - n - - smtpd\n" },
		{ "-M#|587/inet", NULL, "# m\nsmtp inet n - n - - smtpd\n -o x=y\n#587 inet n - n - - smtpd\n" },
		{ "-MX|smtp/inet", NULL, "# m\n587 inet n - n - - smtpd\n" },
		{ "-Fe|587/inet/chroot=y", NULL, "# m\nsmtp inet n - n - - smtpd\n -o x=y\n587        inet  n       -       y       -       -       smtpd\n" },
		{ "-Pe|smtp/inet/x=z|smtp/inet/w=a b", NULL,
		    "# m\nsmtp       inet  n       -       n       -       -       smtpd\n    -o x=z\n    -o {w=a b}\n587 inet n - n - - smtpd\n" },
		{ "-PX|smtp/inet/x", NULL, "# m\nsmtp       inet  n       -       n       -       -       smtpd\n587 inet n - n - - smtpd\n" },
	};
	static const char old_main[] = "# c\nmail_name = a\n b\nmydomain = x\n";
	static const char old_master[] = "# m\nsmtp inet n - n - - smtpd\n -o x=y\n587 inet n - n - - smtpd\n";
	static char out[10000], err[10000], text[10000];
	for (size_t i = 0; i < NELEMS(rows); i++) {
		confdir_write("main.cf", old_main);
		confdir_write("master.cf", old_master);
		if (run(rows[i].words, out, err, sizeof err) != 0 || err[0] != '\0' || out[0] != '\0')
			fail_msg("%s: %s%s", rows[i].words, out, err);
		slurp("main.cf", text, sizeof text);
		assert_string_equal(text, rows[i].main_cf != NULL ? rows[i].main_cf : old_main);
		slurp("master.cf", text, sizeof text);
		assert_string_equal(text, rows[i].master_cf != NULL ? rows[i].master_cf : old_master);
	}
	static const char *const refused[] = { "-Me|smtp/inet=smtp unix - - n - - smtp", "-Me|smtp/inet=rubbish", "-Fe|smtp/inet/nosuch=1",
		"-Fe|smtp/inet/chroot=maybe", "-Fe|smtp/inet/service=other", "-Pe|smtp/inet/x" };
	for (size_t i = 0; i < NELEMS(refused); i++) {
		if (run(refused[i], out, err, sizeof err) != 1)
			fail_msg("%s was not refused", refused[i]);
		slurp("master.cf", text, sizeof text);
	}
}

/* The file that sets a name is the one that is changed; new names go to main.cf, or to local.cf. */
static void
test_edit_the_right_file(void **state)
{
	(void)state;
	static char out[10000], err[10000], text[10000];
	confdir_write("10-a.cf", "mail_name = a\nrelayhost = r\n");
	confdir_write("20-b.cf", "mail_name = b\n");
	assert_int_equal(run("-e|mail_name=c|relayhost=s|mydomain=d", out, err, sizeof err), 0);
	slurp("10-a.cf", text, sizeof text);
	assert_string_equal(text, "mail_name = a\nrelayhost = s\n");
	slurp("20-b.cf", text, sizeof text);
	assert_string_equal(text, "mail_name = c\n");
	slurp("local.cf", text, sizeof text);
	assert_string_equal(text, "mydomain = d\n");
	/* Without a master.cf the built-in list becomes one. */
	assert_int_equal(run("-Pe|smtp/inet/smtpd_timeout=9s", out, err, sizeof err), 0);
	slurp("master.cf", text, sizeof text);
	assert_non_null(strstr(text, "smtpd\n    -o smtpd_timeout=9s\n"));
	assert_non_null(strstr(text, "relay      unix"));
}

/* Whole listings: sorted, every row, and what -d prints reads back as settings. */
static void
test_listing(void **state)
{
	(void)state;
	static char out[200000], err[10000];
	confdir_write("main.cf", main_cf);
	confdir_write("master.cf", master_cf);
	char path[256];
	snprintf(path, sizeof path, "%s/.out", confdir);
	assert_int_equal(run("-q", out, err, sizeof err), 0);
	slurp(".out", out, sizeof out);
	char last[200] = "", *rest = out, *line;
	size_t n = 0;
	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		char *eq = strstr(line, " =");
		assert_non_null(eq);
		*eq = '\0';
		assert_true(strcmp(last, line) < 0);
		snprintf(last, sizeof last, "%s", line);
		n++;
	}
	assert_true(n > 850);
}

static void
test_man(void **state)
{
	(void)state;
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);
	assert_non_null(f);
	show_man(f);
	fclose(f);
	assert_non_null(strstr(text, ".TH DOGANA.CF 5"));
	assert_non_null(strstr(text, ".B smtpd_timeout\n"));
	for (char *p = text; (p = strstr(p, "\n")) != NULL; p++)
		if (p[1] == '.' || p[1] == '\'') {
			static const char *const macros[] = { ".TH ", ".SH ", ".I ", ".PP", ".B ", ".TP", ".br" };
			bool known = false;
			for (size_t i = 0; i < NELEMS(macros); i++)
				known = known || strncmp(p + 1, macros[i], strlen(macros[i])) == 0;
			assert_true(known);
		}
	free(text);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, confdir_setup, confdir_teardown)
	const struct CMUnitTest tests[] = { T(test_output), T(test_fatal), T(test_edits), T(test_edit_the_right_file), T(test_listing), T(test_man) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
