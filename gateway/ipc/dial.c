/* SPDX-License-Identifier: BSD-2-Clause */
#include "ipc/dial.h"

#include "base/clock.h"
#include "base/rights.h"
#include "ipc/msgs.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <unistd.h>

static const uint64_t USER_KNOWN_USEC = 60 * USEC_PER_SEC;

static struct ipc_chan *master;

void
dial_through(struct ipc_chan *c)
{
	master = c;
}

/* ---- one that asks ---- */

static void
stop(struct dial *d)
{
	watch_clear(&d->watch);
	timer_clear(&d->timer);
	if (d->has_call)
		ipc_call_fini(&d->call);
	d->has_call = false;
}

static void
hang_up(struct dial *d)
{
	watch_clear(&d->watch);
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

static void
forget(struct op *op)
{
	struct dial *d = container_of(op, struct dial, op);
	stop(d);
	hang_up(d);
}

static const struct op_provider provider = { "dial", forget };

static void
end(struct dial *d, enum rc rc)
{
	stop(d);
	if (rc != RC_OK)
		hang_up(d);
	op_finish(&d->op, rc);
}

static enum rc
connect_unix(const char *path, int *fd_out, struct err *e)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof to.sun_path)
		return err_set(e, RC_TEMP, "path too long");
	memcpy(to.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0) {
		*fd_out = fd;
		return RC_OK;
	}
	int err = errno; /* EAGAIN: its queue of connections is full */
	if (fd >= 0)
		close(fd);
	return err_set(e, RC_TEMP, "%s", strerror(err));
}

static void try_next(struct dial *d);

/* An address answered, or did not. */
static void
on_connect(struct watch *w, short what)
{
	(void)what;
	struct dial *d = container_of(w, struct dial, watch);
	int err = 0;
	socklen_t len = sizeof err;
	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
		err = errno;
	if (err == 0) {
		end(d, RC_OK);
		return;
	}
	(void)err_set(&d->why, RC_TEMP, "%s", strerror(err));
	hang_up(d);
	try_next(d);
}

/* RC_NONE: under way. A server on this machine answers before the first call returns, which does not say so: the second does. */
static enum rc
connect_tcp(int fd, const struct sockaddr *to, socklen_t len)
{
	if (connect(fd, to, len) == 0)
		return RC_OK;
	if (errno != EINPROGRESS)
		return RC_TEMP;
	if (connect(fd, to, len) == 0 || errno == EISCONN)
		return RC_OK;
	return errno == EALREADY || errno == EINPROGRESS ? RC_NONE : RC_TEMP;
}

static void
try_next(struct dial *d)
{
	while (d->next < d->ep->naddrs) {
		const struct sockaddr *to = (const struct sockaddr *)&d->ep->addrs[d->next];
		socklen_t len = d->ep->lens[d->next++];
		int on = 1;
		d->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (d->fd >= 0)
			(void)setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		enum rc rc = d->fd >= 0 ? connect_tcp(d->fd, to, len) : RC_TEMP;
		if (rc == RC_OK) { /* said from the loop, and whoever cancels it before has nothing left of it */
			d->is_there = true;
			timer_set(&d->timer, 0);
			return;
		}
		if (rc == RC_NONE) {
			watch_init(&d->watch, d->fd, on_connect);
			watch_want(&d->watch, EV_WRITE);
			return;
		}
		(void)err_set(&d->why, RC_TEMP, "%s", strerror(errno));
		hang_up(d);
	}
	if (d->ep->naddrs == 0)
		(void)err_set(&d->why, RC_TEMP, "host name could not be resolved when the configuration was read");
	end(d, RC_TEMP);
}

static void
on_timeout(struct timer *t)
{
	struct dial *d = container_of(t, struct dial, timer);
	if (d->is_there) {
		end(d, RC_OK);
		return;
	}
	(void)err_set(&d->why, RC_TEMP, "%s", strerror(ETIMEDOUT));
	end(d, RC_TEMP);
}

/* The master's word. */
static void
on_answer(struct op *op)
{
	struct dial *d = container_of(op, struct dial, call.op);
	struct msg_dialed m;
	if (op->rc != RC_OK || msg_dialed_get(buf_span(&d->call.reply), &m) != RC_OK) {
		(void)err_set(&d->why, RC_TEMP, "the master does not answer");
	} else if (m.rc != RC_OK || d->call.fd < 0) {
		(void)err_set(&d->why, RC_TEMP, "%.*s", (int)(m.why.n < 200 ? m.why.n : 200), (const char *)m.why.p);
	} else {
		d->fd = d->call.fd;
		d->call.fd = -1;
		end(d, RC_OK);
		return;
	}
	end(d, RC_TEMP);
}

static void
start_unix(struct dial *d, uint64_t timeout_usec)
{
	if (master == NULL) {
		end(d, connect_unix(d->ep->path, &d->fd, &d->why));
		return;
	}
	ipc_call_init(&d->call, &d->ops, on_answer);
	d->has_call = true;
	msg_dial_put(ipc_call_begin(&d->call, master, IPC_DIAL), span_str(d->ep->path));
	ipc_call_send(&d->call, timeout_usec);
}

void
dial_init(struct dial *d, struct op_owner *owner, op_fn *done)
{
	*d = (struct dial){ .fd = -1 };
	op_owner_init(&d->ops);
	op_init(&d->op, owner, done);
}

void
dial_start(struct dial *d, const struct endpoint *ep, uint64_t timeout_usec)
{
	hang_up(d);
	d->ep = ep;
	d->next = 0;
	d->is_there = false;
	d->why = (struct err){ 0 };
	op_pend(&d->op, &provider);
	if (ep->path != NULL) {
		start_unix(d, timeout_usec);
		return;
	}
	timer_init(&d->timer, on_timeout);
	timer_set(&d->timer, timeout_usec);
	try_next(d);
}

int
dial_take(struct dial *d)
{
	int fd = d->fd;
	BUG_ON(fd < 0);
	d->fd = -1;
	return fd;
}

void
dial_fini(struct dial *d)
{
	if (d->op.done == NULL)
		return;
	op_cancel(&d->op);
	stop(d);
	hang_up(d);
}

/* ---- the master ---- */

/* Who the edge is, found at most once a minute: a group that was added is seen without a restart. RC_TEMP: not now. */
static enum rc
find_user(const char *user, struct rights *out, struct err *e)
{
	static struct {
		char user[64];
		struct rights rights;
		uint64_t found;
	} known;
	uint64_t now = clock_mono();
	if (strcmp(user, known.user) != 0 || now - known.found >= USER_KNOWN_USEC) {
		known.user[0] = '\0';
		if (!rights_find(user, true, &known.rights))
			return err_set(e, RC_TEMP, "user %s: %s", user, strerror(errno));
		if (known.rights.uid == 0)
			return err_set(e, RC_TEMP, "a role must not have root's rights");
		known.found = now;
		if (strlen(user) < sizeof known.user)
			memcpy(known.user, user, strlen(user) + 1);
	}
	*out = known.rights;
	return RC_OK;
}

/* What the asking role may not reach itself, the master does not reach for it, and the server sees that role's user as its peer. */
static enum rc
connect_as(const char *user, const char *path, int *fd_out, struct err *e)
{
	struct rights theirs, own;
	if (geteuid() != 0)
		return connect_unix(path, fd_out, e);
	enum rc rc = find_user(user, &theirs, e);
	if (rc != RC_OK)
		return rc;
	if (!rights_take(&theirs, &own))
		return err_set(e, RC_TEMP, "rights of user %s: %s", user, strerror(errno));
	rc = connect_unix(path, fd_out, e);
	rights_back(&own);
	return rc;
}

enum rc
dial_serve(struct ipc_chan *c, const struct ipc_frame *f, const struct conf *conf)
{
	struct span path;
	struct err e = { 0 };
	char text[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd = -1;
	if (msg_dial_get(f->payload, &path) != RC_OK)
		return RC_PERM;
	enum rc rc = RC_OK;
	if (!endpoint_is_named(conf, path) || path.n >= sizeof text) {
		rc = err_set(&e, RC_PERM, "the configuration in force does not name this socket");
	} else {
		memcpy(text, path.p, path.n);
		text[path.n] = '\0';
		rc = connect_as(conf_params(conf)->p_edge_user, text, &fd, &e);
	}
	struct buf b;
	buf_init(&b, 1024);
	msg_dialed_put(&b, &(struct msg_dialed){ rc, span_str(e.why) });
	ipc_answer(c, f->id, buf_span(&b), fd);
	buf_fini(&b);
	return RC_OK;
}
