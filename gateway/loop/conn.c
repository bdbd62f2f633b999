/* SPDX-License-Identifier: BSD-2-Clause */
#include "loop/conn_private.h"

#include "base/mem.h"
#include "base/metric.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

enum { SCRATCH = 64 * 1024, KEEP_OUT = 4096 };

static unsigned char scratch[SCRATCH];
static bool scratch_busy;
static struct list dirty = { &dirty, &dirty };
static struct list again = { &again, &again };
static struct loop_hook flush_hook;
static struct timer again_timer;
static bool hooked;

static void flush_all(struct loop_hook *h);
static void run_again(struct timer *t);
static void on_ready(struct watch *w, short what);
static void on_deadline(struct timer *t);

static void
set_hook(void)
{
	if (hooked)
		return;
	loop_hook_add(&flush_hook, LOOP_FLUSH_DATA, flush_all);
	timer_init(&again_timer, run_again);
	hooked = true;
}

void
conn_init(struct conn *c, int fd, const struct conn_ops *ops, size_t in_max, size_t out_max)
{
	set_hook();
	*c = (struct conn){ .magic = CONN_MAGIC, .fd = fd, .ops = ops, .in_max = in_max };
	buf_init(&c->in, in_max + SCRATCH);
	buf_init(&c->out, out_max);
	list_init(&c->dirty);
	list_init(&c->again);
	int fl = fcntl(fd, F_GETFL);
	if (fl >= 0 && (fl & O_NONBLOCK) == 0)
		fcntl(fd, F_SETFL, fl | O_NONBLOCK);
	timer_init(&c->timer, on_deadline);
	watch_init(&c->watch, fd, on_ready);
	watch_want(&c->watch, EV_READ);
	metric_add(M_conns, 1);
}

enum rc
conn_connect(struct conn *c, const struct sockaddr *to, socklen_t len, const struct sockaddr *bind_to, socklen_t bind_len,
    const struct conn_ops *ops, size_t in_max, size_t out_max, struct err *e)
{
	*c = (struct conn){ .fd = -1 };
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, RC_TEMP, "socket: %s", strerror(errno));
	int on = 1;
	if (to->sa_family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (bind_to != NULL && bind(fd, bind_to, bind_len) != 0) {
		int err = errno;
		close(fd);
		return err_set(e, RC_TEMP, "bind: %s", strerror(err));
	}
	if (connect(fd, to, len) != 0 && errno != EINPROGRESS) {
		int err = errno;
		close(fd);
		return err_set(e, RC_TEMP, "%s", strerror(err));
	}
	conn_init(c, fd, ops, in_max, out_max);
	c->connecting = true; /* also when it stood at once: the callback comes from the loop */
	watch_want(&c->watch, EV_WRITE);
	return RC_OK;
}

bool
conn_send_clear(struct conn *c, size_t most)
{
	while (most > 0) {
		struct span s = span_head(buf_span(&c->out), most);
		ssize_t n = send(c->fd, s.p, s.n, MSG_NOSIGNAL | (c->is_parting ? MSG_MORE : 0));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		c->bytes_out += (uint64_t)n;
		buf_consume(&c->out, (size_t)n);
		most -= (size_t)n;
	}
	return true;
}

/* One attempt to send; false when the connection broke. */
static bool
send_some(struct conn *c)
{
	if (c->tls != NULL)
		return conn_tls_send(c);
	return conn_send_clear(c, buf_len(&c->out));
}

void
conn_close(struct conn *c)
{
	if (c->magic != CONN_MAGIC || c->fd < 0)
		return;
	if (!c->connecting && !c->broken) {
		conn_tls_closing(c);
		(void)send_some(c);
	}
	conn_tls_close(c);
	watch_clear(&c->watch);
	timer_clear(&c->timer);
	list_remove(&c->dirty);
	list_remove(&c->again);
	close(c->fd);
	c->fd = -1;
	buf_fini(&c->in);
	buf_fini(&c->out);
	c->fresh = SPAN_EMPTY;
	metric_add(M_conns, -1);
}

void
conn_shutdown(struct conn *c)
{
	if (c->fd < 0 || c->connecting)
		return;
	conn_tls_shutdown(c);
	(void)shutdown(c->fd, SHUT_WR);
}

struct span
conn_input(const struct conn *c)
{
	return c->in_callback ? c->fresh : buf_span(&c->in);
}

void
conn_consume(struct conn *c, size_t n)
{
	if (c->in_callback) {
		BUG_ON(n > c->fresh.n);
		c->fresh = span_from(c->fresh, n);
	} else {
		buf_consume(&c->in, n);
	}
}

bool
conn_input_eof(const struct conn *c)
{
	return c->eof;
}

void
conn_pause(struct conn *c)
{
	c->paused = true; /* the watch stays armed: what comes is kept, and who leaves is noticed */
}

void
conn_call_again(struct conn *c)
{
	if (!list_linked(&c->again)) {
		list_append(&again, &c->again);
		timer_set(&again_timer, 0);
	}
}

static void
read_on(struct conn *c)
{
	if (c->tls != NULL && !conn_tls_is_open(c))
		return; /* the handshake says what it waits for */
	watch_want(&c->watch, c->eof ? (short)(c->watch.want & EV_WRITE) : (short)(c->watch.want | EV_READ));
}

void
conn_resume(struct conn *c)
{
	if (!c->paused || c->fd < 0)
		return;
	c->paused = false;
	if (!c->in_callback && buf_len(&c->in) == 0)
		buf_fini(&c->in); /* what was kept has been taken */
	if (!c->connecting)
		read_on(c);
	if (c->in_callback || buf_len(&c->in) > 0 || c->eof || conn_tls_has_more(c))
		conn_call_again(c);
}

/* Gives the owner what there is. fresh is in the scratch buffer, or is c->in itself. */
static void
give_input(struct conn *c, struct span fresh, bool in_scratch)
{
	c->fresh = fresh;
	c->in_callback = true;
	c->ops->input(c);
	c->in_callback = false;
	if (c->fd < 0)
		return;
	struct span left = c->fresh;
	c->fresh = SPAN_EMPTY;
	if (in_scratch) {
		buf_put(&c->in, left);
		return;
	}
	buf_consume(&c->in, buf_len(&c->in) - left.n);
	if (buf_len(&c->in) == 0)
		buf_fini(&c->in);
}

void
conn_end(struct conn *c, enum conn_end why, int err)
{
	if (why == CONN_ERROR)
		c->broken = true;
	c->ops->ended(c, why, err);
}

static void
on_input(struct conn *c)
{
	size_t have = buf_len(&c->in);
	if (c->eof || have >= c->in_max) {
		watch_want(&c->watch, (short)(c->watch.want & EV_WRITE));
		return;
	}
	BUG_ON(scratch_busy);
	/* while paused only in_max is taken, and no more memory than it needs */
	bool direct = have == 0 || c->paused;
	unsigned char *to = direct ? scratch : buf_reserve(&c->in, SCRATCH);
	BUG_ON(to == NULL);
	size_t most = (c->paused || c->sparing) && c->in_max - have < SCRATCH ? c->in_max - have : SCRATCH;
	ssize_t n = c->tls != NULL ? conn_tls_recv(c, to, most) : recv(c->fd, to, most, 0);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return;
	if (n < 0) {
		watch_want(&c->watch, 0);
		conn_end(c, CONN_ERROR, errno);
		return;
	}
	if (n == 0) {
		c->eof = true;
		watch_want(&c->watch, (short)(c->watch.want & EV_WRITE));
		if (c->paused ? c->eager_eof : !list_linked(&c->again)) /* else the owner first gets what it has left for later */
			conn_end(c, CONN_EOF, 0);
		return;
	}
	c->bytes_in += (uint64_t)n;
	if (conn_tls_has_more(c))
		conn_call_again(c); /* the descriptor would not tell */
	if (c->paused) {
		buf_put(&c->in, span_of(scratch, (size_t)n));
		return;
	}
	if (!direct)
		buf_commit(&c->in, (size_t)n);
	scratch_busy = direct;
	bool is_secret = c->in.is_secret;
	give_input(c, direct ? span_of(scratch, (size_t)n) : buf_span(&c->in), direct);
	if (is_secret && direct)
		mem_wipe(scratch, (size_t)n);
	scratch_busy = false;
}

static void
run_again(struct timer *t)
{
	(void)t;
	struct list batch;
	list_init(&batch);
	list_splice(&batch, &again);
	for (struct list *l; (l = list_pop(&batch)) != NULL;) {
		struct conn *c = list_entry(l, struct conn, again);
		if (c->paused) {
			if (!c->eof && !c->broken && conn_tls_has_more(c))
				on_input(c);
			continue;
		}
		if (buf_len(&c->in) > 0)
			give_input(c, buf_span(&c->in), false);
		if (c->fd < 0 || c->paused || c->connecting)
			continue;
		read_on(c); /* it may have been full */
		if (c->eof && !list_linked(&c->again))
			conn_end(c, CONN_EOF, 0);
		else if (!c->eof && !c->broken && conn_tls_has_more(c))
			on_input(c);
	}
}

static void
on_output(struct conn *c)
{
	if (c->connecting) {
		int err = 0;
		socklen_t len = sizeof err;
		if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
			err = errno;
		if (err != 0) {
			watch_want(&c->watch, 0);
			conn_end(c, CONN_ERROR, err);
			return;
		}
		c->connecting = false;
		watch_want(&c->watch, EV_READ);
		if (buf_len(&c->out) > 0)
			(void)conn_out(c);
		if (c->ops->connected != NULL)
			c->ops->connected(c);
		return;
	}
	if (!send_some(c)) {
		int err = errno;
		watch_want(&c->watch, 0);
		conn_end(c, CONN_ERROR, err);
		return;
	}
	if (buf_len(&c->out) > 0)
		return;
	watch_want(&c->watch, (short)(c->watch.want & EV_READ));
	if (c->out.cap > KEEP_OUT)
		buf_fini(&c->out);
	if (c->want_drained) {
		c->want_drained = false;
		c->ops->drained(c);
	}
}

static void
on_ready(struct watch *w, short what)
{
	struct conn *c = container_of(w, struct conn, watch);
	CHECK(c, CONN_MAGIC);
	if (c->tls != NULL && conn_tls_ready(c, &what))
		return;
	if (what & EV_WRITE)
		on_output(c);
	if (c->fd >= 0 && (what & EV_READ) && !c->connecting && !c->broken && (c->tls == NULL || conn_tls_is_open(c)))
		on_input(c);
}

struct buf *
conn_out(struct conn *c)
{
	if (c->fd >= 0 && !list_linked(&c->dirty))
		list_append(&dirty, &c->dirty);
	return &c->out;
}

void
conn_put(struct conn *c, struct span s)
{
	if (c->fd >= 0)
		buf_put(conn_out(c), s);
}

void
conn_puts(struct conn *c, const char *literal)
{
	conn_put(c, span_str(literal));
}

static void
flush_all(struct loop_hook *h)
{
	(void)h;
	struct list batch;
	list_init(&batch);
	list_splice(&batch, &dirty);
	for (struct list *l; (l = list_pop(&batch)) != NULL;) {
		struct conn *c = list_entry(l, struct conn, dirty);
		if (c->fd < 0 || c->connecting || c->broken)
			continue;
		if (c->tls != NULL && conn_tls_holds_output(c)) {
			if (c->out.over)
				conn_end(c, CONN_ERROR, ENOBUFS);
			continue;
		}
		if (c->out.over) {
			conn_end(c, CONN_ERROR, ENOBUFS);
		} else if (!send_some(c)) {
			conn_end(c, CONN_ERROR, errno);
		} else if (buf_len(&c->out) > 0) {
			watch_want(&c->watch, (short)(c->watch.want | EV_WRITE));
		} else {
			buf_fini(&c->out); /* idle connections hold no buffer */
			if (c->want_drained)
				watch_want(&c->watch, (short)(c->watch.want | EV_WRITE)); /* told from the loop */
		}
	}
}

static void
on_deadline(struct timer *t)
{
	struct conn *c = container_of(t, struct conn, timer);
	CHECK(c, CONN_MAGIC);
	if (c->deadline == 0)
		return;
	uint64_t now = loop_now();
	if (now < c->deadline)
		timer_set(&c->timer, (c->timer_at = c->deadline) - now);
	else
		conn_end(c, CONN_TIMEOUT, 0);
}

void
conn_ack(struct conn *c)
{
	int on = 1;
	if (c->fd >= 0)
		(void)setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

void
conn_deadline(struct conn *c, uint64_t usec)
{
	if (c->fd < 0)
		return;
	if (usec == 0) {
		c->deadline = 0;
		return;
	}
	c->deadline = loop_now() + usec;
	if (!c->timer.armed || c->deadline < c->timer_at)
		timer_set(&c->timer, (c->timer_at = c->deadline) - loop_now());
}
