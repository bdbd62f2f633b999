/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jail.h - what a process can give up through the kernel, for roles (sandbox.h) and for the programs of filters (filters/confine.h).
 *
 * Each step is for good, and for threads that are started later. What the kernel does not have is RC_NONE, not an error: who calls leaves
 * it out of the steps it tells of, and jail_lacks() names it.
 */
#ifndef IPC_JAIL_H
#define IPC_JAIL_H

#include "base/buf.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0 /* its runtime makes calls of its own, and looks for leaks at the end by tracing itself */
#endif

/* A step that was taken: appended to steps (may be NULL), for status. */
void jail_step(struct buf *steps, const char *name);

/* ---- files (Landlock) ---- */

/* A directory (what is below, too) or a file. */
struct jail_place {
	int fd;                      /* O_PATH; -1: none */
	bool may_write;
};

struct jail_files {
	const struct jail_place *place;
	size_t nplaces;
	bool limits_reading;         /* to the places, too; else everything that user and root directory allow */
	bool moves;                  /* renames between directories: without a kernel that can allow it, RC_NONE */
	bool no_tcp;                 /* neither bind nor connect */
	bool has_children;           /* it sends signals to processes that have domains of their own */
};

/* Nothing is executed, no device, socket or link made, nothing written but below the places that say so. */
enum rc jail_limit_files(const struct jail_files *want, struct err *e) MUST_CHECK;

/* ---- system calls (seccomp) ---- */

struct jail_calls {
	const int *calls;            /* SCMP_SYS() */
	size_t n;
};

/* Those of the lists; the others fail with EPERM. may_clone: without, clone3 is said not to exist, so that the C library asks for clone. */
enum rc jail_limit_calls(const struct jail_calls *lists, size_t nlists, bool may_clone, struct err *e) MUST_CHECK;

/* ---- the kernel ---- */

/* What it does not have: a line for the log, or NULL. */
const char *jail_lacks(void);

#endif
