/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * changes.c - what changes something: file first, then row, in the writer's transaction.
 *
 * The row says what was answered, the file what is known when the index is lost. They differ only after a crash or a failure in the
 * middle: a file that says "releasing" where the row says "held" is a release nobody was told of, and counts as held; a file that
 * says "released" or more is believed.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "quarantine/internal.h"
#include "quarantine/rows.h"

/* ---- put ---- */

static bool
is_clean(const struct envelope *env)
{
	if (env->sender.n > 1024 || !span_is_printable(env->sender))
		return false;
	for (uint32_t i = 0; i < env->nrcpt; i++)
		if (env->rcpt[i].addr.n == 0 || env->rcpt[i].addr.n > 1024 || !span_is_printable(env->rcpt[i].addr))
			return false;
	return true;
}

static enum rc
put_row(struct quar_writer *w, struct quar_job *j)
{
	struct err *e = &j->why;
	enum rc rc = rows_find(&w->db, &j->id, &j->n, e);
	if (rc == RC_OK) {
		bool changed;
		return rows_merge(&w->db, j->n, &j->view, false, &changed, e);
	}
	if (rc != RC_NONE)
		return rc;
	rc = rows_insert(&w->db, j->n, &j->view, j->is_new ? &j->held : NULL, j->size, e);
	if (rc == RC_OK)
		rc = j->is_new ? attach_put(w, j->n, &j->id, j->view.c.length, &j->held, e) : attach_put_view(w, j->n, &j->view, e);
	if (rc != RC_OK || !w->has_gone)
		return rc;
	/* deleted before, and its file not yet gone: it is a message again */
	sqlite3_stmt *s = qdb_stmt(&w->db, SQL_GONE_DROP, e);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, j->id.usec);
	qdb_int(s, 2, j->id.serial);
	return qdb_run(&w->db, s, e);
}

static void
put(struct quar_writer *w, struct quar_job *j)
{
	struct quar *q = w->q;
	if (held_get(j->env.held, &j->arena, &j->held) != RC_OK || !is_clean(&j->env) || j->id.usec >= QUAR_USEC_MAX) {
		j->rc = err_set(&j->why, RC_PERM, "its envelope or why it was held cannot be read");
		return;
	}
	bool has_room = writer_has_room(w, j->file.length);
	pthread_mutex_lock(&q->lock);
	if (j->req != NULL || j->file.fd < 0)
		q->copying = j;
	bool is_wanted = q->copying == j;
	pthread_mutex_unlock(&q->lock);
	if (!is_wanted)
		j->rc = err_set(&j->why, RC_TEMP, "cancelled");
	else if (!has_room)
		j->rc = err_set(&j->why, RC_TEMP, "less than quarantine_minfree would be free");
	else
		j->rc = qfile_put(&w->files, &j->file, &w->scratch, &j->arena, &j->view, &j->is_new, &j->size, &j->why);
	pthread_mutex_lock(&q->lock);
	q->copying = NULL;
	pthread_cond_broadcast(&q->copied);
	pthread_mutex_unlock(&q->lock);
	if (j->rc != RC_OK)
		return;
	struct qrec_common c = { .id = j->id, .length = j->file.length };
	if (j->is_new && !qview_init(&j->view, &c, &j->env, j->file.numbers, j->file.n, &j->arena)) {
		j->rc = err_set(&j->why, RC_TEMP, "too many recipients");
		return;
	}
	j->touched = true;
	j->rc = put_row(w, j);
	if (j->rc == RC_PERM && j->is_new)
		(void)qfile_remove(&w->files, &j->id);
}

/* ---- states ---- */

/* A message as it stands: recipients of its row, brought up to what its file knows. */
struct standing {
	struct quar_rcpt *rcpt;
	uint32_t *numbers, n;
	bool has_file;
};

static enum rc
stand(struct quar_writer *w, struct quar_job *j, struct standing *out)
{
	struct err *e = &j->why, why;
	enum rc rc = writer_find(w, &j->id, &j->n, e);
	if (rc != RC_OK)
		return rc;
	rc = rows_rcpt(&w->db, j->n, &j->arena, QUAR_RCPT_MAX * 2, &out->rcpt, &out->numbers, &out->n, e);
	if (rc != RC_OK)
		return rc;
	rc = qfile_view(&w->files, &j->id, &j->tail, &j->arena, &j->view, NULL, NULL, &why);
	out->has_file = rc == RC_OK;
	if (rc == RC_TEMP)
		return err_set(e, RC_TEMP, "%s", why.why);
	for (uint32_t i = 0; i < out->n && out->has_file; i++) {
		const struct quar_rcpt *r = qview_rcpt(&j->view, out->numbers[i]);
		if (r != NULL && rows_rank(r->state) >= rows_rank(QUAR_RELEASED) && rows_rank(r->state) > rows_rank(out->rcpt[i].state)) {
			/* a crash came between the two: what the file knows is what happened */
			const struct qnote_rcpt one = { .number = out->numbers[i] };
			const struct qnote note = { .state = r->state, .copy = r->copy, .when = r->changed, .by = r->by, .n = 1, .rcpt = &one };
			out->rcpt[i].state = r->state;
			out->rcpt[i].copy = r->copy;
			if ((rc = rows_set(&w->db, j->n, &note, e)) != RC_OK)
				return rc;
		}
	}
	return RC_OK;
}

static bool
is_named(const struct quar_job *j, struct span addr)
{
	for (size_t i = 0; i < j->naddrs; i++)
		if (span_caseeq(j->addrs[i], addr))
			return true;
	return j->naddrs == 0;
}

/* Recipients a change is about, as they will be; j->note and the results. */
struct chosen {
	struct qnote_rcpt *rcpt;
	struct quar_rcpt *shown;
	uint32_t n, room;
};

static bool
choose(struct quar_job *j, struct chosen *c, uint32_t number, const struct quar_rcpt *r)
{
	if (c->n == c->room) {
		uint32_t room = c->room == 0 ? 8 : 2 * c->room;
		struct qnote_rcpt *rcpt = arena_zalloc(&j->arena, room * sizeof *rcpt);
		struct quar_rcpt *shown = arena_zalloc(&j->arena, room * sizeof *shown);
		if (rcpt == NULL || shown == NULL)
			return false;
		if (c->n > 0) {
			memcpy(rcpt, c->rcpt, c->n * sizeof *rcpt);
			memcpy(shown, c->shown, c->n * sizeof *shown);
		}
		c->rcpt = rcpt;
		c->shown = shown;
		c->room = room;
	}
	c->rcpt[c->n] = (struct qnote_rcpt){ .number = number, .added = r->added ? r->addr : SPAN_EMPTY };
	c->shown[c->n++] = *r;
	return true;
}

/* Writes what was chosen to file and row. */
static enum rc
apply(struct quar_writer *w, struct quar_job *j, const struct standing *st, const struct chosen *c, enum quar_state state)
{
	j->note = (struct qnote){ .state = state, .copy = j->copy, .when = clock_wall(), .by = j->who, .n = c->n, .rcpt = c->rcpt };
	enum rc rc = RC_OK;
	if (st->has_file)
		rc = qfile_note(&w->files, &j->view, &j->arena, &j->note, &j->why);
	if (rc == RC_OK)
		rc = rows_set(&w->db, j->n, &j->note, &j->why);
	for (uint32_t i = 0; i < c->n; i++) {
		c->shown[i].state = state;
		c->shown[i].copy = j->copy;
		c->shown[i].changed = j->note.when;
		c->shown[i].by = j->who;
	}
	j->res.rcpt = c->shown;
	j->res.nrcpt = c->n;
	j->res.id = j->id;
	return rc;
}

static enum rc
no_memory(struct quar_job *j)
{
	return err_set(&j->why, RC_TEMP, "too many recipients");
}

/* Addresses that are no recipients get a row, once. */
static bool
add_others(struct quar_job *j, const struct standing *st, struct chosen *c)
{
	uint32_t next = j->view.next_number;
	for (size_t k = 0; k < j->naddrs; k++) {
		bool is_there = false;
		for (uint32_t i = 0; i < st->n && !is_there; i++)
			is_there = span_caseeq(st->rcpt[i].addr, j->addrs[k]);
		for (uint32_t i = 0; i < c->n && !is_there; i++)
			is_there = span_caseeq(c->shown[i].addr, j->addrs[k]);
		struct quar_rcpt r = { .addr = j->addrs[k], .added = true, .state = QUAR_HELD };
		if (!is_there && !choose(j, c, next++, &r))
			return false;
	}
	return true;
}

static enum rc
begin(struct quar_writer *w, struct quar_job *j)
{
	struct standing st;
	struct chosen c = { .n = 0 };
	enum rc rc = stand(w, j, &st);
	if (rc != RC_OK)
		return rc;
	if (!st.has_file)
		return err_set(&j->why, RC_PERM, "its file is gone or damaged");
	for (uint32_t i = 0; i < st.n; i++) {
		const struct quar_rcpt *r = &st.rcpt[i];
		/* an added address whose copy was given up may be asked for again */
		bool is_free = r->state == QUAR_HELD || (r->added && r->state == QUAR_DELETED && j->flag && j->naddrs > 0);
		if (is_free && is_named(j, r->addr) && !choose(j, &c, st.numbers[i], r))
			return no_memory(j);
	}
	if (j->flag && !add_others(j, &st, &c))
		return no_memory(j);
	if (c.n == 0)
		return err_set(&j->why, RC_NONE, "nobody it was asked for is held");
	return apply(w, j, &st, &c, QUAR_RELEASING);
}

/* The copy is made, or it is not going to be. */
static enum rc
end(struct quar_writer *w, struct quar_job *j, bool is_made)
{
	struct standing st;
	struct chosen held = { .n = 0 }, added = { .n = 0 };
	enum rc rc = stand(w, j, &st);
	if (rc != RC_OK)
		return rc;
	for (uint32_t i = 0; i < st.n; i++) {
		const struct quar_rcpt *r = &st.rcpt[i];
		if (r->state != QUAR_RELEASING || r->copy.usec != j->copy.usec || r->copy.serial != j->copy.serial)
			continue;
		if (!choose(j, !is_made && r->added ? &added : &held, st.numbers[i], r))
			return no_memory(j);
	}
	if (held.n + added.n == 0)
		return err_set(&j->why, RC_NONE, "nobody is being released as that copy");
	if (!is_made)
		j->copy = (struct spool_id){ 0, 0 };
	if (added.n > 0 && (rc = apply(w, j, &st, &added, QUAR_DELETED)) != RC_OK)
		return rc;
	return held.n > 0 ? apply(w, j, &st, &held, is_made ? QUAR_RELEASED : QUAR_HELD) : RC_OK;
}

static enum rc
delete(struct quar_writer *w, struct quar_job *j)
{
	struct standing st;
	struct chosen c = { .n = 0 };
	uint32_t busy = 0, left = 0;
	enum rc rc = stand(w, j, &st);
	if (rc != RC_OK)
		return rc;
	for (uint32_t i = 0; i < st.n; i++) {
		const struct quar_rcpt *r = &st.rcpt[i];
		bool is_meant = is_named(j, r->addr);
		if (r->state == QUAR_DELETED)
			continue;
		if (r->state == QUAR_RELEASING || !is_meant) {
			busy += r->state == QUAR_RELEASING && is_meant;
			left++;
			continue;
		}
		if (!choose(j, &c, st.numbers[i], r))
			return no_memory(j);
	}
	if (c.n == 0 && left > 0)
		return busy > 0 ? err_set(&j->why, RC_TEMP, "it is being released") : err_set(&j->why, RC_NONE, "nobody it was asked for is there");
	j->copy = (struct spool_id){ 0, 0 };
	if (left > 0)
		return apply(w, j, &st, &c, QUAR_DELETED);
	for (uint32_t i = 0; i < c.n; i++)
		c.shown[i].state = QUAR_DELETED;
	j->res.rcpt = c.shown;
	j->res.nrcpt = c.n;
	j->res.id = j->id;
	return writer_remove(w, j->n, &j->id, &j->why);
}

static enum rc
outcome(struct quar_writer *w, struct quar_job *j)
{
	sqlite3_stmt *s = qdb_stmt(&w->db, SQL_RCPT_COPY, &j->why);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, j->copy.usec);
	qdb_int(s, 2, j->copy.serial);
	qdb_text(s, 3, j->who);
	enum rc rc = qdb_step(&w->db, s, &j->why);
	if (rc == RC_NONE && j->other.n > 0) {
		qdb_text(s, 3, j->other); /* the step has reset it */
		rc = qdb_step(&w->db, s, &j->why);
	}
	if (rc != RC_OK)
		return rc;
	uint64_t n = qdb_column(s, 0), number = qdb_column(s, 1);
	(void)sqlite3_reset(s);
	struct qnote_rcpt one = { .number = (uint32_t)number };
	struct qnote note = { .state = j->flag ? QUAR_DELIVERED : QUAR_RETURNED, .copy = j->copy, .when = clock_wall(), .n = 1, .rcpt = &one };
	return rows_set(&w->db, n, &note, &j->why);
}

/* ---- tables beside the messages ---- */

static enum rc
allow(struct quar_writer *w, struct quar_job *j)
{
	bool add = j->kind == QJOB_ALLOW_ADD;
	sqlite3_stmt *s = qdb_stmt(&w->db, add ? SQL_ALLOW_SET : SQL_ALLOW_DROP, &j->why);
	if (s == NULL)
		return RC_TEMP;
	qdb_text(s, 1, j->allow.sender);
	qdb_text(s, 2, j->allow.recipient);
	if (add) {
		qdb_text(s, 3, j->allow.by);
		qdb_text(s, 4, j->allow.note);
		qdb_int(s, 5, j->allow.added);
	}
	enum rc rc = qdb_run(&w->db, s, &j->why);
	return rc == RC_OK && !add && sqlite3_changes(w->db.db) == 0 ? err_set(&j->why, RC_NONE, "not in the table") : rc;
}

/* What is put after this is behind the round's back: rows say so, and it is announced by the next one. */
static enum rc
told_begin(struct quar_writer *w, struct quar_job *j)
{
	sqlite3_stmt *s = qdb_stmt(&w->db, SQL_META_SET, &j->why);
	if (s == NULL)
		return RC_TEMP;
	if (j->upto <= w->db.round)
		j->upto = w->db.round + 1; /* the clock was set back */
	qdb_text(s, 1, SPAN("round"));
	qdb_int(s, 2, j->upto);
	enum rc rc = qdb_run(&w->db, s, &j->why);
	if (rc == RC_OK)
		j->res.cursor = w->db.round = j->upto;
	return rc;
}

static enum rc
told(struct quar_writer *w, struct quar_job *j)
{
	sqlite3_stmt *s = qdb_stmt(&w->db, SQL_TOLD_SET, &j->why);
	if (s == NULL)
		return RC_TEMP;
	qdb_text(s, 1, j->who);
	qdb_int(s, 2, j->upto);
	enum rc rc = qdb_run(&w->db, s, &j->why);
	if (rc != RC_OK || (s = qdb_stmt(&w->db, SQL_LATE_TOLD, &j->why)) == NULL)
		return RC_TEMP;
	qdb_text(s, 1, j->who);
	qdb_int(s, 2, j->upto);
	return qdb_run(&w->db, s, &j->why);
}

void
change_run(struct quar_writer *w, struct quar_job *j)
{
	switch (j->kind) {
	case QJOB_PUT: put(w, j); return;
	case QJOB_BEGIN: j->rc = begin(w, j); return;
	case QJOB_FINISH: j->rc = end(w, j, true); return;
	case QJOB_UNDO: j->rc = end(w, j, false); return;
	case QJOB_OUTCOME: j->rc = outcome(w, j); return;
	case QJOB_DELETE: j->rc = delete(w, j); return;
	case QJOB_ALLOW_ADD: case QJOB_ALLOW_REMOVE: j->rc = allow(w, j); return;
	case QJOB_TOLD_BEGIN: j->rc = told_begin(w, j); return;
	case QJOB_TOLD_SET: j->rc = told(w, j); return;
	case QJOB_EXPIRE: case QJOB_CHECK: case QJOB_GET: case QJOB_LIST: case QJOB_CONTENT: case QJOB_STATS: case QJOB_PENDING:
	case QJOB_TOLD_LIST: case QJOB_CHECK_INDEX: case QJOB_ALLOW_LIST:
		BUG("not a change");
	}
}
