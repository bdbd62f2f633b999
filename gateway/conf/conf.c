/* SPDX-License-Identifier: BSD-2-Clause */
/* The snapshot as an object: memory, references, settings, services, notes, problems. */
#include "conf/conf.h"

#include "base/mem.h"
#include "conf/snap.h"

#include <stdarg.h>
#include <sys/mman.h>

enum { ARENA_MAX = 1 << 30, PROBLEMS_MAX = 10000 };

struct conf *
snap_new(const char *dir)
{
	struct conf *c = mem_zalloc(sizeof *c);
	c->magic = SNAP_MAGIC;
	c->refs = 1;
	arena_init(&c->arena, ARENA_MAX);
	size_t n = strlen(dir);
	while (n > 1 && dir[n - 1] == '/')
		n--;
	c->dir = snap_str(c, span_of(dir, n));
	c->main_file = c->own_addresses = c->tables_dir = "";
	return c;
}

struct conf *
conf_ref(struct conf *c)
{
	CHECK(c, SNAP_MAGIC);
	BUG_ON(c->refs <= 0);
	c->refs++;
	return c;
}

static void
free_keeps(struct htab *t)
{
	for (struct hnode *n = NULL; (n = htab_walk(t, n)) != NULL;) {
		struct keep *k = container_of(n, struct keep, node);
		void *p = k->owns_data ? (void *)(uintptr_t)k->data.p : NULL;
		if (p != NULL && k->audience != 0)
			mem_wipe(p, k->data.n);
		mem_free(&p);
	}
	htab_fini(t);
}

void
conf_unref(struct conf **cp)
{
	struct conf *c = *cp;
	*cp = NULL;
	if (c == NULL)
		return;
	CHECK(c, SNAP_MAGIC);
	BUG_ON(c->refs <= 0);
	if (--c->refs > 0)
		return;
	free_keeps(&c->files);
	free_keeps(&c->secrets);
	free_keeps(&c->notes);
	free_keeps(&c->watched);
	if (c->map != NULL)
		munmap(c->map, c->map_len);
	htab_fini(&c->settings);
	htab_fini(&c->memos);
	mem_free(&c->list);
	mem_free(&c->svcs);
	mem_free(&c->enabled);
	for (size_t i = 0; i < NELEMS(c->problems); i++)
		mem_free(&c->problems[i].rows);
	arena_fini(&c->arena);
	mem_poison(c, sizeof *c);
	mem_free(&c);
}

const char *
snap_str(struct conf *c, struct span s)
{
	size_t nul = span_chr(s, '\0');
	const char *p = arena_cstr(&c->arena, span_head(s, nul));
	BUG_ON(p == NULL); /* files are read with a limit far below the arena's */
	return p;
}

void
snap_set(struct conf *c, struct setting s, struct setting *old_out)
{
	if (old_out != NULL)
		*old_out = (struct setting){ 0 };
	struct setting *have = (struct setting *)(uintptr_t)snap_setting(c, NULL, span_str(s.name));
	if (have != NULL) {
		if (old_out != NULL)
			*old_out = *have;
		s.node = have->node;
		*have = s;
		return;
	}
	have = arena_alloc(&c->arena, sizeof *have);
	BUG_ON(have == NULL);
	*have = s;
	htab_insert(&c->settings, &have->node, span_hash(span_str(s.name)));
	if (c->nset == c->set_cap) {
		c->set_cap = c->set_cap > 0 ? c->set_cap * 2 : 64;
		c->list = mem_reallocarray(c->list, c->set_cap, sizeof(struct setting *));
	}
	c->list[c->nset++] = have;
}

const struct setting *
snap_setting(const struct conf *c, const struct svc *svc, struct span name)
{
	for (size_t i = svc != NULL ? svc->nset : 0; i-- > 0;)
		if (span_eq_str(name, svc->sets[i].name))
			return &svc->sets[i];
	for (struct hnode *n = htab_first(&c->settings, span_hash(name)); n != NULL; n = htab_next(n)) {
		struct setting *s = container_of(n, struct setting, node);
		if (span_eq_str(name, s->name))
			return s;
	}
	return NULL;
}

void
snap_compute(struct conf *c, const char *name, const char *value)
{
	value = snap_str(c, span_str(value));
	for (size_t i = 0; i < c->ncomputed; i++)
		if (strcmp(c->computed[i].name, name) == 0) {
			c->computed[i].value = value;
			return;
		}
	BUG_ON(c->ncomputed == NELEMS(c->computed));
	c->computed[c->ncomputed++] = (struct setting){ .name = snap_str(c, span_str(name)), .value = value };
}

struct svc *
snap_svc_add(struct conf *c)
{
	struct svc *s = arena_zalloc(&c->arena, sizeof *s);
	BUG_ON(s == NULL);
	c->svcs = mem_reallocarray(c->svcs, c->nsvc + 1, sizeof(struct svc *));
	c->svcs[c->nsvc++] = s;
	s->flags = "";
	return s;
}

const char *
conf_directory(const struct conf *c)
{
	return c->dir;
}

const struct params *
conf_params(const struct conf *c)
{
	return &c->params;
}

bool
conf_is_loader(const struct conf *c)
{
	return c->loader;
}

const char *
conf_own_addresses(const struct conf *c)
{
	return c->own_addresses;
}

size_t
conf_service_count(const struct conf *c)
{
	return c->nlisted_enabled;
}

const struct service *
conf_service(const struct conf *c, size_t row)
{
	BUG_ON(row >= c->nenabled);
	return &c->enabled[row]->pub;
}

const struct service *
conf_service_find(const struct conf *c, const char *name, const char *type)
{
	for (size_t i = 0; i < c->nenabled; i++)
		if (strcmp(c->enabled[i]->pub.name, name) == 0 && strcmp(c->enabled[i]->pub.type, type) == 0)
			return &c->enabled[i]->pub;
	return NULL;
}

/* ---- kept files and notes ---- */

struct keep *
keep_find(const struct htab *t, const char *key)
{
	for (struct hnode *n = htab_first(t, span_hash(span_str(key))); n != NULL; n = htab_next(n)) {
		struct keep *k = container_of(n, struct keep, node);
		if (strcmp(k->key, key) == 0)
			return k;
	}
	return NULL;
}

struct keep *
keep_add(struct conf *c, struct htab *t, const char *key)
{
	struct keep *k = arena_zalloc(&c->arena, sizeof *k);
	BUG_ON(k == NULL);
	k->key = snap_str(c, span_str(key));
	htab_insert(t, &k->node, span_hash(span_str(key)));
	return k;
}

const char *
conf_full_path(struct conf *c, const char *path)
{
	if (path[0] == '/')
		return snap_str(c, span_str(path));
	struct buf full;
	buf_init(&full, 8192);
	buf_puts(&full, c->dir);
	buf_putc(&full, '/');
	buf_puts(&full, path);
	const char *p = snap_str(c, buf_span(&full));
	buf_fini(&full);
	return p;
}

static void
read_keep(struct conf *c, struct keep *k, const char *user, bool is_secret)
{
	struct buf data;
	struct err why;
	struct conf_version version;
	if (is_secret)
		buf_init_secret(&data, CONF_FILE_MAX);
	else
		buf_init(&data, CONF_FILE_MAX);
	k->rc = snap_read_version(k->key, user, CONF_FILE_MAX, &data, &version, &why);
	k->owns_data = true;
	conf_watch(c, k->key, &version);
	if (k->rc == RC_OK)
		k->data = span_of(mem_dup(buf_span(&data).p, buf_len(&data)), buf_len(&data));
	else
		k->data = span_of(mem_strdup(why.why), strlen(why.why));
	buf_fini(&data);
}

static enum rc
file_as(struct conf *c, const char *path, const char *user, struct span *out, struct err *e)
{
	*out = SPAN_EMPTY;
	const char *key = path[0] == '/' ? path : conf_full_path(c, path);
	struct keep *k = keep_find(&c->files, key);
	if (k == NULL && !c->loader)
		return err_set(e, RC_TEMP, "%s: not part of the configuration that was loaded", key);
	if (k == NULL) {
		k = keep_add(c, &c->files, key);
		read_keep(c, k, user, false);
	}
	if (k->rc != RC_OK)
		return err_set(e, RC_TEMP, "%s", snap_str(c, k->data));
	*out = k->data;
	return RC_OK;
}

enum rc
conf_file_secret(struct conf *c, const char *path, unsigned audience, struct span *out, struct err *e)
{
	*out = SPAN_EMPTY;
	BUG_ON(audience == CONF_FOR_ALL);
	const char *key = path[0] == '/' ? path : conf_full_path(c, path);
	struct keep *k = keep_find(&c->secrets, key);
	if (k == NULL && !c->loader)
		return err_set(e, RC_NONE, "%s: not for this process", key);
	if (k == NULL) {
		k = keep_add(c, &c->secrets, key);
		read_keep(c, k, NULL, true);
	}
	k->audience |= audience;
	if (k->rc != RC_OK)
		return err_set(e, RC_TEMP, "%s", snap_str(c, k->data));
	*out = k->data;
	return RC_OK;
}

bool
conf_has_secrets(const struct conf *c, unsigned audience)
{
	for (struct hnode *n = NULL; (n = htab_walk(&c->secrets, n)) != NULL;)
		if ((container_of(n, struct keep, node)->audience & audience) != 0)
			return true;
	return false;
}

void
conf_secrets_each(const struct conf *c, unsigned audience, void (*fn)(void *arg, const char *path, struct span data), void *arg)
{
	for (struct hnode *n = NULL; (n = htab_walk(&c->secrets, n)) != NULL;) {
		const struct keep *k = container_of(n, struct keep, node);
		if ((k->audience & audience) != 0 && k->rc == RC_OK)
			fn(arg, k->key, k->data);
	}
}

enum rc
conf_file(struct conf *c, const char *path, struct span *out, struct err *e)
{
	return file_as(c, path, NULL, out, e);
}

enum rc
conf_file_of_user(struct conf *c, const char *path, struct span *out, struct err *e)
{
	return file_as(c, path, c->params.p_default_privs, out, e);
}

void
conf_attach(struct conf *c, const char *key, const char *value)
{
	struct keep *k = keep_find(&c->notes, key);
	if (k == NULL)
		k = keep_add(c, &c->notes, key);
	k->data = span_str(snap_str(c, span_str(value)));
}

const char *
conf_attached(const struct conf *c, const char *key)
{
	const struct keep *k = keep_find(&c->notes, key);
	return k != NULL ? (const char *)k->data.p : NULL;
}

void
conf_attached_each(const struct conf *c, const char *prefix, void (*fn)(void *arg, const char *key, const char *value), void *arg)
{
	for (struct hnode *n = NULL; (n = htab_walk(&c->notes, n)) != NULL;) {
		const struct keep *k = container_of(n, struct keep, node);
		if (span_starts(span_str(k->key), span_str(prefix)))
			fn(arg, k->key, (const char *)k->data.p);
	}
}

const char *
conf_tables_dir(const struct conf *c)
{
	return c->tables_dir;
}

void
conf_set_tables_dir(struct conf *c, const char *dir)
{
	c->tables_dir = snap_str(c, span_str(dir));
}

/* ---- problems ---- */

static void
add_problem(struct conf *c, enum conf_severity sev, const char *file, int line, const char *fmt, va_list ap)
{
	char text[1024];
	struct problem_list *l = &c->problems[sev];
	if (l->n >= PROBLEMS_MAX)
		return;
	vsnprintf(text, sizeof text, fmt, ap);
	for (size_t i = 0; i < l->n; i++) /* the same -o in five services is five lines, the same line is one */
		if (l->rows[i].line == line && strcmp(l->rows[i].text, text) == 0 && strcmp(l->rows[i].file, file) == 0)
			return;
	if (l->n == l->cap) {
		l->cap = l->cap > 0 ? l->cap * 2 : 16;
		l->rows = mem_reallocarray(l->rows, l->cap, sizeof *l->rows);
	}
	l->rows[l->n++] = (struct conf_problem){ sev, snap_str(c, span_str(file)), line, snap_str(c, span_str(text)) };
}

void
snap_problem(struct conf *c, enum conf_severity sev, const char *file, int line, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	add_problem(c, sev, file, line, fmt, ap);
	va_end(ap);
}

bool
conf_position(const struct conf *c, const struct service *s, const char *name, const char **file_out, int *line_out)
{
	const struct setting *set = snap_setting(c, svc_of(s), span_str(name));
	if (set == NULL)
		return false;
	*file_out = set->file;
	*line_out = set->line;
	return true;
}

void
conf_problem(struct conf *c, enum conf_severity sev, const struct service *s, const char *name, const char *fmt, ...)
{
	const struct svc *svc = svc_of(s);
	const struct setting *set = name != NULL ? snap_setting(c, svc, span_str(name)) : NULL;
	va_list ap;
	va_start(ap, fmt);
	if (set != NULL)
		add_problem(c, sev, set->file, set->line, fmt, ap);
	else if (s != NULL && s->file[0] != '\0')
		add_problem(c, sev, s->file, s->line, fmt, ap);
	else
		add_problem(c, sev, c->main_file, 0, fmt, ap);
	va_end(ap);
}

size_t
conf_problem_count(const struct conf *c, enum conf_severity sev)
{
	return c->problems[sev].n;
}

const struct conf_problem *
conf_problem_at(const struct conf *c, size_t i, enum conf_severity sev)
{
	BUG_ON(i >= c->problems[sev].n);
	return &c->problems[sev].rows[i];
}
