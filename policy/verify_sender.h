/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify_sender.h - the address that probes come from: address_verify_sender, which may change with time so that mail
 * to an old one can be refused (address_verify_sender_ttl). Facts 5.9. Pure. Runs in: edge, queue.
 */
#ifndef POLICY_VERIFY_SENDER_H
#define POLICY_VERIFY_SENDER_H

#include "base/buf.h"
#include "conf/conf.h"

/* Appends it, complete, in internal form; nothing for the null sender. */
void verify_sender_put(const struct params *p, uint64_t wall_usec, struct buf *out);
/* Is it one that a probe of now or of the time before may have come from? Local parts in any case of letters. */
bool verify_sender_is(const struct params *p, struct span addr, uint64_t wall_usec);

#endif
