/* SPDX-License-Identifier: BSD-2-Clause */
/* postconf -e, -# and -X: what the arguments say becomes edits of the file that counts. */
#include "base/mem.h"
#include "conf/command.h"
#include "conf/text.h"

#include <unistd.h>

/* ---- editing main.cf and its like ---- */

static const char *
path_in(struct command *m, const char *name)
{
	struct buf b;
	buf_init(&b, 8192);
	buf_puts(&b, m->conf->dir);
	buf_putc(&b, '/');
	buf_puts(&b, name);
	const char *p = snap_str(m->conf, buf_span(&b));
	buf_fini(&b);
	return p;
}

/* The file whose setting counts; for a new name main.cf, or local.cf where there is no main.cf. */
static const char *
file_of(struct command *m, const char *name)
{
	const struct setting *s = snap_setting(m->conf, NULL, span_str(name));
	return s != NULL ? s->file : path_in(m, m->conf->has_main ? "main.cf" : "local.cf");
}

/* "name=value" with any white space around "=": the name, and the line to write. */
static enum rc
parse_assignment(struct command *m, const char *arg, struct edit *out, const char **name_out)
{
	struct span s = span_str(arg), name, value;
	size_t eq = span_chr(s, '=');
	name = span_trim(span_head(s, eq));
	value = span_trim(span_from(s, eq == SIZE_MAX ? s.n : eq + 1));
	if (eq == SIZE_MAX || name.n == 0)
		return RC_PERM;
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] == '#')
			return RC_PERM;
	if (span_chr(value, '\n') != SIZE_MAX || span_chr(value, '\r') != SIZE_MAX)
		return RC_PERM;
	struct buf line;
	buf_init(&line, SIZE_MAX);
	buf_put(&line, name);
	buf_puts(&line, value.n > 0 ? " = " : " =");
	buf_put(&line, value);
	*name_out = snap_str(m->conf, name);
	*out = (struct edit){ .op = EDIT_SET, .key = span_str(*name_out), .line = span_str(snap_str(m->conf, buf_span(&line))) };
	buf_fini(&line);
	return RC_OK;
}

int
command_edit_main(struct command *m)
{
	struct err e;
	for (char **arg = m->args; *arg != NULL; arg++) {
		struct edit edit = { .op = m->op, .key = span_str(*arg) };
		const char *name = *arg;
		if (m->op == EDIT_SET && parse_assignment(m, *arg, &edit, &name) != RC_OK)
			return command_fatal(m, "name=value expected, one line: ", *arg);
		if (m->op != EDIT_SET && strchr(name, '=') != NULL)
			return command_fatal(m, "-# and -X accept names only: ", name);
		if (m->op != EDIT_SET && snap_setting(m->conf, NULL, span_str(name)) == NULL)
			continue;
		if (edit_file(EDIT_MAIN, file_of(m, name), &edit, 1, &e) != RC_OK)
			return command_fatal(m, e.why, "");
	}
	return m->args[0] != NULL ? 0 : command_usage(m);
}

/* ---- editing master.cf ---- */

/* Without a master.cf the built-in list is in force: it becomes the file that is then changed. */
static enum rc
write_builtin(struct command *m, const char *path, struct err *e)
{
	struct edit *edits = mem_calloc(m->conf->nsvc + 1, sizeof *edits);
	for (size_t k = 0; k < m->conf->nsvc; k++) {
		struct buf line, key;
		buf_init(&line, SIZE_MAX);
		buf_init(&key, SIZE_MAX);
		text_service(&line, m->conf->svcs[k], true);
		edit_key(EDIT_MASTER, buf_span(&line), &key);
		edits[k] = (struct edit){ .op = EDIT_SET };
		edits[k].key = span_str(snap_str(m->conf, buf_span(&key)));
		edits[k].line = span_str(snap_str(m->conf, buf_span(&line)));
		buf_fini(&line);
		buf_fini(&key);
	}
	enum rc rc = edit_file(EDIT_MASTER, path, edits, m->conf->nsvc, e);
	mem_free(&edits);
	return rc;
}

static enum rc
write_master(struct command *m, const char *key, enum edit_op op, struct span line, struct err *e)
{
	struct edit edit = { .op = op, .key = span_str(key), .line = line };
	const char *path = path_in(m, "master.cf");
	if (access(path, F_OK) != 0) {
		/* A changed service was changed in memory too: read the list afresh. */
		struct conf *now = m->conf;
		enum rc rc = conf_load(m->dir, &m->conf, e);
		if (m->conf != NULL)
			rc = write_builtin(m, path, e);
		conf_unref(&m->conf);
		m->conf = now;
		if (rc != RC_OK)
			return rc;
	}
	return edit_file(EDIT_MASTER, path, &edit, 1, e);
}

/* What is about to be written must read back as one service with that key; out: it in columns. */
static enum rc
tidy_line(struct command *m, const char *key, struct span line, struct buf *out, struct err *e)
{
	struct conf *probe = snap_new(m->dir);
	struct buf have;
	enum rc rc = RC_OK;
	buf_init(&have, SIZE_MAX);
	snap_parse_master(probe, "master.cf", line);
	if (conf_problem_count(probe, CONF_ERROR) > 0)
		rc = err_set(e, RC_PERM, "%s: %s", key, conf_problem_at(probe, 0, CONF_ERROR)->text);
	else if (probe->nsvc != 1)
		rc = err_set(e, RC_PERM, "%s: one master.cf entry expected", key);
	if (rc == RC_OK) {
		text_service(out, probe->svcs[0], true);
		if (!edit_key(EDIT_MASTER, buf_span(out), &have) || !span_eq_str(buf_span(&have), key))
			rc = err_set(e, RC_PERM, "%s: the entry must begin with this service and type", key);
	}
	buf_fini(&have);
	conf_unref(&probe);
	return rc;
}

static struct svc *
find_service(struct command *m, struct span key)
{
	for (size_t k = 0; k < m->conf->nsvc; k++) {
		struct svc *s = m->conf->svcs[k];
		size_t n = strlen(s->pub.name);
		if (span_starts(key, span_str(s->pub.name)) && key.n > n && key.p[n] == '/' && span_eq_str(span_from(key, n + 1), s->pub.type))
			return s;
	}
	return NULL;
}

static bool
set_field(struct svc *s, struct span name, struct span value, struct buf *line)
{
	static const char *const names[] = { "service", "type", "private", "unprivileged", "chroot", "wakeup", "process_limit" };
	struct buf old;
	struct span rest, word;
	bool is_command = span_eq(name, SPAN("command")), found = is_command;
	buf_init(&old, SIZE_MAX);
	text_service(&old, s, false);
	rest = buf_span(&old);
	for (size_t i = 0; i < NELEMS(names) && span_word(&rest, " ", &word); i++) {
		bool this = span_eq_str(name, names[i]);
		buf_put(line, this ? value : word);
		buf_putc(line, ' ');
		found = found || this;
	}
	buf_put(line, is_command ? value : span_trim(rest));
	buf_fini(&old);
	return found;
}

static void
set_param(struct conf *c, struct svc *s, struct span name, struct span value, bool drop, struct buf *line)
{
	struct setting *sets = arena_alloc(&c->arena, (s->nset + 1) * sizeof *sets);
	size_t n = 0;
	bool done = drop;
	BUG_ON(sets == NULL);
	for (size_t i = 0; i < s->nset; i++) {
		bool this = span_eq_str(name, s->sets[i].name);
		if (this && done)
			continue;
		sets[n] = s->sets[i];
		if (this)
			sets[n].text = snap_str(c, value);
		done = done || this;
		n++;
	}
	if (!done)
		sets[n++] = (struct setting){ .name = snap_str(c, name), .text = snap_str(c, value) };
	s->sets = sets;
	s->nset = n;
	text_service(line, s, false);
}

/* -M: "service/type=line"; -F and -P: "service/type/name=value". */
static enum rc
edit_one_service(struct command *m, const char *arg, struct err *e)
{
	struct span s = span_str(arg);
	size_t eq = m->op == EDIT_SET ? span_chr(s, '=') : s.n;
	if (eq == SIZE_MAX)
		return err_set(e, RC_PERM, "%s: service/type=... expected", arg);
	struct span path = span_trim(span_head(s, eq)), value = span_trim(span_from(s, eq + 1)), name = SPAN_EMPTY;
	if (m->subject != MASTER_LINES) {
		size_t slash = span_rchr(path, '/');
		name = span_from(path, slash == SIZE_MAX ? path.n : slash + 1);
		path = span_head(path, slash);
		if (name.n == 0)
			return err_set(e, RC_PERM, "%s: service/type/name expected", arg);
	}
	const char *key = snap_str(m->conf, path);
	struct svc *svc = find_service(m, path);
	if (m->subject == MASTER_LINES && m->op != EDIT_SET)
		return svc != NULL ? write_master(m, key, m->op, SPAN_EMPTY, e) : err_set(e, RC_NONE, "unmatched request: \"%s\"", arg);
	if (svc == NULL && m->subject != MASTER_LINES)
		return err_set(e, RC_NONE, "unmatched request: \"%s\"", arg);
	struct buf line, tidy;
	enum rc rc = RC_OK;
	buf_init(&line, SIZE_MAX);
	buf_init(&tidy, SIZE_MAX);
	if (m->subject == MASTER_LINES)
		buf_put(&line, value);
	else if (m->subject == MASTER_FIELDS && m->op != EDIT_SET)
		rc = err_set(e, RC_PERM, "%s: a field can only be set", arg);
	else if (m->subject == MASTER_FIELDS && !set_field(svc, name, value, &line))
		rc = err_set(e, RC_PERM, "%s: there is no such field", arg);
	else if (m->subject == MASTER_PARAMS && m->op == EDIT_COMMENT)
		rc = err_set(e, RC_PERM, "%s: an -o setting can be set or dropped", arg);
	else if (m->subject == MASTER_PARAMS)
		set_param(m->conf, svc, name, value, m->op == EDIT_DROP, &line);
	if (rc == RC_OK)
		rc = tidy_line(m, key, buf_span(&line), &tidy, e);
	if (rc == RC_OK)
		rc = write_master(m, key, EDIT_SET, buf_span(&tidy), e);
	buf_fini(&line);
	buf_fini(&tidy);
	return rc;
}

int
command_edit_master(struct command *m)
{
	struct err e;
	for (char **arg = m->args; *arg != NULL; arg++) {
		enum rc rc = edit_one_service(m, *arg, &e);
		if (rc == RC_NONE)
			command_complain(m, "warning", e.why, "");
		else if (rc != RC_OK)
			return command_fatal(m, e.why, "");
	}
	return m->args[0] != NULL ? 0 : command_usage(m);
}
