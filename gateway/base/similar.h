/* SPDX-License-Identifier: BSD-2-Clause */
/* similar.h - how far two words are apart, for "did you mean". */
#ifndef BASE_SIMILAR_H
#define BASE_SIMILAR_H

#include "base/span.h"

/* Insertions, deletions, replacements and swaps of neighbours that make one of the other, without case; UINT_MAX
 * for words too long to compare. */
unsigned similar_distance(struct span a, struct span b);
/* Keeps the nearer of *best (NULL: none yet) and candidate; only words near enough to be a slip count. */
void similar_try(struct span word, const char *candidate, const char **best, unsigned *best_distance);

#endif
