/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * policy.h - restriction lists, compiled per service and evaluated over facts. Facts section 3.
 *
 * policy_compile() turns the smtpd_*_restrictions of one smtpd service into rows; problems go to
 * conf_problem() with file and line. A struct policy is immutable, belongs to its snapshot (holds a
 * reference) and serves any number of runs. Never logs, never talks: the verdict says it all.
 *
 *	policy_run_init(&s->pol, &s->ops, policy_done);                       once per session
 *	if (policy_run_now(&s->pol, s->policy, POLICY_RCPT, &s->facts))       true: s->pol.verdict is there
 *		... else wait for policy_done(), which finds the verdict in the same place
 *	policy_run_reset(&s->pol)                                             when its text is no longer needed
 *
 * Runs in: edge, and commands (check, explain). One run at a time per policy_run.
 */
#ifndef POLICY_POLICY_H
#define POLICY_POLICY_H

#include "base/arena.h"
#include "conf/conf.h"
#include "loop/loop.h"
#include "loop/op.h"
#include "policy/facts.h"
#include "policy/verdict.h"

struct policy;
struct policy_list;
struct policy_rule;
struct policy_trace;
struct address_book;         /* policy/classes.h */

/* RC_PERM: the configuration must not be run (also: it could be an open relay); *out is NULL then. */
enum rc policy_compile(struct conf *c, const struct service *s, struct policy **out, struct err *e) MUST_CHECK;
void policy_free(struct policy **pp);
/* Compiles everything for every smtpd service of a snapshot; problems only. For check, start and reload. */
void policy_check(struct conf *c);

/* Which command is asked about. The lists that run: facts 3.1. */
enum policy_stage {
	POLICY_NO_STAGE = 0,
	POLICY_CONNECT,          /* runs nothing when smtpd_delay_reject=yes */
	POLICY_HELO,             /* likewise */
	POLICY_MAIL,             /* likewise */
	POLICY_RCPT,             /* and VRFY: facts.is_vrfy */
	POLICY_DATA,
	POLICY_END_OF_DATA,
	POLICY_ETRN,
};

enum { POLICY_DEPTH_MAX = 100, POLICY_TEXT_MAX = 65536 /* of one table result */, POLICY_ARENA_MAX = 1 << 20 };

/* A "defer_if" reason that was recorded and may be needed later. */
struct policy_deferral {
	unsigned code;           /* 0: none */
	struct span reply;
	const char *rule, *list; /* for the verdict */
};

struct policy_frame {
	const struct policy_list *list;
	unsigned next;           /* rule to run next */
	bool permit_is_dunno;    /* a permit in here is none for the caller */
	const struct policy_rule *permit_is_error; /* must not permit: the rule that pushed this; NULL: may */
	unsigned about_class;    /* enum reply_class of what the table was asked about; 0: as the caller */
	struct span about_object;
};

struct resolved;

struct policy_run {
	unsigned magic;
	struct op op;            /* ends RC_OK with the verdict valid */
	struct verdict verdict;
	/* private */
	const struct policy *policy;
	const struct facts *facts;
	enum policy_stage stage;
	struct arena text;       /* what the verdict's spans point into; empty between runs */
	struct buf scratch;      /* table results */
	struct policy_frame frame_space[2], *frames;
	unsigned depth, frames_cap;
	unsigned phase;          /* which of the stage's lists */
	unsigned warn;           /* warn_if_reject is in force at this depth and deeper; 0: not */
	bool is_running, rcpt_checked, sender_checked;
	struct policy_deferral if_permit, if_reject;
	struct {                 /* what connect, HELO and MAIL leave for later (smtpd_delay_reject=no) */
		unsigned code;
		char *reply;
		const char *rule, *list;
	} carried[3];
	struct resolved *rcpt, *sender;
	struct policy_list *made; /* lists that table results said */
	struct timer timer;      /* what a rule waits for */
	struct op_owner waits;   /* and: ops of needs */
	struct list needs;       /* struct policy_need */
	bool is_looked_at;       /* the address in question is one that can be */
	bool asked_too_much;     /* more questions than POLICY_DNS_MAX: the mail waits, whatever rules made of it */
	bool did_too_much;       /* more than VERDICT_EDITS actions, and one was not just a header: likewise */
	struct policy_trace *trace;
	unsigned prefetches;         /* of the session; survives a reset */
};

void policy_run_init(struct policy_run *r, struct op_owner *owner, op_fn *done);
/* Cancels and frees; idempotent, and fine on zeroed memory. */
void policy_run_fini(struct policy_run *r);
/* Drops the verdict and its memory; also done by the next policy_run_now. What connect, HELO and MAIL left for
 * later stays until they come again. */
void policy_run_reset(struct policy_run *r);
/* facts and policy are kept until the verdict is there. true: it is there already and done() will not be
 * called. false: r->op is pending. */
bool policy_run_now(struct policy_run *r, const struct policy *p, enum policy_stage stage, const struct facts *f) MUST_CHECK;

/* The client has told its name (or DNS has), its HELO, sender or recipient: what rules will ask DNS about it is asked now,
 * and nobody waits. r counts per session, so that a client cannot make us ask without end. */
enum policy_prefetch { PREFETCH_CONNECT, PREFETCH_CLIENT, PREFETCH_HELO, PREFETCH_SENDER, PREFETCH_RCPT };
void policy_prefetch(struct policy_run *r, const struct policy *p, enum policy_prefetch what, const struct facts *f);

/* ---- questions the session asks besides ---- */
bool policy_delays_reject(const struct policy *p);
const struct address_book *policy_addresses(const struct policy *p);

/* "dogana explain": every rule that would run, what it asks (DNS, tables) and says, and the reply. Waits; a process of its
 * own. Exit status: 0 accepted, 1 refused, 2 usage or configuration. */
/* The reply to a refusal as it would be sent: lines with CRLF, with what is above policy in it (the footer). */
typedef void policy_explain_reply_fn(struct conf *c, const struct service *s, const struct facts *f, struct span reply, struct buf *out);
/* What comes before every rule for clients of this listener (triage), told to out. 0: it goes on; 1: it would be refused; 2: the
 * configuration cannot be used. */
struct explain_out;
typedef int policy_explain_first_fn(struct conf *c, const struct service *listener, const struct facts *f, struct explain_out *out);
struct explain_question {
	const char *dir;
	const char *client;          /* address, or name[address] */
	const char *name;            /* verified name of the client, "unknown"; NULL: DNS is asked */
	const char *helo;            /* NULL: none */
	const char *from, *to;
	bool json;                   /* an object a line */
	const char *service;         /* name of a line of master.cf; NULL: the first listener */
	policy_explain_reply_fn *reply;
	policy_explain_first_fn *first;
	policy_explain_first_fn *last; /* behind the rules, when they refuse nothing: the same for the milters of the service */
};
int policy_explain(const struct explain_question *q, FILE *out);

#endif
