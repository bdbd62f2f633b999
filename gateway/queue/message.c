/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/message.h"

#include "base/mem.h"

static const char *const queue_names[MQ_QUEUES] = { "none", "incoming", "active", "deferred", "hold" };

const char *
message_queue_name(enum message_queue q)
{
	return queue_names[q];
}

enum message_queue
message_queue_of(struct span name)
{
	for (int q = MQ_INCOMING; q < MQ_QUEUES; q++)
		if (span_eq_str(name, queue_names[q]))
			return (enum message_queue)q;
	return MQ_NONE;
}

void
message_table_init(struct message_table *t)
{
	*t = (struct message_table){ 0 };
	list_init(&t->all);
	list_init(&t->walkers);
}

void
message_table_fini(struct message_table *t)
{
	list_each(l, &t->all) {
		struct message *m = list_entry(l, struct message, all);
		message_free(t, &m);
	}
	reason_pool_fini(&t->reasons);
}

struct message *
message_new(struct message_table *t, const struct envelope *env, struct span encoded)
{
	size_t fixed = offsetof(struct message, why);
	struct message *m = mem_alloc(fixed + env->nrcpt * (sizeof m->why[0] + 1) + encoded.n);
	memset(m, 0, fixed);
	m->arrival = env->arrival;
	m->nrcpt = m->open = env->nrcpt;
	m->env_len = (uint32_t)encoded.n;
	for (uint32_t i = 0; i < m->nrcpt; i++)
		m->why[i] = NULL;
	uint8_t *tail = message_status(m);
	memset(tail, RS_OPEN, m->nrcpt);
	memcpy(tail + m->nrcpt, encoded.p, encoded.n);
	list_init(&m->all);
	list_append(&t->all, &m->all);
	t->count++;
	t->in_queue[MQ_NONE]++;
	return m;
}

static struct message *
follower(struct message_table *t, struct message *m)
{
	return m->all.next != &t->all ? list_entry(m->all.next, struct message, all) : NULL;
}

void
message_free(struct message_table *t, struct message **mp)
{
	struct message *m = *mp;
	*mp = NULL;
	BUG_ON(m->due.slot != 0);
	list_each(l, &t->walkers) {
		struct message_walker *w = list_entry(l, struct message_walker, link);
		if (w->at == m)
			w->at = follower(t, m);
	}
	for (uint32_t i = 0; i < m->nrcpt; i++)
		reason_unref(&t->reasons, &m->why[i]);
	list_remove(&m->all);
	t->count--;
	t->in_queue[m->queue]--;
	mem_poison(m, offsetof(struct message, why));
	mem_free(&m);
}

void
message_decode(const struct message *m, struct arena *a, struct envelope *out)
{
	if (envelope_get(message_envelope(m), a, out) != RC_OK)
		BUG("the envelope was checked when the message was taken");
}

void
message_set_queue(struct message_table *t, struct message *m, enum message_queue q)
{
	t->in_queue[m->queue]--;
	m->queue = (uint8_t)q;
	t->in_queue[q]++;
}

void
message_set_status(struct message *m, uint32_t rcpt, enum rcpt_state s)
{
	uint8_t *status = message_status(m);
	if (status[rcpt] == RS_OPEN && s != RS_OPEN)
		m->open--;
	else if (status[rcpt] != RS_OPEN && s == RS_OPEN)
		m->open++;
	status[rcpt] = (uint8_t)s;
}

void
message_set_why(struct message_table *t, struct message *m, uint32_t rcpt, struct reason *why)
{
	reason_unref(&t->reasons, &m->why[rcpt]);
	m->why[rcpt] = why;
}

void
message_walk(struct message_table *t, struct message_walker *w)
{
	list_init(&w->link);
	list_append(&t->walkers, &w->link);
	w->at = list_empty(&t->all) ? NULL : list_entry(t->all.next, struct message, all);
	w->left = t->count;
}

struct message *
message_next(struct message_table *t, struct message_walker *w)
{
	struct message *m = w->at;
	if (m == NULL || w->left == 0)
		return NULL;
	w->left--;
	w->at = follower(t, m);
	return m;
}

void
message_walk_end(struct message_walker *w)
{
	if (w->link.next != NULL)
		list_remove(&w->link);
	w->at = NULL;
}
