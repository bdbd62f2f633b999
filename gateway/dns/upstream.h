/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * upstream.h - the DNS servers we ask, and what we know of each: does it answer, what does it not understand. Pure.
 *
 * A server that let a question pass without an answer, and said nothing to anybody since, is asked after the others
 * until it answers again. Somebody has to ask it for that: dns_upstreams_probe() says when, with back-off.
 */
#ifndef DNS_UPSTREAM_H
#define DNS_UPSTREAM_H

#include "dns/servers.h"

enum { DNS_PROBE_LONGEST = 16 /* times the first pause */, DNS_FORGET_USEC = 600 * 1000000, DNS_CASE_MISSES = 3 };

struct dns_upstream {
	struct dns_server addr;
	bool is_trusted;             /* its AD bit is believed */
	bool is_down, is_told;       /* told: in the log */
	uint64_t answered;           /* when it last did, monotonic usec; 0: never */
	uint64_t probe_at, probe_pause;
	uint64_t plain_until;        /* it does not understand EDNS */
	uint64_t caseless_until;     /* it does not repeat letters as they were asked */
	unsigned case_misses;        /* in a row */
};

struct dns_upstreams {
	struct dns_upstream s[DNS_SERVERS_MAX];
	unsigned n;
	bool rotate;                 /* each set of questions begins at another one */
	unsigned turn;
	unsigned version;            /* counts changes of the order */
	uint64_t probe_usec;         /* pause before the first probe; each next one is twice as long */
};

void dns_upstreams_init(struct dns_upstreams *u, const struct dns_server *list, unsigned n, bool rotate, enum dns_trust trust, uint64_t probe_usec);
/* Indices, who is to be asked first comes first. */
void dns_upstreams_order(struct dns_upstreams *u, unsigned char out[DNS_SERVERS_MAX]);
void dns_upstream_answered(struct dns_upstreams *u, unsigned i, uint64_t now);
/* A question that left at sent was not answered in its time. */
void dns_upstream_missed(struct dns_upstreams *u, unsigned i, uint64_t sent, uint64_t now);
/* The index of a server that is to be asked whether it lives, or DNS_SERVERS_MAX. Its next time is later. */
unsigned dns_upstreams_probe(struct dns_upstreams *u, uint64_t now);
/* Letters did not come back as asked; true: it never repeats them, so what it says has to be taken as it is. */
bool dns_upstream_case_missed(struct dns_upstreams *u, unsigned i, bool certain, uint64_t now);

#endif
