/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire.h - content as it goes over SMTP, whatever it was before. Pure, a piece at a time.
 *
 * What comes out has no CR or LF outside CRLF (a stray one becomes a space, as Postfix does), no line of
 * more than line_max octets (longer ones go on behind CRLF and a space), with stuff no line that begins
 * with a single dot, and a CRLF at its end. Clean lines are copied as they are.
 */
#ifndef MSG_WIRE_H
#define MSG_WIRE_H

#include "base/buf.h"

struct wire {
	bool stuff;              /* for DATA; not for BDAT */
	size_t line_max;         /* 0: no limit */
	/* private */
	size_t col;              /* octets of the line so far */
	bool cr;                 /* the last octet was a CR, not written yet */
};

void wire_init(struct wire *w, bool stuff, size_t line_max);
void wire_put(struct wire *w, struct buf *out, struct span in);
void wire_end(struct wire *w, struct buf *out);
/* Would all of in, a whole content, go out unchanged? */
bool wire_is_clean(bool stuff, size_t line_max, struct span in);

#endif
