/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/rows.h"

#include "quarantine/attachments.h"

enum rc
rows_find(struct qdb *d, const struct spool_id *id, uint64_t *n_out, struct err *e)
{
	uint64_t low = qdb_n(id->usec), want = low + (id->serial & 0xff), used = 0;
	bool taken = false;
	if (id->usec >= QUAR_USEC_MAX)
		return err_set(e, RC_PERM, "an id of the far future");
	if (low > d->newest) { /* as nearly all are that come */
		*n_out = want;
		return RC_NONE;
	}
	sqlite3_stmt *s = qdb_stmt(d, SQL_MSG_NEAR, e);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, low);
	qdb_int(s, 2, low + 0xff);
	enum rc rc;
	/* two messages of one microsecond: the second goes to the next free place, round the 256 */
	uint8_t place = (uint8_t)id->serial, free_place = place;
	bool is_used[256] = { false };
	while ((rc = qdb_step(d, s, e)) == RC_OK) {
		uint64_t n = qdb_column(s, 0);
		if (qdb_column(s, 1) == id->serial) {
			*n_out = n;
			(void)sqlite3_reset(s);
			return RC_OK;
		}
		is_used[n & 0xff] = true;
		taken |= n == want;
		used++;
	}
	if (rc != RC_NONE)
		return rc;
	if (used == 256)
		return err_set(e, RC_PERM, "too many ids of one microsecond");
	while (taken && is_used[free_place])
		free_place++;
	*n_out = low + free_place;
	return RC_NONE;
}

/* ---- words ---- */

/* The texts that are found: subject, sender and From, recipients; always the same for the same rows. */
static enum rc
words_of(struct qdb *d, uint64_t n, struct buf *subject, struct buf *sender, struct buf *rcpt, struct err *e)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_MSG_GET, e);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, n);
	enum rc rc = qdb_step(d, s, e);
	if (rc == RC_OK) {
		buf_put(sender, qdb_column_text(s, 2));
		buf_putc(sender, ' ');
		buf_put(sender, qdb_column_text(s, 4));
		buf_put(subject, qdb_column_text(s, 3));
		(void)sqlite3_reset(s);
	}
	if (rc != RC_OK || (s = qdb_stmt(d, SQL_RCPT_TEXT, e)) == NULL)
		return rc == RC_OK ? RC_TEMP : rc;
	qdb_int(s, 1, n);
	qdb_int(s, 2, ROWS_TEXT_RCPT);
	while ((rc = qdb_step(d, s, e)) == RC_OK) {
		buf_put(rcpt, qdb_column_text(s, 0));
		buf_putc(rcpt, ' ');
	}
	return rc == RC_NONE ? RC_OK : rc;
}

/* The same without asking, for a row that has just been made from a view in order; false: it is not. */
static bool
words_of_view(const struct qview *v, const struct held *h, struct buf *subject, struct buf *sender, struct buf *rcpt)
{
	if (v->nsorted != v->nrcpt)
		return false;
	buf_put(sender, v->env.sender);
	buf_putc(sender, ' ');
	buf_put(sender, h->from);
	buf_put(subject, h->subject);
	for (uint32_t i = 0, n = 0; i < v->nrcpt && n < ROWS_TEXT_RCPT; i++) {
		if (v->rcpt[i].added)
			continue;
		buf_put(rcpt, v->rcpt[i].addr);
		buf_putc(rcpt, ' ');
		n++;
	}
	return true;
}

/* v and h: NULL, or what the row was made from. */
static enum rc
put_words(struct qdb *d, enum qdb_statement which, uint64_t n, const struct qview *v, const struct held *h, struct err *e)
{
	struct buf subject, sender, rcpt;
	buf_init(&subject, 1 << 20);
	buf_init(&sender, 1 << 20);
	buf_init(&rcpt, 1 << 20);
	enum rc rc = v != NULL && words_of_view(v, h, &subject, &sender, &rcpt) ? RC_OK : words_of(d, n, &subject, &sender, &rcpt, e);
	sqlite3_stmt *s = rc == RC_OK ? qdb_stmt(d, which, e) : NULL;
	if (s != NULL) {
		qdb_int(s, 1, n);
		qdb_text(s, 2, buf_span(&subject));
		qdb_text(s, 3, buf_span(&sender));
		qdb_text(s, 4, buf_span(&rcpt));
		rc = qdb_run(d, s, e);
	} else if (rc == RC_OK) {
		rc = RC_TEMP;
	}
	buf_fini(&subject);
	buf_fini(&sender);
	buf_fini(&rcpt);
	return rc;
}

/* ---- recipients ---- */

static enum rc
insert_rcpt(struct qdb *d, uint64_t n, uint32_t number, const struct quar_rcpt *r, struct err *e)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_RCPT_INSERT, e);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, n);
	qdb_int(s, 2, number);
	qdb_text(s, 3, r->addr);
	qdb_int(s, 4, r->state);
	qdb_int(s, 5, r->added);
	qdb_text(s, 6, r->orig);
	qdb_text(s, 7, r->orcpt);
	qdb_int(s, 8, r->notify);
	qdb_int(s, 9, r->copy.usec);
	qdb_int(s, 10, r->copy.serial);
	qdb_int(s, 11, r->changed);
	qdb_text(s, 12, r->by);
	enum rc rc = qdb_run(d, s, e);
	if (rc != RC_OK || r->state != QUAR_HELD || qdb_usec(n) >= d->round)
		return rc;
	/* a round of digests went past it */
	if ((s = qdb_stmt(d, SQL_LATE_ADD, e)) == NULL)
		return RC_TEMP;
	qdb_text(s, 1, r->addr);
	qdb_int(s, 2, n);
	qdb_int(s, 3, d->round);
	return qdb_run(d, s, e);
}

static enum rc
set_rcpt(struct qdb *d, uint64_t n, uint32_t number, const struct quar_rcpt *r, struct err *e)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_RCPT_SET, e);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, n);
	qdb_int(s, 2, number);
	qdb_int(s, 3, r->state);
	qdb_int(s, 4, r->copy.usec);
	qdb_int(s, 5, r->copy.serial);
	qdb_int(s, 6, r->changed);
	qdb_text(s, 7, r->by);
	return qdb_run(d, s, e);
}

enum rc
rows_rcpt(struct qdb *d, uint64_t n, struct arena *a, uint32_t cap, struct quar_rcpt **out, uint32_t **numbers_out, uint32_t *count_out, struct err *e)
{
	uint32_t room = 4, count = 0;
	struct quar_rcpt *list = arena_zalloc(a, room * sizeof *list);
	uint32_t *numbers = arena_zalloc(a, room * sizeof *numbers);
	sqlite3_stmt *s = qdb_stmt(d, SQL_RCPT_GET, e);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, n);
	qdb_int(s, 2, cap);
	enum rc rc = RC_OK;
	while (list != NULL && numbers != NULL && (rc = qdb_step(d, s, e)) == RC_OK) {
		if (count == room) {
			struct quar_rcpt *more = arena_zalloc(a, 2 * room * sizeof *list);
			uint32_t *more_numbers = arena_zalloc(a, 2 * room * sizeof *numbers);
			if (more != NULL && more_numbers != NULL) {
				memcpy(more, list, count * sizeof *list);
				memcpy(more_numbers, numbers, count * sizeof *numbers);
			}
			list = more;
			numbers = more_numbers;
			room *= 2;
		}
		if (list == NULL || numbers == NULL)
			break;
		uint64_t state = qdb_column(s, 2);
		numbers[count] = (uint32_t)qdb_column(s, 0);
		list[count++] = (struct quar_rcpt){
			.addr = arena_span(a, qdb_column_text(s, 1)),
			.state = state < QUAR_STATES ? (enum quar_state)state : QUAR_NONE,
			.added = qdb_column(s, 3) != 0,
			.orig = arena_span(a, qdb_column_text(s, 4)),
			.orcpt = arena_span(a, qdb_column_text(s, 5)),
			.notify = (uint8_t)qdb_column(s, 6),
			.copy = { .usec = qdb_column(s, 7), .serial = (uint32_t)qdb_column(s, 8) },
			.changed = qdb_column(s, 9),
			.by = arena_span(a, qdb_column_text(s, 10)),
		};
	}
	(void)sqlite3_reset(s);
	if (list == NULL || numbers == NULL || a->over)
		return err_set(e, RC_TEMP, "too many recipients to remember");
	*out = list;
	if (numbers_out != NULL)
		*numbers_out = numbers;
	*count_out = count;
	return rc == RC_NONE ? RC_OK : rc;
}

enum rc
rows_is(struct qdb *d, enum qdb_statement which, uint64_t n, struct err *e)
{
	sqlite3_stmt *s = qdb_stmt(d, which, e);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, n);
	enum rc rc = qdb_step(d, s, e);
	(void)sqlite3_reset(s);
	return rc;
}

/* ---- messages ---- */

static enum rc
insert_msg(struct qdb *d, uint64_t n, const struct qview *v, const struct held *h, uint64_t bytes, struct err *e)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_MSG_INSERT, e);
	if (s == NULL)
		return RC_TEMP;
	const struct span texts[] = { v->env.sender, h->client_addr, h->client_name, h->subject, h->from, h->message_id, h->reason, h->filter, h->rule,
		h->signature, h->score, h->helo, h->tls, h->login };
	const uint64_t numbers[] = { n, v->c.id.serial, v->env.arrival, h->class, v->c.length, bytes, v->nrcpt };
	for (unsigned i = 0; i < NELEMS(numbers); i++)
		qdb_int(s, 1 + (int)i, numbers[i]);
	for (unsigned i = 0; i < NELEMS(texts); i++)
		qdb_text(s, 8 + (int)i, texts[i]);
	return qdb_run(d, s, e);
}

enum rc
rows_insert(struct qdb *d, uint64_t n, const struct qview *v, const struct held *h, uint64_t bytes, struct err *e)
{
	struct arena a;
	struct held own;
	enum rc rc = RC_OK;
	arena_init(&a, 1 << 20);
	if (h == NULL && held_get(v->env.held, &a, &own) != RC_OK)
		rc = err_set(e, RC_PERM, "why it was held cannot be read");
	h = h != NULL ? h : &own;
	if (rc == RC_OK)
		rc = insert_msg(d, n, v, h, bytes, e);
	for (uint32_t i = 0; i < v->nrcpt && rc == RC_OK; i++)
		rc = insert_rcpt(d, n, v->numbers[i], &v->rcpt[i], e);
	if (rc == RC_OK)
		rc = put_words(d, SQL_WORDS_INSERT, n, v, h, e);
	if (rc == RC_OK) {
		if (n > d->newest)
			d->newest = n;
		d->change[h->class].messages++;
		d->change[h->class].bytes += bytes;
	}
	arena_fini(&a);
	return rc;
}

unsigned
rows_rank(enum quar_state s)
{
	static const uint8_t of[QUAR_STATES] = { [QUAR_HELD] = 1, [QUAR_RELEASING] = 2, [QUAR_RELEASED] = 3, [QUAR_DELIVERED] = 4, [QUAR_RETURNED] = 4,
		[QUAR_DELETED] = 5 };
	return of[s];
}

enum rc
rows_merge(struct qdb *d, uint64_t n, const struct qview *v, bool repair, bool *changed_out, struct err *e)
{
	struct arena a;
	struct quar_rcpt *have;
	uint32_t *numbers, count, at = 0;
	bool words = false;
	arena_init(&a, 64 << 20);
	*changed_out = false;
	enum rc rc = rows_rcpt(d, n, &a, QUAR_RCPT_MAX * 2, &have, &numbers, &count, e);
	for (uint32_t i = 0; i < v->nrcpt && rc == RC_OK; i++) {
		/* both are nearly always in the same order */
		uint32_t k = at < count && numbers[at] == v->numbers[i] ? at : 0;
		while (k < count && numbers[k] != v->numbers[i])
			k++;
		at = k + 1;
		bool is_missing = k >= count;
		if (!is_missing && (!repair || rows_rank(v->rcpt[i].state) <= rows_rank(have[k].state)))
			continue;
		if (is_missing && !v->rcpt[i].added) /* its words go as they are, and come as they will be */
			words = true;
		*changed_out = true;
	}
	if (rc == RC_OK && words)
		rc = put_words(d, SQL_WORDS_DELETE, n, NULL, NULL, e);
	at = 0;
	for (uint32_t i = 0; i < v->nrcpt && rc == RC_OK && *changed_out; i++) {
		uint32_t k = at < count && numbers[at] == v->numbers[i] ? at : 0;
		while (k < count && numbers[k] != v->numbers[i])
			k++;
		at = k + 1;
		if (k >= count)
			rc = insert_rcpt(d, n, v->numbers[i], &v->rcpt[i], e);
		else if (repair && rows_rank(v->rcpt[i].state) > rows_rank(have[k].state))
			rc = set_rcpt(d, n, v->numbers[i], &v->rcpt[i], e);
	}
	if (rc == RC_OK && words)
		rc = put_words(d, SQL_WORDS_INSERT, n, NULL, NULL, e);
	if (rc == RC_OK && *changed_out) {
		sqlite3_stmt *s = qdb_stmt(d, SQL_MSG_NRCPT, e);
		if (s != NULL)
			qdb_int(s, 1, n);
		rc = qdb_run(d, s, e);
	}
	arena_fini(&a);
	return rc;
}

enum rc
rows_set(struct qdb *d, uint64_t n, const struct qnote *note, struct err *e)
{
	enum rc rc = RC_OK;
	bool is_more = false;
	for (uint32_t i = 0; i < note->n && rc == RC_OK; i++) {
		const struct qnote_rcpt *nr = &note->rcpt[i];
		struct quar_rcpt r = { .addr = nr->added, .added = true, .state = note->state, .copy = note->copy, .changed = note->when, .by = note->by };
		/* one who is added has no row the first time; inserting is ignored when there is one */
		if (nr->added.n > 0) {
			rc = insert_rcpt(d, n, nr->number, &r, e);
			is_more = true;
		}
		if (rc == RC_OK)
			rc = set_rcpt(d, n, nr->number, &r, e);
	}
	if (rc == RC_OK && is_more) {
		sqlite3_stmt *s = qdb_stmt(d, SQL_MSG_NRCPT, e);
		if (s != NULL)
			qdb_int(s, 1, n);
		rc = qdb_run(d, s, e);
	}
	return rc;
}

enum rc
rows_delete(struct qdb *d, uint64_t n, const struct spool_id *id, struct err *e)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_MSG_GET, e);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, n);
	enum rc rc = qdb_step(d, s, e);
	if (rc != RC_OK)
		return rc;
	uint64_t class = qdb_column(s, 0), bytes = qdb_column(s, 1);
	(void)sqlite3_reset(s);
	if ((rc = put_words(d, SQL_WORDS_DELETE, n, NULL, NULL, e)) != RC_OK || (rc = attachments_delete(d, n, e)) != RC_OK)
		return rc;
	static const enum qdb_statement goes[] = { SQL_RCPT_DELETE, SQL_LATE_DELETE, SQL_MSG_DELETE };
	for (unsigned i = 0; i < NELEMS(goes) && rc == RC_OK; i++) {
		if ((s = qdb_stmt(d, goes[i], e)) != NULL)
			qdb_int(s, 1, n);
		rc = qdb_run(d, s, e);
	}
	if (rc == RC_OK && (s = qdb_stmt(d, SQL_GONE_ADD, e)) != NULL) {
		qdb_int(s, 1, id->usec);
		qdb_int(s, 2, id->serial);
		rc = qdb_run(d, s, e);
	} else if (rc == RC_OK) {
		rc = RC_TEMP;
	}
	if (rc == RC_OK && class < HELD_CLASSES) {
		d->change[class].messages--;
		d->change[class].bytes -= bytes;
	}
	return rc;
}
