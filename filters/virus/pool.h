/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pool.h - the front's side of the workers: which there are, who has one, what became of a scan.
 *
 * Generations come from the supervisor, workers from their generation. The newest one that is ready gets all new messages; the
 * workers of the one before are let go as they finish.
 */
#ifndef VIRUS_POOL_H
#define VIRUS_POOL_H

#include "filters/virus/scan.h"
#include "filters/virus_conf.h"

void pool_init(const struct virus_conf *conf);
/* Waits for a worker up to virus_wait_time, in line. */
void pool_scan(struct scan *s);
/* The version in use changes with this number, 0: none yet. */
uint64_t pool_version(struct virus_version *out);
/* A generation, still loading; the descriptor is given. */
void pool_add(int fd);

#endif
