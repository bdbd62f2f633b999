/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine: which lists run at which command, rule after rule, and what their answers mean. Facts 3.1. */
#include "policy/engine.h"

#include "base/mem.h"

enum { RUN_MAGIC = 0x706f1c7e, RULES_MAX = 100000 /* of one run: only a class that names itself gets there */ };

/* The owner cancels: what a rule waits for is forgotten. */
static void
forget_wait(struct op *op)
{
	struct policy_run *r = container_of(op, struct policy_run, op);
	timer_clear(&r->timer);
	ops_cancel_all(&r->waits);
}

static const struct op_provider provider = { "policy", forget_wait };

/* ---- which lists a command runs ---- */

/* Ends of phases that are no list: what the engine adds by itself. */
enum phase_step { PHASE_LIST = 1, PHASE_UNLISTED_SENDER, PHASE_UNLISTED_RCPT, PHASE_DEFER_IF, PHASE_CARRY, PHASE_END };

struct phase {
	enum phase_step step;
	enum policy_list_id list;
	unsigned needs;
	bool resets;                 /* defer_if_reject of the phase before is over */
};

#define CLIENT_PHASE { PHASE_LIST, LIST_CLIENT, 0, true }
#define HELO_PHASE { PHASE_LIST, LIST_HELO, NEED_HELO, true }
#define SENDER_PHASE { PHASE_LIST, LIST_SENDER, NEED_SENDER, true }, { PHASE_UNLISTED_SENDER, 0, NEED_SENDER, false }
#define RELAY_FIRST { PHASE_LIST, LIST_RELAY, NEED_RCPT, true }, { PHASE_LIST, LIST_RECIPIENT, NEED_RCPT, false }
#define RECIPIENT_FIRST { PHASE_LIST, LIST_RECIPIENT, NEED_RCPT, true }, { PHASE_LIST, LIST_RELAY, NEED_RCPT, false }
#define RCPT_END { PHASE_DEFER_IF, 0, 0, false }, { PHASE_UNLISTED_RCPT, 0, NEED_RCPT, false }, { PHASE_END, 0, 0, false }

static const struct phase nothing[] = { { PHASE_END, 0, 0, false } };
static const struct phase only_client[] = { CLIENT_PHASE, { PHASE_CARRY, 0, 0, false }, { PHASE_END, 0, 0, false } };
static const struct phase only_helo[] = { HELO_PHASE, { PHASE_CARRY, 0, 0, false }, { PHASE_END, 0, 0, false } };
static const struct phase only_sender[] = { SENDER_PHASE, { PHASE_CARRY, 0, 0, false }, { PHASE_END, 0, 0, false } };
static const struct phase only_rcpt[] = { RELAY_FIRST, RCPT_END };
static const struct phase only_rcpt_other[] = { RECIPIENT_FIRST, RCPT_END };
static const struct phase delayed_rcpt[] = { CLIENT_PHASE, HELO_PHASE, SENDER_PHASE, RELAY_FIRST, RCPT_END };
static const struct phase delayed_rcpt_other[] = { CLIENT_PHASE, HELO_PHASE, SENDER_PHASE, RECIPIENT_FIRST, RCPT_END };
static const struct phase data[] = { { PHASE_LIST, LIST_DATA, 0, true }, { PHASE_DEFER_IF, 0, 0, false }, { PHASE_END, 0, 0, false } };
static const struct phase end_of_data[] = { { PHASE_LIST, LIST_END_OF_DATA, 0, true }, { PHASE_DEFER_IF, 0, 0, false },
	{ PHASE_END, 0, 0, false } };
static const struct phase only_etrn[] = { { PHASE_LIST, LIST_ETRN, 0, true }, { PHASE_DEFER_IF, 0, 0, false }, { PHASE_END, 0, 0, false } };
static const struct phase delayed_etrn[] = { CLIENT_PHASE, HELO_PHASE, { PHASE_LIST, LIST_ETRN, 0, true },
	{ PHASE_DEFER_IF, 0, 0, false }, { PHASE_END, 0, 0, false } };

static const struct phase *
plan(const struct policy *p, enum policy_stage stage)
{
	bool delay = p->p->p_smtpd_delay_reject, relay_first = p->p->p_smtpd_relay_before_recipient_restrictions;
	switch (stage) {
	case POLICY_CONNECT:
		return delay ? nothing : only_client;
	case POLICY_HELO:
		return delay ? nothing : only_helo;
	case POLICY_MAIL:
		return delay ? nothing : only_sender;
	case POLICY_RCPT:
		if (delay)
			return relay_first ? delayed_rcpt : delayed_rcpt_other;
		return relay_first ? only_rcpt : only_rcpt_other;
	case POLICY_DATA:
		return data;
	case POLICY_END_OF_DATA:
		return end_of_data;
	case POLICY_ETRN:
		return delay ? delayed_etrn : only_etrn;
	case POLICY_NO_STAGE:
		break;
	}
	return nothing;
}

static unsigned
known(const struct facts *f)
{
	return (f->has_helo ? NEED_HELO : 0u) | (f->has_sender ? NEED_SENDER : 0u) | (f->has_rcpt ? NEED_RCPT : 0u) | (f->etrn_domain.n > 0 ? NEED_ETRN : 0u) | NEED_NAME;
}

/* ---- what rules ask for ---- */

void
policy_put_client(const struct policy_run *r, struct buf *b)
{
	const struct facts *f = r->facts;
	buf_put(b, f->client_name);
	buf_putc(b, '[');
	buf_put(b, f->client_addr);
	buf_putc(b, ']');
	if (!r->policy->p->p_smtpd_client_port_logging)
		return;
	buf_putc(b, ':');
	if (f->client_port != 0)
		buf_put_dec(b, f->client_port);
	else
		buf_puts(b, "unknown");
}

struct about
policy_about_class(struct policy_run *r, enum reply_class class)
{
	const struct facts *f = r->facts;
	struct about a = { class, SPAN_EMPTY };
	struct buf b;
	switch (class) {
	case ABOUT_CLIENT:
	case ABOUT_CERT:
		buf_init(&b, 512);
		policy_put_client(r, &b);
		a.object = arena_span(&r->text, buf_span(&b));
		buf_fini(&b);
		break;
	case ABOUT_REVERSE_CLIENT:
		a.object = f->reverse_name;
		break;
	case ABOUT_LOGIN:
		a.object = f->login;
		break;
	case ABOUT_HELO:
		a.object = f->helo;
		break;
	case ABOUT_SENDER:
		a.object = f->sender;
		break;
	case ABOUT_ETRN:
		a.object = f->etrn_domain;
		break;
	case ABOUT_RECIPIENT:
		a.object = f->rcpt;
		break;
	case ABOUT_DATA:
		a.object = SPAN("DATA");
		break;
	case ABOUT_END:
		a.object = SPAN("END-OF-MESSAGE");
		break;
	}
	return a;
}

static const enum reply_class class_of_list[LIST_COUNT] = {
	[LIST_CLIENT] = ABOUT_CLIENT,
	[LIST_HELO] = ABOUT_HELO,
	[LIST_SENDER] = ABOUT_SENDER,
	[LIST_RELAY] = ABOUT_RECIPIENT,
	[LIST_RECIPIENT] = ABOUT_RECIPIENT,
	[LIST_DATA] = ABOUT_DATA,
	[LIST_END_OF_DATA] = ABOUT_END,
	[LIST_ETRN] = ABOUT_ETRN,
};

struct about
policy_about(struct policy_run *r)
{
	const struct phase *ph = &plan(r->policy, r->stage)[r->phase];
	for (unsigned i = r->depth; i-- > 0;)
		if (r->frames[i].about_class != 0)
			return (struct about){ (enum reply_class)r->frames[i].about_class, r->frames[i].about_object };
	return policy_about_class(r, ph->step == PHASE_LIST ? class_of_list[ph->list]
	    : ph->step == PHASE_UNLISTED_SENDER            ? ABOUT_SENDER
	                                                   : ABOUT_RECIPIENT);
}

static enum rc
resolved(struct policy_run *r, struct span addr, struct resolved **slot, const struct resolved **out, struct err *e)
{
	enum rc rc = RC_OK;
	if (*slot == NULL) {
		struct resolved *a = mem_alloc(sizeof *a);
		rc = address_resolve(r->policy->book, addr, a, e);
		if (rc == RC_OK)
			*slot = a;
		else
			mem_free(&a);
	}
	*out = *slot;
	return rc;
}

enum rc
policy_rcpt(struct policy_run *r, const struct resolved **out, struct err *e)
{
	return resolved(r, r->facts->rcpt, &r->rcpt, out, e);
}

enum rc
policy_sender(struct policy_run *r, const struct resolved **out, struct err *e)
{
	return resolved(r, r->facts->sender, &r->sender, out, e);
}

enum pol
policy_call(struct policy_run *r, const struct policy_list *l, bool permit_is_dunno)
{
	if (r->depth == r->frames_cap) {
		unsigned cap = r->frames_cap * 2;
		struct policy_frame *more = mem_calloc(cap, sizeof *more);
		memcpy(more, r->frames, r->depth * sizeof *more);
		if (r->frames != r->frame_space)
			mem_free(&r->frames);
		r->frames = more;
		r->frames_cap = cap;
	}
	r->frames[r->depth++] = (struct policy_frame){ .list = l, .permit_is_dunno = permit_is_dunno };
	return POL_CALL;
}

/* ---- the loop ---- */

static const char *
outcome_name(enum pol pol)
{
	static const char *const names[] = {
		[POL_DUNNO] = "dunno",
		[POL_PERMIT] = "permit",
		[POL_REFUSE] = "refuse",
		[POL_CALL] = "list",
		[POL_WAIT] = "wait",
		[POL_AGAIN] = "wait",
	};
	return names[pol];
}

static void
trace(struct policy_run *r, const struct policy_list *list, const struct policy_rule *rule, unsigned depth, const char *result)
{
	if (r->trace != NULL)
		r->trace->rule(r->trace, r, list, rule, depth, result);
}

/* After a rule of the given depth: warn_if_reject covers one rule and all inside it. */
static void
rule_over(struct policy_run *r, unsigned depth)
{
	if (r->warn >= depth)
		r->warn = 0;
}

static enum pol
unwind_permit(struct policy_run *r)
{
	while (r->depth > 0) {
		const struct policy_frame *f = &r->frames[r->depth - 1];
		if (f->permit_is_error != NULL)
			return policy_permit_forbidden(r, f->permit_is_error);
		bool stop = f->permit_is_dunno;
		r->depth--;
		rule_over(r, r->depth);
		if (stop)
			break;
	}
	return POL_DUNNO;
}

/* What a permit is about, for the log. */
static struct about
permit_about(struct policy_run *r, policy_rule_fn *fn)
{
	if (matchlist_empty(r->policy->permit_log))
		return (struct about){ 0 };
	if (fn == r_permit)
		return policy_about(r);
	return policy_about_class(r, fn == r_auth_destination ? ABOUT_RECIPIENT : ABOUT_CLIENT);
}

static enum pol
run_rule(struct policy_run *r, const struct policy_rule *rule)
{
	if (rule->row == NULL)
		return r->depth >= POLICY_DEPTH_MAX
		    ? policy_server_error(r, rule, "restriction class %s: nested too deep", rule->shown)
		    : policy_call(r, rule->class, false);
	if ((rule->row->needs & ~known(r->facts)) != 0)
		return POL_DUNNO;
	enum pol pol = rule->row->fn(r, rule);
	if (pol == POL_PERMIT && rule->row->kind == PERMITS)
		return policy_permit(r, span_str(rule->row->name), permit_about(r, rule->row->fn), NULL);
	return pol;
}

/* The message goes nowhere: nothing more is asked. */
static bool
is_discarded(const struct policy_run *r)
{
	return r->verdict.discard || r->facts->is_discarded;
}

/* What rules found out no longer fits, or they may not ask any more: what they say from here on is worth nothing, so the
 * mail waits. */
static enum pol
no_room(struct policy_run *r)
{
	struct verdict *v = &r->verdict;
	const struct verdict_note note = { NOTE_TROUBLE,
		r->text.over        ? SPAN("the restriction lists need more text than an evaluation may")
		    : r->did_too_much ? SPAN("the restriction lists have more actions about a message than an evaluation may")
		                      : SPAN("the restriction lists ask the DNS more than an evaluation may") };
	if (v->nnotes == VERDICT_NOTES)
		v->nnotes--; /* the last of many of one kind matters less */
	v->notes[v->nnotes++] = note;
	timer_clear(&r->timer);
	ops_cancel_all(&r->waits);
	v->kind = VERDICT_REFUSE;
	v->code = 451;
	v->reply = r->text.over || r->did_too_much ? SPAN("451 4.3.5 Server configuration error") : SPAN("451 4.3.0 Temporary lookup failure");
	v->close = false;
	return POL_REFUSE;
}

static bool
is_over(const struct policy_run *r)
{
	return r->text.over || r->asked_too_much || r->did_too_much;
}

/* Runs the pushed lists to their end. POL_DUNNO: all said nothing more. */
static enum pol
run_lists(struct policy_run *r)
{
	for (unsigned n = 0; r->depth > 0; n++) {
		struct policy_frame *f = &r->frames[r->depth - 1];
		if (is_discarded(r)) {
			r->depth = 0;
			break;
		}
		if (f->next >= f->list->count) {
			r->depth--;
			rule_over(r, r->depth);
			continue;
		}
		const struct policy_list *list = f->list;
		const struct policy_rule *rule = &list->rules[f->next++];
		unsigned depth = r->depth;
		enum pol pol = n < RULES_MAX ? run_rule(r, rule) : policy_server_error(r, rule, "too many rules");
		if (is_over(r) && pol != POL_REFUSE)
			return no_room(r);
		if (pol != POL_AGAIN && pol != POL_WAIT)
			ops_cancel_all(&r->waits); /* it asked for more than it needed in the end */
		if (r->trace != NULL && pol != POL_AGAIN)
			trace(r, list, rule, depth, (rule->row != NULL && (rule->row->needs & ~known(r->facts)) != 0) ? "skipped" : outcome_name(pol));
		switch (pol) {
		case POL_DUNNO:
			if (rule->row == NULL || rule->row->fn != r_warn_if_reject)
				rule_over(r, depth);
			if (r->if_permit.code != 0 && r->if_reject.code != 0)
				r->depth = 0; /* whatever comes, it is a deferral */
			break;
		case POL_PERMIT:
			r->verdict.permit_rule = rule->row != NULL ? rule->row->name : NULL;
			r->verdict.permit_list = r->frames[0].list->name;
			rule_over(r, depth);
			if (unwind_permit(r) == POL_REFUSE)
				return POL_REFUSE;
			break;
		case POL_CALL:
			break;
		case POL_AGAIN:
			r->frames[depth - 1].next--;
			return POL_WAIT;
		case POL_REFUSE:
		case POL_WAIT:
			return pol;
		}
	}
	return POL_DUNNO;
}

/* For the next commands of the session, when their own lists have not run yet. */
static void
carry(struct policy_run *r)
{
	unsigned slot = r->stage == POLICY_CONNECT ? 0 : r->stage == POLICY_HELO ? 1 : 2;
	for (unsigned i = slot; i < NELEMS(r->carried); i++) {
		mem_free(&r->carried[i].reply);
		r->carried[i].code = r->if_permit.code;
		if (r->if_permit.code != 0) {
			r->carried[i].reply = mem_zalloc(r->if_permit.reply.n + 1);
			memcpy(r->carried[i].reply, r->if_permit.reply.p, r->if_permit.reply.n);
			r->carried[i].rule = r->if_permit.rule;
			r->carried[i].list = r->if_permit.list;
		}
	}
}

static void
take_carried(struct policy_run *r)
{
	if (r->policy->p->p_smtpd_delay_reject)
		return;
	int slot = r->stage == POLICY_HELO || r->stage == POLICY_ETRN ? 0 : r->stage == POLICY_MAIL ? 1 : r->stage == POLICY_RCPT ? 2 : -1;
	if (slot < 0 || r->carried[slot].code == 0)
		return;
	r->if_permit = (struct policy_deferral){ r->carried[slot].code, arena_span(&r->text, span_str(r->carried[slot].reply)),
		r->carried[slot].rule, r->carried[slot].list };
}

static enum pol
begin_phase(struct policy_run *r, const struct phase *ph)
{
	const struct params *p = r->policy->p;
	if ((ph->needs & ~known(r->facts)) != 0)
		return POL_DUNNO;
	switch (ph->step) {
	case PHASE_LIST:
		if (ph->resets)
			r->if_reject.code = 0;
		r->warn = 0;
		if (r->policy->lists[ph->list] != NULL && r->policy->lists[ph->list]->count > 0)
			policy_call(r, r->policy->lists[ph->list], false);
		break;
	case PHASE_UNLISTED_SENDER:
		r->warn = 0;
		if (p->p_smtpd_reject_unlisted_sender && !r->sender_checked && !is_discarded(r) && r->facts->sender.n > 0) {
			enum pol pol = r_unlisted_sender(r, &policy_implicit_sender);
			if (pol != POL_AGAIN)
				trace(r, NULL, &policy_implicit_sender, 1, outcome_name(pol));
			return pol;
		}
		break;
	case PHASE_UNLISTED_RCPT:
		r->warn = 0;
		if (p->p_smtpd_reject_unlisted_recipient && !r->rcpt_checked && !is_discarded(r)) {
			enum pol pol = r_unlisted_recipient(r, &policy_implicit_rcpt);
			if (pol != POL_AGAIN)
				trace(r, NULL, &policy_implicit_rcpt, 1, outcome_name(pol));
			return pol;
		}
		break;
	case PHASE_DEFER_IF:
		if (r->if_permit.code != 0) {
			struct verdict *v = &r->verdict;
			v->kind = VERDICT_REFUSE;
			v->code = r->if_permit.code;
			v->reply = r->if_permit.reply;
			v->rule = r->if_permit.rule;
			v->list = r->if_permit.list;
			v->close = v->code == 421;
			return POL_REFUSE;
		}
		break;
	case PHASE_CARRY:
		carry(r);
		break;
	case PHASE_END:
		break;
	}
	return POL_DUNNO;
}

/* true: the verdict is there. */
static bool
advance(struct policy_run *r)
{
	const struct phase *phases = plan(r->policy, r->stage);
	for (;; r->phase++) {
		enum pol pol = POL_DUNNO;
		if (r->depth == 0)
			pol = begin_phase(r, &phases[r->phase]);
		if (pol == POL_DUNNO)
			pol = run_lists(r);
		if (pol == POL_WAIT || pol == POL_AGAIN)
			return false; /* with nothing pushed the phase begins again */
		if (pol == POL_REFUSE || phases[r->phase].step == PHASE_END)
			break;
	}
	if (is_over(r) && r->verdict.kind == VERDICT_NONE)
		(void)no_room(r);
	if (r->verdict.kind == VERDICT_NONE)
		r->verdict.kind = VERDICT_PERMIT;
	r->is_running = false;
	return true;
}

/* Addresses that can never be delivered are told so whatever the lists say (facts 5.2.2). */
static enum pol
look_at_address(struct policy_run *r)
{
	const struct resolved *a = NULL;
	struct err e;
	bool sender = r->stage == POLICY_MAIL;
	if (sender ? !r->facts->has_sender || r->facts->sender.n == 0 : r->stage != POLICY_RCPT || !r->facts->has_rcpt)
		return POL_DUNNO;
	enum rc rc = sender ? policy_sender(r, &a, &e) : policy_rcpt(r, &a, &e);
	if (rc != RC_OK)
		return policy_lookup_failed(r, NULL, sender ? r->facts->sender : r->facts->rcpt, &e);
	if (!a->is_bad)
		return POL_DUNNO;
	return sender ? policy_refuse_text(r, NULL, 501, SPAN("5.1.7"), SPAN("Bad sender address syntax"))
	              : policy_refuse_text(r, NULL, 501, SPAN("5.1.3"), SPAN("Bad recipient address syntax"));
}

/* true: the verdict is there. */
static bool
go_on(struct policy_run *r)
{
	map_forget();
	if (!r->is_looked_at) {
		enum pol pol = look_at_address(r);
		if (pol == POL_AGAIN)
			return false;
		r->is_looked_at = true;
		if (pol == POL_REFUSE) {
			r->is_running = false;
			return true;
		}
	}
	return advance(r);
}

/* ---- runs ---- */

void
policy_run_init(struct policy_run *r, struct op_owner *owner, op_fn *done)
{
	*r = (struct policy_run){ .magic = RUN_MAGIC, .frames_cap = NELEMS(r->frame_space) };
	r->frames = r->frame_space;
	op_init(&r->op, owner, done);
	op_owner_init(&r->waits);
	list_init(&r->needs);
	arena_init(&r->text, POLICY_ARENA_MAX);
	buf_init(&r->scratch, POLICY_TEXT_MAX);
}

void
policy_run_reset(struct policy_run *r)
{
	op_cancel(&r->op);
	if (r->verdict.kind == VERDICT_NONE && !r->is_running)
		return;
	while (r->made != NULL) {
		struct policy_list *l = r->made;
		r->made = l->next;
		mem_free(&l->rules);
		mem_free(&l);
	}
	if (r->frames != r->frame_space && r->frames != NULL) {
		mem_free(&r->frames);
		r->frames = r->frame_space;
		r->frames_cap = NELEMS(r->frame_space);
	}
	while (!list_empty(&r->needs)) {
		struct policy_need *n = list_entry(r->needs.next, struct policy_need, link);
		list_remove(&n->link);
		n->kind->fini(n);
	}
	mem_free(&r->rcpt);
	mem_free(&r->sender);
	if (r->text.used > 0 || r->text.over)
		arena_fini(&r->text);
	buf_fini(&r->scratch);
	r->verdict = (struct verdict){ 0 };
	r->depth = r->phase = r->warn = 0;
	r->is_running = r->rcpt_checked = r->sender_checked = r->is_looked_at = r->asked_too_much = r->did_too_much = false;
	r->if_permit.code = r->if_reject.code = 0;
	r->policy = NULL;
	r->facts = NULL;
}

void
policy_run_fini(struct policy_run *r)
{
	if (r->frames == NULL)
		return; /* never initialised */
	policy_run_reset(r);
	for (size_t i = 0; i < NELEMS(r->carried); i++) {
		mem_free(&r->carried[i].reply);
		r->carried[i].code = 0;
	}
	arena_fini(&r->text);
}

bool
policy_run_now(struct policy_run *r, const struct policy *p, enum policy_stage stage, const struct facts *f)
{
	CHECK(r, RUN_MAGIC);
	policy_run_reset(r);
	r->policy = p;
	r->facts = f;
	r->stage = stage;
	r->is_running = true;
	take_carried(r);
	/* RFC 5321 section 4.5.1: postmaster without a domain is always taken */
	if (stage == POLICY_RCPT && f->has_rcpt && span_caseeq_str(f->rcpt, "postmaster")) {
		r->verdict.kind = VERDICT_PERMIT;
		r->is_running = false;
		return true;
	}
	if (go_on(r))
		return true;
	op_pend(&r->op, &provider);
	return false;
}

void
policy_continue(struct policy_run *r)
{
	CHECK(r, RUN_MAGIC);
	if (r->op.state == OP_PENDING && go_on(r))
		op_finish(&r->op, RC_OK);
}

void
policy_need_add(struct policy_run *r, struct policy_need *n, const struct policy_need_kind *kind)
{
	n->kind = kind;
	list_init(&n->link);
	list_append(&r->needs, &n->link);
}

/* ---- tables that are elsewhere ---- */

struct need_maps {
	struct policy_need need;
	struct policy_run *run;
	struct map_wait wait;
};

static void
maps_fini(struct policy_need *n)
{
	struct need_maps *m = container_of(n, struct need_maps, need);
	map_wait_fini(&m->wait);
	mem_free(&m);
}

static const struct policy_need_kind maps_kind = { "maps", maps_fini };

static void
maps_done(struct op *op)
{
	policy_need_done(container_of(op, struct need_maps, wait.op)->run);
}

enum pol
policy_await_maps(struct policy_run *r)
{
	struct need_maps *m = mem_zalloc(sizeof *m);
	m->run = r;
	map_wait_init(&m->wait, &r->waits, maps_done);
	policy_need_add(r, &m->need, &maps_kind);
	map_wait_start(&m->wait);
	return POL_AGAIN;
}

void
policy_need_done(struct policy_run *r)
{
	if (op_owner_idle(&r->waits))
		policy_continue(r);
}
