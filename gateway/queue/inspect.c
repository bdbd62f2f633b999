/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/inspect.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/attempt.h"
#include "queue/edge.h"
#include "queue/sched.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { INSPECT_FRAME_MAX = IPC_FRAME_MAX, ENVELOPE_MAX = 4 * 1024 * 1024, UNSENT_MAX = 16 * 1024 * 1024 };
#define INSPECT_USEC (UINT64_C(900) * USEC_PER_SEC) /* a milter that hangs has given up long before */

/* ---- one question ---- */

static void
detach(struct op *op)
{
	struct inspection *in = container_of(op, struct inspection, op);
	list_remove(&in->link);
	timer_clear(&in->timer);
}

static const struct op_provider provider = { "inspection", detach };

static void
finish(struct inspection *in)
{
	list_remove(&in->link);
	timer_clear(&in->timer);
	in->edge = NULL;
	op_finish(&in->op, RC_OK);
}

static void
not_now(struct inspection *in, const char *why)
{
	in->said = (struct msg_inspected){ .outcome = INSPECT_NOT_NOW, .text = span_str(why) };
	finish(in);
}

static void
on_time(struct timer *t)
{
	not_now(container_of(t, struct inspection, timer), "no answer");
}

void
inspection_init(struct inspection *in, struct queue *q, struct op_owner *owner, op_fn *done)
{
	*in = (struct inspection){ .q = q };
	list_init(&in->link);
	op_init(&in->op, owner, done);
	timer_init(&in->timer, on_time);
	buf_init(&in->texts, INSPECT_FRAME_MAX);
}

/* The one with the least to read. */
static struct edge *
choose(struct queue *q)
{
	struct edge *best = NULL;
	list_each(l, &q->edges) {
		struct edge *ed = list_entry(l, struct edge, link);
		if (best == NULL || ipc_unsent(ed->chan) < ipc_unsent(best->chan))
			best = ed;
	}
	return best != NULL && ipc_unsent(best->chan) < UNSENT_MAX ? best : NULL;
}

void
inspection_start(struct inspection *in, int fd, struct msg_inspect *m, const struct span *rcpts)
{
	struct queue *q = in->q;
	op_pend(&in->op, &provider);
	list_append(&q->inspections, &in->link);
	in->edge = choose(q);
	int copy = in->edge != NULL && fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
	if (copy < 0) {
		not_now(in, in->edge == NULL ? "no process is there that could ask a filter" : "the content cannot be handed over");
		return;
	}
	m->number = in->number = ++q->next_inspection;
	struct buf *b = ipc_begin(in->edge->chan, IPC_INSPECT, 0);
	msg_inspect_put(b, m);
	for (uint32_t i = 0; i < m->nrcpt; i++)
		msg_inspect_rcpt_put(b, rcpts[i]);
	ipc_send_fd(in->edge->chan, copy);
	timer_set(&in->timer, INSPECT_USEC);
}

void
inspection_start_mem(struct inspection *in, struct span content, struct msg_inspect *m, const struct span *rcpts)
{
	int fd = memfd_create("inspect", MFD_CLOEXEC);
	if (fd >= 0 && fd_write(fd, content) != 0) {
		close(fd);
		fd = -1;
	}
	m->offset = 0;
	m->length = content.n;
	inspection_start(in, fd, m, rcpts);
	if (fd >= 0)
		close(fd);
}

void
inspection_fini(struct inspection *in)
{
	if (in->q == NULL)
		return;
	op_cancel(&in->op);
	list_remove(&in->link);
	timer_clear(&in->timer);
	buf_fini(&in->texts);
	in->q = NULL;
}

enum rc
inspect_heard(struct queue *q, const struct edge *ed, struct span payload)
{
	struct msg_inspected m;
	if (msg_inspected_get(payload, &m) != RC_OK || !span_is_printable(m.text) || !span_is_printable(m.milter))
		return RC_PERM;
	list_each(l, &q->inspections) {
		struct inspection *in = list_entry(l, struct inspection, link);
		if (in->edge != ed || in->number != m.number)
			continue;
		buf_put(&in->texts, payload);
		if (in->texts.over || msg_inspected_get(buf_span(&in->texts), &in->said) != RC_OK)
			not_now(in, "the answer is too large");
		else
			finish(in);
		break;
	}
	return RC_OK;
}

void
inspect_edge_gone(struct queue *q, const struct edge *ed)
{
	list_each(l, &q->inspections) {
		struct inspection *in = list_entry(l, struct inspection, link);
		if (in->edge == ed)
			not_now(in, "the process that asked the filter has gone");
	}
}

/* ---- mail of our own ---- */

struct looked_at {
	struct inspection in;
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
	inspection_fini(&r->in);
	buf_fini(&r->content);
	arena_fini(&r->arena);
	mem_free(&r);
}

/* The content with the header that milters made. */
static void
take_header(struct looked_at *r)
{
	struct span all = buf_span(&r->content), header = r->in.said.header;
	struct buf b;
	size_t end = span_find(all, SPAN("\r\n\r\n"));
	buf_init(&b, INSPECT_CONTENT_MAX);
	buf_put(&b, header);
	buf_put(&b, end == SIZE_MAX ? SPAN_EMPTY : span_from(all, end + 2));
	buf_fini(&r->content);
	r->content = b;
}

static void
on_said(struct op *op)
{
	struct looked_at *r = container_of(op, struct looked_at, in.op);
	struct queue *q = r->in.q;
	struct attempt *a = r->parent;
	const struct msg_inspected *m = &r->in.said;
	char text[SPOOL_ID_TEXT];
	struct log_ctx ctx = { .qid = span_of(text, spool_id_text(&r->id, text)) };
	const char *by = m->milter.n > 0 ? "milter" : "filter";
	switch (m->outcome) {
	case INSPECT_REFUSE:
	case INSPECT_DISCARD:
		log_warn(&ctx, "mail of our own is not sent: %s %.*s: %.*s", by, (int)m->milter.n, (const char *)m->milter.p, (int)m->text.n, (const char *)m->text.p);
		attempt_report_done(a, true);
		break;
	case INSPECT_NOT_NOW:
		log_warn(&ctx, "mail of our own has to wait: %s %.*s: %.*s", by, (int)m->milter.n, (const char *)m->milter.p, (int)m->text.n, (const char *)m->text.p);
		attempt_report_done(a, false);
		break;
	case INSPECT_HOLD:
	case INSPECT_PASS:
		r->env.flags |= m->outcome == INSPECT_HOLD ? MSGF_HOLD : 0;
		if (m->header_changed)
			take_header(r);
		a->reports--; /* it counts itself */
		accept_report(q, a, r->notice, &r->id, &r->env, buf_span(&r->content));
		break;
	}
	forget(r);
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
