/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * milter_world.h - milters on loopback in the loop of the test, each with a script, and SMTP sessions that are played to them
 * through filters/milter.h. What a milter heard and what a session was told are lines of text.
 */
#ifndef TESTS_MILTER_WORLD_H
#define TESTS_MILTER_WORLD_H

#include "filters/milter_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"

#include "confdir.h"
#include "unit.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* ---- a milter ---- */

enum fake_deed {
	DO_REPLY = 0,            /* the bytes of reply, packets composed with fake_packet() */
	DO_CLOSE, DO_RESET, DO_GARBAGE, DO_HANG, DO_SLOW, DO_FRAME_0, DO_FRAME_1G, DO_FRAME_FFFF, DO_NOTHING
};

struct fake {
	int fd;
	uint16_t port;
	struct watch watch;
	struct list conns;
	unsigned connects, aborts, quits, kept;
	uint32_t version, actions, steps;
	struct buf options;      /* behind the three numbers of the answer to the offer */
	unsigned char options_cmd;
	struct fake_rule {
		unsigned char cmd;   /* the command it is about */
		unsigned nth;        /* the n-th such command; 0: each */
		enum fake_deed deed;
		struct buf reply;
	} rules[16];
	unsigned nrules;
	unsigned seen[256];
	unsigned greets_badly;   /* deed for the offer itself */
	bool no_reply[256];
	struct buf log, body, header;
	struct buf macros;
};

struct fake_conn {
	struct fake *fake;
	struct conn conn;
	struct list link;
	struct timer drip;
	struct buf slow;
	bool dead;
	struct grave grave;
};

static void
fake_dig(struct grave *g)
{
	struct fake_conn *c = container_of(g, struct fake_conn, grave);
	mem_free(&c);
}

static void
fake_end(struct fake_conn *c)
{
	if (c->dead)
		return;
	c->dead = true;
	timer_clear(&c->drip);
	buf_fini(&c->slow);
	conn_close(&c->conn);
	list_remove(&c->link);
	loop_bury(&c->grave, fake_dig);
}

static void UNUSED
fake_packet(struct buf *b, unsigned char cmd, const void *data, size_t n)
{
	size_t mark = mw_begin(b, cmd);
	buf_put(b, span_of(data, n));
	mw_end(b, mark);
}

static void
fake_drip(struct timer *t)
{
	struct fake_conn *c = container_of(t, struct fake_conn, drip);
	conn_put(&c->conn, span_head(buf_span(&c->slow), 1));
	buf_consume(&c->slow, 1);
	if (buf_len(&c->slow) > 0)
		timer_set(t, 1000);
}

static void
fake_reset_conn(struct fake_conn *c)
{
	struct linger l = { 1, 0 };
	setsockopt(c->conn.fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
	fake_end(c);
}

static void
fake_do(struct fake_conn *c, enum fake_deed deed, struct span reply)
{
	switch (deed) {
	case DO_REPLY:
		if (buf_len(&c->slow) > 0)
			buf_put(&c->slow, reply); /* in order */
		else
			conn_put(&c->conn, reply);
		break;
	case DO_CLOSE:
		fake_end(c);
		break;
	case DO_RESET:
		fake_reset_conn(c);
		break;
	case DO_GARBAGE:
		conn_puts(&c->conn, "HTTP/1.1 400 Bad Request\r\n\r\n");
		break;
	case DO_SLOW:
		buf_put(&c->slow, reply);
		if (buf_len(&c->slow) > reply.n)
			break;
		timer_init(&c->drip, fake_drip);
		timer_set(&c->drip, 1000);
		break;
	case DO_FRAME_0:
		conn_put(&c->conn, span_of("\0\0\0\0", 4));
		break;
	case DO_FRAME_1G:
		conn_put(&c->conn, span_of("\x40\0\0\0c", 5));
		break;
	case DO_FRAME_FFFF:
		conn_put(&c->conn, span_of("\xff\xff\xff\xff" "c", 5));
		break;
	case DO_HANG:
	case DO_NOTHING:
		break;
	}
}

static void
fake_options(struct fake_conn *c)
{
	struct fake *f = c->fake;
	struct buf b;
	buf_init(&b, 65536);
	size_t mark = mw_begin(&b, f->options_cmd != 0 ? f->options_cmd : SMFIC_OPTNEG);
	mw_be32(&b, f->version);
	mw_be32(&b, f->actions);
	mw_be32(&b, f->steps);
	buf_put(&b, buf_span(&f->options));
	mw_end(&b, mark);
	fake_do(c, (enum fake_deed)f->greets_badly, buf_span(&b));
	buf_fini(&b);
}

static void
fake_note(struct fake *f, unsigned char cmd, struct span data)
{
	buf_putc(&f->log, cmd);
	if (cmd == SMFIC_BODY || cmd == SMFIC_BODYEOB) {
		buf_put(&f->body, data);
		if (data.n > 0)
			buf_printf(&f->log, " %zu", data.n);
	} else if (cmd == SMFIC_HEADER) {
		struct span name, value;
		assert_int_equal(mw_two(data, &name, &value), RC_OK);
		buf_putc(&f->log, ' ');
		buf_put(&f->log, name);
		buf_puts(&f->log, "=[");
		buf_put(&f->log, value);
		buf_putc(&f->log, ']');
	} else if (data.n > 0) {
		buf_putc(&f->log, ' ');
		for (size_t i = 0; i < data.n; i++)
			buf_putc(&f->log, data.p[i] >= ' ' && data.p[i] < 0x7f ? data.p[i] : data.p[i] == 0 ? ',' : '.');
	}
	buf_putc(&f->log, '\n');
}

static void
fake_frame(struct fake_conn *c, unsigned char cmd, struct span data)
{
	struct fake *f = c->fake;
	if (cmd == SMFIC_OPTNEG) {
		fake_options(c);
		return;
	}
	fake_note(f, cmd, data);
	switch (cmd) {
	case SMFIC_MACRO:
		return;
	case SMFIC_ABORT:
		f->aborts++;
		return;
	case SMFIC_QUIT:
		f->quits++;
		fake_end(c);
		return;
	case SMFIC_QUIT_NC:
		f->kept++;
		return;
	default:
		break;
	}
	unsigned n = ++f->seen[cmd];
	for (unsigned i = 0; i < f->nrules; i++) {
		if (f->rules[i].cmd == cmd && (f->rules[i].nth == 0 || f->rules[i].nth == n)) {
			fake_do(c, f->rules[i].deed, buf_span(&f->rules[i].reply));
			return;
		}
	}
	if (!f->no_reply[cmd])
		conn_put(&c->conn, span_of("\0\0\0\1c", 5));
}

static void
fake_input(struct conn *conn)
{
	struct fake_conn *c = container_of(conn, struct fake_conn, conn);
	while (!c->dead) {
		struct cur k = cur_of(conn_input(conn));
		uint32_t n = cur_be32(&k);
		if (k.bad || cur_left(&k) < n)
			return;
		unsigned char cmd = cur_u8(&k);
		struct span data = cur_take(&k, n - 1);
		fake_frame(c, cmd, data);
		if (!c->dead)
			conn_consume(conn, 4 + n);
	}
}

static void
fake_ended(struct conn *conn, enum conn_end why, int err)
{
	(void)why, (void)err;
	fake_end(container_of(conn, struct fake_conn, conn));
}

static void
fake_accept(struct watch *w, short what)
{
	static const struct conn_ops ops = { .input = fake_input, .ended = fake_ended };
	struct fake *f = container_of(w, struct fake, watch);
	(void)what;
	int fd = accept(f->fd, NULL, NULL);
	if (fd < 0)
		return;
	int on = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	struct fake_conn *c = mem_zalloc(sizeof *c);
	c->fake = f;
	list_init(&c->link);
	list_append(&f->conns, &c->link);
	buf_init(&c->slow, 1 << 20);
	conn_init(&c->conn, fd, &ops, 1 << 20, 8 << 20);
	f->connects++;
}

static void
fake_open(struct fake *f)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof a;
	memset(f, 0, sizeof *f);
	f->version = 6;
	f->actions = SMFI_CURR_ACTS;
	list_init(&f->conns);
	buf_init(&f->log, 1 << 20);
	buf_init(&f->body, 8 << 20);
	buf_init(&f->options, 1 << 17);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(f->fd, 100), 0);
	assert_int_equal(getsockname(f->fd, (struct sockaddr *)&a, &len), 0);
	f->port = ntohs(a.sin_port);
	watch_init(&f->watch, f->fd, fake_accept);
	watch_want(&f->watch, EV_READ);
}

static struct buf *
fake_rule(struct fake *f, unsigned char cmd, unsigned nth, enum fake_deed deed)
{
	assert_true(f->nrules < NELEMS(f->rules));
	struct fake_rule *r = &f->rules[f->nrules++];
	*r = (struct fake_rule){ .cmd = cmd, .nth = nth, .deed = deed };
	buf_init(&r->reply, 4 << 20);
	return &r->reply;
}

static void
fake_forget(struct fake *f)
{
	for (unsigned i = 0; i < f->nrules; i++)
		buf_fini(&f->rules[i].reply);
	f->nrules = 0;
	memset(f->seen, 0, sizeof f->seen);
	buf_reset(&f->log);
	buf_reset(&f->body);
}

static void
fake_listen(struct fake *f, bool on)
{
	if (on) {
		struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(f->port) };
		int yes = 1;
		a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		f->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
		assert_int_equal(bind(f->fd, (struct sockaddr *)&a, sizeof a), 0);
		assert_int_equal(listen(f->fd, 100), 0);
		watch_init(&f->watch, f->fd, fake_accept);
		watch_want(&f->watch, EV_READ);
		return;
	}
	watch_clear(&f->watch);
	close(f->fd);
	f->fd = -1;
	while (!list_empty(&f->conns))
		fake_end(list_entry(f->conns.next, struct fake_conn, link));
}

static void
fake_close(struct fake *f)
{
	fake_listen(f, false);
	fake_forget(f);
	buf_fini(&f->log);
	buf_fini(&f->body);
	buf_fini(&f->options);
}

/* ---- a session ---- */

enum play_step { PLAY_CONNECT, PLAY_HELO, PLAY_MAIL, PLAY_RCPT, PLAY_RCPT2, PLAY_DATA, PLAY_MESSAGE, PLAY_OVER };

struct play {
	struct milter_set *set;
	struct milter_run *run;
	struct op_owner ops;
	enum play_step step;
	struct buf said;         /* "mail=ok rcpt=550 5.7.1 Command rejected ..." */
	const char *header, *body;
	size_t body_len, body_there;
	bool body_done;
	unsigned messages;       /* still to be sent */
	enum play_step stops_at; /* when it comes there: play_go() goes on, with 0 here */
	unsigned stops_in;       /* only when messages is this; 0: in each */
	bool is_over, keep_edits, refuse_file;
	struct buf out;          /* header, empty line and body as they came out */
	struct buf edits;        /* envelope, one line each */
	int file;
	struct timer later;
};

static unsigned plays_open;
static struct timer play_watchdog;

static struct span
play_macro(void *owner, struct span name)
{
	(void)owner;
	if (span_eq_str(name, "i"))
		return SPAN("QID1");
	if (span_eq_str(name, "j"))
		return SPAN("mx.example.com");
	if (span_eq_str(name, "{mail_addr}"))
		return SPAN("a@b.example");
	if (span_eq_str(name, "{evil}"))
		return SPAN("one\r\ntwo\0three");
	return SPAN_EMPTY;
}

static enum rc
play_read(void *owner, uint64_t pos, size_t max, struct buf *out)
{
	struct play *p = owner;
	buf_reset(out);
	struct span s = span_head(span_from(span_of(p->body, p->body_there), (size_t)pos), max);
	if (s.n == 0)
		return RC_NONE;
	buf_put(out, s);
	return RC_OK;
}

static bool
play_complete(void *owner, uint64_t *len)
{
	struct play *p = owner;
	*len = p->body_there;
	return p->body_done;
}

static void
play_wants_file(void *owner)
{
	struct play *p = owner;
	if (p->refuse_file) {
		milter_run_fail(p->run, "no");
		return;
	}
	char name[] = "/tmp/dogana-unit-body-XXXXXX";
	p->file = mkstemp(name);
	assert_true(p->file >= 0);
	unlink(name);
	assert_int_equal(write(p->file, "before", 6), 6);
	milter_run_spill(p->run, p->file);
}

static const struct milter_run_ops play_ops = { .macro = play_macro, .wants_file = play_wants_file };

static void play_go(struct play *p);

static void
play_over(struct play *p)
{
	if (p->is_over)
		return;
	p->is_over = true;
	milter_run_free(&p->run);
	if (--plays_open == 0)
		loop_stop();
}

static void
play_edits(struct play *p)
{
	const struct milter_edits *e = milter_run_edits(p->run);
	buf_reset(&p->out);
	buf_reset(&p->edits);
	buf_put(&p->out, e->header_changed ? e->header : span_str(p->header));
	buf_puts(&p->out, "\r\n");
	if (!e->body_changed) {
		buf_put(&p->out, span_of(p->body, p->body_len));
	} else if (e->body_fd >= 0) {
		unsigned char *to = buf_reserve(&p->out, e->body_len);
		assert_int_equal(pread(e->body_fd, to, e->body_len, (off_t)e->body_at), (ssize_t)e->body_len);
		buf_commit(&p->out, e->body_len);
	} else {
		assert_int_equal(e->body.n, e->body_len);
		buf_put(&p->out, e->body);
	}
	if (e->sender_changed) {
		buf_puts(&p->edits, "from=");
		buf_put(&p->edits, e->sender);
		buf_puts(&p->edits, "|");
		buf_put(&p->edits, e->sender_args);
		buf_putc(&p->edits, '\n');
	}
	for (size_t i = 0; i < e->nrcpts; i++) {
		buf_puts(&p->edits, e->rcpts[i].kind == MILTER_ADD_RCPT ? "+" : "-");
		buf_put(&p->edits, e->rcpts[i].addr);
		if (e->rcpts[i].args.n > 0) {
			buf_puts(&p->edits, "|");
			buf_put(&p->edits, e->rcpts[i].args);
		}
		buf_putc(&p->edits, '\n');
	}
	if (e->keep_original) {
		buf_puts(&p->edits, "keep=");
		buf_put(&p->edits, e->keep_reason);
		buf_putc(&p->edits, '\n');
	}
	if (e->quarantine) {
		buf_puts(&p->edits, "quarantine=");
		buf_put(&p->edits, e->quarantine_reason);
		buf_putc(&p->edits, '\n');
	}
}

/* What the event that is over came to. false: the transaction ends with it. */
static bool
play_said(struct play *p)
{
	static const char *const names[] = { "connect", "helo", "mail", "rcpt", "rcpt", "data", "end" };
	const struct milter_verdict *v = milter_run_verdict(p->run);
	if (buf_len(&p->said) > 0)
		buf_putc(&p->said, ' ');
	buf_puts(&p->said, names[p->step]);
	buf_putc(&p->said, '=');
	switch (v->kind) {
	case MILTER_CONTINUE:
		buf_puts(&p->said, "ok");
		break;
	case MILTER_DISCARD:
		buf_puts(&p->said, "discard");
		break;
	case MILTER_REFUSE:
		assert_int_equal(v->code / 100, v->reply.p[0] - '0');
		buf_put(&p->said, v->reply);
		if (v->close)
			buf_puts(&p->said, " (close)");
		break;
	}
	if (p->step == PLAY_MESSAGE)
		play_edits(p);
	if (v->kind != MILTER_REFUSE)
		return true;
	if (v->close) {
		p->messages = 0;
		return false;
	}
	return p->step != PLAY_MAIL && p->step != PLAY_DATA;
}

static void
play_done(struct op *op)
{
	struct play *p = milter_run_owner(op);
	bool goes_on = play_said(p);
	p->step = goes_on ? p->step + 1 : PLAY_OVER;
	play_go(p);
}

/* The body comes in pieces, a turn of the loop between them. */
static void
play_later(struct timer *t)
{
	struct play *p = container_of(t, struct play, later);
	if (p->body_there < p->body_len) {
		size_t more = p->body_len - p->body_there;
		p->body_there += more > 50000 ? 50000 : more;
		milter_run_more(p->run);
		timer_set(&p->later, 0);
		return;
	}
	p->body_done = true;
	if (!milter_run_end(p->run)) {
		(void)play_said(p);
		p->step = PLAY_OVER;
		play_go(p);
	}
}

static bool
play_step(struct play *p)
{
	static const struct span mail[] = { { (const unsigned char *)"<a@b.example>", 13 }, { (const unsigned char *)"SIZE=100", 8 } };
	static const struct span rcpt[] = { { (const unsigned char *)"<c@d.example>", 13 } }, rcpt2[] = { { (const unsigned char *)"<e@d.example>", 13 } };
	struct ipaddr a;
	switch (p->step) {
	case PLAY_CONNECT:
		assert_int_equal(ipaddr_parse(SPAN("192.0.2.7"), &a), RC_OK);
		return milter_run_connect(p->run, SPAN("client.example"), &a, 4321);
	case PLAY_HELO:
		return milter_run_helo(p->run, SPAN("helo.example"));
	case PLAY_MAIL:
		return milter_run_mail(p->run, mail, 2);
	case PLAY_RCPT:
		return milter_run_rcpt(p->run, rcpt, 1);
	case PLAY_RCPT2:
		return milter_run_rcpt(p->run, rcpt2, 1);
	case PLAY_DATA:
		return milter_run_data(p->run);
	case PLAY_MESSAGE: {
		struct milter_source src = { .header = span_str(p->header), .read = play_read, .is_complete = play_complete };
		p->body_there = 0;
		p->body_done = false;
		milter_run_message(p->run, &src);
		timer_init(&p->later, play_later);
		timer_set(&p->later, 0);
		return true;
	}
	case PLAY_OVER:
		break;
	}
	return false;
}

static void
play_go(struct play *p)
{
	while (p->step != PLAY_OVER) {
		if (p->stops_at != 0 && p->step == p->stops_at && (p->stops_in == 0 || p->stops_in == p->messages))
			return;
		if (play_step(p))
			return;
		p->step = play_said(p) ? p->step + 1 : PLAY_OVER;
	}
	milter_run_abort(p->run);
	if (p->messages > 1) {
		p->messages--;
		p->step = PLAY_MAIL;
		play_go(p);
		return;
	}
	play_over(p);
}

#define PLAY_HEADER "Received: from x by mx\r\nFrom: a@b.example\r\nSubject: one\r\n two\r\nX-A: 1\r\nX-A: 2\r\nTo:c@d.example\r\n"
#define PLAY_BODY "Hello\r\n.\r\n"

static void UNUSED
play_begin(struct play *p, struct milter_set *set)
{
	memset(p, 0, sizeof *p);
	p->set = set;
	p->file = -1;
	p->header = PLAY_HEADER;
	p->body = PLAY_BODY;
	p->body_len = strlen(PLAY_BODY);
	p->messages = 1;
	buf_init(&p->said, 65536);
	buf_init(&p->out, 32 << 20);
	buf_init(&p->edits, 4 << 20);
	op_owner_init(&p->ops);
	p->run = milter_run_new(set, &play_ops, p, &p->ops, play_done);
	assert_non_null(p->run);
	plays_open++;
}

static void UNUSED
play_fini(struct play *p)
{
	assert_true(p->is_over);
	assert_true(op_owner_idle(&p->ops));
	timer_clear(&p->later);
	buf_fini(&p->said);
	buf_fini(&p->out);
	buf_fini(&p->edits);
	if (p->file >= 0)
		close(p->file);
}

static void
play_timeout(struct timer *t)
{
	(void)t;
	fail_msg("the loop did not finish in time");
}

static void UNUSED
play_wait(void)
{
	timer_init(&play_watchdog, play_timeout);
	timer_set(&play_watchdog, 40 * USEC_PER_SEC);
	if (plays_open > 0)
		loop_run();
	timer_clear(&play_watchdog);
}

static struct conf *milter_conf;

static struct milter_set *
set_of(struct conf *c, const char *text)
{
	struct milter_set *set = NULL;
	struct err e = { 0 };
	if (milter_set_parse(c, NULL, span_str(text), &set, &e) != RC_OK)
		fail_msg("%s: %s", text, e.why);
	return set;
}

/* One milter with options: "default_action=accept". */
static UNUSED struct milter_set *
set_for(struct fake *f, const char *options)
{
	char text[300];
	snprintf(text, sizeof text, "{ inet:127.0.0.1:%u, %s }", f->port, options);
	return set_of(milter_conf, text);
}

static void UNUSED
world_turns(uint64_t usec);

static void
world_stop(struct timer *t)
{
	(void)t;
	loop_stop();
}

static void UNUSED
world_turns(uint64_t usec)
{
	struct timer t;
	timer_init(&t, world_stop);
	timer_set(&t, usec);
	loop_run();
	timer_clear(&t);
}

/* ---- around the tests of a program, and behind each of them ---- */

static const char *milter_world_conf;

static inline int UNUSED
milter_world_setup(void **state)
{
	(void)state;
	confdir_make();
	loop_init();
	milter_conf = confdir_load(milter_world_conf);
	return 0;
}

static inline int UNUSED
milter_world_teardown(void **state)
{
	(void)state;
	conf_unref(&milter_conf);
	loop_fini();
	confdir_remove();
	return 0;
}

/* Nothing is left. */
static inline int UNUSED
milter_world_clean(void **state)
{
	(void)state;
	assert_int_equal(metric_values[M_milter_connections], 0);
	assert_int_equal(metric_values[M_milter_paused], 0);
	assert_int_equal(metric_values[M_op_pending], 0);
	assert_int_equal(metric_values[M_conns], 0);
	return 0;
}

#endif
