/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * peer.h - what DNS says the name of a client is. Facts 3.4.
 *
 * PTR of the address; each name it gives (the first DNS_PEER_NAMES with the syntax of a host name) has its address
 * records asked, all at once; the first of them, in the order of the PTR answer, that leads back to the address is the
 * verified name. What has not the syntax of a host name, or is the word "unknown", is no name. The loopback addresses
 * 127.0.0.1 and ::1 are "localhost" without asking anybody (RFC 6761 section 6.3).
 *
 * One lookup is about 3 kB: allocated for the time it takes, by its user. Runs in: edge, and the command explain.
 */
#ifndef DNS_PEER_H
#define DNS_PEER_H

#include "base/ipaddr.h"
#include "dns/dns.h"

enum { DNS_PEER_NAMES = 8 };

struct dns_peer {
	struct op op;                /* RC_OK, whatever was found */
	/* valid when done; names are borrowed until dns_peer_fini */
	enum rc reverse_rc;          /* RC_OK: reverse; RC_NONE: no PTR record that is a host name; RC_TEMP: could not say */
	struct span reverse;         /* the verified name, or else the first name of the PTR answer */
	enum rc name_rc;             /* RC_OK: name is verified; RC_NONE: none is; RC_TEMP: could not say */
	struct span name;
	struct span denied;          /* RC_NONE, RC_TEMP: the first name, which could not be verified; empty: there was none */
	const char *denied_why;      /* NULL: it has other addresses */
	/* private */
	struct ipaddr addr;
	struct op_owner asked;
	struct dns_query ptr, hosts[DNS_PEER_NAMES];
	struct span names[DNS_PEER_NAMES];
	enum rc rcs[DNS_PEER_NAMES];
	unsigned n;
	uint64_t timeout_usec;
};

void dns_peer_init(struct dns_peer *p, struct op_owner *owner, op_fn *done);
/* true: it was known, and the op stays idle. Otherwise done() will come; each answer is waited for timeout_usec at most
 * (0: the resolver's own limits). */
bool dns_peer_ask(struct dns_peer *p, const struct ipaddr *addr, uint64_t timeout_usec) MUST_CHECK;
/* Cancels. Idempotent; fine on zeroed memory. */
void dns_peer_fini(struct dns_peer *p);

#endif
