/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * session.h - a connection of the MTA: the filter's side of the milter protocol (versions 2 to 6), one message after the other.
 *
 * Of all that could be told it asks for headers and body alone, and lets nobody wait before the end of the body. Not libmilter: that
 * takes a thread for each connection and a system call for each packet; here a message is one read and its answer one write.
 */
#ifndef VIRUS_SESSION_H
#define VIRUS_SESSION_H

#include "filters/virus/front.h"

void sessions_init(const struct virus_conf *conf, struct front_counts *counts);
/* The descriptor is given. */
void session_new(int fd);
/* Messages that are here. */
unsigned sessions_active(void);
/* Octets that are held for them. */
uint64_t sessions_memory(void);

#endif
