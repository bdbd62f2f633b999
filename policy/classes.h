/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * classes.h - which addresses are ours: address classes, resolution of routed addresses, recipient validation.
 * Facts 5.1, 5.2, 3.8.
 *
 * A struct address_book holds the domain lists and recipient tables of one service's view of a snapshot.
 * Resolution is pure but for table lookups; RC_TEMP from any of them is "not now", never "not ours".
 * Runs in: edge (restrictions) and queue (routing).
 */
#ifndef POLICY_CLASSES_H
#define POLICY_CLASSES_H

#include "map/mapkeys.h"
#include "map/matchlist.h"

enum address_class {
	CLASS_NONE = 0,
	CLASS_LOCAL,             /* mydestination, own address literals */
	CLASS_VIRTUAL_ALIAS,
	CLASS_VIRTUAL_MAILBOX,
	CLASS_RELAY,
	CLASS_DEFAULT,           /* not ours */
};
const char *address_class_name(enum address_class class); /* "local", "virtual_alias", ... */

enum { ADDRESS_MAX = 1024 };     /* longest address that is resolved; longer is a syntax error */

/* Points into itself: not to be copied. */
struct resolved {
	enum address_class class;
	bool is_routed;          /* the local part in front of a domain that is not local has a route: %, !, x@y@z */
	bool is_bad;             /* impossible address: "bad address syntax" (facts 5.2.2); class is CLASS_NONE */
	struct span addr;        /* into text: local@domain after routes to ourselves were taken off */
	struct span local, domain; /* its parts, domain in lower case without trailing dots; "" for null */
	struct span typed_domain; /* the domain as it came */
	unsigned char text[ADDRESS_MAX + 256], typed_text[ADDRESS_MAX + 256];
};
/* How tables are asked, also those with patterns and those elsewhere: routing asks with the case it came in, what decides
 * at MAIL and RCPT in lower case. */
struct span address_typed(const struct resolved *a, unsigned char space[ADDRESS_MAX + 256]);
struct span address_lower(const struct resolved *a, unsigned char space[ADDRESS_MAX + 256]);

struct address_book;

/* Problems to conf_problem(). RC_PERM: a list or table cannot be used; *out is given in any case. */
enum rc address_book_open(struct conf *c, const struct service *s, struct address_book **out, struct err *e) MUST_CHECK;
/* Only what address_standard(), address_split() and address_own_domain() need: no recipient or transport tables. */
enum rc address_book_open_domains(struct conf *c, const struct service *s, struct address_book **out, struct err *e) MUST_CHECK;
void address_book_free(struct address_book **bp);

/* addr: internal form (facts.h). RC_OK, or RC_TEMP when a domain list could not be asked. */
enum rc address_resolve(const struct address_book *b, struct span addr, struct resolved *out, struct err *e) MUST_CHECK;
/* Standard form of an address in internal form (facts 5.6.1) in out, which is emptied first. RC_PERM: too long. */
enum rc address_standard(const struct address_book *b, struct span addr, struct buf *out) MUST_CHECK;
/* Class of a domain (lower case): first of local, virtual alias, virtual mailbox, relay that lists it. */
enum rc address_class_of(const struct address_book *b, struct span domain, enum address_class *out, struct err *e) MUST_CHECK;

/* May anybody send to it (reject_unauth_destination)? RC_OK: ours and not routed; RC_NONE: no; RC_TEMP. */
enum rc address_is_ours(const struct address_book *b, const struct resolved *a, struct err *e) MUST_CHECK;

/* The transport_maps row of an address. RC_OK: "transport:nexthop" split; either may be empty (facts 5.3).
 * Spans point into the table or scratch. RC_NONE: no row. */
enum rc address_transport(const struct address_book *b, const struct resolved *a, struct buf *scratch, struct span *transport_out,
    struct span *nexthop_out, struct err *e) MUST_CHECK;
/* The same in another list of tables (address_verify_transport_maps). */
enum rc address_transport_in(const struct address_book *b, const struct map_list *l, const struct resolved *a, struct buf *scratch,
    struct span *transport_out, struct span *nexthop_out, struct err *e) MUST_CHECK;
/* "transport:nexthop" apart, blanks round them gone; without a colon it is a transport. Spans into value. */
void address_split_transport(struct span value, struct span *transport_out, struct span *nexthop_out);
/* Transport and nexthop of a class by its parameter ("relay_transport"), without transport_maps or relayhost:
 * "smtp:[hub]" split; nexthop empty: the recipient's domain. CLASS_VIRTUAL_ALIAS: "error",
 * "5.1.1 User unknown in virtual alias table". */
void address_class_transport(const struct address_book *b, enum address_class class, struct span *transport_out, struct span *nexthop_out);

/* The unlisted-recipient test (facts 3.8). RC_OK: listed, or the class does not know its recipients. RC_NONE: unknown,
 * code and text say how ("User unknown in relay recipient table"; text is borrowed from book or scratch, and
 * dsn from it when the error transport gives one). RC_TEMP: a table could not be asked. */
struct unlisted {
	unsigned code;
	struct span dsn;         /* empty: 5.1.1 for a recipient, 5.1.0 for a sender */
	struct span text;
};
enum rc address_is_listed(const struct address_book *b, const struct resolved *a, struct buf *scratch, struct unlisted *out,
    struct err *e) MUST_CHECK;

/* Is it one that aliases are for: the local class, and transport_maps do not send it elsewhere? RC_OK, RC_NONE, RC_TEMP. */
enum rc address_is_aliased(const struct address_book *b, const struct resolved *a, struct buf *scratch, struct err *e) MUST_CHECK;
/* What alias_maps say of a local user: its name in lower case, with its extension and then without; without_ext_out may be
 * NULL. RC_OK, RC_NONE, RC_TEMP. */
enum rc address_alias(const struct address_book *b, const struct map_addr *a, struct buf *scratch, struct span *value_out,
    bool *without_ext_out, struct err *e) MUST_CHECK;
bool address_has_aliases(const struct address_book *b);

struct map_addr address_split(const struct address_book *b, struct span addr); /* local, domain, extension */
/* One of our own addresses (inet_interfaces, proxy_interfaces). */
bool address_is_own_ip(const struct address_book *b, const struct ipaddr *ip);
/* The same, and RC_TEMP when a table of mydestination could not be asked. */
enum rc address_own_domain(const struct address_book *b, struct span domain, struct err *e) MUST_CHECK;
/* The value of an address in a table with the forms of canonical, virtual and recipient tables (MAPKEY_MAIL). */
enum rc address_find_mail(const struct address_book *b, const struct map_list *l, struct span addr, struct buf *scratch,
    struct span *value_out, struct err *e) MUST_CHECK;

#endif
