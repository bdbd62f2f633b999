/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mime7.h - content with 8-bit octets for a hub without 8BITMIME (RFC 6152 3): parts that say 8bit or binary become
 * quoted-printable, multiparts and messages around them say 7bit. Everything else stays octet for octet.
 *
 * As Postfix does it, on the same walker as everything else (mime.h): what does not say that it is 8-bit (no Content-Transfer-Encoding, or a
 * false one) is not touched, nor are the header of the message and what stands between parts. Not encoded: message/partial and other messages that
 * must not be, multiparts without a boundary, and what is nested deeper than MIME7_DEPTH_MAX. Works on whatever pieces arrive;
 * lines of any length. Pure but for its memory, which is bounded. Input has CRLF line ends.
 */
#ifndef MSG_MIME7_H
#define MSG_MIME7_H

#include "msg/mime.h"

enum {
	MIME7_DEPTH_MAX = 50,
	MIME7_BOUNDARY_MAX = 200,    /* RFC 2046 allows 70; what is longer is compared as far */
	MIME7_LINE_MAX = 1024,       /* a line is looked at in pieces of so many octets */
	MIME7_FIELD_MAX = 16 * 1024, /* of a Content-Type; a longer one is not understood */
};

enum mime7_cte { CTE_NONE = 0, CTE_7BIT, CTE_8BIT, CTE_BINARY, CTE_OTHER };

struct mime7 {
	struct mime_reader reader;
	bool encodes;                /* the body at hand */
	/* the header block at hand */
	enum mime7_cte cte;
	bool is_lost;                /* a Content-Type was too long */
	unsigned depth;              /* multiparts around it */
	/* quoted-printable */
	unsigned col;
	int held;                    /* a blank that may stand at the end of its line; -1: none */
};

/* Octets that putting n octets can give at most, with what was kept back before. */
#define MIME7_GROWTH(n) (4 * ((n) + 2 * MIME7_LINE_MAX) + MIME7_FIELD_MAX + 200)

void mime7_init(struct mime7 *m);
void mime7_fini(struct mime7 *m);                /* usable again after mime7_init */
void mime7_put(struct mime7 *m, struct buf *out, struct span in);
void mime7_end(struct mime7 *m, struct buf *out);

#endif
