/* SPDX-License-Identifier: BSD-2-Clause */
#include "ipc/sandbox.h"

#include "ipc/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

/* System calls a role may make. Everything else fails with EPERM; what starts another program or
 * looks into another process is nowhere. */
#define CALLS_ALL                                                                                                     \
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(recvmsg),     \
	    SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(sendmmsg), SCMP_SYS(close),             \
	    SCMP_SYS(fstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(lseek), SCMP_SYS(mmap), SCMP_SYS(munmap), \
	    SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(brk), SCMP_SYS(madvise), SCMP_SYS(futex),                  \
	    SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday),          \
	    SCMP_SYS(time), SCMP_SYS(getrandom), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait),  \
	    SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2), SCMP_SYS(eventfd2), SCMP_SYS(timerfd_create),              \
	    SCMP_SYS(timerfd_settime), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(rt_sigaction),                       \
	    SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(exit),                  \
	    SCMP_SYS(exit_group), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid),            \
	    SCMP_SYS(getgid), SCMP_SYS(getegid), SCMP_SYS(tgkill), SCMP_SYS(sched_yield),                             \
	    SCMP_SYS(sched_getaffinity), SCMP_SYS(restart_syscall), SCMP_SYS(fcntl), SCMP_SYS(dup),                   \
	    SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(shutdown), SCMP_SYS(getsockname),                    \
	    SCMP_SYS(getpeername), SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(prlimit64), SCMP_SYS(uname),   \
	    SCMP_SYS(sysinfo), SCMP_SYS(membarrier), SCMP_SYS(pipe2), SCMP_SYS(uname), SCMP_SYS(socketpair)
#define CALLS_NET SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(ioctl)
#define CALLS_TABLES SCMP_SYS(openat), SCMP_SYS(open), SCMP_SYS(fstatfs), SCMP_SYS(access), SCMP_SYS(readlink)

static const int edge_calls[] = { CALLS_ALL, CALLS_NET, CALLS_TABLES, SCMP_SYS(accept4), SCMP_SYS(pwrite64), SCMP_SYS(getdents64),
	SCMP_SYS(copy_file_range) };
static const int relay_calls[] = { CALLS_ALL, CALLS_NET, CALLS_TABLES };
static const int queue_calls[] = { CALLS_ALL, CALLS_TABLES, SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(pwritev2),
	SCMP_SYS(preadv), SCMP_SYS(openat2), SCMP_SYS(unlinkat), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(linkat),
	SCMP_SYS(mkdirat), SCMP_SYS(ftruncate), SCMP_SYS(fallocate), SCMP_SYS(fsync), SCMP_SYS(fdatasync), SCMP_SYS(sync_file_range),
	SCMP_SYS(syncfs), SCMP_SYS(fchmod), SCMP_SYS(flock), SCMP_SYS(getdents64), SCMP_SYS(copy_file_range), SCMP_SYS(sendfile),
	SCMP_SYS(fadvise64), SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(set_tid_address), SCMP_SYS(utimensat), SCMP_SYS(faccessat2), SCMP_SYS(memfd_create) };

/* SQLite looks at files in its own way; its threads come after this list is in force */
static const int lookup_calls[] = { CALLS_ALL, CALLS_NET, CALLS_TABLES, SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(readlinkat),
	SCMP_SYS(getcwd), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(set_tid_address) };

/* nothing is opened, nobody is reached */
static const int keys_calls[] = { CALLS_ALL };
/* libsasl2: its database is a file, saslauthd a socket; the threads come after this list is in force */
static const int auth_calls[] = { CALLS_ALL, CALLS_NET, CALLS_TABLES, SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(readlinkat), SCMP_SYS(getcwd),
	SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(getdents64), SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(set_tid_address) };

static const struct jail_calls rows[] = {
	[ROLE_EDGE] = { edge_calls, NELEMS(edge_calls) },
	[ROLE_QUEUE] = { queue_calls, NELEMS(queue_calls) },
	[ROLE_RELAY] = { relay_calls, NELEMS(relay_calls) },
	[ROLE_LOOKUP] = { lookup_calls, NELEMS(lookup_calls) },
	[ROLE_KEYS] = { keys_calls, NELEMS(keys_calls) },
	[ROLE_AUTH] = { auth_calls, NELEMS(auth_calls) },
};

bool
sandbox_changes_root(void)
{
	return !HAS_SANITIZER;
}

enum rc
sandbox_user(struct sandbox *s, const char *user, struct err *e)
{
	uint64_t n;
	if (span_u64(span_str(user), UINT32_MAX - 1, &n)) {
		if (n == 0)
			return err_set(e, RC_PERM, "a role must not run as root");
		s->uid = (uid_t)n;
		s->gid = (gid_t)n;
		return RC_OK;
	}
	struct passwd *pw = getpwnam(user);
	if (pw == NULL)
		return err_set(e, RC_PERM, "user %s does not exist", user);
	if (pw->pw_uid == 0)
		return err_set(e, RC_PERM, "a role must not run as root");
	s->uid = pw->pw_uid;
	s->gid = pw->pw_gid;
	struct rights r;
	if (s->role != ROLE_AUTH || !rights_find(user, true, &r))
		return RC_OK;
	memcpy(s->groups, r.groups, sizeof s->groups);
	s->ngroups = r.ngroups;
	return RC_OK;
}

enum rc
sandbox_lower(const struct sandbox *s, struct err *e)
{
	if (s->uid == (uid_t)-1)
		return RC_OK;
	if (setgroups(s->ngroups, s->groups) != 0 || setresgid(s->gid, s->gid, s->gid) != 0 || setresuid((uid_t)-1, s->uid, (uid_t)-1) != 0)
		return err_set(e, RC_PERM, "cannot become user %u: %s", (unsigned)s->uid, strerror(errno));
	return RC_OK;
}

static bool is_hidden;

void
sandbox_hide(void)
{
	is_hidden = true;
	if (!HAS_SANITIZER)
		(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

static enum rc
enter(const struct sandbox *s, int writable_fd, int also_fd, struct buf *steps, struct err *e)
{
	if (s->uid != (uid_t)-1) {
		if (setresuid((uid_t)-1, 0, (uid_t)-1) != 0)
			return err_set(e, RC_PERM, "cannot come back to root: %s", strerror(errno));
		if (s->root != NULL) {
			if (chdir(s->root) != 0 || chroot(".") != 0)
				return err_set(e, RC_PERM, "chroot %s: %s", s->root, strerror(errno));
			jail_step(steps, "chroot");
		}
		if (setresuid(s->uid, s->uid, s->uid) != 0 || setuid(0) == 0)
			return err_set(e, RC_PERM, "cannot give up root: %s", strerror(errno));
		jail_step(steps, "user");
	}
	if (is_hidden)
		sandbox_hide(); /* again: a change of user may have undone it */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return err_set(e, RC_PERM, "no_new_privs: %s", strerror(errno));
	jail_step(steps, "no_new_privs");
	const struct jail_place places[] = { { writable_fd, true }, { also_fd, true } };
	const struct jail_files files = { .place = places, .nplaces = NELEMS(places), .moves = writable_fd >= 0 };
	enum rc rc = jail_limit_files(&files, e);
	if (rc == RC_OK)
		jail_step(steps, "landlock");
	else if (rc != RC_NONE)
		return rc;
	if (HAS_SANITIZER) {
		(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		return RC_OK;
	}
	rc = jail_limit_calls(&rows[s->role], 1, true, e);
	if (rc == RC_OK)
		jail_step(steps, "seccomp");
	return rc == RC_NONE ? RC_OK : rc;
}

enum rc
sandbox_enter(const struct sandbox *s, struct buf *steps, struct err *e)
{
	int fd = -1;
	if (s->writable != NULL && (fd = open(s->writable, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0)
		return err_set(e, RC_PERM, "%s: %s", s->writable, strerror(errno));
	int also = s->also != NULL ? open(s->also, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
	enum rc rc = enter(s, fd, also, steps, e);
	if (fd >= 0)
		close(fd);
	if (also >= 0)
		close(also);
	return rc;
}
