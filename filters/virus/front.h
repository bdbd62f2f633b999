/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * front.h - the process that speaks the milter protocol (session.h) and says what becomes of a message (answer.h).
 *
 * It never looks into a message: that is done by workers (pool.h) or by clamd (clamd.h).
 */
#ifndef VIRUS_FRONT_H
#define VIRUS_FRONT_H

#include "filters/program.h"
#include "filters/virus_conf.h"

#include <stdatomic.h>

/* In memory that front and supervisor share; for status. */
struct front_counts {
	atomic_uint_fast64_t scanned, cached, octets, usec;
	atomic_uint_fast64_t kinds[8];   /* by enum virus_kind */
	atomic_uint_fast64_t crashed;    /* scans that ended their worker */
};

/* To the supervisor, a datagram each: "listening", "version ENGINE|SIGNATURES", "trouble TEXT" (empty: it is over).
 * From it: "generation" with a descriptor, "stop". */
NORETURN void front_main(struct program *pg, const struct virus_conf *conf, struct front_counts *counts, int supervisor);

#endif
