/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/table.h"

#include "base/clock.h"
#include "base/mem.h"
#include "conf/param.h"

#include <stdarg.h>

struct map_list {
	struct conf *conf;
	struct map_set set;
	bool has_fixed;
	size_t *answered;            /* index of the table that answered last, or SIZE_MAX */
};

/* The tables that are open in this process, by name and snapshot. */
static struct htab open_maps;

/* ---- types ---- */

static const struct map_type types[] = {
#define MAP(type, flags, open, find, close, each, doc) { #type, flags, open, find, close, each, doc },
#define MAP_LATER(type, doc) { #type, 0, NULL, NULL, NULL, NULL, doc },
#include "map/maps.def"
#undef MAP
#undef MAP_LATER
};

size_t
map_type_count(void)
{
	return NELEMS(types);
}

const struct map_type *
map_type_at(size_t row)
{
	return row < NELEMS(types) ? &types[row] : NULL;
}

static const struct map_type *
type_find(struct span name)
{
	for (size_t i = 0; i < NELEMS(types); i++)
		if (span_eq_str(name, types[i].name))
			return &types[i];
	return NULL;
}

static enum rc
type_unknown(struct span name, struct err *e)
{
	const char *best = NULL;
	unsigned near = 1 + (unsigned)name.n / 5;
	char shown[40];
	struct buf b;
	for (size_t i = 0; i < NELEMS(types); i++)
		if (edit_distance(name, span_str(types[i].name), near) <= near) {
			best = types[i].name;
			near = edit_distance(name, span_str(best), near);
		}
	buf_init(&b, sizeof shown);
	buf_put_safe(&b, name, sizeof shown - 1, false);
	snprintf(shown, sizeof shown, "%s", buf_cstr(&b));
	buf_fini(&b);
	if (best != NULL)
		return err_set(e, RC_PERM, "unknown table type \"%s\": did you mean %s?", shown, best);
	return err_set(e, RC_PERM, "unknown table type \"%s\"", shown);
}

/* ---- one table ---- */

void
map_problem(const struct map_ctx *ctx, enum conf_severity sev, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	const char *name = ctx->parameter != NULL ? ctx->parameter : "";
	conf_problem(ctx->conf, sev, ctx->service, ctx->parameter, "%s%s%s", name, *name != '\0' ? ": " : "", text);
}

enum rc
map_file(const struct map_ctx *ctx, const char *path, struct span *out, struct err *e)
{
	if (ctx->audience == CONF_FOR_ALL)
		return conf_file(ctx->conf, path, out, e);
	enum rc rc = conf_file_secret(ctx->conf, path, ctx->audience, out, e);
	if (rc == RC_OK)
		conf_warn_readable(ctx->conf, ctx->parameter, path, 0077);
	return rc;
}

bool
map_unbrace(struct span arg, struct span *inside_out)
{
	arg = span_trim(arg);
	if (arg.n < 2 || arg.p[0] != '{' || arg.p[arg.n - 1] != '}')
		return false;
	*inside_out = span_trim(span_of(arg.p + 1, arg.n - 2));
	return true;
}

/* Where Postfix puts nothing of the key into results: a sender or recipient could choose where mail goes. */
static bool
refuses_groups(const struct map_ctx *ctx)
{
	static const char *const names[] = { "alias_database", "alias_maps", "mailbox_command_maps", "mailbox_transport_maps", "fallback_transport_maps",
		"relocated_maps", "sender_dependent_default_transport_maps", "sender_dependent_relayhost_maps", "transport_maps", "virtual_gid_maps",
		"virtual_mailbox_maps", "virtual_uid_maps" };
	for (size_t i = 0; ctx->parameter != NULL && i < NELEMS(names); i++)
		if (strcmp(ctx->parameter, names[i]) == 0)
			return true;
	return false;
}

/* Headers and lines are octets for Postfix, whatever smtputf8_enable says: a rule finds what is not UTF-8, too. */
static bool
takes_octets(const struct map_ctx *ctx)
{
	return ctx->parameter != NULL && span_caseends(span_str(ctx->parameter), SPAN("_checks"));
}

static struct map *
registered(const struct map_ctx *ctx, struct span name)
{
	for (struct hnode *n = htab_first(&open_maps, span_hash(name)); n != NULL; n = htab_next(n)) {
		struct map *m = container_of(n, struct map, by_name);
		if (m->conf == ctx->conf && m->audience == ctx->audience && m->refuses_groups == refuses_groups(ctx) &&
		    m->takes_octets == takes_octets(ctx) && span_eq_str(name, m->name))
			return m;
	}
	return NULL;
}

static enum rc
table_open(struct map *m, const struct map_ctx *ctx, struct span name, struct err *e)
{
	size_t colon = span_chr(name, ':');
	if (colon == SIZE_MAX)
		return err_set(e, RC_PERM, "expecting \"type:name\" form instead of \"%s\"", m->name);
	m->type = type_find(span_head(name, colon));
	if (m->type == NULL)
		return type_unknown(span_head(name, colon), e);
	if (m->type->open == NULL)
		return err_set(e, RC_PERM, "table type %s: is not supported yet (%s)", m->type->name, m->name);
	if (ctx->depth > MAP_NEST_MAX)
		return err_set(e, RC_PERM, "tables are nested too deep at %s", m->name);
	m->flags = m->type->flags;
	return m->type->open(m, ctx, span_from(name, colon + 1), e);
}

/* A table of another process where nobody waits for it would fail each time. */
static enum rc
check_waits(const struct map *m, const struct map_ctx *ctx, struct err *e)
{
	if ((m->flags & MAPF_REMOTE) == 0 || ctx->parameter == NULL || !conf_is_loader(ctx->conf) || map_waits_for(ctx->parameter))
		return RC_OK;
	map_problem(ctx, CONF_ERROR, "%s is asked in another process: not possible here, where nobody waits for the answer", m->name);
	return err_set(e, RC_PERM, "%s cannot be used in %s", m->name, ctx->parameter);
}

/* A table may have been opened for another parameter before, with those it is made of. */
static void
note_parameter(const struct map *m, const struct map_ctx *ctx)
{
	const struct map_set *set = m->state;
	if ((m->flags & MAPF_REMOTE) == 0 || m->broken || !conf_is_loader(ctx->conf))
		return;
	if (m->type->close != tables_close) {
		map_remote_note(ctx, m->name);
		return;
	}
	for (size_t i = 0; set != NULL && i < set->count; i++)
		note_parameter(set->maps[i], ctx);
}

/* A password in main.cf is as secret as main.cf. */
static void
warn_of_secret(const struct map *m, const struct map_ctx *ctx)
{
	const char *file;
	int line;
	bool is_here = strcmp(m->type->name, "static") == 0 || strcmp(m->type->name, "inline") == 0 || strcmp(m->type->name, "randmap") == 0;
	if (is_here && ctx->audience != CONF_FOR_ALL && conf_is_loader(ctx->conf) && ctx->parameter != NULL && strstr(ctx->parameter, "password") != NULL &&
	    conf_position(ctx->conf, ctx->service, ctx->parameter, &file, &line) && file[0] != '\0')
		conf_warn_readable(ctx->conf, ctx->parameter, file, 0007);
}

enum rc
map_get(const struct map_ctx *ctx, struct span name, struct map **out, struct err *e)
{
	struct map *m = registered(ctx, name);
	if (m != NULL) {
		m->refs++;
		*out = m;
		note_parameter(m, ctx);
		return m->broken && !m->may_return ? err_set(e, RC_PERM, "%s", m->why) : check_waits(m, ctx, e);
	}
	m = mem_zalloc(sizeof *m);
	m->conf = ctx->conf;
	m->refuses_groups = refuses_groups(ctx);
	m->takes_octets = takes_octets(ctx);
	m->audience = ctx->audience;
	m->refs = 1;
	m->name = span_dup(name);
	htab_insert(&open_maps, &m->by_name, span_hash(name));
	*out = m;

	struct err why = { 0 };
	enum rc rc = table_open(m, ctx, name, &why);
	if (rc == RC_OK) {
		warn_of_secret(m, ctx);
		note_parameter(m, ctx);
		return check_waits(m, ctx, e);
	}
	m->broken = true;
	snprintf(m->why, sizeof m->why, "%.*s", (int)sizeof m->why - 1, why.why);
	/* a role does not judge the configuration: what the loader let pass and cannot be read here is "not now" */
	m->may_return = rc == RC_TEMP || !conf_is_loader(ctx->conf);
	map_problem(ctx, m->may_return ? CONF_WARNING : CONF_ERROR, "%s", why.why);
	return m->may_return ? RC_OK : err_set(e, RC_PERM, "%s", why.why);
}

void
map_release(struct map **mp)
{
	struct map *m = *mp;
	*mp = NULL;
	if (m == NULL)
		return;
	BUG_ON(m->refs == 0);
	if (--m->refs > 0)
		return;
	htab_remove(&open_maps, &m->by_name);
	if (open_maps.count == 0)
		htab_fini(&open_maps);
	if (m->type != NULL && m->type->close != NULL)
		m->type->close(m);
	mem_free(&m->name);
	mem_free(&m);
}

static struct {
	map_watch_fn *fn;
	void *arg;
} watch;

void
map_watch(map_watch_fn *fn, void *arg)
{
	watch.fn = fn;
	watch.arg = arg;
}

static enum rc
ask(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	unsigned char folded[MAP_KEY_MAX];
	*value_out = SPAN_EMPTY;
	if (m->broken)
		return err_set(e, RC_TEMP, "%s lookup error: %s", m->name, m->why);
	if (key.n == 0)
		return RC_NONE;
	if ((m->flags & MAPF_FOLD) != 0) {
		if (key.n > sizeof folded)
			return RC_NONE;
		for (size_t i = 0; i < key.n; i++) {
			unsigned char c = key.p[i];
			folded[i] = c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
		}
		key = span_of(folded, key.n);
	}
	return m->type->find(m, key, scratch, value_out, e);
}

enum rc
map_ask(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	if (watch.fn == NULL)
		return ask(m, key, scratch, value_out, e);
	uint64_t began = clock_mono();
	enum rc rc = ask(m, key, scratch, value_out, e);
	watch.fn(watch.arg, m->name, key, rc, *value_out, clock_mono() - began);
	return rc;
}

enum rc
map_each(const struct map *m, map_entry_fn *fn, void *arg, struct err *e)
{
	if (m->broken)
		return err_set(e, RC_TEMP, "%s: %s", m->name, m->why);
	if (m->type->each == NULL)
		return err_set(e, RC_PERM, "tables of type %s cannot be listed", m->type->name);
	return m->type->each(m, fn, arg, e);
}

/* ---- several ---- */

enum rc
map_set_open(const struct map_ctx *ctx, struct span list, struct map_set *out, struct err *e)
{
	enum rc worst = RC_OK, rc;
	struct span item;
	bool group;
	*out = (struct map_set){ 0 };
	while ((rc = conf_item(&list, &item, &group)) == RC_OK) {
		struct map *m = NULL;
		if (map_get(ctx, item, &m, e) != RC_OK)
			worst = RC_PERM;
		out->maps = mem_reallocarray(out->maps, out->count + 1, sizeof *out->maps);
		out->maps[out->count++] = m;
	}
	if (rc != RC_NONE) {
		err_set(e, RC_PERM, "unbalanced braces in a list of tables");
		map_problem(ctx, CONF_ERROR, "unbalanced braces in a list of tables");
		worst = RC_PERM;
	}
	return worst;
}

void
map_set_close(struct map_set *s)
{
	for (size_t i = 0; i < s->count; i++)
		map_release(&s->maps[i]);
	mem_free(&s->maps);
	s->count = 0;
}

static enum rc
open_list(struct map_ctx *ctx, const char *value, struct map_list **out, struct err *e)
{
	struct map_list *l = mem_zalloc(sizeof *l);
	l->conf = conf_ref(ctx->conf);
	l->answered = mem_alloc(sizeof *l->answered);
	*l->answered = SIZE_MAX;
	*out = l;
	enum rc rc = map_set_open(ctx, span_str(value), &l->set, e);
	for (size_t i = 0; i < l->set.count; i++)
		l->has_fixed |= l->set.maps[i]->broken || (l->set.maps[i]->flags & MAPF_FIXED) != 0;
	return rc;
}

enum rc
maps_open(struct conf *c, const struct service *s, const char *parameter, const char *value, struct map_list **out, struct err *e)
{
	struct map_ctx ctx = { .conf = c, .service = s, .parameter = parameter };
	return open_list(&ctx, value, out, e);
}

enum rc
maps_open_secret(struct conf *c, const struct service *s, const char *parameter, const char *value, unsigned audience, struct map_list **out, struct err *e)
{
	struct map_ctx ctx = { .conf = c, .service = s, .parameter = parameter, .audience = audience };
	return open_list(&ctx, value, out, e);
}

enum rc
maps_open_param(struct conf *c, const struct service *s, const char *parameter, struct map_list **out, struct err *e)
{
	return maps_open(c, s, parameter, conf_value(c, s, parameter), out, e);
}

void
map_list_free(struct map_list **lp)
{
	struct map_list *l = *lp;
	*lp = NULL;
	if (l == NULL)
		return;
	map_set_close(&l->set);
	conf_unref(&l->conf);
	mem_free(&l->answered);
	mem_free(&l);
}

bool
map_list_empty(const struct map_list *l)
{
	return l == NULL || l->set.count == 0;
}

bool
map_list_has_fixed(const struct map_list *l)
{
	return l != NULL && l->has_fixed;
}

bool
map_list_is_remote(const struct map_list *l)
{
	for (size_t i = 0; l != NULL && i < l->set.count; i++)
		if ((l->set.maps[i]->flags & MAPF_REMOTE) != 0)
			return true;
	return false;
}

bool
map_list_names(const struct map_list *l, const char *table)
{
	for (size_t i = 0; l != NULL && i < l->set.count; i++)
		if (strcmp(l->set.maps[i]->name, table) == 0)
			return true;
	return false;
}

struct walk {
	bool (*fn)(void *arg, const char *table, struct span key, struct span value);
	map_place_fn *place_fn;      /* in its place, or NULL */
	void *arg;
	const char *table;
	bool over;
};

static bool
walk_entry(void *arg, struct span key, struct span value, int line)
{
	struct walk *w = arg;
	char place[400];
	if (w->place_fn != NULL) {
		snprintf(place, sizeof place, line > 0 && strchr(w->table, '{') == NULL ? "%.380s:%d" : "%.380s", w->table, line);
		w->over = !w->place_fn(w->arg, w->table, place, key, value);
	} else {
		w->over = !w->fn(w->arg, w->table, key, value);
	}
	return !w->over;
}

static void
walk(const struct map_list *l, struct walk *w)
{
	for (size_t i = 0; l != NULL && i < l->set.count && !w->over; i++) {
		w->table = l->set.maps[i]->name;
		if (!l->set.maps[i]->broken && l->set.maps[i]->type->each != NULL)
			(void)!map_each(l->set.maps[i], walk_entry, w, NULL);
	}
}

void
map_list_each(const struct map_list *l, bool (*fn)(void *arg, const char *table, struct span key, struct span value), void *arg)
{
	struct walk w = { .fn = fn, .arg = arg };
	walk(l, &w);
}

void
map_list_each_place(const struct map_list *l, map_place_fn *fn, void *arg)
{
	struct walk w = { .place_fn = fn, .arg = arg };
	walk(l, &w);
}

enum rc
map_find(const struct map_list *l, struct span key, unsigned flags, struct buf *scratch, struct span *value_out, struct err *e)
{
	*value_out = SPAN_EMPTY;
	if (l == NULL)
		return RC_NONE;
	for (size_t i = 0; i < l->set.count; i++) {
		const struct map *m = l->set.maps[i];
		if ((flags & MAP_PARTIAL) != 0 && !m->broken && (m->flags & MAPF_FIXED) == 0)
			continue;
		enum rc rc = map_ask(m, key, scratch, value_out, e);
		if (rc == RC_NONE)
			continue;
		*l->answered = i;
		if (rc == RC_OK && value_out->n == 0)
			return err_set(e, RC_TEMP, "%s: lookup gives an empty string; it should give nothing, or a result", m->name);
		return rc == RC_PERM ? RC_TEMP : rc;
	}
	*l->answered = SIZE_MAX;
	return RC_NONE;
}
