/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * header_rules.h - what becomes of the header of a message on its way in: headers that are dropped, addresses that are
 * completed and mapped, headers that are missing. Facts 5.6, 12.2, 12.3.
 *
 * message_drop_headers is for everybody. The rest is for those who write their headers here (local_header_rewrite_clients),
 * or with remote_header_rewrite_domain for everybody; always_add_missing_headers for everybody. One per smtpd service,
 * immutable. Pure but for table lookups: may be done again when a table has to be waited for (map/remote.h).
 */
#ifndef POLICY_HEADER_RULES_H
#define POLICY_HEADER_RULES_H

#include "msg/header.h"
#include "msg/headers.h"
#include "policy/classes.h"
#include "policy/facts.h"
#include "policy/rewrite.h"

struct header_rules;

/* s NULL: main.cf. book and w are borrowed; w may be NULL: no mapping. Problems to conf_problem(). RC_PERM: something cannot be used;
 * *out is given in any case. */
enum rc header_rules_open(struct conf *c, const struct service *s, const struct address_book *book, const struct rewriter *w,
    struct header_rules **out, struct err *e) MUST_CHECK;
void header_rules_free(struct header_rules **hp);        /* NULL inside is fine */

/* Whose headers they are. */
enum header_context {
	HEADERS_FOREIGN = 0,     /* addresses stay as they are */
	HEADERS_LOCAL,           /* completed with $myorigin and $mydomain, mapped */
	HEADERS_ADOPTED,         /* completed with remote_header_rewrite_domain, mapped */
};

/* Is this client one of local_header_rewrite_clients? RC_TEMP: a table could not be asked ("451 4.3.0 Temporary lookup error"). */
enum rc header_rules_context(const struct header_rules *h, const struct facts *f, enum header_context *out, struct err *e) MUST_CHECK;

/* Names whose appearance is a reason to look at a header closely. */
const struct header_watch *header_rules_watch(const struct header_rules *h);
/* Every header of this context is looked at. */
bool header_rules_always(const struct header_rules *h, enum header_context context);

struct header_message {
	enum header_context context;
	struct span qid;
	struct span sender;      /* of the envelope, completed, not yet mapped: for a missing From */
	uint64_t arrival;        /* wall clock, usec: for a missing Date */
};

/* Does it all. RC_TEMP: a table could not be asked: the message is refused with a 4xx, or the same is done again; h is not to be
 * used then. RC_PERM: too many addresses in one header, or it would grow beyond measure: "552 5.3.4". */
enum rc header_rules_apply(const struct header_rules *r, const struct header_message *m, struct headers *h, struct err *e) MUST_CHECK;

#endif
