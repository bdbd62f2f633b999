/* SPDX-License-Identifier: BSD-2-Clause */
/* oauth.h - the two mechanisms that carry a bearer token: XOAUTH2 and OAUTHBEARER (RFC 7628). Pure. */
#ifndef DELIVER_OAUTH_H
#define DELIVER_OAUTH_H

#include "base/buf.h"

enum oauth { OAUTH_NONE = 0, OAUTH_BEARER, OAUTH_X };

/* The better of those in a list of mechanisms. */
enum oauth oauth_choose(struct span mechs);
const char *oauth_name(enum oauth kind);
/* The first message, not in base64. RC_PERM: user or token has octets that must not stand there. */
enum rc oauth_first(enum oauth kind, struct span user, struct span token, const char *host, uint16_t port, struct buf *out,
    struct err *e) MUST_CHECK;
/* What a hub wants to hear behind its error message before it says 535. */
struct span oauth_last(enum oauth kind);

#endif
