/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter_route.h - where an address would be routed, as milters are told of it ({rcpt_host}, {mail_mailer}, ...; facts 5.2, 9.1). The queue
 * decides later and for itself (queue/route.h). Part of an edge_service with milters, as immutable as that.
 *
 * Nobody waits for it: a table of another process, or one that fails, has no say.
 */
#ifndef SMTP_MILTER_ROUTE_H
#define SMTP_MILTER_ROUTE_H

#include "policy/classes.h"

struct milter_route;

/* RC_PERM: a table cannot be used; the problems are in the configuration. *out is given in any case. */
enum rc milter_route_open(struct conf *c, const struct service *s, struct milter_route **out, struct err *e) MUST_CHECK;
void milter_route_free(struct milter_route **rp);    /* NULL inside is fine */
/* r: what has been resolved. sender: empty for none. Both results into out, which is emptied first, or into the configuration. */
void milter_route_find(const struct milter_route *m, const struct address_book *book, const struct resolved *r, struct span sender, struct buf *out,
    struct span *transport_out, struct span *nexthop_out);

#endif
