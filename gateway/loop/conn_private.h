/* SPDX-License-Identifier: BSD-2-Clause */
/* conn_private.h - between conn.c (buffers, callbacks, turns) and conn_tls.c (what TLS puts between them and the descriptor). */
#ifndef LOOP_CONN_PRIVATE_H
#define LOOP_CONN_PRIVATE_H

#include "loop/conn.h"

#include <sys/types.h>

enum { CONN_MAGIC = 0xc0117ec7 };

/* conn.c */
bool conn_send_clear(struct conn *c, size_t most);  /* most octets of out, as they are; false: it broke */
void conn_end(struct conn *c, enum conn_end why, int err);
void conn_call_again(struct conn *c);               /* the loop looks at its input once more */

/* conn_tls.c; conn_tls_send() to conn_tls_holds_output() with c->tls set */
void conn_tls_closing(struct conn *c);               /* what is sent from now on is followed by close_notify; also without TLS */
bool conn_tls_send(struct conn *c);                 /* as send_some() */
ssize_t conn_tls_recv(struct conn *c, unsigned char *to, size_t most); /* as recv(): -1 with errno, EPROTO too */
bool conn_tls_is_open(const struct conn *c);        /* the handshake is done */
/* The descriptor is ready: true when that was the handshake's; else *what is what conn.c has to do. */
bool conn_tls_ready(struct conn *c, short *what);
bool conn_tls_holds_output(struct conn *c);         /* output waits for the handshake, or is on its way before it */
bool conn_tls_has_more(const struct conn *c);       /* input that the descriptor will not announce */
void conn_tls_shutdown(struct conn *c);             /* close_notify, if that makes sense; also without TLS */
void conn_tls_close(struct conn *c);                /* close_notify; idempotent, also without TLS */

#endif
