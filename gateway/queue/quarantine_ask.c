/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/quarantine_ask.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "quarantine/escape.h"
#include "quarantine/view.h"
#include "queue/quarantine_asking.h"

enum { ASK_MAGIC = 0x9a5cab1e, ARENA_MAX = 64 * 1024 * 1024, WHO_MAX = 100, WHY_MAX = 500 };

/* ---- life ---- */

static void
dig(struct grave *g)
{
	struct asking *a = container_of(g, struct asking, grave);
	mem_free(&a->each.ones);
	mem_poison(a, sizeof *a);
	mem_free(&a);
}

static void
on_over(struct answer *answer)
{
	struct asking *a = container_of(answer, struct asking, answer);
	CHECK(a, ASK_MAGIC);
	ops_cancel_all(&a->ops);
	quar_req_fini(&a->req);
	quar_req_fini(&a->content);
	quarantine_order_fini(&a->order); /* it is carried out all the same */
	asking_each_fini(a);
	answer_fini(&a->answer);
	arena_fini(&a->arena);
	arena_fini(&a->each.arena);
	loop_bury(&a->grave, dig);
}

static void
on_more(struct answer *answer)
{
	struct asking *a = container_of(answer, struct asking, answer);
	CHECK(a, ASK_MAGIC);
	a->next(a);
}

static const struct answer_ops answer_ops = { .more = on_more, .over = on_over };

void
asking_go_on(struct asking *a, void (*next)(struct asking *))
{
	a->next = next;
	if (answer_is_full(&a->answer))
		answer_wait(&a->answer);
	else
		next(a);
}

void
asking_end(struct asking *a, const char *why)
{
	struct buf *b = asking_out(a);
	buf_puts(b, why != NULL ? "\nerror " : "\ndone");
	if (why != NULL)
		buf_put_safe(b, span_str(why), WHY_MAX, true);
	buf_putc(b, '\n');
	answer_end(&a->answer);
}

/* ---- what it asks ---- */

struct asking *
asking_of_req(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, req);
	CHECK(a, ASK_MAGIC);
	return a;
}

struct asking *
asking_of_content(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quar_req, op), struct asking, content);
	CHECK(a, ASK_MAGIC);
	return a;
}

struct asking *
asking_of_order(struct op *op)
{
	struct asking *a = container_of(container_of(op, struct quarantine_order, op), struct asking, order);
	CHECK(a, ASK_MAGIC);
	return a;
}

struct quar_req *
asking_again(struct asking *a, struct quar_req *r, op_fn *done)
{
	quar_req_fini(r);
	quar_req_init(r, &a->ops, done);
	return r;
}

struct quarantine_order *
asking_order(struct asking *a, op_fn *done)
{
	quarantine_order_fini(&a->order);
	quarantine_order_init(&a->order, a->q, &a->ops, done);
	return &a->order;
}

static const char *
trouble(enum rc rc, const struct err *why, const char *none)
{
	if (rc == RC_NONE)
		return none;
	return why->why[0] != '\0' ? why->why : "not now";
}

const char *
asking_trouble(const struct quar_req *r)
{
	return trouble(r->op.rc, &r->why, "no such message");
}

const char *
asking_order_trouble(const struct quarantine_order *o, const char *none)
{
	return trouble(o->op.rc, &o->why, none);
}

struct buf *
asking_say_id(struct asking *a)
{
	char id[SPOOL_ID_TEXT];
	struct buf *b = asking_out(a);
	buf_put(b, span_of(id, spool_id_text(&a->id, id)));
	buf_puts(b, ": ");
	return b;
}

void
asking_log(const struct asking *a, const struct spool_id *id, const char *action, struct span to, uint64_t nrcpt)
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

/* ---- expire ---- */

static void
on_expired(struct op *op)
{
	struct asking *a = asking_of_order(op);
	uint32_t n = a->order.n;
	if (op->rc != RC_OK && op->rc != RC_NONE) {
		asking_end(a, asking_order_trouble(&a->order, NULL));
		return;
	}
	buf_printf(asking_out(a), "%u message%s deleted\n", (unsigned)n, n == 1 ? "" : "s");
	asking_end(a, NULL);
}

static void
start_expire(struct asking *a)
{
	quarantine_expire(asking_order(a, on_expired), a->who);
}

/* ---- the allow table ---- */

static void
on_allow_list(struct op *op)
{
	struct asking *a = asking_of_req(op);
	bool json = ask_has(&a->ask, OPT_JSON);
	if (op->rc != RC_OK && op->rc != RC_NONE) {
		asking_end(a, asking_trouble(&a->req));
		return;
	}
	size_t n = op->rc == RC_OK ? a->req.n : 0;
	if (n == 0 && !json)
		buf_puts(asking_out(a), "The allow table is empty\n");
	for (size_t i = 0; i < n; i++)
		(json ? view_allow_json : view_allow)(asking_out(a), &a->req.allow[i]);
	asking_end(a, NULL);
}

static void
start_allow_list(struct asking *a)
{
	quar_allow_list(a->store, asking_again(a, &a->req, on_allow_list));
}

static void
log_allow(const struct asking *a, bool removes)
{
	const struct log_ctx ctx = { .service = "quarantine" };
	const struct log_field f[3] = { F_SPAN(from, a->ask.ids[0]), F_SPAN(reason, a->who), F_SPAN(to, a->ask.to) };
	bool has_to = a->ask.to.n > 0;
	enum log_event_id adds = has_to ? EV_quarantine_allowed : EV_quarantine_allowed_all;
	log_event(removes ? EV_quarantine_disallowed : adds, &ctx, f, has_to ? 3 : 2);
}

static void
on_allow_changed(struct op *op)
{
	struct asking *a = asking_of_content(op);
	bool removes = a->ask.kind == ASK_ALLOW_REMOVE;
	if (op->rc != RC_OK) {
		asking_end(a, op->rc == RC_NONE ? "not in the table" : asking_trouble(&a->content));
		return;
	}
	log_allow(a, removes);
	struct buf *b = asking_out(a);
	buf_puts(b, "mail of ");
	escape_text(b, a->ask.ids[0], ASK_VALUE_MAX);
	if (a->ask.to.n > 0) {
		buf_puts(b, " to ");
		escape_text(b, a->ask.to, ASK_VALUE_MAX);
	}
	buf_puts(b, removes ? " is held again\n" : " is not held any more\n");
	asking_end(a, NULL);
}

static void
start_allow_remove(struct asking *a)
{
	quar_allow_remove(a->store, asking_again(a, &a->content, on_allow_changed), a->ask.ids[0], a->ask.to);
}

static void
start_allow_add(struct asking *a)
{
	struct quar_allow row = { .sender = a->ask.ids[0], .recipient = a->ask.to, .by = a->who, .added = clock_wall() };
	quar_allow_add(a->store, asking_again(a, &a->content, on_allow_changed), &row);
}

static void
on_allowed(struct op *op)
{
	struct asking *a = asking_of_order(op);
	if (op->rc != RC_OK) {
		asking_end(a, asking_order_trouble(&a->order, "no such message"));
		return;
	}
	struct buf *b = asking_say_id(a);
	uint32_t n = a->order.n;
	if (ask_has(&a->ask, OPT_PAIR))
		buf_printf(b, "mail of its sender is not held any more for %u recipient%s\n", (unsigned)n, n == 1 ? "" : "s");
	else
		buf_puts(b, "mail of its sender is not held any more\n");
	asking_end(a, NULL);
}

static void
start_allow(struct asking *a)
{
	quarantine_allow(asking_order(a, on_allowed), &a->id, NULL, 0, !ask_has(&a->ask, OPT_PAIR), a->who);
}

/* ---- digests ---- */

static void
on_digests(struct op *op)
{
	struct digest_wait *w = container_of(op, struct digest_wait, op);
	struct asking *a = container_of(w, struct asking, digests);
	CHECK(a, ASK_MAGIC);
	if (op->rc == RC_OK || op->rc == RC_TEMP)
		buf_printf(asking_out(a), "%u digest%s sent\n", (unsigned)w->sent, w->sent == 1 ? "" : "s");
	asking_end(a, op->rc == RC_OK ? NULL : op->rc == RC_NONE ? "nobody wants digests (quarantine_digest_recipients)" : "some could not be sent now");
}

static void
start_digest(struct asking *a)
{
	if (a->q->notices == NULL) {
		asking_end(a, "nobody is told of held mail");
		return;
	}
	op_init(&a->digests.op, &a->ops, on_digests);
	notices_digest_now(a->q->notices, &a->digests);
}

/* ---- which it is ---- */

static void (*const starts[ASK_KINDS])(struct asking *) = {
	[ASK_LIST] = asking_list, [ASK_SHOW] = asking_show, [ASK_EXPORT] = asking_export, [ASK_RELEASE] = asking_release, [ASK_DELETE] = asking_delete,
	[ASK_EXPIRE] = start_expire, [ASK_ALLOW_LIST] = start_allow_list, [ASK_ALLOW_ADD] = start_allow_add, [ASK_ALLOW_REMOVE] = start_allow_remove,
	[ASK_ALLOW] = start_allow, [ASK_DIGEST] = start_digest, [ASK_STATS] = asking_stats, [ASK_CHECK] = asking_check,
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
	answer_init(&a->answer, &q->answers, fd, &answer_ops);
	a->store = q->quarantine.store;
	op_owner_init(&a->ops);
	arena_init(&a->arena, ARENA_MAX);
	arena_init(&a->each.arena, ARENA_MAX);
	quar_req_init(&a->req, &a->ops, NULL); /* asking_again() says whose it is */
	quar_req_init(&a->content, &a->ops, NULL);
	enum rc rc = ask_get(line, &a->arena, &a->ask, &e);
	if (rc == RC_OK && a->store == NULL)
		rc = err_set(&e, RC_TEMP, "the quarantine is not available: %s", q->quarantine.why_none);
	if (rc == RC_OK && starts[a->ask.kind] == NULL)
		rc = err_set(&e, RC_PERM, "unknown request");
	if (rc != RC_OK) {
		answer_refuse(&a->answer, e.why);
		return;
	}
	a->who = name_of(a, who);
	if (a->ask.nids > 0 && a->ask.kind != ASK_ALLOW_ADD && a->ask.kind != ASK_ALLOW_REMOVE) {
		rc = spool_id_parse(a->ask.ids[0], &a->id); /* ask_get() looked */
		BUG_ON(rc != RC_OK);
	}
	buf_puts(asking_out(a), "ok trailer\n");
	starts[a->ask.kind](a);
}
