/* SPDX-License-Identifier: BSD-2-Clause */
/* check_policy_service: asks a policy server; its answer is a result as a table's. Facts 10.4. */
#include "policy/engine.h"

#include "base/clock.h"
#include "base/mem.h"
#include "policy/server.h"
#include "policy/server_text.h"

/* One question of a run; the rule it belongs to is asked for once. */
struct need_server {
	struct policy_need need;
	struct policy_run *run;
	const struct policy_rule *rule;
	struct policy_ask ask;
	uint64_t began;
	enum rc rc;
	bool is_done;
};

static void
need_fini(struct policy_need *n)
{
	struct need_server *x = container_of(n, struct need_server, need);
	policy_ask_fini(&x->ask);
	mem_free(&x);
}

static const struct policy_need_kind kind = { "policy service", need_fini };

static void
on_answer(struct op *op)
{
	struct need_server *x = container_of(op, struct need_server, ask.op);
	struct policy_trace *t = x->run->trace;
	x->is_done = true;
	x->rc = op->rc;
	if (t != NULL)
		t->asked(t, policy_server_text(x->rule->server), SPAN("policy query"), x->rc, x->rc == RC_OK ? buf_span(&x->ask.action) : span_str(x->ask.why.why),
		    clock_mono() - x->began);
	policy_need_done(x->run);
}

static struct need_server *
find(struct policy_run *r, const struct policy_rule *rule)
{
	list_each(it, &r->needs) {
		struct policy_need *n = list_entry(it, struct policy_need, link);
		if (n->kind == &kind && container_of(n, struct need_server, need)->rule == rule)
			return container_of(n, struct need_server, need);
	}
	return NULL;
}

static void
ask(struct policy_run *r, const struct policy_rule *rule)
{
	struct need_server *x = mem_zalloc(sizeof *x);
	x->run = r;
	x->rule = rule;
	x->began = clock_mono();
	policy_ask_init(&x->ask, &r->waits, on_answer);
	policy_question(&x->ask.question, r->policy, r->stage, r->facts, policy_server_context(rule->server));
	policy_need_add(r, &x->need, &kind);
	policy_ask_start(&x->ask, rule->server);
}

enum pol
r_policy_service(struct policy_run *r, const struct policy_rule *rule)
{
	struct need_server *x = find(r, rule);
	if (x == NULL)
		ask(r, rule);
	if (x == NULL || !x->is_done)
		return POL_AGAIN;
	if (x->rc == RC_OK)
		return policy_access_result(r, rule, buf_span(&x->ask.action), policy_about(r), false, false);
	struct buf b;
	buf_init(&b, 600);
	buf_printf(&b, "problem talking to server %.250s: %s", policy_server_name(rule->server), x->ask.why.why);
	policy_note(r, NOTE_TROUBLE, buf_span(&b));
	buf_fini(&b);
	return policy_access_result(r, rule, span_str(policy_server_default(rule->server)), policy_about(r), false, false);
}
