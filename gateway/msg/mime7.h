/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mime7.h - content with 8-bit octets for a hub without 8BITMIME (RFC 6152 3): parts that say 8bit or binary become
 * quoted-printable, multiparts and messages around them say 7bit. Everything else stays octet for octet.
 *
 * As Postfix does it: what does not say that it is 8-bit (no Content-Transfer-Encoding, or a false one) is not touched, nor are the
 * header of the message and what stands between parts. Not looked into: message/partial and other messages that must not
 * be encoded, multiparts without a usable boundary, and what is nested deeper than MIME7_DEPTH_MAX. Works on whatever pieces arrive;
 * lines of any length. Pure but for its memory, which is bounded. Input has CRLF line ends.
 */
#ifndef MSG_MIME7_H
#define MSG_MIME7_H

#include "base/buf.h"

enum {
	MIME7_DEPTH_MAX = 50,
	MIME7_BOUNDARY_MAX = 200,    /* RFC 2046 allows 70 */
	MIME7_LINE_MAX = 1024,       /* a line that long is no boundary */
	MIME7_FIELD_MAX = 16 * 1024, /* of a Content-Type; a longer one is not understood */
};

enum mime7_state { MIME7_HEADER = 0, MIME7_COPY, MIME7_ENCODE };
enum mime7_cte { CTE_NONE = 0, CTE_7BIT, CTE_8BIT, CTE_BINARY, CTE_OTHER };
enum mime7_field { FIELD_OTHER = 0, FIELD_TYPE, FIELD_CTE };

struct mime7 {
	struct buf line;             /* of the input, not looked at yet */
	bool in_line;                /* its beginning was: what follows belongs to it */
	enum mime7_state state;
	/* the header at hand */
	struct buf field;            /* a Content-Type or Content-Transfer-Encoding */
	enum mime7_field kind;
	enum mime7_cte cte;
	bool has_type, is_lost;      /* a Content-Type was there; one that was too long */
	struct buf type;             /* the first Content-Type: its value */
	bool default_message;        /* in a multipart/digest */
	/* quoted-printable */
	unsigned col;
	int held;                    /* a blank that may stand at the end of its line; -1: none */
	/* multiparts around it */
	unsigned depth;
	struct {
		unsigned char n, text[MIME7_BOUNDARY_MAX];
		bool is_digest;
	} stack[MIME7_DEPTH_MAX];
};

/* Octets that putting n octets can give at most, with what was kept back before. */
#define MIME7_GROWTH(n) (4 * ((n) + MIME7_LINE_MAX) + MIME7_FIELD_MAX + 200)

void mime7_init(struct mime7 *m);
void mime7_fini(struct mime7 *m);                /* usable again after mime7_init */
void mime7_put(struct mime7 *m, struct buf *out, struct span in);
void mime7_end(struct mime7 *m, struct buf *out);

#endif
