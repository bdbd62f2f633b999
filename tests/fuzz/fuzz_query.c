/* SPDX-License-Identifier: BSD-2-Clause */
/* Queries of database tables: text, NUL, key. Property: the key is never in the query, only in its values; the query has
 * the marks ?1 to ?n and no others; a query without a key in it is the same for all keys. */
#include "map/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
marks(const struct query *q)
{
	size_t seen = 0;
	for (size_t i = 0; i < q->sql.n; i++) {
		if (q->sql.p[i] != '?')
			continue;
		char want[16];
		snprintf(want, sizeof want, "?%zu", seen + 1);
		if (span_starts(span_from(q->sql, i), span_str(want)) && seen < q->nbinds)
			seen++;
	}
	BUG_ON(seen != q->nbinds);
}

static void
values(const struct query *q, struct span key)
{
	struct buf b;
	buf_init(&b, 1 << 20);
	for (size_t i = 0; i < q->nbinds; i++) {
		buf_reset(&b);
		query_bind(q, i, key, &b);
		BUG_ON(b.over || buf_len(&b) > q->binds[i].n * (key.n + 1));
	}
	buf_reset(&b);
	if (query_result(q, key, key, &b) == RC_OK && span_eq_str(q->result, "%s"))
		BUG_ON(!span_eq(buf_span(&b), key));
	buf_fini(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_of(p, n > 4096 ? 4096 : n);
	size_t nul = span_chr(in, '\0');
	struct span text = nul == SIZE_MAX ? in : span_head(in, nul), key = nul == SIZE_MAX ? SPAN("user@a.example") : span_head(span_from(in, nul + 1), 100);
	struct arena a;
	struct query q, r;
	struct err e = { 0 };
	arena_init(&a, 1 << 20);
	enum rc rc = query_compile(text, SPAN("%s"), &a, &q, &e);
	BUG_ON(rc != RC_OK && (rc != RC_PERM || e.why[0] == '\0'));
	if (rc == RC_OK) {
		marks(&q);
		BUG_ON(q.sql.n > text.n + 2 * q.nbinds + 2);
		if (query_takes(&q, key))
			values(&q, key);
	}
	if (query_compile(SPAN("x"), text, &a, &r, &e) == RC_OK && query_takes(&r, key))
		values(&r, key);
	arena_fini(&a);
	return 0;
}
