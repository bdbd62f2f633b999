/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ipaddr.h - an IP address or network as bytes, and its text.
 *
 * One parser for addresses from configuration, commands and tables; no resolver, no allocation.
 * IPv4-mapped IPv6 addresses are what they map to after ipaddr_unmap(); the parser keeps them apart.
 */
#ifndef BASE_IPADDR_H
#define BASE_IPADDR_H

#include "base/span.h"

enum ipaddr_family { IPADDR_NONE = 0, IPADDR_V4 = 4, IPADDR_V6 = 6 };

struct ipaddr {
	uint8_t family;          /* enum ipaddr_family */
	unsigned char b[16];     /* network order; IPv4: the first four, the rest zero */
};

enum { IPADDR_TEXT = 46 };       /* longest text and its NUL */

/* "192.0.2.1", "2001:db8::1" (no brackets, no zone); four decimal numbers of at most three digits. */
enum rc ipaddr_parse(struct span text, struct ipaddr *out) MUST_CHECK;   /* RC_PERM: not an address */
/* Lower case, compressed; "" for IPADDR_NONE. Returns its length. */
size_t ipaddr_text(const struct ipaddr *a, char out[IPADDR_TEXT]);
/* ::ffff:a.b.c.d becomes a.b.c.d; others stay. */
struct ipaddr ipaddr_unmap(struct ipaddr a);
bool ipaddr_eq(const struct ipaddr *a, const struct ipaddr *b);
/* Number of bits of the family: 32, 128, 0. */
unsigned ipaddr_bits(const struct ipaddr *a);
/* The first bits of a and net agree; false when families differ. bits <= ipaddr_bits(net). */
bool ipaddr_in(const struct ipaddr *a, const struct ipaddr *net, unsigned bits);
/* a with everything after the first bits zero. */
struct ipaddr ipaddr_mask(struct ipaddr a, unsigned bits);

/* From and to the system's form. false: another family. port_out may be NULL. */
struct sockaddr;
bool ipaddr_from_sockaddr(const struct sockaddr *sa, struct ipaddr *out, uint16_t *port_out);

#endif
