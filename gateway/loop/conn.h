/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * conn.h - a buffered, non-blocking stream connection.
 *
 * Input arrives in a scratch buffer shared by the process and only what the owner leaves unconsumed
 * is kept, so an idle connection holds no buffer. Output gathers and leaves once per loop turn.
 * Callbacks come from the loop only, never from inside a conn_ call. After conn_close none comes.
 * Embedded in its owner; owns the descriptor. Either begins in the clear; conn_start_tls puts TLS under it.
 */
#ifndef LOOP_CONN_H
#define LOOP_CONN_H

#include "base/buf.h"
#include "loop/loop.h"

#include <sys/socket.h>

struct conn;
struct conn_tls;
typedef struct ssl_st SSL;

enum conn_end { CONN_EOF = 1, CONN_ERROR, CONN_TIMEOUT };

struct conn_ops {
	/* New bytes: look at conn_input(), take some with conn_consume(). Called again only when more
	 * bytes came, or after conn_pause() .. conn_resume() with bytes left. */
	void (*input)(struct conn *);
	/* The peer closed its side, the connection failed, or the deadline passed. err: errno or 0.
	 * The owner decides what to do; it normally calls conn_close. Comes once per cause. */
	void (*ended)(struct conn *, enum conn_end why, int err);
	/* Everything written has left; comes once after the owner set want_drained. */
	void (*drained)(struct conn *);
	/* Optional, for conn_connect: the connection stands. */
	void (*connected)(struct conn *);
	/* Optional, for conn_start_tls: the handshake is done; what is read from here on came through it. */
	void (*secured)(struct conn *);
};

struct conn {
	unsigned magic;
	int fd;                     /* -1 when closed */
	const struct conn_ops *ops;
	struct watch watch;
	struct timer timer;
	uint64_t deadline, timer_at; /* loop_now() scale; 0: none. The timer goes off then or earlier, and is not stopped for nothing */
	struct buf in;              /* unconsumed input between callbacks; is_secret (the owner may set it) goes for what callbacks see as well */
	struct span fresh;          /* input during a callback, in the scratch buffer */
	bool in_callback;
	struct buf out;
	struct list dirty;          /* on the flush list, or waiting for the delayed input call */
	struct list again;
	struct conn_tls *tls;       /* conn_tls.c; NULL: in the clear */
	size_t in_max;              /* reading stops while this much is unconsumed */
	bool paused, eof, connecting, broken, want_drained;
	bool sparing;               /* set by the owner: never more than in_max is read, the rest stays with the kernel */
	bool is_parting;            /* set by the owner right before conn_close(): the last words and the end leave in one packet. What was not read loses them */
	bool eager_eof;             /* set by the owner: while paused the end of input is told at once; what came before it is not wanted any more */
	uint64_t bytes_in, bytes_out; /* as the owner sees them, inside TLS */
};

/* fd is given (non-blocking is set here). in_max and out_max limit the two buffers in bytes; a write
 * past out_max breaks the connection (ended(CONN_ERROR, ENOBUFS)). */
void conn_init(struct conn *c, int fd, const struct conn_ops *ops, size_t in_max, size_t out_max);
/* Starts a TCP or UNIX connection; bind_to may be NULL. RC_TEMP with reason if it failed at once
 * (the conn is then closed). Otherwise connected() or ended() follows; set a deadline. */
enum rc conn_connect(struct conn *c, const struct sockaddr *to, socklen_t len, const struct sockaddr *bind_to,
    socklen_t bind_len, const struct conn_ops *ops, size_t in_max, size_t out_max, struct err *e) MUST_CHECK;
/* Idempotent. Unsent output is tried once and then dropped. No callback afterwards. */
void conn_close(struct conn *c);
static inline bool
conn_is_open(const struct conn *c)
{
	return c->fd >= 0;
}

struct span conn_input(const struct conn *c);
void conn_consume(struct conn *c, size_t n);
/* No input() until resumed. What comes meanwhile is kept, up to in_max; the end of input is told after it (unless eager_eof), but a
 * connection that breaks ends at once, ended(CONN_ERROR), as far as its input was read. */
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);   /* input() is called from the loop if bytes are waiting */
bool conn_input_eof(const struct conn *c);

void conn_put(struct conn *c, struct span s);
void conn_puts(struct conn *c, const char *literal);
/* The output buffer itself, for writers that compose in place; marks the conn to be flushed. */
struct buf *conn_out(struct conn *c);
static inline size_t
conn_unsent(const struct conn *c)
{
	return buf_len(&c->out);
}

/* What came is acknowledged now, not with what we send next: a peer that answers in pieces and does not turn off Nagle's algorithm
 * would hold back the second piece until our kernel's timer goes off. Nothing on other sockets than TCP. */
void conn_ack(struct conn *c);

/* ended(CONN_TIMEOUT) when usec pass without this being called again; 0 = no deadline. Cheap: the
 * timer itself moves only when it fires early. */
void conn_deadline(struct conn *c, uint64_t usec);

/* ---- TLS (conn_tls.c) ---- */

/* ssl is given, set to accept or connect. What was written before leaves in the clear first; input that was not consumed is
 * thrown away, and nothing is read until the handshake begins. Once per connection, also from inside callbacks.
 * secured() follows, or ended(): CONN_ERROR with EPROTO when the handshake failed, else as on any connection (CONN_EOF: the
 * peer left in it). Set a deadline. What is written meanwhile leaves when the handshake is done.
 * The end of input without close_notify is an ordinary end: who needs to know that all came has to see it in the bytes. A
 * record that is wrong is CONN_ERROR with EPROTO. There is no renegotiation and no compression. */
void conn_start_tls(struct conn *c, SSL *ssl);
/* The same for a connection that begins with the handshake (wrapper mode): input that is not consumed is its beginning. */
void conn_wrap_tls(struct conn *c, SSL *ssl);
/* No more output: the peer is told, close_notify and end of file; it may go on sending. Call when all has left. */
void conn_shutdown(struct conn *c);
/* NULL: in the clear. Also while the handshake is under way, and in ended(). */
SSL *conn_ssl(const struct conn *c);
bool conn_is_secured(const struct conn *c);
/* The first reason OpenSSL gave, "error:0A00009C:SSL routines::http request:FILE:LINE:"; "" when there is none. */
const char *conn_tls_error(const struct conn *c);

#endif
