/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/clamd.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { REPLY_MAX = 1024, CHUNK = 256 * 1024 };
static const uint64_t WAITS_EVERY = 5 * USEC_PER_SEC, VERSION_USEC = 10 * USEC_PER_SEC;

struct talk {
	int fd;
	uint64_t until, next;
	const struct scan_job *job;  /* may be NULL */
};

/* What happened on the socket: bits of poll; 0: time is up. */
static short
wait_for(struct talk *t, short events)
{
	struct pollfd p = { .fd = t->fd, .events = events };
	for (;;) {
		uint64_t now = clock_mono();
		if (now >= t->until)
			return 0;
		uint64_t stop = t->next < t->until ? t->next : t->until;
		int r = poll(&p, 1, stop > now ? (int)((stop - now) / 1000) + 1 : 0);
		if (r > 0)
			return p.revents;
		if (clock_mono() >= t->next) {
			t->next += WAITS_EVERY;
			if (t->job != NULL && t->job->waits != NULL)
				t->job->waits(t->job->arg);
		}
	}
}

/* ---- connect ---- */

static int
start_connect(const struct endpoint *ep, unsigned i, int *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const struct sockaddr *to = (const struct sockaddr *)&ep->addrs[i];
	socklen_t len = ep->lens[i];
	if (ep->path != NULL) {
		memcpy(un.sun_path, ep->path, strlen(ep->path) + 1); /* endpoint_open() looked at its length */
		to = (const struct sockaddr *)&un;
		len = sizeof un;
	}
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || (connect(fd, to, len) != 0 && errno != EINPROGRESS)) {
		*err = errno;
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

static enum rc
connect_to(const struct virus_conf *conf, struct talk *t, struct err *e)
{
	const struct endpoint *ep = conf->clamd;
	unsigned n = ep->path != NULL ? 1 : ep->naddrs;
	uint64_t until = t->until;
	int err = n == 0 ? EHOSTUNREACH : 0;
	for (unsigned i = 0; i < n; i++) {
		t->fd = start_connect(ep, i, &err);
		if (t->fd < 0)
			continue;
		uint64_t limit = clock_mono() + conf->connect_usec;
		t->until = limit < until ? limit : until;
		socklen_t len = sizeof err;
		short what = wait_for(t, POLLOUT);
		t->until = until;
		if (what == 0)
			err = ETIMEDOUT;
		else if (getsockopt(t->fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0 && err == 0)
			return RC_OK;
		close(t->fd);
		t->fd = -1;
	}
	return err_set(e, RC_TEMP, "clamd %s: %s", ep->shown, strerror(err));
}

/* ---- talk ---- */

/* RC_OK: all of it left; RC_NONE: clamd has said something, or went away, before. */
static enum rc
say(struct talk *t, struct span a, struct span b, struct err *e)
{
	while (a.n + b.n > 0) {
		short what = wait_for(t, POLLOUT | POLLIN);
		if (what == 0)
			return err_set(e, RC_TEMP, "clamd takes no data: %s", strerror(ETIMEDOUT));
		if ((what & (POLLIN | POLLHUP | POLLERR)) != 0)
			return RC_NONE;
		struct iovec iov[2] = { { (void *)(uintptr_t)a.p, a.n }, { (void *)(uintptr_t)b.p, b.n } };
		struct msghdr m = { .msg_iov = a.n > 0 ? iov : iov + 1, .msg_iovlen = a.n > 0 ? 2 : 1 };
		ssize_t n = sendmsg(t->fd, &m, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return RC_NONE;
		size_t of_a = (size_t)n < a.n ? (size_t)n : a.n;
		a = span_from(a, of_a);
		b = span_from(b, (size_t)n - of_a);
	}
	return RC_OK;
}

/* One reply, ended by NUL; nothing may stand behind it. */
static enum rc
hear(struct talk *t, char text[REPLY_MAX], struct span *out, struct err *e)
{
	size_t n = 0;
	for (;;) {
		if (wait_for(t, POLLIN) == 0)
			return err_set(e, RC_TEMP, "clamd does not answer: %s", strerror(ETIMEDOUT));
		ssize_t got = recv(t->fd, text + n, REPLY_MAX - n, 0);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (got <= 0)
			return err_set(e, RC_TEMP, "clamd hung up in the middle of %s", n > 0 ? "its reply" : "the scan");
		n += (size_t)got;
		const char *end = memchr(text, '\0', n);
		if (end != NULL && (size_t)(end - text) + 1 != n)
			return err_set(e, RC_TEMP, "clamd says more than one thing");
		if (end != NULL) {
			*out = span_of(text, n - 1);
			return RC_OK;
		}
		if (n == REPLY_MAX)
			return err_set(e, RC_TEMP, "clamd does not come to the end of its reply");
	}
}

static struct span
chunk_head(size_t n, unsigned char head[4])
{
	for (int i = 0; i < 4; i++)
		head[i] = (unsigned char)(n >> (24 - 8 * i));
	return span_of(head, 4);
}

static enum rc
stream(struct talk *t, const struct scan_job *job, struct err *e)
{
	static const struct span command = { (const unsigned char *)"zINSTREAM", sizeof "zINSTREAM" };
	unsigned char head[4];
	enum rc rc = say(t, command, SPAN_EMPTY, e);
	if (rc == RC_OK && job->head.n > 0)
		rc = say(t, chunk_head(job->head.n, head), job->head, e);
	for (struct span rest = job->message; rc == RC_OK && rest.n > 0;) {
		struct span part = span_head(rest, CHUNK);
		rc = say(t, chunk_head(part.n, head), part, e);
		rest = span_from(rest, part.n);
	}
	return rc == RC_OK ? say(t, chunk_head(0, head), SPAN_EMPTY, e) : rc;
}

enum rc
clamd_scan(const struct virus_conf *conf, const struct scan_job *job, struct virus_verdict *out, struct err *e)
{
	uint64_t now = clock_mono();
	struct talk t = { .fd = -1, .until = now + conf->scan_usec, .next = now + WAITS_EVERY, .job = job };
	char text[REPLY_MAX];
	struct span reply = SPAN_EMPTY;
	enum rc rc = connect_to(conf, &t, e);
	if (rc != RC_OK)
		return rc;
	enum rc sent = rc = stream(&t, job, e);
	if (sent != RC_TEMP)
		rc = hear(&t, text, &reply, e);
	if (rc == RC_OK)
		rc = clamd_reply(reply, out, e);
	if (rc == RC_OK && sent == RC_NONE && out->kind != VIRUS_LIMITS) /* it cannot know yet */
		rc = err_set(e, RC_TEMP, "clamd answered before it had the message");
	close(t.fd);
	return rc;
}

enum rc
clamd_ask_version(const struct virus_conf *conf, struct virus_version *out, struct err *e)
{
	static const struct span command = { (const unsigned char *)"zVERSION", sizeof "zVERSION" };
	uint64_t now = clock_mono();
	struct talk t = { .fd = -1, .until = now + VERSION_USEC, .next = now + VERSION_USEC };
	char text[REPLY_MAX];
	struct span reply;
	enum rc rc = connect_to(conf, &t, e);
	if (rc != RC_OK)
		return rc;
	rc = say(&t, command, SPAN_EMPTY, e);
	if (rc != RC_TEMP)
		rc = hear(&t, text, &reply, e);
	if (rc == RC_OK && clamd_version(reply, out) != RC_OK)
		rc = err_set(e, RC_TEMP, "clamd does not say its version");
	close(t.fd);
	return rc;
}
