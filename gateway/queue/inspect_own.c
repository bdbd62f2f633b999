/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/inspect_own.h"

#include "base/log.h"
#include "base/mem.h"
#include "policy/rewrite.h"
#include "queue/attempt.h"
#include "queue/edge.h"
#include "queue/inspect.h"
#include "queue/route.h"
#include "queue/sched.h"

enum { ENVELOPE_MAX = 4 * 1024 * 1024 };

struct looked_at {
	struct inspection in;
	struct map_wait maps;        /* of the envelope that milters made */
	struct list link;            /* in q->looked_at */
	struct attempt *parent;
	struct spool_id id;
	uint8_t notice;
	struct arena arena;
	struct envelope env;         /* in arena */
	struct buf content;
};

unsigned
inspect_classes(const struct conf *c)
{
	const struct params *p = conf_params(c);
	struct span rest = span_str(p->p_internal_mail_filter_classes), word;
	unsigned bits = 0;
	if (span_trim(span_str(p->p_non_smtpd_milters)).n == 0)
		return 0;
	while (span_word(&rest, ", \t\r\n", &word))
		bits |= span_caseeq_str(word, "bounce") ? INTERNAL_BOUNCE : span_caseeq_str(word, "notify") ? INTERNAL_NOTIFY : 0;
	return bits;
}

static void
forget(struct looked_at *r)
{
	list_remove(&r->link);
	map_wait_fini(&r->maps);
	inspection_fini(&r->in);
	buf_fini(&r->content);
	arena_fini(&r->arena);
	mem_free(&r);
}

static void go_on(struct looked_at *r);

static void
on_maps(struct op *op)
{
	struct looked_at *r = container_of(container_of(op, struct map_wait, op), struct looked_at, maps);
	struct queue *q = r->in.q;
	go_on(r);
	sched_poke(q);
}

/* ---- what milters make of the envelope ---- */

static bool
is_same(const struct env_rcpt *r, struct span given)
{
	return span_eq(r->addr, given) || span_eq(r->orig, given);
}

/* As they said it, in its order: who stays of old, and who is added, not rewritten yet. Both have room. */
static bool
apply_rcpts(const struct msg_inspected *m, struct env_rcpt *old, uint32_t *nold, struct env_rcpt *added, uint32_t *nadded)
{
	struct cur rd = m->rcpts;
	struct msg_inspected_rcpt e;
	for (uint32_t i = 0; i < m->nrcpt; i++) {
		if (!msg_inspected_rcpt_get(&rd, &e))
			return false;
		if (e.is_added) {
			added[(*nadded)++] = (struct env_rcpt){ .addr = e.addr, .orig = e.orig, .orcpt = e.orcpt, .notify = e.notify };
			continue;
		}
		struct env_rcpt *lists[] = { old, added };
		uint32_t *counts[] = { nold, nadded };
		for (size_t l = 0; l < NELEMS(lists); l++) {
			uint32_t n = 0;
			for (uint32_t k = 0; k < *counts[l]; k++)
				if (!is_same(&lists[l][k], e.addr))
					lists[l][n++] = lists[l][k];
			*counts[l] = n;
		}
	}
	return true;
}

static const struct rewriter *
rewriter_of(const struct looked_at *r)
{
	return r->in.q->router != NULL ? router_rewriter(r->in.q->router) : NULL;
}

static enum rc
change_sender(struct looked_at *r, struct envelope *out, struct err *e)
{
	const struct msg_inspected *m = &r->in.said;
	const struct rewriter *w = rewriter_of(r);
	struct buf b;
	buf_init(&b, 4096);
	enum rc rc = RC_OK;
	out->sender = m->sender;
	if (w != NULL && m->sender.n > 0 && !rewriter_is_idle(w, REWRITE_ENVELOPE_SENDER))
		rc = rewrite_address(w, REWRITE_ENVELOPE_SENDER, m->sender, &b, &out->sender, e);
	if (rc == RC_OK && out->sender.p != m->sender.p)
		out->sender = arena_span(&r->arena, out->sender);
	else if (rc == RC_PERM)
		out->sender = m->sender;
	buf_fini(&b);
	out->envid = m->envid.n > 0 ? m->envid : out->envid;
	out->flags = m->ret != 0 ? (out->flags & ~(uint32_t)(MSGF_RET_FULL | MSGF_RET_HDRS)) | m->ret : out->flags;
	return rc == RC_TEMP ? RC_TEMP : RC_OK;
}

/* As for a report itself: aliases without an end are no reason to drop it. */
static enum rc
rewrite_added(struct looked_at *r, struct envelope *added, struct err *e)
{
	static const struct rewrite_extra extra = { .no_bcc = true };
	const struct rewriter *w = rewriter_of(r);
	const struct envelope given = *added;
	if (w == NULL || given.nrcpt == 0 || rewrite_is_idle(w, &given, &extra))
		return RC_OK;
	enum rc rc = rewrite_envelope(w, &given, &extra, &r->arena, added, e);
	if (rc == RC_OK || rc == RC_TEMP)
		return rc;
	*added = given;
	return RC_OK;
}

static enum rc
change_rcpts(struct looked_at *r, struct envelope *out, struct err *e)
{
	const struct msg_inspected *m = &r->in.said;
	struct envelope added = { .rcpt = arena_alloc(&r->arena, (m->nrcpt + 1) * sizeof *added.rcpt) };
	struct env_rcpt *old = arena_alloc(&r->arena, (out->nrcpt + 1) * sizeof *old), *all;
	if (added.rcpt == NULL || old == NULL)
		return err_set(e, RC_PERM, "it is too large");
	memcpy(old, out->rcpt, out->nrcpt * sizeof *old);
	if (!apply_rcpts(m, old, &out->nrcpt, added.rcpt, &added.nrcpt))
		return err_set(e, RC_PERM, "bad recipients");
	enum rc rc = rewrite_added(r, &added, e);
	if (rc != RC_OK)
		return rc;
	all = arena_alloc(&r->arena, (out->nrcpt + added.nrcpt + 1) * sizeof *all);
	if (all == NULL)
		return err_set(e, RC_PERM, "it is too large");
	memcpy(all, old, out->nrcpt * sizeof *all);
	out->rcpt = all;
	uint32_t nold = out->nrcpt;
	for (uint32_t i = 0; i < added.nrcpt; i++) {
		bool is_there = false;
		for (uint32_t k = 0; k < nold && !is_there; k++)
			is_there = span_eq(all[k].addr, added.rcpt[i].addr);
		if (!is_there)
			all[out->nrcpt++] = added.rcpt[i];
	}
	return RC_OK;
}

/* The envelope as milters want it; perhaps without recipients. RC_TEMP: a table could not be asked. RC_PERM: not an envelope. May be
 * done again. */
static enum rc
change_envelope(struct looked_at *r, struct envelope *out, struct err *e)
{
	const struct msg_inspected *m = &r->in.said;
	*out = r->env;
	enum rc sender = m->sender_changed ? change_sender(r, out, e) : RC_OK, rcpts = m->nrcpt > 0 ? change_rcpts(r, out, e) : RC_OK;
	if (sender != RC_OK || rcpts != RC_OK)
		return rcpts == RC_OK ? sender : rcpts;
	bool is_ascii = span_is_ascii(out->sender);
	for (uint32_t i = 0; i < out->nrcpt; i++)
		is_ascii &= span_is_ascii(out->rcpt[i].addr);
	out->flags |= is_ascii ? 0 : (uint32_t)MSGF_SMTPUTF8;
	return out->nrcpt == 0 ? RC_OK : envelope_check(out, e);
}

/* ---- what they said ---- */

static struct log_ctx
context_of(const struct looked_at *r, char text[SPOOL_ID_TEXT])
{
	return (struct log_ctx){ .qid = span_of(text, spool_id_text(&r->id, text)) };
}

/* Of Postfix's lines about it: the client that is none, and the last recipient. */
#define FIELDS_OF(r, said) \
	F_STR(stage, "END-OF-MESSAGE"), F_STR(client, "localhost[127.0.0.1]"), F_SPAN(reply, said), F_SPAN(from, (r)->env.sender), \
	    F_SPAN(to, (r)->env.rcpt[(r)->env.nrcpt - 1].addr)

/* It is not sent: not now, or never (settled). */
static void
leave(struct looked_at *r, bool is_settled, const char *why, struct span text)
{
	char id[SPOOL_ID_TEXT];
	struct log_ctx ctx = context_of(r, id);
	const struct span by = r->in.said.milter;
	log_warn(&ctx, "mail of our own %s: %s%.*s%s%s%.*s", is_settled ? "is not sent" : "has to wait", by.n > 0 ? "milter " : "", (int)by.n, (const char *)by.p,
	    by.n > 0 ? ": " : "", why, (int)text.n, (const char *)text.p);
	attempt_report_done(r->parent, is_settled);
	forget(r);
}

static void
send_on(struct looked_at *r, struct envelope *env)
{
	const struct msg_inspected *m = &r->in.said;
	struct attempt *a = r->parent;
	char id[SPOOL_ID_TEXT];
	struct log_ctx ctx = context_of(r, id);
	if (m->content_changed) {
		buf_reset(&r->content);
		if (inspection_content(&r->in, &r->content) != RC_OK) {
			leave(r, false, "the changed content cannot be read", SPAN_EMPTY);
			return;
		}
		bool is_8bit = (m->flags & MSGF_HAS_8BIT) != 0;
		env->flags &= ~(uint32_t)(MSGF_8BITMIME | MSGF_HAS_8BIT | MSGF_HAS_DOTS | MSGF_HAS_LONG | MSGF_UTF8_HEADERS);
		env->flags |= m->flags | (is_8bit ? (uint32_t)MSGF_8BITMIME : 0);
	}
	if (m->outcome == INSPECT_HOLD) {
		env->flags |= MSGF_HOLD;
		LOG(cleanup_milter_hold, &ctx, FIELDS_OF(r, SPAN("milter triggers HOLD action")));
	}
	a->reports--; /* it counts itself */
	accept_report(r->in.q, a, r->notice, &r->id, env, buf_span(&r->content));
	forget(r);
}

/* Nobody objects. From the answer, and again when tables have answered. */
static void
go_on(struct looked_at *r)
{
	struct envelope env;
	struct err e = { .why = "" };
	map_forget();
	switch (change_envelope(r, &env, &e)) {
	case RC_OK:
	case RC_NONE:
		if (env.nrcpt == 0)
			leave(r, true, "all recipients deleted", SPAN_EMPTY);
		else
		send_on(r, &env);
		break;
	case RC_TEMP:
		if (map_asked())
			map_wait_start(&r->maps);
		else
			leave(r, false, e.why, SPAN_EMPTY);
		break;
	case RC_PERM: /* an edge that says such a thing is not asked again */
		leave(r, true, e.why, SPAN_EMPTY);
		break;
	}
}

static void
on_said(struct op *op)
{
	struct looked_at *r = container_of(op, struct looked_at, in.op);
	struct queue *q = r->in.q;
	const struct msg_inspected *m = &r->in.said;
	char id[SPOOL_ID_TEXT];
	struct log_ctx ctx = context_of(r, id);
	switch (m->outcome) {
	case INSPECT_REFUSE:
		LOG(cleanup_milter_reject, &ctx, FIELDS_OF(r, m->text.n > 4 ? span_from(m->text, 4) : m->text));
		leave(r, true, "", m->text);
		break;
	case INSPECT_DISCARD:
		LOG(cleanup_milter_discard, &ctx, FIELDS_OF(r, SPAN("milter triggers DISCARD action")));
		leave(r, true, "", SPAN("it is discarded"));
		break;
	case INSPECT_NOT_NOW:
		leave(r, false, "", m->text);
		break;
	case INSPECT_HOLD:
	case INSPECT_PASS:
		go_on(r);
		break;
	}
	sched_poke(q);
}

bool
inspect_report(struct queue *q, struct attempt *parent, uint8_t notice, unsigned mail_class, const struct spool_id *id, const struct envelope *env,
    struct span content)
{
	if ((q->set.filtered & mail_class) == 0)
		return false;
	struct looked_at *r = mem_zalloc(sizeof *r);
	struct buf encoded;
	buf_init(&encoded, ENVELOPE_MAX);
	envelope_put(&encoded, env);
	arena_init(&r->arena, 4 * ENVELOPE_MAX);
	if (encoded.over || envelope_get(arena_span(&r->arena, buf_span(&encoded)), &r->arena, &r->env) != RC_OK) {
		buf_fini(&encoded);
		arena_fini(&r->arena);
		mem_free(&r);
		return false;
	}
	buf_fini(&encoded);
	r->parent = parent;
	r->notice = notice;
	r->id = *id;
	buf_init(&r->content, INSPECT_CONTENT_MAX);
	buf_put(&r->content, content);
	list_init(&r->link);
	list_append(&q->looked_at, &r->link);
	parent->reports++;
	map_wait_init(&r->maps, &q->ops, on_maps);
	inspection_init(&r->in, q, &q->ops, on_said);
	char text[SPOOL_ID_TEXT];
	uint32_t n = r->env.nrcpt < INSPECT_RCPTS_MAX ? r->env.nrcpt : (uint32_t)INSPECT_RCPTS_MAX;
	struct span *rcpts = arena_alloc(&r->arena, (n + 1) * sizeof *rcpts);
	BUG_ON(rcpts == NULL);
	for (uint32_t i = 0; i < n; i++)
		rcpts[i] = r->env.rcpt[i].addr;
	struct msg_inspect m = { .purpose = INSPECT_INTERNAL, .qid = span_of(text, spool_id_text(id, text)), .sender = r->env.sender, .nrcpt = n };
	inspection_start_mem(&r->in, buf_span(&r->content), &m, rcpts);
	return true;
}

void
inspect_fini(struct queue *q)
{
	list_each(l, &q->looked_at)
		forget(list_entry(l, struct looked_at, link));
}
