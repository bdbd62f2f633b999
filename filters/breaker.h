/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * breaker.h - whether a server that failed again and again is still asked. Pure: time is an argument.
 *
 * After `limit` failures in a row it is open: nobody asks. From every `pause` on one may try (breaker_try); a success at
 * the stage that failed, or behind it, closes it. A success before that stage says nothing: a server that answers the
 * greeting and hangs at the end of each message would close it for ever.
 */
#ifndef FILTERS_BREAKER_H
#define FILTERS_BREAKER_H

#include "base/base.h"

struct breaker {
	unsigned limit;              /* 0: never opens */
	uint64_t pause;              /* usec */
	unsigned failures;           /* in a row */
	unsigned stage;              /* the furthest that failed since the last success */
	bool is_open;
	uint64_t since;              /* open */
	uint64_t next_try;
	uint64_t skipped;            /* not asked while it was open */
	char why[160];
};

void breaker_init(struct breaker *b, unsigned limit, uint64_t pause);
/* May it be asked now? When it is open, true once in each pause. */
bool breaker_try(struct breaker *b, uint64_t now);
/* True: it has just opened. stage: how far it came, higher is further. */
bool breaker_failed(struct breaker *b, unsigned stage, const char *why, uint64_t now);
/* True: it has just closed. */
bool breaker_worked(struct breaker *b, unsigned stage);

#endif
