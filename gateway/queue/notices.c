/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/notices_private.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "ipc/msgs.h"
#include "map/remote.h"
#include "msg/addr.h"
#include "queue/report.h"

#include <unistd.h>

enum { TEXT_MAX = 32 * 1024 * 1024, OUTGOING_MAX = 200, ARENA_MAX = 1024 * 1024 };
#define RETRY_USEC (60 * USEC_PER_SEC)

/* A notice to the postmaster: aliases of his address may have to be waited for. */
struct outgoing {
	struct list link;
	struct grave grave;
	struct notices *n;
	struct op_owner ops;
	struct timer again;
	struct map_wait maps;
	struct accept_wait accepted;
	struct arena arena, tried;   /* tried: of one try, there may be many */
	struct spool_id id;
	struct span to;
	struct buf text;
};

/* ---- into the spool ---- */

/* "postmaster" and "double-bounce" are names at our own domain. */
static struct span
qualified(const struct notices *n, const char *name, struct arena *a)
{
	struct buf text;
	buf_init(&text, 2048);
	buf_puts(&text, name);
	if (strchr(name, '@') == NULL) {
		buf_putc(&text, '@');
		buf_puts(&text, n->q->set.myorigin);
	}
	struct span s = arena_span(a, buf_span(&text));
	buf_fini(&text);
	return s;
}

void
notices_fill(const struct notices *n, struct notice *out, struct span to)
{
	out->to = to;
	out->templates = notices_templates_for(n->set, to);
	out->id = spool_id_next((uint32_t)getpid());
	out->now = clock_wall();
	out->myhostname = n->q->set.myhostname;
	out->myorigin = n->q->set.myorigin;
	out->mail_name = n->q->set.mail_name;
}

static void
accept_text(struct notices *n, const struct spool_id *id, struct span text, struct span sender, struct env_rcpt *rcpt, uint32_t nrcpt,
    struct accept_wait *w)
{
	bool is_8bit = !span_is_ascii(text), utf8 = false;
	for (uint32_t i = 0; i < nrcpt; i++) {
		rcpt[i].notify = NOTIFY_NEVER;
		utf8 |= !span_is_ascii(rcpt[i].addr);
	}
	struct envelope env = { .arrival = clock_wall(), .sender = sender, .client = SPAN("local"), .nrcpt = nrcpt, .rcpt = rcpt,
		.flags = MSGF_INTERNAL | MSGF_HAS_DOTS | (is_8bit ? MSGF_8BITMIME | MSGF_HAS_8BIT : 0) | (utf8 ? MSGF_SMTPUTF8 | MSGF_UTF8_HEADERS : 0) };
	metric_add(M_quarantine_notices, 1);
	accept_own(n->q, id, &env, text, w);
}

void
notices_accept(struct notices *n, const struct notice *notice, struct span sender, struct accept_wait *w)
{
	struct buf text;
	struct env_rcpt rcpt = { .addr = notice->to };
	buf_init(&text, TEXT_MAX);
	notice_write(&text, notice);
	accept_text(n, &notice->id, buf_span(&text), sender, &rcpt, 1, w);
	buf_fini(&text);
}

/* ---- to the postmaster ---- */

static void
dig(struct grave *g)
{
	struct outgoing *o = container_of(g, struct outgoing, grave);
	mem_free(&o);
}

static void
outgoing_end(struct outgoing *o)
{
	list_remove(&o->link);
	o->n->noutgoing--;
	timer_clear(&o->again);
	map_wait_fini(&o->maps);
	ops_cancel_all(&o->ops);
	arena_fini(&o->arena);
	arena_fini(&o->tried);
	buf_fini(&o->text);
	loop_bury(&o->grave, dig);
}

static void
on_out_accepted(struct op *op)
{
	struct outgoing *o = container_of(container_of(op, struct accept_wait, op), struct outgoing, accepted);
	if (op->rc == RC_OK)
		outgoing_end(o);
	else
		timer_set(&o->again, RETRY_USEC); /* no room, or the disk fails */
}

static void
outgoing_try(struct outgoing *o)
{
	struct envelope out;
	struct err e = { .why = "" };
	map_forget();
	arena_fini(&o->tried);
	if (report_target(o->n->q, o->to, &o->tried, &out, &e) == RC_TEMP) {
		if (map_asked())
			map_wait_start(&o->maps);
		else
			timer_set(&o->again, RETRY_USEC);
		return;
	}
	struct span sender = qualified(o->n, o->n->q->set.double_bounce_sender, &o->tried);
	o->id = spool_id_next((uint32_t)getpid()); /* an id is offered once */
	op_init(&o->accepted.op, &o->ops, on_out_accepted);
	accept_text(o->n, &o->id, buf_span(&o->text), sender, out.rcpt, out.nrcpt, &o->accepted);
}

static void
on_maps(struct op *op)
{
	struct map_wait *wait = container_of(op, struct map_wait, op);
	outgoing_try(container_of(wait, struct outgoing, maps));
}

static void
on_again(struct timer *t)
{
	outgoing_try(container_of(t, struct outgoing, again));
}

static void
log_notice(const struct notices *n, const struct notice *notice, const struct spool_id *about)
{
	char text[SPOOL_ID_TEXT], id[SPOOL_ID_TEXT];
	struct log_ctx ctx = { .qid = span_of(text, spool_id_text(about, text)) };
	struct buf to;
	(void)n;
	buf_init(&to, 4096);
	LOG(quarantine_notice, &ctx, F_SPAN(to, addr_shown(notice->to, &to)), F_SPAN(newid, span_of(id, spool_id_text(&notice->id, id))));
	buf_fini(&to);
}

static void
tell_postmaster(struct notices *n, enum notice_text which, const struct notice_item *item, uint64_t count)
{
	if (n->noutgoing == OUTGOING_MAX)
		return;
	struct outgoing *o = mem_zalloc(sizeof *o);
	o->n = n;
	op_owner_init(&o->ops);
	list_init(&o->link);
	list_append(&n->outgoing, &o->link);
	n->noutgoing++;
	timer_init(&o->again, on_again);
	map_wait_init(&o->maps, &o->ops, on_maps);
	arena_init(&o->arena, ARENA_MAX);
	arena_init(&o->tried, ARENA_MAX);
	buf_init(&o->text, TEXT_MAX);
	o->to = qualified(n, n->set->virus_recipient, &o->arena);
	struct notice notice = { .text = which, .items = item, .nitems = 1, .count = count };
	notices_fill(n, &notice, o->to);
	log_notice(n, &notice, &item->id);
	notice_write(&o->text, &notice);
	outgoing_try(o);
}

/* ---- limits ---- */

static void
on_hour(struct timer *t)
{
	struct notices *n = container_of(t, struct notices, hour);
	uint64_t over = n->over;
	n->in_hour = n->over = 0;
	if (over > 0 && (n->set->virus_notify & NOTIFY_VIRUS_POSTMASTER) != 0) {
		n->in_hour = 1;
		timer_set(&n->hour, n->set->limit_time);
		tell_postmaster(n, NT_VIRUS_MORE, &n->last, over);
	}
	arena_fini(&n->last_arena);
}

/* May another one be sent? Begins the hour with the first. */
static bool
in_limit(struct notices *n)
{
	if (n->in_hour == 0)
		timer_set(&n->hour, n->set->limit_time);
	n->in_hour++;
	return n->set->limit == 0 || n->in_hour <= n->set->limit;
}

/* The last one is shown when the others are counted. */
static void
keep(struct notices *n, const struct notice_item *item)
{
	struct arena *a = &n->last_arena;
	arena_fini(a);
	n->over++;
	n->last = *item;
	struct span *const texts[] = { &n->last.sender, &n->last.from, &n->last.subject, &n->last.reason, &n->last.signature, &n->last.client };
	for (size_t i = 0; i < NELEMS(texts); i++)
		*texts[i] = arena_span(a, *texts[i]);
	struct span *rcpt = arena_zalloc(a, (item->nrcpt + 1) * sizeof *rcpt);
	n->last.nrcpt = rcpt != NULL ? item->nrcpt : 0;
	for (size_t i = 0; i < n->last.nrcpt; i++)
		rcpt[i] = arena_span(a, item->rcpt[i]);
	n->last.rcpt = rcpt;
}

/* ---- a virus ---- */

/* Who logged in, or whose computer is in our networks. What cannot be said is not. */
static bool
sender_is_internal(const struct notices *n, const struct envelope *env, const struct held *held)
{
	struct ipaddr addr;
	if (env->sender.n == 0 || report_is_double_bounce(n->q, env->sender))
		return false;
	if (held->login.n > 0)
		return true;
	return ipaddr_parse(held->client_addr, &addr) == RC_OK && matchlist_host(n->set->networks, held->client_name, &addr, NULL) == RC_OK;
}

static void
tell(struct notices *n, enum notice_text which, struct notice_item *item, struct span to)
{
	struct notice notice = { .text = which, .items = item, .nitems = 1, .count = 1 };
	notices_fill(n, &notice, to);
	log_notice(n, &notice, &item->id);
	notices_accept(n, &notice, SPAN_EMPTY, NULL);
}

void
notices_held(struct notices *n, const struct spool_id *id, const struct envelope *env, const struct held *held, const uint32_t *rcpt, uint32_t nrcpt)
{
	if (n == NULL || held->class != HELD_VIRUS || n->set->virus_notify == 0)
		return;
	struct arena arena;
	arena_init(&arena, 64 * 1024 * 1024);
	struct span *addrs = arena_zalloc(&arena, (nrcpt + 1) * sizeof *addrs);
	BUG_ON(addrs == NULL);
	for (uint32_t i = 0; i < nrcpt; i++)
		addrs[i] = env->rcpt[rcpt != NULL ? rcpt[i] : i].addr;
	struct notice_item item = { .id = *id, .arrival = env->arrival, .class = held->class, .sender = env->sender, .from = held->from,
		.subject = held->subject, .reason = held->reason, .signature = held->signature, .client = env->client, .rcpt = addrs, .nrcpt = nrcpt };
	unsigned who = n->set->virus_notify;
	bool all = true;
	if ((who & NOTIFY_VIRUS_POSTMASTER) != 0) {
		if (in_limit(n))
			tell_postmaster(n, NT_VIRUS_POSTMASTER, &item, 1);
		else
			all = false;
	}
	item.hide_rcpts = true;
	if ((who & NOTIFY_VIRUS_SENDER) != 0 && all && sender_is_internal(n, env, held) && (all = in_limit(n)))
		tell(n, NT_VIRUS_SENDER, &item, env->sender);
	item.nrcpt = 1;
	for (uint32_t i = 0; i < nrcpt && (who & NOTIFY_VIRUS_RECIPIENTS) != 0 && all && (all = in_limit(n)); i++) {
		item.rcpt = &addrs[i];
		tell(n, NT_VIRUS_RECIPIENT, &item, addrs[i]);
	}
	item.rcpt = addrs;
	item.nrcpt = nrcpt;
	item.hide_rcpts = false;
	if (!all)
		keep(n, &item);
	arena_fini(&arena);
}

/* ---- life ---- */

void
notices_digest_now(struct notices *n, struct digest_wait *w)
{
	digests_now(n->digests, w);
}

uint64_t
notices_next_digest(const struct notices *n)
{
	return n != NULL ? digests_next(n->digests) : 0;
}

struct notices *
notices_new(struct queue *q, struct notices_settings *s)
{
	struct notices *n = mem_zalloc(sizeof *n);
	n->q = q;
	n->set = s;
	op_owner_init(&n->ops);
	list_init(&n->outgoing);
	arena_init(&n->last_arena, ARENA_MAX);
	timer_init(&n->hour, on_hour);
	n->digests = digests_new(n);
	return n;
}

void
notices_reload(struct notices *n, struct notices_settings *s)
{
	notices_settings_free(&n->set);
	n->set = s;
	digests_reload(n->digests);
}

void
notices_free(struct notices **np)
{
	struct notices *n = *np;
	if (n == NULL)
		return;
	digests_free(&n->digests);
	list_each(l, &n->outgoing)
		outgoing_end(list_entry(l, struct outgoing, link));
	timer_clear(&n->hour);
	arena_fini(&n->last_arena);
	notices_settings_free(&n->set);
	mem_free(np);
}
