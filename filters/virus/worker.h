/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker.h - the processes that look at mail: a generation, which has one version of the signatures and forks the workers that
 * share them.
 */
#ifndef VIRUS_WORKER_H
#define VIRUS_WORKER_H

#include "filters/program.h"
#include "filters/virus_conf.h"
#include "filters/virus/engine.h"

/* The process of a generation. to_front: workers and the version go there. report: one datagram for the supervisor, "ready" or the
 * reason why not; from there "log" (program_take_log()). Ends when the front closes its end, or the supervisor dies. */
NORETURN void generation_main(const struct program *pg, const struct virus_conf *conf, int to_front, int report);

/* A worker, forked by it: scans what comes over sock, from the memory file; confines itself first. */
NORETURN void worker_main(const struct virus_conf *conf, struct engine *en, int sock, int memory);

#endif
