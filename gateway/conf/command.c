/* SPDX-License-Identifier: BSD-2-Clause */
/* postconf(1)'s command line. */
#include "conf/command.h"

#include <getopt.h>

enum { OPT_MAN = 256, OPT_DOC };

void
command_complain(struct command *m, const char *severity, const char *what, const char *arg)
{
	fflush(stdout);
	fprintf(stderr, "%s: %s%s%s%s\n", m->prog, severity, severity[0] != '\0' ? ": " : "", what, arg);
}

int
command_fatal(struct command *m, const char *what, const char *arg)
{
	command_complain(m, "fatal", what, arg);
	return 1;
}

int
command_usage(struct command *m)
{
	fprintf(stderr,
	    "usage: %s [-dfhHnpqx] [-c dir] [-o name=value] [name...]\n"
	    "       %s [-c dir] [-e] name=value... | -# name... | -X name...\n"
	    "       %s -M|-F|-P [-efhHqx#X] [-c dir] [service[/type[/name]][=value]...]\n"
	    "       %s -m | -l | -E name... | --man\n",
	    m->prog, m->prog, m->prog, m->prog);
	return 1;
}

/* Problems in Postfix's words: unused and undefined names without a line, all others with it. */
static void
print_problems(struct command *m, enum conf_severity sev, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		const struct conf_problem *p = conf_problem_at(m->conf, i, sev);
		bool plain = p->line == 0 || strncmp(p->text, "unused parameter", 16) == 0 || strncmp(p->text, "undefined parameter", 19) == 0;
		const char *name = sev == CONF_ERROR ? "fatal" : "warning";
		fflush(stdout);
		if (plain)
			fprintf(stderr, "%s: %s: %s: %s\n", m->prog, name, p->file, p->text);
		else
			fprintf(stderr, "%s: %s: %s, line %d: %s\n", m->prog, name, p->file, p->line, p->text);
	}
}

static int
load(struct command *m)
{
	struct err e;
	enum rc rc = conf_load_with(m->dir, m->overrides, &m->conf, &e);
	if (m->conf == NULL)
		return command_fatal(m, e.why, "");
	(void)rc; /* values that are out of range are shown like any other */
	if (!m->quiet)
		print_problems(m, CONF_WARNING, 0, conf_problem_count(m->conf, CONF_WARNING));
	print_problems(m, CONF_ERROR, 0, m->conf->syntax_errors);
	return m->conf->syntax_errors > 0;
}

static void
print_name_problems(struct command *m)
{
	if (m->quiet || (m->flags & SHOW_DEFAULTS) != 0)
		return;
	size_t before = conf_problem_count(m->conf, CONF_WARNING);
	if (m->subject == MAIN_CF)
		snap_check_main_names(m->conf);
	snap_check_service_names(m->conf);
	print_problems(m, CONF_WARNING, before, conf_problem_count(m->conf, CONF_WARNING));
}

/* ---- printing ---- */

static int
print_main(struct command *m)
{
	if (m->args[0] == NULL && m->only_set)
		show_set(stdout, m->conf, m->flags);
	else if (m->args[0] == NULL)
		show_all(stdout, m->conf, m->flags);
	for (char **name = m->args; *name != NULL; name++) {
		if (m->only_set && snap_setting(m->conf, NULL, span_str(*name)) == NULL)
			continue;
		if (!show_param(stdout, m->conf, *name, m->flags) && !m->quiet)
			command_complain(m, "warning", *name, ": unknown parameter");
	}
	return 0;
}

static int
print_docs(struct command *m)
{
	int status = 0;
	for (char **name = m->args; *name != NULL; name++) {
		if (show_doc(stdout, m->conf, *name))
			continue;
		const char *near = param_suggest(span_str(*name));
		command_complain(m, "warning", *name, ": unknown parameter");
		if (near != NULL)
			command_complain(m, "", "did you mean: ", near);
		status = 1;
	}
	return m->args[0] != NULL ? status : command_usage(m);
}

static int
print_master(struct command *m)
{
	bool (*show)(FILE *, struct conf *, const char *, unsigned) = m->subject == MASTER_LINES ? show_services
	    : m->subject == MASTER_FIELDS                                                       ? show_fields
	                                                                                         : show_service_params;
	if (m->args[0] == NULL)
		show(stdout, m->conf, "", m->flags);
	for (char **pattern = m->args; *pattern != NULL; pattern++)
		if (!show(stdout, m->conf, *pattern, m->flags) && !m->quiet) {
			fflush(stdout);
			fprintf(stderr, "%s: warning: unmatched request: \"%s\"\n", m->prog, *pattern);
		}
	return 0;
}

static int
print_words(const char *const *words)
{
	for (; words != NULL && *words != NULL; words++)
		puts(*words);
	return 0;
}

/* ---- the command line ---- */

static bool
option(struct command *m, int opt)
{
	switch (opt) {
	case 'c': m->dir = optarg; return true;
	case 'C': case 'v': case 'p': return true; /* classes of names make no difference here */
	case 'd': m->flags |= SHOW_DEFAULTS; return true;
	case 'e': m->edits = true; return true;
	case '#': m->edits = true; m->op = EDIT_COMMENT; return true;
	case 'X': m->edits = true; m->op = EDIT_DROP; return true;
	case 'f': m->flags |= SHOW_FOLD; return true;
	case 'h': m->flags |= SHOW_NO_NAMES; return true;
	case 'H': m->flags |= SHOW_NO_VALUES; return true;
	case 'x': m->flags |= SHOW_EXPAND; return true;
	case 'n': m->only_set = true; return true;
	case 'q': m->quiet = true; return true;
	case 'm': m->subject = MAP_TYPES; return true;
	case 'l': m->subject = LOCK_TYPES; return true;
	case 'M': m->subject = MASTER_LINES; return true;
	case 'F': m->subject = MASTER_FIELDS; return true;
	case 'P': m->subject = MASTER_PARAMS; return true;
	case 'E': case OPT_DOC: m->subject = DOCUMENT; return true;
	case OPT_MAN: m->subject = MANUAL; return true;
	case 'o':
		if (m->noverrides < OVERRIDES_MAX)
			m->overrides[m->noverrides++] = optarg;
		return true;
	default: return false;
	}
}

static int
run(struct command *m)
{
	static const char *const locks[] = { "flock", "fcntl", "dotlock", NULL };
	if (m->subject == MAP_TYPES)
		return print_words(m->map_types);
	if (m->subject == LOCK_TYPES)
		return print_words(locks);
	if (m->subject == MANUAL) {
		show_man(stdout);
		return 0;
	}
	for (char **a = m->args; m->subject == MAIN_CF && *a != NULL; a++)
		m->edits = m->edits || strchr(*a, '=') != NULL;
	if (m->edits) {
		/* A file with errors can be edited: that is how they go away. */
		struct err e;
		enum rc rc = conf_load(m->dir, &m->conf, &e);
		if (m->conf == NULL)
			return rc == RC_OK ? 1 : command_fatal(m, e.why, "");
		return m->subject == MAIN_CF ? command_edit_main(m) : m->subject <= MASTER_PARAMS ? command_edit_master(m) : command_usage(m);
	}
	if (load(m) != 0)
		return 1;
	int status = m->subject == MAIN_CF ? print_main(m) : m->subject == DOCUMENT ? print_docs(m) : print_master(m);
	print_name_problems(m);
	return status;
}

int
conf_command(const char *dir, int argc, char **argv, const char *const *map_types)
{
	static const struct option long_options[] = {
		{ "man", no_argument, NULL, OPT_MAN },
		{ "doc", no_argument, NULL, OPT_DOC },
		{ NULL, 0, NULL, 0 },
	};
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	struct command m = { .dir = dir, .map_types = map_types, .op = EDIT_SET };
	m.prog = argc == 0 ? "conf" : slash != NULL ? slash + 1 : argv[0];
	optind = 0;
	for (int opt; (opt = getopt_long(argc, argv, "+c:C:deE#XfhHxnpqmlMFPo:v", long_options, NULL)) != -1;)
		if (!option(&m, opt))
			return command_usage(&m);
	m.args = argv + optind;
	int status = run(&m);
	if (fflush(stdout) != 0 || ferror(stdout))
		status = command_fatal(&m, "write error on standard output", "");
	conf_unref(&m.conf);
	return status;
}
