/* SPDX-License-Identifier: BSD-2-Clause */
/* cidr.h - "192.0.2.0/24", "[2001:db8::]/32" as a network. Pure; shared by cidr tables and address lists. Facts 1.4, 6.2. */
#ifndef MAP_CIDR_H
#define MAP_CIDR_H

#include "base/ipaddr.h"

struct cidr {
	struct ipaddr net;
	unsigned bits;
};

/* address, address/length, with or without [ ] around the address or around all of an IPv6 pattern. A bare
 * IPv6 address is taken only with bare_v6. RC_PERM with the reason: not a network, or host bits are not zero; then
 * out->net.family is set if the family could be told. */
enum rc cidr_parse(struct span text, bool bare_v6, struct cidr *out, struct err *e) MUST_CHECK;

#endif
