/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * master.h - the process that holds the rights: configuration, sockets, roles, control socket.
 * Never parses mail, SMTP or DNS.
 */
#ifndef ADMIN_MASTER_H
#define ADMIN_MASTER_H

#include "base/base.h"

/* `dogana -c DIR run`: returns the exit status when the gateway has stopped. program: path of this program.
 * ready_fd: -1, or a descriptor that gets one byte when every role is ready (given). */
int master_run(const char *dir, const char *program, int ready_fd);

#endif
