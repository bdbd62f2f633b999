/* SPDX-License-Identifier: BSD-2-Clause */
#include "ipc/ipc.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	CHAN_MAGIC = 0x1bcc4a11,
	HEADER = 16,
	READ_SIZE = 256 * 1024,
	OUT_MAX = 256 * 1024 * 1024, /* callers apply back pressure long before */
	ANSWERS_MAX = 1024 * 1024,   /* octets of unsent answers; then nothing is read until they have left */
	ANSWER_FDS_MAX = 32,         /* the same for descriptors in them */
	ANSWERS_MOST = 64 * 1024 * 1024, /* answers to calls read before that: it is not served any more */
	FDS_PER_CALL = 16,
	FDS_WAITING_MAX = 4096,
};

static const struct {
	const char *name;
	unsigned from, to;
	int fd;
} rows[] = {
	{ "NOTHING", 0, 0, 0 },
#define MSG(name, from, to, fd, doc) { #name, from, to, fd },
#include "ipc/msgs.def"
#undef MSG
};

static struct list dirty = { &dirty, &dirty };
static struct loop_hook flush_hook;
static bool hooked;

const char *
role_name(enum role r)
{
	switch (r) {
	case ROLE_MASTER: return "master";
	case ROLE_EDGE: return "edge";
	case ROLE_QUEUE: return "queue";
	case ROLE_RELAY: return "relay";
	case ROLE_LOOKUP: return "lookup";
	case ROLE_KEYS: return "keys";
	case ROLE_AUTH: return "auth";
	}
	return "unknown";
}

static void flush_all(struct loop_hook *h);
static void on_ready(struct watch *w, short what);

struct ipc_chan *
ipc_chan_new(int fd, enum role self, enum role peer, unsigned peer_index, const struct ipc_chan_ops *ops, void *owner)
{
	if (!hooked) {
		loop_hook_add(&flush_hook, LOOP_FLUSH_DATA, flush_all);
		hooked = true;
	}
	struct ipc_chan *c = mem_zalloc(sizeof *c);
	c->magic = CHAN_MAGIC;
	c->fd = fd;
	c->self = self;
	c->peer = peer;
	c->peer_index = peer_index;
	c->ops = ops;
	c->owner = owner;
	c->next_id = 1;
	buf_init(&c->in, IPC_FRAME_MAX + HEADER + READ_SIZE);
	buf_init(&c->out, OUT_MAX);
	list_init(&c->dirty);
	list_init(&c->calls);
	int fl = fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, fl | O_NONBLOCK);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	int size = 4 * 1024 * 1024;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	watch_init(&c->watch, fd, on_ready);
	watch_want(&c->watch, EV_READ);
	return c;
}

static void
finish_calls(struct ipc_chan *c)
{
	for (struct list *l; (l = list_pop(&c->calls)) != NULL;) {
		struct ipc_call *call = list_entry(l, struct ipc_call, link);
		htab_remove(&c->by_id, &call->by_id);
		call->chan = NULL;
		timer_clear(&call->timer);
		op_finish(&call->op, RC_TEMP);
	}
}

static void
dig_chan(struct grave *g)
{
	struct ipc_chan *c = container_of(g, struct ipc_chan, grave);
	mem_poison(c, sizeof *c);
	mem_free(&c);
}

static bool send_some(struct ipc_chan *c);

void
ipc_chan_free(struct ipc_chan **cp)
{
	struct ipc_chan *c = *cp;
	*cp = NULL;
	if (c == NULL)
		return;
	CHECK(c, CHAN_MAGIC);
	if (!c->down && !c->doomed)
		(void)send_some(c);
	finish_calls(c);
	watch_clear(&c->watch);
	close(c->fd);
	for (size_t i = 0; i < c->n_in_fds; i++)
		close(c->in_fds[i]);
	for (size_t i = 0; i < c->n_out_fds; i++)
		close(c->out_fds[i].fd);
	mem_free(&c->in_fds);
	mem_free(&c->out_fds);
	buf_fini(&c->in);
	buf_fini(&c->out);
	htab_fini(&c->by_id);
	list_remove(&c->dirty);
	c->magic = 0;
	loop_bury(&c->grave, dig_chan);
}

/* Octets of answers that have not left: counted since nothing was unsent, so never less than there are. */
static size_t
answers_unsent(const struct ipc_chan *c)
{
	size_t n = buf_len(&c->out);
	return n < c->answers ? n : c->answers;
}

/* It has asked for more than it reads. A child never stops reading from the master: they call each other. */
static bool
has_enough(const struct ipc_chan *c)
{
	size_t fds = c->n_out_fds < c->answer_fds ? c->n_out_fds : c->answer_fds;
	return c->peer != ROLE_MASTER && (answers_unsent(c) > ANSWERS_MAX || fds >= ANSWER_FDS_MAX);
}

static void
mark_dirty(struct ipc_chan *c)
{
	if (!list_linked(&c->dirty))
		list_append(&dirty, &c->dirty);
}

struct buf *
ipc_begin(struct ipc_chan *c, enum ipc_type type, uint64_t id)
{
	BUG_ON((rows[type].from & c->self) == 0 || (rows[type].to & c->peer) == 0);
	mark_dirty(c);
	c->frame_start = buf_len(&c->out);
	c->is_answer = type == IPC_ANSWER;
	buf_put_u32(&c->out, 0);
	buf_put_u16(&c->out, (uint16_t)type);
	buf_put_u16(&c->out, 0);
	buf_put_u64(&c->out, id);
	return &c->out;
}

void
ipc_end(struct ipc_chan *c)
{
	if (c->out.over)
		c->doomed = true;
	if (c->down || c->doomed || c->deaf) {
		buf_cut(&c->out, c->frame_start);
		return;
	}
	size_t n = buf_len(&c->out) - c->frame_start - HEADER;
	BUG_ON(n > IPC_FRAME_MAX);
	unsigned char *p = c->out.p + c->out.at + c->frame_start;
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(n >> (8 * i));
	if (!c->is_answer)
		return;
	c->answers += HEADER + n;
	c->doomed = answers_unsent(c) > ANSWERS_MOST;
}

/* Attaches fd to the frame that was just begun. */
static void
attach_fd(struct ipc_chan *c, int fd)
{
	if (c->out.over || c->doomed || c->deaf) {
		close(fd);
		return;
	}
	if (c->is_answer)
		c->answer_fds++;
	if (c->n_out_fds == c->cap_out_fds) {
		c->cap_out_fds = c->cap_out_fds > 0 ? c->cap_out_fds * 2 : 8;
		c->out_fds = mem_reallocarray(c->out_fds, c->cap_out_fds, sizeof *c->out_fds);
	}
	c->out_fds[c->n_out_fds++] = (struct ipc_out_fd){ c->sent + c->frame_start, fd };
	c->out.p[c->out.at + c->frame_start + 6] = 1;
}

void
ipc_send(struct ipc_chan *c, enum ipc_type type, uint64_t id, struct span payload, int fd)
{
	BUG_ON((rows[type].fd == 1 && fd < 0) || (rows[type].fd == 0 && fd >= 0));
	if (c->down) {
		if (fd >= 0)
			close(fd);
		return;
	}
	struct buf *b = ipc_begin(c, type, id);
	buf_put(b, payload);
	if (fd >= 0)
		attach_fd(c, fd);
	ipc_end(c);
}

void
ipc_send_fd(struct ipc_chan *c, int fd)
{
	if (c->down)
		close(fd);
	else
		attach_fd(c, fd);
	ipc_end(c);
}

void
ipc_answer(struct ipc_chan *c, uint64_t id, struct span payload, int fd)
{
	ipc_send(c, IPC_ANSWER, id, payload, fd);
}

struct buf *
ipc_answer_begin(struct ipc_chan *c, uint64_t id)
{
	return ipc_begin(c, IPC_ANSWER, id);
}

size_t
ipc_unsent(const struct ipc_chan *c)
{
	return buf_len(&c->out);
}

/* ---- calls ---- */

static void
forget_call(struct ipc_call *call)
{
	if (call->chan == NULL)
		return;
	htab_remove(&call->chan->by_id, &call->by_id);
	list_remove(&call->link);
	timer_clear(&call->timer);
	call->chan = NULL;
}

static void
detach_call(struct op *op)
{
	forget_call(container_of(op, struct ipc_call, op));
}

static const struct op_provider call_provider = { "ipc", detach_call };

static void
on_call_timeout(struct timer *t)
{
	struct ipc_call *call = container_of(t, struct ipc_call, timer);
	forget_call(call);
	op_finish(&call->op, RC_TEMP);
}

void
ipc_call_init(struct ipc_call *call, struct op_owner *owner, op_fn *done)
{
	*call = (struct ipc_call){ .fd = -1 };
	op_init(&call->op, owner, done);
	buf_init(&call->reply, IPC_FRAME_MAX);
	list_init(&call->link);
}

void
ipc_call_fini(struct ipc_call *call)
{
	op_cancel(&call->op);
	buf_fini(&call->reply);
	if (call->fd >= 0)
		close(call->fd);
	call->fd = -1;
}

struct buf *
ipc_call_begin(struct ipc_call *call, struct ipc_chan *c, enum ipc_type type)
{
	BUG_ON(call->chan != NULL);
	buf_reset(&call->reply);
	call->chan = c;
	call->id = c->next_id++;
	op_pend(&call->op, &call_provider);
	htab_insert(&c->by_id, &call->by_id, call->id * UINT64_C(0x9e3779b97f4a7c15) >> 16);
	list_append(&c->calls, &call->link);
	return ipc_begin(c, type, call->id);
}

static void
finish_send(struct ipc_call *call, uint64_t timeout_usec)
{
	struct ipc_chan *c = call->chan;
	if (timeout_usec > 0) {
		timer_init(&call->timer, on_call_timeout);
		timer_set(&call->timer, timeout_usec);
	}
	if (c->down) { /* the same road as any other failure: done() comes from the loop */
		forget_call(call);
		op_finish(&call->op, RC_TEMP);
	}
}

void
ipc_call_send(struct ipc_call *call, uint64_t timeout_usec)
{
	ipc_end(call->chan);
	finish_send(call, timeout_usec);
}

void
ipc_call_send_fd(struct ipc_call *call, int fd, uint64_t timeout_usec)
{
	ipc_send_fd(call->chan, fd);
	finish_send(call, timeout_usec);
}

static void
take_answer(struct ipc_chan *c, struct ipc_frame *f)
{
	struct hnode *n = htab_first(&c->by_id, f->id * UINT64_C(0x9e3779b97f4a7c15) >> 16);
	while (n != NULL && container_of(n, struct ipc_call, by_id)->id != f->id)
		n = htab_next(n);
	if (n == NULL) {
		metric_add(M_ipc_late, 1);
		return;
	}
	struct ipc_call *call = container_of(n, struct ipc_call, by_id);
	forget_call(call);
	buf_put(&call->reply, f->payload);
	call->fd = f->fd;
	f->fd = -1;
	op_finish(&call->op, RC_OK);
}

/* ---- the wire ---- */

static void
go_down(struct ipc_chan *c, const char *why)
{
	if (c->down)
		return;
	c->down = true;
	if (why != NULL) {
		metric_add(M_ipc_bad, 1);
		log_warn(NULL, "channel to %s %u: %s", role_name(c->peer), c->peer_index, why);
	}
	watch_want(&c->watch, 0);
	finish_calls(c);
	c->ops->down(c);
}

static bool
send_some(struct ipc_chan *c)
{
	while (buf_len(&c->out) > 0) {
		struct span s = buf_span(&c->out);
		bool with_fd = c->n_out_fds > 0 && c->out_fds[0].at == c->sent;
		size_t stop = c->n_out_fds > (with_fd ? 1u : 0u) ? (size_t)(c->out_fds[with_fd ? 1 : 0].at - c->sent) : s.n;
		struct iovec iov = { (void *)(uintptr_t)s.p, stop < s.n ? stop : s.n };
		union {
			char bytes[CMSG_SPACE(sizeof(int))];
			struct cmsghdr align;
		} control = { .bytes = { 0 } };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		if (with_fd) {
			msg.msg_control = control.bytes;
			msg.msg_controllen = sizeof control.bytes;
			struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
			cm->cmsg_level = SOL_SOCKET;
			cm->cmsg_type = SCM_RIGHTS;
			cm->cmsg_len = CMSG_LEN(sizeof(int));
			memcpy(CMSG_DATA(cm), &c->out_fds[0].fd, sizeof(int));
		}
		ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == EWOULDBLOCK;
		if (with_fd) {
			close(c->out_fds[0].fd);
			c->n_out_fds--;
			memmove(c->out_fds, c->out_fds + 1, c->n_out_fds * sizeof *c->out_fds);
		}
		c->sent += (uint64_t)n;
		buf_consume(&c->out, (size_t)n);
	}
	c->answers = c->answer_fds = 0;
	return true;
}

/* One that is held waits for room to write even when nothing is left to be written: then it goes on. */
static void
want(struct ipc_chan *c)
{
	short events = c->held ? EV_WRITE : EV_READ;
	watch_want(&c->watch, buf_len(&c->out) > 0 || c->deaf ? (short)(events | EV_WRITE) : events);
}

/* send_some() failed. The other end is closed, or does as if: on_ready() is called in the next turn whichever it is. */
static void
go_deaf(struct ipc_chan *c)
{
	c->deaf = true;
	buf_reset(&c->out);
	for (size_t i = 0; i < c->n_out_fds; i++)
		close(c->out_fds[i].fd);
	c->n_out_fds = c->answers = c->answer_fds = 0;
	want(c);
}

static void
flush_chan(struct ipc_chan *c)
{
	if (c->down)
		return;
	if (c->doomed) {
		go_down(c, "it does not read what it is sent");
		return;
	}
	if (send_some(c))
		want(c);
	else
		go_deaf(c);
}

static void
flush_all(struct loop_hook *h)
{
	(void)h;
	struct list batch;
	list_init(&batch);
	list_splice(&batch, &dirty);
	for (struct list *l; (l = list_pop(&batch)) != NULL;)
		flush_chan(list_entry(l, struct ipc_chan, dirty));
}

static bool
keep_fds(struct ipc_chan *c, struct msghdr *msg)
{
	bool ok = (msg->msg_flags & MSG_CTRUNC) == 0;
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(msg); cm != NULL; cm = CMSG_NXTHDR(msg, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		size_t n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(cm) + i * sizeof fd, sizeof fd);
			if (c->n_in_fds == FDS_WAITING_MAX) {
				close(fd);
				ok = false;
				continue;
			}
			if (c->n_in_fds == c->cap_in_fds) {
				c->cap_in_fds = c->cap_in_fds > 0 ? c->cap_in_fds * 2 : 8;
				c->in_fds = mem_reallocarray(c->in_fds, c->cap_in_fds, sizeof *c->in_fds);
			}
			c->in_fds[c->n_in_fds++] = fd;
		}
	}
	return ok;
}

/* Next whole frame out of the input; RC_NONE: not there yet. *used_out: bytes it takes. */
static enum rc
next_frame(struct ipc_chan *c, struct ipc_frame *f, size_t *used_out)
{
	struct cur rd = cur_of(buf_span(&c->in));
	if (cur_left(&rd) < HEADER)
		return RC_NONE;
	uint32_t n = cur_u32(&rd);
	uint16_t type = cur_u16(&rd), has_fd = cur_u16(&rd);
	f->id = cur_u64(&rd);
	if (n > IPC_FRAME_MAX || type == IPC_NOTHING || type >= IPC_TYPES || has_fd > 1)
		return RC_PERM;
	if ((rows[type].from & c->peer) == 0 || (rows[type].to & c->self) == 0)
		return RC_PERM;
	if ((rows[type].fd == 0 && has_fd) || (rows[type].fd == 1 && !has_fd))
		return RC_PERM;
	if (cur_left(&rd) < n)
		return RC_NONE;
	if (has_fd && c->n_in_fds == 0)
		return RC_PERM;
	f->type = (enum ipc_type)type;
	f->payload = cur_take(&rd, n);
	f->fd = -1;
	if (has_fd) {
		f->fd = c->in_fds[0];
		c->n_in_fds--;
		memmove(c->in_fds, c->in_fds + 1, c->n_in_fds * sizeof *c->in_fds);
	}
	*used_out = HEADER + n;
	return RC_OK;
}

/* Nothing more is taken from it now. What can leave leaves first: many calls in one turn are no reason. */
static bool
is_held(struct ipc_chan *c)
{
	if (c->doomed)
		return true; /* flush_all() ends it */
	if (!has_enough(c))
		return false;
	if (!send_some(c)) {
		go_deaf(c);
		return false;
	}
	c->held = has_enough(c);
	if (c->held)
		metric_add(M_ipc_held, 1);
	want(c);
	return c->held;
}

static void
read_frames(struct ipc_chan *c)
{
	struct ipc_frame f;
	size_t used;
	enum rc rc = RC_NONE;
	while (!is_held(c) && (rc = next_frame(c, &f, &used)) == RC_OK) {
		if (f.type == IPC_ANSWER)
			take_answer(c, &f);
		else
			rc = c->ops->frame(c, &f);
		if (f.fd >= 0)
			close(f.fd);
		if (c->magic != CHAN_MAGIC || c->down)
			return;
		if (rc == RC_PERM)
			break;
		buf_consume(&c->in, used);
		rc = RC_NONE;
	}
	if (rc == RC_PERM)
		go_down(c, "malformed frame");
}

static void
on_input(struct ipc_chan *c)
{
	unsigned char *to = buf_reserve(&c->in, READ_SIZE);
	BUG_ON(to == NULL);
	union {
		char bytes[CMSG_SPACE(sizeof(int) * FDS_PER_CALL)];
		struct cmsghdr align;
	} control;
	struct iovec iov = { to, READ_SIZE };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
	ssize_t n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EINTR || (errno == EAGAIN && !c->deaf)))
		return;
	if (n <= 0) {
		go_down(c, NULL);
		return;
	}
	buf_commit(&c->in, (size_t)n);
	if (!keep_fds(c, &msg)) {
		go_down(c, "too many descriptors");
		return;
	}
	read_frames(c);
}

static void
on_ready(struct watch *w, short what)
{
	struct ipc_chan *c = container_of(w, struct ipc_chan, watch);
	CHECK(c, CHAN_MAGIC);
	if (what & EV_WRITE)
		flush_chan(c);
	if (c->magic != CHAN_MAGIC || c->down)
		return;
	if (c->held) {
		if (has_enough(c))
			return;
		c->held = false;
		want(c);
		read_frames(c); /* what had come already */
	} else if ((what & EV_READ) || c->deaf) {
		on_input(c);
	}
}
