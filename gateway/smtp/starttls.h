/* SPDX-License-Identifier: BSD-2-Clause */
/* starttls.h - TLS of a session: what its connection tells, and the steps of wrapper mode. */
#ifndef SMTP_STARTTLS_H
#define SMTP_STARTTLS_H

#include "smtp/session.h"
#include "tls/peer.h"
#include "tls/server.h"

/* From the beginning of a handshake to the end of the session. */
struct sess_tls {
	struct sess *sess;
	struct op op;                /* the handshake */
	SSL *ssl;                    /* until the connection has it */
	struct tls_hello hello;
	struct tls_peer peer;        /* facts point into it */
};

void starttls_secured(struct sess *s);
/* The connection ended in the handshake: logs. */
void starttls_failed(struct sess *s, enum conn_end why, int err);
bool starttls_is_waiting(const struct sess *s);
/* Idempotent. Only when the connection is closed. */
void starttls_free(struct sess *s);

step_fn starttls_wrap, starttls_wrapped;

#endif
