/* SPDX-License-Identifier: BSD-2-Clause */
/* reject_unverified_recipient, reject_unverified_sender: the queue knows, or asks the host the address belongs to. Facts 5.9. */
#include "base/clock.h"
#include "base/mem.h"
#include "ipc/msgs.h"
#include "policy/ask_queue.h"
#include "policy/engine.h"
#include "policy/verify_sender.h"

#define ANSWER_LATE_USEC (5 * USEC_PER_SEC) /* beyond what the queue may take */

/* ---- one question ---- */

struct need_verify {
	struct policy_need need;
	struct policy_run *run;
	struct ipc_call call;
	struct span addr;            /* in run->text */
	bool is_over;
	enum rc rc;                  /* RC_OK: what is below is valid */
	enum verify_status status;
	bool foreign;
	struct span text;            /* in run->text */
};

static void
verify_fini(struct policy_need *n)
{
	struct need_verify *v = container_of(n, struct need_verify, need);
	ipc_call_fini(&v->call);
	mem_free(&v);
}

static const struct policy_need_kind verify_kind = { "verify", verify_fini };

static void
on_answer(struct op *op)
{
	struct need_verify *v = container_of(container_of(op, struct ipc_call, op), struct need_verify, call);
	struct msg_verified m;
	v->is_over = true;
	v->rc = op->rc == RC_OK && msg_verified_get(buf_span(&v->call.reply), &m) == RC_OK ? RC_OK : RC_TEMP;
	if (v->rc == RC_OK) {
		v->status = m.status;
		v->foreign = m.foreign;
		v->text = arena_span(&v->run->text, m.text);
	}
	policy_need_done(v->run);
}

/* Postfix asks address_verify_poll_count times and rests address_verify_poll_delay in between. */
static uint64_t
patience(const struct params *p)
{
	uint64_t most = (uint64_t)VERIFY_WAIT_MAX * USEC_PER_SEC, times = (uint64_t)p->p_address_verify_poll_count;
	uint64_t delay = p->p_address_verify_poll_delay;
	if (times <= 1)
		return 0;
	return delay > most / (times - 1) ? most : delay * (times - 1);
}

static struct need_verify *
ask(struct policy_run *r, struct span addr)
{
	for (struct list *l = r->needs.next; l != &r->needs; l = l->next) {
		struct policy_need *n = list_entry(l, struct policy_need, link);
		struct need_verify *v = container_of(n, struct need_verify, need);
		if (n->kind == &verify_kind && span_eq(v->addr, addr))
			return v;
	}
	struct need_verify *v = mem_zalloc(sizeof *v);
	struct ipc_chan *queue = policy_queue();
	v->run = r;
	v->addr = arena_span(&r->text, addr);
	list_init(&v->need.link);
	ipc_call_init(&v->call, &r->waits, on_answer);
	policy_need_add(r, &v->need, &verify_kind);
	if (queue == NULL || v->addr.n != addr.n) {
		v->is_over = true;
		v->rc = RC_TEMP;
		return v;
	}
	struct msg_verify m = { v->addr, patience(r->policy->p) };
	msg_verify_put(ipc_call_begin(&v->call, queue, IPC_VERIFY), &m);
	ipc_call_send(&v->call, m.wait_usec + ANSWER_LATE_USEC);
	return v;
}

/* ---- what it means ---- */

struct answers {
	int64_t reject_code, defer_code;
	const char *reason;
	bool defers;                 /* ..._tempfail_action = defer */
};

/* Strangers are not told what hosts behind us said, or which there are, unless somebody wants that. */
static struct span
reason_of(const struct policy_run *r, const struct need_verify *v, const struct answers *a)
{
	if (a->reason[0] != '\0')
		return span_str(a->reason);
	if (v->status == VERIFY_TODO)
		return SPAN("Address verification in progress");
	if (!v->foreign || r->policy->p->p_address_verify_tell_clients)
		return v->text;
	return v->status == VERIFY_BOUNCE ? SPAN("the mail system of this address does not accept mail for it")
	                                  : SPAN("the mail system of this address cannot be asked now");
}

static enum pol
later(struct policy_run *r, const struct policy_rule *rule, const struct answers *a, unsigned code, struct span dsn, struct about about,
    struct span text)
{
	return a->defers ? policy_refuse(r, rule, code, dsn, about, text) : policy_defer_if(r, rule, &r->if_permit, code, dsn, about, text);
}

static enum pol
unverified(struct policy_run *r, const struct policy_rule *rule, const struct resolved *resolved, struct about about, const struct answers *a)
{
	struct span dsn = about.class == ABOUT_SENDER ? SPAN("4.1.7") : SPAN("4.1.1");
	if (verify_sender_is(r->policy->p, resolved->addr, clock_wall()))
		return POL_DUNNO;
	if (r->trace != NULL && policy_queue() == NULL)
		return POL_DUNNO; /* a command: nobody there to ask */
	const struct need_verify *v = ask(r, resolved->addr);
	if (!v->is_over)
		return POL_AGAIN;
	if (v->rc != RC_OK)
		return later(r, rule, a, 450, dsn, about, SPAN("address verification problem"));
	if (v->status == VERIFY_OK)
		return POL_DUNNO;
	unsigned code = policy_code(v->status == VERIFY_BOUNCE ? a->reject_code : a->defer_code);
	if (code / 100 == 2 || code == 0)
		return POL_DUNNO;
	struct buf text;
	buf_init(&text, 2000);
	buf_puts(&text, code / 100 == 4 ? "unverified address: " : "undeliverable address: ");
	buf_put(&text, span_head(reason_of(r, v, a), 250));
	enum pol pol = code / 100 == 4 ? later(r, rule, a, code, dsn, about, buf_span(&text))
	                               : policy_refuse(r, rule, code, dsn, about, buf_span(&text));
	buf_fini(&text);
	return pol;
}

enum pol
r_unverified_recipient(struct policy_run *r, const struct policy_rule *rule)
{
	const struct params *p = r->policy->p;
	const struct answers a = { p->p_unverified_recipient_reject_code, p->p_unverified_recipient_defer_code, p->p_unverified_recipient_reject_reason,
		r->policy->recipient_tempfail_defers };
	const struct resolved *addr = NULL;
	struct err e;
	if (r->facts->rcpt.n == 0)
		return POL_DUNNO;
	if (policy_rcpt(r, &addr, &e) != RC_OK)
		return policy_lookup_failed(r, rule, r->facts->rcpt, &e);
	return unverified(r, rule, addr, policy_about_class(r, ABOUT_RECIPIENT), &a);
}

enum pol
r_unverified_sender(struct policy_run *r, const struct policy_rule *rule)
{
	const struct params *p = r->policy->p;
	const struct answers a = { p->p_unverified_sender_reject_code, p->p_unverified_sender_defer_code, p->p_unverified_sender_reject_reason,
		r->policy->sender_tempfail_defers };
	const struct resolved *addr = NULL;
	struct err e;
	if (r->facts->sender.n == 0)
		return POL_DUNNO;
	if (policy_sender(r, &addr, &e) != RC_OK)
		return policy_lookup_failed(r, rule, r->facts->sender, &e);
	return unverified(r, rule, addr, policy_about_class(r, ABOUT_SENDER), &a);
}
