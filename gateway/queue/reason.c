/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/reason.h"

#include "base/buf.h"
#include "base/mem.h"

bool
dsn_code_valid(struct span dsn)
{
	if (dsn.n < 5 || (dsn.p[0] != '2' && dsn.p[0] != '4' && dsn.p[0] != '5') || dsn.p[1] != '.')
		return false;
	struct span rest = span_from(dsn, 2);
	size_t dot = span_chr(rest, '.');
	uint64_t v;
	if (dot == SIZE_MAX || dot > 3 || rest.n - dot - 1 > 3)
		return false;
	return span_u64(span_head(rest, dot), 999, &v) && span_u64(span_from(rest, dot + 1), 999, &v);
}

/* Puts part behind the rest unless it is in the text already; *at and *len say where it is. */
static void
add_part(struct buf *b, size_t text_at, struct span part, uint16_t *at, uint16_t *len)
{
	struct buf clean;
	buf_init(&clean, REASON_MAX + 1);
	buf_put_safe(&clean, part, REASON_MAX, true);
	struct span c = buf_span(&clean);
	size_t found = c.n > 0 ? span_find(span_from(buf_span(b), text_at), c) : SIZE_MAX;
	*len = (uint16_t)c.n;
	*at = (uint16_t)(found != SIZE_MAX ? text_at + found : buf_len(b));
	if (found == SIZE_MAX)
		buf_put(b, c);
	buf_fini(&clean);
}

static bool
same(const struct reason *r, const struct reason *head, struct span bytes)
{
	return r->dsn_len == head->dsn_len && r->text_len == head->text_len && r->mta_at == head->mta_at && r->mta_len == head->mta_len &&
	    r->diag_at == head->diag_at && r->diag_len == head->diag_len &&
	    memcmp(r->bytes, bytes.p, bytes.n) == 0;
}

struct reason *
reason_get(struct reason_pool *p, struct span dsn, struct span text, struct span mta, struct span diag)
{
	struct reason head = { .refs = 1 };
	struct buf b;
	buf_init(&b, 4 * REASON_MAX);
	buf_put(&b, dsn_code_valid(dsn) ? dsn : SPAN("4.0.0"));
	head.dsn_len = (uint16_t)buf_len(&b);
	buf_put_safe(&b, text, REASON_MAX, true);
	head.text_len = (uint16_t)(buf_len(&b) - head.dsn_len);
	add_part(&b, head.dsn_len, mta, &head.mta_at, &head.mta_len);
	add_part(&b, head.dsn_len, diag, &head.diag_at, &head.diag_len);
	struct span bytes = buf_span(&b);
	uint64_t hash = span_hash(bytes);
	struct hnode *n = htab_first(&p->by_text, hash);
	while (n != NULL && !same(container_of(n, struct reason, by_text), &head, bytes))
		n = htab_next(n);
	struct reason *r;
	if (n != NULL) {
		r = reason_ref(container_of(n, struct reason, by_text));
	} else {
		r = mem_alloc(sizeof *r + bytes.n);
		*r = head;
		memcpy(r->bytes, bytes.p, bytes.n);
		htab_insert(&p->by_text, &r->by_text, hash);
	}
	buf_fini(&b);
	return r;
}

struct reason *
reason_ref(struct reason *r)
{
	if (r != NULL) {
		BUG_ON(r->refs <= 0);
		r->refs++;
	}
	return r;
}

void
reason_unref(struct reason_pool *p, struct reason **rp)
{
	struct reason *r = *rp;
	*rp = NULL;
	if (r == NULL)
		return;
	BUG_ON(r->refs <= 0);
	if (--r->refs > 0)
		return;
	htab_remove(&p->by_text, &r->by_text);
	mem_free(&r);
}

void
reason_pool_fini(struct reason_pool *p)
{
	BUG_ON(p->by_text.count != 0);
	htab_fini(&p->by_text);
}
