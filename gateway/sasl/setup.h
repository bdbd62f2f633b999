/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * setup.h - how clients of one smtpd service may log in: the backend, which mechanisms, to whom they are offered.
 * Worked out once per configuration, immutable. Facts 8.4.
 */
#ifndef SASL_SETUP_H
#define SASL_SETUP_H

#include "map/matchlist.h"
#include "sasl/dovecot.h"

struct cyrus;
struct sasl_setup;

/* *out is NULL when smtpd_sasl_auth_enable = no. live: sessions will use it; else only what is wrong with it is found. */
enum rc sasl_setup_open(struct conf *c, const struct service *s, bool live, struct sasl_setup **out, struct err *e) MUST_CHECK;
void sasl_setup_free(struct sasl_setup **sp);

/* A client that is not offered AUTH (smtpd_sasl_exceptions_networks). RC_OK: so it is; RC_NONE; RC_TEMP: cannot say. */
enum rc sasl_setup_excepts(const struct sasl_setup *s, struct span name, const struct ipaddr *addr, struct err *e) MUST_CHECK;
/* Appends "PLAIN LOGIN ..." as the options for a connection with or without TLS allow. RC_NONE: nothing is allowed; RC_TEMP: the
 * backend has never been reached. */
enum rc sasl_setup_offer(const struct sasl_setup *s, bool is_tls, struct buf *b) MUST_CHECK;
/* The mechanism as the backend writes it, if it is offered. RC_NONE: it is not; RC_TEMP as above. */
enum rc sasl_setup_mech(const struct sasl_setup *s, bool is_tls, struct span name, const char **out) MUST_CHECK;

/* For exchange.c and the backends. Only one of them is not NULL. */
struct dovecot *sasl_setup_dovecot(const struct sasl_setup *s);
struct cyrus *sasl_setup_cyrus(const struct sasl_setup *s);
const struct params *sasl_setup_params(const struct sasl_setup *s);
unsigned sasl_setup_options(const struct sasl_setup *s, bool is_tls);

#endif
