/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * io.h - every system call by which the spool touches the disk, as a table.
 *
 * One table, so that tests can fail each call in turn, tear writes and end the process between two
 * of them (tests/crash). The program never changes it. Called from the loop, the commit thread and
 * the filer alike.
 */
#ifndef SPOOL_IO_H
#define SPOOL_IO_H

#include "base/span.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

struct spool_io {
	int (*openat)(int dir, const char *name, int flags, mode_t mode);
	int (*close)(int fd);
	ssize_t (*pread)(int fd, void *p, size_t n, off_t at);
	ssize_t (*pwritev)(int fd, const struct iovec *iov, int n, off_t at);
	int (*fdatasync)(int fd);
	int (*fsync)(int fd);
	int (*syncfs)(int fd);
	int (*fallocate)(int fd, int mode, off_t at, off_t n);
	int (*ftruncate)(int fd, off_t n);
	int (*fstat)(int fd, struct stat *out);
	int (*fstatvfs)(int fd, struct statvfs *out);
	int (*renameat)(int olddir, const char *oldname, int newdir, const char *newname);
	int (*unlinkat)(int dir, const char *name, int flags);
	int (*mkdirat)(int dir, const char *name, mode_t mode);
	uint64_t (*now)(void); /* clock_mono; tests let back-off pass quickly */
};

extern const struct spool_io *spool_io; /* tests: replaced before spool_open */

/* Writes all of it at one place; goes on after a short write. 0, or the errno. */
int io_write(int fd, const struct iovec *iov, int n, uint64_t at) MUST_CHECK;
int io_write_span(int fd, struct span s, uint64_t at) MUST_CHECK;
/* Reads n bytes or up to the end of the file; *got says how many. 0, or the errno. */
int io_read(int fd, void *p, size_t n, uint64_t at, size_t *got) MUST_CHECK;
/* Opens below a kept directory: never through a link, never inherited. -1 and errno. */
int io_open(int dir, const char *name, int flags) MUST_CHECK;
/* A size for an off_t. */
static inline off_t
io_off(uint64_t at)
{
	return (off_t)at;
}

#endif
