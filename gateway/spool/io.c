/* SPDX-License-Identifier: BSD-2-Clause */
#include "spool/io.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static int
sys_openat(int dir, const char *name, int flags, mode_t mode)
{
	return openat(dir, name, flags, mode);
}

static const struct spool_io kernel = {
	.openat = sys_openat,
	.close = close,
	.pread = pread,
	.pwritev = pwritev,
	.fdatasync = fdatasync,
	.fsync = fsync,
	.syncfs = syncfs,
	.fallocate = fallocate,
	.ftruncate = ftruncate,
	.fstat = fstat,
	.fstatvfs = fstatvfs,
	.renameat = renameat,
	.unlinkat = unlinkat,
	.mkdirat = mkdirat,
	.now = clock_mono,
};

const struct spool_io *spool_io = &kernel;

int
io_write(int fd, const struct iovec *iov, int n, uint64_t at)
{
	enum { PARTS = 4 };
	struct iovec left[PARTS];
	BUG_ON(n > PARTS);
	for (int i = 0; i < n; i++)
		left[i] = iov[i];
	for (int i = 0; i < n;) {
		if (left[i].iov_len == 0) {
			i++;
			continue;
		}
		ssize_t r = spool_io->pwritev(fd, left + i, n - i, io_off(at));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return errno;
		if (r == 0)
			return EIO; /* a regular file that takes nothing */
		at += (uint64_t)r;
		for (size_t took = (size_t)r; took > 0;) {
			size_t part = took < left[i].iov_len ? took : left[i].iov_len;
			left[i].iov_base = (char *)left[i].iov_base + part;
			left[i].iov_len -= part;
			took -= part;
			if (left[i].iov_len == 0 && took > 0)
				i++;
		}
	}
	return 0;
}

int
io_write_span(int fd, struct span s, uint64_t at)
{
	/* iovec has no const: pwritev does not write through it */
	union {
		const unsigned char *c;
		void *p;
	} u = { .c = s.p };
	struct iovec iov = { .iov_base = u.p, .iov_len = s.n };
	return io_write(fd, &iov, 1, at);
}

int
io_read(int fd, void *p, size_t n, uint64_t at, size_t *got)
{
	*got = 0;
	while (*got < n) {
		ssize_t r = spool_io->pread(fd, (char *)p + *got, n - *got, io_off(at + *got));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return errno;
		if (r == 0)
			break;
		*got += (size_t)r;
	}
	return 0;
}

int
io_open(int dir, const char *name, int flags)
{
	int fd;
	do
		fd = spool_io->openat(dir, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	while (fd < 0 && errno == EINTR);
	return fd;
}
