/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/commands.h"

#include "admin/check.h"
#include "admin/control.h"
#include "admin/map_types.h"
#include "admin/master.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/version.h"
#include "conf/show.h"
#include "lookup/lookup.h"
#include "map/map.h"
#include "policy/dnsbl_check.h"
#include "policy/policy.h"
#include "quarantine/ask.h"
#include "quarantine/notice.h"
#include "smtp/footer.h"
#include "smtp/milter_choice.h"
#include "smtp/triage_conf.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EX_USAGE = 64, EX_UNAVAILABLE = 69, LINE_LIMIT = 200 * 1024 };

/* What a command gets: the directory, its own words, and what followed them. */
struct command_line {
	const char *dir, *words;
	int argc;       /* of argv, which begins behind the words */
	char **argv;
};

#define COMMAND(words, fn, synopsis, doc) static int fn(const struct command_line *);
COMMAND("", cmd_run, "", "") COMMAND("", cmd_start, "", "") COMMAND("", cmd_stop, "", "") COMMAND("", cmd_abort, "", "")
COMMAND("", cmd_reload, "", "") COMMAND("", cmd_check, "", "") COMMAND("", cmd_flush, "", "") COMMAND("", cmd_status, "", "")
COMMAND("", cmd_conf, "", "") COMMAND("", cmd_map, "", "") COMMAND("", cmd_queue_list, "", "") COMMAND("", cmd_queue_show, "", "")
COMMAND("", cmd_queue_ids, "", "") COMMAND("", cmd_queue_shape, "", "") COMMAND("", cmd_explain, "", "") COMMAND("", cmd_help, "", "")
COMMAND("", cmd_version, "", "") COMMAND("", cmd_tls_self_signed, "", "") COMMAND("", cmd_dnsbl_check, "", "")
#undef COMMAND
static int cmd_quarantine(const struct command_line *);

static const struct command_row {
	const char *words;
	int (*fn)(const struct command_line *);
	const char *synopsis, *doc;
} rows[] = {
#define COMMAND(words, fn, synopsis, doc) { words, fn, synopsis, doc },
#include "admin/commands.def"
#undef COMMAND
#define ASK(name, words, options, ids, synopsis, doc) { "quarantine " words, cmd_quarantine, synopsis, doc },
#include "quarantine/asks.def"
#undef ASK
};

static int
usage(const struct command_line *cl)
{
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (strcmp(rows[i].words, cl->words) == 0)
			fprintf(stderr, "usage: dogana [-c DIR] %s%s%s\n", rows[i].words, rows[i].synopsis[0] != '\0' ? " " : "", rows[i].synopsis);
	return EX_USAGE;
}

/* ---- talking to the gateway ---- */

char *
command_queue_directory(const char *dir)
{
	struct err e = { .why = "" };
	struct conf *conf = NULL;
	if (conf_load(dir, &conf, &e) != RC_OK && conf == NULL) {
		fprintf(stderr, "dogana: fatal: %s\n", e.why);
		return NULL;
	}
	char *path = mem_strdup(conf_params(conf)->p_queue_directory);
	conf_unref(&conf);
	return path;
}

/* Behind "not running": a configuration that is wrong or gone may have led us to the wrong directory. */
static void
say_where(const char *dir, const char *name)
{
	struct err e = { .why = "" };
	struct conf *conf = NULL;
	if (conf_load(dir, &conf, &e) != RC_OK)
		fprintf(stderr, "%s: warning: the configuration in %s has errors: %s\n", name, dir, e.why);
	if (conf != NULL && access(conf_params(conf)->p_queue_directory, F_OK) != 0)
		fprintf(stderr, "%s: warning: queue_directory = %s: %s\n", name, conf_params(conf)->p_queue_directory, strerror(errno));
	conf_unref(&conf);
}

int
command_request(const char *dir, const char *name, const char *line, int out_fd)
{
	char *qdir = command_queue_directory(dir);
	if (qdir == NULL)
		return 1;
	struct err e = { .why = "" };
	enum rc rc = control_request(qdir, line, out_fd, &e);
	mem_free(&qdir);
	switch (rc) {
	case RC_OK:
		return 0;
	case RC_NONE:
		fprintf(stderr, "%s: the Dogana mail system is not running\n", name);
		say_where(dir, name);
		return strcmp(name, "dogana") == 0 ? 1 : EX_UNAVAILABLE;
	case RC_TEMP:
	case RC_PERM:
		break;
	}
	fprintf(stderr, "%s: fatal: %s\n", name, e.why);
	return 1;
}

/* ---- run and be controlled ---- */

static const char *
program_path(void)
{
	static char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
	if (n <= 0)
		return "/proc/self/exe";
	path[n] = '\0';
	return path;
}

static int
cmd_run(const struct command_line *cl)
{
	return master_run(cl->dir, program_path(), -1);
}

/* True when the log goes to this terminal or pipe: then the gateway keeps it. */
static bool
logs_here(const char *dir)
{
	struct err e = { .why = "" };
	struct conf *conf = NULL;
	enum rc rc = conf_load(dir, &conf, &e);
	if (rc != RC_OK || conf == NULL) {
		conf_unref(&conf);
		return false; /* it will not start */
	}
	const char *file = conf_params(conf)->p_maillog_file;
	bool here = file[0] == '\0' ? access("/dev/log", W_OK) != 0 : strcmp(file, "/dev/stdout") == 0;
	conf_unref(&conf);
	return here;
}

/* Passes on what the gateway says until it says "ready" or is gone. */
static bool
wait_ready(int ready, int says)
{
	struct pollfd p[] = { { .fd = ready, .events = POLLIN }, { .fd = says, .events = POLLIN } };
	for (;;) {
		if (poll(p, NELEMS(p), -1) < 0)
			continue;
		char text[4096];
		ssize_t n = p[1].revents != 0 ? read(says, text, sizeof text) : 0;
		if (n > 0) {
			(void)!write(STDERR_FILENO, text, (size_t)n);
			continue;
		}
		if (p[1].revents != 0)
			p[1].fd = -1;
		if (p[0].revents != 0)
			return read(ready, text, 1) == 1;
	}
}

/* The gateway must not keep the caller's standard output and error: "start | cat" and "ssh host start" would
 * never end. What it says before it is ready comes through a pipe. */
static int
cmd_start(const struct command_line *cl)
{
	int fds[2], says[2];
	if (pipe2(fds, O_CLOEXEC) != 0 || pipe2(says, O_CLOEXEC) != 0) {
		perror("dogana: pipe");
		return 1;
	}
	bool keep = logs_here(cl->dir);
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null >= 0)
			dup2(null, STDIN_FILENO);
		if (!keep) {
			if (null >= 0)
				dup2(null, STDOUT_FILENO);
			dup2(says[1], STDERR_FILENO);
		}
		close(fds[0]);
		close(says[0]);
		close(says[1]);
		setsid();
		_exit(master_run(cl->dir, program_path(), fds[1]));
	}
	close(fds[1]);
	close(says[1]);
	bool ready = pid > 0 && wait_ready(fds[0], says[0]);
	close(fds[0]);
	close(says[0]);
	if (ready)
		return 0;
	if (pid > 0)
		waitpid(pid, NULL, 0);
	fprintf(stderr, "dogana: fatal: the mail system did not start\n");
	return 1;
}

/* The answer comes when every role has ended; then the master goes too. */
static int
cmd_stop(const struct command_line *cl)
{
	return command_request(cl->dir, "dogana", "stop", STDOUT_FILENO);
}

static int
cmd_abort(const struct command_line *cl)
{
	return command_request(cl->dir, "dogana", "abort", STDOUT_FILENO);
}

static int
cmd_reload(const struct command_line *cl)
{
	return command_request(cl->dir, "dogana", "reload", STDOUT_FILENO);
}

static int
cmd_status(const struct command_line *cl)
{
	bool as_json = cl->argc == 1 && strcmp(cl->argv[0], "--json") == 0;
	if (cl->argc > 0 && !as_json)
		return usage(cl);
	return command_request(cl->dir, "dogana", as_json ? "status json" : "status", STDOUT_FILENO);
}

static int
cmd_check(const struct command_line *cl)
{
	struct err e = { .why = "" };
	struct conf *conf = NULL;
	enum rc rc = check_strictly(cl->dir, &conf, &e);
	if (conf != NULL) {
		struct buf text;
		buf_init(&text, 4 * 1024 * 1024);
		check_print(conf, true, &text);
		fputs(buf_cstr(&text), stderr);
		buf_fini(&text);
	}
	if (rc != RC_OK && (conf == NULL || conf_problem_count(conf, CONF_ERROR) == 0))
		fprintf(stderr, "dogana: fatal: %s\n", e.why);
	conf_unref(&conf);
	return rc == RC_OK ? 0 : 1;
}

/* ---- configuration and tables ---- */

static int
cmd_conf(const struct command_line *cl)
{
	return conf_command(cl->dir, cl->argc + 1, cl->argv - 1, map_types);
}

static int
cmd_map(const struct command_line *cl)
{
	lookup_direct();
	return map_command(cl->dir, cl->argc + 1, cl->argv - 1);
}

static int
cmd_tls_self_signed(const struct command_line *cl)
{
	return tls_self_signed_command(cl->dir, cl->argc, cl->argv);
}

static int
cmd_explain(const struct command_line *cl)
{
	struct explain_question x = { .dir = cl->dir, .from = "", .reply = footer_explain, .first = triage_explain, .last = milter_choice_explain };
	const struct {
		const char *option;
		const char **value;
	} options[] = { { "--client", &x.client }, { "--name", &x.name }, { "--helo", &x.helo }, { "--from", &x.from }, { "--to", &x.to },
		{ "--service", &x.service } };
	for (int i = 0; i < cl->argc; i++) {
		size_t k = 0;
		if (strcmp(cl->argv[i], "--json") == 0) {
			x.json = true;
			continue;
		}
		while (k < NELEMS(options) && strcmp(cl->argv[i], options[k].option) != 0)
			k++;
		if (k == NELEMS(options) || ++i == cl->argc)
			return usage(cl);
		*options[k].value = cl->argv[i];
	}
	if (x.client == NULL || x.to == NULL)
		return usage(cl);
	lookup_direct();
	return policy_explain(&x, stdout);
}

static int
cmd_dnsbl_check(const struct command_line *cl)
{
	const char *what = NULL;
	bool json = false;
	for (int i = 0; i < cl->argc; i++) {
		if (strcmp(cl->argv[i], "--json") == 0)
			json = true;
		else if (what == NULL && cl->argv[i][0] != '-')
			what = cl->argv[i];
		else
			return usage(cl);
	}
	lookup_direct();
	return policy_dnsbl_check(cl->dir, what, json, stdout);
}

/* ---- queue ---- */

/* Appends a word of the command line to a request: nothing that would end or split the line. */
static bool
put_word(struct buf *line, const char *word)
{
	for (const char *p = word; *p != '\0'; p++)
		if ((unsigned char)*p <= ' ' || *p == 0x7f)
			return false;
	if (word[0] == '\0')
		return false;
	buf_putc(line, ' ');
	buf_puts(line, word);
	return !line->over;
}

static int
request_words(const struct command_line *cl, const char *request)
{
	struct buf line;
	buf_init(&line, LINE_LIMIT);
	buf_puts(&line, request);
	int status = 0;
	for (int i = 0; i < cl->argc && status == 0; i++)
		if (!put_word(&line, cl->argv[i]))
			status = usage(cl);
	if (status == 0)
		status = command_request(cl->dir, "dogana", buf_cstr(&line), STDOUT_FILENO);
	buf_fini(&line);
	return status;
}

static int
cmd_flush(const struct command_line *cl)
{
	return cl->argc <= 1 ? request_words(cl, "queue flush") : usage(cl);
}

static int
cmd_queue_list(const struct command_line *cl)
{
	bool as_json = cl->argc == 1 && strcmp(cl->argv[0], "--json") == 0;
	if (cl->argc > 0 && !as_json)
		return usage(cl);
	return command_request(cl->dir, "dogana", as_json ? "queue list json" : "queue list", STDOUT_FILENO);
}

static int
cmd_queue_show(const struct command_line *cl)
{
	return cl->argc == 1 ? request_words(cl, "queue show") : usage(cl);
}

static int
cmd_queue_ids(const struct command_line *cl)
{
	return cl->argc >= 1 ? request_words(cl, cl->words) : usage(cl);
}

static int
cmd_queue_shape(const struct command_line *cl)
{
	return request_words(cl, "queue shape");
}

/* ---- quarantine ---- */

static int
cmd_quarantine(const struct command_line *cl)
{
	struct span rest = span_str(cl->words), word;
	int words = -1; /* "quarantine" is not for ask_args() */
	while (span_word(&rest, " ", &word))
		words++;
	struct arena arena;
	struct ask ask;
	struct err e = { .why = "" };
	struct buf line;
	arena_init(&arena, 16 * 1024 * 1024);
	buf_init(&line, LINE_LIMIT);
	int status = EX_USAGE;
	if (ask_args(cl->argc + words, cl->argv - words, clock_wall(), &arena, &ask, &e) != RC_OK) {
		fprintf(stderr, "dogana: fatal: %s\n", e.why);
		(void)usage(cl);
		goto out;
	}
	if (ask.kind == ASK_EXPORT && isatty(STDOUT_FILENO)) {
		fprintf(stderr, "dogana: fatal: a raw message is not for a terminal: dogana quarantine export ID >FILE\n");
		goto out;
	}
	if (ask.kind == ASK_TEMPLATES) {
		struct notice_templates built_in;
		notice_templates_init(&built_in);
		notice_templates_write(&line, &built_in);
		status = fputs(buf_cstr(&line), stdout) < 0;
		goto out;
	}
	ask_says_sudo(&ask, span_str(getenv("SUDO_USER")));
	ask_put(&line, &ask);
	if (line.over)
		fprintf(stderr, "dogana: fatal: too many ids\n");
	else
		status = command_request(cl->dir, "dogana", buf_cstr(&line), STDOUT_FILENO);
out:
	buf_fini(&line);
	arena_fini(&arena);
	return status;
}

/* ---- help ---- */

/* The manual page of the program, from the same rows. */
static void
print_manual(void)
{
	printf(".TH DOGANA 8 \"\" \"dogana %s\"\n.SH NAME\ndogana \\- mail gateway\n.SH SYNOPSIS\n"
	       ".B dogana\n[\\fB\\-c\\fR \\fIDIR\\fR] \\fICOMMAND\\fR ...\n.SH DESCRIPTION\n"
	       "A store-and-forward SMTP gateway that reads Postfix's configuration: \\fIDIR\\fR/main.cf and \\fIDIR\\fR/conf.d/*.cf, or the "
	       "*.cf of \\fIDIR\\fR itself (default /etc/dogana). Parameters: dogana.cf(5).\n.SH COMMANDS\n",
	    DOGANA_VERSION);
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct span s = span_str(rows[i].synopsis);
		printf(".TP\n\\fB%s\\fR ", rows[i].words);
		for (size_t k = 0; k < s.n; k++)
			printf(s.p[k] == '-' ? "\\-" : "%c", s.p[k]);
		printf("\n%s\n", rows[i].doc);
	}
	printf(".SH HELD MAIL AS JSON\nOne object on a line; a member that has nothing to say is left out. Times are seconds since 1970.\n.TP\n"
	       "\\fBquarantine list\\fR\nqueue_id, arrival_time, message_size, class, expires, reason, filter, rule, signature, score, client_name, "
	       "client_address, helo, tls, login, from, subject, message_id, sender, recipient_count, recipients (address, original, state, released_as, "
	       "changed, by, added). The last line is {\"after\": CURSOR} when there is more.\n.TP\n"
	       "\\fBquarantine show\\fR\nThe same, and envelope_id, trace (lines), parts (depth, type, size, sha256, name), header.\n.TP\n"
	       "\\fBquarantine stats\\fR\nmessages, bytes, classes (messages, bytes by class), oldest, newest, full, why.\n.TP\n"
	       "\\fBquarantine allow list\\fR\nsender, recipient, added, by, note.\n");
	printf(".SH EXIT STATUS\n0: done. 1: refused, or failed. 64: usage. 69: the gateway is not running (mailq and its like).\n"
	       ".SH OTHER NAMES\nCalled as mailq, postqueue, postsuper, postcat, postconf, postmap, postalias, qshape, newaliases or "
	       "sendmail it behaves as that command.\n.SH SIGNALS\nSIGTERM stops \\fBrun\\fR, SIGHUP reloads.\n");
}

static int
cmd_help(const struct command_line *cl)
{
	if (cl != NULL && cl->argc == 1 && strcmp(cl->argv[0], "--man") == 0) {
		print_manual();
		return 0;
	}
	printf("usage: dogana [-c DIR] COMMAND ...   (DIR: /etc/dogana)\n\n");
	for (size_t i = 0; i < NELEMS(rows); i++)
		printf("  %s%s%s\n      %s\n", rows[i].words, rows[i].synopsis[0] != '\0' ? " " : "", rows[i].synopsis, rows[i].doc);
	printf("\nCalled as mailq, postqueue, postsuper, postcat, postconf, postmap, postalias, qshape, newaliases or sendmail it\n"
	       "behaves as that command.\n");
	return 0;
}

static int
cmd_version(const struct command_line *cl)
{
	(void)cl;
	printf("dogana %s\n", DOGANA_VERSION);
	return 0;
}

/* How many words of row match the command line; 0: it is another command. */
static int
match(const struct command_row *row, int argc, char **argv)
{
	struct span rest = span_str(row->words), word;
	int n = 0;
	while (span_word(&rest, " ", &word)) {
		if (n >= argc || !span_eq_str(word, argv[n]))
			return 0;
		n++;
	}
	return n;
}

/* "dogana dnsbl", or with a wrong word behind it: what there is that begins so. false: nothing. */
static bool
usage_of(const char *first)
{
	bool any = false;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		struct span rest = span_str(rows[i].words), word;
		if (!span_word(&rest, " ", &word) || !span_eq_str(word, first))
			continue;
		fprintf(stderr, "%s dogana [-c DIR] %s%s%s\n", any ? "      " : "usage:", rows[i].words, rows[i].synopsis[0] != '\0' ? " " : "", rows[i].synopsis);
		any = true;
	}
	return any;
}

int
commands_main(int argc, char **argv)
{
	int status;
	if (compat_main(argc, argv, &status) == RC_OK)
		return status;
	const char *dir = "/etc/dogana";
	int at = 1;
	if (at < argc && strcmp(argv[at], "--help") == 0)
		return cmd_help(NULL);
	if (at + 1 < argc && strcmp(argv[at], "-c") == 0) {
		dir = argv[at + 1];
		at += 2;
	}
	const struct command_row *best = NULL;
	int words = 0;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		int n = match(&rows[i], argc - at, argv + at);
		if (n > words) {
			best = &rows[i];
			words = n;
		}
	}
	if (best == NULL && at < argc && usage_of(argv[at]))
		return EX_USAGE;
	if (best == NULL) {
		fprintf(stderr, at < argc ? "dogana: unknown command \"%s\"; try: dogana help\n" : "usage: dogana [-c DIR] COMMAND ...; try: dogana help\n",
		    at < argc ? argv[at] : "");
		return EX_USAGE;
	}
	return best->fn(&(struct command_line){ dir, best->words, argc - at - words, argv + at + words });
}
