/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filterprogram.h - the programs of the bundled filters: where they are, where they listen, on what they depend, how they are begun.
 * filterprocs.h has their life. Runs in: master.
 */
#ifndef ADMIN_FILTERPROGRAM_H
#define ADMIN_FILTERPROGRAM_H

#include "admin/procs.h"
#include "filters/bundled.h"

/* Adds an error for a filter that is switched on and whose program is not there. */
void filterprogram_check(struct conf *c);
/* The path of the program, beside our own or in ../lib/dogana of it, replaces what is in path. false: it is in neither. */
bool filterprogram_find(const char *own, enum bundled which, struct buf *path);

/* The directory of the sockets, made when it is not there: the filters' user makes them, the edge's group passes. A descriptor that the
 * caller closes; -1: the log has the reason. */
int filterprogram_directory(const struct conf *c);
/* Removes the sockets that an earlier master's filters left. */
void filterprogram_sweep(const struct conf *c);

/* Of all that it reads: the virus filter its own parameters; the attachment filter asks tables and address classes, too. */
uint64_t filterprogram_fingerprint(const struct conf *c, enum bundled which);

/* A process with control as its channel, which stays the caller's, and the image of the configuration; it listens on socket_name in
 * the directory. -1: errno. */
pid_t filterprogram_run(const struct procs *procs, enum bundled which, const char *path, const char *socket_name, int control);

#endif
