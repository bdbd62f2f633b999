/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * child.h - what every role but master is: a process with a channel to the master, a configuration,
 * channels to its siblings, and a sandbox. A role is one struct role_ops; the runtime (child.c) does
 * the rest.
 */
#ifndef IPC_CHILD_H
#define IPC_CHILD_H

#include "conf/conf.h"
#include "ipc/ipc.h"

struct child {
	const struct role_ops *ops;
	unsigned index;               /* which edge, which relay */
	struct ipc_chan *master;
	struct conf *conf;            /* in force; take conf_ref() for what must survive a reload */
	bool has_own_root;            /* the root directory is that of the compiled tables */
	bool draining;
};

struct role_ops {
	enum role role;
	/* The configuration is there; the process still has its rights. Open what needs the file system,
	 * compile what comes from the configuration. */
	enum rc (*start)(struct child *, struct err *);
	/* Sandboxed. Begin (recovery, resolver, ...). The runtime then says READY. */
	enum rc (*ready)(struct child *, struct err *);
	/* A new configuration: compile everything, then switch. On failure change nothing. The runtime has
	 * already put a reference on new; child->conf is replaced after RC_OK. */
	enum rc (*reload)(struct child *, struct conf *new_conf, struct err *);
	/* A channel to a sibling; replaces an older one with the same role and index. fd is given. */
	void (*peer)(struct child *, enum role peer, unsigned index, int fd);
	/* edge: listeners_begin(n), then n times listener(). Those not named again are closed. fd is given. */
	void (*listeners_begin)(struct child *, unsigned count);
	void (*listener)(struct child *, int fd, struct span service_name, unsigned service_row);
	/* edge: the table of client limits, before the first listener. fd is given. */
	void (*limits)(struct child *, int fd);
	/* edge: what keys of TLS session tickets are made of (tls/tickets.h). */
	enum rc (*tickets)(struct span frame);
	/* queue: an administrator's request; answer on fd (given), then close it. */
	void (*admin)(struct child *, struct span line, int fd);
	/* JSON members for `dogana status`; metrics are added by the runtime. */
	void (*status)(struct child *, struct buf *json_out);
	/* Lines for `dogana status` about what needs looking at; usually none. */
	void (*remarks)(struct child *, struct buf *lines_out);
	/* Take nothing new; call child_exit() when nothing is under way any more. */
	void (*drain)(struct child *);
	/* The loop has ended. false: threads are still at work, so nothing they may use is torn down. NULL: true. */
	bool (*end)(void);
};

/* Ends the process in order at the end of this turn. */
void child_exit(struct child *);

/* Entry of a role process: argv is "dogana role NAME INDEX"; descriptor 3 is the master's channel. */
int child_main(const struct role_ops *ops, unsigned index);

#endif
