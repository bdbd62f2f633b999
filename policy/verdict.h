/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verdict.h - what policy says: one decision, marks that go with it, and notes for the log.
 *
 * The decision is about the command in question. Marks are about the message and gather over all its
 * commands, in this order of strength: discard, (reject,) hold, quarantine. Notes are Postfix's log lines with other
 * keywords than "reject" (facts 3.2); the session logs them, in order, before it acts.
 */
#ifndef POLICY_VERDICT_H
#define POLICY_VERDICT_H

#include "base/buf.h"

enum verdict_kind {
	VERDICT_NONE = 0,        /* not decided yet */
	VERDICT_PERMIT,          /* go on (also when no rule said anything) */
	VERDICT_REFUSE,          /* answer with reply; nothing else of the command happens */
};

enum { VERDICT_NOTES = 16, VERDICT_EDITS = 32, VERDICT_REPLY_MAX = 510 };

enum verdict_note_kind {
	NOTE_REJECT_WARNING = 1, /* "reject_warning: RCPT from h[ip]: <text>; from=..." */
	NOTE_WARN,               /* "warn: ..." */
	NOTE_INFO,               /* "info: ..." */
	NOTE_HOLD,               /* "hold: ..." */
	NOTE_QUARANTINE,         /* "quarantine: ..." */
	NOTE_DISCARD,            /* "discard: ..." */
	NOTE_FILTER,             /* "filter: ..." */
	NOTE_REDIRECT,           /* "redirect: ..." */
	NOTE_BCC,                /* "bcc: ..." */
	NOTE_PERMIT,             /* "permit: ..." (smtpd_log_access_permit_actions) */
	NOTE_MAPPING,            /* "mapping DSN status 5.1.1 into ...": as it is */
	NOTE_TROUBLE,            /* "warning: <text>": ours, not about the client */
	NOTE_LISTED,             /* a DNS list and what it answered; not for the log, but for whoever looks at held mail */
};

struct verdict_note {
	enum verdict_note_kind kind;
	struct span text;        /* into verdict.text */
};

/* What is to be done to the message; gathers over all its commands. Facts 3.10. */
enum verdict_edit_kind {
	EDIT_PREPEND = 1,        /* text: one header, without line end, above our Received; several, in order */
	EDIT_REDIRECT,           /* text: the address that takes the place of all recipients; the last one counts */
	EDIT_BCC,                /* text: one more recipient, NOTIFY=NEVER; several */
	EDIT_COPY,               /* the same of a header or body check */
	EDIT_FILTER,             /* text: "transport:nexthop" instead of content_filter; the last one counts */
};

struct verdict_edit {
	enum verdict_edit_kind kind;
	struct span text;        /* into verdict.text; internal form for addresses */
};

struct verdict {
	enum verdict_kind kind;
	unsigned code;           /* 450, 554, ...; 0 for VERDICT_PERMIT */
	struct span reply;       /* "554 5.7.1 <x@y>: Relay access denied": one line without CRLF, clean, at most
	                          * VERDICT_REPLY_MAX bytes; several lines separated by LF with a footer */
	bool close;              /* 421 and 521: the connection ends after the reply */
	const char *rule;        /* name of the restriction that decided, NULL: end of list */
	const char *list;        /* name of the parameter it stands in, NULL: none */

	/* The last rule that permitted, and the list it ended; of a permission that came after none: NULL. */
	const char *permit_rule, *permit_list;

	bool hold, discard;      /* marks: the message goes to the hold queue; is accepted and thrown away */
	/* marks: the message goes to the quarantine; the recipient in question does, and no other. The first reason counts. */
	bool quarantine_all, quarantine_rcpt;
	struct span quarantine_reason; /* for people, into verdict.text */
	const char *quarantine_rule, *quarantine_list; /* "check_client_access hash:/x" */
	unsigned nnotes;
	struct verdict_note notes[VERDICT_NOTES];
	unsigned nedits;
	struct verdict_edit edits[VERDICT_EDITS];
};

/* Name of a note as the log has it: "reject_warning", "hold", ... */
const char *verdict_note_name(enum verdict_note_kind kind);

#endif
