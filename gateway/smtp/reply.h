/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reply.h - what the SMTP server says: rows of replies.def, written as one line of at most 512 octets.
 *
 * Everything that is put in for %s comes out printable (UTF-8 is kept) and cut; a reply never has more
 * lines than its row.
 */
#ifndef SMTP_REPLY_H
#define SMTP_REPLY_H

#include "base/buf.h"

enum reply_id {
#define REPLY(name, code, enhanced, text, doc) REPLY_##name,
#include "smtp/replies.def"
#undef REPLY
	REPLY_COUNT
};

enum { REPLY_LINE_MAX = 510 };   /* octets of a line, CRLF not counted: RFC 5321 4.5.3.1.5 */

struct reply_args {
	const char *myhostname;  /* %h */
	struct span client;      /* %c */
	struct span client_addr; /* %a */
	struct span text;        /* %s */
	uint64_t number;         /* %n */
};

unsigned reply_code(enum reply_id id);
const char *reply_enhanced(enum reply_id id);
/* Appends "250 2.0.0 Ok" without CRLF; code overrides the row's when it is not 0 (its class must be the same). */
void reply_write(struct buf *b, enum reply_id id, unsigned code, const struct reply_args *args);

/* soft_bounce: "550 5.x.y" from the offset on becomes "450 4.x.y". */
void reply_soften(struct buf *b, size_t from);
/* A reply of one or more lines, "\n" between them, each with its code. */
void reply_write_lines(struct buf *out, struct span reply);

#endif
