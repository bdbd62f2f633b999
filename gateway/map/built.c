/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/built.h"

#include "base/clock.h"
#include "base/mem.h"
#include "conf/param.h"
#include "map/words.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <unistd.h>

struct built {
	MDB_env *env;
	MDB_txn *txn;                /* lasts as long as the table: the file never changes */
	MDB_dbi dbi;
	struct words *words;         /* instead, where no file could be made */
};

enum { SWEEP_AGE_SEC = 60 };
static const char note_prefix[] = "table ";  /* "table type:name" has the name of the built file */

static enum rc
open_file(struct built *b, const char *dir, const char *name, struct err *e)
{
	char path[1024];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int r = mdb_env_create(&b->env);
	if (r == 0)
		r = mdb_env_set_maxdbs(b->env, 2);
	if (r == 0)
		r = mdb_env_open(b->env, path, MDB_RDONLY | MDB_NOLOCK | MDB_NOSUBDIR, 0);
	if (r == 0)
		r = mdb_txn_begin(b->env, NULL, MDB_RDONLY, &b->txn);
	if (r == 0)
		r = mdb_dbi_open(b->txn, "data", 0, &b->dbi);
	return r == 0 ? RC_OK : err_set(e, RC_TEMP, "open %s: %s", path, mdb_strerror(r));
}

static void
close_file(struct built *b)
{
	if (b->txn != NULL)
		mdb_txn_abort(b->txn);
	if (b->env != NULL)
		mdb_env_close(b->env);
	b->txn = NULL;
	b->env = NULL;
}

/* What a note says; "": a default that nobody has. */
static bool
open_noted(struct built *b, const char *dir, const char *name)
{
	struct err e;
	if (*name == '\0') {
		b->words = words_new();
		return true;
	}
	if (built_is_name(name) && open_file(b, dir, name, &e) == RC_OK)
		return true;
	close_file(b);
	return false;
}

/* "type:path" of an alias file is one that alias_maps or alias_database names. */
static enum source_form
form_of(struct conf *c, struct span name)
{
	static const char *const params[] = { "alias_maps", "alias_database" };
	for (size_t i = 0; i < NELEMS(params); i++) {
		const char *value = conf_value(c, NULL, params[i]);
		struct span rest = span_str(value), item;
		bool group;
		while (conf_item(&rest, &item, &group) == RC_OK) {
			if (span_starts(item, SPAN("proxy:")))
				item = span_from(item, 6);
			if (span_eq(item, name))
				return SOURCE_ALIASES;
		}
	}
	return SOURCE_MAP;
}

/* Relative names are below the configuration directory. */
static bool
source_path(struct conf *c, struct span arg, char *path, size_t size)
{
	struct buf b;
	buf_init(&b, size - 1);
	if (arg.n > 0 && arg.p[0] != '/')
		buf_printf(&b, "%s/", conf_directory(c));
	buf_put(&b, arg);
	bool ok = arg.n > 0 && !b.over && span_chr(arg, '\0') == SIZE_MAX;
	if (ok)
		snprintf(path, size, "%s", buf_cstr(&b));
	buf_fini(&b);
	return ok;
}

/* The alias file that is looked for only because nobody said where aliases are: a machine without one has none. */
static bool
is_missing_default(struct conf *c, const char *path)
{
	const struct param *row = param_find(SPAN("alias_maps"));
	const char *value = conf_value(c, NULL, "alias_maps");
	return row != NULL && value != NULL && strcmp(value, row->def) == 0 && access(path, F_OK) != 0 && errno == ENOENT;
}

static bool
is_cdb_type(struct span name)
{
	return span_starts(name, SPAN("cdb:"));
}

/* The constant database of a cdb table counts where there is no text. */
static bool
choose_source(struct built_job *job, struct span name, char cdb_path[1100])
{
	snprintf(cdb_path, 1100, "%s.cdb", job->path);
	if (!is_cdb_type(name) || access(job->path, F_OK) == 0 || errno != ENOENT || access(cdb_path, F_OK) != 0)
		return false;
	job->path = cdb_path;
	job->is_cdb = true;
	return true;
}

enum rc
built_refresh(const struct map_ctx *ctx, struct span name, const struct built_cdb *how, bool silent_about_twice, struct err *e)
{
	char path[1024], file[BUILT_NAME];
	struct conf_version version;
	struct span arg = span_from(name, span_chr(name, ':') + 1);
	if (!source_path(ctx->conf, arg, path, sizeof path))
		return err_set(e, RC_PERM, "bad file name");
	struct built_job job = { .ctx = ctx, .path = path, .dir = conf_tables_dir(ctx->conf), .force = true, .silent_about_twice = silent_about_twice,
		.form = ctx->aliases ? SOURCE_ALIASES : form_of(ctx->conf, name) };
	if (is_cdb_type(name))
		return built_write_cdb(&job, how, e); /* ours is made of the text when a gateway loads it */
	return built_make(&job, file, &version, e);
}

/* Somebody has only what another program compiled. */
static void
explain_missing(const char *path, struct err *e)
{
	static const char *const others[] = { ".db", ".lmdb", ".dir", ".pag" };
	char other[1100];
	for (size_t i = 0; access(path, F_OK) != 0 && i < NELEMS(others); i++) {
		snprintf(other, sizeof other, "%s%s", path, others[i]);
		if (access(other, F_OK) == 0) {
			err_set(e, e->rc, "there is %s, but the text it was made of, %s, is what is read here, and it is missing", other, path);
			return;
		}
	}
}

/* As it was when this snapshot, or the one it was made of, opened it. */
static bool
is_unchanged(const struct conf *c, struct span name, const char *path)
{
	struct conf_version v;
	char cdb_path[1100];
	if (!conf_watched(c, path, &v))
		return false;
	snprintf(cdb_path, sizeof cdb_path, "%s.cdb", path);
	return v.ino != 0 || !is_cdb_type(name) || conf_watched(c, cdb_path, &v);
}

/* The loader's part: builds, and falls back to memory so that a command can still answer. */
static enum rc
load(struct map *m, struct built *b, const struct map_ctx *ctx, struct span arg, const char *key, struct err *e)
{
	char path[1024], cdb_path[1100], name[BUILT_NAME];
	struct conf_version version = { 0 };
	if (!source_path(ctx->conf, arg, path, sizeof path))
		return err_set(e, RC_PERM, "%s: bad file name", m->name);
	const char *have = conf_attached(ctx->conf, key);
	if (have != NULL && is_unchanged(ctx->conf, span_str(m->name), path) && open_noted(b, conf_tables_dir(ctx->conf), have))
		return RC_OK; /* opened before in this snapshot, or in the one it was made of */

	struct built_job job = { .ctx = ctx, .path = path, .dir = conf_tables_dir(ctx->conf),
		.form = ctx->aliases ? SOURCE_ALIASES : form_of(ctx->conf, span_str(m->name)) };
	if (choose_source(&job, span_str(m->name), cdb_path))
		conf_watch(ctx->conf, path, &(struct conf_version){ 0 });
	enum rc rc = built_make(&job, name, &version, e);
	conf_watch(ctx->conf, job.path, &version);
	if (rc == RC_OK && open_file(b, job.dir, name, e) != RC_OK) {
		close_file(b); /* damaged: once more from the source */
		job.force = true;
		rc = built_make(&job, name, &version, e);
		if (rc == RC_OK)
			rc = open_file(b, job.dir, name, e);
	}
	if (rc == RC_OK) {
		conf_attach(ctx->conf, key, name);
		return RC_OK;
	}
	if (rc == RC_TEMP && job.form == SOURCE_ALIASES && is_missing_default(ctx->conf, path)) {
		b->words = words_new();
		conf_attach(ctx->conf, key, "");
		return RC_OK;
	}
	if (rc == RC_TEMP) {
		explain_missing(path, e);
		err_prefix(e, "%s", m->name);
		return job.form == SOURCE_ALIASES ? RC_TEMP : RC_PERM;
	}
	map_problem(ctx, CONF_ERROR, "%s: %s", m->name, e->why);
	struct buf text;
	if (job.is_cdb)
		return RC_PERM;
	rc = built_read_source(path, &text, &version, e);
	if (rc == RC_OK) {
		b->words = words_new();
		words_read(b->words, buf_span(&text), job.form, ctx, path);
	}
	buf_fini(&text);
	return rc;
}

/* Passwords are in no file of ours: the text becomes a table in memory, in the loader as in the role. */
static enum rc
open_secret(struct map *m, struct built *b, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	char path[1024];
	struct span text;
	if (!source_path(ctx->conf, arg, path, sizeof path))
		return err_set(e, RC_PERM, "%s: bad file name", m->name);
	enum rc rc = map_file(ctx, path, &text, e);
	if (rc != RC_OK) {
		if (conf_is_loader(ctx->conf))
			explain_missing(path, e);
		err_prefix(e, "%s", m->name);
		return RC_PERM;
	}
	b->words = words_new();
	words_read(b->words, text, SOURCE_MAP, ctx, path);
	return RC_OK;
}

enum rc
built_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	struct built *b = m->state = mem_zalloc(sizeof *b);
	if (ctx->audience != CONF_FOR_ALL)
		return open_secret(m, b, ctx, span_trim(arg), e);
	char key[1100];
	snprintf(key, sizeof key, "%s%.*s", note_prefix, (int)sizeof key - 16, m->name);
	if (conf_is_loader(ctx->conf))
		return load(m, b, ctx, span_trim(arg), key, e);
	const char *name = conf_attached(ctx->conf, key);
	if (name == NULL)
		return err_set(e, RC_TEMP, "%s: was not there when the configuration was loaded", m->name);
	if (*name == '\0') {
		b->words = words_new();
		return RC_OK;
	}
	if (!built_is_name(name))
		return err_set(e, RC_TEMP, "%s: bad name of a built table", m->name);
	return open_file(b, conf_tables_dir(ctx->conf), name, e);
}

enum rc
built_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	const struct built *b = m->state;
	(void)scratch;
	if (b->words != NULL) {
		const struct word *it = words_get(b->words, key);
		*value_out = it != NULL ? it->value : SPAN_EMPTY;
		return it != NULL ? RC_OK : RC_NONE;
	}
	if (key.n > BUILT_KEY_MAX)
		return RC_NONE;
	MDB_val k = { key.n, (void *)(uintptr_t)key.p }, v;
	int r = mdb_get(b->txn, b->dbi, &k, &v);
	if (r == MDB_NOTFOUND)
		return RC_NONE;
	if (r != 0)
		return err_set(e, RC_TEMP, "%s: %s", m->name, mdb_strerror(r));
	*value_out = span_of(v.mv_data, v.mv_size);
	return RC_OK;
}

enum rc
built_each(const struct map *m, map_entry_fn *fn, void *arg, struct err *e)
{
	const struct built *b = m->state;
	if (b->words != NULL) {
		for (const struct word *it = b->words->first; it != NULL && fn(arg, it->key, it->value, 0); it = it->next)
			;
		return RC_OK;
	}
	MDB_cursor *cur = NULL;
	MDB_val k, v;
	int r = mdb_cursor_open(b->txn, b->dbi, &cur);
	if (r != 0)
		return err_set(e, RC_TEMP, "%s: %s", m->name, mdb_strerror(r));
	while ((r = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) == 0)
		if (!fn(arg, span_of(k.mv_data, k.mv_size), span_of(v.mv_data, v.mv_size), 0))
			break;
	mdb_cursor_close(cur);
	return r == 0 || r == MDB_NOTFOUND ? RC_OK : err_set(e, RC_TEMP, "%s: %s", m->name, mdb_strerror(r));
}

void
built_close(struct map *m)
{
	struct built *b = m->state;
	if (b == NULL)
		return;
	close_file(b);
	words_free(&b->words);
	mem_free(&b);
	m->state = NULL;
}

/* ---- versions nobody uses any more ---- */

struct search {
	const char *name;
	bool found;
};

static void
compare(void *arg, const char *key, const char *value)
{
	struct search *s = arg;
	(void)key;
	s->found |= strcmp(value, s->name) == 0;
}

static bool
is_kept(struct conf *const *keep, size_t n, const char *name)
{
	struct search s = { .name = name };
	for (size_t i = 0; i < n; i++)
		conf_attached_each(keep[i], note_prefix, compare, &s);
	return s.found;
}

static void
sweep_dir(const char *dir, struct conf *const *keep, size_t n)
{
	DIR *d = opendir(dir);
	if (d == NULL)
		return;
	for (struct dirent *en; (en = readdir(d)) != NULL;) {
		struct stat st;
		if (!built_is_name(en->d_name) || is_kept(keep, n, en->d_name))
			continue;
		if (fstatat(dirfd(d), en->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode))
			continue;
		uint64_t now = clock_wall() / USEC_PER_SEC, then = (uint64_t)st.st_ctim.tv_sec;
		if (then + SWEEP_AGE_SEC < now) /* another process may just be about to use a younger one */
			unlinkat(dirfd(d), en->d_name, 0);
	}
	closedir(d);
}

void
maps_sweep(struct conf *const *keep, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (i == 0 || strcmp(conf_tables_dir(keep[i]), conf_tables_dir(keep[i - 1])) != 0)
			sweep_dir(conf_tables_dir(keep[i]), keep, n);
}
