/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/relay.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "queue/record.h"
#include "queue/sched.h"
#include "queue/verify.h"

#include <fcntl.h>
#include <unistd.h>

static enum rc on_frame(struct ipc_chan *c, struct ipc_frame *f);
static void on_down(struct ipc_chan *c);
static const struct ipc_chan_ops chan_ops = { on_frame, on_down };

void
relay_peer(struct queue *q, unsigned index, int fd)
{
	list_each(l, &q->relays) {
		struct relay *old = list_entry(l, struct relay, link);
		if (old->index == index)
			relay_gone(old, old->njobs > 0 && !q->draining);
	}
	struct relay *r = mem_zalloc(sizeof *r);
	r->q = q;
	r->index = index;
	list_init(&r->link);
	list_init(&r->jobs);
	r->chan = ipc_chan_new(fd, ROLE_QUEUE, ROLE_RELAY, index, &chan_ops, r);
	list_append(&q->relays, &r->link);
	verify_relay_here(q);
	sched_poke(q);
}

/* ---- jobs ---- */

static uint64_t
job_hash(uint64_t id)
{
	return id * UINT64_C(0x9e3779b97f4a7c15) >> 16;
}

static struct job *
find_job(const struct queue *q, uint64_t id)
{
	struct hnode *n = htab_first(&q->jobs, job_hash(id));
	while (n != NULL && container_of(n, struct job, by_id)->id != id)
		n = htab_next(n);
	return n != NULL ? container_of(n, struct job, by_id) : NULL;
}

/* Takes recipients off the front of a group. */
static struct job *
take_job(struct queue *q, struct relay *r, struct group *g)
{
	struct attempt *a = g->a;
	struct dest *d = g->dest;
	uint32_t limit = d->transport->set.recipient_limit, want = g->n;
	if (limit > 0 && want > limit)
		want = limit;
	if (want > JOB_RCPT_MAX)
		want = JOB_RCPT_MAX;
	struct job *j = arena_zalloc(&a->arena, sizeof *j);
	uint32_t *rcpt = arena_alloc(&a->arena, want * sizeof *rcpt);
	BUG_ON(j == NULL || rcpt == NULL);
	size_t bytes = 0;
	while (j->n < want) {
		const struct env_rcpt *e = &a->env.rcpt[g->first];
		bytes += 32 + e->addr.n + e->orig.n + e->orcpt.n;
		if (j->n > 0 && bytes > JOB_BYTES_MAX)
			break;
		rcpt[j->n++] = g->first;
		g->first = a->next[g->first];
		g->n--;
	}
	j->rcpt = rcpt;
	j->id = ++q->next_job;
	j->a = a;
	j->dest = d;
	j->relay = r;
	htab_insert(&q->jobs, &j->by_id, job_hash(j->id));
	list_init(&j->by_relay);
	list_append(&r->jobs, &j->by_relay);
	r->njobs++;
	a->jobs++;
	spool_pin(q->spool, &a->m->spool);
	return j;
}

static void
end_job(struct job *j)
{
	struct queue *q = j->a->q;
	htab_remove(&q->jobs, &j->by_id);
	list_remove(&j->by_relay);
	j->relay->njobs--;
	j->a->jobs--;
	if (j->suspect)
		q->suspect_jobs--;
	spool_unpin(q->spool, &j->a->m->spool);
	dest_end(&q->dests, j->dest, loop_now());
}

/* Puts what the relay did not answer back in front of the line. */
static void
return_job(struct job *j)
{
	struct attempt *a = j->a;
	struct dest *d = j->dest;
	struct queue *q = a->q;
	struct group *g = arena_zalloc(&a->arena, sizeof *g);
	BUG_ON(g == NULL);
	g->a = a;
	g->dest = d;
	list_init(&g->link);
	list_init(&g->by_attempt);
	for (uint32_t i = 0; i < j->n; i++) {
		if (j->rcpt[i] == NO_RCPT)
			continue;
		a->next[j->rcpt[i]] = NO_RCPT;
		if (g->n++ == 0)
			g->first = j->rcpt[i];
		else
			a->next[g->last] = j->rcpt[i];
		g->last = j->rcpt[i];
	}
	if (g->n == 0 || a->order != ORDER_NONE)
		return;
	d->holds++;
	d->active++;
	list_append(&a->groups, &g->by_attempt);
	if (message_is_suspect(a->m))
		list_append(&q->suspects, &g->link);
	else
		list_prepend(&d->groups, &g->link);
}

/* ---- sending ---- */

bool
relay_any(const struct queue *q)
{
	for (struct list *l = q->relays.next; l != &q->relays; l = l->next)
		if (ipc_unsent(list_entry(l, struct relay, link)->chan) < RELAY_UNSENT_MAX)
			return true;
	return false;
}

/* The destination's own relay, where its connections are, unless another one has much less to do. */
struct relay *
relay_choose(struct queue *q, struct dest *d)
{
	enum { SLACK = 8 };
	struct relay *least = NULL, *home = NULL;
	unsigned count = 0;
	for (struct list *l = q->relays.next; l != &q->relays; l = l->next)
		count++;
	unsigned at = 0;
	for (struct list *l = q->relays.next; l != &q->relays; l = l->next, at++) {
		struct relay *r = list_entry(l, struct relay, link);
		if (ipc_unsent(r->chan) >= RELAY_UNSENT_MAX)
			continue;
		if (at == d->home % count)
			home = r;
		if (least == NULL || r->njobs < least->njobs)
			least = r;
	}
	return home != NULL && home->njobs <= least->njobs + SLACK ? home : least;
}

/* Makes sure that the relay can read the segment. Ascending order: new segments have higher numbers. */
static bool
give_segment(struct relay *r, uint64_t segment)
{
	size_t at = r->nsegments;
	while (at > 0 && r->segments[at - 1] >= segment)
		if (r->segments[--at] == segment)
			return true;
	int fd = spool_segment_fd(r->q->spool, segment);
	int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
	if (copy < 0)
		return false;
	if (r->nsegments == r->cap_segments) {
		r->cap_segments = r->cap_segments > 0 ? 2 * r->cap_segments : 16;
		r->segments = mem_reallocarray(r->segments, r->cap_segments, sizeof *r->segments);
	}
	memmove(r->segments + at + 1, r->segments + at, (r->nsegments - at) * sizeof *r->segments);
	r->segments[at] = segment;
	r->nsegments++;
	struct buf *b = ipc_begin(r->chan, IPC_SEGMENT, 0);
	buf_put_u64(b, segment);
	ipc_send_fd(r->chan, copy);
	return true;
}

void
relay_segment_gone(struct queue *q, uint64_t segment)
{
	for (struct list *l = q->relays.next; l != &q->relays; l = l->next) {
		struct relay *r = list_entry(l, struct relay, link);
		for (size_t i = 0; i < r->nsegments; i++) {
			if (r->segments[i] != segment)
				continue;
			memmove(r->segments + i, r->segments + i + 1, (r->nsegments - i - 1) * sizeof *r->segments);
			r->nsegments--;
			buf_put_u64(ipc_begin(r->chan, IPC_SEGMENT_GONE, 0), segment);
			ipc_end(r->chan);
			break;
		}
	}
}

static void
write_job(const struct job *j, int fd)
{
	const struct attempt *a = j->a;
	const struct spool_msg *sm = &a->m->spool;
	char id[SPOOL_ID_TEXT];
	struct msg_job head = {
		.job = j->id, .segment = sm->segment, .offset = sm->offset, .length = sm->length,
		.arrival = a->m->arrival, .active = a->active,
		.transport = span_str(j->dest->transport->name), .nexthop = dest_nexthop(j->dest),
		.qid = span_of(id, spool_id_text(&sm->id, id)), .sender = a->env.sender, .envid = a->env.envid, .forward = a->env.forward,
		.flags = a->env.flags & ~(uint32_t)(MSGF_PROBE | MSGF_TO_FILTER), .nrcpt = j->n,
	};
	head.flags |= a->env.filter.n > 0 ? (uint32_t)MSGF_TO_FILTER : 0;
	struct buf *b = ipc_begin(j->relay->chan, IPC_JOB, 0);
	msg_job_put(b, &head);
	for (uint32_t i = 0; i < j->n; i++) {
		const struct env_rcpt *e = &a->env.rcpt[j->rcpt[i]];
		struct job_rcpt r = { .index = j->rcpt[i], .notify = e->notify, .addr = e->addr, .orig = e->orig, .orcpt = e->orcpt };
		if (a->env.filter.n == 0 && a->q->router != NULL) {
			r.addr = router_address(a->q->router, e->addr);
			if (r.orig.n == 0 && !span_eq(r.addr, e->addr))
				r.orig = e->addr;
		}
		msg_job_rcpt_put(b, &r);
	}
	if (fd >= 0)
		ipc_send_fd(j->relay->chan, fd);
	else
		ipc_end(j->relay->chan);
	metric_add(M_queue_jobs, 1);
}

/* The content cannot be read: now (the recipients wait), or for good (they fail; what was left of it is in corrupt/). */
static void
cannot_read(struct job *j, bool for_good, const char *why)
{
	struct attempt *a = j->a;
	struct reason_pool *pool = &a->q->table.reasons;
	log_warn(NULL, "content of a message cannot be read: %s", why);
	struct span dsn = for_good ? SPAN("5.3.0") : SPAN("4.3.0");
	struct span text = for_good ? SPAN("the stored message is damaged") : SPAN("queue file open error");
	for (uint32_t i = 0; i < j->n; i++) {
		attempt_log(a, j->rcpt[i], "error", dsn, for_good ? "bounced" : "deferred", text);
		if (for_good)
			attempt_failed(a, j->rcpt[i], reason_get(pool, dsn, text, SPAN_EMPTY, SPAN_EMPTY));
		else
			attempt_deferred(a, j->rcpt[i], reason_get(pool, dsn, text, SPAN_EMPTY, SPAN_EMPTY));
	}
	end_job(j);
	attempt_check(a);
}

struct job *
relay_send(struct queue *q, struct relay *r, struct group *g)
{
	struct attempt *a = g->a;
	struct dest *d = g->dest;
	struct job *j = take_job(q, r, g);
	if (g->n == 0) {
		list_remove(&g->link);
	} else if (list_linked(&g->link) && !message_is_suspect(a->m)) { /* others of this destination have their turn */
		list_remove(&g->link);
		list_append(&d->groups, &g->link);
	}
	dest_begin(&q->dests, d, loop_now());
	if (g->n == 0)
		group_free(g);
	struct err e = { 0 };
	int fd = -1;
	if (a->m->spool.segment == 0) {
		enum rc rc = spool_file_open(q->spool, &a->m->spool, &fd, &e);
		if (rc != RC_OK) {
			cannot_read(j, rc == RC_PERM, e.why);
			return NULL;
		}
	} else if (!give_segment(r, a->m->spool.segment)) {
		cannot_read(j, false, "no descriptor of its journal segment");
		return NULL;
	}
	write_job(j, fd);
	return j;
}

/* One at a time; but one that waits for a slow hub has not killed anybody yet and does not hold up the others. */
static bool
suspect_may_go(const struct queue *q)
{
	return q->suspect_jobs == 0 || loop_now() >= q->suspect_since + SUSPECT_ALONE;
}

void
relay_suspects(struct queue *q)
{
	while (suspect_may_go(q) && !list_empty(&q->suspects) && relay_any(q)) {
		struct group *g = list_entry(q->suspects.next, struct group, link);
		if (dest_dead(&q->dests, g->dest, loop_now()) != NULL) {
			struct reason *dead = reason_ref(g->dest->dead_why);
			group_suspend(g, dead);
			reason_unref(&q->table.reasons, &dead);
			continue;
		}
		struct job *j = relay_send(q, relay_choose(q, g->dest), g);
		if (j != NULL) {
			j->suspect = true;
			q->suspect_jobs++;
			q->suspect_since = loop_now();
		}
	}
}

/* ---- results ---- */

/* The job's recipient with this number, NULL: none, or answered already. */
static uint32_t *
job_rcpt_slot(struct job *j, uint32_t index)
{
	for (uint32_t k = 0; k < j->n; k++) { /* results mostly come in order */
		uint32_t i = (j->answered + k) % j->n;
		if (j->rcpt[i] == index)
			return &j->rcpt[i];
	}
	return NULL;
}

static enum rc
take_result(struct job *j, const struct rcpt_result *r)
{
	struct attempt *a = j->a;
	uint32_t *slot = r->index != NO_RCPT ? job_rcpt_slot(j, r->index) : NULL;
	if (slot == NULL)
		return RC_PERM;
	*slot = NO_RCPT;
	j->answered++;
	struct reason_pool *pool = &a->q->table.reasons;
	switch (r->status) {
	case RCPT_SENT:
		attempt_sent(a, r->index, j->dest->transport->program, r);
		break;
	case RCPT_DEFERRED:
		attempt_deferred(a, r->index, reason_get(pool, r->dsn, r->text, r->mta, r->diag));
		break;
	case RCPT_BOUNCED:
		attempt_bounced(a, r->index, reason_get(pool, r->dsn, r->text, r->mta, r->diag));
		break;
	}
	return RC_OK;
}

/* What the delivery said about its destination. */
static void
take_health(struct job *j, const struct msg_job_done *done, struct span dsn)
{
	struct queue *q = j->a->q;
	struct reason *why;
	switch (done->health) {
	case JOB_HUB_OK:
		dest_worked(&q->dests, j->dest);
		break;
	case JOB_HUB_DOWN:
		why = reason_get(&q->table.reasons, dsn_code_valid(dsn) ? dsn : SPAN("4.4.1"), done->reason, SPAN_EMPTY, SPAN_EMPTY);
		if (dest_failed(&q->dests, j->dest, loop_now(), why))
			sched_dying(q, j->dest);
		reason_unref(&q->table.reasons, &why);
		break;
	case JOB_NO_ROUTE:
	case JOB_OURS:
		break;
	}
}

static void
finish_job(struct job *j, enum job_health health)
{
	struct attempt *a = j->a;
	for (uint32_t i = 0; i < j->n; i++)
		if (j->rcpt[i] != NO_RCPT && health == JOB_OURS && a->order == ORDER_NONE)
			attempt_ours(a, j->rcpt[i], j->dest->transport);
		else if (j->rcpt[i] != NO_RCPT)
			attempt_deferred(a, j->rcpt[i], reason_get(&a->q->table.reasons, SPAN("4.3.0"), SPAN("the delivery ended without a result"), SPAN_EMPTY, SPAN_EMPTY));
	if (a->m->strikes > 0) { /* this one does not kill */
		a->m->strikes = 0;
		a->changed = true;
	}
	metric_add(M_queue_jobs, -1);
	end_job(j);
	/* what is delivered is written down now when the rest may take long: the window for a duplicate is
	 * one commit, not the slowest hub */
	if (a->finished > 0 && (a->jobs > 0 || !list_empty(&a->groups)) && a->order == ORDER_NONE) {
		sched_write_state(a->q, a->m);
		a->finished = 0;
	}
	attempt_check(a);
}

static enum rc
on_job_done(struct relay *r, struct span payload)
{
	struct msg_job_done done;
	if (msg_job_done_get(payload, &done) != RC_OK)
		return RC_PERM;
	struct job *j = find_job(r->q, done.job);
	if (j == NULL) {
		enum rc rc = verify_job_done(r->q, r, &done);
		sched_poke(r->q);
		return rc;
	}
	if (j->relay != r)
		return RC_PERM;
	struct span dsn = SPAN_EMPTY;
	for (uint32_t i = 0; i < done.nresult; i++) {
		struct rcpt_result res;
		if (msg_result_get(&done.results, &res) != RC_OK || take_result(j, &res) != RC_OK)
			return RC_PERM;
		if (res.status == RCPT_DEFERRED)
			dsn = res.dsn;
	}
	if (!done.last)
		return RC_OK;
	take_health(j, &done, dsn);
	finish_job(j, done.health);
	sched_poke(r->q);
	return RC_OK;
}

static enum rc
on_frame(struct ipc_chan *c, struct ipc_frame *f)
{
	struct relay *r = c->owner;
	return f->type == IPC_JOB_DONE ? on_job_done(r, f->payload) : RC_PERM;
}

/* ---- the end of a relay ---- */

/* A message that was in a relay when it died is suspected; after the third time it is set aside. */
static void
strike(struct message *m)
{
	if (m->strikes < STRIKES_MAX)
		m->strikes++;
	if (m->strikes == STRIKES_MAX)
		record_warning(m, "three delivery processes died with this message: it is placed on hold");
}

void
relay_gone(struct relay *r, bool crashed)
{
	struct queue *q = r->q;
	list_remove(&r->link);
	verify_relay_gone(q, r);
	for (struct list *l; !list_empty(&r->jobs);) {
		l = r->jobs.next;
		struct job *j = list_entry(l, struct job, by_relay);
		struct attempt *a = j->a;
		if (crashed)
			strike(a->m);
		metric_add(M_queue_jobs, -1);
		return_job(j);
		end_job(j);
		if (a->m->strikes == STRIKES_MAX) {
			attempt_stop(a, ORDER_HOLD);
		} else {
			if (crashed || a->finished > 0)
				sched_write_state(q, a->m);
			attempt_check(a);
		}
	}
	ipc_chan_free(&r->chan);
	mem_free(&r->segments);
	mem_free(&r);
}

static void
on_down(struct ipc_chan *c)
{
	struct relay *r = c->owner;
	struct queue *q = r->q;
	relay_gone(r, !q->draining);
	sched_poke(q);
}

void
relay_fini(struct queue *q)
{
	list_each(l, &q->relays)
		relay_gone(list_entry(l, struct relay, link), false);
	htab_fini(&q->jobs);
}
