/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dsn.h - the text of a delivery status notification: RFC 3464 in a multipart/report (RFC 6522), with
 * non-ASCII addresses as RFC 6533 has them. Facts 7.8.
 *
 * A pure function: who gets one, and about what, is decided in queue/report.c. Every span may come from
 * outside. What comes out has only CRLF line ends, no line over 998 octets, and ASCII headers (UTF-8 only
 * when the report itself is SMTPUTF8).
 */
#ifndef MSG_DSN_H
#define MSG_DSN_H

#include "base/buf.h"

enum dsn_kind { DSN_FAILED = 1, DSN_DELAYED, DSN_SUCCEEDED };

struct dsn_rcpt {
	struct span addr;        /* internal form */
	struct span orig;        /* the recipient as it was given; empty: as addr */
	struct span orcpt;       /* "type;xtext"; may be empty */
	const char *action;      /* "failed", "delayed", "relayed", "delivered" */
	struct span status;      /* "5.1.1" */
	struct span text;        /* as in the log */
	struct span mta;         /* Remote-MTA; empty: none */
	struct span diag;        /* what the remote said; empty: text is ours */
};

struct dsn_report {
	enum dsn_kind kind;
	bool postmaster;         /* a copy for the postmaster */
	const char *myhostname, *myorigin, *mail_name;
	struct span qid;         /* of the report */
	uint64_t now;            /* wall clock, usec */
	struct span to;          /* who gets it, internal form */
	/* the message it is about */
	struct span about_qid, sender, envid, message_id; /* message_id: for References; empty: none */
	uint64_t arrival, retry_until;                    /* retry_until: DSN_DELAYED */
	const struct dsn_rcpt *rcpts;
	size_t nrcpt;
	struct span content;     /* its content, or as much of it as was read */
	bool headers_only;       /* return no more than its header */
	bool is_utf8;            /* addresses or headers may be UTF-8: the report is SMTPUTF8 */
};

void dsn_write(struct buf *out, const struct dsn_report *r);
/* The report has octets over 127 (BODY=8BITMIME). */
bool dsn_is_8bit(struct span report);

#endif
