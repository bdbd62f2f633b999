/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire.h - what is said to and by servers of tcp and socketmap tables. Facts 6.4. Pure.
 *
 * A reply may come in pieces: ask again with more. Every byte of one is from outside.
 */
#ifndef LOOKUP_WIRE_H
#define LOOKUP_WIRE_H

#include "base/buf.h"

enum { WIRE_TCP_LINE_MAX = 4096 };

struct wire_reply {
	enum rc rc;                  /* RC_OK: text is the value; RC_TEMP, RC_PERM: it is the server's reason */
	size_t used;                 /* bytes of the input */
};

/* "get KEY\n", escaped. */
void wire_tcp_request(struct buf *out, struct span table, struct span key);
/* "N:TABLE KEY,". */
void wire_socketmap_request(struct buf *out, struct span table, struct span key);

/* RC_OK: a whole reply, text in text_out (reset before). RC_NONE: not all of it is there. RC_PERM: this is no reply, or
 * one longer than max (bytes of its contents). */
enum rc wire_tcp_reply(struct span in, size_t max, struct buf *text_out, struct wire_reply *out, struct err *e) MUST_CHECK;
enum rc wire_socketmap_reply(struct span in, size_t max, struct buf *text_out, struct wire_reply *out, struct err *e) MUST_CHECK;

#endif
