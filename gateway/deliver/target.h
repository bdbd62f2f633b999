/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * target.h - from a next hop to the addresses to try, in order (facts 5.5).
 *
 * MX by preference, equal ones shuffled, address families balanced within smtp_mx_address_limit, this
 * machine and everything less preferred cut when the port is 25. Literals, socket names and localhost need
 * no DNS. Runs in: relay. Embedded in its owner; owns its memory until target_fini().
 */
#ifndef DELIVER_TARGET_H
#define DELIVER_TARGET_H

#include "base/arena.h"
#include "deliver/nexthop.h"
#include "deliver/own.h"
#include "deliver/settings.h"
#include "dns/dns.h"

#include <sys/un.h>

enum { TARGET_HOSTS_MAX = 32, TARGET_ADDRS_MAX = 100 };

struct taddr {
	struct span host;        /* name as it is logged: MX host, [host], or the address itself */
	struct span ip;          /* text of the address, or the socket's path */
	uint16_t pref;
	struct ipaddr addr;
	uint16_t port;           /* 0: a socket of the file system */
	socklen_t len;
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} sock;
};

struct target_host;

struct target {
	/* RC_OK: n addresses. RC_TEMP, RC_PERM: dsn and why tell. */
	struct op op;
	unsigned n;
	struct taddr *addr;
	const char *dsn;         /* literal, "4.4.3" */
	char why[640];
	/* private */
	const struct settings *set;
	const struct own *own;
	struct nexthop hop;
	struct arena arena;
	struct op_owner waits;
	struct dns_query mx;
	struct target_host *hosts;
	unsigned n_hosts, pending;
	uint16_t best_pref;
	bool by_mx;
	bool is_ours;            /* RC_PERM: because this machine is the best MX */
};

void target_init(struct target *t, struct op_owner *owner, op_fn *done);
/* hop is copied; set and own are kept until completion. */
void target_find(struct target *t, const struct settings *set, const struct own *own, const struct nexthop *hop);
/* Idempotent; a zeroed target is fine. */
void target_fini(struct target *t);

/* Puts addresses in order: by preference; within one preference shuffled or as they came, then by family
 * preference; then families balanced so that both are among the first limit. Returns how many stay.
 * Pure but for the shuffle. */
unsigned target_order(const struct settings *set, struct taddr *addr, unsigned n);

#endif
