/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/clamd.h"

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "ipc/dial.h"
#include "loop/conn.h"

#include <errno.h>
#include <sys/socket.h>

enum { TALK_MAGIC = 0x7a1c0001, REPLY_MAX = 1024, CHUNK = 256 * 1024, OUT_MAX = 2 * CHUNK,
	TALKS_MAX = 32               /* more than it scans at a time by default, less than it lets wait */
};
static const uint64_t VERSION_USEC = 10 * USEC_PER_SEC;

/* A connection: one command, one reply. */
struct talk {
	unsigned magic;
	struct op_owner ops;
	struct dial dial;
	struct conn conn;
	uint64_t until;
	struct span command, head, message; /* still to be said; the last two in chunks, the head is small */
	bool is_stream, has_said_all;
	struct scan *scan;           /* one of the two: who asked */
	struct clamd_question *question;
	struct grave grave;
};

static const struct virus_conf *conf;
static struct list waiting = { &waiting, &waiting }; /* scans, in line */
static unsigned nscans;                              /* talks that are one */

static void begin_scans(void);

void
clamd_init(const struct virus_conf *c)
{
	conf = c;
}

/* ---- its end ---- */

static void
dig(struct grave *g)
{
	struct talk *t = container_of(g, struct talk, grave);
	mem_free(&t);
}

static void
end(struct talk *t)
{
	CHECK(t, TALK_MAGIC);
	t->magic = 0;
	nscans -= t->scan != NULL;
	dial_fini(&t->dial);
	conn_close(&t->conn);
	loop_bury(&t->grave, dig);
	begin_scans();
}

static void
give_up(struct talk *t, const char *why)
{
	struct scan *s = t->scan;
	struct clamd_question *q = t->question;
	end(t);
	if (s != NULL) {
		(void)err_set(&s->why, RC_TEMP, "%s", why);
		s->end = SCAN_AWAY;
		op_finish(&s->op, RC_OK);
	} else {
		op_finish(&q->op, err_set(&q->why, RC_TEMP, "%s", why));
	}
}

/* A whole reply. */
static void
take_reply(struct talk *t, struct span reply)
{
	struct err e = { .why = "" };
	bool is_early = !t->has_said_all || conn_unsent(&t->conn) > 0;
	enum rc rc;
	if (t->scan != NULL) {
		struct virus_verdict *v = &t->scan->verdict;
		rc = clamd_reply(reply, v, &e);
		if (rc == RC_OK && is_early && v->kind != VIRUS_LIMITS) /* it cannot know yet */
			rc = err_set(&e, RC_TEMP, "clamd answered before it had the message");
	} else {
		rc = clamd_version(reply, &t->question->version);
		if (rc != RC_OK)
			rc = err_set(&e, RC_TEMP, "clamd does not say its version");
	}
	if (rc != RC_OK) {
		give_up(t, e.why);
		return;
	}
	struct scan *s = t->scan;
	struct clamd_question *q = t->question;
	end(t);
	if (s != NULL)
		s->end = SCAN_DONE;
	op_finish(s != NULL ? &s->op : &q->op, RC_OK);
}

/* ---- what it says ---- */

/* One reply, ended by NUL; nothing may stand behind it. false: it is not whole. */
static bool
hear(struct talk *t, struct span text)
{
	size_t nul = span_chr(text, '\0');
	if (nul == SIZE_MAX && text.n < REPLY_MAX)
		return false;
	if (nul == SIZE_MAX)
		give_up(t, "clamd does not come to the end of its reply");
	else if (nul + 1 != text.n)
		give_up(t, "clamd says more than one thing");
	else
		take_reply(t, span_head(text, nul));
	return true;
}

static void
on_input(struct conn *c)
{
	struct talk *t = container_of(c, struct talk, conn);
	CHECK(t, TALK_MAGIC);
	(void)hear(t, conn_input(c));
}

static void
on_ended(struct conn *c, enum conn_end why, int err)
{
	struct talk *t = container_of(c, struct talk, conn);
	CHECK(t, TALK_MAGIC);
	char text[REPLY_MAX], says[160];
	size_t n = conn_input(c).n < sizeof text ? conn_input(c).n : sizeof text;
	(void)err;
	if (why == CONN_TIMEOUT) {
		snprintf(says, sizeof says, "clamd %s: %s", t->has_said_all && conn_unsent(c) == 0 ? "does not answer" : "takes no data", strerror(ETIMEDOUT));
		give_up(t, says);
		return;
	}
	memcpy(text, conn_input(c).p != NULL ? (const void *)conn_input(c).p : "", n);
	if (why == CONN_ERROR) { /* it may have said why before it went */
		ssize_t got = recv(c->fd, text + n, sizeof text - n, MSG_DONTWAIT);
		n += got > 0 ? (size_t)got : 0;
		if (hear(t, span_of(text, n)))
			return;
	}
	snprintf(says, sizeof says, "clamd hung up in the middle of %s", n > 0 ? "its reply" : "the scan");
	give_up(t, says);
}

/* ---- what it is told ---- */

static void
put_length(struct buf *b, size_t n)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		buf_putc(b, (unsigned char)(n >> shift));
}

static void
put_chunk(struct buf *b, struct span *rest)
{
	struct span part = span_head(*rest, CHUNK);
	put_length(b, part.n);
	buf_put(b, part);
	*rest = span_from(*rest, part.n);
}

/* As much as the connection takes at a time. */
static void
say(struct talk *t)
{
	struct buf *b = conn_out(&t->conn);
	buf_put(b, t->command);
	t->command = SPAN_EMPTY;
	if (t->head.n > 0)
		put_chunk(b, &t->head);
	if (t->message.n > 0)
		put_chunk(b, &t->message);
	if (t->message.n > 0) {
		t->conn.want_drained = true;
		return;
	}
	if (t->is_stream)
		put_length(b, 0);
	t->has_said_all = true;
}

static void
on_drained(struct conn *c)
{
	struct talk *t = container_of(c, struct talk, conn);
	CHECK(t, TALK_MAGIC);
	say(t);
}

static const struct conn_ops talk_ops = { .input = on_input, .ended = on_ended, .drained = on_drained };

static void
on_dialed(struct op *op)
{
	struct talk *t = container_of(op, struct talk, dial.op);
	CHECK(t, TALK_MAGIC);
	uint64_t now = loop_now();
	if (op->rc != RC_OK) {
		char why[320];
		snprintf(why, sizeof why, "clamd %s: %s", conf->clamd->shown, t->dial.why.why);
		give_up(t, why);
		return;
	}
	conn_init(&t->conn, dial_take(&t->dial), &talk_ops, REPLY_MAX, OUT_MAX);
	conn_deadline(&t->conn, t->until > now ? t->until - now : 1);
	say(t);
}

static struct talk *
talk_new(struct span command, uint64_t usec)
{
	struct talk *t = mem_zalloc(sizeof *t);
	*t = (struct talk){ .magic = TALK_MAGIC, .command = command, .until = loop_now() + usec, .conn.fd = -1 };
	op_owner_init(&t->ops);
	dial_init(&t->dial, &t->ops, on_dialed);
	dial_start(&t->dial, conf->clamd, conf->connect_usec < usec ? conf->connect_usec : usec);
	return t;
}

/* ---- scans ---- */

static void
on_scan_cancelled(struct op *op)
{
	struct scan *s = container_of(op, struct scan, op);
	list_remove(&s->link);
	timer_clear(&s->timer);
	if (s->at != NULL)
		end(s->at);
}

static const struct op_provider scan_provider = { "clamd", on_scan_cancelled };

static void
begin_scans(void)
{
	while (nscans < TALKS_MAX && !list_empty(&waiting)) {
		struct scan *s = list_entry(list_pop(&waiting), struct scan, link);
		struct talk *t = talk_new(span_of("zINSTREAM", sizeof "zINSTREAM"), conf->scan_usec);
		timer_clear(&s->timer);
		t->is_stream = true;
		t->scan = s;
		t->head = s->head;
		t->message = s->message;
		s->at = t;
		nscans++;
	}
}

static void
on_wait_over(struct timer *timer)
{
	struct scan *s = container_of(timer, struct scan, timer);
	list_remove(&s->link);
	(void)err_set(&s->why, RC_TEMP, "clamd %s has too much to do", conf->clamd->shown);
	s->end = SCAN_AWAY;
	op_finish(&s->op, RC_OK);
}

void
clamd_scan(struct scan *s)
{
	list_init(&s->link);
	timer_init(&s->timer, on_wait_over);
	s->at = NULL;
	op_pend(&s->op, &scan_provider);
	list_append(&waiting, &s->link);
	begin_scans();
	if (list_linked(&s->link))
		timer_set(&s->timer, conf->wait_usec);
}

/* Nobody cancels it: it is asked for as long as the process runs. */
static const struct op_provider version_provider = { "clamd version", NULL };

void
clamd_ask_version(struct clamd_question *q)
{
	struct talk *t = talk_new(span_of("zVERSION", sizeof "zVERSION"), VERSION_USEC);
	t->question = q;
	op_pend(&q->op, &version_provider);
}
