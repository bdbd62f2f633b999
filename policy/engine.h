/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * engine.h - the inside of policy: rows, compiled lists, and what a rule may do. For files of policy/ only.
 */
#ifndef POLICY_ENGINE_H
#define POLICY_ENGINE_H

#include "base/arena.h"
#include "map/remote.h"
#include "policy/classes.h"
#include "policy/policy.h"
#include "policy/template.h"

enum { SLEEP_MAX = 86400 };  /* seconds */
enum restriction_arg { ARG_NONE = 0, ARG_MAP, ARG_SECONDS, ARG_SERVER, ARG_DNSBL, ARG_CERT };
enum restriction_kind { PERMITS = 1, REJECTS, DECIDES, CONTROL };
enum { NEED_HELO = 1, NEED_SENDER = 2, NEED_RCPT = 4, NEED_NAME = 8 /* the client's host name: always there */, NEED_ETRN = 16 };

/* What a rule said. */
enum pol {
	POL_DUNNO = 0,           /* the next rule */
	POL_PERMIT,              /* this list ends, the next one runs */
	POL_REFUSE,              /* run->verdict has the reply; nothing more runs */
	POL_CALL,                /* a list was pushed: it runs next */
	POL_WAIT,                /* something of the run is under way; policy_continue() goes on with the next rule */
	POL_AGAIN,               /* the same, and then the same rule is run again: it finds its answers (policy_need) */
};

/* Fingerprints of a client certificate. */
enum { CERT_WHOLE = 1, CERT_PUBKEY, CERT_SEARCHES = 2 };

struct policy_rule;
typedef enum pol policy_rule_fn(struct policy_run *r, const struct policy_rule *rule);

struct restriction {
	const char *name;
	enum restriction_arg arg;
	unsigned needs;
	enum restriction_kind kind;
	policy_rule_fn *fn;          /* NULL: not supported, doc says what it is */
	const char *advice;          /* RESTRICTION_GONE: what to write instead */
	const char *doc;
};

struct policy_rule {
	const struct restriction *row; /* NULL: a restriction class */
	struct map_list *map;        /* ARG_MAP */
	unsigned seconds;            /* sleep */
	struct policy_server *server; /* ARG_SERVER */
	const struct policy_dnsbl *dnsbl; /* ARG_DNSBL */
	unsigned char search[CERT_SEARCHES]; /* ARG_CERT: which fingerprints, in which order; 0: no more */
	const struct policy_list *class;
	const char *shown;           /* as configured: "check_client_access hash:/x" */
};

struct policy_list {
	const char *name;            /* parameter or class */
	const struct restriction *bare; /* what a bare type:table means here; NULL: nothing */
	struct policy_rule *rules;
	unsigned count, cap;
	bool in_progress;            /* while compiling: a class that names itself */
	struct policy_list *next;    /* all of a policy */
};

enum policy_list_id {
	LIST_CLIENT = 0, LIST_HELO, LIST_SENDER, LIST_RELAY, LIST_RECIPIENT, LIST_DATA, LIST_END_OF_DATA, LIST_ETRN, LIST_COUNT
};

/* Questions that rules of any list will ask about a name, as soon as it is known (prefetch.c). */
enum early_subject { EARLY_ADDRESS, EARLY_CLIENT, EARLY_REVERSE, EARLY_HELO, EARLY_SENDER, EARLY_RCPT, EARLY_SUBJECTS };
enum { EARLY_DNSBL_MAX = 64 };
enum early_question { ASK_ADDRESS = 1, ASK_MX = 2, ASK_MX_HOSTS = 4, ASK_NS_HOSTS = 8 };
struct policy_early {
	unsigned char ask[EARLY_SUBJECTS]; /* enum early_question */
	const struct policy_rule *dnsbl[EARLY_DNSBL_MAX]; /* rules about DNS lists; what is over asks when its turn comes */
	unsigned ndnsbl;
};

struct policy {
	struct conf *conf;
	const struct service *service;
	const struct params *p;
	struct address_book *book;
	struct matchlist *mynetworks;
	struct map_list *rbl_replies;
	struct template_filter expansion; /* smtpd_expansion_filter */
	bool has_sasl, asks_cert;    /* smtpd_sasl_auth_enable, smtpd_tls_ask_ccert (or _req_) */
	struct map_list *sender_logins; /* smtpd_sender_login_maps */
	struct map_list *client_certs; /* relay_clientcerts */
	struct matchlist *grey_clients, *grey_rcpts; /* greylist_exceptions, greylist_recipient_exceptions */
	struct matchlist *permit_log;/* smtpd_log_access_permit_actions */
	struct matchlist *mx_networks; /* permit_mx_backup_networks */
	bool recipient_tempfail_defers, sender_tempfail_defers; /* unverified_..._tempfail_action likewise */
	bool helo_tempfail_defers, address_tempfail_defers; /* unknown_..._tempfail_action = defer: at once, not "if permit" */
	bool asks_ipv4, asks_ipv6;   /* inet_protocols: addresses of hosts that count */
	struct policy_early early[2];/* what to ask ahead of time, of others and of clients in mynetworks (prefetch.c) */
	bool no_rcpt_checks;         /* receive_override_options has no_unknown_recipient_checks */
	bool access_parent_plain;    /* smtpd_access_maps in parent_domain_matches_subdomains */
	struct policy_list *lists[LIST_COUNT];
	struct policy_list *all;     /* those and the classes, to free */
	struct arena arena;
};

const struct restriction *restriction_find(struct span name);   /* aliases are resolved */
size_t restriction_count(void);
const struct restriction *restriction_at(size_t row);
const char *restriction_suggest(struct span name);              /* NULL: nothing near */

/* A class of this policy for lists whose bare tables mean bare; NULL: there is none of that name. */
const struct policy_list *policy_class(const struct policy *p, struct span name, const struct restriction *bare);
void policy_list_add(struct policy_list *l, struct policy_rule rule);

/* ---- what a rule uses ---- */

/* What a refusal is about. */
enum reply_class {
	ABOUT_CLIENT = 1, ABOUT_REVERSE_CLIENT, ABOUT_LOGIN, ABOUT_HELO, ABOUT_SENDER, ABOUT_RECIPIENT, ABOUT_ETRN, ABOUT_DATA, ABOUT_END, ABOUT_CERT
};
struct about {
	enum reply_class class;
	struct span object;          /* between < and > */
};
const char *reply_class_name(enum reply_class class);  /* "Client host" */
/* What the list being run is about. */
struct about policy_about(struct policy_run *r);
/* "name[address]", with smtpd_client_port_logging ":port" behind it, as in the log. */
void policy_put_client(const struct policy_run *r, struct buf *b);
struct about policy_about_class(struct policy_run *r, enum reply_class class);

/* An access code "5.1.1" adapted to what is refused (facts 3.2). */
struct span policy_fix_dsn(struct span dsn, enum reply_class class, char buf[16]);
/* The same, with the note that says so when it changed. */
struct span policy_map_dsn(struct policy_run *r, struct span dsn, enum reply_class class, char buf[16]);
/* Takes a status code off the front of text; empty when there is none. */
struct span policy_take_dsn(struct span *text);

/* A parameter that is a reply code; 0, which policy_refuse() makes a 450 of and says so, when it is none. */
static inline unsigned
policy_code(int64_t configured)
{
	return configured > 0 && configured < 1000 ? (unsigned)configured : 0;
}

/* "code dsn <object>: Class rejected: text" as the answer, with everything that may happen to it: bad codes,
 * soft_bounce, warn_if_reject, defer_if_reject. */
enum pol policy_refuse(struct policy_run *r, const struct policy_rule *rule, unsigned code, struct span dsn, struct about about,
    struct span text);
/* The same with the whole text behind the codes given. */
enum pol policy_refuse_text(struct policy_run *r, const struct policy_rule *rule, unsigned code, struct span dsn, struct span text);
/* Ours to mend: not softened by warn_if_reject. "451 4.3.5 Server configuration error"; why is for the log. */
enum pol policy_server_error(struct policy_run *r, const struct policy_rule *rule, const char *why, ...) PRINTF(3, 4);
/* "451 4.3.0 <x>: Temporary lookup failure"; or POL_AGAIN when the table is still being asked (map/remote.h), so rules
 * return what it gives at once. */
enum pol policy_lookup_failed(struct policy_run *r, const struct policy_rule *rule, struct span object, const struct err *e);
enum pol policy_defer_if(struct policy_run *r, const struct policy_rule *rule, struct policy_deferral *which, unsigned code, struct span dsn,
    struct about about, struct span text);
/* For rules whose tables must not permit: names of clients are easily forged. */
enum pol policy_permit_forbidden(struct policy_run *r, const struct policy_rule *rule);
/* A log line that goes with the verdict. */
void policy_note(struct policy_run *r, enum verdict_note_kind kind, struct span text);
/* Something to be done to the message; more than fit into a verdict are left out with a note. */
void policy_edit(struct policy_run *r, enum verdict_edit_kind kind, struct span text);
/* POL_PERMIT, with its log line when smtpd_log_access_permit_actions names the action. from: table or server, or NULL. */
enum pol policy_permit(struct policy_run *r, struct span action, struct about about, const char *from);
/* Is SASL on? Otherwise the restriction has nothing to look at: a note says so. */
bool policy_has_sasl(struct policy_run *r, const char *restriction);
/* What FILTER and PREPEND take. */
bool policy_is_filter(struct span text);
bool policy_is_header(struct span text);
/* Runs a list before the next rule of the present one. */
enum pol policy_call(struct policy_run *r, const struct policy_list *l, bool permit_is_dunno);

/* From the loop: what a rule waited for is there. */
void policy_continue(struct policy_run *r);

/*
 * What a rule asked elsewhere (DNS, a table that is not here, a policy server, the queue). The first member of the asker's
 * own struct, which remembers question and answer until the run is reset: a rule that needs answers looks for them in
 * r->needs, begins those that are missing, all at once, and returns POL_AGAIN; it is run again when none is under way.
 * A rule that may be run again must have done nothing that counts twice.
 */
struct policy_need {
	struct list link;
	const struct policy_need_kind *kind; /* one per asker: also its mark in r->needs */
};
struct policy_need_kind {
	const char *name;
	void (*fini)(struct policy_need *);  /* cancels its ops and frees it */
};
void policy_need_add(struct policy_run *r, struct policy_need *n, const struct policy_need_kind *kind);
/* Tables that have to be asked elsewhere: waits for all that were noted, POL_AGAIN. */
enum pol policy_await_maps(struct policy_run *r);
/* In the done() of an op whose owner is &r->waits: goes on once nothing of the run is under way. */
void policy_need_done(struct policy_run *r);

/* The recipient or sender resolved, once per run. RC_TEMP: could not. */
enum rc policy_rcpt(struct policy_run *r, const struct resolved **out, struct err *e) MUST_CHECK;
enum rc policy_sender(struct policy_run *r, const struct resolved **out, struct err *e) MUST_CHECK;

/* access(5): does what the result of a table says (actions.c). */
enum pol policy_access_result(struct policy_run *r, const struct policy_rule *rule, struct span value, struct about about,
    bool permit_is_dunno, bool permit_is_error);

/* The same for whatever a lookup gave: found, not found, not now. */
enum pol policy_access_answer(struct policy_run *r, const struct policy_rule *rule, enum rc rc, struct span value, struct about about,
    const struct err *e, bool permit_is_dunno, bool permit_is_error);

/* A result that names restrictions, not an action with its text. */
bool policy_result_is_list(struct span value);
/* What is wrong with a result, for check. is_error: a known action or restriction that is not supported; otherwise
 * one that nobody knows. false: nothing. */
bool policy_result_complaint(const struct policy *p, const struct restriction *bare, struct span value, struct buf *out, bool *is_error);

/* "domain=filter" of a DNS list (rules_dnsbl.c); lives in a. RC_PERM: e says what is wrong with it. */
enum rc policy_dnsbl_open(struct arena *a, struct span arg, const struct policy_dnsbl **out, struct err *e) MUST_CHECK;

/* What this rule will ask a DNS list about a subject, into query; false: nothing. */
/* default_rbl_reply of this policy's service: what would be said instead of it, as a warning. */
void policy_dnsbl_check_reply(struct conf *c, const struct policy *p);
bool policy_dnsbl_early(const struct policy_rule *rule, enum early_subject subject, const struct facts *f, struct buf *query);
void policy_dnsbl_prefetch(const struct policy_rule *rule, struct span query);

/* Rules that the engine itself ends lists with. */
extern const struct policy_rule policy_implicit_rcpt, policy_implicit_sender;

/* explain: told of every rule and what it said, and before that of what it asked. */
struct policy_trace {
	void (*asked)(struct policy_trace *t, const char *whom, struct span question, enum rc rc, struct span answer, uint64_t usec);
	void (*rule)(struct policy_trace *t, const struct policy_run *r, const struct policy_list *list, const struct policy_rule *rule,
	    unsigned depth, const char *result);
};

/* After the lists are compiled. */
void policy_find_early(struct policy *p);

/* Rows of restrictions.def */
policy_rule_fn r_permit, r_reject, r_defer, r_defer_if_permit, r_defer_if_reject, r_warn_if_reject, r_sleep, r_unauth_pipelining,
    r_plaintext_session, r_multi_recipient_bounce, r_mynetworks, r_inet_interfaces, r_sasl_authenticated, r_tls_clientcerts,
    r_tls_all_clientcerts, r_unknown_client, r_unknown_reverse_client, r_client_access, r_reverse_client_access, r_sasl_access,
    r_helo_access, r_etrn_access, r_invalid_helo, r_non_fqdn_helo, r_sender_access, r_non_fqdn_sender, r_unlisted_sender, r_unauth_destination,
    r_defer_destination, r_auth_destination, r_recipient_access, r_non_fqdn_recipient, r_unlisted_recipient,
    r_rbl_client, r_rhsbl_client, r_rhsbl_reverse_client, r_rhsbl_helo, r_rhsbl_sender, r_rhsbl_recipient, r_dnswl_client, r_rhswl_client;
policy_rule_fn r_greylist, r_policy_service, r_login_mismatch, r_auth_login_mismatch, r_known_login_mismatch, r_unauth_login_mismatch, r_ccert_access,
    r_unverified_recipient, r_unverified_sender;
policy_rule_fn r_unknown_helo, r_unknown_sender, r_unknown_recipient, r_mx_backup, r_client_a, r_client_mx, r_client_ns, r_reverse_client_a,
    r_reverse_client_mx, r_reverse_client_ns, r_helo_a, r_helo_mx, r_helo_ns, r_sender_a, r_sender_mx, r_sender_ns, r_recipient_a,
    r_recipient_mx, r_recipient_ns;

#endif
