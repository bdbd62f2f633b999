/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * partsum.h - size and SHA-256 of a part of a held message, decoded: in pieces, bounded memory, pure.
 *
 *	part_sum_init(&s); for each part: part_sum_begin(&s, part.how); part_sum_put(&s, piece) ...; part_sum_end(&s, &part); part_sum_fini(&s);
 */
#ifndef MSG_PARTSUM_H
#define MSG_PARTSUM_H

#include "msg/held.h"
#include "msg/words.h"

struct part_sum {
	/* private */
	struct decode decode;
	struct buf decoded;
	uint64_t size;
	void *digest;
};
void part_sum_init(struct part_sum *s);
void part_sum_begin(struct part_sum *s, unsigned how);
/* Any number of octets; the part's, from p->at on. */
void part_sum_put(struct part_sum *s, struct span in);
/* Sets size, sha256, is_summed. */
void part_sum_end(struct part_sum *s, struct held_part *p);
void part_sum_fini(struct part_sum *s);

#endif
