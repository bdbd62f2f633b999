/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tickets.h - the keys of TLS session tickets, the same in all edge processes, new every hour.
 *
 * The master draws a secret and gives it to each edge process it starts. The secret of an hour is made from that of the
 * hour before by a one-way function, in every process for itself, and the old one is wiped: a process that
 * is taken over knows the keys of TICKETS_KEPT hours and no older ones. Nothing is ever sent again.
 */
#ifndef TLS_TICKETS_H
#define TLS_TICKETS_H

#include "base/span.h"

#include <openssl/ssl.h>

enum { TICKETS_SECRET = 32, TICKETS_KEPT = 25, TICKETS_FRAME = 8 + TICKETS_SECRET };
enum { TICKETS_PERIOD_SECONDS = 3600 }; /* a ticket lives 24 of them at most, whatever the parameters say */

struct tickets_chain {
	uint64_t hour;
	unsigned char secret[TICKETS_SECRET]; /* of that hour */
};

/* ---- master ---- */
void tickets_begin(struct tickets_chain *t, uint64_t wall_usec);
/* Moves on to the present hour and gives what an edge process is told (IPC_TICKETS): u64 hour, secret. */
void tickets_frame(struct tickets_chain *t, uint64_t wall_usec, unsigned char out[TICKETS_FRAME]);

/* ---- edge ---- */
/* What the master said; RC_PERM: no such frame. Without it a process has a secret of its own. */
enum rc tickets_told(struct span frame) MUST_CHECK;
/* Tickets of this context are made and read with these keys. lifetime: seconds. */
void tickets_use(SSL_CTX *ctx, uint64_t lifetime);

/* For tests: where they are, and whose ticket is read now. */
struct tickets_key {
	uint64_t hour;               /* 0: none */
	unsigned char name[16], cipher[32], mac[32];
};
const struct tickets_key *tickets_current(uint64_t wall_usec);
const struct tickets_key *tickets_named(const unsigned char name[16], uint64_t wall_usec);

#endif
