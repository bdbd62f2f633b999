/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BDAT (RFC 3030): chunks of content. Whatever is wrong, the announced octets are taken and never looked at as
 * commands; only when the number itself cannot be read does nobody know where the next command begins, and
 * the session ends.
 */
#include "smtp/milter.h"

#include "base/metric.h"

static enum step
refuse_chunk(struct sess *s, enum reply_id id)
{
	sess_reply(s, id);
	s->input = s->chunk_left > 0 ? INPUT_SWALLOW : INPUT_COMMAND;
	return STEP_END;
}

static enum step
bdat_parse_args(struct sess *s)
{
	if (bdat_parse(s->args, &s->chunk_left, &s->chunk_is_last) != RC_OK) {
		sess_shut(s, REPLY_SYNTAX_BDAT);
		return STEP_END;
	}
	s->chunk_size = s->chunk_left;
	if ((s->svc->keywords & 1u << EHLO_CHUNKING) == 0)
		return refuse_chunk(s, REPLY_NOT_IMPLEMENTED);
	struct tx *tx = s->tx;
	if (tx == NULL)
		return refuse_chunk(s, REPLY_NEED_RCPT);
	if (tx->nrcpt == 0)
		return refuse_chunk(s, REPLY_NO_VALID_RCPT);
	uint64_t limit = s->svc->content.size, have = tx->has_content ? tx->content.client_len : 0;
	if (limit != 0 && (have > limit || s->chunk_left > limit - have)) {
		metric_add(M_smtpd_size_limit, 1);
		sess_refuse(s, REPLY_CHUNK_TOO_BIG);
		sess_end_tx(s);
		s->input = s->chunk_left > 0 ? INPUT_SWALLOW : INPUT_COMMAND;
		return STEP_END;
	}
	s->facts.has_rcpt = tx->nsaid == 1;
	s->facts.rcpt = tx->first_rcpt;
	return STEP_NEXT;
}

/* The restrictions of DATA are asked with the first chunk. */
static enum step
bdat_policy(struct sess *s)
{
	return s->tx->chunking ? STEP_NEXT : sess_ask(s, POLICY_DATA);
}

static enum step
bdat_verdict(struct sess *s)
{
	if (s->tx->chunking)
		return STEP_NEXT;
	enum step next = sess_verdict(s);
	if (next != STEP_NEXT && s->input == INPUT_COMMAND && s->chunk_left > 0)
		s->input = INPUT_SWALLOW;
	return next;
}

static enum step
bdat_milter(struct sess *s)
{
	return s->tx->chunking ? STEP_NEXT : data_milter(s);
}

static enum step
bdat_milter_said(struct sess *s)
{
	if (s->tx->chunking)
		return STEP_NEXT;
	enum step next = data_milter_said(s);
	if (next != STEP_NEXT && s->input == INPUT_COMMAND && s->chunk_left > 0)
		s->input = INPUT_SWALLOW;
	return next;
}

static enum step
bdat_go(struct sess *s)
{
	if (!s->tx->chunking)
		data_begin(s, false);
	s->tx->chunking = true;
	s->content_began = loop_now();
	s->input = INPUT_CHUNK;
	return s->chunk_left > 0 ? STEP_END : STEP_NEXT; /* an empty chunk is over already */
}

/* All octets of the chunk are here. */
static enum step
chunk_over(struct sess *s)
{
	s->input = INPUT_COMMAND;
	s->failed = false;
	if (s->chunk_is_last)
		return STEP_NEXT;
	enum step next = data_fault(s);
	if (next != STEP_NEXT)
		return next;
	sess_reply_full(s, REPLY_CHUNK_OK, 0, SPAN_EMPTY, s->chunk_size);
	return STEP_END;
}

static enum step
chunk_last(struct sess *s)
{
	s->steps = end_steps;
	s->at = 0;
	return STEP_NEXT;
}

const struct step_row bdat_steps[] = {
	{ "bdat_parse", bdat_parse_args },
	{ "bdat_policy", bdat_policy },
	{ "bdat_verdict", bdat_verdict },
	{ "bdat_milter", bdat_milter },
	{ "bdat_milter_said", bdat_milter_said },
	{ "bdat_go", bdat_go },
	{ "chunk_over", chunk_over },
	{ "chunk_last", chunk_last },
};

static const struct step_row chunk_steps[] = {
	{ "chunk_over", chunk_over },
	{ "chunk_last", chunk_last },
};

size_t
chunk_input(struct sess *s, struct span in)
{
	in = span_head(in, s->chunk_left < in.n ? (size_t)s->chunk_left : in.n);
	size_t used = data_chunk_piece(s, in);
	s->chunk_left -= used;
	if (s->chunk_left == 0)
		sess_run_steps(s, chunk_steps);
	return used;
}
