/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rates.h - how often something happened within a time, per client network, login or sender, counted over all edge
 * processes: part of the memory they share (limits.h). Facts 10.6.
 *
 * As anvil counts: the time begins with the first event and all counters of a key begin anew when it is over. A table
 * of fixed size; an event touches two cache lines. Where a bucket has no room for a new key, the key with the fewest
 * events gives way and the new one goes on from its numbers: however many addresses somebody has, a counter never says
 * less than what happened, so nobody gets rid of his by crowding it out; it may say a little more.
 */
#ifndef SMTP_RATES_H
#define SMTP_RATES_H

#include "base/ipaddr.h"

#include <stdatomic.h>

enum rate_kind { RATE_CONNECT = 0, RATE_MESSAGE, RATE_RECIPIENT, RATE_TLS, RATE_AUTH, RATE_KINDS };
enum { RATE_SESSIONS = RATE_KINDS, RATE_MAXIMA };        /* in the statistics also: sessions at a time */
enum rate_whose { RATE_OF_CLIENT = 1, RATE_OF_LOGIN, RATE_OF_SENDER };

enum { RATE_BUCKETS = 8192, RATE_WAYS = 8, RATE_NAME_MAX = 95 };

struct rate_bucket {
	_Atomic uint64_t tag[RATE_WAYS];         /* a cache line */
	struct rate_slot {
		_Atomic uint32_t start;          /* seconds; 0: never */
		_Atomic uint32_t count[RATE_KINDS];
	} slot[RATE_WAYS];
};

/* The largest numbers since the last statistics. */
struct rate_maximum {
	_Atomic uint32_t busy, value;
	uint32_t when;                           /* wall clock, seconds */
	char name[RATE_NAME_MAX + 1];            /* "smtp:192.0.2.1" */
};

struct rates {
	_Alignas(64) struct rate_bucket bucket[RATE_BUCKETS];
	struct rate_maximum maximum[RATE_MAXIMA];
	_Atomic uint32_t next_report;            /* seconds */
};

/* Keys; salt is the table's secret, so that nobody can aim at a bucket. */
uint64_t rates_client(uint64_t salt, const struct ipaddr *network, struct span service);
uint64_t rates_name(uint64_t salt, enum rate_whose whose, struct span name); /* letters' case does not matter */

/* One more event; gives how many there are in the running time, this one included. now: monotonic seconds, not 0. */
uint32_t rates_count(struct rates *r, uint64_t key, enum rate_kind kind, uint32_t now, uint32_t unit);
/* How many there are, without one more. */
uint32_t rates_read(struct rates *r, uint64_t key, enum rate_kind kind, uint32_t now, uint32_t unit);
/* For the statistics. what: enum rate_kind or RATE_SESSIONS. */
void rates_note(struct rates *r, unsigned what, uint32_t value, uint32_t wall, struct span service, const struct ipaddr *network);
/* Keys that are counted now. */
size_t rates_live(struct rates *r, uint32_t now, uint32_t unit);
/* Takes a maximum out and begins anew; false: there was none. */
bool rates_take_maximum(struct rates *r, unsigned what, struct rate_maximum *out);

#endif
