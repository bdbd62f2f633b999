/* SPDX-License-Identifier: BSD-2-Clause */
/* Types that are made of almost nothing (static, environ, fail), and those made of other tables. Facts 6.3. */
#include "base/mem.h"
#include "map/table.h"

/* ---- static: one result for every key ---- */

enum rc
static_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	(void)ctx;
	struct span *value = m->state = mem_zalloc(sizeof *value);
	struct span text;
	if (!map_unbrace(arg, &text))
		text = arg;
	if (text.n == 0)
		return err_set(e, RC_PERM, "%s: no value", m->name);
	*value = span_of(mem_dup(text.p, text.n), text.n);
	return RC_OK;
}

enum rc
static_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	(void)key;
	(void)scratch;
	(void)e;
	*value_out = *(const struct span *)m->state;
	return RC_OK;
}

enum rc
static_each(const struct map *m, map_entry_fn *fn, void *arg, struct err *e)
{
	(void)e;
	(void)fn(arg, SPAN("*"), *(const struct span *)m->state, 0);
	return RC_OK;
}

void
static_close(struct map *m)
{
	struct span *value = m->state;
	if (value == NULL)
		return;
	free((void *)(uintptr_t)value->p);
	mem_free(&value);
	m->state = NULL;
}

/* ---- fail: for tests of what a broken table does ---- */

enum rc
fail_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	(void)m;
	(void)ctx;
	(void)arg;
	(void)e;
	return RC_OK;
}

enum rc
fail_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	(void)key;
	(void)scratch;
	(void)value_out;
	return err_set(e, RC_TEMP, "%s lookup error", m->name);
}

/* ---- environ ---- */

enum rc
environ_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	return fail_open(m, ctx, arg, e); /* the name means nothing */
}

enum rc
environ_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	(void)m;
	(void)scratch;
	(void)e;
	char name[256];
	if (key.n >= sizeof name || span_chr(key, '\0') != SIZE_MAX)
		return RC_NONE;
	memcpy(name, key.p, key.n);
	name[key.n] = '\0';
	const char *value = getenv(name);
	if (value == NULL)
		return RC_NONE;
	*value_out = span_str(value);
	return RC_OK;
}

/* ---- made of other tables ---- */

static enum rc
tables_open(struct map *m, const struct map_ctx *ctx, struct span list, struct err *e)
{
	struct map_set *set = m->state = mem_zalloc(sizeof *set);
	struct map_ctx inner = *ctx;
	inner.depth++;
	struct err why = { 0 };
	enum rc rc = map_set_open(&inner, list, set, &why);
	for (size_t i = 0; i < set->count; i++)
		m->flags |= set->maps[i]->flags & MAPF_REMOTE;
	if (rc == RC_OK && set->count == 0)
		return err_set(e, RC_PERM, "%s: no table", m->name);
	/* A broken member has been reported; it answers "not now" by itself. */
	return rc == RC_OK || set->count > 0 ? RC_OK : err_set(e, RC_PERM, "%s: %s", m->name, why.why);
}

void
tables_close(struct map *m)
{
	struct map_set *set = m->state;
	if (set == NULL)
		return;
	map_set_close(set);
	mem_free(&set);
	m->state = NULL;
}

static enum rc
braced_tables(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	struct span list;
	if (!map_unbrace(arg, &list))
		return err_set(e, RC_PERM, "%s: expecting {type:name, type:name}", m->name);
	enum rc rc = tables_open(m, ctx, list, e);
	const struct map_set *set = m->state;
	for (size_t i = 0; i < set->count; i++)
		m->flags |= set->maps[i]->flags & (unsigned)MAPF_FIXED; /* parts of a key are for all of them when one has words */
	return rc;
}

enum rc
unionmap_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	return braced_tables(m, ctx, arg, e);
}

enum rc
unionmap_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	const struct map_set *set = m->state;
	struct buf joined, inner;
	enum rc rc = RC_NONE;
	buf_init(&joined, scratch->max);
	buf_init(&inner, scratch->max);
	for (size_t i = 0; i < set->count; i++) {
		struct span v;
		enum rc one = map_ask(set->maps[i], key, &inner, &v, e);
		if (one == RC_NONE)
			continue;
		if (one != RC_OK) {
			rc = one;
			goto out;
		}
		if (rc == RC_OK)
			buf_putc(&joined, ',');
		buf_put(&joined, v);
		rc = RC_OK;
	}
	if (rc == RC_OK) {
		buf_reset(scratch);
		buf_put(scratch, buf_span(&joined));
		*value_out = buf_span(scratch);
		if (joined.over || scratch->over)
			rc = err_set(e, RC_TEMP, "%s: result too long", m->name);
	}
out:
	buf_fini(&joined);
	buf_fini(&inner);
	return rc;
}

enum rc
pipemap_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	return braced_tables(m, ctx, arg, e);
}

enum rc
pipemap_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	const struct map_set *set = m->state;
	struct buf now, inner;
	enum rc rc = RC_OK;
	buf_init(&now, scratch->max);
	buf_init(&inner, scratch->max);
	buf_put(&now, key);
	for (size_t i = 0; i < set->count && rc == RC_OK; i++) {
		struct span v;
		rc = map_ask(set->maps[i], buf_span(&now), &inner, &v, e);
		if (rc != RC_OK)
			break;
		buf_reset(&now);
		buf_put(&now, v);
		if (now.over)
			rc = err_set(e, RC_TEMP, "%s: result too long", m->name);
	}
	if (rc == RC_OK) {
		buf_reset(scratch);
		buf_put(scratch, buf_span(&now));
		*value_out = buf_span(scratch);
	}
	buf_fini(&now);
	buf_fini(&inner);
	return rc;
}

/* proxy: is transparent: our roles share tables through the page cache. */
static bool
names_table(struct span list, struct span name, unsigned depth)
{
	struct span item;
	bool group;
	while (conf_item(&list, &item, &group) == RC_OK) {
		bool is_list = group;
		if (span_eq(item, name))
			return true;
		if (span_starts(item, SPAN("unionmap:")) || span_starts(item, SPAN("pipemap:")))
			is_list = map_unbrace(span_from(item, span_chr(item, ':') + 1), &item);
		if (is_list && depth < MAP_NEST_MAX && names_table(item, name, depth + 1))
			return true;
	}
	return false;
}

/* What Postfix's proxymap would refuse to read is refused. A command asks for what it likes. */
enum rc
proxy_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	if (ctx->parameter != NULL && !names_table(span_str(conf_value(ctx->conf, NULL, "proxy_read_maps")), span_str(m->name), 0))
		return err_set(e, RC_TEMP, "request for unapproved table: \"%.*s\": proxy_read_maps does not name %s", (int)span_head(arg, 100).n,
		    (const char *)arg.p, m->name);
	enum rc rc = tables_open(m, ctx, arg, e);
	const struct map_set *set = m->state;
	if (rc == RC_OK && set->count != 1)
		return err_set(e, RC_PERM, "%s: expecting one type:name", m->name);
	if (rc == RC_OK && set->count == 1)
		m->flags = set->maps[0]->flags & ~(unsigned)MAPF_BUILT;
	return rc;
}

enum rc
proxy_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	const struct map_set *set = m->state;
	return map_ask(set->maps[0], key, scratch, value_out, e);
}
