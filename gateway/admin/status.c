/* SPDX-License-Identifier: BSD-2-Clause */
#include "admin/status.h"

#include "admin/certs.h"
#include "admin/filterprocs.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "ipc/msgs.h"

#include <unistd.h>

static const uint64_t TIMEOUT = 5 * USEC_PER_SEC;

struct status_call {
	struct ipc_call call;
	struct status *status;
	struct proc *proc;
	bool asked, answered;
};

struct status {
	struct op_owner ops;
	struct procs *procs;
	const struct listen_set *listeners;
	const struct filewatch *tables;
	struct control_client *client;
	bool as_json;
	unsigned pending;
	struct grave grave;
	size_t count;
	struct status_call calls[];
};

static void
dig(struct grave *g)
{
	struct status *s = container_of(g, struct status, grave);
	mem_free(&s);
}

static const char *
state_text(const struct status_call *c)
{
	switch (c->proc->state) {
	case PROC_DOWN: return "down";
	case PROC_STARTING: return "starting";
	case PROC_READY: return c->answered ? "ready" : "silent";
	case PROC_DRAINING: return "stopping";
	}
	return "unknown";
}

/* A role that is not wanted is not missing. */
static bool
is_shown(const struct proc *pr)
{
	return pr->is_wanted || pr->pid > 0;
}

/* A role that is down has no process: 0 would be everybody for kill(1). */
static void
pid_put(struct buf *out, const char *fmt, pid_t pid, const char *none)
{
	if (pid > 0)
		buf_printf(out, fmt, (int)pid);
	else
		buf_puts(out, none);
}

static void
sum_metrics(const struct status *s, int64_t sum[M_COUNT])
{
	memcpy(sum, metric_values, sizeof metric_values); /* the master's own */
	for (size_t i = 0; i < s->count; i++) {
		struct msg_status m;
		if (!s->calls[i].answered || msg_status_get(buf_span(&s->calls[i].call.reply), &m) != RC_OK || m.n != M_COUNT)
			continue;
		for (int k = 0; k < M_COUNT; k++)
			sum[k] += (int64_t)cur_u64(&m.values);
	}
}

static void
put_metrics(struct buf *out, const int64_t values[M_COUNT])
{
	buf_puts(out, "{");
	for (int k = 0; k < M_COUNT; k++)
		buf_printf(out, "%s\"%s\":%lld", k > 0 ? "," : "", metric_name((enum metric_id)k), (long long)values[k]);
	buf_puts(out, "}");
}

static void
put_json(const struct status *s, struct buf *out)
{
	int64_t sum[M_COUNT];
	sum_metrics(s, sum);
	buf_printf(out, "{\"running\":true,\"pid\":%d,\"listeners\":[", (int)getpid());
	for (size_t i = 0; i < s->listeners->count; i++) {
		buf_puts(out, i > 0 ? ",\"" : "\"");
		listen_text(&s->listeners->socket[i], out);
		buf_puts(out, "\"");
	}
	buf_puts(out, "],\"roles\":[");
	bool first = true;
	for (size_t i = 0; i < s->count; i++) {
		const struct status_call *c = &s->calls[i];
		struct msg_status m;
		if (!is_shown(c->proc))
			continue;
		buf_printf(out, "%s{\"role\":\"%s\",\"index\":%u,\"state\":\"%s\",\"restarts\":%u", first ? "" : ",",
		    role_name(c->proc->role), c->proc->index, state_text(c), c->proc->restarts);
		if (c->answered && msg_status_get(buf_span(&c->call.reply), &m) == RC_OK) {
			buf_puts(out, ",");
			buf_put(out, m.json_members);
			int64_t own[M_COUNT] = { 0 };
			for (int k = 0; k < M_COUNT && m.n == M_COUNT; k++)
				own[k] = (int64_t)cur_u64(&m.values);
			buf_puts(out, ",\"metrics\":");
			put_metrics(out, own);
		} else {
			pid_put(out, ",\"pid\":%d", c->proc->pid, ",\"pid\":null");
		}
		buf_puts(out, "}");
		first = false;
	}
	buf_puts(out, "],\"filters\":[");
	filterprocs_json(out);
	buf_puts(out, "],\"tables\":{");
	filewatch_json(s->tables, out);
	buf_puts(out, "},\"certificates\":[");
	certs_json(s->procs->conf, out);
	buf_puts(out, "],\"metrics\":");
	put_metrics(out, sum);
	buf_puts(out, "}\n");
}

/* What roles say needs looking at, a line each. A role that has been taken over writes no
 * control characters to a terminal. */
static void
put_remarks(const struct status *s, struct buf *out)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct status_call *c = &s->calls[i];
		struct msg_status m;
		if (!c->answered || msg_status_get(buf_span(&c->call.reply), &m) != RC_OK)
			continue;
		struct span line;
		while (span_word(&m.remarks, "\n", &line)) {
			buf_printf(out, "%-6s %u  ", role_name(c->proc->role), c->proc->index);
			buf_put_safe(out, line, 1000, true);
			buf_puts(out, "\n");
		}
	}
}

static void
put_text(const struct status *s, struct buf *out)
{
	int64_t sum[M_COUNT];
	sum_metrics(s, sum);
	buf_printf(out, "the Dogana mail system is running: PID: %d\n", (int)getpid());
	for (size_t i = 0; i < s->listeners->count; i++) {
		buf_puts(out, "listening on ");
		listen_text(&s->listeners->socket[i], out);
		buf_printf(out, " (%s)\n", s->listeners->socket[i].service);
	}
	for (size_t i = 0; i < s->count; i++) {
		const struct status_call *c = &s->calls[i];
		if (!is_shown(c->proc))
			continue;
		buf_printf(out, "%-6s %u  pid ", role_name(c->proc->role), c->proc->index);
		pid_put(out, "%-7d", c->proc->pid, "-      ");
		buf_printf(out, " %-9s", state_text(c));
		if (c->proc->restarts > 0)
			buf_printf(out, " %u restarts", c->proc->restarts);
		buf_puts(out, "\n");
	}
	filterprocs_text(out);
	filewatch_text(s->tables, out);
	put_remarks(s, out);
	certs_text(s->procs->conf, out);
	for (int k = 0; k < M_COUNT; k++)
		if (sum[k] != 0)
			buf_printf(out, "  %-24s %12lld  %s\n", metric_name((enum metric_id)k), (long long)sum[k], metric_doc((enum metric_id)k));
}

static void
finish(struct status *s)
{
	struct buf out;
	buf_init(&out, 4 * 1024 * 1024);
	if (s->as_json)
		put_json(s, &out);
	else
		put_text(s, &out);
	control_reply(s->client, true, buf_span(&out));
	buf_fini(&out);
	for (size_t i = 0; i < s->count; i++)
		if (s->calls[i].asked)
			ipc_call_fini(&s->calls[i].call);
	loop_bury(&s->grave, dig);
}

static void
on_answer(struct op *op)
{
	struct status_call *c = container_of(op, struct status_call, call.op);
	c->answered = op->rc == RC_OK;
	if (--c->status->pending == 0)
		finish(c->status);
}

void
status_start(struct procs *p, const struct listen_set *listeners, const struct filewatch *tables, struct control_client *client, bool as_json)
{
	struct status *s = mem_zalloc(sizeof *s + p->count * sizeof s->calls[0]);
	s->procs = p;
	s->listeners = listeners;
	s->tables = tables;
	s->as_json = as_json;
	s->count = p->count;
	s->pending = 1;
	op_owner_init(&s->ops);
	control_on_gone(client, &s->client);
	for (size_t i = 0; i < p->count; i++) {
		struct status_call *c = &s->calls[i];
		c->status = s;
		c->proc = &p->proc[i];
		if (p->proc[i].chan == NULL)
			continue;
		c->asked = true;
		s->pending++;
		ipc_call_init(&c->call, &s->ops, on_answer);
		(void)ipc_call_begin(&c->call, p->proc[i].chan, IPC_STATUS);
		ipc_call_send(&c->call, TIMEOUT);
	}
	if (--s->pending == 0)
		finish(s);
}
