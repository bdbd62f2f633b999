/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/edge.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "ipc/msgs.h"
#include "queue/attempt.h"
#include "queue/inspect.h"
#include "queue/record.h"
#include "queue/sched.h"
#include "queue/verify.h"
#include "queue/sites.h"

#include <unistd.h>

enum { ENVELOPE_BYTES_MAX = 64 * 1024 * 1024, ADDRESS_BYTES_MAX = 1024, PARAM_BYTES_MAX = 1024, CLIENT_BYTES_MAX = 512, FORWARD_BYTES_MAX = 4096, RCPTS_MAX = 100000 };

static enum rc on_frame(struct ipc_chan *c, struct ipc_frame *f);
static void on_down(struct ipc_chan *c);
static const struct ipc_chan_ops chan_ops = { on_frame, on_down };

/* ---- the process on the other side ---- */

static void
edge_gone(struct edge *ed)
{
	struct queue *q = ed->q;
	list_remove(&ed->link);
	verify_edge_gone(q, ed);
	inspect_edge_gone(q, ed);
	list_each(l, &q->accepting) { /* the messages are kept, the answers are not */
		struct accepting *acc = list_entry(l, struct accepting, link);
		if (acc->edge == ed)
			acc->edge = NULL;
	}
	for (size_t i = 0; i < ed->ndrafts; i++)
		spool_draft_drop(q->spool, ed->drafts[i].draft);
	metric_add(M_queue_drafts, -(int64_t)ed->ndrafts);
	ipc_chan_free(&ed->chan);
	mem_free(&ed->drafts);
	mem_free(&ed);
}

static void
on_down(struct ipc_chan *c)
{
	edge_gone(c->owner);
}

static void
tell_admission(struct edge *ed)
{
	struct queue *q = ed->q;
	struct msg_admission m = { spool_accepting(q->spool), quarantine_accepting(q), spool_free_bytes(q->spool) };
	msg_admission_put(ipc_begin(ed->chan, IPC_ADMISSION, 0), &m);
	ipc_end(ed->chan);
}

void
edge_peer(struct queue *q, unsigned index, int fd)
{
	list_each(l, &q->edges) {
		struct edge *old = list_entry(l, struct edge, link);
		if (old->index == index)
			edge_gone(old);
	}
	struct edge *ed = mem_zalloc(sizeof *ed);
	ed->q = q;
	ed->index = index;
	list_init(&ed->link);
	ed->chan = ipc_chan_new(fd, ROLE_QUEUE, ROLE_EDGE, index, &chan_ops, ed);
	list_append(&q->edges, &ed->link);
	tell_admission(ed);
}

void
edge_fini(struct queue *q)
{
	list_each(l, &q->edges)
		edge_gone(list_entry(l, struct edge, link));
}

void
edge_admission(struct queue *q)
{
	for (struct list *l = q->edges.next; l != &q->edges; l = l->next)
		tell_admission(list_entry(l, struct edge, link));
}

/* ---- what an edge may hand over ---- */

static bool
clean(struct span s, size_t max)
{
	return s.n <= max && span_is_printable(s);
}

static bool
notify_valid(uint8_t v)
{
	if (v == (NOTIFY_SUCCESS | NOTIFY_EXPANDED))
		return true;
	return v <= (NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY | NOTIFY_NEVER) && (v == NOTIFY_NEVER || (v & NOTIFY_NEVER) == 0);
}

static bool
held_valid(struct span block)
{
	struct arena a;
	struct held h;
	arena_init(&a, HELD_BYTES_MAX);
	bool ok = held_get(block, &a, &h) == RC_OK;
	arena_fini(&a);
	return ok;
}

enum rc
envelope_check(const struct envelope *env, struct err *e)
{
	if (env->nrcpt == 0 || env->nrcpt > RCPTS_MAX)
		return err_set(e, RC_PERM, "%u recipients", (unsigned)env->nrcpt);
	if (!clean(env->sender, ADDRESS_BYTES_MAX))
		return err_set(e, RC_PERM, "bad sender");
	if (!clean(env->envid, PARAM_BYTES_MAX) || !span_is_ascii(env->envid))
		return err_set(e, RC_PERM, "bad ENVID");
	if (!clean(env->client, CLIENT_BYTES_MAX))
		return err_set(e, RC_PERM, "bad client name");
	if (!clean(env->filter, PARAM_BYTES_MAX) || !clean(env->forward, FORWARD_BYTES_MAX))
		return err_set(e, RC_PERM, "bad content filter or XFORWARD attributes");
	bool held = false;
	for (uint32_t i = 0; i < env->nrcpt; i++)
		held |= env->rcpt[i].held;
	if ((held || env->held.n > 0) && !held_valid(env->held))
		return err_set(e, RC_PERM, "bad block about held mail");
	for (uint32_t i = 0; i < env->nrcpt; i++) {
		const struct env_rcpt *r = &env->rcpt[i];
		if (r->addr.n == 0 || !clean(r->addr, ADDRESS_BYTES_MAX) || !clean(r->orig, ADDRESS_BYTES_MAX))
			return err_set(e, RC_PERM, "bad recipient");
		if (!clean(r->orcpt, PARAM_BYTES_MAX) || !notify_valid(r->notify))
			return err_set(e, RC_PERM, "bad DSN parameters of a recipient");
	}
	return RC_OK;
}

/* ---- the way to the disk ---- */

static void
answer(struct edge *ed, uint64_t call, enum submit_outcome outcome, const char *reason)
{
	struct msg_submitted m = { outcome, span_str(reason) };
	msg_submitted_put(ipc_answer_begin(ed->chan, call), &m);
	ipc_end(ed->chan);
}

static void
accept_failed(struct accepting *acc)
{
	struct queue *q = acc->q;
	bool full = spool_was_full(q->spool), refused = acc->op.rc == RC_PERM;
	message_free(&q->table, &acc->m);
	if (acc->edge != NULL)
		answer(acc->edge, acc->call, refused ? SUBMIT_REFUSED : full ? SUBMIT_FULL : SUBMIT_FAILED,
		    refused ? "the queue id is in use, or the content is not what was announced" : full ? "insufficient system storage" : "queue file write error");
	if (acc->parent != NULL)
		attempt_report_done(acc->parent, false);
}

static void
accept_worked(struct accepting *acc)
{
	struct queue *q = acc->q;
	struct message *m = acc->m;
	metric_add(M_queue_accepted, 1);
	if (acc->edge != NULL)
		answer(acc->edge, acc->call, SUBMIT_OK, NULL);
	if (acc->notice != 0)
		record_notice(&acc->original, (enum record_notice)(acc->notice - 1), &m->spool.id);
	if (acc->parent != NULL)
		attempt_report_done(acc->parent, true);
	if (acc->hold)
		sched_hold(q, m);
	else
		sched_new(q, m);
}

static void
on_committed(struct op *op)
{
	struct accepting *acc = container_of(op, struct accepting, op);
	struct queue *q = acc->q;
	list_remove(&acc->link);
	if (acc->waiter != NULL)
		op_finish(&acc->waiter->op, op->rc);
	switch (op->rc) {
	case RC_OK:
		accept_worked(acc);
		break;
	case RC_NONE:
	case RC_TEMP:
	case RC_PERM:
		accept_failed(acc);
		break;
	}
	mem_free(&acc);
	sched_poke(q);
}

static struct accepting *
accepting_new(struct queue *q, const struct envelope *env, struct span encoded)
{
	struct accepting *acc = mem_zalloc(sizeof *acc);
	acc->q = q;
	op_init(&acc->op, &q->ops, on_committed);
	list_init(&acc->link);
	list_append(&q->accepting, &acc->link);
	acc->m = message_new(&q->table, env, encoded);
	acc->hold = (env->flags & MSGF_HOLD) != 0;
	return acc;
}

void
accepting_fini(struct queue *q)
{
	list_each(l, &q->accepting) {
		struct accepting *acc = list_entry(l, struct accepting, link);
		list_remove(l);
		op_cancel(&acc->op);
		if (acc->waiter != NULL)
			op_cancel(&acc->waiter->op);
		mem_free(&acc); /* the message is in the table still */
	}
}

void
accept_report(struct queue *q, struct attempt *parent, uint8_t notice, const struct spool_id *id, const struct envelope *env,
    struct span content)
{
	struct buf encoded;
	buf_init(&encoded, ENVELOPE_BYTES_MAX);
	envelope_put(&encoded, env);
	struct accepting *acc = accepting_new(q, env, buf_span(&encoded));
	acc->parent = parent;
	acc->notice = (uint8_t)(notice + 1);
	acc->original = parent->m->spool.id;
	parent->reports++;
	spool_accept(q->spool, &acc->m->spool, id, buf_span(&encoded), content, &acc->op);
	buf_fini(&encoded);
}

static void
detach_waiter(struct op *op)
{
	struct accept_wait *w = container_of(op, struct accept_wait, op);
	w->acc->waiter = NULL;
}

static const struct op_provider waiting = { "notice", detach_waiter };

void
accept_own(struct queue *q, const struct spool_id *id, const struct envelope *env, struct span content, struct accept_wait *w)
{
	struct buf encoded;
	buf_init(&encoded, ENVELOPE_BYTES_MAX);
	envelope_put(&encoded, env);
	struct accepting *acc = accepting_new(q, env, buf_span(&encoded));
	acc->waiter = w;
	if (w != NULL) {
		w->acc = acc;
		op_pend(&w->op, &waiting);
	}
	spool_accept(q->spool, &acc->m->spool, id, buf_span(&encoded), content, &acc->op);
	buf_fini(&encoded);
}

static bool
take_draft(struct edge *ed, uint64_t draft)
{
	for (size_t i = 0; i < ed->ndrafts; i++) {
		if (ed->drafts[i].draft != draft)
			continue;
		ed->drafts[i] = ed->drafts[--ed->ndrafts];
		metric_add(M_queue_drafts, -1);
		return true;
	}
	return false;
}

static void
refuse(struct edge *ed, uint64_t call, uint64_t draft, const char *why)
{
	if (draft != 0)
		spool_draft_drop(ed->q->spool, draft);
	log_warn(NULL, "a message from edge %u is refused: %s", ed->index, why);
	answer(ed, call, SUBMIT_REFUSED, why);
}

static enum rc
on_submit(struct edge *ed, uint64_t call, struct span payload)
{
	struct queue *q = ed->q;
	struct msg_submit s;
	if (msg_submit_get(payload, &s) != RC_OK)
		return RC_PERM;
	if (s.draft != 0 && !take_draft(ed, s.draft))
		return RC_PERM;
	struct spool_id id;
	char text[SPOOL_ID_TEXT];
	if (spool_id_parse(s.qid, &id) != RC_OK || !span_eq(span_of(text, spool_id_text(&id, text)), s.qid)) {
		refuse(ed, call, s.draft, "bad queue id");
		return RC_OK;
	}
	struct arena arena;
	struct envelope env;
	struct err e = { .why = "bad envelope" };
	arena_init(&arena, ENVELOPE_BYTES_MAX);
	if (envelope_get(s.envelope, &arena, &env) != RC_OK || envelope_check(&env, &e) != RC_OK || (env.flags & (MSGF_INTERNAL | MSGF_PROBE | MSGF_RELEASED))) {
		refuse(ed, call, s.draft, e.why);
	} else if (env.held.n > 0 && !quarantine_accepting(q)) { /* the edge may not have heard of it yet */
		if (s.draft != 0)
			spool_draft_drop(q->spool, s.draft);
		answer(ed, call, SUBMIT_FULL, "the quarantine takes no mail");
	} else {
		struct accepting *acc = accepting_new(q, &env, s.envelope);
		acc->edge = ed;
		acc->call = call;
		if (s.draft != 0)
			spool_accept_draft(q->spool, &acc->m->spool, &id, s.envelope, s.draft, s.content_len, s.content_crc, &acc->op);
		else
			spool_accept(q->spool, &acc->m->spool, &id, s.envelope, s.content, &acc->op);
	}
	arena_fini(&arena);
	return RC_OK;
}

static enum rc
on_draft(struct edge *ed, uint64_t call)
{
	struct queue *q = ed->q;
	struct msg_draft m = { .outcome = SUBMIT_FAILED };
	struct err e = { 0 };
	int fd = -1;
	if (ed->ndrafts < DRAFTS_MAX && spool_draft_open(q->spool, &m.draft, &fd, &e) == RC_OK) {
		m.outcome = SUBMIT_OK;
		if (ed->ndrafts == ed->cap_drafts) {
			ed->cap_drafts = ed->cap_drafts > 0 ? 2 * ed->cap_drafts : 16;
			ed->drafts = mem_reallocarray(ed->drafts, ed->cap_drafts, sizeof *ed->drafts);
		}
		ed->drafts[ed->ndrafts++] = (struct edge_draft){ m.draft, call };
		metric_add(M_queue_drafts, 1);
	} else {
		if (!spool_accepting(q->spool))
			m.outcome = SUBMIT_FULL;
		log_warn(NULL, "no draft for edge %u: %s", ed->index, e.why[0] != '\0' ? e.why : "it has too many");
	}
	msg_draft_put(ipc_answer_begin(ed->chan, call), &m);
	if (fd >= 0)
		ipc_send_fd(ed->chan, fd);
	else
		ipc_end(ed->chan);
	return RC_OK;
}

static enum rc
on_draft_drop(struct edge *ed, struct span payload)
{
	struct cur rd = cur_of(payload);
	uint64_t draft = cur_u64(&rd), call = cur_u64(&rd);
	if (!cur_done(&rd))
		return RC_PERM;
	/* who asked went before he heard its number */
	for (size_t i = 0; i < ed->ndrafts && draft == 0; i++)
		if (ed->drafts[i].call == call)
			draft = ed->drafts[i].draft;
	if (take_draft(ed, draft)) /* else it was used by a SUBMIT that crossed */
		spool_draft_drop(ed->q->spool, draft);
	return RC_OK;
}

static enum rc
on_etrn(struct edge *ed, uint64_t call, struct span payload)
{
	struct span site;
	if (msg_etrn_get(payload, &site) != RC_OK)
		return RC_PERM;
	msg_etrn_answer_put(ipc_answer_begin(ed->chan, call), sites_flush(ed->q, site));
	ipc_end(ed->chan);
	return RC_OK;
}

static enum rc
on_greylist(struct edge *ed, uint64_t call, struct span payload)
{
	struct msg_greylist m;
	if (msg_greylist_get(payload, &m) != RC_OK)
		return RC_PERM;
	struct msg_greylist_answer a = greylist_ask(&ed->q->greylist, &m, clock_wall());
	msg_greylist_answer_put(ipc_answer_begin(ed->chan, call), &a);
	ipc_end(ed->chan);
	return RC_OK;
}

static enum rc
on_triage_find(struct edge *ed, uint64_t call, struct span payload)
{
	struct ipaddr addr;
	if (msg_triage_find_get(payload, &addr) != RC_OK)
		return RC_PERM;
	struct msg_triage_found a = passes_find(&ed->q->passes, &addr);
	msg_triage_found_put(ipc_answer_begin(ed->chan, call), &a);
	ipc_end(ed->chan);
	return RC_OK;
}

static enum rc
on_triage_keep(struct edge *ed, struct span payload)
{
	struct msg_triage m;
	if (msg_triage_keep_get(payload, &m) != RC_OK)
		return RC_PERM;
	passes_keep(&ed->q->passes, &m);
	return RC_OK;
}

static enum rc
on_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	struct edge *ed = c->owner;
	if (f->type == IPC_SUBMIT)
		return on_submit(ed, f->id, f->payload);
	if (f->type == IPC_DRAFT)
		return f->payload.n == 0 ? on_draft(ed, f->id) : RC_PERM;
	if (f->type == IPC_DRAFT_DROP)
		return on_draft_drop(ed, f->payload);
	if (f->type == IPC_GREYLIST)
		return on_greylist(ed, f->id, f->payload);
	if (f->type == IPC_TRIAGE_FIND)
		return on_triage_find(ed, f->id, f->payload);
	if (f->type == IPC_TRIAGE_KEEP)
		return on_triage_keep(ed, f->payload);
	if (f->type == IPC_VERIFY)
		return verify_ask(ed->q, ed, f->id, f->payload);
	if (f->type == IPC_INSPECTED)
		return inspect_heard(ed->q, ed, f->payload);
	if (f->type == IPC_ETRN)
		return on_etrn(ed, f->id, f->payload);
	return RC_PERM;
}
