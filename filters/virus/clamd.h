/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * clamd.h - clamd as the engine: INSTREAM over its socket, with time-outs, and believed in one case only: the reply is complete,
 * well formed, and came after everything was sent. Everything else is "not scanned".
 */
#ifndef VIRUS_CLAMD_H
#define VIRUS_CLAMD_H

#include "filters/virus_conf.h"
#include "filters/virus/pool.h"
#include "filters/virus/verdict.h"

/* Any thread. RC_OK: *out; RC_TEMP: it was not scanned, e says why. */
enum rc clamd_scan(const struct virus_conf *conf, const struct scan_job *job, struct virus_verdict *out, struct err *e) MUST_CHECK;
/* Is it there, and with which signatures? */
enum rc clamd_ask_version(const struct virus_conf *conf, struct virus_version *out, struct err *e) MUST_CHECK;

#endif
