/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * examine.h - from a message to a verdict: the cache, the engine that is configured, its breaker, and contents that no engine survives.
 *
 *	examination_init(&s->examination, &s->ops, examined);
 *	examine(&s->examination, message, hash);     examined() runs from the loop: said is there
 *	examination_fini(&s->examination);           nobody comes back; idempotent
 */
#ifndef VIRUS_EXAMINE_H
#define VIRUS_EXAMINE_H

#include "filters/virus/cache.h"
#include "filters/virus/front.h"
#include "filters/virus/scan.h"

struct judgement {
	struct virus_verdict verdict;
	struct virus_version version;    /* it was found with; empty: unknown */
	bool is_cached;
};

struct examination {
	struct op op;
	struct judgement said;
	/* private */
	struct op_owner ops;
	struct scan scan;
	uint64_t before;                 /* version when it began */
	bool has_hash;
	unsigned char hash[CONTENT_HASH];
};

/* trouble(text): the engine cannot be reached, or (empty) it can again. */
void examine_init(const struct virus_conf *conf, struct front_counts *counts, void (*trouble)(const char *text),
    void (*version)(const struct virus_version *v));
/* Is it of use to know the hash of a message? */
bool examine_wants_hash(void);

void examination_init(struct examination *x, struct op_owner *owner, op_fn *done);
/* message: borrowed until it is done. hash: SHA-256 of it, NULL: found when it is needed. */
void examine(struct examination *x, struct span message, const unsigned char *hash);
void examination_fini(struct examination *x);

#endif
