/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * regex.h - one compiled expression: PCRE2, or the C library's POSIX expressions. Facts 6.2.
 *
 * Compiled to machine code when it is first used, where the system lets us. What one match may cost is limited, so a
 * key made for it cannot burn a processor: past the limit a match is RC_TEMP, which is not "does not match".
 */
#ifndef MAP_REGEX_H
#define MAP_REGEX_H

#include "map/pattern.h"

struct regex;

/* utf8: keys are text in UTF-8 (what is not matches as far as it is). RC_PERM: why it is no expression. */
enum rc regex_compile(enum pattern_flavour flavour, struct span text, unsigned flags, bool utf8, struct regex **out, struct err *e) MUST_CHECK;
void regex_free(struct regex **rp);              /* NULL inside is fine */
unsigned regex_groups(const struct regex *r);    /* without the whole match */
/* RC_OK: matches, and groups[0] to groups[n - 1] say where (into key; empty: took no part). n may be 0.
 * RC_NONE: does not. RC_TEMP: cannot say. */
enum rc regex_match(struct regex *r, struct span key, struct span *groups, size_t n, struct err *e) MUST_CHECK;

#endif
