/* SPDX-License-Identifier: BSD-2-Clause */
/* headermap.h - changes addresses in the headers that have some: takes each apart, asks, writes anew those that change. */
#ifndef MSG_HEADERMAP_H
#define MSG_HEADERMAP_H

#include "msg/headers.h"
#include "msg/mailboxes.h"

/* What becomes of an address of a header with these flags (HN_SENDER or HN_RCPT). *out: internal form, into scratch or anywhere
 * that lives until the next call; p NULL: it stays. RC_TEMP: cannot be said now. */
typedef enum rc header_map_fn(void *arg, unsigned flags, const struct mailbox *box, struct buf *scratch, struct span *out, struct err *e);

/* All headers of h. Every address is asked for, also behind one that has to wait, so that questions leave together. RC_TEMP: h
 * is not to be used. RC_PERM: more than max_tokens in a header, or it grows too long: that one stays, the others are done, and none
 * of them had to wait. */
enum rc headers_map(struct headers *h, size_t max_tokens, header_map_fn *fn, void *arg, struct err *e) MUST_CHECK;

#endif
