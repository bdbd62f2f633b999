/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/report.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "msg/addr.h"
#include "msg/dsn.h"
#include "msg/xtext.h"
#include "policy/rewrite.h"
#include "queue/edge.h"
#include "queue/inspect_own.h"
#include "queue/record.h"
#include "queue/route.h"
#include "queue/sched.h"

#include <unistd.h>

enum { REPORT_BYTES_MAX = 256 * 1024 * 1024, HEADER_READ = 256 * 1024, REPORT_RCPTS_MAX = 1000 };

bool
report_wanted(uint8_t notify, uint8_t kind)
{
	if (kind == NOTIFY_SUCCESS)
		return (notify & NOTIFY_SUCCESS) != 0;
	return notify == 0 || (notify & kind) != 0; /* not given: FAILURE and DELAY at our discretion */
}

bool
report_is_double_bounce(const struct queue *q, struct span sender)
{
	struct span name = span_str(q->set.double_bounce_sender);
	size_t at = span_rchr(sender, '@');
	if (name.n == 0 || !span_caseeq(span_head(sender, at), name))
		return false;
	return at == SIZE_MAX || span_caseeq_str(span_from(sender, at + 1), q->set.myorigin) ||
	    span_caseeq_str(span_from(sender, at + 1), q->set.myhostname);
}

/* What one report is about, and to whom it goes. */
struct plan {
	enum dsn_kind kind;
	enum record_notice notice;
	struct span sender, to;          /* of the report */
	bool postmaster, headers_only;
	struct env_rcpt *finally;        /* where "to" leads: aliases; in the attempt's arena */
	uint32_t nfinally;
	struct dsn_rcpt *rcpts;
	size_t n;
	uint32_t next;                   /* recipient to look at first; nrcpt when all are told about */
};

static bool
about_rcpt(const struct attempt *a, uint32_t i, enum dsn_kind kind, bool to_postmaster)
{
	uint8_t s = message_status(a->m)[i], notify = a->env.rcpt[i].notify;
	switch (kind) {
	case DSN_FAILED: return s == RS_FAILED && (to_postmaster || report_wanted(notify, NOTIFY_FAILURE));
	case DSN_DELAYED: return s == RS_OPEN && !a->env.rcpt[i].held && a->m->why[i] != NULL && (to_postmaster || report_wanted(notify, NOTIFY_DELAY));
	case DSN_SUCCEEDED: return s == RS_RELAYED || s == RS_DELIVERED;
	}
	return false;
}

/* As given, or what it would have been: the recipient as it was given (facts 7.7). */
static struct span
orcpt_of(struct attempt *a, const struct env_rcpt *r)
{
	struct span given = r->orig.n > 0 ? r->orig : r->addr;
	struct buf text, shown;
	if (r->orcpt.n > 0)
		return r->orcpt;
	buf_init(&text, 8192);
	buf_init(&shown, 4096);
	buf_puts(&text, span_is_ascii(given) ? "rfc822;" : "utf-8;");
	xtext_encode(&text, addr_shown(given, &shown));
	struct span out = text.over ? SPAN_EMPTY : arena_span(&a->arena, buf_span(&text));
	buf_fini(&text);
	buf_fini(&shown);
	return out;
}

/* The next of them, as many as go into one report. */
static void
collect(struct attempt *a, struct plan *p)
{
	static const char *const actions[] = { [DSN_FAILED] = "failed", [DSN_DELAYED] = "delayed", [DSN_SUCCEEDED] = "relayed" };
	uint32_t room = a->m->nrcpt < REPORT_RCPTS_MAX ? a->m->nrcpt : REPORT_RCPTS_MAX;
	p->rcpts = mem_calloc(room, sizeof *p->rcpts);
	p->n = 0;
	for (; p->next < a->m->nrcpt && p->n < room; p->next++) {
		uint32_t i = p->next;
		if (!about_rcpt(a, i, p->kind, p->postmaster))
			continue;
		const struct env_rcpt *r = &a->env.rcpt[i];
		const struct reason *why = a->m->why[i];
		p->rcpts[p->n++] = (struct dsn_rcpt){
			.addr = r->addr, .orig = r->orig, .orcpt = orcpt_of(a, r),
			.action = r->notify & NOTIFY_EXPANDED ? "expanded" : message_status(a->m)[i] == RS_DELIVERED ? "delivered" : actions[p->kind],
			.status = why != NULL ? reason_dsn(why) : SPAN("5.0.0"),
			.text = why != NULL ? reason_text(why) : SPAN("unknown"),
			.mta = why != NULL ? reason_mta(why) : SPAN_EMPTY,
			.diag = why != NULL ? reason_diag(why) : SPAN_EMPTY,
		};
	}
}

/* The value of the first Message-ID header, for References. */
static struct span
find_message_id(struct span content)
{
	struct span rest = content;
	while (rest.n > 0) {
		size_t end = span_find(rest, SPAN("\r\n"));
		struct span line = span_head(rest, end == SIZE_MAX ? rest.n : end);
		if (line.n == 0)
			break;
		if (span_casestarts(line, SPAN("message-id:")))
			return span_trim(span_from(line, 11));
		rest = end == SIZE_MAX ? SPAN_EMPTY : span_from(rest, end + 2);
	}
	return SPAN_EMPTY;
}

/* Does the report need UTF-8 (RFC 6533)? Only then is it more than some systems can read. */
static bool
any_utf8(const struct attempt *a, const struct plan *p)
{
	if (!span_is_ascii(p->to))
		return true;
	if ((a->env.flags & MSGF_SMTPUTF8) == 0)
		return false;
	for (size_t i = 0; i < p->n; i++)
		if (!span_is_ascii(p->rcpts[i].addr) || !span_is_ascii(p->rcpts[i].orig))
			return true;
	return !span_is_ascii(a->env.sender) || (a->env.flags & MSGF_UTF8_HEADERS) != 0;
}

/* Reads what is returned of the original. RC_TEMP: cannot be read now; RC_PERM: there is nothing to read. */
static enum rc
read_original(const struct attempt *a, struct plan *p, struct buf *out)
{
	const struct queue *q = a->q;
	uint64_t length = a->m->spool.length;
	if ((a->env.flags & MSGF_RET_HDRS) != 0 || p->postmaster || p->kind != DSN_FAILED || length > q->set.bounce_size_limit)
		p->headers_only = true;
	uint64_t want = p->headers_only && length > HEADER_READ ? HEADER_READ : length;
	struct err e;
	enum rc rc = spool_read(q->spool, &a->m->spool, 0, (size_t)want, out, &e);
	if (rc != RC_OK)
		log_warn(NULL, "content cannot be read for a report: %s", e.why);
	return rc;
}

static void
send_one(struct attempt *a, struct plan *p)
{
	struct queue *q = a->q;
	struct buf original, text;
	buf_init(&original, REPORT_BYTES_MAX);
	buf_init(&text, REPORT_BYTES_MAX);
	collect(a, p);
	if (p->n == 0)
		goto out;
	enum rc rc = read_original(a, p, &original);
	if (rc == RC_TEMP) {
		a->reports_failed = true;
		goto out;
	}
	struct spool_id id = spool_id_next((uint32_t)getpid());
	char id_text[SPOOL_ID_TEXT], about_text[SPOOL_ID_TEXT];
	uint64_t lifetime = a->env.sender.n > 0 ? q->set.lifetime : q->set.bounce_lifetime;
	bool utf8 = any_utf8(a, p);
	struct dsn_report r = {
		.kind = p->kind, .postmaster = p->postmaster,
		.myhostname = q->set.myhostname, .myorigin = q->set.myorigin, .mail_name = q->set.mail_name,
		.qid = span_of(id_text, spool_id_text(&id, id_text)), .now = clock_wall(), .to = p->to,
		.about_qid = span_of(about_text, spool_id_text(&a->m->spool.id, about_text)),
		.sender = a->env.sender, .envid = a->env.envid,
		.message_id = q->set.threaded_bounces ? find_message_id(buf_span(&original)) : SPAN_EMPTY,
		.arrival = a->m->arrival, .retry_until = a->m->arrival + lifetime,
		.rcpts = p->rcpts, .nrcpt = p->n, .content = buf_span(&original), .headers_only = p->headers_only, .is_utf8 = utf8,
	};
	dsn_write(&text, &r);
	bool is_8bit = dsn_is_8bit(buf_span(&text)), utf8_envelope = !span_is_ascii(p->to);
	for (uint32_t i = 0; i < p->nfinally; i++)
		utf8_envelope |= !span_is_ascii(p->finally[i].addr);
	struct envelope env = {
		.arrival = r.now, .sender = p->sender, .client = SPAN("local"), .nrcpt = p->nfinally, .rcpt = p->finally,
		.flags = MSGF_INTERNAL | (is_8bit ? MSGF_8BITMIME | MSGF_HAS_8BIT : 0) | (utf8_envelope ? MSGF_SMTPUTF8 | MSGF_UTF8_HEADERS : 0) | MSGF_HAS_DOTS,
	};
	metric_add(M_queue_bounces, p->kind == DSN_FAILED ? 1 : 0);
	if (!inspect_report(q, a, (uint8_t)p->notice, p->postmaster ? INTERNAL_NOTIFY : INTERNAL_BOUNCE, &id, &env, buf_span(&text)))
		accept_report(q, a, (uint8_t)p->notice, &id, &env, buf_span(&text));
out:
	mem_free(&p->rcpts);
	buf_fini(&original);
	buf_fini(&text);
}

/* Canonical and aliases of whom a report is for, as for any mail but without automatic copies. The sender stays: a bounce
 * of a bounce is known by it. */
enum rc
report_target(const struct queue *q, struct span to, struct arena *arena, struct envelope *out, struct err *e)
{
	static const struct rewrite_extra extra = { .no_bcc = true };
	struct env_rcpt *rcpt = arena_zalloc(arena, sizeof *rcpt);
	BUG_ON(rcpt == NULL);
	*rcpt = (struct env_rcpt){ .addr = to, .notify = NOTIFY_NEVER };
	const struct envelope given = { .nrcpt = 1, .rcpt = rcpt };
	*out = given;
	const struct rewriter *w = q->router != NULL ? router_rewriter(q->router) : NULL;
	if (w == NULL || to.n == 0 || rewrite_is_idle(w, &given, &extra))
		return RC_OK;
	enum rc rc = rewrite_envelope(w, &given, &extra, arena, out, e);
	if (rc == RC_OK)
		return RC_OK;
	*out = given;
	return rc;
}

static void
send_report(struct attempt *a, struct plan *p)
{
	struct envelope out;
	struct err e = { .why = "" };
	switch (report_target(a->q, p->to, &a->arena, &out, &e)) {
	case RC_TEMP:
		record_warning(a->m, "the aliases of a report's recipient cannot be looked up now");
		a->reports_failed = true;
		return;
	case RC_PERM: /* a report goes where it can, aliases without an end are no reason to drop it */
		record_warning(a->m, "the aliases of a report's recipient have no end");
		break;
	case RC_OK:
	case RC_NONE:
		break;
	}
	p->finally = out.rcpt;
	p->nfinally = out.nrcpt;
	while (p->next < a->m->nrcpt)
		send_one(a, p);
}

/* "postmaster" and "double-bounce" are names at our own domain. */
static struct span
qualified(struct attempt *a, const char *name)
{
	if (strchr(name, '@') != NULL)
		return span_str(name);
	size_t n = strlen(name) + 1 + strlen(a->q->set.myorigin);
	char *text = arena_alloc(&a->arena, n + 1);
	BUG_ON(text == NULL);
	snprintf(text, n + 1, "%s@%s", name, a->q->set.myorigin);
	return span_of(text, n);
}

static void
tell_sender(struct attempt *a, enum dsn_kind kind, enum record_notice notice)
{
	struct plan p = { .kind = kind, .notice = notice, .to = a->env.sender };
	send_report(a, &p);
}

static void
tell_postmaster(struct attempt *a, enum dsn_kind kind, const char *who)
{
	struct plan p = {
		.kind = kind, .notice = NOTICE_POSTMASTER, .postmaster = true,
		.sender = qualified(a, a->q->set.double_bounce_sender), .to = qualified(a, who),
	};
	send_report(a, &p);
}

static bool
any_status(const struct attempt *a, enum rcpt_state s)
{
	for (uint32_t i = 0; i < a->m->nrcpt; i++)
		if (message_status(a->m)[i] == s)
			return true;
	return false;
}

/* A report that milters gave a sender is a report still: two such would be answers to each other without an end. */
static bool
has_sender(const struct attempt *a)
{
	return a->env.sender.n > 0 && (a->env.flags & MSGF_INTERNAL) == 0;
}

static void
report_failure(struct attempt *a)
{
	const struct queue_settings *set = &a->q->set;
	if (has_sender(a)) {
		tell_sender(a, DSN_FAILED, NOTICE_FAILED);
		if (set->notices & NOTICE_BOUNCE)
			tell_postmaster(a, DSN_FAILED, set->bounce_recipient);
	} else if (set->notices & (NOTICE_BOUNCE | NOTICE_2BOUNCE)) {
		tell_postmaster(a, DSN_FAILED, set->bounce2_recipient);
	}
}

static bool
delay_is_due(const struct attempt *a)
{
	const struct message *m = a->m;
	uint64_t now = clock_wall();
	if (a->q->set.delay_warning == 0 || m->open == 0 || (m->flags & MF_DELAY_WARNED) || now < m->arrival)
		return false;
	return now - m->arrival >= a->q->set.delay_warning;
}

/* ---- tables that have to be asked first ---- */

static void
on_maps(struct op *op)
{
	struct map_wait *wait = container_of(op, struct map_wait, op);
	struct attempt *a = container_of(wait, struct attempt, report_maps);
	struct queue *q = a->q;
	report_start(a);
	attempt_report_done(a, true); /* the waiting was counted as a report */
	sched_poke(q);
}

/* Everybody who might get a report now is looked up; true: some answers have to be waited for. */
static bool
must_wait(struct attempt *a)
{
	const struct queue_settings *set = &a->q->set;
	const struct span to[] = { a->env.sender, qualified(a, set->bounce_recipient), qualified(a, set->bounce2_recipient),
		qualified(a, set->delay_recipient) };
	const unsigned notices[] = { ~0u, NOTICE_BOUNCE, NOTICE_BOUNCE | NOTICE_2BOUNCE, NOTICE_DELAY };
	struct arena arena;
	struct envelope out;
	map_forget();
	for (size_t i = 0; i < NELEMS(to); i++) {
		if (i > 0 && (set->notices & notices[i]) == 0)
			continue;
		arena_init(&arena, REPORT_BYTES_MAX);
		(void)!report_target(a->q, to[i], &arena, &out, NULL);
		arena_fini(&arena);
	}
	if (!map_asked())
		return false;
	if (a->report_maps.op.magic == 0)
		map_wait_init(&a->report_maps, &a->q->ops, on_maps);
	a->reports++;
	map_wait_start(&a->report_maps);
	return true;
}

void
report_start(struct attempt *a)
{
	struct queue *q = a->q;
	bool failed = any_status(a, RS_FAILED), well = any_status(a, RS_RELAYED) || any_status(a, RS_DELIVERED), late = delay_is_due(a);
	if (!failed && !well && !late)
		return;
	if (report_is_double_bounce(q, a->env.sender)) {
		if (failed)
			record_warning(a->m, "undeliverable postmaster notification discarded");
		return;
	}
	if (must_wait(a))
		return;
	if (failed)
		report_failure(a);
	if (well && has_sender(a))
		tell_sender(a, DSN_SUCCEEDED, NOTICE_SUCCEEDED);
	if (late) {
		a->m->flags |= MF_DELAY_WARNED;
		a->warned = a->changed = true;
		if (has_sender(a))
			tell_sender(a, DSN_DELAYED, NOTICE_DELAYED);
		if (q->set.notices & NOTICE_DELAY)
			tell_postmaster(a, DSN_DELAYED, q->set.delay_recipient);
	}
}
