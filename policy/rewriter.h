/* SPDX-License-Identifier: BSD-2-Clause */
/* rewriter.h - the inside of rewrite.h, for policy/rewrite*.c. */
#ifndef POLICY_REWRITER_H
#define POLICY_REWRITER_H

#include "policy/alias.h"
#include "policy/mapping.h"
#include "policy/rewrite.h"

/* Words of propagate_unmatched_extensions. */
enum { PROPAGATE_CANONICAL = 1, PROPAGATE_VIRTUAL = 2, PROPAGATE_ALIAS = 4, PROPAGATE_FORWARD = 8, PROPAGATE_INCLUDE = 16, PROPAGATE_GENERIC = 32 };
/* The bits; unknown words are an error in the configuration. */
unsigned propagate_words(struct conf *c, const struct service *s, bool *bad_out);

struct masquerade {
	struct span domain;          /* lower case */
	bool keep;                   /* "!domain" */
};

struct rewriter {
	struct conf *conf;
	const struct params *p;
	const struct address_book *book;
	struct map_list *sender_canonical, *rcpt_canonical, *canonical, *sender_bcc, *rcpt_bcc, *virtual_alias;
	unsigned sender_classes, rcpt_classes, canonical_classes, masquerade_classes; /* 1 << enum rewrite_class */
	struct masquerade *masquerade;
	size_t nmasquerade;
	char *masquerade_text;
	struct matchlist *exceptions;
	unsigned propagate;
	bool no_mappings;            /* receive_override_options = no_address_mappings */
	struct aliases *aliases;     /* NULL: none */
};

#endif
