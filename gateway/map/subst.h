/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * subst.h - the result of a pattern rule: text with $1, ${1}, $(1) for what a group matched and $$ for "$". Pure.
 * Parsed once; facts 6.2.
 */
#ifndef MAP_SUBST_H
#define MAP_SUBST_H

#include "base/arena.h"
#include "base/buf.h"

enum { SUBST_GROUPS = 100 };         /* $1 to $99; 0 is the whole match, which has no name */

struct subst_part {
	struct span text;
	unsigned group;              /* 0: the text */
};

struct subst {
	struct subst_part *parts;
	size_t count;
	unsigned most;               /* greatest group; 0: plain text, in parts[0] (count 0: empty) */
};

/* Parts and text live in the arena. RC_PERM: what is wrong with it. */
enum rc subst_parse(struct span text, struct arena *a, struct subst *out, struct err *e) MUST_CHECK;
/* Appends to out. groups[n] is what group n matched, empty if it took no part; those from count on are empty. */
void subst_put(const struct subst *s, const struct span *groups, size_t count, struct buf *out);

#endif
