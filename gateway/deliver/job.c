/* SPDX-License-Identifier: BSD-2-Clause */
#include "deliver/job.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/metric.h"
#include "base/seconds.h"
#include "msg/addr.h"

#include <stdarg.h>
#include <unistd.h>

enum { JOB_MAGIC = 0x10b10b10, TEXTS_MAX = 1024 * 1024, TEXT_MAX = 8192, REPORT_BYTES = IPC_FRAME_MAX - 65536, SHOWN_MAX = 4096 };

enum rc
job_begin(struct job **out, struct span payload, int fd, struct ipc_chan *queue)
{
	unsigned char *copy = mem_dup(payload.p, payload.n);
	struct msg_job m;
	if (msg_job_get(span_of(copy, payload.n), &m) != RC_OK) {
		mem_free(&copy);
		return RC_PERM;
	}
	struct job *j = mem_zalloc(sizeof *j + m.nrcpt * sizeof j->rcpt[0]);
	j->magic = JOB_MAGIC;
	j->m = m;
	j->payload = copy;
	j->queue = queue;
	j->own_fd = fd;
	j->sender = m.sender;
	j->nrcpt = j->n_open = m.nrcpt;
	j->health = JOB_NO_ROUTE;
	j->log.qid = m.qid;
	list_init(&j->link);
	arena_init(&j->arena, TEXTS_MAX);
	struct cur rd = m.rcpts;
	for (unsigned i = 0; i < j->nrcpt; i++)
		if (msg_job_rcpt_get(&rd, &j->rcpt[i].r) != RC_OK)
			BUG("job changed between two looks");
		else
			j->rcpt[i].wire = j->rcpt[i].r.addr;
	metric_add(M_relay_jobs, 1);
	*out = j;
	return RC_OK;
}

void
job_end(struct job **jp)
{
	struct job *j = *jp;
	CHECK(j, JOB_MAGIC);
	if (j->own_fd >= 0)
		close(j->own_fd);
	list_remove(&j->link);
	buf_fini(&j->head);
	outchecks_free(&j->outchecks);
	if (j->mime != NULL)
		mime7_fini(j->mime);
	mem_free(&j->mime);
	arena_fini(&j->arena);
	mem_free(&j->payload);
	metric_add(M_relay_jobs, -1);
	mem_poison(j, sizeof *j + j->nrcpt * sizeof j->rcpt[0]);
	mem_free(jp);
}

struct span
job_keep(struct job *j, struct span s)
{
	struct span kept = arena_span(&j->arena, s);
	return j->arena.over ? SPAN("(text left out)") : kept;
}

struct span
job_text(struct job *j, const char *fmt, ...)
{
	char text[TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
	return job_keep(j, span_of(text, len));
}

static void
put_since(struct buf *b, uint64_t from, uint64_t to, unsigned digits)
{
	delay_write(b, to > from && from > 0 ? to - from : 0, digits);
}

static void
log_result(struct job *j, const struct jrcpt *r, const struct outcome *out, const char *status)
{
	unsigned char text[160];
	struct buf b = { .p = text, .cap = sizeof text, .max = sizeof text - 1 };
	unsigned digits = j->set != NULL ? j->set->delay_digits : 2;
	uint64_t now = clock_wall();
	uint64_t begin = j->t_begin > 0 ? j->t_begin : now, ready = j->t_ready > 0 ? j->t_ready : now;
	/* one scratch for both texts: first delay, then the four parts of delays */
	put_since(&b, j->m.arrival, now, digits);
	struct span delay = buf_span(&b);
	put_since(&b, j->m.arrival, j->m.active, digits);
	buf_putc(&b, '/');
	put_since(&b, j->m.active, begin, digits);
	buf_putc(&b, '/');
	put_since(&b, begin, ready, digits);
	buf_putc(&b, '/');
	put_since(&b, ready, now, digits);
	struct span delays = span_from(buf_span(&b), delay.n);
	struct log_field f[9];
	size_t n = 0;
	struct buf to, orig;
	buf_init(&to, SHOWN_MAX);
	buf_init(&orig, SHOWN_MAX);
	f[n++] = F_SPAN(to, addr_shown(r->r.addr, &to));
	if (r->r.orig.n > 0 && !span_caseeq(r->r.orig, r->r.addr))
		f[n++] = F_SPAN(orig_to, addr_shown(r->r.orig, &orig));
	f[n++] = F_SPAN(relay, out->relay.n > 0 ? out->relay : SPAN("none"));
	if (j->conn_uses > 1 && out->relay.n > 0)
		f[n++] = F_NUM(conn_use, j->conn_uses);
	f[n++] = F_SPAN(delay, delay);
	f[n++] = F_SPAN(delays, delays);
	f[n++] = F_SPAN(dsn, out->dsn);
	f[n++] = F_STR(status, status);
	f[n++] = F_SPAN(text, out->text);
	log_event(EV_delivery, &j->log, f, n);
	buf_fini(&to);
	buf_fini(&orig);
}

void
job_settle(struct job *j, unsigned i, const struct outcome *out)
{
	struct jrcpt *r = &j->rcpt[i];
	BUG_ON(r->out.status != 0 || out->status == 0);
	r->out = *out;
	j->n_open--;
	if (j->m.flags & MSGF_PROBE) {
		metric_add(M_relay_probes, 1);
		log_result(j, r, out, out->status == RCPT_SENT ? "deliverable" : "undeliverable");
	} else if (out->status == RCPT_SENT) {
		metric_add(M_relay_sent, 1);
		log_result(j, r, out, "sent");
	} else if (out->status == RCPT_DEFERRED) {
		metric_add(M_relay_deferred, 1);
		log_result(j, r, out, "deferred");
	} else if (j->set != NULL && j->set->soft_bounce) {
		/* soft_bounce: what would end the message waits instead */
		unsigned char *dsn = out->dsn.n > 0 ? arena_alloc(&j->arena, out->dsn.n) : NULL;
		r->out.status = RCPT_DEFERRED;
		r->out.dsn = SPAN("4.0.0");
		if (dsn != NULL) {
			memcpy(dsn, out->dsn.p, out->dsn.n);
			dsn[0] = '4';
			r->out.dsn = span_of(dsn, out->dsn.n);
		}
		metric_add(M_relay_deferred, 1);
		log_result(j, r, out, "SOFTBOUNCE");
	} else {
		metric_add(M_relay_bounced, 1);
		log_result(j, r, out, "bounced");
	}
}

void
job_settle_open(struct job *j, const struct outcome *out)
{
	for (unsigned i = 0; i < j->nrcpt; i++)
		if (j->rcpt[i].out.status == 0)
			job_settle(j, i, out);
}

void
job_postpone(struct job *j, unsigned i, const struct outcome *out)
{
	struct outcome kept = *out;
	kept.status = RCPT_DEFERRED;
	if (j->is_last_hop) {
		job_settle(j, i, &kept);
		return;
	}
	kept.status = 0;
	j->rcpt[i].out = kept;
}

static void
begin_report(struct job *j, struct buf *b, bool last, uint32_t n)
{
	struct msg_job_done d = {
		.job = j->m.job,
		.last = last,
		.health = j->health,
		.reason = j->health == JOB_HUB_OK ? SPAN_EMPTY : j->health_why,
		.nresult = n,
	};
	msg_job_done_put(b, &d);
}

static size_t
result_size(const struct jrcpt *r)
{
	return 64 + r->out.dsn.n + r->out.text.n + r->out.mta.n + r->out.diag.n;
}

/* How many unreported results from *from on fit into one frame. */
static uint32_t
count_results(const struct job *j, size_t *bytes)
{
	uint32_t n = 0;
	*bytes = 1024 + j->health_why.n;
	for (unsigned i = 0; i < j->nrcpt; i++) {
		const struct jrcpt *r = &j->rcpt[i];
		if (r->out.status == 0 || r->reported)
			continue;
		if (n > 0 && *bytes + result_size(r) > REPORT_BYTES)
			break;
		*bytes += result_size(r);
		n++;
	}
	return n;
}

void
job_report(struct job *j, bool last)
{
	unsigned waiting = 0;
	for (unsigned i = 0; i < j->nrcpt; i++)
		waiting += j->rcpt[i].out.status != 0 && !j->rcpt[i].reported;
	while (waiting > 0 || last) {
		size_t bytes;
		uint32_t n = count_results(j, &bytes);
		bool is_end = last && n == waiting;
		struct buf *b = ipc_begin(j->queue, IPC_JOB_DONE, 0);
		begin_report(j, b, is_end, n);
		for (unsigned i = 0, put = 0; i < j->nrcpt && put < n; i++) {
			struct jrcpt *r = &j->rcpt[i];
			if (r->out.status == 0 || r->reported)
				continue;
			struct rcpt_result res = {
				.index = r->r.index,
				.status = r->out.status,
				.dsn_passed = r->dsn_passed && r->out.status == RCPT_SENT,
				.dsn = r->out.dsn,
				.text = r->out.text,
				.mta = r->out.mta,
				.diag = r->out.diag,
			};
			msg_result_put(b, &res);
			r->reported = true;
			put++;
		}
		ipc_end(j->queue);
		waiting -= n;
		if (is_end)
			return;
	}
}
