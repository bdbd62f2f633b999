/* SPDX-License-Identifier: BSD-2-Clause */
/* site.h - the inside of weighted lists: "domain[=filter][*weight]". For files of rbl/ only, and their tests. */
#ifndef RBL_SITE_H
#define RBL_SITE_H

#include "base/arena.h"
#include "rbl/list.h"
#include "rbl/sites.h"

struct rbl_site {
	struct rbl_list list;
	const char *item;            /* as configured */
	int weight;
	unsigned domain;             /* row of rbl_sites.domains */
};

struct rbl_site_domain {
	struct span name;            /* as configured first */
	const char *shown;
};

struct rbl_sites {
	struct arena arena;
	uint64_t timeout, min_ttl, max_ttl; /* usec */
	unsigned nsites, ndomains;
	struct rbl_site *sites;
	struct rbl_site_domain *domains;
};

/* list, weight; item is kept. RC_PERM: e says what is wrong with it. */
enum rc rbl_site_parse(struct span item, struct rbl_site *out, struct err *e) MUST_CHECK;

#endif
