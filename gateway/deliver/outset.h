/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outset.h - what the smtp and lmtp services of a configuration have opened: one set per configuration.
 *
 * A service has the tables of its generic addresses (outmaps.h), its logins (login.h) and TLS policies (tlspolicy.h); destinations borrow
 * them and keep a reference on the set. Runs in: relay; outset_check() in the loader.
 */
#ifndef DELIVER_OUTSET_H
#define DELIVER_OUTSET_H

#include "conf/conf.h"
#include "deliver/login.h"
#include "deliver/tlspolicy.h"
#include "filters/checks.h"
#include "policy/rewrite.h"

struct outset {
	int refs;
	struct conf *conf;           /* reference */
	size_t n;
	struct outservice {
		const struct service *service;
		struct checks *checks;   /* smtp_header_checks ...; NULL: none */
		struct generic *generic;
		struct logins *logins;
		struct tls_policies *policies;
	} row[];
};

/* RC_PERM: something cannot be used; problems are in the configuration. *out is given in any case. */
enum rc outset_open(struct conf *c, struct outset **out, struct err *e) MUST_CHECK;
struct outset *outset_ref(struct outset *m);
void outset_unref(struct outset **mp);           /* NULL inside is fine */
/* Of a service of its configuration; NULL: it has nothing of the kind. */
const struct outservice *outset_of(const struct outset *m, const struct service *s);
/* Does any service log in? */
bool outset_logs_in(const struct outset *m);
/* Opens and closes: for check, start and reload. */
void outset_check(struct conf *c);

#endif
