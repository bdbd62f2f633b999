/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * clamd.h - clamd as the engine: INSTREAM over its socket, with time-outs, and believed in one case only: the reply is complete,
 * well formed, and came after everything was sent. Everything else is "not scanned".
 */
#ifndef VIRUS_CLAMD_H
#define VIRUS_CLAMD_H

#include "filters/virus/scan.h"
#include "filters/virus_conf.h"

void clamd_init(const struct virus_conf *conf);
/* SCAN_DONE, or SCAN_AWAY: it was not scanned. A connection of its own; when there are many, in line for up to virus_wait_time. */
void clamd_scan(struct scan *s);

/* Is it there, and with which signatures? */
struct clamd_question {
	struct op op;                /* RC_OK: version; RC_TEMP: why */
	struct virus_version version;
	struct err why;
};
void clamd_ask_version(struct clamd_question *q);

#endif
