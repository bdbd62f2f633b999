/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * route.h - where a recipient is delivered: transport and next hop. Facts 5.2, 5.3, 5.7.
 *
 * Pure but for table lookups. Address classes and transport_maps come from policy/classes.h; here the
 * order of precedence is kept: transport_maps, sender_dependent_*, the class's transport, relayhost, the
 * recipient's domain. Answers are remembered per snapshot, so repeated recipients cost a hash; those that a table of
 * another process had a part in are not.
 */
#ifndef QUEUE_ROUTE_H
#define QUEUE_ROUTE_H

#include "conf/conf.h"

enum route_kind {
	ROUTE_NONE = 0,
	ROUTE_DELIVER,           /* transport and nexthop are valid */
	ROUTE_FAIL,              /* dsn and text say why */
	ROUTE_WAIT,              /* not now; dsn and text say why */
	ROUTE_AGAIN,             /* a table is still being asked: the same again after a map_wait (map/remote.h) */
	ROUTE_DROP,              /* mail to the double-bounce address */
};

struct route {
	enum route_kind kind;
	struct span transport, nexthop;
	struct span dsn, text;   /* all borrowed until the next lookup */
};

struct router;
struct rewriter;         /* policy/rewrite.h */

/* Kept: a reference on the snapshot. RC_PERM: a table cannot be used at all (problems are in the snapshot). */
enum rc router_open(struct conf *c, struct router **out, struct err *e) MUST_CHECK;
void router_free(struct router **rp);            /* NULL inside is fine */

/* What our own reports are rewritten with (main.cf); borrowed. */
const struct rewriter *router_rewriter(const struct router *r);

void router_lookup(struct router *r, struct span sender, struct span rcpt, struct route *out);
/* Who gets it: the address without routes to ourselves (facts 5.2.1), as it goes to the hub; rcpt itself when it has none.
 * Borrowed until the next call of a router function. */
struct span router_address(struct router *r, struct span rcpt);

/* quarantine_recipient_policy: what a recipient wants done with held mail. RC_NONE: he says nothing of it; RC_TEMP: cannot be asked, or
 * is still being asked (map_asked()). Borrowed until the next lookup. */
enum rc router_held(struct router *r, struct span rcpt, struct span *value_out) MUST_CHECK;

/* The same for a probe: by address_verify_transport_maps and its kin (facts 5.9). Not remembered. */
void router_lookup_probe(struct router *r, struct span sender, struct span rcpt, struct route *out);

/* content_filter, or what FILTER said: "transport:nexthop" takes the place of a recipient's own route. Without a next hop it
 * is default_nexthop, or the recipient's domain (facts 10.2). */
void route_to_filter(struct span filter, const char *default_nexthop, struct span rcpt, struct route *out);

/* The text behind "error:", "retry:", "discard:": an enhanced status code may stand in front; one of another class
 * than what is done is left out, and dsn is the given one. */
void route_reason(struct span nexthop, char class, const char *otherwise, struct span *dsn_out, struct span *text_out);

#endif
