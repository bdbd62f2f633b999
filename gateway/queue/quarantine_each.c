/* SPDX-License-Identifier: BSD-2-Clause */
/* Releasing and deleting: one id after the other, those of the words or all that fit. */
#include "queue/quarantine_asking.h"

#include "base/clock.h"
#include "quarantine/escape.h"

static void do_next(struct asking *a);
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
	struct asking *a = asking_of_content(op);
	if (op->rc != RC_OK) { /* gone meanwhile */
		next_id(a);
		return;
	}
	const struct quar_row *r = &a->content.rows[0];
	a->each.addrs = arena_alloc(&a->each.arena, r->nshown * sizeof *a->each.addrs + 1);
	a->each.naddrs = 0;
	for (uint32_t i = 0; a->each.addrs != NULL && i < r->nshown; i++)
		if (recipient_fits(a->ask.recipient, r->rcpt[i].addr) && (a->ask.state == QUAR_NONE || r->rcpt[i].state == a->ask.state))
			a->each.addrs[a->each.naddrs++] = arena_span(&a->each.arena, r->rcpt[i].addr);
	if (a->each.naddrs == 0 || a->each.arena.over) {
		a->failed += a->each.arena.over;
		next_id(a);
		return;
	}
	a->each.act(a);
}

static void
on_page(struct op *op)
{
	struct asking *a = asking_of_req(op);
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
	quar_list(a->store, asking_again(a, &a->req, on_page), &f);
}

static void
do_next(struct asking *a)
{
	char text[120];
	if (a->each.at == a->each.n) {
		if (a->each.more) {
			next_page(a);
			return;
		}
		if (a->done + a->failed == 0)
			buf_puts(asking_out(a), "Nothing in the quarantine fits\n");
		snprintf(text, sizeof text, "%llu of %llu not done", (unsigned long long)a->failed, (unsigned long long)(a->failed + a->done));
		asking_end(a, a->failed > 0 ? text : NULL);
		return;
	}
	a->id = a->each.ids[a->each.at];
	if (a->ask.all && a->ask.recipient.n > 0) {
		quar_get(a->store, asking_again(a, &a->content, on_recipients), &a->id);
		return;
	}
	a->each.act(a);
}

/* Done with the one at hand. */
static void
next_id(struct asking *a)
{
	a->each.at++;
	asking_go_on(a, do_next);
}

static void
say_done(struct asking *a)
{
	const struct quarantine_order *o = &a->order;
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
start_ids(struct asking *a, void (*act)(struct asking *))
{
	a->each.act = act;
	a->cursor = 0;
	if (ask_has(&a->ask, OPT_TO)) {
		a->each.addrs = &a->ask.to;
		a->each.naddrs = 1;
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

/* Done with the id at hand; what it was is in order. */
static void
on_ordered(struct op *op)
{
	struct asking *a = asking_of_order(op);
	if (op->rc == RC_OK) {
		a->done++;
		say_done(a);
	} else {
		a->failed++;
		say_failed(a, asking_order_trouble(a, "not in the quarantine, or not held any more"));
	}
	next_id(a);
}

static void
act_delete(struct asking *a)
{
	quarantine_delete(asking_order(a, on_ordered), &a->id, a->each.addrs, a->each.naddrs, a->who);
}

void
asking_delete(struct asking *a)
{
	start_ids(a, act_delete);
}

static void
release_now(struct asking *a, struct span to)
{
	quarantine_release(asking_order(a, on_ordered), &a->id, a->each.addrs, a->each.naddrs, to, ask_has(&a->ask, OPT_AS_ATTACHMENT), a->who);
}

/* --to: one of its recipients gets what he was to get; anybody else gets a copy. */
static void
on_whose(struct op *op)
{
	struct asking *a = asking_of_content(op);
	const struct quar_row *r = op->rc == RC_OK ? &a->content.rows[0] : NULL;
	bool is_rcpt = r == NULL; /* then the order finds that there is none */
	for (uint32_t i = 0; r != NULL && i < r->nshown; i++)
		is_rcpt |= !r->rcpt[i].added && span_caseeq(r->rcpt[i].addr, a->ask.to);
	a->each.addrs = is_rcpt ? &a->ask.to : NULL;
	a->each.naddrs = is_rcpt;
	release_now(a, is_rcpt ? SPAN_EMPTY : a->ask.to);
}

static void
act_release(struct asking *a)
{
	if (!ask_has(&a->ask, OPT_TO)) {
		release_now(a, SPAN_EMPTY);
		return;
	}
	quar_get(a->store, asking_again(a, &a->content, on_whose), &a->id);
}

void
asking_release(struct asking *a)
{
	start_ids(a, act_release);
}
