/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lookup.h - tables that are not in our own process: the role that asks them, and how the others ask it.
 *
 *	edge, queue, relay: map/remote.h -> asker.c ==LOOKUP==> lookup.c -> tables.h -> stream.c | sqlite.c
 *	commands:           map/remote.h -> direct.c -> a helper process with the same tables.h
 *
 * One process, unprivileged, started only when the configuration names such a table. Without a chroot: it must reach
 * files and sockets by their paths. It writes nowhere and executes nothing.
 */
#ifndef LOOKUP_LOOKUP_H
#define LOOKUP_LOOKUP_H

#include "ipc/child.h"

extern const struct role_ops lookup_role;

/* A role got its channel to the lookup process: questions go there from now on. fd is given. */
void lookup_peer(struct child *c, unsigned index, int fd);

/* In commands: tables are asked by a helper process while the caller waits. */
void lookup_direct(void);
/* The helper's main: "dogana role direct DIR"; descriptor 3 is the caller's socket. */
int lookup_direct_main(const char *dir);

#endif
