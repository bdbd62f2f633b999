/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * procs.h - the role processes: spawn, connect to each other, configure, supervise with back-off, stop.
 *
 * Runs in: master. Each role is a fresh execution of this program with descriptor 3 as its channel. A dead
 * child costs its own connections: its siblings get new channels when it is back.
 */
#ifndef ADMIN_PROCS_H
#define ADMIN_PROCS_H

#include "admin/images.h"
#include "admin/listen.h"
#include "conf/conf.h"
#include "ipc/ipc.h"
#include "tls/tickets.h"

enum proc_state { PROC_DOWN = 0, PROC_STARTING, PROC_READY, PROC_DRAINING };

struct proc {
	enum role role;
	unsigned index;
	enum proc_state state;
	pid_t pid;
	struct ipc_chan *chan;       /* NULL while down */
	uint64_t started;            /* monotonic */
	unsigned failures;           /* in a row; sets the delay of the next start */
	unsigned restarts;           /* since the master began */
	struct timer restart;
	struct op_owner ops;
	struct ipc_call conf_call;
	char last_error[ERR_WHY_MAX];    /* why it refused its configuration */
	bool is_anew;                /* it ends by itself and is to be started again */
	bool is_wanted;              /* by the configuration: lookup, keys and auth are there only when it needs them */
};

struct procs {
	struct proc *proc;
	size_t count;
	const char *program;         /* path for execv */
	struct conf *conf;           /* borrowed: the master's */
	const struct images *images; /* borrowed: of that */
	struct listen_set *listeners;
	int log_fd;
	uint8_t log_target, log_format;
	struct tickets_chain tickets; /* of TLS, for the edge processes */
	int limits;                  /* memory file of smtp/limits.h, -1: could not be made */
	void (*all_ready)(struct procs *);               /* every role said READY for the first time */
	void (*failed)(struct procs *, const struct proc *); /* a role refused its configuration at start */
	void (*all_gone)(struct procs *);                /* after procs_stop */
	bool was_ready, stopping;
	bool filters_awaited;        /* bundled filters do not listen yet: no edge has a listener */
	struct timer filters_patience;
	struct procs_reload *reload_waits; /* for a filter that is new; NULL: none */
	struct timer reload_patience;
	unsigned stop_stage;
	struct timer stop_timer;
	struct sigwatch child_signal;
};

/* Makes the table (edges, queue, relays, lookup, keys, auth) and starts all that the configuration wants, bundled filters included. conf, image and log_* are set by the caller before. */
void procs_start(struct procs *p, unsigned edges, unsigned relays);
/* A bundled filter has begun to listen, or has failed (filterprocs.h). At a start edges get their listeners when all listen, at a reload
 * the configuration that names a new one; after some seconds without them. */
void procs_filter_listens(struct procs *p);
/* Sends the log target, the configuration (p->conf, p->image) and the listeners to all. done(owner, ok, why)
 * when each has answered. */
struct procs_reload {
	struct procs *procs;
	unsigned pending;
	bool ok;
	bool is_second;              /* keys have answered: who signs has a key before anybody shows its certificate */
	char why[ERR_WHY_MAX];
	void (*done)(struct procs_reload *);
};
void procs_reload_start(struct procs *p, struct procs_reload *r);
/* What the configuration in force does not want any more is told to finish; after a reload. */
void procs_trim(struct procs *p);
/* Edges drain first, then the bundled filters (filterprocs.h), relays, the queue, then lookup, keys and auth; each stage has a time limit, then SIGKILL. */
void procs_stop(struct procs *p);
/* SIGKILL to all, at once. */
void procs_abort(struct procs *p);
/* Does this configuration need the role? */
bool procs_wants(const struct conf *c, enum role role);
struct proc *procs_find(struct procs *p, enum role role, unsigned index);
void procs_fini(struct procs *p);

#endif
