/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/ask_list.h"

#include "base/clock.h"
#include "base/mem.h"

struct question {
	struct policy_need need;
	struct policy_run *run;
	struct rbl_ask ask;
	enum rbl_kind kind;
	bool is_done;
	uint64_t began;
	size_t domain_len, query_len;
	unsigned char query[];       /* the domain is its end */
};

static void
question_fini(struct policy_need *n)
{
	struct question *q = container_of(n, struct question, need);
	rbl_ask_fini(&q->ask);
	mem_free(&q);
}

static const struct policy_need_kind kind_of_need = { "dnsbl", question_fini };

static void
done(struct question *q)
{
	q->is_done = true;
	if (q->run->trace != NULL)
		policy_tell_dns(q->run, DNS_A, span_of(q->query, q->query_len), q->ask.said == RBL_SAID_YES ? RC_OK : q->ask.said == RBL_SAID_NO ? RC_NONE
		    : RC_TEMP, q->ask.answer, clock_mono() - q->began);
}

static void
on_answer(struct op *op)
{
	struct question *q = container_of(op, struct question, ask.op);
	done(q);
	policy_need_done(q->run);
}

static struct question *
find(const struct policy_run *r, enum rbl_kind kind, struct span domain, struct span query)
{
	list_each(l, &r->needs) {
		struct policy_need *n = list_entry(l, struct policy_need, link);
		struct question *q = container_of(n, struct question, need);
		if (n->kind == &kind_of_need && q->kind == kind && q->domain_len == domain.n && span_caseeq(span_of(q->query, q->query_len), query))
			return q;
	}
	return NULL;
}

const struct rbl_ask *
policy_ask_list(struct policy_run *r, enum rbl_kind kind, struct span domain, struct span query)
{
	struct question *q = find(r, kind, domain, query);
	if (q != NULL && (q->is_done || q->ask.op.state != OP_IDLE))
		return q->is_done ? &q->ask : NULL;
	if (q == NULL) {
		q = mem_zalloc(sizeof *q + query.n);
		q->run = r;
		q->kind = kind;
		q->domain_len = domain.n;
		q->query_len = query.n;
		if (query.n > 0)
			memcpy(q->query, query.p, query.n);
		rbl_ask_init(&q->ask, &r->waits, on_answer);
		policy_need_add(r, &q->need, &kind_of_need);
	}
	if (r->trace != NULL)
		q->began = clock_mono();
	if (!rbl_ask_now(&q->ask, kind, domain, query)) /* for the first time, or a rule did not need it any more and another one does */
		return NULL;
	done(q);
	return &q->ask;
}
