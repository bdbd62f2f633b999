/* SPDX-License-Identifier: BSD-2-Clause */
/* "dogana map build|query|dump", and what postmap, postalias and newaliases do. Facts 6.5, 11.3. */
#include "base/mem.h"
#include "map/built.h"
#include "map/table.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

struct command {
	const char *name;            /* for messages */
	struct map_ctx ctx;
	const char *query;           /* -q: a key, "-" for those on standard input */
	bool dump;
	bool no_fold;                /* -f */
	bool quiet_about_twice;      /* -w */
	struct built_cdb cdb;        /* -r, -N, -p */
	const char *overrides[2];    /* -u, -U */
	size_t errors_shown, warnings_shown;
};

static void
show_warnings(struct command *k)
{
	struct conf *c = k->ctx.conf;
	for (size_t n = conf_problem_count(c, CONF_WARNING); k->warnings_shown < n; k->warnings_shown++)
		fprintf(stderr, "%s: warning: %s\n", k->name, conf_problem_at(c, k->warnings_shown, CONF_WARNING)->text);
}

static int
fatal(struct command *k, const char *what, const char *why)
{
	struct conf *c = k->ctx.conf;
	show_warnings(k);
	for (size_t n = conf_problem_count(c, CONF_ERROR); k->errors_shown < n; k->errors_shown++)
		if (strcmp(conf_problem_at(c, k->errors_shown, CONF_ERROR)->text, why) != 0)
			fprintf(stderr, "%s: error: %s\n", k->name, conf_problem_at(c, k->errors_shown, CONF_ERROR)->text);
	if (strncmp(why, what, strlen(what)) == 0)
		what = ""; /* said there */
	fprintf(stderr, "%s: fatal: %s%s%s\n", k->name, what, *what != '\0' && *why != '\0' ? ": " : "", why);
	return 1;
}

static const struct map_type *
type_of(const char *name)
{
	size_t colon = strcspn(name, ":");
	for (size_t i = 0; i < map_type_count(); i++)
		if (strlen(map_type_at(i)->name) == colon && strncmp(map_type_at(i)->name, name, colon) == 0)
			return map_type_at(i);
	return NULL;
}

static bool
is_file(const struct map_type *type)
{
	return type != NULL && ((type->flags & MAPF_BUILT) != 0 || strcmp(type->name, "texthash") == 0 || strcmp(type->name, "cidr") == 0);
}

/* "type:name", or a file of default_database_type. A relative file name is one of the directory we were called in. */
static char *
full_name(struct command *k, const char *arg)
{
	const char *colon = strchr(arg, ':');
	const char *type = colon != NULL ? arg : conf_value(k->ctx.conf, NULL, "default_database_type");
	const char *file = colon != NULL ? colon + 1 : arg;
	int type_len = (int)strcspn(type, ":");
	char here[4096] = "";
	bool relative = is_file(type_of(type)) && file[0] != '/' && file[0] != '{' && getcwd(here, sizeof here) != NULL;
	size_t n = strlen(type) + strlen(here) + strlen(file) + 3;
	char *name = mem_alloc(n);
	snprintf(name, n, "%.*s:%s%s%s", type_len, type, here, relative ? "/" : "", file);
	return name;
}

/* Is this file among the tables of a parameter, under whatever type? */
static bool
is_named_by(struct conf *c, const char *parameter, const char *path)
{
	const char *value = conf_value(c, NULL, parameter);
	struct span rest = span_str(value != NULL ? value : ""), item;
	bool group;
	while (conf_item(&rest, &item, &group) == RC_OK) {
		size_t colon = span_rchr(item, ':');
		if (colon == SIZE_MAX)
			continue;
		struct buf file;
		buf_init(&file, 4096);
		buf_put(&file, span_from(item, colon + 1));
		bool same = strcmp(conf_full_path(c, buf_cstr(&file)), path) == 0;
		buf_fini(&file);
		if (same)
			return true;
	}
	return false;
}

/* Passwords, or what looks like it: not everybody may read the text. Such a table is not compiled to a file; the gateway makes it from the text. */
static unsigned
audience_of(struct command *k, const char *name)
{
	static const char *const parameters[] = { "smtp_sasl_password_maps", "lmtp_sasl_password_maps", "smtp_sasl_oauth2_token_maps",
		"lmtp_sasl_oauth2_token_maps" };
	const struct map_type *type = type_of(name);
	const char *path = strchr(name, ':');
	struct stat st;
	if (k->ctx.aliases || type == NULL || !is_file(type) || path == NULL || strcmp(type->name, "cdb") == 0)
		return CONF_FOR_ALL;
	if (stat(++path, &st) == 0 && (st.st_mode & 0004) == 0)
		return CONF_FOR_RELAY;
	for (size_t i = 0; i < NELEMS(parameters); i++)
		if (is_named_by(k->ctx.conf, parameters[i], path))
			return CONF_FOR_RELAY;
	return CONF_FOR_ALL;
}

/* To be told what is wrong with it. */
static enum rc
read_secret(struct command *k, const char *name, struct err *e)
{
	struct map *m = NULL;
	enum rc rc = map_get(&k->ctx, span_str(name), &m, e);
	if (rc == RC_OK && m->broken)
		rc = err_set(e, RC_TEMP, "%s", m->why);
	map_release(&m);
	return rc;
}

static bool
print_entry(void *arg, struct span key, struct span value, int line)
{
	(void)line;
	FILE *out = arg;
	fwrite(key.p, 1, key.n, out);
	putc('\t', out);
	fwrite(value.p, 1, value.n, out);
	putc('\n', out);
	return !ferror(out);
}

/* 0: found; 1: not; 2: the table failed. */
static int
query_one(struct command *k, struct map *const *maps, size_t n, struct span key, struct buf *scratch, bool with_key)
{
	struct span value;
	struct err e = { 0 };
	for (size_t i = 0; i < n; i++) {
		switch (map_ask(maps[i], key, scratch, &value, &e)) {
		case RC_OK:
			if (value.n == 0)
				fprintf(stderr, "%s: warning: table %s: an empty result for a key: most lookups take it for an error\n", k->name, maps[i]->name);
			if (with_key)
				return print_entry(stdout, key, value, 0) ? 0 : 2;
			fwrite(value.p, 1, value.n, stdout);
			putchar('\n');
			return 0;
		case RC_NONE:
			continue;
		case RC_TEMP:
		case RC_PERM:
			return fatal(k, "query error", e.why) + 1;
		}
	}
	return 1;
}

static int
query(struct command *k, struct map *const *maps, size_t n)
{
	struct buf scratch;
	int status = 1;
	buf_init(&scratch, 1 << 20);
	if (strcmp(k->query, "-") != 0) {
		status = query_one(k, maps, n, span_str(k->query), &scratch, false);
	} else {
		char *line = NULL;
		size_t cap = 0;
		ssize_t got;
		while (status < 2 && (got = getline(&line, &cap, stdin)) >= 0) {
			size_t len = (size_t)got;
			while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r'))
				len--;
			int one = query_one(k, maps, n, span_of(line, len), &scratch, true);
			status = one == 2 ? 2 : one == 0 ? 0 : status;
		}
		free(line);
	}
	buf_fini(&scratch);
	return status == 0 ? 0 : 1;
}

static int
dump(struct command *k, struct map *const *maps, size_t n)
{
	struct err e = { 0 };
	for (size_t i = 0; i < n; i++)
		if (map_each(maps[i], print_entry, stdout, &e) != RC_OK)
			return fatal(k, "dump", e.why);
	return 0;
}

static enum rc
build_one(struct command *k, const char *name, struct err *e)
{
	k->ctx.audience = audience_of(k, name);
	if (k->ctx.audience != CONF_FOR_ALL)
		return read_secret(k, name, e);
	return built_refresh(&k->ctx, span_str(name), &k->cdb, k->quiet_about_twice, e);
}

static int
build(struct command *k, int count, char *const *args)
{
	int status = 0;
	for (int i = 0; i < count; i++) {
		struct err e = { 0 };
		char *name = full_name(k, args[i]);
		const struct map_type *type = type_of(name);
		if (type == NULL)
			status = fatal(k, "unsupported dictionary type", name);
		else if ((type->flags & MAPF_BUILT) == 0)
			status = fatal(k, "there is nothing to build: the gateway reads these tables as they are", type->name);
		else if (k->no_fold)
			status = fatal(k, "option -f: lookups are in lower case, keys that are not would never be found", name);
		else if (k->cdb.last_wins && strcmp(type->name, "cdb") != 0)
			status = fatal(k, "option -r: the table is its text, where the first of two equal keys counts: take the first out", name);
		else if (build_one(k, name, &e) != RC_OK)
			status = fatal(k, name, e.why);
		show_warnings(k);
		mem_free(&name);
	}
	return status;
}

static int
look(struct command *k, int count, char *const *args)
{
	struct map **maps = mem_calloc((size_t)count, sizeof *maps);
	int status = 0;
	for (int i = 0; i < count && status == 0; i++) {
		struct err e = { 0 };
		char *name = full_name(k, args[i]);
		k->ctx.audience = audience_of(k, name);
		if (map_get(&k->ctx, span_str(name), &maps[i], &e) != RC_OK || maps[i]->broken)
			status = fatal(k, name, maps[i] != NULL && e.why[0] == '\0' ? maps[i]->why : e.why);
		if (k->no_fold && maps[i] != NULL)
			maps[i]->flags &= ~(unsigned)MAPF_FOLD;
		mem_free(&name);
	}
	if (status == 0) {
		show_warnings(k);
		status = k->dump ? dump(k, maps, (size_t)count) : query(k, maps, (size_t)count);
	}
	for (int i = 0; i < count; i++)
		map_release(&maps[i]);
	mem_free(&maps);
	if (fflush(stdout) != 0)
		status = fatal(k, "write", strerror(errno));
	return status;
}

static int
usage(const char *name)
{
	if (strcmp(name, "map") == 0)
		fprintf(stderr, "usage: dogana map build|query|dump TYPE:FILE [KEY]\n");
	else
		fprintf(stderr, "usage: %s [-fnNoprsuUvw] [-c dir] [-q key|-] [type:]file ...\n", name);
	return 1;
}

static int
with_conf(struct command *k, const char *dir, int (*run)(struct command *, int, char *const *), int count, char *const *args)
{
	struct err e = { 0 };
	if (conf_load_with(dir, k->overrides, &k->ctx.conf, &e) != RC_OK && k->ctx.conf == NULL) {
		fprintf(stderr, "%s: fatal: %s\n", k->name, e.why);
		return 1;
	}
	/* what is wrong with main.cf is not this command's affair */
	k->errors_shown = conf_problem_count(k->ctx.conf, CONF_ERROR);
	k->warnings_shown = conf_problem_count(k->ctx.conf, CONF_WARNING);
	int status = run(k, count, args);
	conf_unref(&k->ctx.conf);
	return status;
}

static int
map_words(const char *dir, int argc, char *const *argv)
{
	struct command k = { .name = "map" };
	const char *verb = argc > 1 ? argv[1] : "";
	if (strcmp(verb, "build") == 0 && argc > 2)
		return with_conf(&k, dir, build, argc - 2, argv + 2);
	if (strcmp(verb, "query") == 0 && argc == 4) {
		k.query = argv[3];
		return with_conf(&k, dir, look, 1, argv + 2);
	}
	if (strcmp(verb, "dump") == 0 && argc == 3) {
		k.dump = true;
		return with_conf(&k, dir, look, 1, argv + 2);
	}
	return usage("map");
}

/* newaliases: what alias_database names. */
static int
aliases(struct command *k, int count, char *const *args)
{
	(void)count;
	(void)args;
	int status = 0;
	struct span rest = span_str(conf_value(k->ctx.conf, NULL, "alias_database")), item;
	bool group;
	while (conf_item(&rest, &item, &group) == RC_OK) {
		char *name = mem_zalloc(item.n + 1);
		memcpy(name, item.p, item.n);
		status |= build(k, 1, (char *const[]){ name });
		mem_free(&name);
	}
	return status;
}

/* What makes no sense for tables that are their text. */
static const char *
refused_option(int opt)
{
	switch (opt) {
	case 'b':
	case 'h':
	case 'm': return "messages are not taken apart here: ask with -q for the line itself";
	case 'd': return "the table is its text file: take the line out of it, a running gateway notices by itself";
	case 'i': return "the table is its text file: write the lines into it, a running gateway notices by itself";
	case 'F': return "values that are names of files are not supported yet";
	case 'D': return "there is nothing of the kind";
	default: return NULL;
	}
}

int
map_command(const char *dir, int argc, char *const *argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "map";
	if (strcmp(name, "map") == 0)
		return map_words(dir, argc, argv);

	struct command k = { .name = name, .ctx = { .aliases = strcmp(name, "postmap") != 0 } };
	if (strcmp(name, "newaliases") == 0)
		return with_conf(&k, dir, aliases, 0, NULL);
	optind = 0; /* all over again: tests call this more than once */
	opterr = 0;
	for (int opt; (opt = getopt(argc, argv, "+bc:d:fFhimnNopq:rsuUvwD")) != -1;)
		switch (opt) {
		case 'c':
			dir = optarg;
			break;
		case 'q':
			k.query = optarg;
			break;
		case 's':
			k.dump = true;
			break;
		case 'f':
			k.no_fold = true;
			break;
		case 'N':
		case 'n':
			k.cdb.with_nul = opt == 'N';
			break;
		case 'p':
			k.cdb.own_mode = true;
			break;
		case 'r':
			k.cdb.last_wins = true;
			break;
		case 'w':
			k.quiet_about_twice = true;
			break;
		case 'u':
			k.overrides[0] = "smtputf8_enable = no";
			break;
		case 'U':
			k.overrides[0] = "smtputf8_enable = yes";
			break;
		case 'v':
		case 'o': /* we never give up what root may */
			break;
		default:
			if (refused_option(opt) == NULL)
				return usage(name);
			fprintf(stderr, "%s: fatal: option -%c: %s\n", name, opt, refused_option(opt));
			return 1;
		}
	if (optind >= argc || (k.query != NULL && k.dump))
		return usage(name);
	return with_conf(&k, dir, k.query != NULL || k.dump ? look : build, argc - optind, argv + optind);
}
