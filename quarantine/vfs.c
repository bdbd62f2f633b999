/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/vfs.h"

#include "base/span.h"
#include "spool/io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <unistd.h>

/* A directory that is not there for anybody else; the digit is the slot. */
#define PREFIX "/.dogana-quarantine-"
enum { SLOTS = 8, PREFIX_LEN = sizeof(PREFIX) - 1 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int slots[SLOTS];                         /* descriptor + 1; 0: free */

static int (*real_open)(const char *, int, int);
static int (*real_access)(const char *, int);
static int (*real_stat)(const char *, struct stat *);
static int (*real_lstat)(const char *, struct stat *);
static int (*real_unlink)(const char *);
static int (*real_open_directory)(const char *, int *);

/* The descriptor and the name below it; -1: not ours. */
static int
dir_of(const char *path, const char **name_out)
{
	if (path == NULL || strncmp(path, PREFIX, PREFIX_LEN) != 0)
		return -1;
	unsigned slot = (unsigned)(path[PREFIX_LEN] - '0');
	if (slot >= SLOTS || slots[slot] == 0)
		return -1;
	const char *rest = path + PREFIX_LEN + 1;
	if (*rest != '\0' && (*rest != '/' || rest[1] == '\0' || strchr(rest + 1, '/') != NULL))
		return -1;
	*name_out = *rest == '\0' ? "." : rest + 1;
	return slots[slot] - 1;
}

static int
our_open(const char *path, int flags, int mode)
{
	const char *name;
	int dir = dir_of(path, &name), fd;
	if (dir < 0)
		return real_open(path, flags, mode);
	do
		fd = spool_io->openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static int
our_access(const char *path, int mode)
{
	const char *name;
	int dir = dir_of(path, &name);
	struct stat st;
	if (dir < 0)
		return real_access(path, mode);
	/* what SQLite asks is whether it is there; modes are ours */
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW);
}

static int
our_stat(const char *path, struct stat *out)
{
	const char *name;
	int dir = dir_of(path, &name);
	return dir < 0 ? real_stat(path, out) : fstatat(dir, name, out, AT_SYMLINK_NOFOLLOW);
}

static int
our_lstat(const char *path, struct stat *out)
{
	const char *name;
	int dir = dir_of(path, &name);
	return dir < 0 ? real_lstat(path, out) : fstatat(dir, name, out, AT_SYMLINK_NOFOLLOW);
}

static int
our_unlink(const char *path)
{
	const char *name;
	int dir = dir_of(path, &name);
	return dir < 0 ? real_unlink(path) : spool_io->unlinkat(dir, name, 0);
}

static int
our_open_directory(const char *path, int *fd_out)
{
	if (strncmp(path, PREFIX, PREFIX_LEN) != 0)
		return real_open_directory(path, fd_out);
	return SQLITE_CANTOPEN; /* to sync it, which the writer does; SQLite takes it as a file system that cannot */
}

static ssize_t
our_pread(int fd, void *p, size_t n, off_t at)
{
	return spool_io->pread(fd, p, n, at);
}

static ssize_t
our_pwrite(int fd, const void *p, size_t n, off_t at)
{
	union {
		const void *c;
		void *p;
	} u = { .c = p };
	struct iovec iov = { .iov_base = u.p, .iov_len = n };
	return spool_io->pwritev(fd, &iov, 1, at);
}

static int
our_ftruncate(int fd, off_t n)
{
	return spool_io->ftruncate(fd, n);
}

#define SYSCALL(fn) ((sqlite3_syscall_ptr)(void (*)(void))(fn))

/* Lock held. */
static void
install(void)
{
	if (real_open != NULL)
		return;
	/* counting what it has allocated takes a lock each time; too late (another user of SQLite was first) is no matter */
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
	sqlite3_vfs *v = sqlite3_vfs_find("unix");
	BUG_ON(v == NULL || v->iVersion < 3);
	real_open = (int (*)(const char *, int, int))v->xGetSystemCall(v, "open");
	real_access = (int (*)(const char *, int))v->xGetSystemCall(v, "access");
	real_stat = (int (*)(const char *, struct stat *))v->xGetSystemCall(v, "stat");
	real_lstat = (int (*)(const char *, struct stat *))v->xGetSystemCall(v, "lstat");
	real_unlink = (int (*)(const char *))v->xGetSystemCall(v, "unlink");
	real_open_directory = (int (*)(const char *, int *))v->xGetSystemCall(v, "openDirectory");
	static const struct {
		const char *name;
		sqlite3_syscall_ptr fn;
	} calls[] = {
		{ "open", SYSCALL(our_open) }, { "access", SYSCALL(our_access) }, { "stat", SYSCALL(our_stat) }, { "lstat", SYSCALL(our_lstat) },
		{ "unlink", SYSCALL(our_unlink) }, { "openDirectory", SYSCALL(our_open_directory) }, { "pread", SYSCALL(our_pread) },
		{ "pread64", SYSCALL(our_pread) }, { "pwrite", SYSCALL(our_pwrite) }, { "pwrite64", SYSCALL(our_pwrite) },
		{ "ftruncate", SYSCALL(our_ftruncate) },
	};
	for (size_t i = 0; i < NELEMS(calls); i++)
		(void)v->xSetSystemCall(v, calls[i].name, calls[i].fn); /* a name this SQLite lacks is no matter */
}

void
vfs_add(int dir_fd, const char *name, char path_out[VFS_PATH_MAX])
{
	pthread_mutex_lock(&lock);
	install();
	unsigned slot = 0;
	while (slot < SLOTS && slots[slot] != 0)
		slot++;
	BUG_ON(slot == SLOTS);
	slots[slot] = dir_fd + 1;
	pthread_mutex_unlock(&lock);
	snprintf(path_out, VFS_PATH_MAX, PREFIX "%u/%s", slot, name);
}

void
vfs_remove(int dir_fd)
{
	pthread_mutex_lock(&lock);
	for (unsigned slot = 0; slot < SLOTS; slot++)
		if (slots[slot] == dir_fd + 1)
			slots[slot] = 0;
	pthread_mutex_unlock(&lock);
}
