/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * matchlist.h - domain, host and address lists of main.cf (mydestination, relay_domains, mynetworks ...),
 * compiled once per snapshot. Facts 1.4.
 *
 * Order, "!", "/file", "type:table", parent_domain_matches_subdomains, [IPv6], networks. Names are compared
 * without case. A pattern with host bits set, a table that cannot be read or a file that cannot be read makes
 * the answer RC_TEMP for every key it could have decided; problems go to conf_problem() while compiling.
 */
#ifndef MAP_MATCHLIST_H
#define MAP_MATCHLIST_H

#include "base/ipaddr.h"
#include "map/map.h"

enum matchlist_kind {
	MATCH_STRING = 1,        /* exact strings: mydestination, virtual_alias_domains, ... */
	MATCH_DOMAIN,            /* domains and their parents: relay_domains, ... */
	MATCH_ADDRESS,           /* mynetworks, ... */
	MATCH_HOST,              /* names and addresses: smtpd_client_event_limit_exceptions, debug_peer_list */
};

struct matchlist;

/* As maps_open: RC_PERM with *out given when something in it cannot be used. */
enum rc matchlist_open(struct conf *c, const struct service *s, const char *parameter, const char *value, enum matchlist_kind kind,
    struct matchlist **out, struct err *e) MUST_CHECK;
enum rc matchlist_open_param(struct conf *c, const struct service *s, const char *parameter, enum matchlist_kind kind,
    struct matchlist **out, struct err *e) MUST_CHECK;
void matchlist_free(struct matchlist **mp);      /* NULL inside is fine */
bool matchlist_empty(const struct matchlist *m);

/* The plain words of the list (not those of tables, not the excluded ones), in no order; start with NULL. For checks. */
struct matchlist_word;
const struct matchlist_word *matchlist_next_word(const struct matchlist *m, const struct matchlist_word *after, struct span *name_out);

/* RC_OK: in the list. RC_NONE: not. RC_TEMP: cannot say. A NULL list has nothing in it. e may be NULL. */
enum rc matchlist_name(const struct matchlist *m, struct span name, struct err *e) MUST_CHECK;
enum rc matchlist_addr(const struct matchlist *m, const struct ipaddr *addr, struct err *e) MUST_CHECK;
/* MATCH_HOST: the name or the address. */
enum rc matchlist_host(const struct matchlist *m, struct span name, const struct ipaddr *addr, struct err *e) MUST_CHECK;

#endif
