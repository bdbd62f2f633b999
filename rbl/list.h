/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * list.h - one DNS list as a restriction names it: "domain" or "domain=filter", and which of its answers count. Facts 4.1.
 *
 * Pure. The filter is an IPv4 pattern d.d.d.d, each d a number or [n;n;a..b].
 */
#ifndef RBL_LIST_H
#define RBL_LIST_H

#include "base/buf.h"
#include "base/ipaddr.h"
#include "dns/answer.h"

enum { RBL_DOMAIN_MAX = 253 };

struct rbl_list {
	struct span domain;          /* without a final dot; into the argument */
	bool has_filter;             /* otherwise every answer in 127.0.0.0/8 counts */
	uint64_t octets[4][4];       /* 256 bits each: which numbers fit */
};

/* RC_PERM: no domain, not a domain name, or a filter that makes no sense; e says what. */
enum rc rbl_list_parse(struct span arg, struct rbl_list *out, struct err *e) MUST_CHECK;
/* Is this address a listing? */
bool rbl_list_matches(const struct rbl_list *l, struct in_addr answer);
/* 127.255.255.0/24: "you ask too much", "you use an open resolver". Never a listing, whatever filter there is. */
bool rbl_is_refusal(struct in_addr answer);

/* What the addresses of an answer mean to a list. */
enum rbl_meaning {
	RBL_NOT_LISTED = 0,          /* none, or none that fits the filter */
	RBL_LISTED,
	RBL_REFUSES,                 /* nothing fits, and the list refuses to answer */
	RBL_FOREIGN,                 /* nothing fits, and one is outside 127.0.0.0/8: a name server that lies, a domain that was sold */
};
/* odd_out: the address that makes it the last two; may be NULL. */
enum rbl_meaning rbl_list_judge(const struct rbl_list *l, const struct dns_answer *a, struct in_addr *odd_out);

/* What is asked about an address: 2.2.0.192.domain, nibbles for IPv6; an IPv4 address inside IPv6 counts as IPv4. */
void rbl_addr_query(struct span domain, const struct ipaddr *addr, struct buf *out);

/* "name.domain", to be asked about a name: RC_NONE for what no list knows: "unknown", address literals, names that end in a
 * number, the empty name, and names that are too long together. */
enum rc rbl_name_query(const struct rbl_list *l, struct span name, struct buf *out) MUST_CHECK;

#endif
