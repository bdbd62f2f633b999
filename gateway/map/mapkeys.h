/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mapkeys.h - in which order the forms of an address, a host name or a domain are looked up.
 *
 * Iterators over keys; each says whether the key is partial (fixed-key tables only). A key is valid until the
 * next call. The user part is asked for quoted, when it needs quotes, and then without. Facts 3.9 (access
 * tables), 5.3 (transport), 5.6 (canonical, virtual, recipient lists).
 */
#ifndef MAP_MAPKEYS_H
#define MAP_MAPKEYS_H

#include "map/map.h"

/* local@domain, unquoted (internal) form, split at the last '@'. No '@': domain is empty and has_at false. */
struct map_addr {
	struct span whole;       /* local@domain as given */
	struct span local, domain;
	struct span base;        /* local without extension */
	struct span ext;         /* extension with its delimiter in front; empty: none */
	bool has_at;
};
/* delimiters: recipient_delimiter, "" for none. Facts 5.6: not for mailer-daemon, postmaster, double_bounce, and
 * owner-x / x-request when owner_special. */
struct map_addr map_addr_split(struct span addr, const char *delimiters, const char *double_bounce, bool owner_special);

enum mapkey_kind {
	MAPKEY_ACCESS,           /* user+ext@dom user@dom dom .. parents user+ext@ user@ */
	MAPKEY_TRANSPORT,        /* user+ext@dom user@dom dom .parents * */
	MAPKEY_MAIL,             /* user+ext@dom user@dom [user+ext user] @dom (canonical, virtual, recipient lists, bcc) */
};

struct mapkey {
	struct span key;
	bool partial;            /* pass MAP_PARTIAL */
	bool without_ext;        /* the user without its extension, where it has one */
};

struct mapkeys {
	enum mapkey_kind kind;
	struct map_addr a;
	bool parent_plain;       /* parent domains as "parent", otherwise ".parent" */
	bool own_domain;         /* MAPKEY_MAIL: also the bare user names */
	/* private */
	unsigned step;
	size_t dot;              /* parents: where the next one begins in the domain */
	bool quoted_done;
	struct buf text;
};

/* addr is kept until mapkeys_fini (nothing is copied). */
void mapkeys_init(struct mapkeys *k, enum mapkey_kind kind, const struct map_addr *a, bool parent_plain, bool own_domain);
bool mapkeys_next(struct mapkeys *k, struct mapkey *out);
void mapkeys_fini(struct mapkeys *k);

/* Asks l for each key in turn; the common case of the above. RC_NONE: no form is there. */
enum rc map_find_address(const struct map_list *l, enum mapkey_kind kind, const struct map_addr *a, bool parent_plain, bool own_domain,
    struct buf *scratch, struct span *value_out, struct err *e) MUST_CHECK;

/* A host name and its parents (none for a name that is an address); then a textual address cut at its
 * right-most separators. */
enum rc map_find_host(const struct map_list *l, struct span name, bool parent_plain, struct buf *scratch, struct span *value_out,
    struct err *e) MUST_CHECK;
enum rc map_find_ip(const struct map_list *l, struct span addr, struct buf *scratch, struct span *value_out, struct err *e) MUST_CHECK;

#endif
