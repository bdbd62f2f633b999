/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listing.h - how messages of the queue look to an administrator: mailq, postqueue -j, postcat, status.
 * Formats: facts 11.4 to 11.6. Writers only; who walks, and how fast, is requests.c.
 */
#ifndef QUEUE_LISTING_H
#define QUEUE_LISTING_H

#include "queue/queue.h"

/* Text of an address: quoted where needed, "MAILER-DAEMON" for none. */
void listing_address(struct buf *out, struct span internal);
enum { SHOWN_MAX = 1024 };       /* bytes of an address or a reason in a listing */

void listing_head(struct buf *out);
void listing_row(struct buf *out, const struct queue *q, const struct message *m);
void listing_tail(struct buf *out, uint64_t count, uint64_t bytes);
void listing_json(struct buf *out, const struct queue *q, const struct message *m);
/* All that is known about one. */
void listing_show(struct buf *out, const struct queue *q, const struct message *m);
/* What stands before and after the content in postcat's output. */
void listing_cat_head(struct buf *out, const struct queue *q, const struct message *m);
void listing_cat_tail(struct buf *out, const struct queue *q, const struct message *m);

#endif
