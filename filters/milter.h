/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter.h - the MTA's side of the milter protocol (facts 9): a list of milters, compiled once per configuration, and a
 * run of it beside one SMTP session.
 *
 * Knows no session: it is told what the client said, asks its owner for the values of macros, and gives a verdict and, at
 * the end of a message, its edits as data. The owner embeds nothing; it keeps the pointer and ends the run in
 * milter_run_free() only.
 *
 *	r = milter_run_new(set, &run_ops, s, &s->ops, on_milter);      NULL set or an empty one: no run is needed
 *	if (milter_run_mail(r, argv, n)) return STEP_WAIT;             on_milter(op) comes from the loop; then, or at once
 *	v = milter_run_verdict(r);                                     when false was returned, the verdict counts
 *
 * Envelope events go to the milters one after the other, as Postfix does, because a refusal by the first hides the rest.
 * Content streams to each milter whose predecessors cannot change headers or body, while it arrives; the others get it,
 * changed, when their turn comes. Milters pull from the message (milter_source) at their own pace: nothing is copied for a slow one.
 * Runs in: edge.
 */
#ifndef FILTERS_MILTER_H
#define FILTERS_MILTER_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/ipaddr.h"
#include "conf/conf.h"
#include "loop/op.h"

struct milter_set;
struct milter_run;

/* ---- compiled ---- */

/* The milters of a parameter (smtpd_milters of a service; s may be NULL: main.cf, non_smtpd_milters). What cannot work is a problem
 * in the configuration, and RC_PERM. An empty list is a set without milters. The bundled filters that are switched on
 * (virus_engine, attachment_rules) and not named stand at its end (filters/bundled.h). */
enum rc milter_set_open(struct conf *c, const struct service *s, const char *parameter, struct milter_set **out, struct err *e) MUST_CHECK;
/* The same for what smtpd_milter_maps gave for a client. DISABLE: a set without any, bundled ones included. */
enum rc milter_set_parse(struct conf *c, const struct service *s, struct span text, struct milter_set **out, struct err *e) MUST_CHECK;
void milter_set_free(struct milter_set **sp);    /* NULL inside is fine; no run of it may be left */
bool milter_set_is_empty(const struct milter_set *set);

/* ---- what the owner provides ---- */

/* The message as it is known so far. header: from the first octet (our own header lines included; the first
 * Received is ours and no milter sees it) up to and without the empty line; complete and final for the owner when milter_run_message() is called.
 * The body is asked for by position, 0 is the octet behind the empty line. */
struct milter_source {
	struct span header;                      /* borrowed until the message ends */
	/* At most max octets from pos into out (cleared). RC_NONE: not there yet (or, when complete, the end). RC_TEMP: cannot be read. */
	enum rc (*read)(void *owner, uint64_t pos, size_t max, struct buf *out);
	/* The body has ended. len_out: its octets that are there, also as long as it has not. */
	bool (*is_complete)(void *owner, uint64_t *len_out);
};

struct milter_run_ops {
	/* Value of a macro ("j", "{client_addr}", as configured or asked for); p NULL: it has none. Borrowed until the next call. */
	struct span (*macro)(void *owner, struct span name);
	/* A replaced body outgrows memory: the owner gets a file and calls milter_run_spill(), or milter_run_fail(). May be NULL: no limit
	 * but message_size_limit. */
	void (*wants_file)(void *owner);
	/* No message will follow: milters hear the envelope alone. */
	bool envelope_only;
};

/* ---- a run ---- */

/* done(op) is called from the loop whenever an event that had to wait is over. */
struct milter_run *milter_run_new(struct milter_set *set, const struct milter_run_ops *ops, void *owner, struct op_owner *wait,
    op_fn *done);
/* From any state: connections that can be used again are kept for other sessions, the others are closed. NULL inside is fine. */
void milter_run_free(struct milter_run **rp);
void *milter_run_owner(struct op *op);

enum milter_kind {
	MILTER_CONTINUE = 0,     /* nobody objects */
	MILTER_REFUSE,           /* answer with reply */
	MILTER_DISCARD,          /* accept, and throw the message away */
};

struct milter_verdict {
	enum milter_kind kind;
	unsigned code;           /* of reply: 450, 550, 421 */
	struct span reply;       /* complete, "550 5.7.1 Command rejected"; several lines separated by LF; clean; at most 16 kB */
	bool close;              /* the session ends after the reply */
	bool is_fault;           /* a milter failed and its default action speaks; the log has the reason */
	const char *milter;      /* who it was, "inet:127.0.0.1:8891"; NULL: nobody */
};
/* Of the event that was last over; a refusal at connect or helo stays for the session (facts 9.2). Valid until the next event. */
const struct milter_verdict *milter_run_verdict(const struct milter_run *r);

/* Each begins an event. true: wait for the op; false: it is over already (nobody wants to hear it).
 * helo begins anew what was said of it before; mail begins a transaction. argv[0] of mail and rcpt is the address with angle brackets, what
 * follows are ESMTP parameters as given. */
bool milter_run_connect(struct milter_run *r, struct span client_name, const struct ipaddr *addr, unsigned port);
bool milter_run_helo(struct milter_run *r, struct span name);
bool milter_run_mail(struct milter_run *r, const struct span *argv, size_t n);
bool milter_run_rcpt(struct milter_run *r, const struct span *argv, size_t n);
/* A recipient that was refused already, for milters that want to hear of those; their answers do not count. */
bool milter_run_rcpt_refused(struct milter_run *r, const struct span *argv, size_t n);
bool milter_run_data(struct milter_run *r);
bool milter_run_unknown(struct milter_run *r, struct span line);
/* Does anybody want the message? false: the rest may be left out. */
bool milter_run_wants_message(const struct milter_run *r);
/* Content begins: never waits. src is copied, what it points to stays until the message ends. */
void milter_run_message(struct milter_run *r, const struct milter_source *src);
/* More of the body is there: never waits, sends what may be sent. */
void milter_run_more(struct milter_run *r);
/* The message is complete. true: wait. Afterwards the verdict is about the message, and milter_run_edits() is complete. */
bool milter_run_end(struct milter_run *r);
/* The transaction is over, however it ended. Never waits. Idempotent. */
void milter_run_abort(struct milter_run *r);

/* ---- what the milters want changed ---- */

enum milter_rcpt_edit { MILTER_ADD_RCPT = 1, MILTER_DELETE_RCPT };
struct milter_rcpt {
	enum milter_rcpt_edit kind;
	struct span addr;        /* as the milter said it, angle brackets off */
	struct span args;        /* ESMTP parameters, may be empty */
	const char *milter;
};

struct milter_edits {
	bool header_changed;
	struct span header;      /* all of it, as in milter_source */
	bool body_changed;
	struct span body;        /* CRLF lines; when it is in memory */
	int body_fd;             /* when it was spilled: there, from body_at on; else -1. The owner's. */
	uint64_t body_at, body_len;
	bool sender_changed;
	struct span sender, sender_args; /* angle brackets off; empty: the null sender */
	const char *sender_milter;
	const struct milter_rcpt *rcpts; /* in the order in which they were said */
	size_t nrcpts;
	bool quarantine;
	struct span quarantine_reason;   /* clean, as the milter said it */
	const char *quarantine_milter;
	/* A bundled filter asks to keep the message as it came to it ("copy:" in front of its reason) beside the one that goes on. */
	bool keep_original;
	struct span keep_reason;
	const char *keep_milter;
};
/* Valid until the transaction ends. */
const struct milter_edits *milter_run_edits(const struct milter_run *r);

/* The file that was asked for; fd is borrowed until the message ends. What is written goes behind its offset of now. */
void milter_run_spill(struct milter_run *r, int fd);
/* There is none: the message is "not now". */
void milter_run_fail(struct milter_run *r, const char *why);

/* ---- the process ---- */

/* Lines for `dogana status`: milters whose breaker is open, and why. */
void milter_remarks(struct buf *lines);
/* JSON members: one object per milter in use. */
void milter_status(struct buf *json);

#endif
