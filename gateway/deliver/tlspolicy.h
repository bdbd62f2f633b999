/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tlspolicy.h - how a service talks TLS to a destination: smtp_tls_security_level, smtp_tls_policy_maps (facts 8.3).
 *
 * A policy table is asked for the next hop as it is written, with brackets and port; a plain domain's parents follow as
 * ".example.com". Without one the old smtp_tls_per_site is, for the next hop and for the host. A row that cannot be understood
 * is no policy: mail waits. Runs in: relay; the loader opens once and looks at every row that can be listed.
 */
#ifndef DELIVER_TLSPOLICY_H
#define DELIVER_TLSPOLICY_H

#include "conf/conf.h"
#include "tls/client.h"

struct tls_policy {
	struct tls_wish wish;        /* without host, nexthop and key; strings live in text or in the service */
	bool may_reuse;              /* smtp_tls_connection_reuse: the connection serves more than one message */
	char *text;                  /* owned */
};

struct tls_policies;

/* *out is NULL when the service never talks TLS. Problems go to the configuration: RC_PERM. */
enum rc tls_policies_open(struct conf *c, const struct service *s, bool lmtp, struct tls_policies **out, struct err *e) MUST_CHECK;
void tls_policies_free(struct tls_policies **tp);    /* NULL inside is fine */
struct tls_client *tls_policies_client(const struct tls_policies *t);
bool tls_policies_wrapped(const struct tls_policies *t); /* smtp_tls_wrappermode */
bool tls_policies_note_offer(const struct tls_policies *t);

/* nexthop: as written. RC_OK also for TLS_DEMAND_NONE. RC_TEMP: a table could not be asked (map/remote.h). RC_PERM: the row is wrong; the reason is
 * for the log. *out: tls_policy_fini() in any case. */
enum rc tls_policy_find(const struct tls_policies *t, struct span nexthop, struct span host, struct tls_policy *out, struct err *e) MUST_CHECK;
void tls_policy_fini(struct tls_policy *p);

/* A value of a policy table: "secure match=example.com:.example.com ciphers=high". Pure but for its memory. */
enum rc tls_policy_parse(struct span value, struct tls_policy *out, struct err *e) MUST_CHECK;

#endif
