/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * client_private.h - between the two halves of a session with a hub; nobody else includes it.
 *
 * client.c has the session: connection, greeting, EHLO, QUIT, time-outs, and the wait. transaction.c has one
 * job on it: from smtpc_deliver to the last reply. A reply goes to the function in the row of its step.
 * Runs in: relay.
 */
#ifndef DELIVER_CLIENT_PRIVATE_H
#define DELIVER_CLIENT_PRIVATE_H

#include "deliver/client.h"

enum { CLIENT_MAGIC = 0x53d7c11e };

/* One row per step: what it is called in "while ..." and "in reply to ...", how long to wait for the
 * reply, and who takes it. */
struct smtpc_step {
	const char *doing, *command;
	size_t timeout;          /* offset in struct settings */
	void (*reply)(struct smtpc *);
};
extern const struct smtpc_step smtpc_steps[STAGES];

/* client.c: the wait and the present step. */
void smtpc_begin_call(struct smtpc *c, struct job *j, struct smtpc_call *call); /* both kept until it ends */
/* The wait ends well: the session is idle. */
void smtpc_ready(struct smtpc *c);
/* The session is lost; the job learns why. dsn and text: kept as long as the job. */
void smtpc_fail(struct smtpc *c, enum rc rc, struct span dsn, struct span text);
/* After a reply that ends nothing by itself: true: it was 421, and the session is lost with it. */
bool smtpc_was_dismissed(struct smtpc *c);
/* The next reply is this step's, and its time begins. */
void smtpc_await(struct smtpc *c, enum stage stage);
/* The time for the present step begins anew. */
void smtpc_arm(struct smtpc *c);
/* The present step, for "while ...". */
const char *smtpc_doing(const struct smtpc *c);
/* The present reply in words, kept by the job: with the host before it and the command behind it; alone. */
struct span smtpc_said(struct smtpc *c, const char *before, const char *command);
struct span smtpc_reply_text(struct smtpc *c);

/* A code with its first digit made 4; kept by the job. */
struct span smtpc_softened(struct smtpc *c, struct span dsn);

void smtpc_say_hello(struct smtpc *c);           /* EHLO or LHLO */

/* starttls.c */
void smtpc_find_policy(struct smtpc *c);         /* the connection stands: first of all */
void smtpc_secure(struct smtpc *c);              /* behind EHLO or HELO; then smtpc_log_in() */
void smtpc_on_starttls(struct smtpc *c);
void smtpc_on_secured(struct conn *conn);
void smtpc_handshake_failed(struct smtpc *c, enum conn_end why, int err);
bool smtpc_may_go_plain(const struct smtpc *c);  /* a failure of TLS is no reason to keep this mail */
void smtpc_forget_tls(struct smtpc *c);          /* idempotent */

/* auth.c: from the reply to EHLO to a session that is ready. */
void smtpc_note_offer(struct smtpc *c);
void smtpc_log_in(struct smtpc *c);
void smtpc_on_login(struct smtpc *c);
void smtpc_on_auth(struct smtpc *c);
void smtpc_forget_login(struct smtpc *c);        /* wipes; idempotent */

/* transaction.c: the replies of its steps, and room for more content. */
void smtpc_on_rset(struct smtpc *c);
void smtpc_on_xforward(struct smtpc *c);
void smtpc_on_mail(struct smtpc *c);
void smtpc_on_rcpt(struct smtpc *c);
void smtpc_on_data(struct smtpc *c);
void smtpc_on_dot(struct smtpc *c);
void smtpc_on_drained(struct conn *conn);

#endif
