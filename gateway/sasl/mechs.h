/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mechs.h - mechanisms a backend has, with their properties, and which of them the security options of a service allow.
 *
 * Options are Postfix's words (smtpd_sasl_security_options), properties those of Dovecot's MECH line; an option either
 * forbids a property or demands one. Facts 8.4, 8.5. Pure.
 */
#ifndef SASL_MECHS_H
#define SASL_MECHS_H

#include "base/buf.h"

enum sasl_security {
	SASL_OPT_NOANONYMOUS = 1, SASL_OPT_NOPLAINTEXT = 2, SASL_OPT_NODICTIONARY = 4, SASL_OPT_NOACTIVE = 8,
	SASL_OPT_FORWARD_SECRECY = 16, SASL_OPT_MUTUAL_AUTH = 32, SASL_OPT_ALL = 63,
};
/* RC_PERM: an unknown word, named in e. */
enum rc sasl_options(struct span words, unsigned *out, struct err *e) MUST_CHECK;

enum sasl_property {
	SASL_IS_ANONYMOUS = 1, SASL_IS_PLAINTEXT = 2, SASL_IS_DICTIONARY = 4, SASL_IS_ACTIVE = 8,
	SASL_HAS_FORWARD_SECRECY = 16, SASL_HAS_MUTUAL_AUTH = 32, SASL_IS_PRIVATE = 64,
};
/* 0: a word that says nothing to us. */
unsigned sasl_property(struct span word);
bool sasl_allowed(unsigned options, unsigned properties);

enum { SASL_MECHS_MAX = 64, SASL_MECH_NAME_MAX = 20 /* RFC 4422 3.1 */ };

struct sasl_mech {
	char name[SASL_MECH_NAME_MAX + 1];
	unsigned properties;
};
struct sasl_mechs {
	size_t n;
	struct sasl_mech mech[SASL_MECHS_MAX];
};

/* Letters of a mechanism's name, in any case; 1 to 20 of them. */
bool sasl_mech_is_name(struct span name);
/* Adds one, its name in upper case; one that is there already gets the properties. false: no name, or no room. */
bool sasl_mechs_add(struct sasl_mechs *m, struct span name, unsigned properties);
/* Any case. NULL: not there. */
const struct sasl_mech *sasl_mechs_find(const struct sasl_mechs *m, struct span name);

/* ---- has every backend of this process said what it has, or been found not to be there? ---- */
void sasl_one_more(void);            /* a backend that has not */
void sasl_one_settled(void);
bool sasl_is_settled(void);
/* fn is called when the last one has. */
void sasl_when_settled(void (*fn)(void));

#endif
