/* SPDX-License-Identifier: BSD-2-Clause */
/* segments.h - the journal segments queue lets relay read: number -> read-only descriptor. */
#ifndef DELIVER_SEGMENTS_H
#define DELIVER_SEGMENTS_H

#include "base/htab.h"

struct segments {
	struct htab by_id;
};

void segments_put(struct segments *s, uint64_t id, int fd);   /* fd is given; replaces an older one */
int segments_find(const struct segments *s, uint64_t id);     /* borrowed; -1: not known */
void segments_drop(struct segments *s, uint64_t id);          /* closes it; unknown numbers are fine */
void segments_clear(struct segments *s);

#endif
