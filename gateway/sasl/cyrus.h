/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cyrus.h - logins checked by libsasl2, which may block and is not for a process that talks to the network: the auth process
 * (auth/auth.h) has it, and is asked over its channel. Runs in: edge.
 *
 * The mechanisms of a service are asked for when the channel stands, and again when it stands anew; what was known last is kept.
 */
#ifndef SASL_CYRUS_H
#define SASL_CYRUS_H

#include "conf/conf.h"
#include "sasl/exchange.h"
#include "sasl/mechs.h"

struct child;
struct cyrus;

/* options: enum sasl_security in the clear and with TLS. live as in dovecot.h. */
enum rc cyrus_open(struct conf *c, const struct service *s, const unsigned options[2], bool live, struct cyrus **out, struct err *e) MUST_CHECK;
void cyrus_free(struct cyrus **cp);              /* NULL inside is fine */
/* NULL: not known yet. They are those that the options allow. */
const struct sasl_mechs *cyrus_mechs(const struct cyrus *c, bool is_tls);

void cyrus_begin(struct cyrus *c, struct sasl_exchange *x, unsigned options, const char *mech, bool has_initial, struct span initial);
void cyrus_answer(struct cyrus *c, struct sasl_exchange *x, struct span response);
void cyrus_forget(struct sasl_exchange *x);

/* The edge got its channel to the auth process, or its end. fd is given. */
void cyrus_peer(struct child *child, unsigned index, int fd);

#endif
