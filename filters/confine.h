/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * confine.h - what a process of a bundled filter gives up once it holds what it needs.
 *
 * As root: user, groups and root directory. Always: no new privileges, Landlock (files only below the named directories, no TCP),
 * a list of system calls (the others fail with EPERM), resource limits. What the kernel lacks is skipped and missing in
 * the steps. Under sanitizers root directory and system calls stay as they are.
 * To be called while the process has one thread.
 */
#ifndef FILTERS_CONFINE_H
#define FILTERS_CONFINE_H

#include "base/buf.h"

#include <sys/types.h>

/* System calls beside those that everybody needs (memory, descriptors it has, time, signals of its own): bits. */
enum confine_calls {
	CONFINE_THREADS = 1,     /* start threads */
	CONFINE_SERVE = 2,       /* accept connections */
	CONFINE_CONNECT = 4,     /* make sockets and connect */
	CONFINE_READ = 8,        /* open files and list directories */
	CONFINE_WRITE = 16,      /* make, rename, remove files and directories */
	CONFINE_FORK = 32,       /* start processes, wait for them, end them */
	CONFINE_EXEC = 64,       /* this very program again */
};

enum { CONFINE_DIRS = 8 };

struct confine {
	const char *user;        /* as root: name or number; NULL: stays */
	const char *root;        /* as root: chroot there, NULL: none */
	unsigned calls;          /* enum confine_calls */
	const char *readable[CONFINE_DIRS]; /* files and directories (what is below, too) */
	const char *writable[CONFINE_DIRS];
	bool may_connect;        /* TCP */
	uint64_t memory_bytes;   /* of address space, 0: no limit */
	uint64_t file_bytes;     /* a file it writes may have, 0: none at all unless CONFINE_WRITE */
	uint64_t descriptors;    /* 0: no limit */
	unsigned cpu_seconds;    /* 0: no limit */
};

/* steps_out (may be NULL) gets the steps taken: "user chroot no_new_privs landlock seccomp". */
enum rc confine(const struct confine *want, struct buf *steps_out, struct err *e) MUST_CHECK;

#endif
