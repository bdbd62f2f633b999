/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/attachments.h"

enum { NAMES_MAX = ATTACHMENTS_MAX * (ATTACHMENT_NAME_MAX + 1) };

bool
attachment_is(const struct held_part *p)
{
	if (span_starts(p->type, SPAN("multipart/")))
		return false;
	return p->name.n > 0 || !(span_starts(p->type, SPAN("text/")) || span_starts(p->type, SPAN("message/")));
}

void
attachments_of(struct attachments *a, const struct held_part *parts, uint32_t n)
{
	a->n = 0;
	for (uint32_t i = 0; i < n && a->n < ATTACHMENTS_MAX; i++) {
		if (!attachment_is(&parts[i]))
			continue;
		a->part[a->n] = parts[i];
		a->number[a->n] = i;
		a->is_owed[a->n++] = !parts[i].is_summed;
	}
}

/* What is searched: one name on a line, so that nothing is found that goes from one to the next; always the same for the same rows. */
static enum rc
put_names(struct qdb *d, enum qdb_statement which, uint64_t n, const struct attachments *a, struct err *e)
{
	struct buf names;
	enum rc rc = RC_OK;
	buf_init(&names, NAMES_MAX);
	for (uint32_t i = 0; i < a->n; i++) {
		struct span name = a->part[i].name;
		if (name.n == 0)
			continue;
		size_t cut = name.n < ATTACHMENT_NAME_MAX ? name.n : ATTACHMENT_NAME_MAX;
		while (cut < name.n && cut > 0 && (name.p[cut] & 0xc0) == 0x80)
			cut--;
		buf_put(&names, span_head(name, cut));
		buf_putc(&names, '\n');
	}
	if (buf_len(&names) > 0) {
		sqlite3_stmt *s = qdb_stmt(d, which, e);
		if (s != NULL) {
			qdb_int(s, 1, n);
			qdb_text(s, 2, buf_span(&names));
		}
		rc = qdb_run(d, s, e);
	}
	buf_fini(&names);
	return rc;
}

enum rc
attachments_insert(struct qdb *d, uint64_t n, const struct attachments *a, struct err *e)
{
	enum rc rc = RC_OK;
	for (uint32_t i = 0; i < a->n && rc == RC_OK; i++) {
		const struct held_part *p = &a->part[i];
		sqlite3_stmt *s = qdb_stmt(d, SQL_ATTACHMENT_INSERT, e);
		if (s == NULL)
			return RC_TEMP;
		qdb_int(s, 1, n);
		qdb_int(s, 2, a->number[i]);
		qdb_text(s, 3, p->name);
		qdb_text(s, 4, p->type);
		qdb_int(s, 5, p->is_summed ? p->size : 0);
		if (!a->is_owed[i]) /* else NULL */
			qdb_blob(s, 6, p->is_summed ? span_of(p->sha256, sizeof p->sha256) : SPAN_EMPTY);
		rc = qdb_run(d, s, e);
	}
	return rc == RC_OK ? put_names(d, SQL_NAMES_INSERT, n, a, e) : rc;
}

enum rc
attachments_get(struct qdb *d, uint64_t n, struct arena *arena, struct attachments *out, struct err *e)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_ATTACHMENT_GET, e);
	enum rc rc = RC_OK;
	out->n = 0;
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, n);
	while (out->n < ATTACHMENTS_MAX && (rc = qdb_step(d, s, e)) == RC_OK) {
		struct held_part *p = &out->part[out->n];
		struct span sum = qdb_column_blob(s, 4);
		*p = (struct held_part){ .name = arena_span(arena, qdb_column_text(s, 1)), .type = arena_span(arena, qdb_column_text(s, 2)),
			.size = qdb_column(s, 3), .is_summed = sum.n == sizeof p->sha256 };
		if (p->is_summed)
			memcpy(p->sha256, sum.p, sum.n);
		out->is_owed[out->n] = sqlite3_column_type(s, 4) == SQLITE_NULL;
		out->number[out->n++] = (uint32_t)qdb_column(s, 0);
	}
	(void)sqlite3_reset(s);
	if (arena->over)
		return err_set(e, RC_TEMP, "too many attachments to remember");
	return rc == RC_TEMP ? rc : RC_OK;
}

enum rc
attachments_set_sum(struct qdb *d, uint64_t n, uint32_t number, const struct held_part *p, struct err *e)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_ATTACHMENT_SUM, e);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, n);
	qdb_int(s, 2, number);
	qdb_int(s, 3, p->is_summed ? p->size : 0);
	qdb_blob(s, 4, p->is_summed ? span_of(p->sha256, sizeof p->sha256) : SPAN_EMPTY);
	return qdb_run(d, s, e);
}

enum rc
attachments_delete(struct qdb *d, uint64_t n, struct err *e)
{
	struct attachments a;
	struct arena arena;
	arena_init(&arena, 1 << 20);
	enum rc rc = attachments_get(d, n, &arena, &a, e);
	if (rc == RC_OK && a.n > 0)
		rc = put_names(d, SQL_NAMES_DELETE, n, &a, e);
	if (rc == RC_OK && a.n > 0) {
		sqlite3_stmt *s = qdb_stmt(d, SQL_ATTACHMENT_DELETE, e);
		if (s != NULL)
			qdb_int(s, 1, n);
		rc = qdb_run(d, s, e);
	}
	arena_fini(&arena);
	return rc;
}

enum rc
attachments_owed(struct qdb *d, uint64_t after, uint64_t *n_out, struct spool_id *id_out, struct err *e)
{
	sqlite3_stmt *s = qdb_stmt(d, SQL_ATTACHMENT_OWED, e);
	if (s == NULL)
		return RC_TEMP;
	qdb_int(s, 1, after);
	enum rc rc = qdb_step(d, s, e);
	if (rc == RC_OK) {
		*n_out = qdb_column(s, 0);
		*id_out = (struct spool_id){ .usec = qdb_usec(*n_out), .serial = (uint32_t)qdb_column(s, 1) };
	}
	(void)sqlite3_reset(s);
	return rc;
}

bool
attachment_is_sum(struct span filter, unsigned char sha256[32])
{
	if (filter.n != 64)
		return false;
	for (size_t i = 0; i < filter.n; i++) {
		unsigned char c = filter.p[i] | 0x20;
		if (!((c >= '0' && c <= '9' && filter.p[i] == c) || (c >= 'a' && c <= 'f')))
			return false;
		unsigned char v = c >= 'a' ? c - 'a' + 10 : c - '0';
		sha256[i / 2] = (unsigned char)(i % 2 == 0 ? v << 4 : sha256[i / 2] | v);
	}
	return true;
}
