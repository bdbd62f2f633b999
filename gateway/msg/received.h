/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * received.h - the Received header of a message (facts 12.1), CRLF line ends included.
 *
 * Every span may come from outside: control characters and what would end a comment are replaced, and each
 * is cut, so it is always one header of bounded length.
 */
#ifndef MSG_RECEIVED_H
#define MSG_RECEIVED_H

#include "base/buf.h"
#include "base/ipaddr.h"

struct received {
	struct span helo;        /* empty: the client's name is used */
	struct span client_name; /* verified name or "unknown" */
	struct span client_addr; /* text */
	bool client_is_v6;
	bool hide_client;        /* smtpd_hide_client_session */
	const char *myhostname, *mail_name;
	bool is_esmtp, is_tls, is_auth, is_utf8;
	struct span tls_lines;   /* ours: what TLS came to, whole lines; empty: none */
	struct span login;       /* smtpd_sasl_authenticated_header; empty: not shown */
	struct span qid;
	struct span for_rcpt;    /* internal form; empty: more than one recipient */
	uint64_t when;           /* wall clock, usec */
};

enum { RECEIVED_TLS_MAX = 1024, RECEIVED_MAX = 2048 + RECEIVED_TLS_MAX };    /* octets it writes at most */

void received_write(struct buf *b, const struct received *r);

#endif
