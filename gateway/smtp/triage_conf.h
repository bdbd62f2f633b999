/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * triage_conf.h - what the postscreen_* settings of a listener mean, worked out once per configuration. Facts 4.2, 14.5.
 *
 * A listener is tested when its master.cf command is postscreen, or smtpd_triage = yes. Immutable; owned by its
 * edge_service. Runs in: edge, and in `check` and `explain`.
 */
#ifndef SMTP_TRIAGE_CONF_H
#define SMTP_TRIAGE_CONF_H

#include "map/map.h"
#include "map/matchlist.h"
#include "rbl/sites.h"
#include "tls/server.h"

enum triage_test { TEST_PREGREET, TEST_DNSBL, TEST_PIPELINING, TEST_NON_SMTP, TEST_BARE_NEWLINE, TEST_COUNT };
enum {
	TESTS_EARLY = 1u << TEST_PREGREET | 1u << TEST_DNSBL,
	TESTS_DEEP = 1u << TEST_PIPELINING | 1u << TEST_NON_SMTP | 1u << TEST_BARE_NEWLINE,
};
enum triage_action { TRIAGE_IGNORE, TRIAGE_ENFORCE, TRIAGE_DROP };
enum triage_listed { TRIAGE_DUNNO, TRIAGE_PERMIT, TRIAGE_REJECT, TRIAGE_TROUBLE /* the rest of the list counts for nothing */ };

/* postscreen_access_list. */
struct triage_acl;
enum rc triage_acl_open(struct conf *c, const struct service *s, struct triage_acl **out, struct err *e) MUST_CHECK;
void triage_acl_free(struct triage_acl **ap);
/* TRIAGE_TROUBLE: e says why, as Postfix words it. told: hears what each item says, or NULL. */
typedef void triage_acl_fn(void *arg, const char *item, enum triage_listed says);
enum triage_listed triage_acl_eval(const struct triage_acl *a, const struct ipaddr *client, triage_acl_fn *told, void *arg, struct err *e);

struct triage_conf {
	const struct params *p;              /* of the line the listener stands in */
	const char *tag;                     /* its syslog_name when it has its own, else NULL */
	struct triage_acl *acl;
	struct matchlist *interfaces;        /* where clients may pass */
	struct matchlist *forbidden;         /* words of other protocols */
	bool forbid_nonletters;
	struct rbl_sites *sites;             /* NULL: none */
	enum triage_action denylist, action[TEST_COUNT];
	unsigned enabled;                    /* 1 << test */
	uint64_t ttl[TEST_COUNT], min_ttl;   /* seconds; that of the lists comes with the score */
	uint64_t greet_wait[2], command_time[2]; /* usec; [1]: under stress */
	bool remembers;                      /* postscreen_cache_map is not empty */
	struct buf teaser;                   /* with CRLF; empty: none */
	enum tls_level tls_level;            /* of the engine */
	unsigned hidden;                     /* 1 << EHLO_x: never announced by the engine */
	struct map_list *hide_maps;          /* the same by client */
	const char *footer;
	struct map_list *footer_maps, *filter;
};

/* RC_PERM: cannot be run as it is; problems went to conf_problem(). *out is NULL then. keywords_of_list: reads a list of EHLO
 * keywords, of the named parameter. */
enum rc triage_conf_open(struct conf *c, const struct service *s, struct triage_conf **out, struct err *e) MUST_CHECK;
void triage_conf_free(struct triage_conf **tp);
/* Are clients of this listener tested? */
bool triage_is_on(const struct service *listener);
/* policy_explain_first_fn. */
struct explain_out;
struct facts;
int triage_explain(struct conf *c, const struct service *listener, const struct facts *f, struct explain_out *out);
/* What is said about settings that could be run as they are. */
void triage_conf_notes(struct conf *c, const struct service *s);

#endif
