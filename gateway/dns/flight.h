/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flight.h - a question with everyone who asked it, and the line it stands in until it may leave. For dns.c and flight.c only.
 *
 * A flight is in the line (line, or ahead: a prefetch, whose turn comes when nobody waits) until it leaves; then it has a pool,
 * and is young until an answer or time has shown that it does not lie in the receive buffer of a server any more. The line
 * owns its flights.
 */
#ifndef DNS_FLIGHT_H
#define DNS_FLIGHT_H

#include "dns/dns.h"
#include "dns/pool.h"

#include "base/htab.h"

/* One question with everyone who asked it: in the line, or on its way (then it has a pool). */
struct dns_flight {
	struct hnode by_key;
	struct list waiters;
	struct list line;            /* in the line; on its way: among the young, or those to be asked over TCP, too */
	struct dns_pool *pool;
	struct dns_try *by_udp, *by_tcp;
	uint64_t began, launched;
	char *alias;                 /* what is asked in the name's place: an answer ended with it */
	uint32_t ttl;                /* smallest of the answers before */
	uint16_t type;
	uint8_t name_len, aliases, odd_tries;
	bool is_ahead : 1;           /* a prefetch in its own line */
	bool is_young : 1;           /* may still lie in the receive buffer of a server */
	bool is_late : 1;            /* had to be repeated */
	bool and_hosts : 1;          /* prefetch: ask for the addresses of the hosts it names */
	bool is_plain : 1;           /* without EDNS, which was not understood */
	bool is_insecure : 1;        /* some answer was not proven */
	bool is_forgotten : 1;       /* nobody joins it any more */
	char name[];
};

struct dns_line {
	struct htab flights;         /* all, by type and name */
	struct list line, ahead, young, odd; /* odd: to be asked over TCP */
	unsigned waiting, flying, late, n_young; /* late: of those flying, had to be repeated */
	struct timer more;
};

static inline bool
dns_flight_in_line(const struct dns_flight *f)
{
	return f->pool == NULL;
}

void dns_line_init(struct dns_line *l, void (*look_again)(struct timer *t));
/* Whose turn it is; NULL: nobody waits. */
struct dns_flight *dns_line_first(const struct dns_line *l);
/* A name server takes as many questions at once as its receive buffer holds (some hundreds, where nobody has made it larger); what is
 * more is lost and costs the time of a repetition. So YOUNG_MAX are under way that left just now: answers make room, and time does.
 * A question that had to be repeated probably waits for somebody far away: many of them do not hold up the others. */
bool dns_line_has_room(struct dns_line *l, unsigned query_limit);
/* Those who wait for room that time makes are looked at again. */
void dns_line_look_again(struct dns_line *l);

/* Somebody may join it: it goes to this pool. NULL: none. */
struct dns_flight *dns_flight_find(const struct dns_line *l, const struct dns_pool *pool, enum dns_type type, struct span name);
/* Known to the table, in no list yet. */
struct dns_flight *dns_flight_new(struct dns_line *l, enum dns_type type, struct span name);
void dns_flight_enter_line(struct dns_line *l, struct dns_flight *f, bool ahead);
void dns_flight_leave_line(struct dns_line *l, struct dns_flight *f);
/* On its way from here on; its pool is the caller's. */
void dns_flight_leaves(struct dns_line *l, struct dns_flight *f);
void dns_flight_not_young(struct dns_line *l, struct dns_flight *f);
/* What is asked now: the name, or where an alias led. */
struct span dns_flight_asked(const struct dns_flight *f);
/* Nobody wants the answer of this try. */
void dns_flight_orphan(struct dns_try **t);
/* The end of a question: it is in nobody's list any more, and f is gone. */
void dns_flight_free(struct dns_line *l, struct dns_flight *f);

#endif
