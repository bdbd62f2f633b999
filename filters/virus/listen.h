/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * listen.h - where the MTA reaches the filter, written as for other milters: unix:/path, local:/path, inet:port, inet:port@host, inet6:...
 */
#ifndef VIRUS_LISTEN_H
#define VIRUS_LISTEN_H

#include "base/span.h"

/* A socket left over at the path is removed. RC_OK: *fd, non-blocking; RC_PERM: not possible, the reason in e. */
enum rc listen_at(const char *where, int *fd, struct err *e) MUST_CHECK;

#endif
