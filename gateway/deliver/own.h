/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * own.h - addresses of this machine, as far as mail is received there: who must not be relayed to on
 * port 25 (facts 5.5). Taken at start and at reload, before or after the sandbox: it needs a netlink
 * socket only.
 */
#ifndef DELIVER_OWN_H
#define DELIVER_OWN_H

#include "base/ipaddr.h"

struct own {
	unsigned n;
	struct ipaddr addr[128];
};

/* inet_interfaces ("all", "loopback-only", or addresses; names other than localhost are left out, MX loops to
 * them show by the hub's own name) and proxy_interfaces. */
void own_init(struct own *o, const char *inet_interfaces, const char *proxy_interfaces);
/* Also true for 0.0.0.0 and ::, which the system takes for this machine. */
bool own_has(const struct own *o, const struct ipaddr *a);

#endif
