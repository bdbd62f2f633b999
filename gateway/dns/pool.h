/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool.h - c-ares underneath: the servers of one dns_open, and the questions that are on their way to them.
 *
 * c-ares has one socket for each server as long as questions are on their way, so 16 bits of id would be all that an answer from
 * somewhere else had to guess. Here a c-ares channel takes DNS_CHANNEL_QUESTIONS questions or is DNS_CHANNEL_USEC old, then
 * the next has sockets with other ports; ids are drawn by us; and what c-ares reads has passed pool_receive() first: id and
 * port belong together, it is marked as an answer, and the question in it is ours with its letters (question.h). What is
 * not is dropped and counted, and the right answer may still come. Questions over TCP have channels of their own: a
 * connection that ends counts as a failed try for everything in the same channel.
 */
#ifndef DNS_POOL_H
#define DNS_POOL_H

#include "dns/question.h"
#include "dns/upstream.h"

enum { DNS_CHANNEL_QUESTIONS = 256, DNS_CHANNEL_CONNECTIONS = 16, DNS_CHANNEL_USEC = 5 * 1000000 };

struct dns_pool;
struct dns_channel;

/* One question in c-ares. Allocated by who asks, given back by done(), which comes once, perhaps from inside dns_pool_ask. */
struct dns_try {
	void *owner;                 /* NULL: nobody wants the answer any more; it is not asked a second time */
	struct dns_question q;       /* type, plain: the caller's; the rest is drawn */
	bool by_tcp;
	bool was_refused;            /* with EDNS: when this works, the server is asked without it for a while */
	bool is_refused;             /* in done(): a server did not understand it (FORMERR, NOTIMP) */
	/* private */
	bool is_probe, is_late, is_formerr, is_odd;
	unsigned char server;        /* asked last */
	uint16_t asked, failed;      /* sets of servers: to whom it went, who could not say */
	uint64_t sent;
	struct dns_channel *channel;
	struct dns_try *next;
};

enum dns_end { DNS_END_ANSWER, DNS_END_SILENCE, DNS_END_FAILED };

struct dns_pool_ops {
	/* packet: may be changed; its question is ours, with the name as it was given. trusted: its AD bit is believed */
	void (*done)(struct dns_try *t, enum dns_end end, struct span packet, bool trusted);
	struct span (*name)(const struct dns_try *t);    /* what was asked; t->owner is set */
	bool (*is_wanted)(const struct dns_try *t);      /* false: not worth a second packet */
	void (*late)(struct dns_try *t);                 /* the first server did not answer in its time */
	void (*odd)(struct dns_try *t);                  /* an answer without our letters was dropped: ask over TCP. From inside c-ares: note it */
	void (*idle)(void);                              /* after a round of answers: nothing is on the stack */
};

struct dns_pool_settings {
	const struct dns_server *servers;
	unsigned n, tries, timeout_msec;
	bool rotate, as_typed;
	enum dns_trust trust;
};

struct dns_pool *dns_pool_new(const struct dns_pool_settings *s, const struct dns_pool_ops *ops) MUST_CHECK;
/* No new questions; it goes when the last one has ended. */
void dns_pool_retire(struct dns_pool *p);
/* At once: all that is on its way ends with DNS_END_FAILED. Not from inside a done(). */
void dns_pool_close(struct dns_pool *p);
/* The same with those that were retired. */
void dns_pools_close_retired(void);
/* May end at once. */
void dns_pool_ask(struct dns_pool *p, struct dns_try *t, struct span name);

#endif
