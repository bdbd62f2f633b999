/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands people know from Postfix, by the name the program was called with. Facts 11.
 */
#include "admin/commands.h"
#include "admin/map_types.h"

#include "base/buf.h"
#include "conf/show.h"
#include "lookup/lookup.h"
#include "map/map.h"

#include <sys/mman.h>
#include <unistd.h>

enum { EX_USAGE = 64, EX_UNAVAILABLE = 69, LINE_LIMIT = 200 * 1024, IDS_PER_LINE = 4096 };

static const char *
config_dir(void)
{
	const char *dir = getenv("MAIL_CONFIG");
	return dir != NULL && dir[0] != '\0' ? dir : "/etc/dogana";
}

static int
bad_usage(const char *text)
{
	fprintf(stderr, "usage: %s\n", text);
	return EX_USAGE;
}

/* One word of a request line. */
static bool
is_word(const char *s, size_t max)
{
	return s[0] != '\0' && strlen(s) <= max && strpbrk(s, " \t\r\n") == NULL;
}

static int
mailq_main(int argc, char **argv)
{
	const char *dir = config_dir();
	for (int c; (c = getopt(argc, argv, "c:v")) != -1;)
		if (c == 'c')
			dir = optarg;
		else if (c != 'v')
			return bad_usage("mailq [-c config_dir]");
	return command_request(dir, "mailq", "queue list", STDOUT_FILENO);
}

static int
postqueue_main(int argc, char **argv)
{
	const char *dir = config_dir(), *arg = NULL;
	int what = 0;
	for (int c; (c = getopt(argc, argv, "c:fpji:s:v")) != -1;) {
		if (c == 'c') {
			dir = optarg;
		} else if (c == '?' || (what != 0 && c != 'v')) {
			return bad_usage("postqueue [-c config_dir] -f | -p | -j | -i queue_id | -s site");
		} else if (c != 'v') {
			what = c;
			arg = optarg;
		}
	}
	char line[1024];
	switch (what) {
	case 'p':
		return command_request(dir, "postqueue", "queue list", STDOUT_FILENO);
	case 'j':
		return command_request(dir, "postqueue", "queue list json", STDOUT_FILENO);
	case 'f':
		return command_request(dir, "postqueue", "queue flush", STDOUT_FILENO);
	case 'i':
	case 's':
		if (!is_word(arg, 512))
			return bad_usage("postqueue -i queue_id | -s site");
		snprintf(line, sizeof line, what == 'i' ? "queue flush id %s" : "queue flush %s", arg);
		return command_request(dir, "postqueue", line, STDOUT_FILENO);
	default:
		return bad_usage("postqueue [-c config_dir] -f | -p | -j | -i queue_id | -s site");
	}
}

/* One request per verb; ids from standard input for "-". */
static int
super_request(const char *dir, const char *verb, const char *id, const struct buf *queues)
{
	struct buf line;
	buf_init(&line, LINE_LIMIT);
	int status = 0;
	bool from_stdin = strcmp(id, "-") == 0, more = true;
	while (more && status == 0) {
		buf_reset(&line);
		buf_printf(&line, "queue %s", verb);
		size_t n = 0;
		char word[256];
		more = false;
		if (!from_stdin)
			buf_printf(&line, " %s", id), n = 1;
		while (from_stdin && scanf("%255s", word) == 1) {
			buf_printf(&line, " %s", word);
			more = ++n == IDS_PER_LINE;
			if (more)
				break;
		}
		if (strcmp(id, "ALL") == 0)
			buf_put(&line, buf_span(queues));
		if (n > 0)
			status = line.over ? EX_USAGE : command_request(dir, "postsuper", buf_cstr(&line), STDERR_FILENO);
	}
	buf_fini(&line);
	return status;
}

static int
postsuper_main(int argc, char **argv)
{
	static const char text[] = "postsuper [-c config_dir] [-d|-e|-f|-h|-H|-r queue_id|ALL|-] ... [queue ...]";
	static const struct {
		int letter;
		const char *verb;
	} verbs[] = { { 'd', "delete" }, { 'e', "expire" }, { 'f', "expire" }, { 'f', "release" }, { 'h', "hold" }, { 'H', "release" }, { 'r', "requeue" } };
	struct {
		const char *verb, *id;
	} todo[64];
	size_t n = 0;
	const char *dir = config_dir();
	for (int c; (c = getopt(argc, argv, "c:d:e:f:h:H:r:psSv")) != -1;) {
		if (c == 'c')
			dir = optarg;
		else if (c == '?')
			return bad_usage(text);
		for (size_t i = 0; i < NELEMS(verbs); i++)
			if (verbs[i].letter == c) {
				if (n == NELEMS(todo) || !is_word(optarg, 128))
					return bad_usage(text);
				todo[n].verb = verbs[i].verb;
				todo[n++].id = optarg;
			}
	}
	struct buf queues; /* names of queues to look in, behind the ids */
	buf_init(&queues, 1024);
	for (int i = optind; i < argc; i++) {
		static const char *const known[] = { "hold", "incoming", "active", "deferred" };
		bool is_known = false;
		for (size_t k = 0; k < NELEMS(known); k++)
			is_known |= strcmp(argv[i], known[k]) == 0;
		if (!is_known) {
			buf_fini(&queues);
			fprintf(stderr, "postsuper: fatal: invalid directory name: %s\n", argv[i]);
			return 1;
		}
		buf_printf(&queues, " %s", argv[i]);
	}
	int status = 0;
	for (size_t i = 0; i < n && status == 0; i++)
		status = super_request(dir, todo[i].verb, todo[i].id, &queues);
	buf_fini(&queues);
	return status; /* -p and -s: the spool keeps its own order, there is nothing to purge or repair */
}

/* Prints the wanted parts of what "queue cat" gave: envelope (e), header (h), body (b); none named: all. */
static void
print_parts(int fd, const char *parts)
{
	FILE *in = fdopen(fd, "r");
	char *line = NULL;
	size_t cap = 0;
	char part = 'e';
	rewind(in);
	for (ssize_t n; (n = getline(&line, &cap, in)) > 0;) {
		bool is_marker = strncmp(line, "*** ", 4) == 0;
		if (parts[0] == '\0' || (strchr(parts, part) != NULL && !is_marker))
			fwrite(line, 1, (size_t)n, stdout);
		if (is_marker && strncmp(line + 4, "MESSAGE CONTENTS ", 17) == 0)
			part = 'h';
		else if (is_marker && strncmp(line + 4, "HEADER EXTRACTED ", 17) == 0)
			part = 'e';
		else if (part == 'h' && (line[0] == '\n' || line[0] == '\r'))
			part = 'b';
	}
	free(line);
	fclose(in);
}

static int
postcat_main(int argc, char **argv)
{
	static const char text[] = "postcat [-c config_dir] [-beh] -q queue_id ...";
	const char *dir = config_dir();
	bool by_id = false;
	char parts[4] = "";
	for (int c; (c = getopt(argc, argv, "c:qbehvdof")) != -1;) {
		if (c == 'c')
			dir = optarg;
		else if (c == 'q')
			by_id = true;
		else if (c == '?')
			return bad_usage(text);
		else if ((c == 'b' || c == 'e' || c == 'h') && strchr(parts, c) == NULL && strlen(parts) < 3)
			parts[strlen(parts)] = (char)c;
	}
	if (!by_id || optind == argc)
		return bad_usage(text);
	int status = 0;
	for (int i = optind; i < argc; i++) {
		char line[512];
		if (!is_word(argv[i], 128))
			return bad_usage(text);
		snprintf(line, sizeof line, "queue cat %s", argv[i]);
		int fd = memfd_create("postcat", MFD_CLOEXEC);
		if (fd < 0) {
			perror("postcat: memfd_create");
			return 1;
		}
		int s = command_request(dir, "postcat", line, fd);
		print_parts(fd, parts);
		status = s != 0 ? s : status;
	}
	return status;
}

static int
qshape_main(int argc, char **argv)
{
	struct buf line;
	buf_init(&line, 4096);
	buf_puts(&line, "queue shape");
	const char *dir = config_dir();
	int status = 0;
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-c") == 0 && i + 1 < argc)
			dir = argv[++i];
		else if (!is_word(argv[i], 128))
			status = bad_usage("qshape [-s] [-p] [-l] [-b buckets] [-t minutes] [queue ...]");
		else
			buf_printf(&line, " %s", argv[i]);
	}
	if (status == 0)
		status = command_request(dir, "qshape", buf_cstr(&line), STDOUT_FILENO);
	buf_fini(&line);
	return status;
}

static int
sendmail_main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "-bp") == 0)
			return command_request(config_dir(), "mailq", "queue list", STDOUT_FILENO);
		if (strcmp(argv[i], "-q") == 0)
			return command_request(config_dir(), "sendmail", "queue flush", STDOUT_FILENO);
	}
	fprintf(stderr, "sendmail: fatal: only -bp and -q are supported: this gateway takes mail by SMTP\n");
	return EX_UNAVAILABLE;
}

static int
newaliases_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	fprintf(stderr, "newaliases: nothing to do: tables are built when they are needed\n");
	return 0;
}

static int
postconf_main(int argc, char **argv)
{
	return conf_command(config_dir(), argc, argv, map_types);
}

static int
postmap_main(int argc, char **argv)
{
	lookup_direct();
	return map_command(config_dir(), argc, argv);
}

enum rc
compat_main(int argc, char **argv, int *status_out)
{
	static const struct {
		const char *name;
		int (*fn)(int argc, char **argv);
	} rows[] = {
		{ "mailq", mailq_main },
		{ "postqueue", postqueue_main },
		{ "postsuper", postsuper_main },
		{ "postcat", postcat_main },
		{ "postconf", postconf_main },
		{ "postmap", postmap_main },
		{ "postalias", postmap_main },
		{ "qshape", qshape_main },
		{ "sendmail", sendmail_main },
		{ "newaliases", newaliases_main },
	};
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash != NULL ? slash + 1 : argc > 0 ? argv[0] : "";
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (strcmp(name, rows[i].name) == 0) {
			*status_out = rows[i].fn(argc, argv);
			return RC_OK;
		}
	return RC_NONE;
}
