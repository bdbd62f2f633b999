/* SPDX-License-Identifier: BSD-2-Clause */
/* Releasing and deleting, some at a time: ids of the words, or all that fit. */
#include "queue/quarantine_asking.h"

#include "base/clock.h"
#include "base/mem.h"
#include "quarantine/escape.h"

enum { ONE_MAX = 64 * 1024 * 1024 };

static void do_next(struct asking *a);

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

/* ---- one of them ---- */

static struct asking_one *
one_of_look(struct op *op)
{
	return container_of(container_of(op, struct quar_req, op), struct asking_one, look);
}

static struct quar_req *
look_again(struct asking_one *o, op_fn *done)
{
	quar_req_fini(&o->look);
	quar_req_init(&o->look, &o->a->ops, done);
	return &o->look;
}

static struct quarantine_order *
order_again(struct asking_one *o, op_fn *done)
{
	quarantine_order_fini(&o->order);
	quarantine_order_init(&o->order, o->a->q, &o->a->ops, done);
	return &o->order;
}

/* Done with it: another one has its turn. */
static void
one_end(struct asking_one *o)
{
	arena_fini(&o->arena);
	o->busy = false;
	o->a->each.busy--;
	asking_go_on(o->a, do_next);
}

/* A filter on recipients says whose copies are meant, and never touches those of others. */
static void
on_recipients(struct op *op)
{
	struct asking_one *o = one_of_look(op);
	const struct ask *ask = &o->a->ask;
	if (op->rc != RC_OK) { /* gone meanwhile */
		one_end(o);
		return;
	}
	const struct quar_row *r = &o->look.rows[0];
	o->addrs = arena_alloc(&o->arena, r->nshown * sizeof *o->addrs + 1);
	o->naddrs = 0;
	for (uint32_t i = 0; o->addrs != NULL && i < r->nshown; i++)
		if (recipient_fits(ask->recipient, r->rcpt[i].addr) && (ask->state == QUAR_NONE || r->rcpt[i].state == ask->state))
			o->addrs[o->naddrs++] = arena_span(&o->arena, r->rcpt[i].addr);
	if (o->naddrs == 0 || o->arena.over) {
		o->a->failed += o->arena.over;
		one_end(o);
		return;
	}
	o->a->each.act(o);
}

static void
one_begin(struct asking_one *o, const struct spool_id *id)
{
	struct asking *a = o->a;
	bool has_to = ask_has(&a->ask, OPT_TO);
	o->busy = true;
	a->each.busy++;
	o->id = *id;
	o->addrs = has_to ? &a->ask.to : NULL;
	o->naddrs = has_to;
	if (a->ask.all && a->ask.recipient.n > 0)
		quar_get(a->store, look_again(o, on_recipients), id);
	else
		a->each.act(o);
}

/* ---- all of them ---- */

static void
on_page(struct op *op)
{
	struct asking *a = asking_of_req(op);
	a->each.paging = false;
	if (op->rc != RC_OK && op->rc != RC_NONE) {
		asking_end(a, asking_trouble(&a->req));
		return;
	}
	arena_fini(&a->each.arena);
	size_t n = op->rc == RC_OK ? a->req.nrows : 0;
	a->each.ids = arena_alloc(&a->each.arena, n * sizeof *a->each.ids + 1);
	BUG_ON(a->each.ids == NULL);
	for (size_t i = 0; i < n; i++)
		a->each.ids[i] = a->req.rows[i].id;
	a->each.n = n;
	a->each.at = 0;
	a->each.more = op->rc == RC_OK && a->req.more;
	a->cursor = a->req.cursor;
	asking_go_on(a, do_next);
}

static void
next_page(struct asking *a)
{
	struct quar_filter f;
	ask_filter(&a->ask, ASKING_PAGE, &f);
	f.after = a->cursor;
	a->each.paging = true;
	quar_list(a->store, asking_again(a, &a->req, on_page), &f);
}

/* It may come once too often: somebody who reads slowly, and orders that end meanwhile. */
static void
do_next(struct asking *a)
{
	char text[120];
	for (unsigned i = 0; i < ASKING_WIDE && a->each.at < a->each.n; i++)
		if (!a->each.ones[i].busy)
			one_begin(&a->each.ones[i], &a->each.ids[a->each.at++]);
	if (a->each.busy > 0 || a->each.paging || a->answer.ended)
		return;
	if (a->each.more) {
		next_page(a);
		return;
	}
	if (a->done + a->failed == 0)
		buf_puts(asking_out(a), "Nothing in the quarantine fits\n");
	snprintf(text, sizeof text, "%llu of %llu not done", (unsigned long long)a->failed, (unsigned long long)(a->failed + a->done));
	asking_end(a, a->failed > 0 ? text : NULL);
}

static void
say_done(struct asking *a, const struct quarantine_order *o)
{
	struct buf *b = asking_say_id(a);
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
	struct buf *b = asking_say_id(a);
	escape_text(b, span_str(why), 300);
	buf_putc(b, '\n');
}

static void
start_ids(struct asking *a, void (*act)(struct asking_one *))
{
	a->each.act = act;
	a->cursor = 0;
	a->each.ones = mem_calloc(ASKING_WIDE, sizeof *a->each.ones);
	for (unsigned i = 0; i < ASKING_WIDE; i++) {
		struct asking_one *o = &a->each.ones[i];
		o->a = a;
		arena_init(&o->arena, ONE_MAX);
		quar_req_init(&o->look, &a->ops, NULL); /* look_again() says whose it is */
	}
	if (a->ask.all) {
		if (a->ask.until == 0) /* what comes while it is done is not meant */
			a->ask.until = clock_wall();
		next_page(a);
		return;
	}
	a->each.ids = arena_alloc(&a->arena, a->ask.nids * sizeof *a->each.ids);
	BUG_ON(a->each.ids == NULL);
	for (uint32_t i = 0; i < a->ask.nids; i++)
		if (spool_id_parse(a->ask.ids[i], &a->each.ids[a->each.n]) == RC_OK)
			a->each.n++;
	asking_go_on(a, do_next);
}

void
asking_each_fini(struct asking *a)
{
	for (unsigned i = 0; a->each.ones != NULL && i < ASKING_WIDE; i++) {
		struct asking_one *o = &a->each.ones[i];
		quar_req_fini(&o->look);
		quarantine_order_fini(&o->order);
		arena_fini(&o->arena);
	}
}

/* ---- releasing, deleting ---- */

/* What became of it is in its order. */
static void
on_ordered(struct op *op)
{
	struct asking_one *o = container_of(container_of(op, struct quarantine_order, op), struct asking_one, order);
	struct asking *a = o->a;
	a->id = o->id;
	if (op->rc == RC_OK) {
		a->done++;
		say_done(a, &o->order);
	} else {
		a->failed++;
		say_failed(a, asking_order_trouble(&o->order, "not in the quarantine, or not held any more"));
	}
	one_end(o);
}

static void
act_delete(struct asking_one *o)
{
	quarantine_delete(order_again(o, on_ordered), &o->id, o->addrs, o->naddrs, o->a->who);
}

void
asking_delete(struct asking *a)
{
	start_ids(a, act_delete);
}

static void
release_now(struct asking_one *o, struct span to)
{
	quarantine_release(order_again(o, on_ordered), &o->id, o->addrs, o->naddrs, to, ask_has(&o->a->ask, OPT_AS_ATTACHMENT), o->a->who);
}

/* --to: one of its recipients gets what he was to get; anybody else gets a copy. */
static void
on_whose(struct op *op)
{
	struct asking_one *o = one_of_look(op);
	struct span *to = &o->a->ask.to;
	const struct quar_row *r = op->rc == RC_OK ? &o->look.rows[0] : NULL;
	bool is_rcpt = r == NULL; /* then the order finds that there is none */
	for (uint32_t i = 0; r != NULL && i < r->nshown; i++)
		is_rcpt |= !r->rcpt[i].added && span_caseeq(r->rcpt[i].addr, *to);
	o->addrs = is_rcpt ? to : NULL;
	o->naddrs = is_rcpt;
	release_now(o, is_rcpt ? SPAN_EMPTY : *to);
}

static void
act_release(struct asking_one *o)
{
	if (!ask_has(&o->a->ask, OPT_TO)) {
		release_now(o, SPAN_EMPTY);
		return;
	}
	quar_get(o->a->store, look_again(o, on_whose), &o->id);
}

void
asking_release(struct asking *a)
{
	start_ids(a, act_release);
}
