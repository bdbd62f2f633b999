/* SPDX-License-Identifier: BSD-2-Clause */
/* attachment_rules_private.h - the inside of compiled rules: what attachment_rules.c makes and attachment_ask.c reads. */
#ifndef FILTERS_ATTACHMENT_RULES_PRIVATE_H
#define FILTERS_ATTACHMENT_RULES_PRIVATE_H

#include "filters/attachment_rules.h"
#include "map/map.h"
#include "map/matchlist.h"
#include "map/regex.h"

enum attachment_cond_kind {
	COND_NAME = 1,
	COND_EXTENSION,
	COND_TYPE,
	COND_REAL,
	COND_WHERE,
	COND_LARGER,
	COND_SMALLER,
	COND_ENCRYPTED,
	COND_DECEPTIVE,
	/* about the envelope */
	COND_DIRECTION,
	COND_SENDER,
	COND_RECIPIENT,
};

struct attachment_word {
	struct span text;            /* a pattern, an extension; lower case where case does not count */
	struct regex *regex;         /* in its place */
};

struct attachment_cond {
	enum attachment_cond_kind kind;
	bool negated;
	struct attachment_word *words;
	size_t nwords;
	uint64_t bits;               /* kinds, places; size; direction: 1 outbound, 0 inbound */
	struct map_list *table;      /* of extensions */
	struct matchlist *domains;
	bool has_null;               /* "<>" among the senders */
};

struct attachment_rules {
	struct arena arena;
	struct attachment_rule *rules;
	size_t n;
};

#endif
