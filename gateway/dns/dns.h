/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dns.h - questions to the domain name system, as operations.
 *
 * One resolver per process (dns_open), driven by the loop: no threads, never blocks. Identical
 * questions in flight are asked once; answers, also negative ones, are kept for their TTL in a bounded
 * cache. What is more than query_limit waits in a line, in the order of asking; a question whose last waiter has gone
 * leaves the line, and what is more than queue_limit ends at once (DNS_TROUBLE_BUSY). What comes back is parsed by
 * answer.c from the raw packet. No file is read, so it works after a chroot. Runs in: edge, relay, lookup.
 *
 * Outcomes of a query's op, never merged:
 *	RC_OK    answer->n records
 *	RC_NONE  no such name (answer->nxdomain) or no such record
 *	RC_TEMP  no usable answer: time-out, SERVFAIL, REFUSED, endless aliases
 *	RC_PERM  the name cannot be asked for, or what came back is malformed
 * Ownership: the query is embedded in its user and owns its answer until the next dns_ask or dns_query_fini.
 */
#ifndef DNS_DNS_H
#define DNS_DNS_H

#include "base/buf.h"
#include "dns/answer.h"
#include "dns/servers.h"
#include "loop/loop.h"
#include "loop/op.h"

#include <sys/socket.h>

struct dns_settings {
	const char *servers;         /* "127.0.0.1:5353, [::1]:53" */
	uint64_t timeout_usec;       /* of one try at one server; doubles with each round; 0: default */
	unsigned tries;              /* rounds over the servers; 0: default */
	size_t cache_bytes;          /* memory for answers; 0: default */
	unsigned query_limit;        /* questions on their way at once, one that had to be repeated counts a quarter; 0: default */
	unsigned queue_limit;        /* questions that wait for their turn; 0: default */
	bool rotate;                 /* another server first each time */
	bool as_typed;               /* no capital and small letters at random in what is asked */
	enum dns_trust trust;        /* whose AD bit is believed */
};
enum { DNS_TIMEOUT_MSEC = 2000, DNS_TRIES = 3, DNS_CACHE_BYTES = 16 * 1024 * 1024, DNS_QUERY_LIMIT = 8192, DNS_QUEUE_LIMIT = 131072, DNS_PREFETCHES_MAX = DNS_QUERY_LIMIT / 4, DNS_PREFETCH_HOSTS = 8 };

/* Again on reload: new questions, also those that wait for their turn, then go to the new servers, and the cache is
 * emptied if anything but limits has changed. RC_PERM: servers cannot be parsed, or there are none. */
enum rc dns_open(const struct dns_settings *s, struct err *e) MUST_CHECK;
/* The same with the settings of a snapshot. Without dns_servers: the servers of /etc/resolv.conf as it was when the
 * snapshot was loaded. */
struct conf;
enum rc dns_open_conf(struct conf *c, struct err *e) MUST_CHECK;
/* Problems only; and keeps /etc/resolv.conf for the roles, which cannot read it: a change is a reload. */
void dns_conf_check(struct conf *c);
/* Every query still in flight ends with RC_TEMP. */
void dns_close(void);
void dns_cache_clear(void);
/* The next who asks this wants to know it anew: not what is known, nor what is on its way. */
void dns_forget(enum dns_type type, struct span name);

/* When the last answer came that said yes or no, from any server; loop_now(). 0: never. */
uint64_t dns_heard(void);

struct dns_flight;

struct dns_query {
	struct op op;
	const struct dns_answer *answer; /* in done(): never NULL; answer->why tells what is wrong */
	uint64_t took_usec;              /* in done(): from asking to the answer; 0: it was known */
	/* private */
	struct dns_flight *flight;
	struct dns_answer *owned;
	uint64_t asked;
	struct list by_flight;
	struct timer timer;
};

void dns_query_init(struct dns_query *q, struct op_owner *owner, op_fn *done);
/* Starts; the op must be idle. name is borrowed. timeout_usec: RC_TEMP when it has passed since the question was asked, by whom it
 * was asked first; 0: the resolver's own limits only. */
void dns_ask(struct dns_query *q, enum dns_type type, struct span name, uint64_t timeout_usec);
/* The answer when it is known already: true, with its outcome and q->answer; the op stays idle. false: ask. */
bool dns_known(struct dns_query *q, enum dns_type type, struct span name, enum rc *rc_out) MUST_CHECK;
/* Somebody will probably ask this: the answer goes into the cache and nobody waits for it. hosts: and the addresses of
 * the hosts that an MX or NS answer names, DNS_PREFETCH_HOSTS at most. When a question waits for its turn, or a quarter of
 * query_limit is on its way: nothing. */
void dns_prefetch(enum dns_type type, struct span name, bool hosts);
/* Limits of our own are why there is no answer: no server has had half of the time that has passed. */
bool dns_is_held_back(const struct dns_query *q);
/* PTR of an address. */
void dns_ask_ptr(struct dns_query *q, const struct sockaddr *addr, uint64_t timeout_usec);
/* Cancels and frees the answer. Idempotent; a zeroed query is fine. */
void dns_query_fini(struct dns_query *q);

/* 4.3.2.1.in-addr.arpa, nibbles under ip6.arpa; an IPv4 address inside IPv6 counts as IPv4. Also for
 * block lists: zone instead of the arpa ones when not empty. */
void dns_reverse_name(const struct sockaddr *addr, struct span zone, struct buf *out);

#endif
