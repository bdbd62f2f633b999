/* SPDX-License-Identifier: BSD-2-Clause */
/* servers.h - the syntax of dns_servers: addresses, each with an optional port. Pure. */
#ifndef DNS_SERVERS_H
#define DNS_SERVERS_H

#include "base/buf.h"

#include <netinet/in.h>

enum { DNS_SERVERS_MAX = 16 };

/* Whose AD bit is believed. */
enum dns_trust { DNS_TRUST_LOOPBACK = 0, DNS_TRUST_ALL, DNS_TRUST_NOBODY };

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

/* Its options lines; the last word wins, as in the C library. */
struct dns_resolv_options {
	unsigned timeout_sec, attempts; /* 0: not said; 30 and 5 at most */
	bool rotate, trust_ad;
};
void dns_options_of_resolv_conf(struct span text, struct dns_resolv_options *out);
/* "127.0.0.1:53", "[::1]:53" */
enum { DNS_SERVER_TEXT = 64 };
void dns_server_text(const struct dns_server *s, char out[DNS_SERVER_TEXT]);

#endif
