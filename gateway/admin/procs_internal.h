/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * procs_internal.h - what the files of procs.h share: life of the processes (procs.c), what each is told (proc_tell.c), a new
 * configuration for all (procs_reload.c). Runs in: master.
 */
#ifndef ADMIN_PROCS_INTERNAL_H
#define ADMIN_PROCS_INTERNAL_H

#include "admin/procs.h"
#include "base/clock.h"

/* For bundled filters to listen, before clients are taken and a configuration is given out without them. */
static const uint64_t FILTERS_PATIENCE = 5 * USEC_PER_SEC;

void proc_spawn(struct proc *pr);
/* Is it there only when the configuration needs it? */
bool procs_is_optional(enum role role);

/* All by p as it is now; the process has a channel. A new one hears everything. */
void proc_tell_all(struct procs *p, struct proc *pr);
void proc_tell_log(struct procs *p, struct proc *pr);
/* call, which is idle, gets the answer. */
void proc_tell_conf(struct procs *p, struct proc *pr, struct ipc_call *call);
/* Edges alone, and not before bundled filters listen. */
void proc_tell_listeners(struct procs *p, struct proc *pr);

void procs_reload_init(struct procs *p);
/* The reload that waits for a filter, if there is one, goes on. */
void procs_reload_go(struct procs *p);

#endif
