/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/confine.h"

#include "base/rights.h"
#include "ipc/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

/* ---- system calls ---- */

static const int calls_all[] = { SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
	SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(close), SCMP_SYS(fstat), SCMP_SYS(newfstatat),
	SCMP_SYS(statx), SCMP_SYS(lseek), SCMP_SYS(mmap), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(mprotect), SCMP_SYS(brk),
	SCMP_SYS(madvise), SCMP_SYS(futex), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday),
	SCMP_SYS(time), SCMP_SYS(getrandom), SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6), SCMP_SYS(eventfd2), SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigtimedwait), SCMP_SYS(sigaltstack), SCMP_SYS(exit),
	SCMP_SYS(exit_group), SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(gettid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
	SCMP_SYS(getegid), SCMP_SYS(tgkill), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(restart_syscall), SCMP_SYS(fcntl),
	SCMP_SYS(dup), SCMP_SYS(getsockopt), SCMP_SYS(setsockopt), SCMP_SYS(shutdown), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
	SCMP_SYS(rseq), SCMP_SYS(set_robust_list), SCMP_SYS(prlimit64), SCMP_SYS(getrlimit), SCMP_SYS(getrusage), SCMP_SYS(times),
	SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(membarrier), SCMP_SYS(ftruncate), SCMP_SYS(memfd_create), SCMP_SYS(umask), SCMP_SYS(signalfd4), SCMP_SYS(pipe2) };
static const int calls_threads[] = { SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(set_tid_address), SCMP_SYS(sched_setaffinity) };
static const int calls_serve[] = { SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(ioctl) };
static const int calls_connect[] = { SCMP_SYS(socket), SCMP_SYS(connect), SCMP_SYS(socketpair) };
static const int calls_read[] = { SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(access), SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2), SCMP_SYS(getdents64), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getcwd), SCMP_SYS(fstatfs),
	SCMP_SYS(statfs), SCMP_SYS(fadvise64), SCMP_SYS(inotify_init1), SCMP_SYS(inotify_add_watch), SCMP_SYS(inotify_rm_watch) };
static const int calls_write[] = { SCMP_SYS(mkdir), SCMP_SYS(mkdirat), SCMP_SYS(rmdir), SCMP_SYS(unlink), SCMP_SYS(unlinkat),
	SCMP_SYS(rename), SCMP_SYS(renameat), SCMP_SYS(renameat2), SCMP_SYS(fchmod), SCMP_SYS(chmod), SCMP_SYS(fchmodat) };
static const int calls_fork[] = { SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(fork), SCMP_SYS(vfork), SCMP_SYS(wait4), SCMP_SYS(waitid),
	SCMP_SYS(kill), SCMP_SYS(socketpair), SCMP_SYS(prctl), SCMP_SYS(seccomp), SCMP_SYS(landlock_create_ruleset),
	SCMP_SYS(landlock_add_rule), SCMP_SYS(landlock_restrict_self), SCMP_SYS(setrlimit), SCMP_SYS(dup2), SCMP_SYS(dup3),
	SCMP_SYS(close_range), SCMP_SYS(set_tid_address), SCMP_SYS(pidfd_open) };
static const int calls_exec[] = { SCMP_SYS(execve), SCMP_SYS(arch_prctl) };

static const struct {
	unsigned bit;                /* 0: everybody */
	struct jail_calls list;
} call_rows[] = {
	{ 0, { calls_all, NELEMS(calls_all) } },
	{ CONFINE_THREADS, { calls_threads, NELEMS(calls_threads) } },
	{ CONFINE_SERVE, { calls_serve, NELEMS(calls_serve) } },
	{ CONFINE_CONNECT, { calls_connect, NELEMS(calls_connect) } },
	{ CONFINE_READ, { calls_read, NELEMS(calls_read) } },
	{ CONFINE_WRITE, { calls_write, NELEMS(calls_write) } },
	{ CONFINE_FORK, { calls_fork, NELEMS(calls_fork) } },
	{ CONFINE_EXEC, { calls_exec, NELEMS(calls_exec) } },
};

static enum rc
limit_calls(unsigned bits, struct err *e)
{
	struct jail_calls lists[NELEMS(call_rows)];
	size_t n = 0;
	for (size_t i = 0; i < NELEMS(call_rows); i++)
		if (call_rows[i].bit == 0 || (bits & call_rows[i].bit) != 0)
			lists[n++] = call_rows[i].list;
	return jail_limit_calls(lists, n, (bits & (CONFINE_THREADS | CONFINE_FORK)) != 0, e);
}

/* ---- files ---- */

static void
open_places(const struct confine *want, struct jail_place places[2 * CONFINE_DIRS])
{
	for (size_t i = 0; i < CONFINE_DIRS; i++) {
		places[i] = (struct jail_place){ .fd = want->readable[i] != NULL ? open(want->readable[i], O_PATH | O_CLOEXEC) : -1 };
		places[CONFINE_DIRS + i] = (struct jail_place){ .fd = want->writable[i] != NULL ? open(want->writable[i], O_PATH | O_CLOEXEC) : -1,
			.may_write = true };
	}
}

static void
close_places(const struct jail_place places[2 * CONFINE_DIRS])
{
	for (size_t i = 0; i < 2 * CONFINE_DIRS; i++)
		if (places[i].fd >= 0)
			close(places[i].fd);
}

/* ---- the rest ---- */

static bool
limit(int which, uint64_t value)
{
	struct rlimit r;
	if (getrlimit((__rlimit_resource_t)which, &r) != 0)
		return false;
	if (r.rlim_max == RLIM_INFINITY || value < r.rlim_max)
		r.rlim_max = value;
	r.rlim_cur = r.rlim_max;
	return setrlimit((__rlimit_resource_t)which, &r) == 0;
}

static enum rc
limit_resources(const struct confine *want, struct err *e)
{
	bool ok = limit(RLIMIT_CORE, 0);
	if (want->memory_bytes > 0 && !HAS_SANITIZER)
		ok = ok && limit(RLIMIT_AS, want->memory_bytes);
	if (want->file_bytes > 0)
		ok = ok && limit(RLIMIT_FSIZE, want->file_bytes);
	if (want->descriptors > 0)
		ok = ok && limit(RLIMIT_NOFILE, want->descriptors);
	if (want->cpu_seconds > 0)
		ok = ok && limit(RLIMIT_CPU, want->cpu_seconds);
	return ok ? RC_OK : err_set(e, RC_PERM, "setrlimit: %s", strerror(errno));
}

static enum rc
change_user(const struct confine *want, struct buf *steps, struct err *e)
{
	struct rights r;
	if (geteuid() != 0 || want->user == NULL)
		return RC_OK;
	if (!rights_find(want->user, true, &r))
		return err_set(e, RC_PERM, "user %s does not exist", want->user);
	if (r.uid == 0)
		return err_set(e, RC_PERM, "a filter must not run as root");
	if (want->root != NULL && !HAS_SANITIZER) {
		if (chdir(want->root) != 0 || chroot(".") != 0)
			return err_set(e, RC_PERM, "chroot %s: %s", want->root, strerror(errno));
		jail_step(steps, "chroot");
	}
	if (setgroups(r.ngroups, r.groups) != 0 || setresgid(r.gid, r.gid, r.gid) != 0 || setresuid(r.uid, r.uid, r.uid) != 0 || setuid(0) == 0)
		return err_set(e, RC_PERM, "cannot become user %s: %s", want->user, strerror(errno));
	jail_step(steps, "user");
	return RC_OK;
}

/* Under sanitizers the C library opens what it likes. */
static enum rc
limit_files(const struct confine *want, const struct jail_place places[2 * CONFINE_DIRS], struct err *e)
{
	const struct jail_files files = { .place = places, .nplaces = 2 * (size_t)CONFINE_DIRS, .limits_reading = true, .no_tcp = !want->may_connect,
		.has_children = (want->calls & CONFINE_FORK) != 0 };
	return HAS_SANITIZER ? RC_NONE : jail_limit_files(&files, e);
}

enum rc
confine(const struct confine *want, struct buf *steps, struct err *e)
{
	struct jail_place places[2 * CONFINE_DIRS];
	open_places(want, places);
	enum rc rc = change_user(want, steps, e);
	if (rc == RC_OK && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		rc = err_set(e, RC_PERM, "no_new_privs: %s", strerror(errno));
	if (rc == RC_OK)
		jail_step(steps, "no_new_privs");
	if (rc == RC_OK)
		rc = limit_resources(want, e);
	if (rc == RC_OK)
		rc = limit_files(want, places, e);
	close_places(places);
	if (rc == RC_OK)
		jail_step(steps, "landlock");
	else if (rc != RC_NONE)
		return rc;
	if (HAS_SANITIZER) {
		(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		return RC_OK;
	}
	rc = limit_calls(want->calls, e);
	if (rc == RC_OK)
		jail_step(steps, "seccomp");
	return rc == RC_NONE ? RC_OK : rc;
}
