/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * greylist_key.h - what makes two deliveries the same for greylisting. Pure.
 *
 * A client is the domain of its verified name, so that a large sender with hundreds of addresses is one; where there is no
 * such name, its network. A name that has the address in it is the provider's, not the client's: then it is the address
 * alone. A sender is its address without what changes from message to message: tags, numbers, signatures of BATV and SRS.
 */
#ifndef POLICY_GREYLIST_KEY_H
#define POLICY_GREYLIST_KEY_H

#include "base/buf.h"
#include "policy/facts.h"

/* "example.com", "192.0.2.0/24", "2001:db8::/64" */
void greylist_client(struct buf *b, const struct facts *f, unsigned ipv4_bits, unsigned ipv6_bits);
/* internal form; "" for the null sender */
void greylist_sender(struct buf *b, struct span sender);

#endif
