/* SPDX-License-Identifier: BSD-2-Clause */
/* channel.h - the inside of the pool: a c-ares channel with its sockets and the questions in it. For pool.c and sock.c only. */
#ifndef DNS_CHANNEL_H
#define DNS_CHANNEL_H

#include "dns/pool.h"
#include "loop/loop.h"

#include <ares.h>

enum { DNS_ID_ROWS = 64 };
enum dns_channel_kind { BY_UDP, BY_TCP, BY_PROBE, KINDS };

struct dns_channel {
	struct dns_pool *pool;
	ares_channel ares;
	enum dns_channel_kind kind;
	unsigned char order[DNS_SERVERS_MAX];   /* the servers, as c-ares asks them */
	unsigned n, used, pending, version;
	uint64_t born;
	bool is_current, is_buried, is_dying;
	unsigned char heard;                    /* who sent what c-ares is reading */
	struct dns_try *by_id[DNS_ID_ROWS];
	struct list link, socks;
	struct grave grave;
};

struct dns_pool {
	const struct dns_pool_ops *ops;
	struct dns_upstreams up;
	unsigned tries, timeout_msec;
	bool as_typed, is_retired;
	struct list channels;
	struct dns_channel *current[KINDS];
	unsigned pending;
	struct list link;                       /* retired, waiting for answers */
	struct timer tick;
	struct grave grave;
};

static inline struct dns_try *
dns_channel_try(const struct dns_channel *c, uint16_t id)
{
	struct dns_try *t = c->by_id[id % DNS_ID_ROWS];
	while (t != NULL && t->q.id != id)
		t = t->next;
	return t;
}

/* The question of t as it was sent; 0: nobody knows any more. */
size_t dns_channel_asked(const struct dns_channel *c, const struct dns_try *t, unsigned char out[DNS_ASKED_MAX]);
/* The server t was sent to last did not answer in its time. */
void dns_channel_missed(struct dns_channel *c, struct dns_try *t);

/* For c-ares; arg is the channel. */
extern const struct ares_socket_functions dns_sock_functions;
void dns_sock_state(void *arg, ares_socket_t fd, int readable, int writable);

#endif
