/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/store.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/rand.h"
#include "loop/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Two tables in one environment: "data" has key -> u64 dies, u64 number, value; "order" has (dies, number), both
 * big-endian, -> key, so what dies first is its first entry. One write transaction is always open.
 *
 * Commits do not wait for the disk. A process that is killed loses nothing that was committed; a machine that stops
 * may leave any mixture of old and new pages. Beside NAME stands NAME.state: "clean", or the boot of the machine in
 * which the file is (or was) open. What is found open in another boot is not looked at. Everything else is walked
 * through once by a child process, which may die of what it meets.
 */
enum {
	HEAD = 16,                     /* of a value: dies, number */
	ORDER_KEY = 16,
	ENTRY_COST = 64,               /* of a row in both tables, beside its bytes */
	EVICT_AT_ONCE = 64,
	PENDING_MAX = 2000,            /* writes in one transaction: its pages are copies in memory */
	CHECK_SECONDS = 60,
	STATE_MAX = 64,
};
#define COMMIT_USEC USEC_PER_SEC
#define WARN_USEC (600 * USEC_PER_SEC)
#define MAP_EXTRA ((size_t)4 << 20)

struct store {
	MDB_env *env;
	MDB_txn *txn;                /* NULL: not usable until the next start */
	MDB_dbi data, order;
	int state_fd;                /* locked: one process has the store */
	char *path;
	size_t max, used, count;
	size_t safe_used, safe_count;  /* as of the last commit */
	uint64_t number;
	unsigned pending;            /* writes since */
	bool complained;
	uint64_t evicted, warned;    /* thrown out before their time since the log was told, and when that was (loop time) */
	struct timer timer;
};

static MDB_val
val_of(struct span s)
{
	return (MDB_val){ s.n, (void *)(uintptr_t)s.p };
}

static struct span
span_of_val(MDB_val v)
{
	return span_of(v.mv_data, v.mv_size);
}

static void
put_be64(unsigned char *p, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++)
		p[i] = (unsigned char)(v >> (56 - 8 * i));
}

static uint64_t
get_be64(const unsigned char *p)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

static size_t
cost_of(size_t key_len, size_t value_len)
{
	return 2 * key_len + value_len + ENTRY_COST;
}

/* ---- the state file ---- */

static void
read_line(int fd, char out[STATE_MAX])
{
	ssize_t n = pread(fd, out, STATE_MAX - 1, 0);
	out[n > 0 ? (size_t)n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

static void
this_boot(char out[STATE_MAX])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	snprintf(out, STATE_MAX, "unknown");
	if (fd < 0)
		return;
	read_line(fd, out);
	close(fd);
}

static bool
write_state(int fd, const char *text)
{
	char line[STATE_MAX + 1];
	int n = snprintf(line, sizeof line, "%s\n", text);
	return pwrite(fd, line, (size_t)n, 0) == n && ftruncate(fd, n) == 0 && fdatasync(fd) == 0;
}

/* ---- opening ---- */

struct finding {
	size_t used, count;
	bool good;
};

/* Every row of both tables, and that they belong together. */
static bool
walk(MDB_txn *txn, MDB_dbi data, MDB_dbi order, struct finding *out)
{
	MDB_cursor *cur = NULL;
	MDB_val k, v, name;
	MDB_stat st;
	unsigned char last[512];
	size_t last_len = 0;
	int r = mdb_cursor_open(txn, data, &cur);
	while (r == 0 && (r = mdb_cursor_get(cur, &k, &v, MDB_NEXT)) == 0) {
		struct span key = span_of_val(k);
		struct cur head = cur_of(span_of_val(v));
		uint64_t dies = cur_u64(&head), number = cur_u64(&head);
		unsigned char at[ORDER_KEY];
		put_be64(at, dies);
		put_be64(at + 8, number);
		if (head.bad || key.n == 0 || key.n > sizeof last || (out->count > 0 && span_cmp(span_of(last, last_len), key) >= 0))
			return false;
		memcpy(last, key.p, key.n);
		last_len = key.n;
		MDB_val index = val_of(span_of(at, sizeof at));
		if (mdb_get(txn, order, &index, &name) != 0 || !span_eq(span_of_val(name), key))
			return false;
		out->count++;
		out->used += cost_of(key.n, v.mv_size - HEAD);
	}
	if (cur != NULL)
		mdb_cursor_close(cur);
	return r == MDB_NOTFOUND && mdb_stat(txn, order, &st) == 0 && st.ms_entries == out->count;
}

/* The check itself, in the child. */
static bool
is_good(const char *path, struct finding *out)
{
	MDB_env *env = NULL;
	MDB_txn *txn = NULL;
	MDB_envinfo info;
	MDB_stat st;
	struct stat file;
	MDB_dbi data, order;
	if (mdb_env_create(&env) != 0 || mdb_env_set_maxdbs(env, 2) != 0 || mdb_env_open(env, path, MDB_RDONLY | MDB_NOLOCK | MDB_NOSUBDIR, 0) != 0)
		return false;
	if (mdb_env_info(env, &info) != 0 || mdb_env_stat(env, &st) != 0 || stat(path, &file) != 0)
		return false;
	/* pages at the end that were taken and given back in one transaction were never written */
	uint64_t end = ((uint64_t)info.me_last_pgno + 1) * st.ms_psize;
	if (end > info.me_mapsize || ((uint64_t)file.st_size < end && truncate(path, (off_t)end) != 0))
		return false;
	return mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) == 0 && mdb_dbi_open(txn, "data", 0, &data) == 0 &&
	    mdb_dbi_open(txn, "order", 0, &order) == 0 && walk(txn, data, order, out);
}

/* Looked at by a child: a damaged file may kill who reads it. */
static bool
check_file(const char *path, struct finding *out)
{
	struct finding *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return false;
	pid_t pid = fork();
	if (pid == 0) {
		static const int deadly[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM };
		for (size_t i = 0; i < NELEMS(deadly); i++)
			signal(deadly[i], SIG_DFL);
		(void)setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null >= 0)
			(void)dup2(null, 2);
		alarm(CHECK_SECONDS);
		shared->good = is_good(path, shared);
		_exit(0);
	}
	int status = 1;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	*out = *shared;
	munmap(shared, sizeof *shared);
	return pid > 0 && status == 0 && out->good;
}

static int
open_tables(struct store *s, const char *path)
{
	int r = mdb_env_create(&s->env);
	if (r == 0)
		r = mdb_env_set_maxdbs(s->env, 2);
	if (r == 0)
		r = mdb_env_set_mapsize(s->env, 4 * s->max + MAP_EXTRA); /* trees are seldom full */
	if (r == 0)
		r = mdb_env_open(s->env, path, MDB_NOSYNC | MDB_NOLOCK | MDB_NOSUBDIR | MDB_NORDAHEAD, 0600);
	if (r == 0)
		r = mdb_txn_begin(s->env, NULL, 0, &s->txn);
	if (r == 0)
		r = mdb_dbi_open(s->txn, "data", MDB_CREATE, &s->data);
	if (r == 0)
		r = mdb_dbi_open(s->txn, "order", MDB_CREATE, &s->order);
	if (r == 0) {
		r = mdb_txn_commit(s->txn);
		s->txn = NULL;
	}
	return r != 0 ? r : mdb_txn_begin(s->env, NULL, 0, &s->txn);
}

static void
close_tables(struct store *s)
{
	if (s->txn != NULL)
		mdb_txn_abort(s->txn);
	s->txn = NULL;
	if (s->env != NULL)
		mdb_env_close(s->env);
	s->env = NULL;
}

/* Why what is there cannot be used; NULL: it can, or there is nothing. */
static const char *
look(const char *path, const char *state, const char *boot, struct finding *out)
{
	if (access(path, F_OK) != 0)
		return NULL;
	if (strcmp(state, "clean") != 0 && strcmp(state, boot) != 0)
		return "was not closed before the machine stopped";
	return check_file(path, out) ? NULL : "damaged";
}

static void on_commit_due(struct timer *t);

static enum rc
open_at(struct store *s, struct err *e)
{
	char state_path[PATH_MAX], state[STATE_MAX], boot[STATE_MAX];
	struct finding found = { 0 };
	snprintf(state_path, sizeof state_path, "%s.state", s->path);
	s->state_fd = open(state_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->state_fd < 0)
		return err_set(e, RC_TEMP, "open %s: %s", state_path, strerror(errno));
	if (flock(s->state_fd, LOCK_EX | LOCK_NB) != 0)
		return err_set(e, RC_TEMP, "%s: in use by another process", s->path);
	read_line(s->state_fd, state);
	this_boot(boot);
	const char *why = look(s->path, state, boot, &found);
	if (!write_state(s->state_fd, boot))
		return err_set(e, RC_TEMP, "write %s: %s", state_path, strerror(errno));
	int r = why == NULL ? open_tables(s, s->path) : 0;
	if (r < 0) { /* the library's own codes: the file is at fault */
		why = mdb_strerror(r);
		close_tables(s);
	} else if (r != 0) {
		return err_set(e, RC_TEMP, "open %s: %s", s->path, mdb_strerror(r));
	}
	if (why != NULL) {
		log_warn(NULL, "%s: %s: begun anew", s->path, why);
		found = (struct finding){ 0 };
		if (unlink(s->path) != 0 && errno != ENOENT)
			return err_set(e, RC_TEMP, "remove %s: %s", s->path, strerror(errno));
		r = open_tables(s, s->path);
		if (r != 0)
			return err_set(e, RC_TEMP, "open %s: %s", s->path, mdb_strerror(r));
	}
	s->used = s->safe_used = found.used;
	s->count = s->safe_count = found.count;
	return RC_OK;
}

enum rc
store_open(const char *directory, const char *name, size_t max_bytes, struct store **out, struct err *e)
{
	struct store *s = mem_zalloc(sizeof *s);
	char path[PATH_MAX - 16];
	*out = NULL;
	s->state_fd = -1;
	s->max = max_bytes;
	s->number = rand_u64();
	timer_init(&s->timer, on_commit_due);
	int n = snprintf(path, sizeof path, "%s/%s", directory, name);
	s->path = mem_strdup(path);
	enum rc rc = n > 0 && (size_t)n < sizeof path ? open_at(s, e) : err_set(e, RC_TEMP, "%s: name too long", directory);
	if (rc != RC_OK)
		store_close(&s);
	*out = s;
	return rc;
}

/* ---- trouble ---- */

/* A write or a commit failed with r. What was not committed is lost; what was stays, unless the file itself is bad. */
static enum rc
trouble(struct store *s, const char *what, int r)
{
	if (!s->complained)
		log_warn(NULL, "%s: %s: %s", s->path, what, mdb_strerror(r));
	s->complained = true;
	s->pending = 0;
	s->used = s->safe_used;
	s->count = s->safe_count;
	if (s->txn != NULL)
		mdb_txn_abort(s->txn);
	s->txn = NULL;
	/* the system's error numbers are positive; the library's own are negative */
	int again = r > 0 || r == MDB_TXN_FULL ? mdb_txn_begin(s->env, NULL, 0, &s->txn) : r;
	if (again != 0) {
		s->txn = NULL;
		log_error(NULL, "%s: cannot be used any more; begun anew at the next start", s->path);
		(void)write_state(s->state_fd, "damaged");
		close_tables(s);
	}
	return RC_TEMP;
}

static void
commit(struct store *s)
{
	timer_clear(&s->timer);
	if (s->txn == NULL || s->pending == 0)
		return;
	int r = mdb_txn_commit(s->txn);
	s->txn = NULL;
	if (r == 0)
		r = mdb_txn_begin(s->env, NULL, 0, &s->txn);
	if (r != 0) {
		(void)trouble(s, "commit", r);
		return;
	}
	s->pending = 0;
	s->safe_used = s->used;
	s->safe_count = s->count;
	s->complained = false;
}

static void
on_commit_due(struct timer *t)
{
	commit(container_of(t, struct store, timer));
}

static void
wrote(struct store *s)
{
	if (++s->pending >= PENDING_MAX)
		commit(s);
	else if (!s->timer.armed)
		timer_set(&s->timer, COMMIT_USEC);
}

void
store_close(struct store **sp)
{
	struct store *s = *sp;
	if (s == NULL)
		return;
	commit(s);
	timer_clear(&s->timer);
	bool is_clean = s->txn != NULL && mdb_env_sync(s->env, 1) == 0;
	close_tables(s);
	if (is_clean)
		(void)write_state(s->state_fd, "clean");
	if (s->state_fd >= 0)
		close(s->state_fd);
	mem_free(&s->path);
	mem_free(sp);
}

/* ---- rows ---- */

/* RC_OK also for the dead. */
static enum rc
find(struct store *s, struct span key, struct span *value_out, uint64_t *dies_out, uint64_t *number_out)
{
	if (s->txn == NULL)
		return RC_TEMP;
	MDB_val k = val_of(key), v;
	int r = key.n > 0 && key.n <= STORE_KEY_MAX ? mdb_get(s->txn, s->data, &k, &v) : MDB_NOTFOUND;
	if (r == MDB_NOTFOUND)
		return RC_NONE;
	if (r != 0)
		return trouble(s, "read", r);
	struct cur rd = cur_of(span_of_val(v));
	*dies_out = cur_u64(&rd);
	*number_out = cur_u64(&rd);
	*value_out = cur_take(&rd, cur_left(&rd));
	return rd.bad ? trouble(s, "read", MDB_CORRUPTED) : RC_OK;
}

enum rc
store_get(struct store *s, struct span key, struct span *value_out, uint64_t *dies_out)
{
	uint64_t number;
	enum rc rc = find(s, key, value_out, dies_out, &number);
	return rc == RC_OK && *dies_out <= clock_wall() ? RC_NONE : rc;
}

/* Both rows of one entry. key may point into the tables. */
static enum rc
drop(struct store *s, struct span key, uint64_t dies, uint64_t number, size_t value_len)
{
	unsigned char at[ORDER_KEY], copy[STORE_KEY_MAX];
	put_be64(at, dies);
	put_be64(at + 8, number);
	memcpy(copy, key.p, key.n);
	MDB_val k = val_of(span_of(copy, key.n)), index = val_of(span_of(at, sizeof at));
	int r = mdb_del(s->txn, s->data, &k, NULL);
	if (r == 0)
		r = mdb_del(s->txn, s->order, &index, NULL);
	if (r != 0)
		return trouble(s, "delete", r == MDB_NOTFOUND ? MDB_CORRUPTED : r);
	s->count--;
	s->used -= cost_of(key.n, value_len);
	return RC_OK;
}

/* Drops what dies first, if it dies until then. RC_NONE: nothing does. */
static enum rc
drop_first(struct store *s, uint64_t until)
{
	MDB_cursor *cur = NULL;
	MDB_val index, k;
	int r = mdb_cursor_open(s->txn, s->order, &cur);
	if (r == 0) {
		r = mdb_cursor_get(cur, &index, &k, MDB_FIRST);
		mdb_cursor_close(cur);
	}
	if (r == MDB_NOTFOUND)
		return RC_NONE;
	if (r != 0)
		return trouble(s, "read", r);
	struct span key = span_of_val(k), value;
	uint64_t dies, number;
	enum rc rc = index.mv_size == ORDER_KEY ? find(s, key, &value, &dies, &number) : RC_NONE;
	if (rc == RC_TEMP)
		return RC_TEMP;
	if (rc != RC_OK || dies != get_be64(index.mv_data))
		return trouble(s, "read", MDB_CORRUPTED);
	return dies > until ? RC_NONE : drop(s, key, dies, number, value.n);
}

static enum rc
insert(struct store *s, struct span key, struct span value, uint64_t dies)
{
	unsigned char at[ORDER_KEY];
	MDB_val k = val_of(key), name = val_of(key), v = { HEAD + value.n, NULL };
	uint64_t number = s->number++;
	put_be64(at, dies);
	put_be64(at + 8, number);
	MDB_val index = val_of(span_of(at, sizeof at));
	int r = mdb_put(s->txn, s->order, &index, &name, MDB_NOOVERWRITE);
	if (r == 0)
		r = mdb_put(s->txn, s->data, &k, &v, MDB_RESERVE);
	if (r != 0)
		return trouble(s, "write", r);
	struct buf to = { .p = v.mv_data, .cap = v.mv_size, .max = v.mv_size };
	buf_put_u64(&to, dies);
	buf_put_u64(&to, number);
	buf_put(&to, value);
	s->count++;
	s->used += cost_of(key.n, value.n);
	return RC_OK;
}

/* Makes room: the dead first. Rows that somebody may still ask for are missed, so that is not done in silence. */
static enum rc
evict(struct store *s)
{
	enum rc rc = drop_first(s, clock_wall());
	if (rc != RC_NONE)
		return rc;
	rc = drop_first(s, UINT64_MAX);
	if (rc != RC_OK)
		return rc;
	metric_add(M_store_evicted, 1);
	s->evicted++;
	if (s->warned != 0 && loop_now() < s->warned + WARN_USEC)
		return RC_OK;
	log_warn(NULL, "%s: full (%zu bytes): thrown out before their time: %llu", s->path, s->max, (unsigned long long)s->evicted);
	s->warned = loop_now();
	s->evicted = 0;
	return RC_OK;
}

enum rc
store_put(struct store *s, struct span key, struct span value, uint64_t dies)
{
	if (key.n == 0 || key.n > STORE_KEY_MAX || value.n > STORE_VALUE_MAX)
		return RC_PERM;
	struct span old;
	uint64_t old_dies, number;
	enum rc rc = find(s, key, &old, &old_dies, &number);
	if (rc == RC_OK)
		rc = drop(s, key, old_dies, number, old.n);
	if (rc == RC_OK || rc == RC_NONE)
		rc = insert(s, key, value, dies);
	for (unsigned i = 0; rc == RC_OK && s->used > s->max && i < EVICT_AT_ONCE; i++)
		rc = evict(s);
	if (s->txn == NULL || rc == RC_TEMP)
		return RC_TEMP;
	wrote(s);
	return RC_OK;
}

void
store_delete(struct store *s, struct span key)
{
	struct span value;
	uint64_t dies, number;
	if (find(s, key, &value, &dies, &number) == RC_OK && drop(s, key, dies, number, value.n) == RC_OK)
		wrote(s);
}

void
store_empty(struct store *s)
{
	if (s->txn == NULL)
		return;
	int r = mdb_drop(s->txn, s->data, 0);
	if (r == 0)
		r = mdb_drop(s->txn, s->order, 0);
	if (r != 0) {
		(void)trouble(s, "empty", r);
		return;
	}
	s->count = s->used = 0;
	s->pending = PENDING_MAX;
	commit(s);
}

size_t
store_count(const struct store *s)
{
	return s->txn != NULL ? s->count : 0;
}

bool
store_bury(struct store *s, size_t n)
{
	uint64_t now = clock_wall();
	enum rc rc = RC_OK;
	for (size_t i = 0; i < n && s->txn != NULL; i++) {
		rc = drop_first(s, now);
		if (rc != RC_OK)
			return false;
		wrote(s);
	}
	return rc == RC_OK && s->txn != NULL;
}
