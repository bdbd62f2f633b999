/* SPDX-License-Identifier: BSD-2-Clause */
/* MAIL: a transaction begins when sender, parameters, room and policy are all fine. */
#include "smtp/milter.h"

#include "base/metric.h"

static bool
is_too_large(struct sess *s, const struct mail_params *m)
{
	int64_t limit = s->svc->p->p_message_size_limit;
	if (!m->has_size)
		return false;
	if (m->size > INT64_MAX) {
		sess_refuse(s, REPLY_SIZE_HUGE);
	} else if (limit != 0 && m->size > (uint64_t)limit) {
		metric_add(M_smtpd_size_limit, 1);
		sess_refuse(s, REPLY_SIZE_LIMIT);
	} else {
		return false;
	}
	return true;
}

/* The spool takes nothing, or would not have room for the largest message and half of another (facts 10.7). */
static bool
lacks_room(struct sess *s, const struct mail_params *m)
{
	const struct edge *e = s->edge;
	if (!edge_queue_is_up(e)) {
		metric_add(M_smtpd_spool_temp, 1);
		sess_refuse(s, REPLY_NO_QUEUE);
		return true;
	}
	uint64_t need = (uint64_t)s->svc->p->p_message_size_limit / 2 * 3;
	if (need < (uint64_t)s->svc->p->p_queue_minfree)
		need = (uint64_t)s->svc->p->p_queue_minfree;
	if (e->accepting && (e->free_bytes == UINT64_MAX || (e->free_bytes >= need && m->size <= e->free_bytes)))
		return false;
	metric_add(M_smtpd_spool_temp, 1);
	sess_refuse(s, REPLY_NO_SPACE);
	return true;
}

static void
bad_parameter(struct sess *s, const struct param_fault *f)
{
	static const enum reply_id replies[PARAM_COUNT] = {
		[PARAM_NONE] = REPLY_BAD_OPTION, [PARAM_SIZE] = REPLY_BAD_SIZE, [PARAM_BODY] = REPLY_BAD_OPTION, [PARAM_SMTPUTF8] = REPLY_BAD_OPTION,
		[PARAM_RET] = REPLY_BAD_RET, [PARAM_ENVID] = REPLY_BAD_ENVID, [PARAM_AUTH] = REPLY_BAD_AUTH, [PARAM_NOTIFY] = REPLY_BAD_NOTIFY,
		[PARAM_ORCPT] = REPLY_BAD_ORCPT,
	};
	bool is_twice = f->param == PARAM_AUTH && s->tx->params.has_auth;
	sess_reply_text(s, is_twice ? REPLY_AUTH_PARAM_TWICE : replies[f->param], span_head(f->word, 200));
}

static enum step
no_tx(struct sess *s)
{
	sess_undo_mail(s);
	return STEP_END;
}

static enum step
mail_parse(struct sess *s)
{
	const struct params *p = s->svc->p;
	if (p->p_smtpd_helo_required && !s->facts.has_helo) {
		sess_reply(s, REPLY_NEED_HELO);
		return STEP_END;
	}
	struct span path, rest;
	if (!syntax_keyword(s->args, SPAN("FROM:"), &path) || span_trim(path).n == 0) {
		sess_reply(s, REPLY_SYNTAX_MAIL);
		return STEP_END;
	}
	if (sess_rate_exceeded(s, RATE_MESSAGE))
		return STEP_END;
	s->tx = tx_begin(s->edge, s);
	struct tx *tx = s->tx;
	s->facts.transaction++;
	unsigned how = (p->p_strict_rfc821_envelopes ? (unsigned)ADDR_STRICT : 0) | (p->p_smtputf8_enable ? (unsigned)ADDR_UTF8 : 0);
	struct err e;
	struct param_fault fault;
	if (addr_parse_path(path, how, &tx->arena, &tx->sender, &rest, &e) != RC_OK || sess_bad_user(s, &tx->sender)) {
		LOG(smtpd_syntax, &s->log, F_SPAN(client, s->client), F_STR(stage, s->where), F_SPAN(text, span_head(path, 200)));
		sess_reply(s, REPLY_BAD_SENDER);
		return no_tx(s);
	}
	sess_milter_args(s, path, rest);
	if (mail_params_parse(rest, &tx->arena, &tx->params, &fault) != RC_OK) {
		bad_parameter(s, &fault);
		return no_tx(s);
	}
	if (tx->params.is_smtputf8 && (s->svc->keywords & 1u << EHLO_SMTPUTF8) == 0) {
		sess_reply_text(s, REPLY_BAD_OPTION, SPAN("SMTPUTF8"));
		return no_tx(s);
	}
	if ((tx->sender.flags & ADDR_HAS_8BIT) != 0 && !tx->params.is_smtputf8) {
		sess_reply(s, span_is_ascii(tx->sender.domain) ? REPLY_NEED_SMTPUTF8 : REPLY_BAD_SENDER);
		return no_tx(s);
	}
	s->facts.has_sender = true;
	s->facts.sender = tx->sender.text;
	s->facts.is_smtputf8 = tx->params.is_smtputf8;
	s->facts.size_bytes = tx->params.size;
	if (tx->params.auth.n > 0 && s->svc->sasl != NULL)
		s->facts.sasl_sender = tx->params.auth;
	if (sess_rate_names_exceeded(s, RATE_MESSAGE) || is_too_large(s, &tx->params) || lacks_room(s, &tx->params))
		return no_tx(s);
	policy_prefetch(&s->pol, s->svc->policy, PREFETCH_SENDER, &s->facts);
	return STEP_NEXT;
}

static enum step
mail_policy(struct sess *s)
{
	return sess_ask(s, POLICY_MAIL);
}

static enum step
mail_verdict(struct sess *s)
{
	enum step next = sess_verdict(s);
	if (next != STEP_NEXT)
		sess_undo_mail(s);
	return next;
}

static enum step
mail_accept(struct sess *s)
{
	struct tx *tx = s->tx;
	tx->env_sender = sess_complete(s, &tx->sender);
	sess_reply(s, REPLY_MAIL_OK);
	return STEP_END;
}

const struct step_row mail_steps[] = {
	{ "mail_client", sess_await_name_first },
	{ "mail_parse", mail_parse },
	{ "mail_name", sess_await_name },
	{ "mail_headers", mail_headers },
	{ "mail_policy", mail_policy },
	{ "mail_verdict", mail_verdict },
	{ "mail_milter", mail_milter },
	{ "mail_milter_said", mail_milter_said },
	{ "mail_filter_start", mail_filter_start },
	{ "mail_filter_say", mail_filter_say },
	{ "mail_filter_said", mail_filter_said },
	{ "mail_accept", mail_accept },
};
