/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * holding.h - is this message, or a recipient of it, for the quarantine, and why? What restrictions, checks and filters said of
 * it on the way, for the people who look at it there.
 *
 * Marks only ever come. Of several reasons the class decides that is stronger (virus, attachment, unscanned, milter, content,
 * policy), among equals the first. Texts are copied, made clean and cut. A message that is not held costs nothing but the notes
 * of what was unusual about it; everything else is put together in holding_write(), when it is held.
 */
#ifndef SMTP_HOLDING_H
#define SMTP_HOLDING_H

#include "base/arena.h"
#include "msg/held.h"

struct sess;
struct tx;

/* Spans are borrowed for the call; empty ones are left out. */
struct hold_why {
	enum held_class class;
	struct span reason;          /* for people */
	struct span filter;          /* milter or parameter */
	struct span rule;            /* restriction, pattern or rule of a filter */
	struct span signature;       /* of a virus */
	struct span score;           /* as the filter said it */
};

enum { HOLDING_PERMITS = 4 };

/* In the tx. */
struct holding {
	enum held_class class;       /* of texts; HELD_NONE: nobody is held */
	bool all;                    /* every recipient is */
	bool next;                   /* the recipient of the RCPT at hand is, if it is accepted */
	bool some;                   /* a recipient that was accepted is */
	struct span reason, filter, rule, signature, score; /* in tx->arena */
	struct holding_note *notes, **notes_end;            /* in tx->arena, in order */
	size_t notes_bytes;
	struct { const char *list, *rule; } permits[HOLDING_PERMITS]; /* what let recipients through, each once */
	unsigned npermits;
	struct holding_look *look;   /* heap; what the content says, when it is held */
	struct holding_look *first;  /* the same of the message as it came, when that is kept beside it */
};

/* The whole message. Who was accepted and who will be. */
void tx_hold_all(struct tx *tx, const struct hold_why *why);
/* The recipient whose RCPT is being asked about, and no other. */
void tx_hold_rcpt(struct tx *tx, const struct hold_why *why);
/* RCPT begins: no mark of the one before is left. */
void tx_hold_forget_rcpt(struct tx *tx);
/* Is anything of it to be held? */
bool tx_is_held(const struct tx *tx);

/* One line for the trace, "where: what: text"; what is over HELD_TRACE_MAX is left out. where: "RCPT", a milter's name, ...;
 * what: "reject_warning", "quarantine", ...; NULL: none. */
void tx_note(struct tx *tx, const char *where, const char *what, struct span text);
/* A list permitted. Both are as in a verdict; they live as long as the policy. */
void tx_note_permit(struct tx *tx, const char *list, const char *rule);

void holding_fini(struct holding *h);

/* The block for the envelope (msg/held.h), when tx_is_held(). */
void holding_write(struct sess *s, struct buf *out);

#endif
