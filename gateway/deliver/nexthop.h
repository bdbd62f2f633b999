/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nexthop.h - the syntax of next hops (facts 5.4). Pure.
 *
 * domain, domain:port (MX, then addresses), [host], [host]:port (no MX), [1.2.3.4]:port,
 * [IPv6:2001:db8::1]:port, [2001:db8::1]; several separated by comma or white space are tried in
 * order. LMTP also unix:path, inet:host, inet:host:port (never MX). A port is a number or a name of
 * known_tcp_ports.
 */
#ifndef DELIVER_NEXTHOP_H
#define DELIVER_NEXTHOP_H

#include "base/span.h"

struct nexthop {
	struct span text;        /* as written */
	struct span host;        /* name or address, without brackets and IPv6: */
	struct span path;        /* unix: only; then host is empty */
	uint16_t port;
	bool use_mx;             /* a domain */
};

/* Takes the next one off the list. RC_NONE: no more. RC_PERM: bad syntax, reason in e; the item is taken.
 * default_port: a number or name too. known_ports: value of known_tcp_ports. */
enum rc nexthop_next(struct span *rest, bool lmtp, const char *default_port, const char *known_ports, struct nexthop *out,
    struct err *e) MUST_CHECK;

#endif
