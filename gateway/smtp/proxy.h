/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy.h - the PROXY protocol's header, versions 1 and 2: what a balancer says of a connection in front of its first
 * octet (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt). Pure.
 */
#ifndef SMTP_PROXY_H
#define SMTP_PROXY_H

#include "base/ipaddr.h"

enum {
	PROXY_V1_MAX = 107,              /* octets, line end included: section 2.1 */
	PROXY_V2_HEAD = 16,
	PROXY_V2_MAX = PROXY_V2_HEAD + 4096, /* with its TLVs */
};

struct proxy_header {
	bool has_client;                 /* false: LOCAL, UNKNOWN, not TCP: the connection is what it is */
	struct ipaddr client, server;    /* of one family; IPv4-mapped ones unmapped */
	uint16_t client_port, server_port;
};

/* RC_OK: *used octets are the header, what follows is the client's. RC_NONE: more is needed. RC_PERM: this is no header,
 * e says why. Never looks beyond the header. */
enum rc proxy_parse(struct span in, struct proxy_header *out, size_t *used, struct err *e) MUST_CHECK;

#endif
