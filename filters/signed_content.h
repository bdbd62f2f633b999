/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * signed_content.h - what was signed together with its signature in one (CMS SignedData in BER, RFC 5652 5: smime.p7m,
 * "contract.pdf.p7m").
 *
 * Mail clients show it as a message or a file whoever has signed it, if anybody. Lengths of what is entered are not believed, so
 * only what stands before the content has to be understood. Pure.
 */
#ifndef FILTERS_SIGNED_CONTENT_H
#define FILTERS_SIGNED_CONTENT_H

#include "base/buf.h"

/* The content behind what is in out. RC_NONE: data is no such thing, or the signature of something that is elsewhere; RC_PERM: it
 * cannot be read. */
enum rc signed_content(struct span data, struct buf *out) MUST_CHECK;

#endif
