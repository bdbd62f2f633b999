/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ask.h - what an administrator asks of the quarantine: from the words of a command line, to a request line and back.
 *
 * The command reads its words with ask_args(), says what is wrong with them, and writes the line with ask_put(); the queue reads it
 * with ask_get(), which believes nothing: both end in the same checks. On the line every value is NAME=xtext, so no value
 * can end or split it. Rows: asks.def. Pure.
 *
 * Ids are queue ids: letters and digits, nothing that could be a path, an option or an escape.
 */
#ifndef QUARANTINE_ASK_H
#define QUARANTINE_ASK_H

#include "quarantine/store.h"

enum ask_kind {
	ASK_KIND_NONE = 0,
#define ASK(name, words, options, ids, synopsis, doc) ASK_##name,
#include "quarantine/asks.def"
#undef ASK
	ASK_KINDS
};

enum ask_option {
	OPT_SINCE, OPT_UNTIL, OPT_SENDER, OPT_RECIPIENT, OPT_SUBJECT, OPT_REASON, OPT_CLIENT, OPT_TEXT, OPT_ATTACHMENT, OPT_STATE, /* filters */
	OPT_JSON, OPT_LIMIT, OPT_AFTER, OPT_TO, OPT_AS_ATTACHMENT, OPT_SENDER_ONLY, OPT_PAIR, OPT_REPAIR,
	OPT_SUDO,                /* not of a command line: whom sudo let be root, says the command */
	ASK_OPTIONS
};

enum {
	ASK_VALUE_MAX = 1024,    /* octets of a value */
	ASK_IDS_MAX = 10000,
	ASK_LINE_MAX = 200 * 1024,
	ASK_ID_MIN = 6,
};

struct ask {
	enum ask_kind kind;
	unsigned given;          /* bit per enum ask_option */
	uint64_t since, until;   /* wall clock, usec: since <= t < until */
	struct span sender, recipient, subject, client, text, attachment, to, sudo;
	enum held_class reason;
	enum quar_state state;   /* QUAR_HELD when not given; QUAR_NONE: all */
	uint64_t limit, after;
	bool all;                /* ALL in the place of ids */
	uint32_t nids;
	struct span *ids;        /* of ADDRESS: one, the sender */
};

static inline bool
ask_has(const struct ask *a, enum ask_option o)
{
	return (a->given & 1u << o) != 0;
}

/* Words behind "quarantine", as a shell gave them. Spans point into argv, ids into the arena. RC_PERM: the reason is for
 * the one who typed. now: wall clock. */
enum rc ask_args(int argc, char **argv, uint64_t now, struct arena *arena, struct ask *out, struct err *e) MUST_CHECK;
/* Whom sudo let be root; what is no plain text is left out. Kept by reference. */
void ask_says_sudo(struct ask *a, struct span user);
/* Appends "quarantine ...", without an end of line. */
void ask_put(struct buf *line, const struct ask *a);
/* What follows "quarantine". Spans point into the arena. RC_PERM with the reason. */
enum rc ask_get(struct span line, struct arena *arena, struct ask *out, struct err *e) MUST_CHECK;

/* "list", "allow remove" */
const char *ask_words(enum ask_kind k);
/* For usage and the man page: rows from 1 to ASK_KINDS - 1. */
const char *ask_synopsis(enum ask_kind k);
const char *ask_doc(enum ask_kind k);
bool ask_id_valid(struct span id);
/* The filter of the store; spans are those of the request. limit: of a page. */
void ask_filter(const struct ask *a, uint32_t limit, struct quar_filter *out);

#endif
