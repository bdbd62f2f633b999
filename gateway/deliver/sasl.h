/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sasl.h - the words of one AUTH: what to send first, and to each challenge. No input or output of its own.
 *
 * Mechanisms are libsasl2's plugins (PLAIN, LOGIN, CRAM-MD5, SCRAM-..., whatever the machine has); XOAUTH2 and OAUTHBEARER
 * (RFC 7628) are ours. A token is sent with these two only. libsasl2 loads its plugins when sasl_setup() is called,
 * which must be before the process gives up the file system. Runs in: relay.
 */
#ifndef DELIVER_SASL_H
#define DELIVER_SASL_H

#include "deliver/login.h"

enum {
	SASL_LINE_MAX = 64 * 1024,   /* octets of a response in base64 */
	SASL_ROUNDS_MAX = 16,        /* challenges of one exchange */
	SCRAM_WORK_MAX = 200000,     /* iterations a hub may ask us for: they are done in one go */
};

struct sasl;
struct log_ctx;

struct sasl_request {
	const char *service, *host;  /* "smtp"; kept until sasl_end */
	uint16_t port;
	const struct login *login;   /* kept until sasl_end */
	unsigned options;            /* SASL_NO_* of this connection */
	bool send_authzid;
	bool is_choice;              /* the mechanisms were chosen by the administrator: a password may be a token then */
};

/* Loads what there is. RC_TEMP: libsasl2 cannot be used; the reason is also what later attempts fail with. Once. */
enum rc sasl_setup(const struct log_ctx *log, struct err *e) MUST_CHECK;
/* The plugins that were found, "PLAIN LOGIN ..."; for status and errors. */
const char *sasl_plugins(void);

/* mechs: offered, separated by spaces. first: "MECH" or "MECH response". RC_TEMP: reason in e, as Postfix says it. */
enum rc sasl_begin(struct sasl **out, const struct sasl_request *r, struct span mechs, struct buf *first, struct err *e) MUST_CHECK;
/* challenge: text of a 334 reply, base64. RC_PERM: the exchange is to be cancelled with "*". */
enum rc sasl_next(struct sasl *s, struct span challenge, struct buf *response, struct err *e) MUST_CHECK;
/* The hub says it is done: has it proved what it had to (mutual_auth)? */
bool sasl_is_proved(const struct sasl *s);
/* What a hub that refuses a token says about it (JSON); empty: nothing. */
struct span sasl_remark(const struct sasl *s);
void sasl_end(struct sasl **sp);             /* NULL inside is fine; wipes */

/* Iterations of a SCRAM server-first-message (decoded); 0: it is none. Pure. */
uint64_t scram_work(struct span message);

#endif
