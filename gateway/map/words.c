/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/words.h"

#include "base/mem.h"
#include "base/rand.h"

enum { COMPLAINTS_MAX = 20 };

struct words *
words_new(void)
{
	struct words *w = mem_zalloc(sizeof *w);
	arena_init(&w->arena, SIZE_MAX / 2);
	w->last = &w->first;
	return w;
}

void
words_free(struct words **wp)
{
	struct words *w = *wp;
	*wp = NULL;
	if (w == NULL)
		return;
	htab_fini(&w->tab);
	arena_fini(&w->arena);
	mem_free(&w);
}

const struct word *
words_get(const struct words *w, struct span key)
{
	for (struct hnode *n = htab_first(&w->tab, span_hash(key)); n != NULL; n = htab_next(n)) {
		const struct word *it = container_of(n, struct word, by_key);
		if (span_eq(it->key, key))
			return it;
	}
	return NULL;
}

bool
words_add(struct words *w, struct span key, struct span value, bool fold)
{
	unsigned char *bytes = arena_alloc(&w->arena, key.n + value.n + 1);
	struct word *it = arena_zalloc(&w->arena, sizeof *it);
	for (size_t i = 0; i < key.n; i++) {
		unsigned char c = key.p[i];
		bytes[i] = fold && c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
	}
	it->key = span_of(bytes, key.n);
	if (words_get(w, it->key) != NULL)
		return false;
	if (value.n > 0)
		memcpy(bytes + key.n, value.p, value.n);
	it->value = span_of(bytes + key.n, value.n);
	htab_insert(&w->tab, &it->by_key, span_hash(it->key));
	*w->last = it;
	w->last = &it->next;
	w->count++;
	return true;
}

/* value: copied. The key is there already, in whatever case. */
static void
words_replace(struct words *w, struct span key, struct span value)
{
	for (struct word *it = w->first; it != NULL; it = it->next)
		if (span_caseeq(it->key, key))
			it->value = arena_span(&w->arena, value);
}

void
words_read(struct words *w, struct span text, enum source_form form, const struct map_ctx *ctx, const char *file)
{
	struct source src;
	struct source_entry en;
	unsigned complaints = 0;
	source_init(&src, text, form);
	src.line.is_secret = ctx->audience != CONF_FOR_ALL;
	while (source_next(&src, &en) == RC_OK) {
		const char *what = en.complaint;
		if (en.usable && !words_add(w, en.key, en.value, true))
			what = "duplicate entry";
		if (what == NULL || ++complaints > COMPLAINTS_MAX)
			continue;
		struct buf shown;
		buf_init(&shown, 80);
		buf_put_safe(&shown, en.key, 60, true);
		map_problem(ctx, CONF_WARNING, "%s:%d: %s: \"%s\"", file, en.lineno, what, buf_cstr(&shown));
		buf_fini(&shown);
	}
	if (complaints > COMPLAINTS_MAX)
		map_problem(ctx, CONF_WARNING, "%s: %u more lines like these", file, complaints - COMPLAINTS_MAX);
	source_fini(&src);
}

/* ---- as tables ---- */

enum rc
words_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	(void)scratch;
	(void)e;
	const struct word *it = words_get(m->state, key);
	if (it == NULL)
		return RC_NONE;
	*value_out = it->value;
	return RC_OK;
}

enum rc
words_each(const struct map *m, map_entry_fn *fn, void *arg, struct err *e)
{
	(void)e;
	const struct words *w = m->state;
	for (const struct word *it = w->first; it != NULL; it = it->next)
		if (!fn(arg, it->key, it->value, 0))
			break;
	return RC_OK;
}

void
words_close(struct map *m)
{
	struct words *w = m->state;
	words_free(&w);
	m->state = NULL;
}

static const char *
path_of(struct words *w, struct span arg)
{
	const char *path = arena_cstr(&w->arena, span_trim(arg));
	return path != NULL && *path != '\0' ? path : NULL;
}

enum rc
texthash_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	struct words *w = m->state = words_new();
	struct span text;
	const char *path = path_of(w, arg);
	if (path == NULL)
		return err_set(e, RC_PERM, "%s: no file name", m->name);
	if (map_file(ctx, path, &text, e) != RC_OK) {
		err_prefix(e, "%s", m->name);
		return RC_PERM;
	}
	words_read(w, text, SOURCE_MAP, ctx, path);
	return RC_OK;
}

enum rc
inline_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	struct words *w = m->state = words_new();
	struct span rest, item;
	bool group;
	enum rc rc;
	if (!map_unbrace(arg, &rest))
		return err_set(e, RC_PERM, "%s: expecting {key=value, {key = value}}", m->name);
	while ((rc = conf_item(&rest, &item, &group)) == RC_OK) {
		size_t eq = span_chr(item, '=');
		if (eq == SIZE_MAX || span_trim(span_head(item, eq)).n == 0)
			return err_set(e, RC_PERM, "%s: missing '=' after key", m->name);
		struct span key = span_trim(span_head(item, eq));
		struct span value = span_trim(span_from(item, eq + 1));
		if (words_add(w, key, value, true))
			continue;
		map_problem(ctx, CONF_WARNING, "%s: a key is there twice: the last one counts", m->name); /* as in Postfix; of a file it is the first */
		words_replace(w, key, value);
	}
	if (rc != RC_NONE || w->count == 0)
		return err_set(e, RC_PERM, "%s: empty, or unbalanced braces", m->name);
	return RC_OK;
}

enum rc
randmap_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	(void)ctx;
	struct words *w = m->state = words_new();
	struct span rest, item;
	bool group;
	enum rc rc;
	if (!map_unbrace(arg, &rest))
		return err_set(e, RC_PERM, "%s: expecting {result, result}", m->name);
	while ((rc = conf_item(&rest, &item, &group)) == RC_OK) {
		unsigned char row[8]; /* rows are numbered; a result may be there twice to come more often */
		for (size_t i = 0, v = w->count; i < sizeof row; i++, v >>= 8)
			row[i] = (unsigned char)v;
		words_add(w, span_of(row, sizeof row), item, false);
	}
	if (rc != RC_NONE || w->count == 0 || w->count > UINT32_MAX)
		return err_set(e, RC_PERM, "%s: empty, or unbalanced braces", m->name);
	return RC_OK;
}

enum rc
randmap_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	(void)key;
	const struct words *w = m->state;
	unsigned char row[8];
	for (size_t i = 0, v = rand_below((uint32_t)w->count); i < sizeof row; i++, v >>= 8)
		row[i] = (unsigned char)v;
	return words_find(m, span_of(row, sizeof row), scratch, value_out, e);
}

/* unix:passwd.byname gives the whole line of /etc/passwd, as it was when the snapshot was made. */
enum rc
unix_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	struct words *w = m->state = words_new();
	struct span text, line;
	const char *path = span_eq_str(arg, "passwd.byname") ? "/etc/passwd" : span_eq_str(arg, "group.byname") ? "/etc/group" : NULL;
	if (path == NULL)
		return err_set(e, RC_PERM, "%s: there is only unix:passwd.byname and unix:group.byname", m->name);
	if (conf_file(ctx->conf, path, &text, e) != RC_OK) {
		err_prefix(e, "%s", m->name);
		return RC_TEMP;
	}
	while (span_word(&text, "\n", &line)) {
		size_t colon = span_chr(line, ':');
		if (colon != SIZE_MAX && colon > 0)
			words_add(w, span_head(line, colon), line, false);
	}
	return RC_OK;
}
