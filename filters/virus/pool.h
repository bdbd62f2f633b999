/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pool.h - the front's side of the workers: which there are, who has one, what became of a scan.
 *
 * Generations come from the supervisor, workers from their generation. The newest one that is ready gets all new messages; the
 * workers of the one before are let go as they finish.
 */
#ifndef VIRUS_POOL_H
#define VIRUS_POOL_H

#include "filters/virus_conf.h"
#include "filters/virus/verdict.h"

enum scan_end {
	SCAN_DONE = 0,               /* the verdict counts */
	SCAN_FAILED,                 /* the worker died of it, or ran over time */
	SCAN_AWAY,                   /* there was nobody to scan it */
};

struct scan_job {
	struct span head, message;   /* head: in front of it, not part of it */
	void (*waits)(void *arg);    /* every few seconds while it takes time; may be NULL */
	void *arg;
};

void pool_init(const struct virus_conf *conf);
/* Any thread. why: a line for SCAN_FAILED and SCAN_AWAY. */
enum scan_end pool_scan(const struct scan_job *job, struct virus_verdict *out, struct err *why);
/* The version in use changes with this number, 0: none yet. */
uint64_t pool_version(struct virus_version *out);

/* One thread: waits for the supervisor (fd) and the generations; returns when there is something from the supervisor. */
void pool_listen(int supervisor);
/* A generation, still loading; the descriptor is given. */
void pool_add(int fd);

#endif
