/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sums.h - sizes and sums of parts from a message's file, some octets at a time.
 *
 * The edge said where parts are: one that lies elsewhere, or over the one before, has none, and no octet is read twice.
 *
 *	sums_begin(&s, parts, n, length); while (sums_some(&s, fd, octets) == RC_OK && s.more) ...; sums_fini(&s);
 */
#ifndef QUARANTINE_SUMS_H
#define QUARANTINE_SUMS_H

#include "msg/partsum.h"

struct sums {
	bool more;
	/* private */
	struct held_part *parts;
	uint32_t n, i;                   /* parts; the one at hand */
	uint64_t content, behind, at;    /* octets; of parts that were read; read of the one at hand */
	bool in_part;
	struct part_sum sum;
	struct buf piece;
};

/* parts: borrowed, and get their sums; those that have one are left alone. content: octets of the message. */
void sums_begin(struct sums *s, struct held_part *parts, uint32_t n, uint64_t content);
/* Reads about so many octets more. RC_TEMP: it cannot be read; RC_PERM: the file is too short. */
enum rc sums_some(struct sums *s, int fd, uint64_t octets) MUST_CHECK;
void sums_fini(struct sums *s);                  /* idempotent; fine on zeroed memory */

#endif
