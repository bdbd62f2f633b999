/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/queue.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/metric.h"
#include "lookup/lookup.h"
#include "queue/answer.h"
#include "queue/attempt.h"
#include "queue/edge.h"
#include "queue/notices.h"
#include "queue/inspect_own.h"
#include "queue/relay.h"
#include "queue/requests.h"
#include "queue/rescan.h"
#include "queue/sched.h"
#include "queue/sites.h"
#include "queue/state.h"
#include "queue/status.h"
#include "queue/verify.h"

#include <limits.h>
#include <unistd.h>

/* ---- what the spool asks of its owner ---- */

/* Rows that recovery found; placed in the schedule when all are there. */
static struct spool_msg *
on_recovered(void *owner, const struct spool_id *id, struct span envelope, struct span state)
{
	struct queue *q = owner;
	(void)id;
	struct arena arena;
	struct envelope env;
	struct message *m = NULL;
	arena_init(&arena, 64 * 1024 * 1024);
	if (envelope_get(envelope, &arena, &env) == RC_OK && envelope_check(&env, NULL) == RC_OK) {
		struct state_head h;
		m = message_new(&q->table, &env, envelope);
		if (state.n == 0 || state_get(state, &h, &q->table, m) != RC_OK) {
			/* released mail without a state waits for a word of the quarantine (mend.c) */
			bool in_limbo = (env.flags & MSGF_RELEASED) && state.n == 0;
			message_set_queue(&q->table, m, in_limbo ? MQ_NONE : (env.flags & MSGF_HOLD) && state.n == 0 ? MQ_HOLD : MQ_INCOMING);
		} else {
			m->strikes = h.strikes;
			m->flags = h.flags | MF_HAS_STATE;
			message_set_queue(&q->table, m, h.held ? MQ_HOLD : h.tried ? MQ_DEFERRED : MQ_INCOMING);
			m->due.key = h.next_attempt; /* wall clock until place_recovered() */
		}
	}
	arena_fini(&arena);
	return m != NULL ? &m->spool : NULL;
}

static void
on_describe(void *owner, struct spool_msg *sm, struct buf *envelope_out, struct buf *state_out)
{
	struct message *m = container_of(sm, struct message, spool);
	buf_put(envelope_out, message_envelope(m));
	if (m->flags & MF_HAS_STATE)
		sched_state_head(owner, m, state_out);
}

static void
on_segment_gone(void *owner, uint64_t segment)
{
	relay_segment_gone(owner, segment);
}

static void
on_admission(void *owner, bool accepting, uint64_t free_bytes)
{
	(void)accepting, (void)free_bytes;
	edge_admission(owner);
}

static const struct spool_ops spool_ops = {
	.recovered = on_recovered,
	.describe = on_describe,
	.segment_gone = on_segment_gone,
	.admission = on_admission,
};

/* ---- parts, for the role and for tests ---- */

void
queue_init(struct queue *q, const struct queue_settings *set)
{
	*q = (struct queue){ .set = *set };
	message_table_init(&q->table);
	dest_set_init(&q->dests, &q->table.reasons, &q->set);
	list_init(&q->attempts);
	list_init(&q->relays);
	list_init(&q->edges);
	list_init(&q->accepting);
	list_init(&q->inspections);
	list_init(&q->looked_at);
	list_init(&q->answers);
	list_init(&q->sites);
	list_init(&q->quarantine.puts);
	list_init(&q->quarantine.releases);
	list_init(&q->quarantine.limbo);
	list_init(&q->quarantine.works);
	op_owner_init(&q->ops);
	sched_init(q);
}

enum rc
queue_open_spool(struct queue *q, const struct spool_settings *s, struct err *e)
{
	return spool_open(&q->spool, s, &spool_ops, q, e);
}

/* Late messages come back over a time that grows with their number: no herd after a restart. */
static void
place_recovered(struct queue *q)
{
	enum { PER_SECOND = 500 };
	uint64_t ramp = q->table.in_queue[MQ_DEFERRED] * USEC_PER_SEC / PER_SECOND, newest = 0;
	if (ramp > q->set.minimal_backoff)
		ramp = q->set.minimal_backoff;
	list_each(l, &q->table.all) {
		struct message *m = list_entry(l, struct message, all);
		if (m->arrival > newest)
			newest = m->arrival;
		if (m->queue == MQ_INCOMING) {
			heap_put(&q->incoming, &m->due, q->next_seq++);
		} else if (m->queue == MQ_DEFERRED) {
			uint64_t due = m->due.key;
			if (due > newest && due - newest < q->set.maximal_backoff)
				newest = due;
			sched_recovered(q, m, due, ramp);
		}
	}
	/* long down, or another clock: what is over age gets another chance first */
	uint64_t now = clock_wall();
	if (q->table.count > 0 && now > newest && now - newest > 3600 * USEC_PER_SEC)
		sched_was_away(q, now - newest);
}

enum rc
queue_recover(struct queue *q, struct err *e)
{
	struct spool_report r;
	if (spool_recover(q->spool, &r, e) != RC_OK)
		return e->rc;
	if (r.messages > 0 || r.damaged_places > 0 || r.set_aside > 0 || r.torn_bytes > 0)
		log_info(NULL, "spool: %llu messages found in %llu records, %llu bytes, %llu ms; torn tail %llu bytes", (unsigned long long)r.messages,
		    (unsigned long long)r.records, (unsigned long long)r.bytes, (unsigned long long)(r.usec / 1000), (unsigned long long)r.torn_bytes);
	if (r.damaged_places > 0)
		log_warn(NULL, "spool: the journal is damaged in %llu places, %llu bytes", (unsigned long long)r.damaged_places,
		    (unsigned long long)r.damaged_bytes);
	if (r.set_aside > 0)
		log_warn(NULL, "spool: %llu files were set aside in corrupt/", (unsigned long long)r.set_aside);
	place_recovered(q);
	sched_poke(q);
	return RC_OK;
}

void
queue_peer(struct queue *q, enum role peer, unsigned index, int fd)
{
	if (peer == ROLE_EDGE)
		edge_peer(q, index, fd);
	else if (peer == ROLE_RELAY)
		relay_peer(q, index, fd);
	else
		close(fd);
}

bool
queue_idle(const struct queue *q)
{
	return q->jobs.count == 0 && list_empty(&q->accepting) && quarantine_idle(q) && spool_draft_count(q->spool) == 0;
}

void
queue_drain(struct queue *q)
{
	q->draining = true;
	sched_stop(q);
	sched_poke(q);
}

void
queue_fini(struct queue *q)
{
	q->draining = true;
	answers_fini(&q->answers);
	rescan_fini(q);
	notices_free(&q->notices);
	quarantine_fini(q);
	inspect_fini(q);
	verify_fini(q);
	sites_fini(q);
	greylist_close(&q->greylist);
	passes_close(&q->passes);
	edge_fini(q);
	relay_fini(q);
	spool_close(&q->spool); /* commits what is pending; the table is still there for describe() */
	accepting_fini(q);
	list_each(l, &q->attempts)
		attempt_abandon(list_entry(l, struct attempt, link));
	list_each(l, &q->table.all)
		sched_take(q, list_entry(l, struct message, all));
	ops_cancel_all(&q->ops);
	sched_fini(q);
	dest_set_fini(&q->dests);
	message_table_fini(&q->table);
	router_free(&q->router);
	conf_unref(&q->conf);
}

/* ---- the role ---- */

static struct queue the_queue;

/* The spool has a directory of its own, made by the master for the queue's user: what lies beside it belongs
 * to the master. */
static struct spool_settings
spool_settings_of(const struct conf *c, char dir[PATH_MAX])
{
	const struct params *p = conf_params(c);
	snprintf(dir, PATH_MAX, "%s/spool", p->p_queue_directory);
	return (struct spool_settings){
		.dir = dir,
		.segment_bytes = (uint64_t)p->p_spool_segment_size,
		.segments_min = (unsigned)p->p_spool_segments_min,
		.segments_max = (unsigned)p->p_spool_segments_max,
		.inline_max = (uint64_t)p->p_spool_inline_limit,
		.reserve_bytes = (uint64_t)p->p_queue_minfree,
	};
}

static enum rc
role_start(struct child *ch, struct err *e)
{
	struct queue *q = &the_queue;
	struct queue_settings set;
	struct quar_settings held;
	struct notices_settings *notices;
	if (settings_read(&set, ch->conf, e) != RC_OK || quar_settings_read(ch->conf, &held, e) != RC_OK)
		return e->rc;
	queue_init(q, &set);
	q->child = ch;
	q->conf = conf_ref(ch->conf);
	enum rc rc = router_open(q->conf, &q->router, e);
	if (rc == RC_OK)
		rc = notices_settings_open(q->conf, &notices, e);
	if (rc != RC_OK)
		return rc;
	q->notices = notices_new(q, notices);
	char dir[PATH_MAX];
	struct spool_settings s = spool_settings_of(q->conf, dir);
	struct err why;
	if (greylist_open(&q->greylist, dir, (size_t)conf_params(q->conf)->p_greylist_size_limit, &why) != RC_OK)
		log_warn(NULL, "greylisting is not available: %s", why.why);
	const struct params *p = conf_params(q->conf);
	if (passes_open(&q->passes, dir, (size_t)p->p_postscreen_cache_size_limit, p->p_postscreen_cache_cleanup_interval, &why) != RC_OK)
		log_warn(NULL, "triage: nothing is remembered of clients that passed: %s", why.why);
	verify_open(q, dir);
	quarantine_open(q, &held);
	return queue_open_spool(q, &s, e);
}

static enum rc
role_ready(struct child *ch, struct err *e)
{
	(void)ch;
	struct queue *q = &the_queue;
	quarantine_start(q);
	if (queue_recover(q, e) != RC_OK)
		return e->rc;
	quarantine_recovered(q);
	rescan_start(q, q->conf);
	return RC_OK;
}

static enum rc
role_reload(struct child *ch, struct conf *new_conf, struct err *e)
{
	(void)ch;
	struct queue *q = &the_queue;
	struct queue_settings set, old = q->set;
	struct router *router;
	struct quar_settings held;
	struct notices_settings *notices;
	if (settings_read(&set, new_conf, e) != RC_OK || quar_settings_read(new_conf, &held, e) != RC_OK || router_open(new_conf, &router, e) != RC_OK)
		return e->rc;
	if (notices_settings_open(new_conf, &notices, e) != RC_OK) {
		router_free(&router);
		return e->rc;
	}
	q->set = set;
	if (transports_reload(&q->dests, new_conf, e) != RC_OK) {
		q->set = old;
		router_free(&router);
		notices_settings_free(&notices);
		return e->rc;
	}
	notices_reload(q->notices, notices);
	char dir[PATH_MAX];
	struct spool_settings s = spool_settings_of(new_conf, dir);
	spool_reconfigure(q->spool, &s);
	router_free(&q->router);
	q->router = router;
	conf_unref(&q->conf);
	q->conf = conf_ref(new_conf);
	verify_reload(q);
	quarantine_reconfigure(q, &held);
	rescan_reload(q, new_conf);
	sched_poke(q);
	return RC_OK;
}

static void
role_peer(struct child *ch, enum role peer, unsigned index, int fd)
{
	if (peer == ROLE_LOOKUP)
		lookup_peer(ch, index, fd);
	else
		queue_peer(&the_queue, peer, index, fd);
}

static void
role_admin(struct child *ch, struct span line, int fd)
{
	(void)ch;
	request_start(&the_queue, line, fd);
}

static void
role_status(struct child *ch, struct buf *json_out)
{
	(void)ch;
	queue_status(&the_queue, json_out);
}

static void
role_remarks(struct child *ch, struct buf *out)
{
	(void)ch;
	quarantine_remarks(&the_queue, out);
}

/* Looked at after every turn: whatever was under way may have ended in it. */
static struct loop_hook drain_hook;

static void
on_turn_end(struct loop_hook *h)
{
	struct queue *q = &the_queue;
	if (!queue_idle(q))
		return;
	loop_hook_remove(h);
	queue_fini(q);
	child_exit(q->child);
}

static void
role_drain(struct child *ch)
{
	(void)ch;
	queue_drain(&the_queue);
	loop_hook_add(&drain_hook, LOOP_FLUSH_LAST, on_turn_end);
}

const struct role_ops queue_role = {
	.role = ROLE_QUEUE,
	.start = role_start,
	.ready = role_ready,
	.reload = role_reload,
	.peer = role_peer,
	.admin = role_admin,
	.status = role_status,
	.remarks = role_remarks,
	.drain = role_drain,
};
