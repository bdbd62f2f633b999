/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mailboxes.h - the addresses in the value of a header such as To: RFC 5322 3.4 with its obsolete forms (routes,
 * comments and blanks between the parts, nothing between two commas), one pass, in time linear in the input.
 *
 * Made for changing addresses without ever joining or splitting what the author wrote. A list whose ends cannot be
 * told for certain (an open quote, comment, bracket or group) is not understood as a whole; one element that is no
 * address is kept byte for byte and its neighbours are still understood. Nothing is written unless the caller found an
 * address that changes; then the list is written anew, folded as Postfix folds, the words, quotes and
 * comments around the addresses as they were. Pure. Attacks E01, E02, E04.
 */
#ifndef MSG_MAILBOXES_H
#define MSG_MAILBOXES_H

#include "base/arena.h"
#include "base/buf.h"

enum { MAILBOX_MAX = 998 };    /* octets of an address; what is longer is none */

struct mailbox {
	struct span text;        /* as it stands, without the blanks around it; empty: nothing was there */
	struct span spec;        /* of text: the address with its route; empty: none */
	struct span addr;        /* spec in internal form: local@domain or local; empty: none */
	struct span becomes;     /* set by the caller: internal form that takes its place; p NULL: it stays */
	unsigned char after;     /* what ends it: ',' ':' (it names a group) ';' (the group ends), 0: the end of the list */
	bool has_route, has_dot; /* spec has a route in front, a dot behind its domain, that addr has not */
	bool is_opaque;          /* no address that we understand: stays byte for byte */
};

struct mailboxes {
	struct mailbox *item;
	size_t n;
};

/* value: what follows the colon, folded or not. RC_NONE: not understood, leave it as it is. RC_PERM: more than
 * max_tokens, or than the arena takes. Spans point into value and the arena. */
enum rc mailboxes_parse(struct span value, size_t max_tokens, struct arena *a, struct mailboxes *out) MUST_CHECK;

/* May stand in a header: a local part, or local@domain, that would be read again as what it is. */
bool mailbox_can_write(struct span addr);

/* Appends "name: list CRLF" with every address that becomes another one. */
void mailboxes_write(struct buf *b, struct span name, const struct mailboxes *l);

#endif
