/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filterprocs.h - the bundled filters (filters/bundled.h) as processes: programs of their own beside the roles.
 *
 * A filter listens on a socket with a name of its own; the master gives it the name that everybody knows when it is ready (when
 * there is none in use: when it listens). So one with new parameters takes over without a gap, and the old one finishes what
 * it has. A new one that does not become ready leaves the old one where it is. Runs in: master; there is one set.
 */
#ifndef ADMIN_FILTERPROCS_H
#define ADMIN_FILTERPROCS_H

#include "admin/procs.h"

/* Starts what p->conf switches on and is not running. */
void filterprocs_want(struct procs *p);
/* p->conf is in force: the log is handed on, what has other parameters is replaced, what is switched off ends. */
void filterprocs_apply(struct procs *p);

/* Can every filter that is wanted be reached? */
bool filterprocs_listening(void);
/* Is one being started for the first time that does not listen yet? */
bool filterprocs_coming(void);
/* A child of the master ended; false: it was none of these. */
bool filterprocs_exited(struct procs *p, pid_t pid, int status);
bool filterprocs_any(void);
/* All finish what they have; no more are started. */
void filterprocs_stop(void);
void filterprocs_kill(void);
void filterprocs_fini(void);

/* For status: lines, and the elements of a JSON list. */
void filterprocs_text(struct buf *out);
void filterprocs_json(struct buf *out);

#endif
