/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/remote.h"

#include "base/mem.h"
#include "base/metric.h"
#include "loop/loop.h"
#include "map/remote_table.h"

static const uint64_t MOMENT = 1000000;   /* usec: how long an answer stays that nobody holds */
static const uint64_t PATIENCE = 2000000; /* usec: with a lookup process that is not there (yet, or again) */

enum question_state { Q_NEW = 0, Q_ASKED, Q_ANSWERED };

/* One key of one table. Lives while it is noted, asked, or held by a wait, and a moment longer. */
struct map_question {
	struct hnode by_key;
	struct list noted;           /* in the list of that name */
	struct list kept;            /* in the list of that name: answered, nobody holds it */
	struct list parked;          /* in the list of that name: to be asked as soon as somebody carries it */
	struct list holds;           /* struct hold.by_question */
	enum question_state state;
	bool is_lost;                /* the lookup process died with it once */
	uint64_t parked_until;
	enum rc rc;
	uint64_t kept_until;
	struct span value;           /* owned */
	size_t table_n, key_n;
	unsigned char bytes[];       /* table, key */
};

/* A wait holds a question. */
struct hold {
	struct list by_wait, by_question;
	struct map_wait *wait;
	struct map_question *question;
	bool waits;                  /* counted in wait->left */
};

static struct htab questions;
static struct list noted = { &noted, &noted }, kept = { &kept, &kept }, parked = { &parked, &parked };
static size_t nnoted, nkept, kept_bytes, answer_bytes, in_flight; /* in flight: parked ones, too */
static uint64_t nlookups;
static struct timer sweeper, patience;
static map_carrier_fn *carrier;
static map_direct_fn *direct;

/* ---- questions ---- */

static uint64_t
hash_of(struct span table, struct span key)
{
	return span_hash(key) ^ (span_hash(table) * UINT64_C(0x9e3779b97f4a7c15));
}

static struct span
table_of(const struct map_question *q)
{
	return span_of(q->bytes, q->table_n);
}

static struct span
key_of(const struct map_question *q)
{
	return span_of(q->bytes + q->table_n, q->key_n);
}

static struct map_question *
question_find(struct span table, struct span key)
{
	for (struct hnode *n = htab_first(&questions, hash_of(table, key)); n != NULL; n = htab_next(n)) {
		struct map_question *q = container_of(n, struct map_question, by_key);
		if (span_eq(table_of(q), table) && span_eq(key_of(q), key))
			return q;
	}
	return NULL;
}

static struct map_question *
question_new(struct span table, struct span key)
{
	struct map_question *q = mem_zalloc(sizeof *q + table.n + key.n);
	q->table_n = table.n;
	q->key_n = key.n;
	memcpy(q->bytes, table.p, table.n);
	memcpy(q->bytes + table.n, key.p, key.n);
	list_init(&q->noted);
	list_init(&q->kept);
	list_init(&q->parked);
	list_init(&q->holds);
	htab_insert(&questions, &q->by_key, hash_of(table, key));
	return q;
}

static void
note(struct map_question *q)
{
	if (list_linked(&q->noted))
		return;
	list_append(&noted, &q->noted);
	nnoted++;
}

static void
unnote(struct map_question *q)
{
	if (!list_linked(&q->noted))
		return;
	list_remove(&q->noted);
	nnoted--;
}

static struct map_question *
first_noted(void)
{
	return list_empty(&noted) ? NULL : list_entry(noted.next, struct map_question, noted);
}

static void
keep(struct map_question *q)
{
	list_append(&kept, &q->kept);
	nkept++;
	kept_bytes += q->value.n + q->key_n;
}

/* Somebody holds it again, or it goes. */
static void
unkeep(struct map_question *q)
{
	if (!list_linked(&q->kept))
		return;
	list_remove(&q->kept);
	nkept--;
	kept_bytes -= q->value.n + q->key_n;
}

static void
question_free(struct map_question *q)
{
	BUG_ON(q->state == Q_ASKED || !list_empty(&q->holds));
	unkeep(q);
	unnote(q);
	htab_remove(&questions, &q->by_key);
	if (questions.count == 0)
		htab_fini(&questions);
	answer_bytes -= q->value.n;
	free((void *)(uintptr_t)q->value.p);
	mem_free(&q);
}

static void
on_sweep(struct timer *t)
{
	uint64_t now = loop_now();
	while (!list_empty(&kept)) {
		struct map_question *q = list_entry(kept.next, struct map_question, kept);
		if (q->kept_until > now) {
			timer_set(t, q->kept_until - now);
			return;
		}
		question_free(q);
	}
}

/* Nobody holds it: what was never asked goes, an answer stays for a moment. */
static void
question_let_go(struct map_question *q)
{
	if (!list_empty(&q->holds) || list_linked(&q->noted) || q->state == Q_ASKED)
		return;
	if (q->state == Q_NEW) {
		question_free(q);
		return;
	}
	if (list_linked(&q->kept))
		return;
	q->kept_until = loop_now() + MOMENT;
	keep(q);
	while (nkept > REMOTE_KEPT_MAX || kept_bytes > REMOTE_KEPT_BYTES)
		question_free(list_entry(kept.next, struct map_question, kept));
	if (!sweeper.inited)
		timer_init(&sweeper, on_sweep);
	if (!sweeper.armed && nkept > 0)
		timer_set(&sweeper, MOMENT);
}

static void
set_answer(struct map_question *q, enum rc rc, struct span text)
{
	if (answer_bytes + text.n > REMOTE_ANSWER_BYTES) {
		metric_add(M_lookup_limit, 1);
		rc = RC_TEMP;
		text = SPAN("too much of the answers is still in use");
	}
	answer_bytes += text.n;
	q->state = Q_ANSWERED;
	q->rc = rc;
	q->value = span_of(mem_dup(text.p, text.n), text.n);
	unnote(q);
	for (struct list *l = q->holds.next; l != &q->holds; l = l->next) {
		struct hold *h = list_entry(l, struct hold, by_question);
		if (!h->waits)
			continue;
		h->waits = false;
		if (--h->wait->left == 0)
			op_finish(&h->wait->op, RC_OK);
	}
	question_let_go(q);
}

void
map_remote_answer(struct map_question *q, enum rc rc, struct span text)
{
	BUG_ON(q->state != Q_ASKED);
	in_flight--;
	list_remove(&q->parked);
	if (rc == RC_TEMP || rc == RC_PERM)
		metric_add(M_lookup_failures, 1);
	set_answer(q, rc, text);
}

/* ---- on their way ---- */

static void
on_patience(struct timer *t)
{
	while (!list_empty(&parked)) {
		struct map_question *q = list_entry(parked.next, struct map_question, parked);
		if (q->parked_until > loop_now()) {
			timer_set(t, q->parked_until - loop_now());
			return;
		}
		map_remote_answer(q, RC_TEMP, SPAN("there is no lookup process"));
	}
}

/* A lookup process that was killed is back in a moment, and one that is just being started comes with the first mail. */
static void
park(struct map_question *q)
{
	q->parked_until = loop_now() + PATIENCE;
	list_append(&parked, &q->parked);
	if (!patience.inited)
		timer_init(&patience, on_patience);
	if (!patience.armed)
		timer_set(&patience, PATIENCE);
}

static void
hand_over(struct map_question *q)
{
	if (carrier == NULL)
		park(q);
	else if (!carrier(q, table_of(q), key_of(q)))
		map_remote_answer(q, RC_TEMP, SPAN("the lookup process does not take questions"));
}

static void
question_ask(struct map_question *q)
{
	q->state = Q_ASKED;
	if (++in_flight > REMOTE_FLIGHTS_MAX) {
		metric_add(M_lookup_limit, 1);
		map_remote_answer(q, RC_TEMP, SPAN("too many questions are under way"));
		return;
	}
	metric_add(M_lookup_queries, 1);
	hand_over(q);
}

void
map_remote_carrier(map_carrier_fn *carry)
{
	struct list waiting;
	carrier = carry;
	if (carry == NULL)
		return;
	list_init(&waiting);
	list_splice(&waiting, &parked);
	for (struct list *l; (l = list_pop(&waiting)) != NULL;)
		hand_over(list_entry(l, struct map_question, parked));
}

void
map_remote_lost(struct map_question *q)
{
	BUG_ON(q->state != Q_ASKED);
	if (q->is_lost) {
		map_remote_answer(q, RC_TEMP, SPAN("the lookup process died"));
		return;
	}
	q->is_lost = true;
	hand_over(q);
}

uint64_t
map_remote_lookups(void)
{
	return nlookups;
}

void
map_remote_direct(map_direct_fn *fn)
{
	direct = fn;
}

/* ---- lookups ---- */

/* As Postfix: with SMTPUTF8 a value is UTF-8; a NUL is never part of one. */
static const char *
wrong_with(const struct remote_table *t, struct span value)
{
	if (span_chr(value, '\0') != SIZE_MAX)
		return "the result has a NUL byte";
	return conf_params(t->conf)->p_smtputf8_enable && !span_is_utf8(value) ? "the result is not UTF-8" : NULL;
}

static enum rc
give(const struct remote_table *t, const char *name, enum rc rc, struct span text, struct buf *scratch, struct span *value_out, struct err *e)
{
	switch (rc) {
	case RC_OK:
		if (wrong_with(t, text) != NULL)
			return err_set(e, RC_TEMP, "%s lookup error: %s", name, wrong_with(t, text));
		buf_reset(scratch);
		buf_put(scratch, text);
		if (scratch->over)
			return err_set(e, RC_TEMP, "%s: result too long", name);
		*value_out = buf_span(scratch);
		return RC_OK;
	case RC_NONE:
		return RC_NONE;
	case RC_TEMP:
	case RC_PERM:
		break;
	}
	return err_set(e, rc, "%s lookup error: %.*s", name, (int)span_head(text, 200).n, (const char *)text.p);
}

static enum rc
ask_directly(const struct remote_table *t, const char *name, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	struct buf value;
	struct err why = { 0 };
	buf_init(&value, REMOTE_VALUE_MAX);
	enum rc rc = direct(t->conf, name, key, &value, &why);
	rc = give(t, name, rc, rc == RC_OK ? buf_span(&value) : span_str(why.why), scratch, value_out, e);
	buf_fini(&value);
	return rc;
}

enum rc
remote_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	const struct remote_table *t = m->state;
	nlookups++;
	enum rc rc = remote_table_takes(t, key, e);
	if (rc != RC_OK)
		return rc;
	if (key.n > REMOTE_KEY_MAX)
		return err_set(e, RC_TEMP, "%s: key too long", m->name);
	if (direct != NULL)
		return ask_directly(t, m->name, key, scratch, value_out, e);
	if (conf_is_loader(t->conf))
		return err_set(e, RC_TEMP, "%s: not asked while the configuration is read", m->name);
	struct span table = span_str(m->name);
	struct map_question *q = question_find(table, key);
	if (q != NULL && q->state == Q_ANSWERED) {
		if (!list_linked(&q->kept) || q->kept_until > loop_now())
			return give(t, m->name, q->rc, q->value, scratch, value_out, e);
		question_free(q);
		q = NULL;
	}
	if (q == NULL)
		q = question_new(table, key);
	note(q);
	return err_set(e, RC_TEMP, "%s: still being asked", m->name);
}

bool
map_asked(void)
{
	return !list_empty(&noted);
}

bool
map_asks_more(void)
{
	size_t room = in_flight < REMOTE_FLIGHTS_MAX ? REMOTE_FLIGHTS_MAX - in_flight : 0;
	return nnoted < REMOTE_STEP_MAX && nnoted < room / 2;
}

void
map_forget(void)
{
	for (struct map_question *q; (q = first_noted()) != NULL;) {
		unnote(q);
		question_let_go(q);
	}
}

/* ---- waits ---- */

/* The owner gave up: questions under way go on, nobody is told. */
static void
detach(struct op *op)
{
	struct map_wait *w = container_of(op, struct map_wait, op);
	for (struct list *l = w->questions.next; l != &w->questions; l = l->next)
		list_entry(l, struct hold, by_wait)->waits = false;
	w->left = 0;
}

static const struct op_provider provider = { "maps", detach };

void
map_wait_init(struct map_wait *w, struct op_owner *owner, op_fn *done)
{
	*w = (struct map_wait){ 0 };
	op_init(&w->op, owner, done);
	list_init(&w->questions);
}

static struct hold *
hold_new(struct map_wait *w, struct map_question *q)
{
	struct hold *h = mem_zalloc(sizeof *h);
	list_init(&h->by_wait);
	list_init(&h->by_question);
	h->wait = w;
	h->question = q;
	list_append(&w->questions, &h->by_wait);
	list_append(&q->holds, &h->by_question);
	unkeep(q);
	return h;
}

void
map_wait_start(struct map_wait *w)
{
	op_pend(&w->op, &provider);
	w->left = 1; /* not done before all are on their way */
	for (struct map_question *q; (q = first_noted()) != NULL;) {
		unnote(q);
		struct hold *h = hold_new(w, q);
		if (q->state == Q_ANSWERED)
			continue;
		h->waits = true;
		w->left++;
		if (q->state == Q_NEW)
			question_ask(q);
	}
	if (--w->left == 0)
		op_finish(&w->op, RC_OK);
}

void
map_wait_fini(struct map_wait *w)
{
	if (w->op.magic == 0)
		return;
	op_cancel(&w->op);
	for (struct list *l; (l = list_pop(&w->questions)) != NULL;) {
		struct hold *h = list_entry(l, struct hold, by_wait);
		list_remove(&h->by_question);
		question_let_go(h->question);
		mem_free(&h);
	}
}
