/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TLS under a connection: OpenSSL between its buffers and its descriptor.
 *
 * OpenSSL reads and writes the descriptor through a BIO of ours that never raises SIGPIPE and reads at most TURN_WIRE octets
 * per turn, so records that carry nothing cannot keep the process. Handshakes cost a millisecond each: they queue, and a turn
 * gives them TURN_HANDSHAKES microseconds together, at least one each turn; other connections go on between.
 */
#include "loop/conn_private.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

enum { TURN_WIRE = 128 * 1024, TURN_HANDSHAKES = 5000, EARLY_MORE = 64 * 1024, BULK = 4096 };

enum tls_state {
	TLS_CLEAR,        /* what was written before leaves first */
	TLS_HANDSHAKE,
	TLS_OPEN,
	TLS_FAILED,
};

struct conn_tls {
	SSL *ssl;
	enum tls_state state;
	struct buf early;         /* of the handshake: read before it began */
	struct list link;         /* handshakes that may go on */
	struct conn *conn;
	size_t clear;             /* octets of out that were written before */
	size_t budget;            /* of the wire, for the call at hand */
	bool wire_eof, more;      /* more: it stopped before all was read */
	bool ended;               /* reading is over, as errno of end says; what came before it is told first */
	int end;
	bool read_wants_write, write_wants_read;
	bool is_closing;          /* close_notify follows in a moment */
	char error[200];
};

static struct list handshakes = { &handshakes, &handshakes };
static struct timer handshake_timer;
static BIO_METHOD *method;

static void run_handshakes(struct timer *t);

/* ---- the descriptor, as OpenSSL sees it ---- */

static int
wire_read(BIO *b, char *to, size_t n, size_t *got)
{
	struct conn *c = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	*got = 0;
	if (n > c->tls->budget)
		n = c->tls->budget;
	if (n == 0) {
		BIO_set_retry_read(b);
		return 0;
	}
	if (buf_len(&c->tls->early) > 0) {
		struct span s = span_head(buf_span(&c->tls->early), n);
		memcpy(to, s.p, s.n);
		buf_consume(&c->tls->early, s.n);
		if (buf_len(&c->tls->early) == 0)
			buf_fini(&c->tls->early);
		*got = s.n;
		return 1;
	}
	ssize_t r = recv(c->fd, to, n, 0);
	if (r > 0) {
		c->tls->budget -= (size_t)r;
		*got = (size_t)r;
		return 1;
	}
	if (r == 0)
		c->tls->wire_eof = true;
	else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
		BIO_set_retry_read(b);
	return 0;
}

/* Will more be sent at once? One packet less then. A ticket leaves with the answer to what came with the end of the handshake. */
static bool
more_follows(const struct conn_tls *t)
{
	return t->is_closing || (t->state == TLS_HANDSHAKE && SSL_get_state(t->ssl) == TLS_ST_SW_SESSION_TICKET && SSL_has_pending(t->ssl) == 1);
}

static int
wire_write(BIO *b, const char *from, size_t n, size_t *put)
{
	struct conn *c = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	*put = 0;
	ssize_t r = send(c->fd, from, n, MSG_NOSIGNAL | (more_follows(c->tls) ? MSG_MORE : 0));
	if (r >= 0) {
		*put = (size_t)r;
		return 1;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
		BIO_set_retry_write(b);
	return 0;
}

static long
wire_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)num, (void)ptr;
	struct conn *c = BIO_get_data(b);
	if (cmd == BIO_CTRL_EOF)
		return c->tls->wire_eof;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static void
set_up(void)
{
	if (method != NULL)
		return;
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "conn");
	BUG_ON(method == NULL);
	BIO_meth_set_read_ex(method, wire_read);
	BIO_meth_set_write_ex(method, wire_write);
	BIO_meth_set_ctrl(method, wire_ctrl);
}

/* ---- errors ---- */

/* The first reason, as Postfix writes it; the queue is empty afterwards. */
static void
note_error(struct conn_tls *t)
{
	const char *file, *data;
	int line, flags;
	char text[120];
	unsigned long code = ERR_get_error_all(&file, &line, NULL, &data, &flags);
	if (code == 0 || t->error[0] != '\0') {
		ERR_clear_error();
		return;
	}
	ERR_error_string_n(code, text, sizeof text);
	if ((flags & ERR_TXT_STRING) != 0 && data != NULL && data[0] != '\0')
		(void)snprintf(t->error, sizeof t->error, "%s:%s:%d:%s:", text, file, line, data);
	else
		(void)snprintf(t->error, sizeof t->error, "%s:%s:%d:", text, file, line);
	ERR_clear_error();
}

/* What went wrong in a call that failed for good, as errno; 0: the peer ended it. */
static int
failure(struct conn_tls *t, int how, int err)
{
	bool reason = ERR_peek_error() != 0;
	if (how == SSL_ERROR_SSL || reason) {
		bool eof = t->wire_eof && ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
		note_error(t);
		return eof ? 0 : EPROTO;
	}
	if (how == SSL_ERROR_ZERO_RETURN || t->wire_eof)
		return 0;
	return err != 0 ? err : EPROTO;
}

/* ---- the handshake ---- */

static void
queue_handshake(struct conn *c)
{
	if (list_linked(&c->tls->link))
		return;
	if (list_empty(&handshakes))
		timer_set(&handshake_timer, 0);
	list_append(&handshakes, &c->tls->link);
}

/* Who is asked has nothing to do before the question is there. */
static void
begin_handshake(struct conn *c)
{
	c->tls->state = TLS_HANDSHAKE;
	if (SSL_is_server(c->tls->ssl) == 1 && buf_len(&c->tls->early) == 0) {
		watch_want(&c->watch, EV_READ);
	} else {
		watch_want(&c->watch, 0);
		queue_handshake(c);
	}
}

/* What was written before the handshake has left, or leaves as the peer takes it. */
static bool
send_before(struct conn *c)
{
	struct conn_tls *t = c->tls;
	size_t before = buf_len(&c->out);
	bool ok = conn_send_clear(c, t->clear);
	t->clear -= before - buf_len(&c->out);
	if (!ok)
		return false;
	if (t->clear > 0) {
		watch_want(&c->watch, EV_WRITE);
		return true;
	}
	begin_handshake(c);
	return true;
}

static void
secured(struct conn *c)
{
	struct conn_tls *t = c->tls;
	t->state = TLS_OPEN;
	if (buf_len(&c->in) == 0)
		buf_fini(&c->in);
	t->more = SSL_has_pending(t->ssl) == 1 || buf_len(&t->early) > 0; /* it came with the last of the handshake */
	metric_add(M_tls_handshakes, 1);
	watch_want(&c->watch, EV_READ);
	if (buf_len(&c->out) > 0 || c->want_drained)
		(void)conn_out(c);
	if (t->more)
		conn_call_again(c);
	if (c->ops->secured != NULL)
		c->ops->secured(c);
}

static void
handshake(struct conn *c)
{
	struct conn_tls *t = c->tls;
	t->budget = TURN_WIRE;
	ERR_clear_error();
	errno = 0;
	int r = SSL_do_handshake(t->ssl);
	int err = errno;
	if (r == 1) {
		ERR_clear_error(); /* what it got over: a session that was not found */
		secured(c);
		return;
	}
	int how = SSL_get_error(t->ssl, r);
	if (how == SSL_ERROR_WANT_READ || how == SSL_ERROR_WANT_WRITE) {
		watch_want(&c->watch, how == SSL_ERROR_WANT_READ ? EV_READ : EV_WRITE);
		return;
	}
	err = failure(t, how, err);
	t->state = TLS_FAILED;
	metric_add(M_tls_handshake_errors, 1);
	watch_want(&c->watch, 0);
	if (err == 0) {
		c->eof = true;
		c->broken = true;
		conn_end(c, CONN_EOF, 0);
	} else {
		conn_end(c, CONN_ERROR, err);
	}
}

static void
run_handshakes(struct timer *timer)
{
	uint64_t began = clock_mono();
	struct list *l;
	while ((l = list_pop(&handshakes)) != NULL) {
		handshake(list_entry(l, struct conn_tls, link)->conn);
		if (clock_mono() - began > TURN_HANDSHAKES)
			break;
	}
	if (!list_empty(&handshakes))
		timer_set(timer, 0);
	for (l = handshakes.prev; l != &handshakes; l = l->prev) {
		struct watch *w = &list_entry(l, struct conn_tls, link)->conn->watch;
		if (w->want == 0)
			break; /* and all before it */
		watch_want(w, 0); /* its turn comes without the descriptor */
	}
}

static void
start(struct conn *c, SSL *ssl, bool wrapped)
{
	BUG_ON(c->tls != NULL);
	if (c->fd < 0) {
		SSL_free(ssl);
		return;
	}
	set_up();
	if (!handshake_timer.inited)
		timer_init(&handshake_timer, run_handshakes);
	struct conn_tls *t = c->tls = mem_zalloc(sizeof *t);
	t->ssl = ssl;
	t->conn = c;
	list_init(&t->link);
	t->clear = buf_len(&c->out);
	buf_init(&t->early, c->in_max + EARLY_MORE);
	if (wrapped)
		buf_put(&t->early, conn_input(c));
	SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	SSL_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
	    SSL_OP_CLEANSE_PLAINTEXT /* a login is in none of its buffers afterwards */);
	SSL_set_read_ahead(ssl, 1); /* a record is one system call, not two */
	BIO *wire = BIO_new(method);
	BUG_ON(wire == NULL);
	BIO_set_data(wire, c);
	BIO_set_init(wire, 1);
	SSL_set_bio(ssl, wire, wire);
	/* what came in the clear is nobody's now; its memory stays until the caller is done with the line it is in */
	if (c->in_callback)
		c->fresh = span_head(c->fresh, 0);
	else
		buf_consume(&c->in, buf_len(&c->in));
	c->eof = false; /* the handshake finds it */
	list_remove(&c->again);
	if (c->connecting)
		watch_want(&c->watch, EV_WRITE);
	else if (t->clear == 0)
		begin_handshake(c);
	else
		(void)conn_out(c); /* leaves with this turn */
}

void
conn_start_tls(struct conn *c, SSL *ssl)
{
	start(c, ssl, false);
}

void
conn_wrap_tls(struct conn *c, SSL *ssl)
{
	start(c, ssl, true);
}

/* ---- what conn.c asks ---- */

bool
conn_tls_ready(struct conn *c, short *what)
{
	struct conn_tls *t = c->tls;
	switch (t->state) {
	case TLS_CLEAR:
		if (c->connecting)
			return false;
		if (!send_before(c))
			conn_end(c, CONN_ERROR, errno);
		return true;
	case TLS_HANDSHAKE:
		queue_handshake(c);
		return true;
	case TLS_FAILED:
		return true;
	case TLS_OPEN:
		break;
	}
	/* either direction may wait for the other */
	short ready = *what;
	if (t->read_wants_write && (ready & EV_WRITE) != 0) {
		t->read_wants_write = false;
		*what |= EV_READ;
	}
	if (t->write_wants_read && (ready & EV_READ) != 0) {
		t->write_wants_read = false;
		*what |= EV_WRITE;
	} else if (t->write_wants_read) {
		*what &= ~EV_WRITE;
		watch_want(&c->watch, (short)(c->watch.want & ~EV_WRITE));
	}
	return false;
}

bool
conn_tls_holds_output(struct conn *c)
{
	struct conn_tls *t = c->tls;
	if (t->state == TLS_CLEAR) {
		if (!c->out.over && !send_before(c))
			conn_end(c, CONN_ERROR, errno);
		return true;
	}
	return t->state != TLS_OPEN;
}

bool
conn_tls_is_open(const struct conn *c)
{
	return c->tls->state == TLS_OPEN;
}

bool
conn_tls_has_more(const struct conn *c)
{
	return c->tls != NULL && c->tls->state == TLS_OPEN && c->tls->more;
}

ssize_t
conn_tls_recv(struct conn *c, unsigned char *to, size_t most)
{
	struct conn_tls *t = c->tls;
	size_t got = 0, n;
	t->budget = TURN_WIRE;
	t->more = !t->ended;
	while (got < most && !t->ended) {
		ERR_clear_error();
		errno = 0;
		int r = SSL_read_ex(t->ssl, to + got, most - got, &n);
		int err = errno;
		if (r == 1) {
			got += n;
			if (got < BULK && SSL_has_pending(t->ssl) == 0 && buf_len(&t->early) == 0) {
				t->more = false; /* a command: what the descriptor has, it says */
				break;
			}
			continue;
		}
		int how = SSL_get_error(t->ssl, r);
		if (how == SSL_ERROR_WANT_WRITE) {
			t->read_wants_write = true;
			watch_want(&c->watch, (short)(c->watch.want | EV_WRITE));
		}
		t->more = false;
		if (how == SSL_ERROR_WANT_READ || how == SSL_ERROR_WANT_WRITE)
			break;
		t->ended = true;
		t->end = failure(t, how, err);
		t->more = got > 0;
	}
	if (got > 0)
		return (ssize_t)got;
	errno = t->ended ? t->end : EAGAIN;
	return t->ended && t->end == 0 ? 0 : -1;
}

void
conn_tls_closing(struct conn *c)
{
	if (c->tls != NULL)
		c->tls->is_closing = true;
}

bool
conn_tls_send(struct conn *c)
{
	struct conn_tls *t = c->tls;
	if (t->state == TLS_CLEAR)
		return conn_send_clear(c, t->clear); /* on close: the rest may not leave in the clear */
	if (t->state != TLS_OPEN)
		return true;
	while (buf_len(&c->out) > 0) {
		struct span s = buf_span(&c->out);
		size_t n;
		ERR_clear_error();
		errno = 0;
		int r = SSL_write_ex(t->ssl, s.p, s.n, &n);
		int err = errno;
		if (r == 1) {
			c->bytes_out += n;
			buf_consume(&c->out, n);
			continue;
		}
		int how = SSL_get_error(t->ssl, r);
		if (how == SSL_ERROR_WANT_READ)
			t->write_wants_read = true;
		if (how == SSL_ERROR_WANT_READ || how == SSL_ERROR_WANT_WRITE)
			return true;
		t->state = TLS_FAILED;
		err = failure(t, how, err);
		errno = err != 0 ? err : EPIPE;
		return false;
	}
	return true;
}

void
conn_tls_shutdown(struct conn *c)
{
	struct conn_tls *t = c->tls;
	if (t == NULL || t->state != TLS_OPEN || c->broken || buf_len(&c->out) > 0)
		return;
	ERR_clear_error();
	t->is_closing = false;
	if ((SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN) == 0)
		(void)SSL_shutdown(t->ssl);
	ERR_clear_error();
}

void
conn_tls_close(struct conn *c)
{
	struct conn_tls *t = c->tls;
	if (t == NULL)
		return;
	conn_tls_shutdown(c);
	buf_fini(&t->early);
	list_remove(&t->link);
	SSL_free(t->ssl);
	mem_free(&c->tls);
}

/* ---- what the owner asks ---- */

SSL *
conn_ssl(const struct conn *c)
{
	return c->tls != NULL ? c->tls->ssl : NULL;
}

bool
conn_is_secured(const struct conn *c)
{
	return c->tls != NULL && c->tls->state == TLS_OPEN;
}

const char *
conn_tls_error(const struct conn *c)
{
	return c->tls != NULL ? c->tls->error : "";
}
