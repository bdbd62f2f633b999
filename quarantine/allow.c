/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * allow.c - the allow table as the loop has it: all of it in memory (quarantine_allow_limit rows), found by sender and recipient together.
 */
#include "base/mem.h"
#include "quarantine/internal.h"

enum { KEY_MAX = 4096 };

struct allow_row {
	struct list link;
	struct hnode node;
	struct quar_allow a;
	struct buf text;
};

static uint64_t
hash_of(struct span sender, struct span recipient)
{
	/* two hashes made one; the order counts */
	return span_casehash(sender) * 3 + span_casehash(recipient);
}

static struct allow_row *
find(const struct quar *q, struct span sender, struct span recipient)
{
	for (struct hnode *n = htab_first(&q->allow_by_pair, hash_of(sender, recipient)); n != NULL; n = htab_next(n)) {
		struct allow_row *r = container_of(n, struct allow_row, node);
		if (span_caseeq(r->a.sender, sender) && span_caseeq(r->a.recipient, recipient))
			return r;
	}
	return NULL;
}

void
allow_init(struct quar *q)
{
	list_init(&q->allow);
}

static void
drop(struct quar *q, struct allow_row *r)
{
	htab_remove(&q->allow_by_pair, &r->node);
	list_remove(&r->link);
	buf_fini(&r->text);
	mem_free(&r);
	q->nallow--;
}

void
allow_fini(struct quar *q)
{
	while (!list_empty(&q->allow))
		drop(q, list_entry(q->allow.next, struct allow_row, link));
	htab_fini(&q->allow_by_pair);
}

void
allow_put(struct quar *q, const struct quar_allow *a)
{
	struct allow_row *r = find(q, a->sender, a->recipient);
	if (r != NULL)
		drop(q, r);
	r = mem_zalloc(sizeof *r);
	list_init(&r->link);
	buf_init(&r->text, KEY_MAX * 4);
	const struct span in[] = { a->sender, a->recipient, a->by, a->note };
	struct span *const out[] = { &r->a.sender, &r->a.recipient, &r->a.by, &r->a.note };
	for (unsigned i = 0; i < NELEMS(in); i++)
		buf_put(&r->text, span_head(in[i], KEY_MAX));
	struct span rest = buf_span(&r->text);
	for (unsigned i = 0; i < NELEMS(in); i++) {
		*out[i] = span_head(rest, in[i].n < KEY_MAX ? in[i].n : KEY_MAX);
		rest = span_from(rest, out[i]->n);
	}
	r->a.added = a->added;
	htab_insert(&q->allow_by_pair, &r->node, hash_of(r->a.sender, r->a.recipient));
	list_append(&q->allow, &r->link);
	q->nallow++;
}

void
allow_drop(struct quar *q, struct span sender, struct span recipient)
{
	struct allow_row *r = find(q, sender, recipient);
	if (r != NULL)
		drop(q, r);
}

/* "@example.com" of an address; empty: it has none. */
static struct span
domain(struct span addr)
{
	size_t at = span_rchr(addr, '@');
	return at == SIZE_MAX ? SPAN_EMPTY : span_from(addr, at);
}

bool
allow_is_row(const struct quar *q, struct span sender, struct span recipient)
{
	return find(q, sender, recipient) != NULL;
}

bool
allow_has(const struct quar *q, struct span sender, struct span recipient)
{
	if (q->nallow == 0 || sender.n == 0)
		return false;
	const struct span senders[] = { sender, domain(sender) }, recipients[] = { recipient, domain(recipient), SPAN_EMPTY };
	for (unsigned i = 0; i < NELEMS(senders); i++)
		for (unsigned k = 0; k < NELEMS(recipients) && senders[i].n > 0; k++)
			if (find(q, senders[i], recipients[k]) != NULL)
				return true;
	return false;
}

void
allow_copy(const struct quar *q, struct quar_job *j)
{
	j->res.allow = arena_zalloc(&j->arena, (q->nallow + 1u) * sizeof *j->res.allow);
	if (j->res.allow == NULL) {
		j->rc = err_set(&j->why, RC_TEMP, "no memory for the table");
		return;
	}
	list_each(l, &q->allow) {
		const struct quar_allow *a = &list_entry(l, struct allow_row, link)->a;
		j->res.allow[j->res.n++] = (struct quar_allow){ .sender = arena_span(&j->arena, a->sender), .recipient = arena_span(&j->arena, a->recipient),
			.by = arena_span(&j->arena, a->by), .note = arena_span(&j->arena, a->note), .added = a->added };
	}
}
