/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * resolve.h - where does an address really lead? Takes routes to ourselves off until the domain is not ours.
 * Facts 5.2. Pure but for the question "is this domain local?".
 */
#ifndef POLICY_RESOLVE_H
#define POLICY_RESOLVE_H

#include "policy/classes.h"

struct resolve_rules {
	const char *myorigin;        /* appended to an address without a domain */
	const char *mydomain;        /* appended to a domain without a dot, if append_dot */
	bool append_at, append_dot;  /* append_at_myorigin, append_dot_mydomain */
	bool bangs, percents;        /* swap_bangpath, allow_percent_hack */
	bool look_in_quotes;         /* resolve_dequoted_address */
	bool min_user, null_domain, numeric_domain;
	/* Is the domain (lower case; or a literal) in the local class? RC_OK, RC_NONE, RC_TEMP. */
	enum rc (*is_local)(void *arg, struct span domain, struct err *e);
	void *arg;
};

/* Standard form (facts 5.6.1): with a domain, "%" and "!" understood, no dot at the end. text has room for max bytes and
 * holds n; false: no room. What came in quotes is one word. */
bool resolve_standard(const struct resolve_rules *rules, unsigned char *text, size_t *n, size_t max);

/* Fills out->addr, local, domain, is_routed, is_bad; local class is told by *is_local_out, others are the
 * caller's. RC_TEMP as is_local said. */
enum rc resolve_address(const struct resolve_rules *rules, struct span addr, struct resolved *out, bool *is_local_out, struct err *e)
    MUST_CHECK;

#endif
