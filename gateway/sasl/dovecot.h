/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dovecot.h - the client side of Dovecot's auth protocol (facts 8.5).
 *
 * One struct dovecot per server and process, with one connection that all sessions share: requests carry ids. It connects when it is
 * opened and keeps coming back, so that the mechanisms are known before a client asks for them; what was known last is kept while the
 * server is away. A request that was not answered when the connection broke is asked once more on a new one. What cannot be asked, or
 * is not answered in time, is SASL_NOT_NOW. A server that breaks the protocol (an id never used, an answer nobody asked for, a
 * user name with control characters, a line without end) is disconnected from: it authenticates nobody. Runs in: edge.
 */
#ifndef SASL_DOVECOT_H
#define SASL_DOVECOT_H

#include "conf/conf.h"
#include "sasl/exchange.h"
#include "sasl/mechs.h"

/* path: smtpd_sasl_path. live: a reference on the one there is for this path, or a new one; else only looks whether it could be
 * used, and gives NULL. */
enum rc dovecot_open(struct conf *c, const struct service *s, const char *path, bool live, struct dovecot **out, struct err *e) MUST_CHECK;
/* Gives the reference back. NULL inside is fine. No exchange may be under way when it was the last. */
void dovecot_free(struct dovecot **dp);

/* NULL: it has never been reached. */
const struct sasl_mechs *dovecot_mechs(const struct dovecot *d);

/* request: what stands behind the id, from TAB to LF, in x->request. */
void dovecot_begin(struct dovecot *d, struct sasl_exchange *x, uint64_t timeout_usec);
void dovecot_answer(struct dovecot *d, struct sasl_exchange *x, struct span response, uint64_t timeout_usec);
/* Forgets it, wherever it is. */
void dovecot_forget(struct dovecot *d, struct sasl_exchange *x);

#endif
