/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mapping.h - one address through one list of tables, as canonical, virtual, generic and BCC tables have it. Facts 5.6. For
 * files of policy/ only.
 */
#ifndef POLICY_MAPPING_H
#define POLICY_MAPPING_H

#include "policy/addrlist.h"
#include "policy/classes.h"

enum { MAPPING_TEXT_MAX = 256 * 1024 }; /* octets of a result */

/* The result of one lookup, address by address. */
struct mapping {
	const struct address_book *book;
	struct span ext;             /* to be added to each address; empty: none */
	struct addrlist list;
	struct buf scratch, text, word; /* the value; "@other" with the user in front; one address */
};

void mapping_init(struct mapping *m, const struct address_book *book);
void mapping_fini(struct mapping *m);

/* Looks addr (internal form, complete) up: with its extension, without, bare names of our own domains, "@domain". RC_OK: there
 * are results; RC_NONE; RC_TEMP. addr is kept until the last mapping_next(). */
enum rc mapping_find(struct mapping *m, const struct map_list *l, struct span addr, bool propagate, struct err *e) MUST_CHECK;
/* Next address of the result in out: internal form, complete, with the extension. RC_NONE: no more. RC_PERM: it cannot be
 * an address (too long, control characters). The empty address is possible. */
enum rc mapping_next(struct mapping *m, struct buf *out) MUST_CHECK;

/* The raw value for an address: automatic BCC. value_out into table or scratch. */
enum rc mapping_value(const struct address_book *book, const struct map_list *l, struct span addr, struct buf *scratch,
    struct span *value_out, struct span *ext_out, struct err *e) MUST_CHECK;

#endif
