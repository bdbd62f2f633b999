/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/rights.h"

#include "base/span.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

bool
rights_find(const char *user, bool with_groups, struct rights *out)
{
	uint64_t n;
	*out = (struct rights){ .uid = (uid_t)-1 };
	if (span_u64(span_str(user), UINT32_MAX - 1, &n)) {
		out->uid = (uid_t)n;
		out->gid = (gid_t)n;
		return true;
	}
	errno = 0;
	const struct passwd *pw = getpwnam(user);
	if (pw == NULL) {
		errno = errno != 0 ? errno : EPERM;
		return false;
	}
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	if (!with_groups)
		return true;
	int count = RIGHTS_GROUPS;
	if (getgrouplist(user, out->gid, out->groups, &count) < 0) {
		errno = E2BIG;
		return false;
	}
	out->ngroups = (size_t)count;
	return true;
}

void
rights_back(const struct rights *own)
{
	int err = errno;
	if (own->uid == 0)
		BUG_ON(seteuid(0) != 0 || setegid(own->gid) != 0 || setgroups(own->ngroups, own->groups) != 0 || geteuid() != 0 || getegid() != own->gid);
	errno = err;
}

bool
rights_take(const struct rights *r, struct rights *own_out)
{
	*own_out = (struct rights){ .uid = geteuid(), .gid = getegid() };
	if (own_out->uid != 0)
		return true;
	int n = getgroups(RIGHTS_GROUPS, own_out->groups);
	if (n < 0) {
		errno = E2BIG;
		return false;
	}
	own_out->ngroups = (size_t)n;
	if (setgroups(r->ngroups, r->groups) == 0 && setegid(r->gid) == 0 && seteuid(r->uid) == 0)
		return true;
	rights_back(own_out);
	return false;
}

int
rights_access(const char *user, const char *path, int mode)
{
	struct rights theirs, own;
	bool is_his = geteuid() == 0 && rights_find(user, true, &theirs);
	if (is_his && !rights_take(&theirs, &own))
		return errno;
	int err = faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0 ? 0 : errno;
	if (is_his)
		rights_back(&own);
	return err;
}
