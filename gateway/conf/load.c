/* SPDX-License-Identifier: BSD-2-Clause */
/* A directory becomes a snapshot: which files, in which order, and what their lines say. */
#include "base/mem.h"
#include "base/rights.h"
#include "conf/snap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Never waits for somebody to open the other end. */
static int
open_for_reading(const char *path)
{
	return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

/* The same with the rights of a user, when we have root's. */
static int
open_as(const char *path, const char *user)
{
	struct rights theirs, own;
	if (user == NULL || geteuid() != 0)
		return open_for_reading(path);
	if (!rights_find(user, false, &theirs) || !rights_take(&theirs, &own))
		return -1;
	int fd = open_for_reading(path);
	rights_back(&own);
	return fd;
}

enum rc
snap_read_version(const char *path, const char *user, size_t max, struct buf *out, struct conf_version *version_out, struct err *e)
{
	int fd = open_as(path, user);
	if (fd < 0) {
		enum rc failed = err_set(e, RC_TEMP, "open %s%s%s: %s", path, user != NULL ? " as user " : "", user != NULL ? user : "", strerror(errno));
		*version_out = conf_version_now(path);
		return failed;
	}
	struct stat st;
	enum rc rc = RC_OK;
	if (fstat(fd, &st) != 0 || S_ISDIR(st.st_mode))
		rc = err_set(e, RC_TEMP, "read %s: is a directory", path);
	else if (!S_ISREG(st.st_mode) && !(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))) /* or /dev/null */
		rc = err_set(e, RC_TEMP, "read %s: is not a file", path);
	*version_out = snap_version(&st);
	size_t room = st.st_size > 0 && (size_t)st.st_size < max ? (size_t)st.st_size + 1 : 4096;
	while (rc == RC_OK) {
		unsigned char *p = buf_reserve(out, room);
		if (p == NULL) {
			rc = err_set(e, RC_TEMP, "read %s: larger than %zu bytes", path, max);
			break;
		}
		ssize_t n = read(fd, p, room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = err_set(e, RC_TEMP, "read %s: %s", path, strerror(errno));
		if (n <= 0)
			break;
		buf_commit(out, (size_t)n);
		room = 4096;
	}
	close(fd);
	return rc;
}

void
conf_warn_readable(struct conf *c, const char *name, const char *path, unsigned bits)
{
	struct stat st;
	path = conf_full_path(c, path);
	if (!c->loader || stat(path, &st) != 0 || !S_ISREG(st.st_mode) || (st.st_mode & bits & 0444) == 0)
		return;
	conf_problem(c, CONF_WARNING, NULL, name, "%s can be read by %s (mode %04o): it holds secrets, chmod it to 0600", path,
	    (st.st_mode & bits & 0004) != 0 ? "everybody" : "its group", (unsigned)st.st_mode & 07777);
}

enum rc
snap_read_file(const char *path, size_t max, struct buf *out, struct err *e)
{
	struct conf_version version;
	return snap_read_version(path, NULL, max, out, &version, e);
}

static void
one_setting(struct conf *c, const char *file, int line, struct span s)
{
	size_t n = 0;
	while (n < s.n && s.p[n] != '=' && s.p[n] != ' ' && !(s.p[n] >= '\t' && s.p[n] <= '\r'))
		n++;
	struct span name = span_head(s, n), rest = span_trim(span_from(s, n));
	if (name.n == 0) {
		snap_problem(c, CONF_ERROR, file, line, "missing attribute name: \"%s\"", snap_str(c, s));
		return;
	}
	if (rest.n == 0 || rest.p[0] != '=') {
		snap_problem(c, CONF_ERROR, file, line, "missing '=' after attribute name: \"%s\"", snap_str(c, s));
		return;
	}
	const char *value = snap_str(c, span_trim(span_from(rest, 1)));
	struct setting old;
	snap_set(c, (struct setting){ .name = snap_str(c, name), .text = value, .value = value, .file = file, .line = line }, &old);
	if (old.file == file && strcmp(old.text, value) != 0)
		snap_problem(c, CONF_WARNING, file, line, "overriding earlier entry: %s=%s", old.name, old.text);
}

void
snap_parse_main(struct conf *c, const char *file, struct span text)
{
	struct conf_lines it = { .rest = text };
	struct buf line;
	int at, stray = 0, nul = 0;
	buf_init(&line, CONF_FILE_MAX);
	for (;;) {
		enum rc rc = conf_lines_next(&it, &line, &at);
		if (it.stray_line != stray)
			snap_problem(c, CONF_WARNING, file, stray = it.stray_line, "continuation line without a line before it: ignored");
		if (it.nul_line != nul)
			snap_problem(c, CONF_WARNING, file, nul = it.nul_line, "NUL byte: the rest of the line is ignored");
		if (rc != RC_OK)
			break;
		one_setting(c, file, at, buf_span(&line));
	}
	buf_fini(&line);
}

static const char *
path_in(struct conf *c, const char *a, const char *b)
{
	struct buf path;
	buf_init(&path, 8192);
	buf_puts(&path, a);
	buf_putc(&path, '/');
	buf_puts(&path, b);
	const char *p = snap_str(c, buf_span(&path));
	buf_fini(&path);
	return p;
}

/* RC_NONE: there is no such file (not a problem). */
static enum rc
parse_file(struct conf *c, const char *path, void (*parse)(struct conf *, const char *, struct span))
{
	struct stat st;
	if (stat(path, &st) != 0 && errno == ENOENT)
		return RC_NONE;
	struct buf text;
	struct err e;
	buf_init(&text, CONF_FILE_MAX);
	enum rc rc = snap_read_file(path, CONF_FILE_MAX, &text, &e);
	if (rc == RC_OK)
		parse(c, path, buf_span(&text));
	else
		snap_problem(c, CONF_ERROR, path, 0, "%s", e.why);
	buf_fini(&text);
	return rc;
}

static int
is_cf(const struct dirent *d)
{
	size_t n = strlen(d->d_name);
	return d->d_name[0] != '.' && n > 3 && strcmp(d->d_name + n - 3, ".cf") == 0 && strcmp(d->d_name, "master.cf") != 0;
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void
parse_directory(struct conf *c, const char *dir)
{
	struct dirent **names = NULL;
	int n = scandir(dir, &names, is_cf, by_name);
	if (n < 0 && errno != ENOENT)
		snap_problem(c, CONF_ERROR, dir, 0, "cannot read the directory: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		const char *path = path_in(c, dir, names[i]->d_name);
		if (parse_file(c, path, snap_parse_main) == RC_NONE)
			snap_problem(c, CONF_ERROR, path, 0, "dangling symbolic link");
		free(names[i]);
	}
	free(names);
}

/* myorigin = /file: its first line counts (Debian). */
static void
read_myorigin(struct conf *c)
{
	struct setting *s = (struct setting *)(uintptr_t)snap_setting(c, NULL, SPAN("myorigin"));
	if (s == NULL || s->text[0] != '/')
		return;
	struct span text;
	struct err e;
	if (conf_file(c, s->text, &text, &e) != RC_OK) {
		snap_problem(c, CONF_ERROR, s->file, s->line, "parameter myorigin: %s", e.why);
		return;
	}
	s->value = snap_str(c, span_trim(span_head(text, span_chr(text, '\n'))));
	snap_unwatch(c, s->text); /* part of the settings: in force at the next reload */
}

static enum rc
read_all(struct conf *c, struct err *e)
{
	struct stat st;
	if (stat(c->dir, &st) != 0)
		return err_set(e, RC_PERM, "configuration directory %s: %s", c->dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return err_set(e, RC_PERM, "configuration directory %s: not a directory", c->dir);
	const char *main_cf = path_in(c, c->dir, "main.cf");
	c->has_main = parse_file(c, main_cf, snap_parse_main) != RC_NONE;
	c->main_file = c->has_main ? main_cf : c->dir;
	parse_directory(c, c->has_main ? path_in(c, c->dir, "conf.d") : c->dir);
	if (parse_file(c, path_in(c, c->dir, "master.cf"), snap_parse_master) == RC_NONE)
		snap_parse_master(c, "", span_str(snap_default_master));
	snap_add_transports(c);
	return RC_OK;
}

static void
set_overrides(struct conf *c, const char *const *overrides)
{
	for (; overrides != NULL && *overrides != NULL; overrides++)
		one_setting(c, "command line", 0, span_trim(span_str(*overrides)));
}

enum rc
conf_load_with(const char *dir, const char *const *overrides, struct conf **out, struct err *e)
{
	struct conf *c = snap_new(dir);
	c->loader = true;
	if (out != NULL)
		*out = NULL;
	char full[PATH_MAX]; /* "hash:$config_directory/x" must not be looked for below the directory again */
	snap_compute(c, "config_directory", c->dir[0] != '/' && realpath(c->dir, full) != NULL ? full : c->dir);
	snap_compute_process(c);
	enum rc rc = read_all(c, e);
	if (rc != RC_OK) {
		conf_unref(&c);
		return rc;
	}
	set_overrides(c, overrides);
	c->syntax_errors = conf_problem_count(c, CONF_ERROR);
	if (!c->has_main)
		snap_compute(c, "compatibility_level", CONF_LEVEL);
	read_myorigin(c);
	snap_compute_names(c);
	snap_compute_networks(c);
	snap_settle_services(c);
	snap_fill(c);
	c->tables_dir = path_in(c, c->params.p_data_directory, "tables");
	if (conf_problem_count(c, CONF_ERROR) > 0) {
		const struct conf_problem *p = conf_problem_at(c, 0, CONF_ERROR);
		rc = p->line > 0 ? err_set(e, RC_PERM, "%s:%d: %s", p->file, p->line, p->text)
		                 : err_set(e, RC_PERM, "%s: %s", p->file, p->text);
	}
	if (out != NULL)
		*out = c;
	else
		conf_unref(&c);
	return rc;
}

enum rc
conf_load(const char *dir, struct conf **out, struct err *e)
{
	return conf_load_with(dir, NULL, out, e);
}
