/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/inspect.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "queue/edge.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { INSPECT_FRAME_MAX = IPC_FRAME_MAX, UNSENT_MAX = 16 * 1024 * 1024 };
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
	*in = (struct inspection){ .q = q, .fd = -1 };
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
	in->fd = fd;
	inspection_start(in, fd, m, rcpts);
}

enum rc
inspection_content(const struct inspection *in, struct buf *out)
{
	const struct msg_inspected *m = &in->said;
	unsigned char *p = m->content_changed && in->fd >= 0 && m->content_len <= INSPECT_CONTENT_MAX && m->content_at <= INSPECT_CONTENT_MAX ?
	    buf_reserve(out, (size_t)m->content_len) : NULL;
	if (p == NULL || fd_pread(in->fd, p, (size_t)m->content_len, m->content_at) != 0)
		return RC_TEMP;
	buf_commit(out, (size_t)m->content_len);
	return RC_OK;
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
	if (in->fd >= 0)
		close(in->fd);
	in->fd = -1;
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
