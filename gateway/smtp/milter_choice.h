/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter_choice.h - which milters the sessions of a service have: smtpd_milters, or what smtpd_milter_maps says of a client's
 * address (facts 9.1). Part of an edge_service, as immutable as that; what tables give is parsed once and kept.
 */
#ifndef SMTP_MILTER_CHOICE_H
#define SMTP_MILTER_CHOICE_H

#include "filters/milter.h"

struct milter_choice;
struct milter_route;

/* *out NULL: nobody has any (none are configured, or no_milters in receive_override_options). RC_PERM: cannot be used; the problems
 * are in the configuration. */
enum rc milter_choice_open(struct conf *c, const struct service *s, struct milter_choice **out, struct err *e) MUST_CHECK;
void milter_choice_free(struct milter_choice **mp);  /* NULL inside is fine; no session of it may be left */
/* Those of a client; *out NULL: none. RC_TEMP: a table could not be asked (map_asked(): yet). RC_PERM: what it says is none. */
enum rc milter_choice_find(struct milter_choice *m, struct span client_addr, struct milter_set **out, struct err *e) MUST_CHECK;

/* For macros about routes; borrowed. */
const struct milter_route *milter_choice_route(const struct milter_choice *m);

/* For "dogana explain": who would be asked about mail of this client. 0: told; 2: cannot be used. */
struct explain_out;
struct facts;
int milter_choice_explain(struct conf *c, const struct service *s, const struct facts *f, struct explain_out *out);

#endif
