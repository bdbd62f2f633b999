/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * examine.h - from a message to a verdict: the cache, the engine that is configured, its breaker, and contents that no engine survives.
 * Any thread of the front.
 */
#ifndef VIRUS_EXAMINE_H
#define VIRUS_EXAMINE_H

#include "filters/virus/front.h"
#include "filters/virus/pool.h"

struct judgement {
	struct virus_verdict verdict;
	struct virus_version version;    /* it was found with; empty: unknown */
	bool is_cached;
};

/* trouble(text): the engine cannot be reached, or (empty) it can again; from any thread. */
void examine_init(const struct virus_conf *conf, struct front_counts *counts, void (*trouble)(const char *text),
    void (*version)(const struct virus_version *v));
void examine(const struct scan_job *job, struct judgement *out);
/* clamd: once a second, from one thread: is it there, did its signatures change? */
void examine_tick(void);

#endif
