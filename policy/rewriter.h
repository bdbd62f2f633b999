/* SPDX-License-Identifier: BSD-2-Clause */
/* rewriter.h - the inside of rewrite.h, for policy/rewrite*.c. */
#ifndef POLICY_REWRITER_H
#define POLICY_REWRITER_H

#include "base/htab.h"
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

/* ---- one rewrite_envelope() ---- */

enum { REWRITE_ALIAS_DEPTH = 100, REWRITE_VALUE_MAX = 256 * 1024 };

/* A recipient on its way. */
struct given {
	struct span orig, orcpt;
	uint8_t notify;
	bool held;                   /* for the quarantine; so is whatever becomes of it */
};

/* A row of recipients that finds each; heap, texts and nodes in the arena. */
struct seen {
	struct env_rcpt *rcpt;
	uint32_t n, cap;
	struct htab by_hash;         /* of those that another may be a duplicate of */
};

/* Texts that were there already; in the arena. */
struct text {
	struct hnode by_hash;
	struct span text;
	bool gave;                   /* a list: there was something in it that counts as delivered to */
};

struct textset {
	struct htab by_hash;
	bool exact;                  /* otherwise in any case of letters */
};

struct work {
	const struct rewriter *w;
	const struct envelope *in;
	const struct rewrite_extra *x;
	struct arena *a;
	struct seen out;             /* the recipients */
	uint32_t group;              /* 0, or which local recipient is being expanded: its mail is sent on by itself */
	struct seen local;           /* those that are sent to aliases: given twice, they are expanded once */
	struct textset expanded;     /* of the local recipient at hand: aliases that were, as addresses */
	struct textset forwarded;    /* ... addresses that aliases gave */
	struct textset lists;        /* ... files that were read, or are being read */
	size_t reached;              /* destinations of aliases that were dealt with */
	struct resolved *res;        /* heap; of the address being looked at */
	bool waits;                  /* for a table: this try only finds out what is to be asked */
	struct err *e;
};

/* The aliases an alias is being expanded for. */
struct chain {
	const struct chain *up;
	struct span addr;
	unsigned depth;
};

/* rewrite_envelope.c: one of several things came to one: into *rc unless it is RC_OK. Are the others to be done, too? Also when a
 * table has to be waited for: the questions leave together, and not each after the answer to the one before. */
bool rewrite_goes_on(struct work *k, enum rc one, enum rc *rc);
/* rewrite_place.c: a recipient in its final form, unless an alias of the local class says more. chain NULL: not from an alias. */
enum rc rewrite_place(struct work *k, const struct given *g, struct span addr, const struct chain *chain) MUST_CHECK;
/* The same when aliases are out of the question; duplicates are dropped. */
enum rc rewrite_emit(struct work *k, const struct given *g, struct span addr) MUST_CHECK;
/* Somebody asking for a success report is told "expanded", and not by the destinations: changes g. */
enum rc rewrite_say_expanded(struct work *k, struct given *g, struct span addr) MUST_CHECK;
/* rewrite_virtual.c: virtual aliases, then rewrite_place(). */
enum rc rewrite_virtual(struct work *k, const struct given *g, struct span addr, const struct chain *chain) MUST_CHECK;
/* rewrite_envelope.c: canonical, masquerade, virtual aliases. final_out: after the first two; it is what counts as given when
 * nobody gave it. */
enum rc rewrite_take(struct work *k, const struct given *g, struct span addr, const struct chain *chain, struct span *final_out) MUST_CHECK;

/* rewrite_seen.c: the same recipient, given the same way with the same options, gets one copy. */
bool seen_has(const struct work *k, const struct seen *l, const struct given *g, struct span addr);
/* One more, a copy of addr in the arena. RC_PERM: that is full. */
enum rc seen_add(struct work *k, struct seen *l, const struct given *g, struct span addr) MUST_CHECK;
void seen_fini(struct seen *l);
/* NULL: it is not there. */
struct text *textset_find(const struct textset *s, struct span text);
/* One that is not there yet, a copy. NULL: the arena is full. */
struct text *textset_add(struct work *k, struct textset *s, struct span text) MUST_CHECK;
/* Empty, and without memory of its own. */
void textset_clear(struct textset *s);

#endif
