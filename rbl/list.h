/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * list.h - one DNS list as a restriction names it: "domain" or "domain=filter", and which of its answers count. Facts 4.1.
 *
 * Pure. The filter is an IPv4 pattern d.d.d.d, each d a number or [n;n;a..b].
 */
#ifndef RBL_LIST_H
#define RBL_LIST_H

#include "base/buf.h"

#include <netinet/in.h>

enum { RBL_DOMAIN_MAX = 253 };

struct rbl_list {
	struct span domain;          /* without a final dot; into the argument */
	bool has_filter;             /* otherwise every answer counts */
	uint64_t octets[4][4];       /* 256 bits each: which numbers fit */
};

/* RC_PERM: no domain, not a domain name, or a filter that makes no sense; e says what. */
enum rc rbl_list_parse(struct span arg, struct rbl_list *out, struct err *e) MUST_CHECK;
/* Is this answer a listing? */
bool rbl_list_matches(const struct rbl_list *l, struct in_addr answer);

/* "name.domain" to be asked about a name: RC_NONE for what no list knows: "unknown", address literals, names that end in a
 * number, the empty name, and names that are too long together. */
enum rc rbl_name_query(const struct rbl_list *l, struct span name, struct buf *out) MUST_CHECK;

#endif
