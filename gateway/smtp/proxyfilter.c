/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/proxyfilter.h"

enum { IN_MAX = 64 * 1024, OUT_MAX = PROXY_COMMANDS_MAX + 1024 * 1024, PIECE = 64 * 1024 };
enum stage { DIALLING = 0, BANNER, EHLO, HELO, XFORWARD, READY, COMMANDS, CONTENT, FINAL };
static const char *const doing[] = { [DIALLING] = "connecting", [BANNER] = "receiving the initial server greeting",
	[EHLO] = "performing the EHLO handshake", [HELO] = "performing the HELO handshake", [XFORWARD] = "sending XFORWARD", [READY] = "waiting",
	[COMMANDS] = "sending the envelope", [CONTENT] = "sending message body", [FINAL] = "sending end of data" };

static void
let_go(struct proxy_filter *f)
{
	dial_fini(&f->dial);
	if (f->is_open)
		conn_close(&f->conn);
	f->is_open = false;
}

static void
detach(struct op *op)
{
	let_go(container_of(op, struct proxy_filter, op));
}

static const struct op_provider provider = { "proxy filter", detach };

static void
begin(struct proxy_filter *f, enum stage stage)
{
	f->stage = stage;
	f->refused = false;
	op_pend(&f->op, &provider);
	conn_deadline(&f->conn, f->timeout);
}

static void
finish(struct proxy_filter *f)
{
	f->stage = READY;
	conn_deadline(&f->conn, 0);
	op_finish(&f->op, RC_OK);
}

static void
fail(struct proxy_filter *f, const char *what)
{
	(void)err_set(&f->why, RC_TEMP, "%s while %s", what, doing[f->stage]);
	bool is_awaited = f->stage != READY;
	let_go(f);
	if (is_awaited)
		op_finish(&f->op, RC_TEMP);
}

/* ---- what is sent ---- */

static void
send_lines(struct proxy_filter *f)
{
	bool is_alone = (f->features & HUB_PIPELINING) == 0;
	while (f->unsent > 0 && (!is_alone || f->unanswered == f->unsent)) {
		size_t lf = span_chr(buf_span(&f->lines), '\n');
		BUG_ON(lf == SIZE_MAX);
		conn_put(&f->conn, span_head(buf_span(&f->lines), lf + 1));
		buf_consume(&f->lines, lf + 1);
		f->unsent--;
	}
}

void
proxy_filter_say(struct proxy_filter *f, struct span lines, size_t n, int expected)
{
	begin(f, COMMANDS);
	buf_reset(&f->lines);
	buf_put(&f->lines, lines);
	f->unsent = f->unanswered = n;
	f->expected = expected;
	if (!f->is_open || f->lines.over) {
		f->lines.over = false;
		fail(f, f->is_open ? "too many commands" : "lost connection");
		return;
	}
	send_lines(f);
}

static void
send_content(struct proxy_filter *f)
{
	struct buf piece;
	enum rc rc = RC_OK;
	buf_init(&piece, PIECE);
	while (conn_unsent(&f->conn) < PIECE && rc == RC_OK) {
		buf_reset(&piece);
		rc = f->read(f->owner, f->pos, PIECE, &piece);
		f->pos += buf_len(&piece);
		wire_put(&f->wire, conn_out(&f->conn), buf_span(&piece));
	}
	buf_fini(&piece);
	conn_deadline(&f->conn, f->timeout);
	if (rc == RC_OK) {
		f->conn.want_drained = true;
	} else if (rc == RC_NONE) {
		wire_end(&f->wire, conn_out(&f->conn));
		conn_puts(&f->conn, ".\r\n");
		f->stage = FINAL;
	} else {
		fail(f, "the content cannot be read");
	}
}

void
proxy_filter_content(struct proxy_filter *f, proxy_read_fn *read, void *owner)
{
	begin(f, CONTENT);
	f->read = read;
	f->owner = owner;
	if (!f->is_open) {
		fail(f, "lost connection");
		return;
	}
	wire_init(&f->wire, true, 0);
	send_content(f);
}

static void
say_hello(struct proxy_filter *f, enum stage stage)
{
	f->stage = stage;
	conn_puts(&f->conn, stage == EHLO ? "EHLO " : "HELO ");
	conn_puts(&f->conn, f->ehlo);
	conn_puts(&f->conn, "\r\n");
}

static void
say_forward(struct proxy_filter *f)
{
	f->stage = XFORWARD;
	while (f->xforward < XFORWARD_COMMANDS)
		if (command_xforward(conn_out(&f->conn), f->forward, f->features, f->xforward++))
			return;
	finish(f);
}

/* ---- what is answered ---- */

/* A reply that should have been another. */
static void
unexpected(struct proxy_filter *f)
{
	char what[64];
	if (f->reply.code >= 400) {
		f->refused = true;
		finish(f);
		return;
	}
	snprintf(what, sizeof what, "unexpected reply %d", f->reply.code);
	fail(f, what);
}

static void
on_command_reply(struct proxy_filter *f)
{
	f->unanswered--;
	if (f->reply.code / 100 != f->expected)
		unexpected(f);
	else if (f->unanswered == 0)
		finish(f);
	else
		send_lines(f);
}

static void
on_reply(struct proxy_filter *f)
{
	uint64_t size_max;
	struct span name;
	bool is_fine = f->reply.code / 100 == 2;
	switch ((enum stage)f->stage) {
	case BANNER:
		if (is_fine)
			say_hello(f, EHLO);
		else
			unexpected(f);
		return;
	case EHLO:
		if (!is_fine) {
			say_hello(f, HELO);
			return;
		}
		f->features = ehlo_parse(&f->reply, 0, &size_max, &name);
		say_forward(f);
		return;
	case HELO:
	case XFORWARD:
		if (is_fine)
			say_forward(f);
		else
			unexpected(f);
		return;
	case COMMANDS:
		on_command_reply(f);
		return;
	case FINAL:
		if (is_fine)
			finish(f);
		else
			unexpected(f);
		return;
	case CONTENT: /* it does not want to hear the rest: nothing may follow on this connection */
		unexpected(f);
		let_go(f);
		return;
	case DIALLING:
	case READY:
		fail(f, "a reply nobody asked for");
		return;
	}
}

static void
on_input(struct conn *conn)
{
	struct proxy_filter *f = container_of(conn, struct proxy_filter, conn);
	while (f->is_open && conn_input(conn).n > 0) {
		size_t used;
		enum rc rc = hubreply_feed(&f->reply, conn_input(conn), &used);
		conn_consume(conn, used);
		if (rc == RC_NONE)
			return;
		if (rc != RC_OK) {
			fail(f, "malformed reply");
			return;
		}
		on_reply(f);
		if (f->stage == READY) /* the op speaks of this reply: the next one waits */
			return;
		if (f->is_open)
			conn_deadline(conn, f->timeout);
	}
}

static void
on_ended(struct conn *conn, enum conn_end why, int err)
{
	struct proxy_filter *f = container_of(conn, struct proxy_filter, conn);
	fail(f, why == CONN_TIMEOUT ? "timeout" : why == CONN_EOF ? "lost connection" : strerror(err));
}

static void
on_drained(struct conn *conn)
{
	struct proxy_filter *f = container_of(conn, struct proxy_filter, conn);
	if (f->stage == CONTENT)
		send_content(f);
}

static const struct conn_ops conn_ops = { .input = on_input, .ended = on_ended, .drained = on_drained };

static void
on_dial(struct op *op)
{
	struct proxy_filter *f = container_of(op, struct proxy_filter, dial.op);
	if (op->rc != RC_OK) {
		(void)err_set(&f->why, RC_TEMP, "%s", f->dial.why.why);
		op_finish(&f->op, RC_TEMP);
		return;
	}
	conn_init(&f->conn, dial_take(&f->dial), &conn_ops, IN_MAX, OUT_MAX);
	f->is_open = true;
	f->stage = BANNER;
	conn_deadline(&f->conn, f->timeout);
}

void
proxy_filter_start(struct proxy_filter *f, const struct endpoint *ep, const char *ehlo, uint64_t timeout, struct span forward,
    struct op_owner *owner, op_fn *done)
{
	*f = (struct proxy_filter){ .ehlo = ehlo, .timeout = timeout, .forward = forward, .conn.fd = -1 };
	hubreply_init(&f->reply);
	buf_init(&f->lines, PROXY_COMMANDS_MAX);
	op_owner_init(&f->ops);
	op_init(&f->op, owner, done);
	op_pend(&f->op, &provider);
	dial_init(&f->dial, &f->ops, on_dial);
	dial_start(&f->dial, ep, timeout);
}

bool
proxy_filter_is_ready(const struct proxy_filter *f)
{
	return f->is_open && f->stage == READY;
}

void
proxy_filter_fini(struct proxy_filter *f)
{
	if (f->op.magic == 0)
		return;
	if (proxy_filter_is_ready(f))
		conn_puts(&f->conn, "QUIT\r\n");
	let_go(f);
	op_cancel(&f->op);
	hubreply_fini(&f->reply);
	buf_fini(&f->lines);
	f->op.magic = 0;
}
