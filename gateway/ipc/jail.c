/* SPDX-License-Identifier: BSD-2-Clause */
#include "ipc/jail.h"

#include <errno.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void
jail_step(struct buf *steps, const char *name)
{
	if (steps == NULL)
		return;
	if (buf_len(steps) > 0)
		buf_putc(steps, ' ');
	buf_puts(steps, name);
}

/* ---- files ---- */

#define REFER (UINT64_C(1) << 13)    /* newer than some headers, as what is behind it */
#define TRUNCATE (UINT64_C(1) << 14)
#define FILE_WRITE (LANDLOCK_ACCESS_FS_WRITE_FILE | TRUNCATE)
#define BELOW_WRITE (LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR)
#define ALL_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define NEVER                                                                                                                               \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |               \
	    LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

/* The attribute as far as kernel headers of all ages know it. */
struct ruleset {
	uint64_t fs, net, scoped;
};

enum { NET_BIND_CONNECT = 3, SCOPE_ABSTRACT_SOCKETS = 1, SCOPE_SIGNALS = 2, SINCE_REFER = 2, SINCE_TRUNCATE = 3, SINCE_NET = 4, SINCE_SCOPES = 6 };

static long
landlock_version(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static bool
add_place(int rules, const struct jail_place *p, uint64_t known)
{
	struct stat st;
	uint64_t access = ALL_READ | (p->may_write ? FILE_WRITE | BELOW_WRITE | REFER : 0);
	if (p->fd < 0)
		return true;
	if (fstat(p->fd, &st) == 0 && !S_ISDIR(st.st_mode))
		access &= LANDLOCK_ACCESS_FS_READ_FILE | FILE_WRITE;
	struct landlock_path_beneath_attr below = { .allowed_access = access & known, .parent_fd = p->fd };
	return below.allowed_access == 0 || syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0) == 0;
}

enum rc
jail_limit_files(const struct jail_files *want, struct err *e)
{
	long version = landlock_version();
	if (version < 1 || (version < SINCE_REFER && want->moves))
		return RC_NONE;
	struct ruleset rs = { .fs = NEVER | BELOW_WRITE | FILE_WRITE | REFER | (want->limits_reading ? ALL_READ : 0) };
	if (version < SINCE_REFER)
		rs.fs &= ~REFER;
	if (version < SINCE_TRUNCATE)
		rs.fs &= ~TRUNCATE;
	if (version >= SINCE_NET && want->no_tcp)
		rs.net = NET_BIND_CONNECT;
	if (version >= SINCE_SCOPES)
		rs.scoped = SCOPE_ABSTRACT_SOCKETS | (want->has_children ? 0 : SCOPE_SIGNALS);
	size_t size = version >= SINCE_SCOPES ? sizeof rs : version >= SINCE_NET ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
	int rules = (int)syscall(SYS_landlock_create_ruleset, &rs, size, 0);
	if (rules < 0)
		return RC_NONE;
	bool ok = true;
	for (size_t i = 0; ok && i < want->nplaces; i++)
		ok = add_place(rules, &want->place[i], rs.fs);
	ok = ok && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
	int err = errno;
	close(rules);
	return ok ? RC_OK : err_set(e, RC_PERM, "landlock: %s", strerror(err));
}

/* ---- system calls ---- */

static bool
has_seccomp(void)
{
	uint32_t action = SECCOMP_RET_ERRNO;
	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

enum rc
jail_limit_calls(const struct jail_calls *lists, size_t nlists, bool may_clone, struct err *e)
{
	if (!has_seccomp())
		return RC_NONE;
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (ctx == NULL)
		return err_set(e, RC_PERM, "seccomp_init failed");
	for (size_t i = 0; i < nlists; i++)
		for (size_t k = 0; k < lists[i].n; k++)
			(void)seccomp_rule_add(ctx, SCMP_ACT_ALLOW, lists[i].calls[k], 0); /* a call this machine lacks is no matter */
	if (!may_clone)
		(void)seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_API_SYSRAWRC, 1);
	int r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r == 0 ? RC_OK : err_set(e, RC_PERM, "seccomp: %s", strerror(-r));
}

/* ---- the kernel ---- */

const char *
jail_lacks(void)
{
	bool files = landlock_version() >= 1, calls = has_seccomp();
	if (files && calls)
		return NULL;
	return files ? "this kernel has no seccomp: processes can make every system call" :
	    calls    ? "this kernel has no Landlock: what processes can do to files is limited by user and root directory alone" :
	               "this kernel has neither Landlock nor seccomp: processes are confined by user and root directory alone";
}
