/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * alias.h - what stands in alias_maps: addresses, ":include:/file" lists, and what a gateway without mailboxes cannot
 * deliver to: "|command", "/file", "\user". Facts 6.1.
 *
 * Lists are read through conf_file(): while loading all that the tables name are read, in a role they come from the
 * image. Runs in: edge (expansion), queue (what to say of a recipient that stayed), commands (check).
 */
#ifndef POLICY_ALIAS_H
#define POLICY_ALIAS_H

#include "policy/addrlist.h"
#include "policy/classes.h"

struct aliases;

/* *out is NULL without aliases (alias_maps empty, or local mail goes elsewhere). While loading: reads the lists, names what
 * cannot be delivered to. */
enum rc aliases_open(struct conf *c, const struct service *s, const struct address_book *book, struct aliases **out, struct err *e)
    MUST_CHECK;
void aliases_free(struct aliases **ap);

enum alias_kind { ALIAS_ADDRESS = 1, ALIAS_INCLUDE, ALIAS_COMMAND, ALIAS_FILE, ALIAS_MAILBOX };
/* The next destination of a value: text is the address as written (internal form, not completed), the file of a list, the
 * command, ... and stands in word. false: no more. */
bool alias_next(struct addrlist *l, struct buf *word, enum alias_kind *kind_out, struct span *text_out);

/* Contents of a list; one value per line: alias_list_line(). RC_TEMP: cannot be read. */
enum rc alias_list(const struct aliases *al, struct span path, struct span *text_out, struct err *e) MUST_CHECK;
/* Next line with something in it; comments are dropped. */
bool alias_list_line(struct span *rest, struct span *line_out);

/* Why mail for a local address that stayed in an envelope is not delivered. RC_OK: it has an alias, dsn and text say what is
 * wrong with it (constants or scratch); RC_NONE: it has none. */
enum rc alias_trouble(const struct aliases *al, const struct resolved *r, struct buf *scratch, struct span *dsn_out, struct span *text_out,
    struct err *e) MUST_CHECK;

#endif
