/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rescan.h - mail that is held because the virus filter was away (virus_unavailable = hold-and-rescan) is shown to it again when it is
 * back: what is clean is released, what is infected is held as that, one message at a time, every virus_rescan_time.
 */
#ifndef QUEUE_RESCAN_H
#define QUEUE_RESCAN_H

#include "conf/conf.h"
#include "loop/loop.h"

struct queue;
struct rescan;

/* Behind quarantine_start(). c: virus_engine and virus_rescan_time; nothing is done without an engine. */
void rescan_start(struct queue *q, const struct conf *c);
void rescan_reload(struct queue *q, const struct conf *c);
/* Before quarantine_fini(). What is under way is done again after a restart. */
void rescan_fini(struct queue *q);

#endif
