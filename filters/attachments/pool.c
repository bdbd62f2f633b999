/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/pool.h"

#include "base/fd.h"
#include "base/mem.h"
#include "filters/attachments/worker.h"
#include "filters/confine.h"
#include "filters/program.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_FREE_SECONDS = 60, ANSWER_SLACK_SECONDS = 30, RESTART_PAUSE_MSEC = 50, YOUNG_SECONDS = 1, KILL_WAIT_MSEC = 5000, OTHERS_MAX = 1024 };

struct slot {
	int fd;                      /* ours; the worker's end is with the keeper */
	bool busy;
	uint32_t number;             /* of the last question */
};

struct pool {
	struct pool_settings settings;
	unsigned n;
	struct slot slots[POOL_WORKERS_MAX];
	pthread_mutex_t lock;
	pthread_cond_t freed;
	int control;                 /* to the keeper: a slot's number ends its worker */
	uint64_t crashes;
};

/* ---- the keeper ---- */

struct keeper {
	const struct pool_settings *settings;
	unsigned n;
	int ends[POOL_WORKERS_MAX];  /* of the workers */
	pid_t pids[POOL_WORKERS_MAX];
	time_t born[POOL_WORKERS_MAX];
	int control, signals;
};

static time_t
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static void
start_worker(struct keeper *k, unsigned at)
{
	k->born[at] = now();
	k->pids[at] = fork();
	if (k->pids[at] != 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	for (unsigned i = 0; i < k->n; i++)
		if (i != at)
			close(k->ends[i]);
	close(k->control);
	close(k->signals);
	worker_run(k->settings, k->ends[at]);
}

/* A worker ended: who waits for its answer hears it, and there is a new one. */
static void
bury(struct keeper *k, pid_t pid, int status)
{
	unsigned at = 0;
	while (at < k->n && k->pids[at] != pid)
		at++;
	if (at == k->n)
		return;
	struct worker_word word = { .number = 0, .kind = WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU ? WORKER_TOO_LONG : WORKER_DIED };
	(void)!send(k->ends[at], &word, sizeof word, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (now() - k->born[at] < YOUNG_SECONDS) /* what cannot even start must not start in circles */
		nanosleep(&(struct timespec){ .tv_nsec = RESTART_PAUSE_MSEC * 1000000L }, NULL);
	start_worker(k, at);
}

/* The socket of the program, its log, the master's control: nothing of a keeper or a worker. */
static void
close_others(const struct keeper *k)
{
	for (int fd = STDERR_FILENO + 1; fd < OTHERS_MAX; fd++) {
		bool own = fd == k->control || fd == k->signals;
		for (unsigned i = 0; i < k->n; i++)
			own |= fd == k->ends[i];
		if (!own)
			close(fd);
	}
}

NORETURN static void
keep(struct keeper *k)
{
	struct confine want = { .user = k->settings->user, .calls = CONFINE_FORK };
	struct err e;
	struct pollfd p[2];
	sigset_t set;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	close_others(k);
	if (confine(&want, NULL, &e) != RC_OK) {
		fprintf(stderr, "dogana-attachments: %s\n", e.why);
		_exit(1);
	}
	for (unsigned i = 0; i < k->n; i++)
		start_worker(k, i);
	p[0] = (struct pollfd){ .fd = k->signals, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = k->control, .events = POLLIN };
	for (;;) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			_exit(1);
		if (p[1].revents != 0) {
			uint32_t at;
			ssize_t n = recv(k->control, &at, sizeof at, MSG_DONTWAIT);
			if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
				_exit(0); /* the program has ended */
			if (n == sizeof at && at < k->n && k->pids[at] > 0)
				kill(k->pids[at], SIGKILL);
		}
		struct signalfd_siginfo si;
		while (read(k->signals, &si, sizeof si) == sizeof si)
			;
		int status;
		pid_t pid;
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
			bury(k, pid, status);
	}
}

enum rc
pool_new(const struct pool_settings *ps, struct pool **out, struct err *e)
{
	struct pool *p = mem_zalloc(sizeof *p);
	struct keeper k = { .settings = &p->settings };
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	int control[2];
	p->settings = *ps;
	p->n = ps->workers > 0 ? ps->workers : processors > 0 ? (unsigned)processors : 1;
	if (p->n > POOL_WORKERS_MAX)
		p->n = POOL_WORKERS_MAX;
	k.n = p->n;
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->freed, &attr);
	for (unsigned i = 0; i < p->n; i++) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
			return err_set(e, RC_PERM, "socketpair: %s", strerror(errno));
		p->slots[i].fd = pair[0];
		k.ends[i] = pair[1];
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) != 0)
		return err_set(e, RC_PERM, "socketpair: %s", strerror(errno));
	pid_t pid = fork();
	if (pid < 0)
		return err_set(e, RC_PERM, "fork: %s", strerror(errno));
	if (pid == 0) {
		for (unsigned i = 0; i < p->n; i++)
			close(p->slots[i].fd);
		close(control[0]);
		k.control = control[1];
		keep(&k);
	}
	for (unsigned i = 0; i < p->n; i++)
		close(k.ends[i]);
	close(control[1]);
	p->control = control[0];
	*out = p;
	return RC_OK;
}

/* ---- asking ---- */

static struct slot *
take_slot(struct pool *p)
{
	struct timespec until;
	struct slot *s = NULL;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_FREE_SECONDS;
	pthread_mutex_lock(&p->lock);
	for (;;) {
		for (unsigned i = 0; i < p->n && s == NULL; i++)
			if (!p->slots[i].busy)
				s = &p->slots[i];
		if (s != NULL || pthread_cond_timedwait(&p->freed, &p->lock, &until) == ETIMEDOUT)
			break;
	}
	if (s != NULL)
		s->busy = true;
	pthread_mutex_unlock(&p->lock);
	return s;
}

static void
give_slot(struct pool *p, struct slot *s, bool crashed)
{
	pthread_mutex_lock(&p->lock);
	s->busy = false;
	p->crashes += crashed;
	pthread_cond_signal(&p->freed);
	pthread_mutex_unlock(&p->lock);
}

/* One datagram into room; its descriptor, if any, into *fd_out. 0: nothing there; -1: nobody will ever answer. */
static ssize_t
receive(int fd, struct buf *room, int *fd_out, int flags)
{
	union {
		struct cmsghdr align;
		char octets[CMSG_SPACE(sizeof(int))];
	} ancillary;
	buf_reset(room);
	unsigned char *p = buf_reserve(room, WIRE_ANSWER_MAX);
	struct iovec iov = { p, WIRE_ANSWER_MAX };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	*fd_out = -1;
	if (p == NULL)
		return 0;
	ssize_t n = recvmsg(fd, &m, flags | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0)
		return -1;
	(void)fd_passed(&m, fd_out, 1); /* a worker that was taken over may send what it likes */
	buf_commit(room, (size_t)n);
	return n;
}

static bool
send_question(struct slot *s, int question)
{
	union {
		struct cmsghdr align;
		char octets[CMSG_SPACE(sizeof(int))];
	} ancillary = { .octets = { 0 } };
	struct worker_word word = { .number = ++s->number, .kind = WORKER_QUESTION };
	struct iovec iov = { &word, sizeof word };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof question);
	memcpy(CMSG_DATA(c), &question, sizeof question);
	return sendmsg(s->fd, &m, MSG_NOSIGNAL) == sizeof word;
}

static void
drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Nobody will make workers any more: the master makes a new program. */
NORETURN static void
end_without_keeper(void)
{
	program_log(LOG_L_ERROR, SPAN_EMPTY, "the keeper of the workers has ended");
	_exit(1);
}

/* Reads until there is the answer to the last question, or news of the worker's end. */
static enum pool_result
await(struct pool *p, struct slot *s, struct buf *room, struct wire_answer *out, int *body_fd_out)
{
	struct pollfd pfd = { .fd = s->fd, .events = POLLIN };
	bool killed = false;
	time_t limit = now() + (time_t)p->settings.cpu_seconds * 3 + ANSWER_SLACK_SECONDS;
	for (;;) {
		time_t left = limit - now();
		int r = poll(&pfd, 1, killed ? KILL_WAIT_MSEC : left > 0 ? (int)left * 1000 : 0);
		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0) {
			uint32_t at = (uint32_t)(s - p->slots);
			if (killed)
				return POOL_LATER;
			(void)!send(p->control, &at, sizeof at, MSG_NOSIGNAL);
			killed = true;
			continue;
		}
		ssize_t n = receive(s->fd, room, body_fd_out, MSG_DONTWAIT);
		if (n < 0)
			end_without_keeper();
		struct cur c = cur_of(buf_span(room));
		struct worker_word word = { .number = 0 };
		struct span head = cur_take(&c, sizeof word);
		if (!c.bad)
			memcpy(&word, head.p, sizeof word);
		if (word.kind == WORKER_DIED || word.kind == WORKER_TOO_LONG)
			return word.kind == WORKER_DIED && !killed ? POOL_CRASHED : POOL_TOO_LONG;
		if (word.kind == WORKER_ANSWER && word.number == s->number)
			return wire_get_answer(span_of(c.p, cur_left(&c)), out) == RC_OK ? POOL_ANSWERED : POOL_LATER;
		drop(body_fd_out); /* of an earlier one */
	}
}

enum pool_result
pool_ask(struct pool *p, int question, struct buf *room, struct wire_answer *out, int *body_fd_out)
{
	struct slot *s = take_slot(p);
	enum pool_result result = POOL_LATER;
	*body_fd_out = -1;
	if (s == NULL)
		return POOL_LATER;
	ssize_t stale;
	while ((stale = receive(s->fd, room, body_fd_out, MSG_DONTWAIT)) > 0) /* what nobody waited for any more */
		drop(body_fd_out);
	drop(body_fd_out);
	if (stale < 0)
		end_without_keeper(); /* it ended while nobody asked */
	if (send_question(s, question))
		result = await(p, s, room, out, body_fd_out);
	else if (errno == EPIPE || errno == ECONNRESET)
		end_without_keeper();
	if (result != POOL_ANSWERED)
		drop(body_fd_out);
	give_slot(p, s, result == POOL_CRASHED || result == POOL_TOO_LONG);
	return result;
}

unsigned
pool_size(const struct pool *p)
{
	return p->n;
}

uint64_t
pool_crashes(const struct pool *p)
{
	return p->crashes;
}
