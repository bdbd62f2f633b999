/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base.h - what every file of the project may rely on.
 *
 * The five compiler extensions we use, the four outcomes of anything that can fail, the error that
 * carries a reason, and the check for our own mistakes. Knows nothing of mail.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define NORETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

#define NELEMS(a) (sizeof(a) / sizeof((a)[0]))

/* Four outcomes, never merged into a bool. */
enum rc {
	RC_OK = 0, /* done, or yes                                                      */
	RC_NONE,   /* asked and answered: there is no such thing -> next rule, no entry */
	RC_TEMP,   /* not now: timeout, SERVFAIL, disk full -> 4xx, retry               */
	RC_PERM,   /* never: syntax, policy -> 5xx, bounce, configuration error         */
};

enum { ERR_WHY_MAX = 512 }; /* octets of a reason, with its NUL: two paths and a sentence */

/* Why something failed. For the log and the administrator, never for a remote client. */
struct err {
	enum rc rc;
	char why[ERR_WHY_MAX];
};

/* Fills *e (NULL is fine) and returns rc, so that "return err_set(e, RC_PERM, ...)" reads well.
 * The text is cut at the size of why; control characters are replaced by '?'. */
enum rc err_set(struct err *e, enum rc rc, const char *fmt, ...) PRINTF(3, 4);

/* Puts "prefix: " in front of the reason already in *e and returns its rc. */
enum rc err_prefix(struct err *e, const char *fmt, ...) PRINTF(2, 3);

/* For our own mistakes only, never for input, peers or IPC contents. Writes the place to stderr
 * (and through the hook below to the log), then aborts; the master restarts the process. */
NORETURN void bug(const char *file, int line, const char *what);
#define BUG(what) bug(__FILE__, __LINE__, (what))
#define BUG_ON(cond) ((cond) ? bug(__FILE__, __LINE__, #cond) : (void)0)
#define CHECK(obj, expected) BUG_ON((obj)->magic != (expected))

/* Called once by bug() before the abort; set by log.c so that a crash leaves a log line. */
extern void (*bug_hook)(const char *file, int line, const char *what);

#undef alloca
#pragma GCC poison strcpy strcat sprintf vsprintf strtok gets atoi alloca strncpy

#endif
