/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/procs_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

static const uint64_t CONF_TIMEOUT = 120 * USEC_PER_SEC;

/* Who has a channel to whom. */
static const struct {
	enum role role;
	unsigned others;             /* roles */
	int type;                    /* of the socket */
} pairs[] = {
	{ ROLE_QUEUE, ROLE_EDGE | ROLE_RELAY | ROLE_LOOKUP, SOCK_STREAM },
	{ ROLE_LOOKUP, ROLE_EDGE | ROLE_RELAY, SOCK_STREAM },
	{ ROLE_AUTH, ROLE_EDGE, SOCK_STREAM },
	{ ROLE_KEYS, ROLE_EDGE | ROLE_RELAY, SOCK_SEQPACKET }, /* not an IPC channel: tls/key.h */
};

static struct span
u32_span(unsigned char out[4], uint32_t v)
{
	for (int i = 0; i < 4; i++)
		out[i] = (unsigned char)(v >> (8 * i));
	return span_of(out, 4);
}

void
proc_tell_log(struct procs *p, struct proc *pr)
{
	struct buf *b = ipc_begin(pr->chan, IPC_LOGFD, 0);
	buf_put_u8(b, p->log_target);
	buf_put_u8(b, p->log_format);
	buf_put_block(b, span_str(conf_params(p->conf)->p_syslog_name));
	ipc_send_fd(pr->chan, fcntl(p->log_fd, F_DUPFD_CLOEXEC, 3));
}

static void
send_limits(struct procs *p, struct proc *pr)
{
	if (pr->role == ROLE_EDGE && p->limits >= 0)
		ipc_send(pr->chan, IPC_LIMITS, 0, SPAN_EMPTY, fcntl(p->limits, F_DUPFD_CLOEXEC, 3));
}

static void
send_tickets(struct procs *p, struct proc *pr)
{
	unsigned char frame[TICKETS_FRAME];
	if (pr->role != ROLE_EDGE)
		return;
	tickets_frame(&p->tickets, clock_wall(), frame);
	ipc_send(pr->chan, IPC_TICKETS, 0, span_of(frame, sizeof frame), -1);
	mem_wipe(frame, sizeof frame);
}

void
proc_tell_listeners(struct procs *p, struct proc *pr)
{
	if (pr->role != ROLE_EDGE || p->filters_awaited)
		return;
	unsigned char n[4];
	ipc_send(pr->chan, IPC_LISTENERS, 0, u32_span(n, (uint32_t)p->listeners->count), -1);
	for (size_t i = 0; i < p->listeners->count; i++) {
		const struct listen_socket *s = &p->listeners->socket[i];
		struct buf *b = ipc_begin(pr->chan, IPC_LISTENER, 0);
		buf_put_block(b, span_str(s->service));
		buf_put_u32(b, s->row);
		ipc_send_fd(pr->chan, fcntl(s->fd, F_DUPFD_CLOEXEC, 3));
	}
}

void
proc_tell_conf(struct procs *p, struct proc *pr, struct ipc_call *call)
{
	(void)ipc_call_begin(call, pr->chan, IPC_CONF);
	/* the descriptor goes with the frame; ipc_call_send would end it without one */
	ipc_call_send_fd(call, fcntl(images_for(p->images, pr->role), F_DUPFD_CLOEXEC, 3), CONF_TIMEOUT);
}

static void
send_peer(struct proc *pr, enum role role, unsigned index, int fd)
{
	struct buf *b = ipc_begin(pr->chan, IPC_PEER, 0);
	buf_put_u8(b, (uint8_t)role);
	buf_put_u32(b, index);
	ipc_send_fd(pr->chan, fd);
}

/* A channel between two of them, if both live. */
static void
pair(struct proc *a, struct proc *b, int type)
{
	int sv[2];
	if (a == b || a->chan == NULL || b->chan == NULL)
		return;
	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, sv) != 0) {
		log_error(NULL, "socketpair: %s", strerror(errno));
		return;
	}
	send_peer(a, b->role, b->index, sv[0]);
	send_peer(b, a->role, a->index, sv[1]);
}

static void
connect_to_siblings(struct procs *p, struct proc *pr)
{
	for (size_t i = 0; i < p->count; i++)
		for (size_t k = 0; k < NELEMS(pairs); k++) {
			struct proc *other = &p->proc[i];
			if ((pairs[k].role == pr->role && (pairs[k].others & other->role) != 0) ||
			    (pairs[k].role == other->role && (pairs[k].others & pr->role) != 0))
				pair(pr, other, pairs[k].type);
		}
}

void
proc_tell_all(struct procs *p, struct proc *pr)
{
	proc_tell_log(p, pr);
	proc_tell_conf(p, pr, &pr->conf_call);
	send_limits(p, pr);
	send_tickets(p, pr);
	proc_tell_listeners(p, pr);
	connect_to_siblings(p, pr);
}
