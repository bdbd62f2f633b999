/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outdest.h - a destination: a service and a next hop, with the sessions that stand to it.
 *
 * Holds the configuration snapshot it began with; after a reload new jobs get new destinations and old ones
 * go when their last job and session are gone. A session at rest is used by the next job for the same
 * destination, the one that rested last first.
 */
#ifndef DELIVER_OUTDEST_H
#define DELIVER_OUTDEST_H

#include "deliver/client.h"
#include "deliver/outmaps.h"
#include "deliver/outset.h"

struct outdests {
	struct htab by_key;
	struct list all;             /* also outdated ones */
	struct outset *set;          /* for new ones; NULL: none */
	size_t count;
};

struct outdest {
	struct outdests *home;
	struct hnode by_key;
	struct list link;
	struct conf *conf;           /* reference */
	const struct service *service;
	struct settings set;
	struct outset *opened;       /* reference */
	const struct generic *generic; /* NULL: addresses stay as they are */
	const struct checks *checks; /* NULL: content stays as it is */
	const struct logins *logins; /* NULL: it logs in nowhere */
	const struct tls_policies *policies; /* NULL: never TLS */
	struct list resting, working; /* sessions */
	unsigned users;              /* jobs and sessions */
	bool is_outdated;            /* not in the table any more */
	bool may_reuse;
	size_t nexthop_len;
	unsigned char nexthop[];
};

void outdests_init(struct outdests *ds);
/* The destination of a job, made when there is none; adds a user. NULL: no such smtp or lmtp service. */
struct outdest *outdest_get(struct outdests *ds, struct conf *conf, struct span transport, struct span nexthop);
void outdest_release(struct outdest *d);        /* takes a user away; frees it with the last one */
/* A session that can be used at once for this job, or NULL; it moves to working. to: one with this address; NULL: one
 * with a preferred host (a backup host is for jobs that found the others not working). One that is logged in
 * as somebody else is not taken. */
struct smtpc *outdest_take(struct outdest *d, const struct taddr *to, const struct job *j);
/* Opens a session for a job. nexthop: as written, what the address was found for. is_plain: without TLS, which was optional. */
struct smtpc *outdest_open(struct outdest *d, const struct taddr *to, struct span nexthop, bool is_plain, struct job *j, struct smtpc_call *call);
/* The session has nothing to do: keeps or ends it. */
void outdest_give_back(struct outdest *d, struct smtpc *c);
/* Ends resting sessions; with outdate, new jobs get new destinations. */
void outdests_rest_over(struct outdests *ds, bool outdate);

#endif
