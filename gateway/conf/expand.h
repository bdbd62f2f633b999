/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * expand.h - $name expansion (facts 1.2) over a name lookup of the caller.
 *
 * Pure but for the lookup. Limits: depth, steps and the size of the result, so that no text takes
 * more than a moment whatever it says.
 */
#ifndef CONF_EXPAND_H
#define CONF_EXPAND_H

#include "base/buf.h"

enum { EXPAND_MAX = 1 << 20, EXPAND_DEPTH = 100, EXPAND_STEPS = 100000 };

/* Gives the unexpanded text of a name; false: there is no such name. */
typedef bool expand_lookup_fn(void *arg, struct span name, struct span *raw_out);

/* Appends the expansion of raw to out. RC_PERM: syntax, loop or size; out then holds a part. */
enum rc expand_text(expand_lookup_fn *lookup, void *arg, struct span raw, struct buf *out, struct err *e) MUST_CHECK;

/* Calls fn for every name that raw mentions, taken branch or not. */
typedef void expand_name_fn(void *arg, struct span name);
void expand_names(struct span raw, expand_name_fn *fn, void *arg);

/* major[.minor[.patch]]; the rest is zero. RC_PERM: not such a text. */
enum rc expand_level(struct span text, uint64_t out[3]) MUST_CHECK;

#endif
