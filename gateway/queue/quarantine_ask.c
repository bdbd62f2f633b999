/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/quarantine_ask.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "loop/conn.h"
#include "msg/addr.h"
#include "queue/notices.h"
#include "queue/quarantine.h"
#include "queue/sched.h"
#include "quarantine/ask.h"
#include "quarantine/escape.h"
#include "quarantine/view.h"

#include <errno.h>
#include <unistd.h>

enum {
	ASK_MAGIC = 0x9a5cab1e,
	PAGE = 100,                      /* messages of one question to the store */
	LIST_DEFAULT = 50,               /* messages of a list without --limit */
	UNSENT_MAX = 256 * 1024,         /* then the reader is waited for */
	OUT_MAX = 256 * 1024 * 1024,     /* a single message with very many recipients */
	PIECE = 64 * 1024,
	ARENA_MAX = 64 * 1024 * 1024,
	WHO_MAX = 100,
};
#define READER_TIMEOUT (300 * USEC_PER_SEC)

struct asking {
	unsigned magic;
	struct list link;                /* in q->askings */
	struct grave grave;
	struct queue *q;
	struct conn conn;
	struct op_owner ops;
	struct arena arena, page_arena;  /* of the question; of one page of ids */
	struct ask ask;
	struct span who;
	void (*next)(struct asking *);   /* when what was written has left */
	bool finished;

	struct quar_req req, content;
	struct quarantine_order order;
	struct digest_wait digests;
	uint64_t shown, cursor;          /* list, ids */
	uint64_t done, failed, nrcpt;
	uint64_t offset;                 /* export */
	/* ids: those of the question, or of a page */
	struct spool_id *ids;
	size_t nids, at;
	bool more_pages;
	struct span *addrs;              /* of the message at hand, who are meant; none: all */
	size_t naddrs;
	struct spool_id id;              /* at hand */
	uint64_t flaws;
	void (*act)(struct asking *);    /* what is done to each id */
};

static struct quar *
store_of(const struct asking *a)
{
	return a->q->quarantine.store;
}

/* ---- life ---- */

static void
dig(struct grave *g)
{
	struct asking *a = container_of(g, struct asking, grave);
	mem_poison(a, sizeof *a);
	mem_free(&a);
}

static void
asking_end(struct asking *a)
{
	list_remove(&a->link);
	ops_cancel_all(&a->ops);
	quar_req_fini(&a->req);
	quar_req_fini(&a->content);
	quarantine_order_fini(&a->order); /* it is carried out all the same */
	conn_close(&a->conn);
	arena_fini(&a->arena);
	arena_fini(&a->page_arena);
	loop_bury(&a->grave, dig);
}

void
quarantine_asks_fini(struct queue *q)
{
	list_each(l, &q->askings)
		asking_end(list_entry(l, struct asking, link));
}

static void
on_input(struct conn *c)
{
	conn_consume(c, conn_input(c).n); /* nothing more is asked on this connection */
}

static void
on_ended(struct conn *c, enum conn_end why, int err)
{
	(void)err;
	struct asking *a = container_of(c, struct asking, conn);
	CHECK(a, ASK_MAGIC);
	if (why == CONN_EOF) /* the client may close its sending side; a write will tell if it is gone */
		return;
	asking_end(a);
}

static void
on_drained(struct conn *c)
{
	struct asking *a = container_of(c, struct asking, conn);
	CHECK(a, ASK_MAGIC);
	if (a->finished) {
		asking_end(a);
		return;
	}
	conn_deadline(&a->conn, 0);
	a->next(a);
}

static const struct conn_ops conn_ops = { .input = on_input, .ended = on_ended, .drained = on_drained };

/* Goes on with next, at once or when the reader has taken what is there. */
static void
go_on(struct asking *a, void (*next)(struct asking *))
{
	a->next = next;
	if (conn_unsent(&a->conn) < UNSENT_MAX) {
		(void)conn_out(&a->conn);
		next(a);
		return;
	}
	conn_deadline(&a->conn, READER_TIMEOUT);
	a->conn.want_drained = true;
	(void)conn_out(&a->conn);
}

static struct buf *
out(struct asking *a)
{
	return conn_out(&a->conn);
}

/* The last line; why NULL: all is well. */
static void
finish(struct asking *a, const char *why)
{
	struct buf *b = out(a);
	a->finished = true;
	buf_puts(b, why != NULL ? "\nerror " : "\ndone");
	if (why != NULL)
		buf_put_safe(b, span_str(why), 500, true);
	buf_putc(b, '\n');
	conn_deadline(&a->conn, READER_TIMEOUT);
	a->conn.want_drained = true;
}

static void
finish_count(struct asking *a, const char *what)
{
	char text[120];
	snprintf(text, sizeof text, "%llu of %llu %s", (unsigned long long)a->failed, (unsigned long long)(a->failed + a->done), what);
	finish(a, a->failed > 0 ? text : NULL);
}

static const char *
trouble(const struct quar_req *r)
{
	if (r->op.rc == RC_NONE)
		return "no such message";
	return r->why.why[0] != '\0' ? r->why.why : "not now";
}

/* ---- log ---- */

static void
log_action(const struct asking *a, const struct spool_id *id, const char *action, struct span to, uint64_t nrcpt)
{
	char text[SPOOL_ID_TEXT];
	struct log_ctx ctx = { .service = "quarantine" };
	if (id != NULL)
		ctx.qid = span_of(text, spool_id_text(id, text));
	struct log_field f[4] = { F_STR(action, action), F_SPAN(by, a->who) };
	size_t n = 2;
	if (to.n > 0)
		f[n++] = F_SPAN(to, to);
	if (nrcpt > 0)
		f[n++] = F_NUM(nrcpt, nrcpt);
	log_event(EV_quarantine_action, &ctx, f, n);
}

/* ---- list ---- */

static void list_page(struct asking *a);

static void
on_list(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, req);
	CHECK(a, ASK_MAGIC);
	bool json = ask_has(&a->ask, OPT_JSON);
	if (op->rc != RC_OK && op->rc != RC_NONE) {
		finish(a, trouble(&a->req));
		return;
	}
	for (size_t i = 0; op->rc == RC_OK && i < a->req.nrows; i++)
		(json ? view_row_json : view_row)(out(a), &a->req.rows[i]);
	a->shown += op->rc == RC_OK ? a->req.nrows : 0;
	a->cursor = op->rc == RC_OK && a->req.more ? a->req.cursor : 0;
	if (a->cursor != 0 && (a->ask.limit == 0 || a->shown < a->ask.limit)) {
		go_on(a, list_page);
		return;
	}
	if (json)
		view_list_tail_json(out(a), a->cursor);
	else
		view_list_tail(out(a), a->shown, a->cursor);
	finish(a, NULL);
}

static void
list_page(struct asking *a)
{
	struct quar_filter f;
	uint64_t left = a->ask.limit == 0 ? PAGE : a->ask.limit - a->shown;
	ask_filter(&a->ask, left < PAGE ? (uint32_t)left : PAGE, &f);
	f.after = a->cursor;
	quar_list(store_of(a), &a->req, &f);
}

static void
start_list(struct asking *a)
{
	if (!ask_has(&a->ask, OPT_LIMIT)) /* scripts want all there is */
		a->ask.limit = ask_has(&a->ask, OPT_JSON) ? 0 : LIST_DEFAULT;
	a->cursor = a->ask.after;
	quar_req_init(&a->req, &a->ops, on_list);
	list_page(a);
}

/* ---- show, export ---- */

static void
on_show_content(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, content);
	CHECK(a, ASK_MAGIC);
	struct buf head;
	buf_init(&head, VIEW_HEADER_MAX);
	uint64_t want = op->rc == RC_OK && a->content.length < VIEW_HEADER_MAX ? a->content.length : VIEW_HEADER_MAX;
	unsigned char *room = op->rc == RC_OK && want > 0 ? buf_reserve(&head, (size_t)want) : NULL;
	ssize_t n = room != NULL ? pread(a->content.fd, room, (size_t)want, 0) : 0;
	if (n > 0)
		buf_commit(&head, (size_t)n);
	struct span header = view_header_of(buf_span(&head));
	(ask_has(&a->ask, OPT_JSON) ? view_message_json : view_message)(out(a), &a->req, header);
	log_action(a, &a->id, "shown", SPAN_EMPTY, 0);
	finish(a, op->rc != RC_OK ? "the content cannot be read" : n < 0 ? strerror(errno) : NULL);
	buf_fini(&head);
}

static void
on_show(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, req);
	CHECK(a, ASK_MAGIC);
	if (op->rc != RC_OK) {
		finish(a, trouble(&a->req));
		return;
	}
	/* a process that died between a delivery and its record: only the log knows what became of the copy */
	for (uint32_t i = 0; a->req.nrows > 0 && i < a->req.rows[0].nshown; i++) {
		struct quar_rcpt *r = &a->req.rows[0].rcpt[i];
		r->is_gone = r->state == QUAR_RELEASED && r->copy.usec != 0 && spool_find(a->q->spool, &r->copy) == NULL;
	}
	quar_req_init(&a->content, &a->ops, on_show_content);
	quar_content(store_of(a), &a->content, &a->id);
}

static void
start_show(struct asking *a)
{
	quar_req_init(&a->req, &a->ops, on_show);
	quar_get(store_of(a), &a->req, &a->id);
}

static void
more_export(struct asking *a)
{
	while (conn_unsent(&a->conn) < UNSENT_MAX) {
		uint64_t left = a->content.length - a->offset;
		if (left == 0) {
			finish(a, NULL);
			return;
		}
		size_t want = left < PIECE ? (size_t)left : PIECE;
		unsigned char *room = buf_reserve(out(a), want);
		ssize_t n = room != NULL ? pread(a->content.fd, room, want, (off_t)a->offset) : -1;
		if (n <= 0) {
			finish(a, "the content cannot be read");
			return;
		}
		buf_commit(out(a), (size_t)n);
		a->offset += (uint64_t)n;
	}
	go_on(a, more_export);
}

static void
on_export(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, content);
	CHECK(a, ASK_MAGIC);
	if (op->rc != RC_OK) {
		finish(a, trouble(&a->content));
		return;
	}
	log_action(a, &a->id, "exported", SPAN_EMPTY, 0);
	go_on(a, more_export);
}

static void
start_export(struct asking *a)
{
	quar_req_init(&a->content, &a->ops, on_export);
	quar_content(store_of(a), &a->content, &a->id);
}

/* ---- one id after the other ---- */

static void next_id(struct asking *a);

/* Is it an address of the domain, or the address? */
static bool
recipient_fits(struct span filter, struct span addr)
{
	struct span domain = filter.n > 0 && filter.p[0] == '@' ? span_from(filter, 1) : filter;
	if (filter.n > 0 && filter.p[0] != '@' && span_chr(filter, '@') != SIZE_MAX)
		return span_caseeq(filter, addr);
	size_t at = span_rchr(addr, '@');
	return at != SIZE_MAX && span_caseeq(span_from(addr, at + 1), domain);
}

/* A filter on recipients says whose copies are meant, and never touches those of others. */
static void
on_recipients(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, content);
	CHECK(a, ASK_MAGIC);
	if (op->rc != RC_OK) { /* gone meanwhile */
		a->at++;
		next_id(a);
		return;
	}
	const struct quar_row *r = &a->content.rows[0];
	a->addrs = arena_alloc(&a->page_arena, r->nshown * sizeof *a->addrs + 1);
	a->naddrs = 0;
	for (uint32_t i = 0; a->addrs != NULL && i < r->nshown; i++)
		if (recipient_fits(a->ask.recipient, r->rcpt[i].addr) && (a->ask.state == QUAR_NONE || r->rcpt[i].state == a->ask.state))
			a->addrs[a->naddrs++] = arena_span(&a->page_arena, r->rcpt[i].addr);
	if (a->naddrs == 0 || a->page_arena.over) {
		a->failed += a->page_arena.over;
		a->at++;
		next_id(a);
		return;
	}
	a->act(a);
}

static void
on_page(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, req);
	CHECK(a, ASK_MAGIC);
	if (op->rc != RC_OK && op->rc != RC_NONE) {
		finish(a, trouble(&a->req));
		return;
	}
	arena_fini(&a->page_arena);
	size_t n = op->rc == RC_OK ? a->req.nrows : 0;
	a->ids = arena_alloc(&a->page_arena, n * sizeof *a->ids + 1);
	BUG_ON(a->ids == NULL);
	for (size_t i = 0; i < n; i++)
		a->ids[i] = a->req.rows[i].id;
	a->nids = n;
	a->at = 0;
	a->more_pages = op->rc == RC_OK && a->req.more;
	a->cursor = a->req.cursor;
	next_id(a);
}

static void
next_page(struct asking *a)
{
	struct quar_filter f;
	ask_filter(&a->ask, PAGE, &f);
	f.after = a->cursor;
	quar_req_fini(&a->req);
	quar_req_init(&a->req, &a->ops, on_page);
	quar_list(store_of(a), &a->req, &f);
}

static void
do_next(struct asking *a)
{
	if (a->at == a->nids) {
		if (a->more_pages) {
			next_page(a);
			return;
		}
		if (a->done + a->failed == 0)
			buf_puts(out(a), "Nothing in the quarantine fits\n");
		finish_count(a, "not done");
		return;
	}
	a->id = a->ids[a->at];
	if (a->ask.all && a->ask.recipient.n > 0) {
		quar_req_fini(&a->content);
		quar_req_init(&a->content, &a->ops, on_recipients);
		quar_get(store_of(a), &a->content, &a->id);
		return;
	}
	a->act(a);
}

static void
next_id(struct asking *a)
{
	go_on(a, do_next);
}

/* How it went with the id at hand, for the one who asked. */
static struct buf *
say_id(struct asking *a)
{
	char id[SPOOL_ID_TEXT];
	struct buf *b = out(a);
	buf_put(b, span_of(id, spool_id_text(&a->id, id)));
	buf_puts(b, ": ");
	return b;
}

static void
say_done(struct asking *a, const struct quarantine_order *o)
{
	struct buf *b = say_id(a);
	char copy[SPOOL_ID_TEXT];
	buf_puts(b, a->ask.kind == ASK_RELEASE ? "released" : "deleted");
	if (a->ask.kind == ASK_RELEASE) {
		buf_puts(b, " as ");
		buf_put(b, span_of(copy, spool_id_text(&o->copy, copy)));
	}
	buf_printf(b, ", %u recipient%s\n", (unsigned)o->n, o->n == 1 ? "" : "s");
}

static void
say_failed(struct asking *a, const char *why)
{
	struct buf *b = say_id(a);
	escape_text(b, span_str(why), 300);
	buf_putc(b, '\n');
}

static void
start_ids(struct asking *a, void (*act)(struct asking *))
{
	a->act = act;
	a->cursor = 0;
	if (ask_has(&a->ask, OPT_TO)) {
		a->addrs = &a->ask.to;
		a->naddrs = 1;
	}
	if (a->ask.all) {
		if (a->ask.until == 0) /* what comes while it is done is not meant */
			a->ask.until = clock_wall();
		next_page(a);
		return;
	}
	a->ids = arena_alloc(&a->arena, a->ask.nids * sizeof *a->ids);
	BUG_ON(a->ids == NULL);
	for (uint32_t i = 0; i < a->ask.nids; i++)
		if (spool_id_parse(a->ask.ids[i], &a->ids[a->nids]) == RC_OK)
			a->nids++;
	next_id(a);
}

/* Done with the id at hand; what it was is in order. */
static void
on_ordered(struct op *op)
{
	struct quarantine_order *o = container_of(op, struct quarantine_order, op);
	struct asking *a = container_of(o, struct asking, order);
	CHECK(a, ASK_MAGIC);
	if (op->rc == RC_OK) {
		a->done++;
		say_done(a, o);
	} else {
		a->failed++;
		say_failed(a, op->rc == RC_NONE ? "not in the quarantine, or not held any more" : o->why.why[0] != '\0' ? o->why.why : "not now");
	}
	a->at++;
	next_id(a);
}

static void
order_init(struct asking *a)
{
	quarantine_order_fini(&a->order);
	quarantine_order_init(&a->order, a->q, &a->ops, on_ordered);
}

static void
act_delete(struct asking *a)
{
	order_init(a);
	quarantine_delete(&a->order, &a->id, a->addrs, a->naddrs, a->who);
}

static void
start_delete(struct asking *a)
{
	start_ids(a, act_delete);
}

static void
release_now(struct asking *a, struct span to)
{
	order_init(a);
	quarantine_release(&a->order, &a->id, a->addrs, a->naddrs, to, ask_has(&a->ask, OPT_AS_ATTACHMENT), a->who);
}

/* --to: one of its recipients gets what he was to get; anybody else gets a copy. */
static void
on_whose(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, content);
	CHECK(a, ASK_MAGIC);
	const struct quar_row *r = op->rc == RC_OK ? &a->content.rows[0] : NULL;
	bool is_rcpt = r == NULL; /* then the order finds that there is none */
	for (uint32_t i = 0; r != NULL && i < r->nshown; i++)
		is_rcpt |= !r->rcpt[i].added && span_caseeq(r->rcpt[i].addr, a->ask.to);
	a->addrs = is_rcpt ? &a->ask.to : NULL;
	a->naddrs = is_rcpt;
	release_now(a, is_rcpt ? SPAN_EMPTY : a->ask.to);
}

static void
act_release(struct asking *a)
{
	if (!ask_has(&a->ask, OPT_TO)) {
		release_now(a, SPAN_EMPTY);
		return;
	}
	quar_req_fini(&a->content);
	quar_req_init(&a->content, &a->ops, on_whose);
	quar_get(store_of(a), &a->content, &a->id);
}

static void
start_release(struct asking *a)
{
	start_ids(a, act_release);
}

/* ---- expire ---- */

static void
on_expired(struct op *op)
{
	struct quarantine_order *o = container_of(op, struct quarantine_order, op);
	struct asking *a = container_of(o, struct asking, order);
	CHECK(a, ASK_MAGIC);
	if (op->rc != RC_OK && op->rc != RC_NONE) {
		finish(a, o->why.why[0] != '\0' ? o->why.why : "not now");
		return;
	}
	buf_printf(out(a), "%u message%s deleted\n", (unsigned)o->n, o->n == 1 ? "" : "s");
	finish(a, NULL);
}

static void
start_expire(struct asking *a)
{
	quarantine_order_init(&a->order, a->q, &a->ops, on_expired);
	quarantine_expire(&a->order, a->who);
}

/* ---- the allow table ---- */

static void
on_allow_list(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, req);
	CHECK(a, ASK_MAGIC);
	bool json = ask_has(&a->ask, OPT_JSON);
	if (op->rc != RC_OK && op->rc != RC_NONE) {
		finish(a, trouble(&a->req));
		return;
	}
	for (size_t i = 0; op->rc == RC_OK && i < a->req.n; i++)
		(json ? view_allow_json : view_allow)(out(a), &a->req.allow[i]);
	finish(a, NULL);
}

static void
start_allow_list(struct asking *a)
{
	quar_req_init(&a->req, &a->ops, on_allow_list);
	quar_allow_list(store_of(a), &a->req);
}

static void
on_allow_changed(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, content);
	CHECK(a, ASK_MAGIC);
	bool removes = a->ask.kind == ASK_ALLOW_REMOVE;
	if (op->rc != RC_OK) {
		finish(a, op->rc == RC_NONE ? "not in the table" : trouble(&a->content));
		return;
	}
	log_action(a, NULL, removes ? "no longer allowed" : "allowed", a->ask.ids[0], 0);
	finish(a, NULL);
}

static void
start_allow_remove(struct asking *a)
{
	quar_req_init(&a->content, &a->ops, on_allow_changed);
	quar_allow_remove(store_of(a), &a->content, a->ask.ids[0], a->ask.to);
}

static void
start_allow_add(struct asking *a)
{
	struct quar_allow row = { .sender = a->ask.ids[0], .recipient = a->ask.to, .by = a->who, .added = clock_wall() };
	quar_req_init(&a->content, &a->ops, on_allow_changed);
	quar_allow_add(store_of(a), &a->content, &row);
}

static void
on_allowed(struct op *op)
{
	struct quarantine_order *o = container_of(op, struct quarantine_order, op);
	struct asking *a = container_of(o, struct asking, order);
	CHECK(a, ASK_MAGIC);
	if (op->rc != RC_OK) {
		finish(a, op->rc == RC_NONE ? "no such message" : o->why.why[0] != '\0' ? o->why.why : "not now");
		return;
	}
	struct buf *b = say_id(a);
	if (ask_has(&a->ask, OPT_PAIR))
		buf_printf(b, "mail of its sender is not held any more for %u recipient%s\n", (unsigned)o->n, o->n == 1 ? "" : "s");
	else
		buf_puts(b, "mail of its sender is not held any more\n");
	finish(a, NULL);
}

static void
start_allow(struct asking *a)
{
	quarantine_order_init(&a->order, a->q, &a->ops, on_allowed);
	quarantine_allow(&a->order, &a->id, NULL, 0, !ask_has(&a->ask, OPT_PAIR), a->who);
}

/* ---- digests ---- */

static void
on_digests(struct op *op)
{
	struct digest_wait *w = container_of(op, struct digest_wait, op);
	struct asking *a = container_of(w, struct asking, digests);
	CHECK(a, ASK_MAGIC);
	if (op->rc == RC_OK || op->rc == RC_TEMP)
		buf_printf(out(a), "%u digest%s sent\n", (unsigned)w->sent, w->sent == 1 ? "" : "s");
	finish(a, op->rc == RC_OK ? NULL : op->rc == RC_NONE ? "nobody wants digests (quarantine_digest_recipients)" : "some could not be sent now");
}

static void
start_digest(struct asking *a)
{
	if (a->q->notices == NULL) {
		finish(a, "nobody is told of held mail");
		return;
	}
	op_init(&a->digests.op, &a->ops, on_digests);
	notices_digest_now(a->q->notices, &a->digests);
}

/* ---- numbers, check ---- */

static void
on_stats(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, req);
	CHECK(a, ASK_MAGIC);
	if (op->rc != RC_OK) {
		finish(a, trouble(&a->req));
		return;
	}
	const char *full = quar_is_full(store_of(a)) ? quar_why_full(store_of(a)) : NULL;
	(ask_has(&a->ask, OPT_JSON) ? view_stats_json : view_stats)(out(a), &a->req, full);
	finish(a, NULL);
}

static void
start_stats(struct asking *a)
{
	quar_req_init(&a->req, &a->ops, on_stats);
	quar_stats(store_of(a), &a->req);
}

static void
check_slice(struct asking *a)
{
	quar_check(store_of(a), &a->req, QUAR_CHECK_SUMS | (ask_has(&a->ask, OPT_REPAIR) ? QUAR_CHECK_REPAIR : 0), a->cursor);
}

static void
on_check(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, req);
	CHECK(a, ASK_MAGIC);
	char text[120];
	if (op->rc != RC_OK) {
		finish(a, trouble(&a->req));
		return;
	}
	for (size_t i = 0; i < a->req.n; i++) {
		view_finding(out(a), &a->req.findings[i]);
		a->flaws++;
		a->failed += !a->req.findings[i].repaired;
	}
	a->done += a->req.seen;
	if (a->req.more) {
		a->cursor = a->req.cursor;
		go_on(a, check_slice);
		return;
	}
	if (ask_has(&a->ask, OPT_REPAIR))
		log_action(a, NULL, "checked and mended", SPAN_EMPTY, 0);
	buf_printf(out(a), "%llu files and rows looked at, %llu flaw%s%s\n", (unsigned long long)a->done, (unsigned long long)a->flaws,
	    a->flaws == 1 ? "" : "s", a->flaws > 0 && a->failed == 0 ? ", mended" : "");
	snprintf(text, sizeof text, "index and files differ in %llu place%s", (unsigned long long)a->failed, a->failed == 1 ? "" : "s");
	finish(a, a->failed > 0 ? text : NULL);
}

static void
start_check(struct asking *a)
{
	quar_req_init(&a->req, &a->ops, on_check);
	check_slice(a);
}

/* ---- which it is ---- */

static void (*const starts[ASK_KINDS])(struct asking *) = {
	[ASK_LIST] = start_list, [ASK_SHOW] = start_show, [ASK_EXPORT] = start_export, [ASK_RELEASE] = start_release, [ASK_DELETE] = start_delete,
	[ASK_EXPIRE] = start_expire, [ASK_ALLOW_LIST] = start_allow_list, [ASK_ALLOW_ADD] = start_allow_add, [ASK_ALLOW_REMOVE] = start_allow_remove,
	[ASK_ALLOW] = start_allow, [ASK_DIGEST] = start_digest, [ASK_STATS] = start_stats, [ASK_CHECK] = start_check,
};

/* "root", or "root(anna)" when sudo was between: that the one who is root says himself. */
static struct span
name_of(struct asking *a, struct span who)
{
	struct buf text;
	buf_init(&text, 2 * WHO_MAX + 8);
	buf_put_safe(&text, who, WHO_MAX, false);
	if (ask_has(&a->ask, OPT_SUDO) && !span_eq(who, a->ask.sudo)) {
		buf_putc(&text, '(');
		buf_put_safe(&text, a->ask.sudo, WHO_MAX, false);
		buf_putc(&text, ')');
	}
	struct span s = arena_span(&a->arena, buf_span(&text));
	buf_fini(&text);
	return s;
}

void
quarantine_ask_start(struct queue *q, struct span who, struct span line, int fd)
{
	struct asking *a = mem_zalloc(sizeof *a);
	struct err e = { .why = "" };
	a->magic = ASK_MAGIC;
	a->q = q;
	list_init(&a->link);
	list_append(&q->askings, &a->link);
	op_owner_init(&a->ops);
	arena_init(&a->arena, ARENA_MAX);
	arena_init(&a->page_arena, ARENA_MAX);
	quar_req_init(&a->req, &a->ops, on_list);
	quar_req_init(&a->content, &a->ops, on_list);
	conn_init(&a->conn, fd, &conn_ops, 4096, OUT_MAX);
	enum rc rc = ask_get(line, &a->arena, &a->ask, &e);
	if (rc == RC_OK && q->quarantine.store == NULL)
		rc = err_set(&e, RC_TEMP, "there is no quarantine");
	if (rc == RC_OK && starts[a->ask.kind] == NULL)
		rc = err_set(&e, RC_PERM, "unknown request");
	if (rc != RC_OK) {
		struct buf *b = out(a);
		buf_puts(b, "error ");
		buf_put_safe(b, span_str(e.why), 500, true);
		buf_putc(b, '\n');
		a->finished = true;
		conn_deadline(&a->conn, READER_TIMEOUT);
		a->conn.want_drained = true;
		return;
	}
	a->who = name_of(a, who);
	if (a->ask.nids > 0 && a->ask.kind != ASK_ALLOW_ADD && a->ask.kind != ASK_ALLOW_REMOVE) {
		rc = spool_id_parse(a->ask.ids[0], &a->id); /* ask_get() looked */
		BUG_ON(rc != RC_OK);
	}
	buf_puts(out(a), "ok trailer\n");
	starts[a->ask.kind](a);
}
