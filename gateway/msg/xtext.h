/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xtext.h - xtext (RFC 3461 4): printable ASCII, with +XX for what is not, for '+' and for '='.
 *
 * ENVID and ORCPT stay encoded from the client to the report, so nothing decoded can break a record or
 * a header; they are decoded here only to be checked or shown.
 */
#ifndef MSG_XTEXT_H
#define MSG_XTEXT_H

#include "base/buf.h"

/* Well-formed xtext of at most max octets whose decoded form has no control character. Postfix lets a
 * bare '=' pass; so do we. */
bool xtext_is_valid(struct span s, size_t max);
/* Appends the decoded octets; RC_PERM: not xtext. */
enum rc xtext_decode(struct buf *b, struct span s) MUST_CHECK;
void xtext_encode(struct buf *b, struct span s);
/* "addr-type;xtext" as ORCPT gives it (RFC 3461 4.2). */
bool xtext_is_orcpt(struct span s, size_t max);

#endif
