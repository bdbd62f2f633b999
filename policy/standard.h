/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * standard.h - the standard form of an address (facts 5.6.1): user@site for site!user and user%site, an origin behind a bare
 * user, a domain behind a bare host name. Pure.
 */
#ifndef POLICY_STANDARD_H
#define POLICY_STANDARD_H

#include "base/arena.h"
#include "base/buf.h"
#include "conf/conf.h"
#include "msg/addr.h"

struct standard {
	const char *origin;      /* "user" becomes "user@origin"; "": it stays */
	const char *domain;      /* "user@host" becomes "user@host.domain"; "": it stays */
	bool bang, percent;      /* site!user, user%site are looked at */
};

/* As the configuration has it for envelopes and for the headers of local clients. */
struct standard standard_local(const struct params *p);
/* The same with remote_header_rewrite_domain: headers of other clients. */
struct standard standard_remote(const struct params *p);

/* addr itself when nothing changes, otherwise in out, which is emptied first. addr: internal form; has_domain: what is behind its
 * last '@' is one (a quoted local part alone may have an '@', too). */
struct span standard_form(const struct standard *s, struct span addr, bool has_domain, struct buf *out);
/* An address of an envelope in that form: in the arena, or its own text when it is complete or there is no room. */
struct span standard_complete(const struct params *p, const struct addr *a, struct arena *arena);

#endif
