/* SPDX-License-Identifier: BSD-2-Clause */
/* master.cf: one service a line (facts 2.1), and what each program becomes here (services.def). */
#include "base/mem.h"
#include "conf/snap.h"

enum { ARGS_MAX = 512 };

const char snap_default_master[] =
    "smtp      inet  n  -  n  -     -  smtpd\n"
    "pickup    unix  n  -  n  60    1  pickup\n"
    "cleanup   unix  n  -  n  -     0  cleanup\n"
    "qmgr      unix  n  -  n  300   1  qmgr\n"
    "tlsmgr    unix  -  -  n  1000? 1  tlsmgr\n"
    "rewrite   unix  -  -  n  -     -  trivial-rewrite\n"
    "bounce    unix  -  -  n  -     0  bounce\n"
    "defer     unix  -  -  n  -     0  bounce\n"
    "trace     unix  -  -  n  -     0  bounce\n"
    "verify    unix  -  -  n  -     1  verify\n"
    "flush     unix  n  -  n  1000? 0  flush\n"
    "proxymap  unix  -  -  n  -     -  proxymap\n"
    "proxywrite unix -  -  n  -     1  proxymap\n"
    "smtp      unix  -  -  n  -     -  smtp\n"
    "relay     unix  -  -  n  -     -  smtp\n"
    "showq     unix  n  -  n  -     -  showq\n"
    "error     unix  -  -  n  -     -  error\n"
    "retry     unix  -  -  n  -     -  error\n"
    "discard   unix  -  -  n  -     -  discard\n"
    "local     unix  -  n  n  -     -  local\n"
    "virtual   unix  -  n  n  -     -  virtual\n"
    "lmtp      unix  -  -  n  -     -  lmtp\n"
    "anvil     unix  -  -  n  -     1  anvil\n"
    "scache    unix  -  -  n  -     1  scache\n"
    "postlog   unix-dgram n  -  n  -  1  postlogd\n";

/* What a master.cf need not name: part of the program, not processes of their own. */
static const struct {
	const char *name, *line;
} transports[] = {
	{ "smtp", "smtp unix - - n - - smtp" },
	{ "relay", "relay unix - - n - - smtp" },
	{ "lmtp", "lmtp unix - - n - - lmtp" },
	{ "error", "error unix - - n - - error" },
	{ "retry", "retry unix - - n - - error" },
	{ "discard", "discard unix - - n - - discard" },
};

static const struct {
	const char *program;
	enum service_kind kind;
	const char *doc;
} programs[] = {
#define SERVICE(program, kind, doc) { program, kind, doc },
#include "conf/services.def"
#undef SERVICE
};

enum service_kind
service_kind_of(const char *program, const char **doc_out)
{
	for (size_t i = 0; i < NELEMS(programs); i++)
		if (strcmp(programs[i].program, program) == 0) {
			if (doc_out != NULL)
				*doc_out = programs[i].doc;
			return programs[i].kind;
		}
	return SERVICE_UNKNOWN;
}

struct line {
	struct conf *c;
	const char *file;
	int at;
	const struct conf_lines *joints; /* NULL: one physical line */
	struct span whole, rest;
	bool bad;
};

/* The physical line that these bytes of the entry stand on. */
static int
line_of(const struct line *l, struct span s)
{
	bool inside = s.p >= l->whole.p && s.p <= l->whole.p + l->whole.n;
	return l->joints != NULL && inside ? conf_lines_at(l->joints, (size_t)(s.p - l->whole.p)) : l->at;
}

static void
bad_field(struct line *l, const char *what, struct span value)
{
	snap_problem(l->c, CONF_ERROR, l->file, line_of(l, value), "bad %s field \"%s\"", what, snap_str(l->c, value));
	l->bad = true;
}

static struct span
field(struct line *l, const char *what)
{
	struct span word = SPAN_EMPTY;
	if (!l->bad && !span_word(&l->rest, " \t\r\n", &word)) {
		snap_problem(l->c, CONF_ERROR, l->file, l->at, "missing %s field", what);
		l->bad = true;
	}
	return word;
}

static char
yes_no(struct line *l, const char *what)
{
	struct span w = field(l, what);
	if (!l->bad && (w.n != 1 || (w.p[0] != 'y' && w.p[0] != 'n' && w.p[0] != '-')))
		bad_field(l, what, w);
	return l->bad ? '-' : (char)w.p[0];
}

static int
number(struct line *l, const char *what, bool *question_out)
{
	struct span w = field(l, what);
	uint64_t v;
	if (l->bad || span_eq(w, SPAN("-")))
		return -1;
	if (question_out != NULL && w.n > 1 && w.p[w.n - 1] == '?') {
		*question_out = true;
		w = span_head(w, w.n - 1);
	}
	if (!span_u64(w, INT32_MAX, &v)) {
		bad_field(l, what, w);
		return -1;
	}
	return (int)v;
}

static const char *
service_type(struct line *l)
{
	static const char *const types[] = { "inet", "unix", "fifo", "pass", "unix-dgram" };
	struct span w = field(l, "transport type");
	for (size_t i = 0; i < NELEMS(types); i++)
		if (span_eq_str(w, types[i]))
			return types[i];
	if (!l->bad)
		bad_field(l, "transport type", w);
	return "";
}

/* {text} and nothing behind it. */
static bool
whole_group(struct span s, struct span *out)
{
	return s.p[0] == '{' && conf_item(&s, out, NULL) == RC_OK && s.n == 0;
}

/* The next argument: a word, in which { } keep white space together; outer braces are taken off. */
static bool
argument(struct line *l, struct span *out, bool *was_group_out)
{
	struct span rest = span_trim(l->rest);
	if (l->bad || rest.n == 0)
		return false;
	size_t depth = 0, n = 0;
	bool stray = false;
	for (; n < rest.n; n++) {
		unsigned char b = rest.p[n];
		if (b == '{')
			depth++;
		else if (b == '}' && depth > 0)
			depth--;
		else if (b == '}')
			stray = true;
		else if (depth == 0 && (b == ' ' || (b >= '\t' && b <= '\r')))
			break;
	}
	struct span item = span_head(rest, n);
	l->rest = span_from(rest, n);
	*was_group_out = item.p[0] == '{';
	if (depth > 0 || stray || (*was_group_out && !whole_group(item, &item))) {
		snap_problem(l->c, CONF_ERROR, l->file, line_of(l, rest), "unbalanced braces or text behind them: \"%s\"", snap_str(l->c, span_head(rest, n)));
		l->bad = true;
		return false;
	}
	*out = item;
	return true;
}

static bool
is_balanced(struct span s)
{
	size_t depth = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '}' && depth-- == 0)
			return false;
		depth += s.p[i] == '{';
	}
	return depth == 0;
}

static void
override(struct line *l, struct setting *sets, size_t *nset, struct span text)
{
	size_t eq = span_chr(text, '=');
	struct span name = span_trim(span_head(text, eq));
	bool spaced = false;
	for (size_t i = 0; i < name.n; i++)
		spaced = spaced || name.p[i] <= ' ' || name.p[i] == 0x7f || name.p[i] == '{' || name.p[i] == '}';
	if (eq == SIZE_MAX || name.n == 0 || spaced || *nset == ARGS_MAX || !is_balanced(text)) {
		snap_problem(l->c, CONF_ERROR, l->file, line_of(l, text), "bad option \"-o %s\": name=value expected", snap_str(l->c, text));
		l->bad = true;
		return;
	}
	const char *value = snap_str(l->c, span_trim(span_from(text, eq + 1)));
	sets[(*nset)++] = (struct setting){ .name = snap_str(l->c, name), .text = value, .value = value, .file = l->file, .line = line_of(l, name) };
}

/* Options up to the first word that is none: what follows belongs to the program (pipe, spawn). */
static void
arguments(struct line *l, struct svc *svc)
{
	struct setting *sets = mem_calloc(ARGS_MAX, sizeof *sets);
	const char **args = mem_calloc(ARGS_MAX + 1, sizeof(char *));
	size_t nargs = 0;
	struct buf flags;
	struct span w;
	bool options = true, group;
	buf_init(&flags, 4096);
	while (argument(l, &w, &group)) {
		options = options && !group && w.n > 1 && w.p[0] == '-' && !span_eq(w, SPAN("--"));
		if (options && w.p[1] == 'o') {
			struct span glued = span_from(w, 2);
			if (glued.n == 0 ? !argument(l, &w, &group) : !whole_group(glued, &w))
				w = glued;
			override(l, sets, &svc->nset, w);
		} else if (options) {
			buf_putc(&flags, ' ');
			buf_put(&flags, w);
		} else if (nargs < ARGS_MAX) {
			args[nargs++] = snap_str(l->c, w);
		} else {
			snap_problem(l->c, CONF_ERROR, l->file, l->at, "more than %d arguments", ARGS_MAX);
			l->bad = true;
		}
	}
	svc->sets = arena_alloc(&l->c->arena, svc->nset * sizeof *sets + 1);
	const char **kept = arena_alloc(&l->c->arena, (nargs + 1) * sizeof(char *));
	BUG_ON(svc->sets == NULL || kept == NULL);
	if (svc->nset > 0)
		memcpy(svc->sets, sets, svc->nset * sizeof *sets);
	memcpy(kept, args, (nargs + 1) * sizeof(char *));
	svc->pub.args = kept;
	svc->flags = snap_str(l->c, span_trim(buf_span(&flags)));
	buf_fini(&flags);
	mem_free(&sets);
	mem_free(&args);
}

static void
one_service(struct conf *c, const char *file, int at, const struct conf_lines *joints, struct span text)
{
	struct line l = { .c = c, .file = file, .at = at, .joints = joints, .whole = text, .rest = text };
	struct svc svc = { .flags = "" };
	svc.pub.file = file;
	svc.pub.line = at;
	svc.pub.name = snap_str(c, field(&l, "service name"));
	svc.pub.type = service_type(&l);
	char private = yes_no(&l, "private"), unprivileged = yes_no(&l, "unprivileged");
	svc.chroot = yes_no(&l, "chroot");
	svc.pub.wakeup = number(&l, "wakeup time", &svc.wakeup_if_used);
	svc.pub.maxproc = number(&l, "process limit", NULL);
	svc.pub.command = snap_str(c, field(&l, "command name"));
	if (!l.bad && strcmp(svc.pub.type, "inet") == 0 && private != 'n') {
		snap_problem(c, CONF_ERROR, file, at, "an inet service cannot be private: \"n\" expected in the third field");
		l.bad = true;
	}
	if (!l.bad && strchr(svc.pub.command, '/') != NULL)
		bad_field(&l, "command name", span_str(svc.pub.command));
	arguments(&l, &svc);
	if (l.bad)
		return;
	svc.pub.is_private = private != 'n';
	svc.pub.unprivileged = unprivileged != 'n';
	svc.private_field = private;
	svc.unprivileged_field = unprivileged;
	svc.pub.kind = service_kind_of(svc.pub.command, NULL);
	struct svc *to = NULL;
	for (size_t i = 0; i < c->nsvc && to == NULL; i++)
		if (strcmp(c->svcs[i]->pub.name, svc.pub.name) == 0 && strcmp(c->svcs[i]->pub.type, svc.pub.type) == 0)
			to = c->svcs[i];
	if (to != NULL)
		snap_problem(c, CONF_WARNING, file, at, "duplicate master.cf entry for service \"%s\" (%s) -- using the last entry",
		    svc.pub.name, svc.pub.type);
	else
		to = snap_svc_add(c);
	*to = svc;
}

void
snap_parse_master(struct conf *c, const char *file, struct span text)
{
	struct conf_lines it = { .rest = text };
	struct buf line;
	int at, stray = 0;
	buf_init(&line, CONF_FILE_MAX);
	for (;;) {
		enum rc rc = conf_lines_next(&it, &line, &at);
		if (it.stray_line != stray)
			snap_problem(c, CONF_WARNING, file, stray = it.stray_line, "continuation line without a line before it: ignored");
		if (rc != RC_OK)
			break;
		one_service(c, file, at, &it, buf_span(&line));
	}
	buf_fini(&line);
}

void
snap_add_transports(struct conf *c)
{
	c->nlisted = c->nsvc;
	for (size_t i = 0; i < NELEMS(transports); i++) {
		bool is_there = false;
		for (size_t k = 0; k < c->nsvc; k++)
			is_there |= strcmp(c->svcs[k]->pub.name, transports[i].name) == 0 && strcmp(c->svcs[k]->pub.type, "unix") == 0;
		if (!is_there)
			one_service(c, "", 0, NULL, span_str(transports[i].line));
	}
}

/* master_service_disable: "type", "name/type", "!..."; the first that matches counts. */
static bool
is_disabled(const struct service *s, struct span list)
{
	struct span item;
	while (conf_item(&list, &item, NULL) == RC_OK) {
		bool yes = true;
		while (item.n > 0 && item.p[0] == '!') {
			yes = !yes;
			item = span_trim(span_from(item, 1));
		}
		size_t slash = span_rchr(item, '/');
		if (slash == SIZE_MAX ? span_caseeq_str(item, s->type)
		                      : span_caseeq_str(span_head(item, slash), s->name) && span_caseeq_str(span_from(item, slash + 1), s->type))
			return yes;
	}
	return false;
}

void
snap_settle_services(struct conf *c)
{
	struct view v = { .c = c };
	struct span raw;
	struct err e;
	const char *level = "0", *disable = "";
	uint64_t n[3];
	if (snap_lookup(&v, SPAN("compatibility_level"), &raw) && snap_expand(&v, raw, &level, &e) != RC_OK)
		level = "0";
	if (expand_level(span_str(level), n) != RC_OK)
		conf_problem(c, CONF_ERROR, NULL, "compatibility_level", "malformed compatibility level syntax: \"%s\"", level);
	if (snap_lookup(&v, SPAN("master_service_disable"), &raw) && snap_expand(&v, raw, &disable, &e) != RC_OK)
		disable = "";
	c->enabled = mem_reallocarray(c->enabled, c->nsvc + 1, sizeof(struct svc *));
	c->nenabled = c->nlisted_enabled = 0;
	for (size_t i = 0; i < c->nsvc; i++) {
		struct svc *s = c->svcs[i];
		s->pub.chroot = s->chroot == 'y' || (s->chroot == '-' && n[0] < 1);
		s->pub.disabled = is_disabled(&s->pub, span_str(disable));
		if (!s->pub.disabled)
			c->enabled[c->nenabled++] = s;
		c->nlisted_enabled += !s->pub.disabled && i < c->nlisted;
	}
}
