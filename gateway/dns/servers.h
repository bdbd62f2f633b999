/* SPDX-License-Identifier: BSD-2-Clause */
/* servers.h - the syntax of dns_servers: addresses, each with an optional port. Pure. */
#ifndef DNS_SERVERS_H
#define DNS_SERVERS_H

#include "base/buf.h"

#include <netinet/in.h>

enum { DNS_SERVERS_MAX = 16 };

struct dns_server {
	int family;                  /* AF_INET or AF_INET6 */
	union {
		struct in_addr a;
		struct in6_addr aaaa;
	} addr;
	uint16_t port;
};

/* Separators are comma and white space; "1.2.3.4", "1.2.3.4:53", "[::1]:53", "::1". RC_NONE: the list is
 * empty. RC_PERM: reason in e. */
enum rc dns_servers_parse(struct span list, struct dns_server out[DNS_SERVERS_MAX], unsigned *n_out, struct err *e) MUST_CHECK;

/* The nameserver lines of resolv.conf(5) as a list of the above; what cannot be used (zones of link-local addresses) is left out. */
void dns_servers_of_resolv_conf(struct span text, struct buf *out);

#endif
