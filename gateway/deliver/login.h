/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * login.h - who we are at a hub: smtp_sasl_password_maps and smtp_sasl_oauth2_token_maps of a service (facts 8.6).
 *
 * Asked in this order: the sender and then its @domain with smtp_sender_dependent_authentication, the host's name, the
 * next hop as it is written ("[smtp.example.com]:587"). A value is user:password, in a token table user:FILE with the
 * token in FILE. Texts that leave a session go through login_mask(): nothing a hub repeats shows a password.
 * Runs in: relay; the loader opens the tables once.
 */
#ifndef DELIVER_LOGIN_H
#define DELIVER_LOGIN_H

#include "base/buf.h"
#include "conf/conf.h"

enum sasl_option {
	SASL_NO_PLAINTEXT = 1, SASL_NO_ANONYMOUS = 2, SASL_NO_ACTIVE = 4, SASL_NO_DICTIONARY = 8, SASL_FORWARD_SECRECY = 16,
	SASL_MUTUAL_AUTH = 32,
};

/* How well the connection is protected when we log in: which options count. */
enum sasl_where { SASL_IN_CLEAR, SASL_IN_TLS, SASL_IN_VERIFIED_TLS };

struct login {
	char *user, *secret;         /* owned, NULL: none; the secret is a password or a token */
	bool is_token;
};

struct logins;

/* *out is NULL when the service does not log in. Problems go to the configuration: RC_PERM. */
enum rc logins_open(struct conf *c, const struct service *s, bool lmtp, struct logins **out, struct err *e) MUST_CHECK;
void logins_free(struct logins **lp);
/* The login for a message of this sender at this host, for a next hop as written. RC_NONE: there is none, we talk as strangers.
 * RC_TEMP: a table could not be asked (map/remote.h), or a token file not be read. out: login_wipe() it. */
enum rc login_find(const struct logins *l, struct span sender, struct span host, struct span nexthop, struct login *out,
    struct err *e) MUST_CHECK;
/* It depends on the sender: sessions are not shared by all. */
bool logins_by_sender(const struct logins *l);
/* The mechanisms a hub offers, without those smtp_sasl_mechanism_filter leaves out; RC_TEMP: its table could not be asked. */
enum rc logins_filter(const struct logins *l, struct span offered, struct buf *out, struct err *e) MUST_CHECK;
bool logins_has_filter(const struct logins *l);
unsigned logins_options(const struct logins *l, enum sasl_where where); /* SASL_* */

bool login_same(const struct login *a, const struct login *b);
void login_wipe(struct login *l);
/* Puts "[...]" where text has the secret, as it is, in base64 (as part of something longer, too) or in hexadecimal. */
void login_mask(const struct login *l, struct buf *text);

/* "noplaintext, noanonymous": RC_PERM for a word that is none. */
enum rc sasl_options_parse(const char *list, unsigned *out, struct err *e) MUST_CHECK;

#endif
