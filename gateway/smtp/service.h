/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * service.h - what one smtpd line of master.cf means to its sessions, worked out once per configuration.
 *
 * An edge_conf holds a reference on its snapshot and one edge_service per smtpd line; both are immutable and
 * counted: a session keeps those it began with. Runs in: edge; edge_conf_check() also in `check`.
 */
#ifndef SMTP_SERVICE_H
#define SMTP_SERVICE_H

#include "conf/conf.h"
#include "filters/milter.h"
#include "map/matchlist.h"
#include "policy/header_rules.h"
#include "policy/policy.h"
#include "policy/rewrite.h"
#include "sasl/setup.h"
#include "smtp/checking.h"
#include "smtp/content.h"
#include "smtp/proxied.h"
#include "smtp/triage_conf.h"
#include "tls/server.h"

struct milter_choice;                          /* milter_choice.h */

enum ehlo_keyword {
#define EHLO_KEYWORD(name, bit, doc) EHLO_##bit,
#include "smtp/keywords.def"
#undef EHLO_KEYWORD
	EHLO_COUNT
};

enum bare_lf_mode { BARE_LF_NO, BARE_LF_NORMALIZE, BARE_LF_NOTE, BARE_LF_REJECT };

/* What is shorter when a process has nearly all the sessions it may (stress = yes). */
struct patience {
	uint64_t timeout;                    /* smtpd_timeout, usec */
	uint64_t hard_errors, junk;          /* smtpd_hard_error_limit, smtpd_junk_command_limit */
};

struct edge_service {
	const struct service *listener;      /* the line with the socket */
	const struct service *row;           /* the smtpd line; another one behind postscreen */
	const struct params *p;
	struct policy *policy;
	struct address_book *book;           /* while checking, when there is no policy */
	struct rewriter *rewriter;
	struct header_rules *headers;
	const char *tag;                     /* syslog_name when the service has its own, else NULL */
	enum tls_level tls_level;
	struct tls_server *tls;              /* NULL: no certificate for it */
	bool discards_starttls;              /* smtpd_discard_ehlo_keywords */
	unsigned keywords;                   /* 1 << EHLO_x: announced */
	enum bare_lf_mode bare_lf;
	bool wants_forward;                  /* a transport tells its hub who the client was (smtp_send_xforward_command) */
	bool forbid_nonletters;              /* regexp:{{/^[^A-Z]/ Bogus}} of smtpd_forbidden_commands */
	struct matchlist *forbidden, *noop;  /* commands */
	struct matchlist *limit_exempt;      /* smtpd_client_event_limit_exceptions */
	struct matchlist *bare_lf_exempt;
	struct patience patience[2];         /* [1]: under stress */
	struct triage_conf *triage;          /* clients are tested first; NULL: they are not */
	bool has_upstream_proxy;             /* smtpd_ or postscreen_upstream_proxy_protocol = haproxy */
	uint64_t proxy_timeout;              /* usec */
	struct matchlist *proxy_hosts;       /* who may be that; empty: everybody who can reach us */
	struct proxied_conf *proxied;        /* smtpd_proxy_filter; NULL: none */
	struct matchlist *flush_domains;     /* ETRN */
	struct matchlist *xclient_hosts, *xforward_hosts;
	struct sasl_setup *sasl;             /* NULL: no AUTH */
	struct milter_choice *milters;         /* smtpd_milters, smtpd_milter_maps; NULL: nobody has any */
	bool holds_in_queue;                 /* milter_quarantine_queue = hold */
	struct map_list *footer_maps;        /* smtpd_reject_footer_maps */
	struct content_limits content;
	struct check_settings check;
	struct buf banner, helo_reply, ehlo_reply; /* whole, CRLF included; the last without XCLIENT, XFORWARD and AUTH */
};

struct edge_conf {
	int refs;
	struct conf *conf;
	struct milter_set *milters_internal; /* non_smtpd_milters */
	struct milter_set *milters_again;    /* the virus filter, for what was held unscanned; NULL: there is none */
	size_t n;                            /* rows of master.cf */
	struct edge_service *services[];     /* by row; NULL: not smtpd */
};

/* Compiles every smtpd line. RC_PERM: cannot be run as it is; problems went to conf_problem(). */
enum rc edge_conf_open(struct conf *c, struct edge_conf **out, struct err *e) MUST_CHECK;
struct edge_conf *edge_conf_ref(struct edge_conf *ec);
void edge_conf_unref(struct edge_conf **ecp);
/* The DNS lists of all services are in use, others not any more (rbl/health.h). After start and reload; the loop runs. */
void edge_conf_use_lists(const struct edge_conf *ec);
/* Appends the reply to EHLO with these keywords. mechs: behind AUTH. */
void service_ehlo(const struct edge_service *svc, unsigned keywords, struct span mechs, struct buf *b);
bool service_offers_tls(const struct edge_service *svc);
/* EHLO keywords of a list as bits; c NULL: words that are none are not complained about. */
unsigned service_hidden_keywords(struct conf *c, const struct service *s, const char *parameter, struct span list);
/* smtpd_forbidden_commands and its kin: *nonletters_out: the default's pattern is among them. As matchlist_open. */
enum rc service_forbidden(struct conf *c, const struct service *s, const char *parameter, struct matchlist **out, bool *nonletters_out,
    struct err *e) MUST_CHECK;
/* Problems only, into the snapshot: for check, start and reload. */
void edge_conf_check(struct conf *c);

#endif
