/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pattern.h - one rule of a pcre or regexp table as text: "/pattern/flags result", "!", if and endif. Pure. Facts 6.2.
 */
#ifndef MAP_PATTERN_H
#define MAP_PATTERN_H

#include "base/span.h"

enum pattern_flavour { PATTERN_PCRE, PATTERN_REGEXP };
enum pattern_kind { PATTERN_MATCH, PATTERN_IF, PATTERN_ENDIF };

/* Each letter behind a pattern turns its flag over. */
enum {
	PATTERN_CASELESS = 1,        /* i: on unless given                                */
	PATTERN_MULTILINE = 2,       /* m                                                 */
	PATTERN_DOTALL = 4,          /* s: pcre only, on unless given                     */
	PATTERN_EXTENDED = 8,        /* x: pcre: white space in it means nothing; regexp: the modern syntax, on unless given */
	PATTERN_ANCHORED = 16,       /* A: pcre only, as the rest                         */
	PATTERN_DOLLAR_END = 32,     /* E */
	PATTERN_UNGREEDY = 64,       /* U */
};

struct pattern_rule {
	enum pattern_kind kind;
	bool negated;
	struct span regex;           /* into the line; empty for endif */
	unsigned flags;
	struct span result;          /* what follows, trimmed */
	const char *doubt;           /* worth a warning; NULL: nothing */
};

/* One logical line, or what stands in the braces of an inline table. RC_PERM: not a rule, with the reason. */
enum rc pattern_parse(struct span line, enum pattern_flavour flavour, struct pattern_rule *out, struct err *e) MUST_CHECK;

#endif
