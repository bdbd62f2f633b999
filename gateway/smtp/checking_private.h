/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * checking_private.h - what the files of checking.h share: header and body (checking.c), what an action does and the log says of it
 * (checking_act.c), headers of milters (checking_milter.c).
 */
#ifndef SMTP_CHECKING_PRIVATE_H
#define SMTP_CHECKING_PRIVATE_H

#include "smtp/checking.h"
#include "smtp/session.h"

struct checking {
	struct mime mime;
	bool is_open;
	bool is_stopped;             /* no table is asked any more */
	bool skips_rest;             /* what a long header has beyond its limit goes, too */
	bool has_item;               /* item: told, not dealt with: a table has to be waited for */
	struct mime_item item;
	struct buf key, scratch;
	unsigned code;
	struct span reply;           /* in the transaction's arena */
};

/* checking_act.c: everything but what the action does to the text. prefix: of its name in the log; class: "header", "body", ... */
void checking_act(struct sess *s, const struct check_verdict *v, const char *prefix, const char *class, struct span what);
/* Once in a message each: MIME that is too deep, 8-bit where there must be none, ... */
void checking_tell_fault(struct sess *s, const struct mime_item *it);
/* Does this verdict end the checks? */
bool checking_is_last(const struct check_verdict *v);

/* checking.c: what is looked up for a row; in it, or in key. */
struct span checking_row_key(const struct header *row, struct buf *key);

#endif
