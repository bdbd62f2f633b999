/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sandbox.h - what a role gives up once it holds its sockets and directories.
 *
 * As root: its own user, an empty root directory (or the directory of compiled tables), no new
 * privileges, a list of system calls, Landlock where the kernel has it. As an ordinary user the first two
 * are skipped; the master says so once. Rows per role in sandbox.c.
 */
#ifndef IPC_SANDBOX_H
#define IPC_SANDBOX_H

#include "base/rights.h"
#include "ipc/ipc.h"

#include <sys/types.h>

struct sandbox {
	enum role role;
	uid_t uid;               /* (uid_t)-1: not root, nothing to change */
	gid_t gid;
	gid_t groups[RIGHTS_GROUPS]; /* auth: those its user is in, so that it may read what a group may (sasldb2) */
	size_t ngroups;
	const char *root;        /* directory to chroot to; NULL: none */
	const char *writable;    /* the only directory below which it may write; NULL: none at all */
	const char *also;        /* another one; NULL: none. Left out when it is not there */
};

/* False under sanitizers: at the end they look for leaks with the help of /proc. */
bool sandbox_changes_root(void);
/* Fills uid and gid from a user name or number; RC_PERM when there is no such user. */
enum rc sandbox_user(struct sandbox *s, const char *user, struct err *e) MUST_CHECK;
/* Acts as the role's user from here on, but can still come back (files are opened and made as this user). */
enum rc sandbox_lower(const struct sandbox *s, struct err *e) MUST_CHECK;
/* For good. *steps_out (may be NULL) gets the steps taken, for status: "user chroot no_new_privs seccomp". */
enum rc sandbox_enter(const struct sandbox *s, struct buf *steps_out, struct err *e) MUST_CHECK;

/* For a process that holds secrets: no core file, no debugger, no /proc/PID/mem for others of the same user. Not under sanitizers. */
void sandbox_hide(void);

#endif
