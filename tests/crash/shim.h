/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shim.h - a disk that fails, and a machine that loses power: stands between the spool and the kernel.
 *
 * One lock makes all calls of all threads one sequence; call number k can fail (once, or all from then
 * on, or for a while), be short, or be the last thing the process does. With power loss, everything that no sync
 * has covered is then taken back at random: sectors of files one by one, names in the order they were made.
 */
#ifndef TESTS_CRASH_SHIM_H
#define TESTS_CRASH_SHIM_H

#include "base/clock.h"
#include "base/mem.h"
#include "spool/io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum shim_how { SHIM_COUNT, SHIM_FAIL, SHIM_SHORT, SHIM_KILL, SHIM_POWER };
struct shim_plan {
	enum shim_how how;
	uint64_t from, to;       /* calls from..to-1 fail; the kill is at from */
	int error;
	uint64_t seed;           /* for what power loss takes */
	bool writes_only;        /* FAIL, SHORT: only calls that change or sync something */
	bool next_sync;          /* FAIL: the first sync from there on, and nothing else */
	bool before;             /* KILL, POWER: instead of the call, not behind it */
	unsigned speed;          /* the clock runs so many times as fast */
};

enum { SHIM_EXIT = 42, SHIM_SECTOR = 512, SHIM_UNDO = 1 << 16 };

struct shim_data {               /* a write that is not durable */
	dev_t dev;
	ino_t ino;
	int fd;                  /* a duplicate */
	off_t at;
	size_t n, old_n;         /* old_n < n: it was past the end */
	unsigned char *old;
};
struct shim_name {               /* a change of a directory that is not durable */
	int dir, todir;
	ino_t dir_ino, todir_ino;
	char from[64], to[64];   /* to empty: created; from empty and trash: removed */
	char trash[32];          /* name of what was removed or replaced, in dir todir */
};

static struct shim {
	struct shim_plan plan;
	pthread_mutex_t lock;
	uint64_t calls, failed;
	const struct spool_io *real;
	struct shim_data data[SHIM_UNDO];
	size_t ndata;
	struct shim_name names[SHIM_UNDO];
	size_t nnames;
	uint64_t trash;
	_Atomic uint64_t *counter; /* shared with the parent: calls so far */
} shim = { .lock = PTHREAD_MUTEX_INITIALIZER };

static uint64_t
shim_mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static ino_t
shim_ino(int fd, dev_t *dev_out)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return 0;
	if (dev_out != NULL)
		*dev_out = st.st_dev;
	return st.st_ino;
}

static void
shim_lose_power(void)
{
	for (size_t i = shim.ndata; i-- > 0;) {
		struct shim_data *d = &shim.data[i];
		for (size_t o = 0; o < d->n;) {
			size_t sector_end = (size_t)(((d->at + (off_t)o) / SHIM_SECTOR + 1) * SHIM_SECTOR - d->at);
			size_t n = (sector_end < d->n ? sector_end : d->n) - o;
			uint64_t pick = shim_mix(shim.plan.seed ^ shim_mix((uint64_t)d->ino) ^ (uint64_t)(d->at + (off_t)o) / SHIM_SECTOR);
			if (pick % 3 == 0) {
				size_t have = o < d->old_n ? (d->old_n - o < n ? d->old_n - o : n) : 0;
				unsigned char zero[SHIM_SECTOR] = { 0 };
				if (have > 0 && pwrite(d->fd, d->old + o, have, d->at + (off_t)o) < 0)
					_exit(99);
				if (have < n && pwrite(d->fd, zero, n - have, d->at + (off_t)(o + have)) < 0)
					_exit(99);
			}
			o += n;
		}
	}
	size_t keep = shim.nnames > 0 ? (size_t)(shim_mix(shim.plan.seed + 1) % (shim.nnames + 1)) : 0;
	for (size_t i = shim.nnames; i-- > keep;) {
		struct shim_name *m = &shim.names[i];
		if (m->from[0] != '\0' && m->to[0] != '\0')
			(void)!renameat(m->todir, m->to, m->dir, m->from);
		else if (m->trash[0] == '\0')
			(void)!unlinkat(m->todir, m->to, 0);
		if (m->trash[0] != '\0')
			(void)!renameat(m->todir, m->trash, m->todir, m->to);
	}
	for (size_t i = keep; i-- > 0;)
		if (shim.names[i].trash[0] != '\0')
			(void)!unlinkat(shim.names[i].todir, shim.names[i].trash, 0);
}

static void
shim_die(void)
{
	if (shim.plan.how == SHIM_POWER)
		shim_lose_power();
	_exit(SHIM_EXIT);
}

/* Lock is taken. True: this call fails (errno is set). */
static bool
shim_enter_as(bool changes, bool sync)
{
	pthread_mutex_lock(&shim.lock);
	uint64_t k = shim.calls++;
	if (shim.counter != NULL)
		atomic_store(shim.counter, shim.calls);
	bool hit = k >= shim.plan.from && k < shim.plan.to;
	if ((shim.plan.how == SHIM_KILL || shim.plan.how == SHIM_POWER) && hit && shim.plan.before)
		shim_die();
	if (shim.plan.how == SHIM_FAIL && shim.plan.next_sync)
		hit = sync && shim.failed == 0 && k >= shim.plan.from;
	if (shim.plan.how == SHIM_FAIL && hit && (changes || !shim.plan.writes_only)) {
		shim.failed++;
		errno = shim.plan.error;
		return true;
	}
	return false;
}

static bool
shim_enter(bool changes)
{
	return shim_enter_as(changes, false);
}

static void
shim_leave(void)
{
	int error = errno;
	uint64_t k = shim.calls - 1;
	if ((shim.plan.how == SHIM_KILL || shim.plan.how == SHIM_POWER) && k >= shim.plan.from && k < shim.plan.to)
		shim_die();
	pthread_mutex_unlock(&shim.lock);
	errno = error;
}

static void
shim_drop_data(bool all, dev_t dev, ino_t ino)
{
	size_t kept = 0;
	for (size_t i = 0; i < shim.ndata; i++) {
		struct shim_data *d = &shim.data[i];
		if (!all && (d->ino != ino || d->dev != dev)) {
			shim.data[kept++] = *d;
			continue;
		}
		close(d->fd);
		mem_free(&d->old);
	}
	shim.ndata = kept;
}

static void
shim_drop_names(bool all, ino_t dir)
{
	size_t kept = 0;
	for (size_t i = 0; i < shim.nnames; i++) {
		struct shim_name *m = &shim.names[i];
		if (!all && m->dir_ino != dir && m->todir_ino != dir) {
			shim.names[kept++] = *m;
			continue;
		}
		if (m->trash[0] != '\0')
			unlinkat(m->todir, m->trash, 0);
	}
	shim.nnames = kept;
}

static struct shim_name *
shim_new_name(int dir, const char *from, int todir, const char *to)
{
	if (shim.nnames == SHIM_UNDO)
		_exit(98);
	struct shim_name *m = &shim.names[shim.nnames++];
	*m = (struct shim_name){ .dir = dir, .todir = todir, .dir_ino = shim_ino(dir, NULL), .todir_ino = shim_ino(todir, NULL) };
	snprintf(m->from, sizeof m->from, "%s", from);
	snprintf(m->to, sizeof m->to, "%s", to);
	return m;
}

/* Hides what is about to be removed or replaced, so that it can come back. */
static void
shim_hide(struct shim_name *m)
{
	char name[32];
	snprintf(name, sizeof name, ".undo%llu", (unsigned long long)shim.trash++);
	if (renameat(m->todir, m->to, m->todir, name) == 0)
		snprintf(m->trash, sizeof m->trash, "%s", name);
}

static int
shim_openat(int dir, const char *name, int flags, mode_t mode)
{
	int r = -1;
	if (!shim_enter((flags & O_CREAT) != 0)) {
		bool create = shim.plan.how == SHIM_POWER && (flags & O_CREAT) != 0 && dir != AT_FDCWD && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
		r = openat(dir, name, flags, mode);
		int error = errno;
		if (r >= 0 && create)
			shim_new_name(dir, "", dir, name);
		errno = error;
	}
	shim_leave();
	return r;
}

static int
shim_close(int fd)
{
	return close(fd); /* never fails usefully */
}

static ssize_t
shim_pread(int fd, void *p, size_t n, off_t at)
{
	ssize_t r = shim_enter(false) ? -1 : pread(fd, p, n, at);
	shim_leave();
	return r;
}

static void
shim_save(int fd, const struct iovec *iov, int n, off_t at)
{
	size_t len = 0;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	if (shim.ndata == SHIM_UNDO)
		_exit(97);
	struct shim_data *d = &shim.data[shim.ndata++];
	*d = (struct shim_data){ .fd = dup(fd), .at = at, .n = len, .old = mem_alloc(len) };
	d->ino = shim_ino(fd, &d->dev);
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int ro = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t r = ro >= 0 ? pread(ro, d->old, len, at) : -1;
	if (ro >= 0)
		close(ro);
	d->old_n = r > 0 ? (size_t)r : 0;
}

static ssize_t
shim_pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
	ssize_t r = -1;
	if (!shim_enter(true)) {
		bool cut = shim.plan.how == SHIM_SHORT && shim.calls - 1 >= shim.plan.from && shim.calls - 1 < shim.plan.to;
		if (shim.plan.how == SHIM_POWER)
			shim_save(fd, iov, n, at);
		if (cut && n > 0 && iov[0].iov_len > 1) {
			struct iovec part = { .iov_base = iov[0].iov_base, .iov_len = iov[0].iov_len / 2 };
			shim.failed++;
			r = pwritev(fd, &part, 1, at);
		} else {
			r = pwritev(fd, iov, n, at);
		}
	}
	shim_leave();
	return r;
}

static int
shim_sync(int fd)
{
	int r = -1;
	if (!shim_enter_as(true, true)) {
		dev_t dev = 0;
		ino_t ino = shim_ino(fd, &dev);
		shim_drop_data(false, dev, ino);
		shim_drop_names(false, ino);
		r = 0; /* the test is about order, not about this machine's disk */
	}
	shim_leave();
	return r;
}

static int
shim_syncfs(int fd)
{
	(void)fd;
	int r = -1;
	if (!shim_enter_as(true, true)) {
		shim_drop_data(true, 0, 0);
		shim_drop_names(true, 0);
		r = 0;
	}
	shim_leave();
	return r;
}

static int
shim_fallocate(int fd, int mode, off_t at, off_t n)
{
	int r = shim_enter(true) ? -1 : fallocate(fd, mode, at, n);
	shim_leave();
	return r;
}

static int
shim_ftruncate(int fd, off_t n)
{
	int r = shim_enter(true) ? -1 : ftruncate(fd, n);
	shim_leave();
	return r;
}

static int
shim_fstat(int fd, struct stat *out)
{
	int r = shim_enter(false) ? -1 : fstat(fd, out);
	shim_leave();
	return r;
}

static int
shim_fstatvfs(int fd, struct statvfs *out)
{
	return fstatvfs(fd, out); /* once a second: it would make the sequence depend on time */
}

static int
shim_renameat(int olddir, const char *oldname, int newdir, const char *newname)
{
	int r = -1;
	if (!shim_enter(true)) {
		if (shim.plan.how == SHIM_POWER) {
			struct shim_name *m = shim_new_name(olddir, oldname, newdir, newname);
			shim_hide(m);
		}
		r = renameat(olddir, oldname, newdir, newname);
	}
	shim_leave();
	return r;
}

static int
shim_unlinkat(int dir, const char *name, int flags)
{
	int r = -1;
	if (!shim_enter(true)) {
		if (shim.plan.how == SHIM_POWER && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
			shim_hide(shim_new_name(dir, "", dir, name));
			r = 0;
		} else {
			r = unlinkat(dir, name, flags);
		}
	}
	shim_leave();
	return r;
}

static int
shim_mkdirat(int dir, const char *name, mode_t mode)
{
	int r = shim_enter(true) ? -1 : mkdirat(dir, name, mode);
	shim_leave();
	return r;
}

static uint64_t
shim_now(void)
{
	return clock_mono() * (shim.plan.speed > 0 ? shim.plan.speed : 1);
}

static const struct spool_io shim_io = {
	.openat = shim_openat,
	.close = shim_close,
	.pread = shim_pread,
	.pwritev = shim_pwritev,
	.fdatasync = shim_sync,
	.fsync = shim_sync,
	.syncfs = shim_syncfs,
	.fallocate = shim_fallocate,
	.ftruncate = shim_ftruncate,
	.fstat = shim_fstat,
	.fstatvfs = shim_fstatvfs,
	.renameat = shim_renameat,
	.unlinkat = shim_unlinkat,
	.mkdirat = shim_mkdirat,
	.now = shim_now,
};

static void UNUSED
shim_start(const struct shim_plan *plan, _Atomic uint64_t *counter)
{
	shim.plan = *plan;
	shim.calls = shim.failed = 0;
	shim.counter = counter;
	spool_io = &shim_io;
}

#endif
