/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limits.h - how many sessions a client holds, counted over all edge processes.
 *
 * A table in memory that the edge processes share; until one is attached (or where there is none) each
 * process counts for itself. Every process counts in a column of its own, so one that dies takes its counts
 * along: its successor clears the column. Slots of clients without sessions are reused. A bucket that is
 * full of clients with sessions counts nobody new: mail is not refused for want of a counter.
 */
#ifndef SMTP_LIMITS_H
#define SMTP_LIMITS_H

#include "smtp/lockout.h"
#include "smtp/rates.h"

struct limits_slot;

struct limits {
	struct limits_table *table;
	unsigned column;
};

struct limits_ref {              /* what one session holds */
	uint32_t slot;           /* 1-based; 0: not counted */
};

enum { LIMITS_EDGES_MAX = 24 };

/* Octets of a table: what the memory file must have. */
size_t limits_table_size(void);
/* An own table. index: of this edge process. */
void limits_init(struct limits *l, unsigned index);
/* Uses the shared one from now on; only before the first session. fd is given. RC_PERM: cannot be mapped. */
enum rc limits_attach(struct limits *l, int fd, unsigned index, struct err *e) MUST_CHECK;
void limits_fini(struct limits *l);

/* One more session of this network on this service; gives how many there are now, this one included. */
unsigned limits_enter(struct limits *l, const struct ipaddr *network, struct span service, struct limits_ref *ref);
/* One less. Idempotent. */
void limits_leave(struct limits *l, struct limits_ref *ref);

/* The counters of events (rates.h) in the same memory; NULL: there is none, nothing is counted. */
struct rates *limits_rates(struct limits *l);
/* Failed logins; NULL as above. */
struct lockouts *limits_lockouts(struct limits *l);
uint64_t limits_salt(const struct limits *l);
/* A number for the statistics. */
void limits_note(struct limits *l, unsigned what, uint32_t value, struct span service, const struct ipaddr *network);

#endif
