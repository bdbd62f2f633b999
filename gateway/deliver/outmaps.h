/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outmaps.h - smtp_generic_maps and lmtp_generic_maps: one set per configuration, and a job under the addresses they give.
 *
 * Envelope and header go out under other addresses, the rest of the content is sent from where it is. Log, reports
 * and bounces keep to the addresses the message has inside. Runs in: relay; outmaps_check() in the loader.
 */
#ifndef DELIVER_OUTMAPS_H
#define DELIVER_OUTMAPS_H

#include "deliver/job.h"
#include "policy/rewrite.h"

struct outmaps {
	int refs;
	struct conf *conf;           /* reference */
	size_t n;
	struct outmap {              /* services that map something */
		const struct service *service;
		struct generic *generic;
	} row[];
};

/* RC_PERM: a table cannot be used; problems are in the configuration. */
enum rc outmaps_open(struct conf *c, struct outmaps **out, struct err *e) MUST_CHECK;
struct outmaps *outmaps_ref(struct outmaps *m);
void outmaps_unref(struct outmaps **mp);         /* NULL inside is fine */
/* Of a service of its configuration; NULL: nothing is mapped. */
const struct generic *outmaps_of(const struct outmaps *m, const struct service *s);
/* Opens and closes: for check, start and reload. */
void outmaps_check(struct conf *c);

/* Finds out what envelope and header of a job are called outside: j->sender, j->rcpt[].wire, j->head. fd: its content; -1: it has
 * none. May be done again. RC_TEMP: a table could not be asked (map/remote.h), or the content not read. */
enum rc outmaps_apply(const struct generic *g, struct job *j, int fd, struct err *e) MUST_CHECK;

#endif
