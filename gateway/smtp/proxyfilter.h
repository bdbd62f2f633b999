/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxyfilter.h - the conversation with a filter in front of the queue (smtpd_proxy_filter, facts 10.3): an SMTP server that gets
 * the message while our client still waits, and whose reply to the end of data is the client's.
 *
 * One after the other: proxy_filter_start(), proxy_filter_say() as often as there is something to say, proxy_filter_content();
 * each is over when the op is done. One connection for each message. Runs in: edge.
 */
#ifndef SMTP_PROXYFILTER_H
#define SMTP_PROXYFILTER_H

#include "ipc/dial.h"
#include "loop/conn.h"
#include "msg/command.h"
#include "msg/wire.h"

/* At most max octets of the content from pos on, behind what is in out. RC_NONE: there are no more. RC_TEMP: cannot be read. */
struct sess;

typedef enum rc proxy_read_fn(void *owner, uint64_t pos, size_t max, struct buf *out);

struct proxy_filter {
	struct op op;            /* RC_OK: reply is there; RC_TEMP: the filter is of no use for this message, why says it */
	struct err why;
	bool refused;            /* it is a 4xx or 5xx: nothing of this message may follow, but for further recipients */
	struct hubreply reply;   /* to the last command, the first one that was refused, or the end of data */
	unsigned features;       /* HUB_* */
	struct sess *session;    /* the caller's */
	/* private */
	struct op_owner ops;
	struct dial dial;
	struct conn conn;
	const char *ehlo;
	struct span forward;
	uint64_t timeout;
	unsigned stage, xforward;
	struct buf lines;        /* commands that are not sent yet */
	size_t unsent, unanswered; /* commands */
	int expected;            /* class of their replies */
	struct wire wire;
	proxy_read_fn *read;
	void *owner;
	uint64_t pos;
	bool is_open;
};

enum { PROXY_COMMANDS_MAX = 1024 * 1024 };

/* Connects, greets, and says who the client is, if the filter wants to hear that (forward: XFORWARD attributes). ep, ehlo (our name there) and
 * forward are borrowed until the end. timeout: usec of silence. */
void proxy_filter_start(struct proxy_filter *f, const struct endpoint *ep, const char *ehlo, uint64_t timeout, struct span forward,
    struct op_owner *owner, op_fn *done);
/* lines: n commands with CRLF (copied); together, where the filter offers PIPELINING. expected: first digit of a good reply; another one
 * below 400 is RC_TEMP. The op is done when all are answered, or one is refused that is not the last. */
void proxy_filter_say(struct proxy_filter *f, struct span lines, size_t n, int expected);
/* Behind an accepted DATA: the content and its end. */
void proxy_filter_content(struct proxy_filter *f, proxy_read_fn *read, void *owner);
/* The connection is there and nothing is under way. */
bool proxy_filter_is_ready(const struct proxy_filter *f);
/* From any state; idempotent, and fine on zeroed memory. A message whose end was not sent is nowhere. */
void proxy_filter_fini(struct proxy_filter *f);

#endif
