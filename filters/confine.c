/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/confine.h"

#include "base/rights.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

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
	const int *calls;
	size_t n;
} call_rows[] = {
	{ 0, calls_all, NELEMS(calls_all) },
	{ CONFINE_THREADS, calls_threads, NELEMS(calls_threads) },
	{ CONFINE_SERVE, calls_serve, NELEMS(calls_serve) },
	{ CONFINE_CONNECT, calls_connect, NELEMS(calls_connect) },
	{ CONFINE_READ, calls_read, NELEMS(calls_read) },
	{ CONFINE_WRITE, calls_write, NELEMS(calls_write) },
	{ CONFINE_FORK, calls_fork, NELEMS(calls_fork) },
	{ CONFINE_EXEC, calls_exec, NELEMS(calls_exec) },
};

static enum rc
limit_calls(unsigned bits, struct err *e)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (ctx == NULL)
		return err_set(e, RC_TEMP, "seccomp_init failed");
	for (size_t i = 0; i < NELEMS(call_rows); i++)
		for (size_t k = 0; k < call_rows[i].n && (call_rows[i].bit == 0 || (bits & call_rows[i].bit) != 0); k++)
			(void)seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call_rows[i].calls[k], 0); /* a call this machine lacks is no matter */
	/* the C library falls back to clone, whose flags could be looked at */
	if ((bits & (CONFINE_THREADS | CONFINE_FORK)) == 0)
		(void)seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	int r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r == 0 ? RC_OK : err_set(e, RC_TEMP, "seccomp: %s", strerror(-r));
}

/* ---- files ---- */

#define FILE_READ (LANDLOCK_ACCESS_FS_READ_FILE)
#define FILE_WRITE (LANDLOCK_ACCESS_FS_WRITE_FILE | (UINT64_C(1) << 14)) /* and truncate, newer than some headers */
#define BELOW_READ (LANDLOCK_ACCESS_FS_READ_DIR)
#define BELOW_WRITE (LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR)
#define NEVER                                                                                                                               \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO |               \
	    LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_SYM)

struct places {
	int readable[CONFINE_DIRS], writable[CONFINE_DIRS]; /* -1: none */
};

static void
open_places(const struct confine *want, struct places *out)
{
	for (size_t i = 0; i < CONFINE_DIRS; i++) {
		out->readable[i] = want->readable[i] != NULL ? open(want->readable[i], O_PATH | O_CLOEXEC) : -1;
		out->writable[i] = want->writable[i] != NULL ? open(want->writable[i], O_PATH | O_CLOEXEC) : -1;
	}
}

static void
close_places(const struct places *p)
{
	for (size_t i = 0; i < CONFINE_DIRS; i++) {
		if (p->readable[i] >= 0)
			close(p->readable[i]);
		if (p->writable[i] >= 0)
			close(p->writable[i]);
	}
}

static bool
add_place(int rules, int fd, uint64_t access)
{
	struct stat st;
	if (fd < 0)
		return true;
	if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
		access &= FILE_READ | FILE_WRITE;
	struct landlock_path_beneath_attr below = { .allowed_access = access, .parent_fd = fd };
	return syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0) == 0;
}

/* The attribute as far as kernel headers of all ages know it. */
struct ruleset {
	uint64_t fs, net, scoped;
};

static enum rc
limit_files(const struct confine *want, const struct places *p, struct err *e)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	if (version < 1)
		return RC_NONE;
	uint64_t known = NEVER | BELOW_READ | BELOW_WRITE | FILE_READ | FILE_WRITE | (version >= 2 ? UINT64_C(1) << 13 : 0);
	if (version < 3)
		known &= ~(UINT64_C(1) << 14);
	struct ruleset rs = { .fs = known };
	if (version >= 4)
		rs.net = want->may_connect ? 1 : 3; /* bind, connect */
	if (version >= 6)
		rs.scoped = 3;                      /* abstract sockets and signals to others */
	size_t size = version >= 6 ? sizeof rs : version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
	if ((want->calls & CONFINE_FORK) != 0 && version >= 6)
		rs.scoped = 1;                      /* it ends children that have domains of their own */
	int rules = (int)syscall(SYS_landlock_create_ruleset, &rs, size, 0);
	if (rules < 0)
		return RC_NONE;
	bool ok = true;
	for (size_t i = 0; ok && i < CONFINE_DIRS; i++)
		ok = add_place(rules, p->readable[i], known & (FILE_READ | BELOW_READ)) &&
		    add_place(rules, p->writable[i], known & (FILE_READ | FILE_WRITE | BELOW_READ | BELOW_WRITE));
	ok = ok && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
	int err = errno;
	close(rules);
	return ok ? RC_OK : err_set(e, RC_PERM, "landlock: %s", strerror(err));
}

/* ---- the rest ---- */

static void
step(struct buf *steps, const char *name)
{
	if (steps == NULL)
		return;
	if (buf_len(steps) > 0)
		buf_putc(steps, ' ');
	buf_puts(steps, name);
}

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
		step(steps, "chroot");
	}
	if (setgroups(r.ngroups, r.groups) != 0 || setresgid(r.gid, r.gid, r.gid) != 0 || setresuid(r.uid, r.uid, r.uid) != 0 || setuid(0) == 0)
		return err_set(e, RC_PERM, "cannot become user %s: %s", want->user, strerror(errno));
	step(steps, "user");
	return RC_OK;
}

enum rc
confine(const struct confine *want, struct buf *steps, struct err *e)
{
	struct places places;
	open_places(want, &places);
	enum rc rc = change_user(want, steps, e);
	if (rc == RC_OK && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		rc = err_set(e, RC_PERM, "no_new_privs: %s", strerror(errno));
	if (rc == RC_OK)
		step(steps, "no_new_privs");
	if (rc == RC_OK)
		rc = limit_resources(want, e);
	if (rc == RC_OK && !HAS_SANITIZER) {
		rc = limit_files(want, &places, e);
		if (rc == RC_OK)
			step(steps, "landlock");
		rc = rc == RC_NONE ? RC_OK : rc;
	}
	close_places(&places);
	if (rc != RC_OK)
		return rc;
	if (HAS_SANITIZER) { /* their runtime makes calls of its own, and looks for leaks at the end by tracing itself */
		(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		return RC_OK;
	}
	rc = limit_calls(want->calls, e);
	if (rc == RC_OK)
		step(steps, "seccomp");
	return rc == RC_TEMP ? RC_OK : rc; /* a kernel without seccomp: status shows the step is missing */
}
