/* SPDX-License-Identifier: BSD-2-Clause */
/* Building an LMDB file from a text source: sorted, written once, renamed into place. */
#include "base/arena.h"
#include "base/mem.h"
#include "map/built.h"
#include "map/cdbfile.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { FORMAT_VERSION = 1, COMPLAINTS_MAX = 20 };

struct row {
	struct span key, value;
	int lineno;                  /* in the source: the first of equal keys stays */
};

struct rows {
	struct arena arena;
	struct row *rows;
	size_t count, cap;
	size_t bytes;
};

/* ---- names and versions ---- */

static uint64_t
fnv(uint64_t h, const void *p, size_t n)
{
	const unsigned char *b = p;
	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * UINT64_C(0x100000001b3);
	return h;
}

static void
name_of(const struct built_job *job, const struct conf_version *of, char out[BUILT_NAME])
{
	uint64_t v[] = { of->dev, of->ino, of->size, of->mtime_nsec };
	uint64_t start = UINT64_C(0xcbf29ce484222325);
	uint64_t source = fnv(start, job->path, strlen(job->path));
	uint64_t format[2] = { FORMAT_VERSION, job->form };
	uint64_t version = fnv(fnv(start, v, sizeof v), format, sizeof format);
	snprintf(out, BUILT_NAME, "%016llx-%016llx.lmdb", (unsigned long long)source, (unsigned long long)version);
}

bool
built_is_name(const char *name)
{
	size_t n = strlen(name);
	if (n < 38 || name[16] != '-' || strspn(name, "0123456789abcdef") != 16 || strspn(name + 17, "0123456789abcdef") != 16)
		return false;
	return strncmp(name + 33, ".lmdb", 5) == 0; /* and what a build that was cut off left behind: .lmdb.tmp.* */
}

static struct conf_version
version_of(const struct stat *st)
{
	return (struct conf_version){ st->st_dev, st->st_ino, (uint64_t)st->st_size,
		(uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec,
		(uint64_t)st->st_ctim.tv_sec * 1000000000u + (uint64_t)st->st_ctim.tv_nsec };
}

enum rc
built_read_source(const char *path, struct buf *text_out, struct conf_version *version_out, struct err *e)
{
	buf_init(text_out, MAP_FILE_MAX);
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		enum rc failed = err_set(e, RC_TEMP, "open %s: %s", path, strerror(errno));
		*version_out = conf_version_now(path);
		return failed;
	}
	enum rc rc = RC_OK;
	*version_out = conf_version_now(path);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		rc = err_set(e, RC_TEMP, "%s: not a regular file", path);
	} else {
		*version_out = version_of(&st);
		size_t want = (size_t)st.st_size + 1;
		for (;;) {
			unsigned char *p = buf_reserve(text_out, want);
			ssize_t got = p == NULL ? -1 : read(fd, p, want);
			if (got < 0) {
				rc = err_set(e, RC_TEMP, "read %s: %s", path, p == NULL ? "file too large" : strerror(errno));
				break;
			}
			if (got == 0)
				break;
			buf_commit(text_out, (size_t)got);
			want = 65536;
		}
	}
	close(fd);
	return rc;
}

/* ---- reading the source ---- */

static void
rows_add(struct rows *t, struct span key, struct span value, int lineno)
{
	if (t->count == t->cap) {
		t->cap = t->cap > 0 ? t->cap * 2 : 64;
		t->rows = mem_reallocarray(t->rows, t->cap, sizeof *t->rows);
	}
	unsigned char *p = arena_alloc(&t->arena, key.n + value.n);
	for (size_t i = 0; i < key.n; i++) {
		unsigned char c = key.p[i];
		p[i] = c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
	}
	memcpy(p + key.n, value.p, value.n);
	t->rows[t->count] = (struct row){ span_of(p, key.n), span_of(p + key.n, value.n), lineno };
	t->count++;
	/* a bound: entries of half a page and more may take pages of their own */
	t->bytes += value.n > 500 ? value.n + 3 * 4096 : 2 * (key.n + value.n) + 64;
}

static int
by_key(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int d = span_cmp(x->key, y->key);
	return d != 0 ? d : x->lineno - y->lineno;
}

static void
complain(const struct built_job *job, unsigned *complaints, int lineno, const char *what, struct span key)
{
	if (job->ctx == NULL || ++*complaints > COMPLAINTS_MAX)
		return;
	struct buf shown;
	buf_init(&shown, 80);
	buf_put_safe(&shown, key, 60, true);
	map_problem(job->ctx, CONF_WARNING, "%s:%d: %s: \"%s\"", job->path, lineno, what, buf_cstr(&shown));
	buf_fini(&shown);
}

struct cdb_rows {
	struct rows *rows;
	const struct built_job *job;
	unsigned *complaints;
	int n;
};

static void
add_record(void *arg, struct span key, struct span value)
{
	struct cdb_rows *c = arg;
	c->n++;
	if (key.n > BUILT_KEY_MAX)
		complain(c->job, c->complaints, c->n, "key too long, ignored", key);
	else if (key.n > 0)
		rows_add(c->rows, key, value, c->n);
}

static void
rows_text(struct rows *t, const struct built_job *job, struct span text, unsigned *complaints)
{
	struct source src;
	struct source_entry en;
	source_init(&src, text, job->form);
	while (source_next(&src, &en) == RC_OK) {
		if (en.usable && en.key.n > BUILT_KEY_MAX)
			complain(job, complaints, en.lineno, "key too long, ignored", en.key);
		else if (en.usable)
			rows_add(t, en.key, en.value, en.lineno);
		if (en.complaint != NULL)
			complain(job, complaints, en.lineno, en.complaint, en.key);
	}
	source_fini(&src);
}

/* Sorted, with one row for each key. */
static void
rows_settle(struct rows *t, const struct built_job *job, bool last_wins, unsigned *complaints)
{
	if (t->count > 0)
		qsort(t->rows, t->count, sizeof *t->rows, by_key);
	size_t keep = 0;
	for (size_t i = 0; i < t->count; i++) {
		bool is_twice = keep > 0 && span_eq(t->rows[keep - 1].key, t->rows[i].key);
		if (is_twice && !last_wins && !job->silent_about_twice)
			complain(job, complaints, t->rows[i].lineno, "duplicate entry", t->rows[i].key);
		if (is_twice && last_wins)
			t->rows[keep - 1] = t->rows[i];
		else if (!is_twice)
			t->rows[keep++] = t->rows[i];
	}
	t->count = keep;
	if (*complaints > COMPLAINTS_MAX)
		map_problem(job->ctx, CONF_WARNING, "%s: %u more lines like these", job->path, *complaints - COMPLAINTS_MAX);
}

/* The entries of the source, whatever kind of file it is. */
static enum rc
rows_read(struct rows *t, const struct built_job *job, bool last_wins, struct conf_version *version_out, struct err *e)
{
	unsigned complaints = 0;
	struct buf text = { 0 };
	struct cdb_rows cdb = { .rows = t, .job = job, .complaints = &complaints };
	enum rc rc = job->is_cdb ? cdbfile_read(job->path, add_record, &cdb, version_out, e) : built_read_source(job->path, &text, version_out, e);
	if (rc == RC_OK && !job->is_cdb)
		rows_text(t, job, buf_span(&text), &complaints);
	if (rc == RC_OK)
		rows_settle(t, job, last_wins, &complaints);
	buf_fini(&text);
	return rc;
}

/* ---- writing the file ---- */

static enum rc
write_rows(MDB_env *env, const struct rows *t, const struct built_job *job, struct err *e)
{
	MDB_txn *txn = NULL;
	MDB_dbi dbi;
	int r = mdb_txn_begin(env, NULL, 0, &txn);
	if (r == 0)
		r = mdb_dbi_open(txn, "data", MDB_CREATE, &dbi);
	for (size_t i = 0; r == 0 && i < t->count; i++) {
		MDB_val k = { t->rows[i].key.n, (void *)(uintptr_t)t->rows[i].key.p };
		MDB_val v = { t->rows[i].value.n, (void *)(uintptr_t)t->rows[i].value.p };
		r = mdb_put(txn, dbi, &k, &v, MDB_APPEND);
	}
	/* for people who look into the file */
	MDB_dbi about;
	if (r == 0)
		r = mdb_dbi_open(txn, "about", MDB_CREATE, &about);
	if (r == 0) {
		char key[] = "source";
		MDB_val k = { sizeof key - 1, key }, v = { strlen(job->path), (void *)(uintptr_t)job->path };
		r = mdb_put(txn, about, &k, &v, 0);
	}
	if (r == 0)
		r = mdb_txn_commit(txn);
	else if (txn != NULL)
		mdb_txn_abort(txn);
	return r == 0 ? RC_OK : err_set(e, RC_PERM, "%s: building a table: %s", job->dir, mdb_strerror(r));
}

static enum rc
write_file(const char *tmp, const struct rows *t, const struct built_job *job, struct err *e)
{
	MDB_env *env = NULL;
	int r = mdb_env_create(&env);
	if (r != 0)
		return err_set(e, RC_PERM, "building a table: %s", mdb_strerror(r));
	mdb_env_set_maxdbs(env, 2);
	mdb_env_set_mapsize(env, ((t->bytes + (4u << 20)) / 4096 + 1) * 4096);
	unlink(tmp);
	r = mdb_env_open(env, tmp, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC | MDB_NOMETASYNC, 0600);
	enum rc rc = r == 0 ? write_rows(env, t, job, e) : err_set(e, RC_PERM, "%s: %s", tmp, mdb_strerror(r));
	if (rc == RC_OK && (r = mdb_env_sync(env, 1)) != 0)
		rc = err_set(e, RC_PERM, "%s: %s", tmp, mdb_strerror(r));
	mdb_env_close(env);
	return rc;
}

/* User (name or number) of a parameter; false: there is none such. */
static bool
user_of(const struct conf *c, const char *parameter, uid_t *uid_out, gid_t *gid_out)
{
	const char *user = conf_value(c, NULL, parameter);
	uint64_t n;
	struct passwd *pw;
	if (span_u64(span_str(user), UINT32_MAX - 1, &n)) {
		*uid_out = (uid_t)n;
		*gid_out = (gid_t)n;
		return true;
	}
	if (user == NULL || (pw = getpwnam(user)) == NULL)
		return false;
	*uid_out = pw->pw_uid;
	*gid_out = pw->pw_gid;
	return true;
}

/* An access list (as the kernel takes it, little-endian): owner, group and one more user may read. Where the file system
 * has none, that user's lookups are "not now". */
static void
let_read(const char *path, uid_t user)
{
	enum { VERSION = 2, USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, MASK = 16, OTHER = 32, READ = 4, NOBODY = -1 };
	const struct {
		uint16_t tag, perm;
		uint32_t id;
	} entries[] = { { USER_OBJ, READ, (uint32_t)NOBODY }, { USER, READ, user }, { GROUP_OBJ, READ, (uint32_t)NOBODY },
		{ MASK, READ, (uint32_t)NOBODY }, { OTHER, 0, (uint32_t)NOBODY } };
	struct buf b;
	buf_init(&b, 100);
	buf_put_u32(&b, VERSION);
	for (size_t i = 0; i < NELEMS(entries); i++) {
		buf_put_u16(&b, entries[i].tag);
		buf_put_u16(&b, entries[i].perm);
		buf_put_u32(&b, entries[i].id);
	}
	(void)!setxattr(path, "system.posix_acl_access", buf_span(&b).p, buf_len(&b), 0);
	buf_fini(&b);
}

/* What everybody may read in the source everybody may read here; the rest only those who look up: edge as the
 * owner, queue by its group, relay by an access list. Run by an ordinary user all roles are that user. */
static void
set_owner(const struct built_job *job, const char *tmp)
{
	struct stat st;
	uid_t edge, queue, relay;
	gid_t edge_group, queue_group, relay_group;
	bool is_public = stat(job->path, &st) == 0 && (st.st_mode & 0004) != 0;
	if (!is_public && geteuid() == 0 && job->ctx != NULL && user_of(job->ctx->conf, "edge_user", &edge, &edge_group)
	    && user_of(job->ctx->conf, "queue_user", &queue, &queue_group))
		(void)!chown(tmp, edge, queue_group);
	(void)!chmod(tmp, is_public ? 0444 : 0440);
	if (!is_public && geteuid() == 0 && job->ctx != NULL && user_of(job->ctx->conf, "relay_user", &relay, &relay_group))
		let_read(tmp, relay);
}

static enum rc
make_dir(const char *dir, struct err *e)
{
	char path[512];
	size_t n = strlen(dir);
	if (n == 0 || n >= sizeof path)
		return err_set(e, RC_PERM, "data_directory: bad path");
	for (size_t i = 1; i <= n; i++) {
		if (i < n && dir[i] != '/')
			continue;
		memcpy(path, dir, i);
		path[i] = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			return err_set(e, RC_PERM, "mkdir %s: %s", path, strerror(errno));
	}
	return RC_OK;
}

enum rc
built_make(const struct built_job *job, char name_out[BUILT_NAME], struct conf_version *version_out, struct err *e)
{
	struct stat st;
	char path[1024], tmp[1100];
	struct rows t = { 0 };
	arena_init(&t.arena, SIZE_MAX / 2);

	enum rc rc = RC_OK;
	if (!job->force && stat(job->path, &st) == 0 && S_ISREG(st.st_mode) && access(job->path, R_OK) == 0) {
		*version_out = version_of(&st);
		name_of(job, version_out, name_out);
		snprintf(path, sizeof path, "%s/%s", job->dir, name_out);
		if (access(path, R_OK) == 0)
			return RC_OK;
	}
	rc = rows_read(&t, job, false, version_out, e);
	if (rc != RC_OK)
		goto out;
	name_of(job, version_out, name_out);
	snprintf(path, sizeof path, "%s/%s", job->dir, name_out);
	snprintf(tmp, sizeof tmp, "%s.tmp.%ld", path, (long)getpid());
	rc = make_dir(job->dir, e);
	if (rc != RC_OK)
		goto out;
	rc = write_file(tmp, &t, job, e);
	if (rc == RC_OK) {
		set_owner(job, tmp);
		if (rename(tmp, path) != 0)
			rc = err_set(e, RC_PERM, "rename %s: %s", path, strerror(errno));
	}
	if (rc != RC_OK)
		unlink(tmp);
out:
	mem_free(&t.rows);
	arena_fini(&t.arena);
	return rc;
}

/* ---- for others ---- */

static enum rc
put_nul(struct buf *b, struct span s, bool with_nul, struct span *out)
{
	*out = s;
	if (!with_nul)
		return RC_OK;
	buf_reset(b);
	buf_put(b, s);
	buf_putc(b, '\0');
	*out = buf_span(b);
	return b->over ? RC_PERM : RC_OK;
}

enum rc
built_write_cdb(const struct built_job *job, const struct built_cdb *how, struct err *e)
{
	struct rows t = { 0 };
	struct stat st;
	struct conf_version version;
	struct cdbfile_writer *w = NULL;
	struct buf key, value, path;
	mode_t mode = !how->own_mode && stat(job->path, &st) == 0 ? st.st_mode & 0777 : 0644;
	arena_init(&t.arena, SIZE_MAX / 2);
	buf_init(&key, MAP_FILE_MAX);
	buf_init(&value, MAP_FILE_MAX);
	buf_init(&path, 8192);
	buf_printf(&path, "%s.cdb", job->path);
	enum rc rc = rows_read(&t, job, how->last_wins, &version, e);
	if (rc == RC_OK)
		rc = cdbfile_open(buf_cstr(&path), mode, &w, e);
	for (size_t i = 0; rc == RC_OK && i < t.count; i++) {
		struct span k, v;
		if (put_nul(&key, t.rows[i].key, how->with_nul, &k) != RC_OK || put_nul(&value, t.rows[i].value, how->with_nul, &v) != RC_OK)
			rc = err_set(e, RC_PERM, "%s:%d: too long", job->path, t.rows[i].lineno);
		else
			rc = cdbfile_add(w, k, v, e);
	}
	if (w != NULL && cdbfile_close(&w, rc == RC_OK, rc == RC_OK ? e : NULL) != RC_OK)
		rc = RC_PERM;
	buf_fini(&path);
	buf_fini(&value);
	buf_fini(&key);
	mem_free(&t.rows);
	arena_fini(&t.arena);
	return rc;
}
