/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/tmpfiles.h"

#include "base/mem.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ENTRIES_MAX = 4096, DIRS_MAX = 32, LOOK_AT_SIZES = 16 };

struct entry {
	char *path;                  /* heap; NULL: free */
	size_t len;
	int fd;                      /* -1: a directory */
};

static struct {
	bool is_on;
	uint64_t bytes_max;
	uid_t uid;
	gid_t gid;
	struct entry *entry;         /* those in use are in front */
	size_t n, cap;
} vfs;

/* What opendir() gives for one of ours. */
struct dir {
	bool is_used;
	char path[512];
	size_t next;                 /* entries before this one are still to be told */
	struct dirent64 out;
};
static struct dir dirs[DIRS_MAX];

static bool
is_ours(const char *path)
{
	size_t n = sizeof TMPFILES_ROOT - 1;
	return vfs.is_on && path != NULL && strncmp(path, TMPFILES_ROOT, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Without slashes at the end. */
static size_t
length_of(const char *path)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/')
		n--;
	return n;
}

static struct entry *
find(const char *path)
{
	size_t n = length_of(path);
	for (size_t i = vfs.n; i > 0; i--) { /* what was made last is asked for most */
		struct entry *e = &vfs.entry[i - 1];
		if (e->len == n && memcmp(e->path, path, n) == 0)
			return e;
	}
	return NULL;
}

static bool
is_root(const char *path)
{
	return length_of(path) == sizeof TMPFILES_ROOT - 1;
}

static uint64_t
bytes_used(void)
{
	uint64_t sum = 0;
	struct stat st;
	for (size_t i = 0; i < vfs.n; i++)
		if (vfs.entry[i].fd >= 0 && fstat(vfs.entry[i].fd, &st) == 0)
			sum += (uint64_t)st.st_size;
	return sum;
}

static struct entry *
add(const char *path, int fd)
{
	if (vfs.n == vfs.cap) {
		vfs.cap = vfs.cap > 0 ? vfs.cap * 2 : 64;
		vfs.entry = mem_reallocarray(vfs.entry, vfs.cap, sizeof *vfs.entry);
	}
	struct entry *e = &vfs.entry[vfs.n++];
	e->len = length_of(path);
	e->path = mem_zalloc(e->len + 1);
	memcpy(e->path, path, e->len);
	e->fd = fd;
	return e;
}

static void
drop(struct entry *e)
{
	if (e->fd >= 0)
		close(e->fd);
	mem_free(&e->path);
	*e = vfs.entry[--vfs.n];
}

void
tmpfiles_begin(uint64_t bytes_max)
{
	vfs.is_on = true;
	vfs.bytes_max = bytes_max;
	vfs.uid = geteuid();
	vfs.gid = getegid();
}

void
tmpfiles_reset(void)
{
	while (vfs.n > 0)
		drop(&vfs.entry[vfs.n - 1]);
	memset(dirs, 0, sizeof dirs);
}

/* ---- files ---- */

static int
fail(int err)
{
	errno = err;
	return -1;
}

/* A second descriptor, because one of the two is closed when libclamav has done with it, and it may come back by the name. */
static int
open_ours(const char *path, int flags)
{
	struct entry *e = find(path);
	bool is_new = false;
	if (e != NULL && (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		return fail(EEXIST);
	if (e != NULL && e->fd < 0)
		return fail(EISDIR);
	if (e == NULL && (flags & O_CREAT) == 0)
		return fail(ENOENT);
	if (e == NULL) {
		if (vfs.n >= ENTRIES_MAX || (vfs.n >= LOOK_AT_SIZES && bytes_used() > vfs.bytes_max))
			return fail(ENOSPC);
		int fd = memfd_create("scan", MFD_CLOEXEC);
		if (fd < 0)
			return -1;
		e = add(path, fd);
		is_new = true;
	} else if ((flags & O_TRUNC) != 0 && ftruncate(e->fd, 0) != 0) {
		return -1;
	}
	int fd = fcntl(e->fd, F_DUPFD_CLOEXEC, 3);
	if (fd >= 0 && !is_new)
		(void)lseek(fd, (flags & O_APPEND) != 0 ? lseek(fd, 0, SEEK_END) : 0, SEEK_SET);
	return fd;
}

static int
mkdir_ours(const char *path)
{
	if (is_root(path) || find(path) != NULL)
		return fail(EEXIST);
	if (vfs.n >= ENTRIES_MAX)
		return fail(ENOSPC);
	(void)add(path, -1);
	return 0;
}

static bool
is_below(const struct entry *e, const char *dir, size_t n)
{
	return e->len > n + 1 && e->path[n] == '/' && memcmp(e->path, dir, n) == 0;
}

static int
remove_ours(const char *path, bool is_dir)
{
	struct entry *e = find(path);
	if (e == NULL)
		return fail(ENOENT);
	if (is_dir != (e->fd < 0))
		return fail(is_dir ? ENOTDIR : EISDIR);
	size_t n = e->len;
	for (size_t i = 0; is_dir && i < vfs.n; i++)
		if (is_below(&vfs.entry[i], path, n))
			return fail(ENOTEMPTY);
	drop(e);
	return 0;
}

static int
stat_ours(const char *path, struct stat64 *st)
{
	struct entry *e = find(path);
	if (e != NULL && e->fd >= 0)
		return fstat64(e->fd, st);
	if (e == NULL && !is_root(path))
		return fail(ENOENT);
	memset(st, 0, sizeof *st);
	st->st_mode = S_IFDIR | 0700;
	st->st_nlink = 2;
	st->st_uid = vfs.uid;
	st->st_gid = vfs.gid;
	return 0;
}

static int
rename_ours(const char *from, const char *to)
{
	struct entry *e = find(from);
	if (e == NULL || e->fd < 0 || !is_ours(to))
		return fail(e == NULL ? ENOENT : EXDEV);
	int fd = fcntl(e->fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -1;
	drop(e);
	if ((e = find(to)) != NULL)
		drop(e);
	(void)add(to, fd);
	return 0;
}

/* ---- directories ---- */

static struct dir *
dir_of(DIR *d)
{
	struct dir *own = (struct dir *)(void *)d;
	return own >= dirs && own < dirs + DIRS_MAX ? own : NULL;
}

static DIR *
opendir_ours(const char *path)
{
	struct entry *e = find(path);
	size_t n = length_of(path);
	if ((e == NULL && !is_root(path)) || (e != NULL && e->fd >= 0) || n >= sizeof dirs[0].path) {
		errno = e != NULL ? ENOTDIR : ENOENT;
		return NULL;
	}
	for (size_t i = 0; i < DIRS_MAX; i++)
		if (!dirs[i].is_used) {
			dirs[i] = (struct dir){ .is_used = true, .next = SIZE_MAX };
			memcpy(dirs[i].path, path, n);
			return (DIR *)(void *)&dirs[i];
		}
	errno = EMFILE;
	return NULL;
}

/* From the end: what is removed meanwhile moves only what was told already into its place. */
static struct dirent64 *
readdir_ours(struct dir *d)
{
	size_t n = strlen(d->path);
	for (d->next = d->next < vfs.n ? d->next : vfs.n; d->next > 0;) {
		size_t i = --d->next;
		const struct entry *e = &vfs.entry[i];
		if (!is_below(e, d->path, n) || memchr(e->path + n + 1, '/', e->len - n - 1) != NULL || e->len - n - 1 >= sizeof d->out.d_name)
			continue;
		memset(&d->out, 0, sizeof d->out);
		memcpy(d->out.d_name, e->path + n + 1, e->len - n - 1);
		d->out.d_ino = i + 2;
		d->out.d_type = e->fd < 0 ? DT_DIR : DT_REG;
		d->out.d_reclen = sizeof d->out;
		return &d->out;
	}
	return NULL;
}

/* ---- in front of the C library ---- */

#define REAL(ret, name, ...)                                                                                           \
	static ret (*real)(__VA_ARGS__);                                                                               \
	if (real == NULL)                                                                                              \
		*(void **)&real = dlsym(RTLD_NEXT, #name)

static mode_t
mode_of(int flags, va_list ap)
{
	return (flags & (O_CREAT | O_TMPFILE)) != 0 ? (mode_t)va_arg(ap, unsigned) : 0;
}

int
open64(const char *path, int flags, ...)
{
	REAL(int, open64, const char *, int, ...);
	if (is_ours(path))
		return open_ours(path, flags);
	va_list ap;
	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	return real(path, flags, mode);
}

int
open(const char *path, int flags, ...)
{
	REAL(int, open, const char *, int, ...);
	if (is_ours(path))
		return open_ours(path, flags);
	va_list ap;
	va_start(ap, flags);
	mode_t mode = mode_of(flags, ap);
	va_end(ap);
	return real(path, flags, mode);
}

int
mkdir(const char *path, mode_t mode)
{
	REAL(int, mkdir, const char *, mode_t);
	return is_ours(path) ? mkdir_ours(path) : real(path, mode);
}

int
rmdir(const char *path)
{
	REAL(int, rmdir, const char *);
	return is_ours(path) ? remove_ours(path, true) : real(path);
}

int
unlink(const char *path)
{
	REAL(int, unlink, const char *);
	return is_ours(path) ? remove_ours(path, false) : real(path);
}

int
remove(const char *path)
{
	REAL(int, remove, const char *);
	if (!is_ours(path))
		return real(path);
	const struct entry *e = find(path);
	return remove_ours(path, e != NULL && e->fd < 0);
}

int
rename(const char *from, const char *to)
{
	REAL(int, rename, const char *, const char *);
	return is_ours(from) ? rename_ours(from, to) : real(from, to);
}

int
chmod(const char *path, mode_t mode)
{
	REAL(int, chmod, const char *, mode_t);
	return is_ours(path) ? 0 : real(path, mode);
}

int
access(const char *path, int how)
{
	REAL(int, access, const char *, int);
	struct stat64 st;
	return is_ours(path) ? stat_ours(path, &st) : real(path, how);
}

int
stat64(const char *path, struct stat64 *st)
{
	REAL(int, stat64, const char *, struct stat64 *);
	return is_ours(path) ? stat_ours(path, st) : real(path, st);
}

int
lstat64(const char *path, struct stat64 *st)
{
	REAL(int, lstat64, const char *, struct stat64 *);
	return is_ours(path) ? stat_ours(path, st) : real(path, st);
}

FILE *
fopen64(const char *path, const char *how)
{
	REAL(FILE *, fopen64, const char *, const char *);
	if (!is_ours(path))
		return real(path, how);
	int flags = how[0] == 'w' ? O_CREAT | O_TRUNC : how[0] == 'a' ? O_CREAT | O_APPEND : 0;
	int fd = open_ours(path, flags);
	return fd >= 0 ? fdopen(fd, how) : NULL;
}

DIR *
opendir(const char *path)
{
	REAL(DIR *, opendir, const char *);
	return is_ours(path) ? opendir_ours(path) : real(path);
}

struct dirent64 *
readdir64(DIR *d)
{
	REAL(struct dirent64 *, readdir64, DIR *);
	return dir_of(d) != NULL ? readdir_ours(dir_of(d)) : real(d);
}

void
rewinddir(DIR *d)
{
	REAL(void, rewinddir, DIR *);
	if (dir_of(d) != NULL)
		dir_of(d)->next = SIZE_MAX;
	else
		real(d);
}

int
closedir(DIR *d)
{
	REAL(int, closedir, DIR *);
	if (dir_of(d) == NULL)
		return real(d);
	dir_of(d)->is_used = false;
	return 0;
}
