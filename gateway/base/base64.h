/* SPDX-License-Identifier: BSD-2-Clause */
/* base64.h - RFC 4648 section 4, strictly: whole groups of four, padding only at the end, no white space, no spare bits set. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/buf.h"

/* Octets that n octets have when encoded. */
#define BASE64_LEN(n) (((n) + 2) / 3 * 4)

void base64_encode(struct buf *b, struct span s);
/* Appends what in says. RC_PERM: it is not base64; b may hold a part of it then. The empty text is the empty string. */
enum rc base64_decode(struct span in, struct buf *b) MUST_CHECK;

#endif
