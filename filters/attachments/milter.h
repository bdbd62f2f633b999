/* SPDX-License-Identifier: BSD-2-Clause */
/* milter.h - dogana-attachments as a milter: gathers a message, has it read, does what the answer says. Runs in libmilter's threads. */
#ifndef ATTACHMENTS_MILTER_H
#define ATTACHMENTS_MILTER_H

#include "filters/attachments/pool.h"
#include "map/matchlist.h"

struct milter_settings {
	struct pool *pool;
	const struct judge *judge;
	struct matchlist *mynetworks;    /* clients there send outbound mail; asked under a lock of ours */
	uint64_t memory_limit;           /* octets of all messages at hand */
};

/* Before smfi_opensocket(). */
enum rc milter_register(void) MUST_CHECK;
/* Before smfi_main(); what s points to is kept. */
void milter_use(const struct milter_settings *s);

/* Until no message has been here for a moment. New ones go elsewhere: who stops us takes the socket away. */
void milter_drain(void);

/* Members of a JSON object for status: what has been done so far. */
void milter_counts(struct buf *out);

#endif
