/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * badlogins.h - logins a hub has refused for good: smtp_sasl_auth_cache_name, smtp_sasl_auth_cache_time.
 *
 * The same user and password are not tried again at that host while the refusal is remembered; another password is.
 * In the memory of the relay process, at most BADLOGINS_MAX, the oldest goes first; keys are hashes.
 */
#ifndef DELIVER_BADLOGINS_H
#define DELIVER_BADLOGINS_H

#include "deliver/login.h"

enum { BADLOGINS_MAX = 1000 };

struct badlogin {
	const char *dsn, *text;      /* of the refusal */
};

/* RC_OK: refused less than max_usec ago; *out is valid until the next call. RC_NONE: not that we know. */
enum rc badlogins_find(const char *host, const struct login *l, uint64_t max_usec, struct badlogin *out) MUST_CHECK;
void badlogins_add(const char *host, const struct login *l, struct span dsn, struct span text); /* copied; text is masked */

#endif
