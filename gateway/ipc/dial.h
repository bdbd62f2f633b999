/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dial.h - a connection to a server that the configuration names (policy server, milter, Dovecot).
 *
 * An inet endpoint is connected to directly, its addresses in turn. A UNIX-domain socket is out of reach of a role: the
 * master connects and hands over the descriptor, but only to paths its snapshot names (IPC DIAL), and with the rights of
 * edge_user and its groups: a path that leads elsewhere by a symbolic link leads no further than that user comes, and the server sees
 * him as its peer (SO_PEERCRED), not root. How many connections may be on their way to a role that does not take
 * them, ipc.h bounds. Commands, which have no master, connect themselves.
 *
 *	dial_init(&d, &owner, connected);
 *	dial_start(&d, endpoint, 10 * USEC_PER_SEC);
 *	static void connected(struct op *op) { ... op->rc == RC_OK: conn_init(&conn, dial_take(d), ...); else d->why.why }
 *	dial_fini(&d);                                   cancels, closes what was not taken; idempotent, fine on zeroes
 *
 * The op is done from the loop, never from inside dial_start(). The endpoint must live as long as the dial is pending.
 * Runs in: edge, and commands.
 */
#ifndef IPC_DIAL_H
#define IPC_DIAL_H

#include "ipc/endpoint.h"
#include "ipc/ipc.h"

struct dial {
	struct op op;                /* RC_OK: connected; RC_TEMP: not now, why says it */
	struct err why;
	/* private */
	int fd;
	const struct endpoint *ep;
	unsigned next;               /* address */
	uint64_t until;
	struct watch watch;
	struct timer timer;
	struct op_owner ops;
	struct ipc_call call;
	bool has_call;
	bool is_there;               /* connected, and not yet said */
};

void dial_init(struct dial *d, struct op_owner *owner, op_fn *done);
void dial_start(struct dial *d, const struct endpoint *ep, uint64_t timeout_usec);
/* After RC_OK: the descriptor (non-blocking, close-on-exec) is the caller's. */
int dial_take(struct dial *d);
void dial_fini(struct dial *d);

/* ---- both ends of IPC DIAL ---- */

/* A role: through this channel. NULL: there is no master, connect directly. */
void dial_through(struct ipc_chan *master);
/* Master: answers the frame. RC_PERM: it is not one. */
enum rc dial_serve(struct ipc_chan *c, const struct ipc_frame *f, const struct conf *conf) MUST_CHECK;

#endif
