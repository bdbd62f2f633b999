/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/feed.h"

#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { FEEDS_MAX = 65536, PIECE = 32 * 1024, LINGER_MSEC = 100, BRIEF_MSEC = 5, TURN_MSEC = 50 };

/* Of one connection; used by the thread that serves it. */
struct feed {
	unsigned char *p;
	size_t at, n;
	bool is_served;              /* a thread is at it */
	int64_t since;               /* when that began, milliseconds */
};

static bool is_on;
static struct feed *feeds[FEEDS_MAX]; /* by descriptor */
static atomic_int open_feeds, served_feeds;

static struct feed *
feed_of(int fd)
{
	return is_on && fd >= 0 && fd < FEEDS_MAX ? __atomic_load_n(&feeds[fd], __ATOMIC_ACQUIRE) : NULL;
}

void
feed_begin(void)
{
	is_on = true;
}

static int
real_poll(struct pollfd *p, nfds_t n, int msec)
{
	struct timespec ts = { msec / 1000, msec % 1000 * 1000000L };
	return (int)syscall(SYS_ppoll, p, n, msec < 0 ? NULL : &ts, NULL, (size_t)8);
}

int
accept(int fd, struct sockaddr *addr, socklen_t *restrict len)
{
	int got = (int)syscall(SYS_accept4, fd, addr, len, SOCK_CLOEXEC);
	if (is_on && got >= 0 && got < FEEDS_MAX) {
		struct feed *f = mem_zalloc(sizeof *f);
		f->p = mem_alloc(PIECE);
		atomic_fetch_add(&open_feeds, 1);
		__atomic_store_n(&feeds[got], f, __ATOMIC_RELEASE);
	}
	return got;
}

int
close(int fd)
{
	struct feed *f = feed_of(fd);
	if (f != NULL) {
		__atomic_store_n(&feeds[fd], NULL, __ATOMIC_RELEASE);
		atomic_fetch_sub(&open_feeds, 1);
		if (f->is_served)
			atomic_fetch_sub(&served_feeds, 1);
		mem_free(&f->p);
		mem_free(&f);
	}
	return (int)syscall(SYS_close, fd);
}

static int64_t
now_msec(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* "Is there anything yet?": 0 gives the connection back to libmilter's pool, whose threads serve one connection as long as there
 * is something, and are not always more than the connections. So who is not alone has a turn of some milliseconds. */
static int
linger(struct feed *f, struct pollfd *p)
{
	int64_t now = now_msec();
	if (!f->is_served) {
		f->is_served = true;
		f->since = now;
		atomic_fetch_add(&served_feeds, 1);
	}
	bool is_alone = atomic_load(&open_feeds) <= atomic_load(&served_feeds);
	int r = !is_alone && now - f->since > TURN_MSEC ? 0 : real_poll(p, 1, is_alone ? LINGER_MSEC : BRIEF_MSEC);
	if (r == 0) {
		f->is_served = false;
		atomic_fetch_sub(&served_feeds, 1);
	}
	return r;
}

int
poll(struct pollfd *p, nfds_t n, int msec)
{
	const struct pollfd *volatile ask = p; /* the C library declares p as written to alone */
	bool is_reading = n == 1 && (ask->events & POLLIN) != 0;
	struct feed *f = is_reading ? feed_of(ask->fd) : NULL;
	if (f == NULL)
		return real_poll(p, n, msec);
	if (f->at < f->n) {
		p[0].revents = POLLIN;
		return 1;
	}
	return msec >= 0 && msec < LINGER_MSEC ? linger(f, p) : real_poll(p, n, msec);
}

ssize_t
read(int fd, void *to, size_t n)
{
	struct feed *f = feed_of(fd);
	if (f == NULL)
		return syscall(SYS_read, fd, to, n);
	if (f->at == f->n) {
		if (n >= PIECE)
			return syscall(SYS_read, fd, to, n);
		ssize_t got = syscall(SYS_read, fd, f->p, (size_t)PIECE);
		if (got <= 0)
			return got;
		f->at = 0;
		f->n = (size_t)got;
	}
	size_t take = n < f->n - f->at ? n : f->n - f->at;
	memcpy(to, f->p + f->at, take);
	f->at += take;
	return (ssize_t)take;
}
