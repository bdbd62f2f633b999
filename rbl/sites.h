/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sites.h - weighted DNS lists: postscreen_dnsbl_sites, and the score of one address. Facts 4.2.
 *
 * The sites of a service are compiled once and immutable; they hold no reference on the snapshot but live no longer than
 * it. A struct rbl_score asks all of them about one address, in parallel and each domain once however many filters it
 * has, and completes when the last one has answered or postscreen_dnsbl_timeout is over. What has been counted so far may
 * be read at any time: who cannot wait any longer takes it and calls rbl_score_fini(). Runs in: edge, and commands.
 *
 * The arithmetic is Postfix's: each "domain=filter*weight" adds its weight once when any of the answers fits its filter; no
 * answer, an error and a list that is out of use (rbl/health.h) add nothing. Each address a list answers with is a line
 * "addr A listed by domain D as R" with the service name dnsblog.
 */
#ifndef RBL_SITES_H
#define RBL_SITES_H

#include "base/ipaddr.h"
#include "base/log.h"
#include "conf/conf.h"
#include "loop/loop.h"
#include "loop/op.h"

struct rbl_sites;

/* Reads postscreen_dnsbl_sites, _reply_map, _min_ttl, _max_ttl and _timeout as the service (NULL: main.cf) has them. An empty
 * list is RC_OK with *out NULL. RC_PERM: the configuration must not be used, conf_problem() says why; *out is NULL. What a role
 * opens must have been opened in the loader before (the reply map). */
enum rc rbl_sites_open(struct conf *c, const struct service *s, struct rbl_sites **out, struct err *e) MUST_CHECK;
void rbl_sites_free(struct rbl_sites **sp);      /* NULL inside is fine */

struct rbl_score {
	struct op op;                /* RC_OK: all have answered. RC_TEMP: some could not say; the score is what the others said */
	int score;                   /* sum of the weights so far, within int */
	const char *shown;           /* list with the largest weight so far, as the client may see it; NULL: listed nowhere */
	uint64_t ttl_usec;           /* how long this result may be believed: the smallest TTL, within min and max; min when a list could not say */
	unsigned pending, failed;    /* lists: not answered yet; could not say */
	unsigned not_asked;          /* lists that limits of our own kept from being asked; who lets the client pass now lets load decide */
	int not_asked_weight;        /* the most those would have added */
	char listed[160];            /* "bl.example as 127.0.0.2, ...": who listed it, as far as there is room */
	/* private */
	const struct rbl_sites *sites;
	const struct log_ctx *log;
	struct rbl_asked *asked;     /* one per domain */
	struct op_owner waits;
	struct timer timer;
	struct ipaddr addr;
	int shown_weight;
	uint32_t ttl;                /* seconds; UINT32_MAX: none yet */
	bool is_partial;             /* a list was paused, or out of use */
};

/* For checks and commands: each "domain=filter*weight" as it was understood; shown: the name for replies. */
struct rbl_list;
typedef void rbl_site_fn(void *arg, const char *item, const struct rbl_list *list, int weight, const char *shown);
void rbl_sites_each(const struct rbl_sites *s, rbl_site_fn *fn, void *arg);
/* Each domain once, for rbl_health_use(). */
void rbl_sites_use(const struct rbl_sites *s);

/* A zeroed score may be given to rbl_score_fini() without this. */
void rbl_score_init(struct rbl_score *sc, struct op_owner *owner, op_fn *done);
/* Asks; the op must be idle. sites: not NULL, kept until rbl_score_fini(). log: kept likewise, for the lines; may be NULL. An IPv4
 * address inside IPv6 is asked as IPv4. */
void rbl_score_start(struct rbl_score *sc, const struct rbl_sites *sites, const struct ipaddr *addr, const struct log_ctx *log);
/* Ends it, whatever its state, and frees what it holds; the counted fields stay readable, and not_asked counts what was still
 * held back. Idempotent. Required also after done(). */
void rbl_score_fini(struct rbl_score *sc);

#endif
