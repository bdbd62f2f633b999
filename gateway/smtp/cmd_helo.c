/* SPDX-License-Identifier: BSD-2-Clause */
/* HELO and EHLO: the client's name, and the end of whatever transaction there was. */
#include "smtp/milter.h"

/* Printable, and without what could end a word or open a comment in a header or a log line. */
static struct span
clean_name(struct sess *s, struct span name)
{
	struct buf b;
	buf_init(&b, 2 * HELO_MAX);
	buf_put_safe(&b, name, HELO_MAX, true);
	for (size_t i = 0; i < buf_len(&b); i++)
		if (memchr(" <>()\\\";@", b.p[b.at + i], 9) != NULL)
			b.p[b.at + i] = '?';
	struct span out = arena_span(&s->scratch, span_head(buf_span(&b), HELO_MAX));
	buf_fini(&b);
	return out;
}

static enum step
take_name(struct sess *s, bool esmtp)
{
	if (s->args.n == 0) {
		sess_reply(s, esmtp ? REPLY_SYNTAX_EHLO : REPLY_SYNTAX_HELO);
		return STEP_END;
	}
	sess_milter_name(s, s->args);
	s->facts.helo = clean_name(s, s->args);
	s->facts.has_helo = true; /* ESMTP only when it is accepted, as in Postfix */
	policy_prefetch(&s->pol, s->svc->policy, PREFETCH_HELO, &s->facts);
	return STEP_NEXT;
}

static enum step
helo_name(struct sess *s)
{
	return take_name(s, false);
}

static enum step
ehlo_name(struct sess *s)
{
	return take_name(s, true);
}

static enum step
helo_policy(struct sess *s)
{
	return sess_ask(s, POLICY_HELO);
}

/* A refused name was not given: the one before stays, and the transaction. */
static enum step
helo_verdict(struct sess *s)
{
	enum step next = sess_verdict(s);
	if (next != STEP_NEXT)
		sess_set_helo(s, span_of(s->helo, s->helo_n));
	return next;
}

/* A milter ends the session: the same. */
static enum step
helo_milter_over(struct sess *s)
{
	enum step next = helo_milter_said(s);
	if (next != STEP_NEXT)
		sess_set_helo(s, span_of(s->helo, s->helo_n));
	return next;
}

void
sess_set_helo(struct sess *s, struct span name)
{
	s->helo_n = (uint16_t)(name.n < HELO_MAX ? name.n : HELO_MAX);
	if (s->helo_n > 0)
		memmove(s->helo, name.p, s->helo_n);
	s->facts.helo = span_of(s->helo, s->helo_n);
	s->facts.has_helo = s->helo_n > 0;
}

static enum step
helo_accept(struct sess *s)
{
	sess_end_tx(s);
	sess_set_helo(s, s->facts.helo);
	s->facts.is_esmtp = s->verb == VERB_EHLO;
	unsigned tested = triage_hides(s);
	if (s->facts.is_esmtp && sess_milter_refuses(s)) { /* nothing is promised to whom nothing will be done for */
		service_ehlo(s->svc, s->svc->keywords & 1u << EHLO_ENHANCEDSTATUSCODES, SPAN_EMPTY, conn_out(&s->conn));
		return STEP_END;
	}
	if (s->facts.is_esmtp && (s->may_xclient || s->may_xforward || s->facts.is_tls || s->svc->sasl != NULL || tested != 0)) {
		unsigned hidden = tested | (s->facts.is_tls ? 1u << EHLO_STARTTLS : 0) | (s->may_xclient ? 0 : 1u << EHLO_XCLIENT) |
		    (s->may_xforward ? 0 : 1u << EHLO_XFORWARD);
		struct buf mechs;
		buf_init(&mechs, 2048);
		hidden |= sess_offers_auth(s, &mechs) ? 0 : 1u << EHLO_AUTH;
		service_ehlo(s->svc, s->svc->keywords & ~hidden, buf_span(&mechs), conn_out(&s->conn));
		buf_fini(&mechs);
		return STEP_END;
	}
	conn_put(&s->conn, buf_span(s->facts.is_esmtp ? &s->svc->ehlo_reply : &s->svc->helo_reply));
	return STEP_END;
}

const struct step_row helo_steps[] = {
	{ "helo_name", helo_name },
	{ "helo_policy", helo_policy },
	{ "helo_verdict", helo_verdict },
	{ "helo_milter", helo_milter },
	{ "helo_milter_said", helo_milter_over },
	{ "helo_accept", helo_accept },
};

const struct step_row ehlo_steps[] = {
	{ "ehlo_client", sess_await_name_first },
	{ "ehlo_name", ehlo_name },
	{ "helo_policy", helo_policy },
	{ "helo_verdict", helo_verdict },
	{ "helo_milter", helo_milter },
	{ "helo_milter_said", helo_milter_over },
	{ "helo_accept", helo_accept },
};
