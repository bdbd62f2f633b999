/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/worker.h"

#include "base/clock.h"
#include "base/mem.h"
#include "filters/program.h"
#include "filters/virus/tmpfiles.h"
#include "filters/virus/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint64_t SHORT_LIFE = 2 * USEC_PER_SEC;
enum { PAUSE_MSEC = 500 };

struct child {
	pid_t pid;                   /* 0: to be started */
	uint32_t id;
	uint64_t started;
	uint64_t not_before;
};

static struct {
	const struct virus_conf *conf;
	struct engine *en;
	int to_front, report, signals;
	struct child *child;
	unsigned nchildren;          /* workers and spares */
	uint32_t last_id;
} g;

static bool
tell_front(const struct wire_generation *m, int fd1, int fd2)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(2 * sizeof(int))];
	} ancillary = { .room = { 0 } };
	struct iovec iov = { (void *)(uintptr_t)m, sizeof *m };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
	if (fd1 >= 0) {
		int fds[2] = { fd1, fd2 };
		h.msg_control = &ancillary;
		h.msg_controllen = sizeof ancillary;
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof fds);
		memcpy(CMSG_DATA(c), fds, sizeof fds);
	}
	return sendmsg(g.to_front, &h, MSG_NOSIGNAL) == (ssize_t)sizeof *m;
}

/* false: not now. */
static bool
start_worker(struct child *c)
{
	int sv[2];
	int memory = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memory < 0 || ftruncate(memory, WIRE_MAP_FIRST) != 0 || fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK) != 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) != 0) {
		program_log(LOG_L_ERROR, SPAN_EMPTY, "no worker: %s", strerror(errno));
		if (memory >= 0)
			close(memory);
		return false;
	}
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		close(sv[0]);
		close(g.to_front);
		close(g.report);
		close(g.signals);
		worker_main(g.conf, g.en, sv[1], memory);
	}
	close(sv[1]);
	bool ok = pid > 0;
	if (ok) {
		*c = (struct child){ .pid = pid, .id = ++g.last_id, .started = clock_mono() };
		struct wire_generation m = { .type = WIRE_WORKER, .id = c->id };
		ok = tell_front(&m, sv[0], memory);
	}
	close(sv[0]);
	close(memory);
	return ok;
}

static void
reap(void)
{
	struct signalfd_siginfo si;
	while (read(g.signals, &si, sizeof si) == sizeof si)
		;
	int status;
	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
		for (unsigned i = 0; i < g.nchildren; i++) {
			struct child *c = &g.child[i];
			if (c->pid != pid)
				continue;
			if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0)
				program_log(LOG_L_WARNING, SPAN_EMPTY, "worker pid %d %s %d", (int)pid, WIFSIGNALED(status) ? "killed by signal" : "exit status",
				    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
			uint64_t now = clock_mono();
			c->pid = 0;
			c->not_before = now - c->started < SHORT_LIFE ? now + PAUSE_MSEC * 1000 : now;
		}
}

/* Starts what is missing; how long to wait for the next try, or -1. */
static int
fill(void)
{
	int wait = -1;
	uint64_t now = clock_mono();
	for (unsigned i = 0; i < g.nchildren; i++) {
		struct child *c = &g.child[i];
		if (c->pid != 0)
			continue;
		if (c->not_before <= now && start_worker(c))
			continue;
		if (c->not_before <= now)
			c->not_before = now + PAUSE_MSEC * 1000;
		wait = PAUSE_MSEC;
	}
	return wait;
}

static void
heed_front(void)
{
	struct wire_kill k;
	ssize_t n = recv(g.to_front, &k, sizeof k, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n != (ssize_t)sizeof k)
		_exit(0); /* its workers have been let go, or the front is dead: they die with us */
	for (unsigned i = 0; i < g.nchildren; i++)
		if (g.child[i].pid > 0 && g.child[i].id == k.id)
			kill(g.child[i].pid, SIGKILL);
}

/* Another log; the end of the supervisor is ours, too. */
static void
heed_supervisor(const struct program *pg, int report)
{
	char word[64];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} ancillary;
	int fd = -1;
	struct iovec iov = { word, sizeof word };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	ssize_t n = recvmsg(report, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		_exit(0);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c != NULL; c = CMSG_NXTHDR(&h, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof fd))
			memcpy(&fd, CMSG_DATA(c), sizeof fd);
	if (!program_take_log(pg, span_of(word, (size_t)n), fd) && fd >= 0)
		close(fd);
}

/* libclamav and the C library open files when they are used for the first time: a worker could not. */
static void
warm_up(void)
{
	struct virus_verdict v;
	struct err e;
	if (engine_scan(g.en, SPAN(VIRUS_HEAD "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Transfer-Encoding: base64\r\n"
	                                        "Content-Type: application/octet-stream\r\n\r\naGVsbG8=\r\n--x--\r\n"),
	    60 * USEC_PER_SEC, &v, &e) != RC_OK)
		program_log(LOG_L_WARNING, SPAN_EMPTY, "the first scan failed: %s", e.why);
}

void
generation_main(const struct program *pg, const struct virus_conf *conf, int to_front, int report)
{
	struct err e = { .why = "" };
	struct wire_generation ready = { .type = WIRE_READY };
	sigset_t set;
	prctl(PR_SET_NAME, "virus-engine", 0, 0, 0);
	g.conf = conf;
	g.to_front = to_front;
	g.report = report;
	g.nchildren = conf->workers + conf->spares;
	g.child = mem_calloc(g.nchildren, sizeof *g.child);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	g.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	tmpfiles_begin(conf->max_scan_size);
	if (engine_load(conf, &g.en, &ready.version, &e) != RC_OK) {
		(void)!send(report, e.why, strlen(e.why), MSG_NOSIGNAL);
		_exit(2);
	}
	warm_up();
	char text[2 * VIRUS_VERSION_MAX + 16];
	int n = snprintf(text, sizeof text, "ready %s|%s", ready.version.engine, ready.version.signatures);
	if (!tell_front(&ready, -1, -1) || send(report, text, (size_t)n, MSG_NOSIGNAL) != n)
		_exit(1);
	int wait = fill();
	for (;;) {
		struct pollfd p[3] = { { .fd = g.signals, .events = POLLIN }, { .fd = to_front, .events = POLLIN }, { .fd = report, .events = POLLIN } };
		if (poll(p, NELEMS(p), wait) < 0 && errno != EINTR)
			_exit(1);
		if (p[1].revents != 0)
			heed_front();
		if (p[2].revents != 0)
			heed_supervisor(pg, report);
		if (p[0].revents != 0)
			reap();
		wait = fill();
	}
}
