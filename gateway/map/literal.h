/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * literal.h - text that every key must hold that an expression can match. Pure.
 *
 * Careful, not clever: what it does not understand gives no literals, and then the expression must be tried.
 */
#ifndef MAP_LITERAL_H
#define MAP_LITERAL_H

#include "base/arena.h"
#include "map/pattern.h"

enum { LITERAL_MIN = 3, LITERAL_MAX = 64, LITERALS_MAX = 16 };

/* One literal (lower case, ASCII, LITERAL_MIN to LITERAL_MAX octets, in the arena) for each alternative of the
 * expression: a key in ASCII that holds none of them, whatever its case, is not matched. 0: cannot say. */
size_t literals_find(struct span regex, enum pattern_flavour flavour, unsigned flags, struct arena *a, struct span out[LITERALS_MAX]);

#endif
