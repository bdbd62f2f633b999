/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter.h - milters beside a session (facts 9): what of the dialogue they are told, at which steps, what becomes of their
 * verdicts, and of their edits at the end of a message. The protocol itself, connections and faults are filters/milter.h's.
 *
 * A session without milters has a NULL pointer; every function here is fine with that. Everything about one message goes with the
 * transaction (sess_milter_end_tx()), all the rest with the session.
 */
#ifndef SMTP_MILTER_H
#define SMTP_MILTER_H

#include "filters/milter.h"
#include "smtp/session.h"
#include "smtp/side_draft.h"

enum { MILTER_VALUE_MAX = 1000 }; /* octets of a macro's value */

struct sess_milter {
	struct sess *sess;
	struct milter_run *run;
	bool is_refused;             /* at connect or HELO, for the rest of the session */
	bool is_asked;               /* the next row looks at the verdict */
	bool has_refused_rcpt;       /* they are told of a recipient that was refused */

	/* the command at hand; in scratch */
	struct span *argv;           /* address and parameters of MAIL and RCPT, as given */
	size_t argc;
	struct span name;            /* of HELO, as given; or the line that is no command */
	struct span refusal;         /* of the recipient: the first line of the reply */
	struct buf value;            /* of the macro that was asked for last */

	/* the message */
	bool is_judged;              /* they were asked whether they want it */
	bool is_reading;             /* they did */
	bool is_changing;            /* they are through with it, and their edits are to be done */
	bool is_copying;             /* its changed content goes to another draft */
	bool keeps_original;
	struct buf header;           /* what they see; kept while they read */
	struct buf checked;          /* what milter_header_checks made of their header; empty: it was not asked */
	struct side_draft body;      /* replaced, and too long for memory */
	struct side_draft changed;   /* the whole, changed */
	struct content_copy copy;
	struct op turn;              /* a copy that takes several turns */
	/* the message as it came, when it is to be kept beside the changed one */
	struct span keep_reason;     /* in the tx's arena */
	const char *keep_milter;
	struct buf original;
	uint64_t original_draft, original_len;
	unsigned original_generation;
	uint32_t original_crc, original_flags;
};

void sess_milter_end_tx(struct sess *s);
void sess_milter_free(struct sess *s);

/* What of the command they will hear: path and what follows it. Copied. */
void sess_milter_args(struct sess *s, struct span path, struct span rest);
void sess_milter_name(struct sess *s, struct span name);
/* More of the content is there, or all of it. */
void sess_milter_content(struct sess *s);
void sess_milter_log(struct sess *s, enum log_event_id ev, struct span reply);
bool sess_milter_closes(const struct milter_verdict *v);
/* For good, at connect or HELO. */
bool sess_milter_refuses(const struct sess *s);
/* They want none of this session's mail: the reply to a command that they are not asked about. true: it was said. */
bool sess_milter_denies(struct sess *s, bool as_login);

/* ---- rows of the verbs' tables ---- */

step_fn connect_milters, connect_milter_name, connect_milter, connect_milter_said;
step_fn helo_milter, helo_milter_said;
step_fn mail_milter, mail_milter_said, rcpt_milter, rcpt_milter_said, data_milter, data_milter_said;
extern const struct step_row unknown_steps[];
/* What the restrictions say of a recipient, if they refuse it. */
void rcpt_milter_note(struct sess *s, struct span reply);
/* Behind the verdict on a recipient: next, or (refused) they are told before the command ends. */
enum step rcpt_milter_told(struct sess *s, enum step next);

/* ---- the end of the message (milter_edits.c) ---- */

step_fn end_milter, end_milter_said, end_milter_first, end_milter_change, end_milter_draft, end_milter_copy;
step_fn end_keep, end_kept;
void milter_edits_forget(struct sess_milter *m); /* the transaction ends */

/* ---- macros (milter_macros.c) ---- */

struct span sess_milter_macro(void *owner, struct span name);

#endif
