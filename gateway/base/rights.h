/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rights.h - one thing done with the rights of somebody else, by a process that is root.
 *
 *	if (!rights_find(user, true, &r)) ... errno
 *	if (rights_take(&r, &own)) { fd = open(...); rights_back(&own); }
 *
 * Effective user and groups change, and with them what paths may be passed, and whom a peer sees (SO_PEERCRED). The real and the
 * saved user stay root: the user whose rights they are can neither signal the process nor look into it meanwhile. For processes
 * of one thread. A process that is not root keeps what it has.
 */
#ifndef BASE_RIGHTS_H
#define BASE_RIGHTS_H

#include "base/base.h"

#include <sys/types.h>

enum { RIGHTS_GROUPS = 64 };

struct rights {
	uid_t uid;
	gid_t gid;
	gid_t groups[RIGHTS_GROUPS];
	size_t ngroups;
};

/* A user by name or number; with_groups: those he is a member of too. Asks the name service, which may wait. false: there is none, errno says why. */
bool rights_find(const char *user, bool with_groups, struct rights *out) MUST_CHECK;
/* *own_out: for rights_back(). false: nothing has changed, errno says why. */
bool rights_take(const struct rights *r, struct rights *own_out) MUST_CHECK;
/* access(2) for a user with all his groups: 0 or an errno. A user there is none of, and a process that is not root, ask for themselves. */
int rights_access(const char *user, const char *path, int mode);
/* Ends the process when that fails. errno stays. */
void rights_back(const struct rights *own);

#endif
