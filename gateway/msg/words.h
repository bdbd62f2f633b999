/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * words.h - what header fields say, for people: encoded words (RFC 2047) and parameters (RFC 2231, 2045) as clean UTF-8.
 *
 * Pure, bounded, linear; as lenient as mail clients are. What comes out has no control character (attack E07), no malformed UTF-8 and
 * nothing that turns the direction of text; what cannot be read (an unknown character set) stays as it was written.
 */
#ifndef MSG_WORDS_H
#define MSG_WORDS_H

#include "base/buf.h"

enum { WORDS_IN_MAX = 8192 };    /* octets of a field that are looked at */

/* Appends the text of a field, folded or not, at most max octets. */
void words_decode(struct buf *out, struct span text, size_t max);
/* Appends the value of the parameter name ("filename") of a structured field's value, at most max octets; false: it has none. The form of RFC 2231
 * is taken before the plain one; encoded words in quotes are decoded, as many clients write them. */
bool words_param(struct buf *out, struct span field, const char *name, size_t max);
/* Appends octets of a character set as UTF-8, not cleaned. false: unknown set, nothing was appended. */
bool words_charset(struct buf *out, struct span charset, struct span octets);

/* ---- transfer encodings, in pieces ---- */

enum { DECODE_AS_IS = 0, DECODE_BASE64, DECODE_QP };
struct decode {
	unsigned how;            /* one of these */
	/* private */
	uint32_t bits;
	unsigned n;
	unsigned char kept[4];   /* QP: an escape, blanks or a line end that may not count */
	bool ended;
};
/* Appends what in says. What is no base64 is passed over; a broken escape stays as it is. */
void decode_put(struct decode *d, struct span in, struct buf *out);
void decode_end(struct decode *d, struct buf *out);

#endif
