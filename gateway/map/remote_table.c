/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/remote_table.h"

#include "base/mem.h"
#include "conf/param.h"
#include "conf/ports.h"
#include "map/remote.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <unistd.h>

enum { ARENA_MAX = 1 << 20 };
static const char tables_key[] = "remote tables";

/* ---- tcp and socketmap ---- */

/* host:port, [address]:port */
static enum rc
host_of(struct span arg, const char *known_ports, struct arena *a, struct remote_place *out, struct err *e)
{
	size_t colon = span_rchr(arg, ':');
	struct span host = colon == SIZE_MAX ? SPAN_EMPTY : span_head(arg, colon);
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = span_of(host.p + 1, host.n - 2);
	else if (span_chr(host, ':') != SIZE_MAX)
		return err_set(e, RC_PERM, "an IPv6 address must be written in [ ]");
	if (host.n == 0 || host.n > 255)
		return err_set(e, RC_PERM, "expecting host:port");
	out->host = arena_cstr(a, host);
	if (out->host == NULL)
		return err_set(e, RC_PERM, "bad host name");
	struct span port = span_from(arg, colon + 1);
	if (port_find(port, known_ports, &out->port) == RC_OK)
		return RC_OK;
	return err_set(e, RC_PERM, "there is no port \"%.*s\"", (int)span_head(port, 40).n, (const char *)port.p);
}

static enum rc
path_of(struct span path, const char *base, struct arena *a, struct remote_place *out, struct err *e)
{
	struct buf b;
	out->is_unix = true;
	if (path.n == 0)
		return err_set(e, RC_PERM, "expecting unix:path:name");
	buf_init(&b, REMOTE_PATH_MAX - 1);
	if (path.p[0] != '/') {
		buf_puts(&b, base);
		buf_putc(&b, '/');
	}
	buf_put(&b, path);
	bool is_over = b.over;
	out->host = arena_cstr(a, buf_span(&b));
	buf_fini(&b);
	return is_over || out->host == NULL ? err_set(e, RC_PERM, "the path of the socket is too long") : RC_OK;
}

enum rc
remote_place_parse(enum remote_kind kind, struct span arg, const struct params *p, struct arena *a, struct remote_place *out, struct err *e)
{
	*out = (struct remote_place){ 0 };
	if (kind == REMOTE_TCP)
		return host_of(arg, p->p_known_tcp_ports, a, out, e);
	size_t colon = span_rchr(arg, ':');
	struct span server = colon == SIZE_MAX ? SPAN_EMPTY : span_head(arg, colon);
	out->map = colon == SIZE_MAX ? SPAN_EMPTY : arena_span(a, span_from(arg, colon + 1));
	if (out->map.n == 0)
		return err_set(e, RC_PERM, "expecting inet:host:port:name or unix:path:name");
	if (span_starts(server, SPAN("inet:")))
		return host_of(span_from(server, 5), p->p_known_tcp_ports, a, out, e);
	if (span_starts(server, SPAN("unix:")))
		return path_of(span_from(server, 5), p->p_queue_directory, a, out, e);
	return err_set(e, RC_PERM, "expecting inet:host:port:name or unix:path:name");
}

/* ---- sqlite: a file of parameters ---- */

enum { DBPATH = 0, QUERY, RESULT_FORMAT, DOMAIN, EXPANSION_LIMIT, SELECT_FIELD, TABLE, WHERE_FIELD, CONDITIONS, SETTINGS };
static const char *const setting_names[SETTINGS] = {
	[DBPATH] = "dbpath",
	[QUERY] = "query",
	[RESULT_FORMAT] = "result_format",
	[DOMAIN] = "domain",
	[EXPANSION_LIMIT] = "expansion_limit",
	[SELECT_FIELD] = "select_field",
	[TABLE] = "table",
	[WHERE_FIELD] = "where_field",
	[CONDITIONS] = "additional_conditions",
};

struct settings {
	struct span value[SETTINGS];
	int line[SETTINGS];          /* 0: not set in a file */
	const char *file;
};

static int
setting_of(struct span name)
{
	for (int i = 0; i < SETTINGS; i++)
		if (span_eq_str(name, setting_names[i]))
			return i;
	return -1;
}

static void
settings_line(struct settings *s, struct span line, int lineno, struct arena *a, const struct map_ctx *ctx)
{
	size_t eq = span_chr(line, '=');
	struct span name = span_trim(span_head(line, eq == SIZE_MAX ? line.n : eq));
	int i = setting_of(name);
	char shown[60];
	struct buf b;
	buf_init(&b, sizeof shown);
	buf_put_safe(&b, name, sizeof shown - 1, false);
	snprintf(shown, sizeof shown, "%s", buf_cstr(&b));
	buf_fini(&b);
	if (eq == SIZE_MAX)
		map_problem(ctx, CONF_WARNING, "%s:%d: missing '=' after attribute name: \"%s\"", s->file, lineno, shown);
	else if (i < 0)
		map_problem(ctx, CONF_WARNING, "%s:%d: unknown parameter \"%s\" of an sqlite table", s->file, lineno, shown);
	else {
		s->value[i] = arena_span(a, span_trim(span_from(line, eq + 1)));
		s->line[i] = lineno;
	}
}

/* /path or ./path: a file; else parameters NAME_dbpath, ... of main.cf. */
static enum rc
settings_read(struct settings *s, struct span arg, struct arena *a, const struct map_ctx *ctx, struct err *e)
{
	struct span text;
	s->file = arena_cstr(a, span_trim(arg));
	if (s->file == NULL || *s->file == '\0')
		return err_set(e, RC_PERM, "no file name");
	if (*s->file != '/' && *s->file != '.') {
		for (int i = 0; i < SETTINGS; i++) {
			char name[300];
			snprintf(name, sizeof name, "%s_%s", s->file, setting_names[i]);
			s->value[i] = span_str(conf_value(ctx->conf, ctx->service, name));
		}
		return RC_OK;
	}
	if (conf_file(ctx->conf, s->file, &text, e) != RC_OK)
		return RC_PERM;
	struct conf_lines lines = { .rest = text };
	struct buf line;
	int lineno;
	buf_init(&line, TEMPLATE_QUERY_MAX + 100);
	while (conf_lines_next(&lines, &line, &lineno) == RC_OK)
		settings_line(s, buf_span(&line), lineno, a, ctx);
	buf_fini(&line);
	return RC_OK;
}

/* "file:line: " in front of what is wrong with a setting. */
static enum rc
wrong(const struct settings *s, int i, struct err *e)
{
	return s->line[i] > 0 ? err_prefix(e, "%s:%d", s->file, s->line[i]) : err_prefix(e, "%s", s->file);
}

/* The old way to say it: table, select_field, where_field, additional_conditions. */
static enum rc
build_query(struct settings *s, struct arena *a, struct err *e)
{
	struct buf b;
	for (int i = SELECT_FIELD; i <= WHERE_FIELD; i++)
		if (s->value[i].n == 0)
			return err_set(e, RC_PERM, "%s: no query", s->file);
	buf_init(&b, TEMPLATE_QUERY_MAX);
	buf_puts(&b, "SELECT ");
	buf_put(&b, s->value[SELECT_FIELD]);
	buf_puts(&b, " FROM ");
	buf_put(&b, s->value[TABLE]);
	buf_puts(&b, " WHERE ");
	buf_put(&b, s->value[WHERE_FIELD]);
	buf_puts(&b, " = '%s' ");
	buf_put(&b, s->value[CONDITIONS]);
	s->value[QUERY] = arena_span(a, buf_span(&b));
	s->line[QUERY] = s->line[TABLE];
	buf_fini(&b);
	return RC_OK;
}

/* A table that is itself asked for elsewhere cannot say which keys are worth asking for. */
static bool
names_remote_table(struct span list)
{
	return span_find(list, SPAN("sqlite:")) != SIZE_MAX || span_find(list, SPAN("tcp:")) != SIZE_MAX ||
	    span_find(list, SPAN("socketmap:")) != SIZE_MAX;
}

static enum rc
open_domains(struct remote_table *t, const struct settings *s, const struct map_ctx *ctx, struct err *e)
{
	if (s->value[DOMAIN].n == 0)
		return RC_OK;
	if (names_remote_table(s->value[DOMAIN]))
		return err_set(e, RC_PERM, "domain: tables of other processes cannot be used here");
	const char *list = arena_cstr(&t->arena, s->value[DOMAIN]);
	if (list == NULL)
		return err_set(e, RC_PERM, "domain: NUL byte");
	enum rc rc = matchlist_open(ctx->conf, ctx->service, ctx->parameter, list, MATCH_STRING, &t->domain, e);
	return rc == RC_OK ? RC_OK : err_prefix(e, "domain");
}

static enum rc
open_sqlite(struct remote_table *t, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	struct settings s = { .file = "" };
	enum rc rc = settings_read(&s, arg, &t->arena, ctx, e);
	if (rc != RC_OK)
		return rc;
	if (s.value[DBPATH].n == 0)
		return err_set(e, RC_PERM, "%s: no dbpath", s.file);
	t->dbpath = arena_cstr(&t->arena, s.value[DBPATH]);
	if (t->dbpath == NULL || *t->dbpath != '/') {
		err_set(e, RC_PERM, "dbpath must begin with /");
		return wrong(&s, DBPATH, e);
	}
	if (conf_is_loader(ctx->conf) && access(t->dbpath, F_OK) != 0)
		map_problem(ctx, CONF_WARNING, "%s:%d: %s: %s", s.file, s.line[DBPATH], t->dbpath, strerror(errno));
	if (s.value[QUERY].n == 0 && (rc = build_query(&s, &t->arena, e)) != RC_OK)
		return rc;
	if (query_compile(s.value[QUERY], s.value[RESULT_FORMAT].n > 0 ? s.value[RESULT_FORMAT] : SPAN("%s"), &t->arena, &t->query, e) != RC_OK)
		return wrong(&s, strncmp(e->why, "result", 6) == 0 ? RESULT_FORMAT : QUERY, e);
	if (s.value[EXPANSION_LIMIT].n > 0 && !span_u64(s.value[EXPANSION_LIMIT], INT32_MAX, &t->expansion_limit)) {
		err_set(e, RC_PERM, "bad expansion_limit");
		return wrong(&s, EXPANSION_LIMIT, e);
	}
	rc = open_domains(t, &s, ctx, e);
	return rc == RC_OK ? RC_OK : wrong(&s, DOMAIN, e);
}

/* ---- all of them ---- */

bool
remote_kind_of(struct span name, enum remote_kind *out)
{
	struct span type = span_head(name, span_chr(name, ':'));
	*out = span_eq_str(type, "tcp") ? REMOTE_TCP : span_eq_str(type, "socketmap") ? REMOTE_SOCKETMAP : REMOTE_SQLITE;
	return *out != REMOTE_SQLITE || span_eq_str(type, "sqlite");
}

enum rc
remote_table_open(const struct map_ctx *ctx, enum remote_kind kind, struct span name, struct remote_table **out, struct err *e)
{
	struct remote_table *t = *out = mem_zalloc(sizeof *t);
	struct span arg = span_from(name, span_chr(name, ':') + 1);
	t->conf = ctx->conf;
	t->kind = kind;
	arena_init(&t->arena, ARENA_MAX);
	t->name = arena_cstr(&t->arena, name);
	if (t->name == NULL)
		return err_set(e, RC_PERM, "bad table name");
	if (kind == REMOTE_SQLITE)
		return open_sqlite(t, ctx, arg, e);
	return remote_place_parse(kind, arg, conf_params(ctx->conf), &t->arena, &t->place, e);
}

void
remote_table_free(struct remote_table **tp)
{
	struct remote_table *t = *tp;
	*tp = NULL;
	if (t == NULL)
		return;
	matchlist_free(&t->domain);
	arena_fini(&t->arena);
	mem_free(&t);
}

enum rc
remote_table_takes(const struct remote_table *t, struct span key, struct err *e)
{
	if (conf_params(t->conf)->p_smtputf8_enable && !span_is_utf8(key))
		return RC_NONE; /* as Postfix */
	if (t->kind != REMOTE_SQLITE)
		return RC_OK;
	if (!span_is_utf8(key) || span_chr(key, '\0') != SIZE_MAX || !query_takes(&t->query, key))
		return RC_NONE;
	if (t->domain == NULL)
		return RC_OK;
	size_t at = span_rchr(key, '@');
	if (at == SIZE_MAX || at == 0 || at + 1 == key.n)
		return RC_NONE; /* parts of addresses are in no domain */
	return matchlist_name(t->domain, span_from(key, at + 1), e);
}

/* ---- as tables of the process that looks up ---- */

/* Looked at in the middle of something that cannot be done again. ("smtpd_client_event_limit_exceptions" is one of them,
 * but it is mynetworks unless set: such a table excepts nobody, then.) */
static const char *const nobody_waits[] = {
	"debug_peer_list", "smtpd_authorized_xclient_hosts", "smtpd_authorized_xforward_hosts", "smtpd_forbid_bare_newline_exclusions",
	"smtpd_forbidden_commands", "smtpd_log_access_permit_actions", "smtpd_noop_commands", "smtpd_reject_footer_maps",
	"smtpd_upstream_proxy_hosts",
};

bool
map_waits_for(const char *parameter)
{
	for (size_t i = 0; i < NELEMS(nobody_waits); i++)
		if (strcmp(parameter, nobody_waits[i]) == 0)
			return false;
	return true;
}

const char *
map_remote_tables(const struct conf *c)
{
	return conf_attached(c, tables_key);
}

/* "asks TABLE" -> the roles, as a number. */
static const char *
askers_key(struct buf *b, const char *table)
{
	buf_puts(b, "asks ");
	buf_puts(b, table);
	return buf_cstr(b);
}

unsigned
map_remote_askers_of(const struct conf *c, const char *table)
{
	struct buf key;
	uint64_t askers = 0;
	buf_init(&key, ARENA_MAX);
	const char *have = conf_attached(c, askers_key(&key, table));
	if (have != NULL && !span_u64(span_str(have), UINT_MAX, &askers))
		askers = 0;
	buf_fini(&key);
	return (unsigned)askers;
}

/* The address book and the rewriter are opened by edge and queue. */
static const char *const edge_and_queue[] = {
	"alias_maps", "canonical_maps", "local_recipient_maps", "masquerade_exceptions", "mydestination", "recipient_bcc_maps",
	"recipient_canonical_maps", "relay_domains", "relay_recipient_maps", "sender_bcc_maps", "sender_canonical_maps", "transport_maps",
	"virtual_alias_domains", "virtual_alias_maps", "virtual_mailbox_domains", "virtual_mailbox_maps",
};

/* Routes. */
static const char *const queue_only[] = {
	"address_verify_sender_dependent_default_transport_maps", "address_verify_sender_dependent_relayhost_maps", "address_verify_transport_maps",
	"quarantine_recipient_policy", "relocated_maps", "sender_dependent_default_transport_maps", "sender_dependent_relayhost_maps",
};

static bool
is_among(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

unsigned
map_remote_askers(const char *parameter)
{
	bool is_clients = strncmp(parameter, "smtp_", 5) == 0 || strncmp(parameter, "lmtp_", 5) == 0;
	if (is_clients && param_find(span_str(parameter)) != NULL) /* else a class of restrictions has such a name */
		return REMOTE_BY_RELAY;
	if (is_among(queue_only, NELEMS(queue_only), parameter))
		return REMOTE_BY_QUEUE;
	if (!is_among(edge_and_queue, NELEMS(edge_and_queue), parameter))
		return REMOTE_BY_EDGE; /* restrictions and their classes, and whatever else a session looks at */
	/* generic maps complete addresses as mydestination says */
	return REMOTE_BY_EDGE | REMOTE_BY_QUEUE | (strcmp(parameter, "mydestination") == 0 ? (unsigned)REMOTE_BY_RELAY : 0);
}

static void
note_table(struct conf *c, const char *name)
{
	struct buf all;
	struct span have = span_str(map_remote_tables(c)), line;
	while (span_word(&have, "\n", &line))
		if (span_eq_str(line, name))
			return;
	buf_init(&all, 1 << 20);
	const char *before = map_remote_tables(c);
	if (before != NULL) {
		buf_puts(&all, before);
		buf_putc(&all, '\n');
	}
	buf_puts(&all, name);
	conf_attach(c, tables_key, buf_cstr(&all));
	buf_fini(&all);
}

void
map_remote_note(const struct map_ctx *ctx, const char *table)
{
	unsigned before = map_remote_askers_of(ctx->conf, table);
	unsigned now = before | (ctx->parameter != NULL ? map_remote_askers(ctx->parameter) : 0);
	struct buf key;
	char text[16];
	note_table(ctx->conf, table);
	if (now == before)
		return;
	buf_init(&key, ARENA_MAX);
	snprintf(text, sizeof text, "%u", now);
	conf_attach(ctx->conf, askers_key(&key, table), text);
	buf_fini(&key);
}

static enum rc
open_as(struct map *m, const struct map_ctx *ctx, enum remote_kind kind, struct err *e)
{
	struct remote_table *t = NULL;
	enum rc rc = remote_table_open(ctx, kind, span_str(m->name), &t, e);
	m->state = t;
	if (rc != RC_OK)
		return kind == REMOTE_SQLITE ? rc : err_prefix(e, "%s", m->name); /* the others say file and line */
	return RC_OK;
}

enum rc
tcp_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	(void)arg;
	return open_as(m, ctx, REMOTE_TCP, e);
}

enum rc
socketmap_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	(void)arg;
	return open_as(m, ctx, REMOTE_SOCKETMAP, e);
}

enum rc
sqlite_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	(void)arg;
	return open_as(m, ctx, REMOTE_SQLITE, e);
}

void
remote_close(struct map *m)
{
	struct remote_table *t = m->state;
	remote_table_free(&t);
	m->state = NULL;
}
