/* SPDX-License-Identifier: BSD-2-Clause */
/* RCPT, and VRFY, which asks the same question without consequences; completing addresses. */
#include "smtp/milter.h"

#include "base/metric.h"
#include "policy/standard.h"

/* facts 5.2.2: allow_min_user = no */
bool
sess_bad_user(const struct sess *s, const struct addr *a)
{
	return a->text.n > 0 && a->text.p[0] == '-' && !s->svc->p->p_allow_min_user;
}

struct span
sess_complete(struct sess *s, const struct addr *a)
{
	return standard_complete(s->svc->p, a, &s->tx->arena);
}

static enum step
bad_address(struct sess *s, struct span text)
{
	LOG(smtpd_syntax, &s->log, F_SPAN(client, s->client), F_STR(stage, s->where), F_SPAN(text, span_head(text, 200)));
	sess_reply(s, REPLY_BAD_RCPT);
	return STEP_END;
}

static unsigned
how(const struct sess *s)
{
	return (s->svc->p->p_strict_rfc821_envelopes ? (unsigned)ADDR_STRICT : 0) | (s->svc->p->p_smtputf8_enable ? (unsigned)ADDR_UTF8 : 0);
}

/* Recipients over the limit are not the client's error until it overdoes it. */
static enum step
too_many(struct sess *s)
{
	metric_add(M_smtpd_rcpt_limit, 1);
	sess_refuse(s, REPLY_TOO_MANY_RCPTS);
	if (s->overshoot++ < (uint64_t)s->svc->p->p_smtpd_recipient_overshoot_limit)
		s->failed = false;
	return STEP_END;
}

static enum step
rcpt_parse(struct sess *s)
{
	struct span path, rest;
	struct tx *tx = s->tx;
	struct param_fault fault;
	struct err e;
	tx_hold_forget_rcpt(tx);
	if (!syntax_keyword(s->args, SPAN("TO:"), &path) || span_trim(path).n == 0) {
		sess_reply(s, REPLY_SYNTAX_RCPT);
		return STEP_END;
	}
	if (sess_rate_exceeded(s, RATE_RECIPIENT))
		return STEP_END;
	if (tx->nsaid >= (uint64_t)s->svc->p->p_smtpd_recipient_limit)
		return too_many(s);
	/* in scratch until it is accepted: what is refused must not fill the transaction's memory */
	if (addr_parse_path(path, how(s), &s->scratch, &s->addr, &rest, &e) != RC_OK || s->addr.text.n == 0 || sess_bad_user(s, &s->addr))
		return bad_address(s, path);
	sess_milter_args(s, path, rest);
	if (rcpt_params_parse(rest, &s->scratch, &s->rcpt_params, &fault) != RC_OK) {
		sess_reply_text(s, fault.param == PARAM_NOTIFY ? REPLY_BAD_NOTIFY : fault.param == PARAM_ORCPT ? REPLY_BAD_ORCPT : REPLY_BAD_OPTION,
		    span_head(fault.word, 200));
		return STEP_END;
	}
	if ((s->addr.flags & ADDR_HAS_8BIT) != 0 && !tx->params.is_smtputf8) {
		sess_reply(s, span_is_ascii(s->addr.domain) ? REPLY_NEED_SMTPUTF8 : REPLY_BAD_RCPT);
		return STEP_END;
	}
	if (sess_rate_names_exceeded(s, RATE_RECIPIENT))
		return STEP_END;
	s->facts.has_rcpt = true;
	s->facts.rcpt = s->addr.text;
	s->facts.nrcpt = tx->nsaid;
	policy_prefetch(&s->pol, s->svc->policy, PREFETCH_RCPT, &s->facts);
	return STEP_NEXT;
}

void
sess_forget_rcpt(struct sess *s)
{
	s->facts.has_rcpt = s->facts.is_vrfy = false;
	s->facts.rcpt = SPAN_EMPTY;
}

static enum step
rcpt_policy(struct sess *s)
{
	return sess_ask(s, POLICY_RCPT);
}

static enum step
rcpt_verdict(struct sess *s)
{
	enum step next = sess_verdict(s);
	if (next != STEP_NEXT)
		sess_forget_rcpt(s);
	return next;
}

/* Who wants to hear of refused recipients does, before the command is over. */
static enum step
rcpt_judge(struct sess *s)
{
	rcpt_milter_note(s, s->pol.verdict.reply);
	enum step next = rcpt_milter_told(s, sess_verdict(s));
	if (next != STEP_NEXT && next != STEP_WAIT)
		sess_forget_rcpt(s);
	return next;
}

/* "name[address]", or what of it is known */
static struct span
origin(struct sess *s, const struct forwarded *f)
{
	if (span_eq(f->addr, SPAN("unknown")))
		return f->name;
	struct buf b;
	buf_init(&b, 2 * FORWARD_MAX);
	buf_put(&b, f->name);
	buf_putc(&b, '[');
	buf_put(&b, f->addr);
	buf_putc(&b, ']');
	struct span out = arena_span(&s->scratch, buf_span(&b));
	buf_fini(&b);
	return out;
}

/* The first one gives the message its name. */
static void
name_message(struct sess *s)
{
	struct log_ctx ctx = s->log;
	if (s->svc->proxied == NULL) {
		tx_name(s->tx, s->edge->serial);
		s->facts.qid = s->tx->qid;
	}
	ctx.qid = s->tx->qid;
	ctx.noqueue = ctx.qid.n == 0;
	const struct facts *f = &s->facts;
	struct log_field fields[6] = { F_SPAN(client, s->client) };
	size_t n = 1;
	if (f->sasl_method.n > 0)
		fields[n++] = F_SPAN(sasl_method, f->sasl_method);
	if (f->login.n > 0)
		fields[n++] = F_SPAN(sasl_username, f->login);
	if (f->sasl_sender.n > 0)
		fields[n++] = F_SPAN(sasl_sender, f->sasl_sender);
	if (f->forward != NULL && f->forward->ident.n > 0)
		fields[n++] = F_SPAN(orig_queue_id, f->forward->ident);
	if (f->forward != NULL && f->forward->has_client)
		fields[n++] = F_SPAN(orig_client, origin(s, f->forward));
	log_event(EV_smtpd_client, &ctx, fields, n);
}

static enum step
rcpt_accept(struct sess *s)
{
	struct tx *tx = s->tx;
	sess_forget_rcpt(s);
	s->addr.text = arena_span(&tx->arena, s->addr.text);
	s->addr.local = span_head(s->addr.text, s->addr.local.n);
	s->addr.domain = s->addr.domain.n > 0 ? span_from(s->addr.text, s->addr.local.n + 1) : SPAN_EMPTY;
	struct env_rcpt r = { .addr = sess_complete(s, &s->addr), .orcpt = arena_span(&tx->arena, s->rcpt_params.orcpt), .notify = s->rcpt_params.notify, .held = tx->holding.next };
	if (!span_eq(r.addr, s->addr.text))
		r.orig = s->addr.text;
	if (!tx_add_rcpt(tx, &r))
		return too_many(s);
	tx->holding.some |= r.held;
	s->facts.nrcpt = tx->nsaid;
	if (tx->nsaid == 1) {
		tx->first_rcpt = s->addr.text;
		name_message(s);
	}
	sess_reply(s, REPLY_RCPT_OK);
	return STEP_END;
}

const struct step_row rcpt_steps[] = {
	{ "rcpt_parse", rcpt_parse },
	{ "rcpt_policy", rcpt_policy },
	{ "rcpt_verdict", rcpt_judge },
	{ "rcpt_milter", rcpt_milter },
	{ "rcpt_milter_said", rcpt_milter_said },
	{ "rcpt_filter_say", rcpt_filter_say },
	{ "rcpt_filter_said", rcpt_filter_said },
	{ "rcpt_accept", rcpt_accept },
};

/* ---- VRFY ---- */

static enum step
vrfy_parse(struct sess *s)
{
	if (s->svc->p->p_disable_vrfy_command) {
		sess_reply(s, REPLY_VRFY_OFF);
		return STEP_END;
	}
	struct span rest, word, path = s->args;
	if (path.n == 0) {
		sess_reply(s, REPLY_SYNTAX_VRFY);
		return STEP_END;
	}
	if (sess_milter_denies(s, false))
		return STEP_END;
	struct err e;
	unsigned flags = how(s) & ~(unsigned)ADDR_STRICT;
	bool ok = addr_parse_path(path, flags, &s->scratch, &s->addr, &rest, &e) == RC_OK && s->addr.text.n > 0 && !sess_bad_user(s, &s->addr);
	bool utf8 = ok && span_word(&rest, " \t", &word);
	if (utf8)
		ok = span_caseeq(word, SPAN("SMTPUTF8")) && !span_word(&rest, " \t", &word);
	if (!ok)
		return bad_address(s, path);
	if ((s->addr.flags & ADDR_HAS_8BIT) != 0 && !utf8) {
		sess_reply(s, REPLY_NEED_SMTPUTF8);
		return STEP_END;
	}
	s->args = arena_span(&s->scratch, path); /* the reply repeats it */
	s->facts.has_rcpt = s->facts.is_vrfy = true;
	s->facts.rcpt = s->addr.text;
	return STEP_NEXT;
}

static enum step
vrfy_answer(struct sess *s)
{
	sess_forget_rcpt(s);
	sess_reply_text(s, REPLY_VRFY_OK, s->args);
	return STEP_END;
}

const struct step_row vrfy_steps[] = {
	{ "vrfy_parse", vrfy_parse },
	{ "vrfy_name", sess_await_name },
	{ "vrfy_policy", rcpt_policy },
	{ "vrfy_verdict", rcpt_verdict },
	{ "vrfy_answer", vrfy_answer },
};
