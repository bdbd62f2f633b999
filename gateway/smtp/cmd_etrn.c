/* SPDX-License-Identifier: BSD-2-Clause */
/* ETRN (RFC 1985): a site asks that its mail be tried now. Facts 7.5; replies have no enhanced codes. */
#include "smtp/session.h"

#include "base/mem.h"
#include "ipc/msgs.h"
#include "msg/addr.h"
#include "smtp/milter.h"

enum { ETRN_USEC = 10 * 1000 * 1000 };

void
sess_forget_call(struct sess *s)
{
	if (s->maps != NULL)
		map_wait_fini(s->maps);
	mem_free(&s->maps);
	if (s->call == NULL)
		return;
	ipc_call_fini(s->call);
	mem_free(&s->call);
}

static enum step
done(struct sess *s)
{
	s->facts.etrn_domain = SPAN_EMPTY;
	sess_forget_call(s);
	return STEP_END;
}

static enum step
etrn_parse(struct sess *s)
{
	struct span rest = s->args, site, more;
	if (s->svc->p->p_smtpd_helo_required && !s->facts.has_helo) {
		sess_reply(s, REPLY_ETRN_HELO);
		return STEP_END;
	}
	if (s->tx != NULL) {
		sess_reply(s, REPLY_ETRN_IN_MAIL);
		return STEP_END;
	}
	if (!span_word(&rest, " \t", &site) || span_word(&rest, " \t", &more)) {
		sess_reply(s, REPLY_SYNTAX_ETRN);
		return STEP_END;
	}
	if (sess_milter_denies(s, false))
		return STEP_END;
	if (site.p[0] == '@' || site.p[0] == '#')
		site = span_from(site, 1);
	if (!addr_is_hostname(site, false) && !addr_is_literal(site)) {
		sess_reply(s, REPLY_BAD_ETRN);
		return STEP_END;
	}
	s->facts.etrn_domain = arena_span(&s->scratch, site);
	return sess_await_name(s);
}

static enum step
etrn_policy(struct sess *s)
{
	return sess_ask(s, POLICY_ETRN);
}

static void
refused(struct sess *s, enum reply_id id, const char *what)
{
	struct span site = s->facts.etrn_domain;
	sess_warn(s, "%s ETRN %.*s... from %.*s", what, (int)(site.n < 100 ? site.n : 100), (const char *)site.p, (int)s->client.n,
	    (const char *)s->client.p);
	sess_reply_text(s, id, site);
}

static enum step
etrn_verdict(struct sess *s)
{
	enum step next = sess_verdict(s);
	if (next != STEP_NEXT) {
		(void)done(s);
		return next;
	}
	return STEP_NEXT;
}

static void
on_maps(struct op *op)
{
	sess_resume(container_of(op->owner, struct sess, ops));
}

static enum step
etrn_domain(struct sess *s)
{
	struct err e;
	map_forget();
	switch (matchlist_name(s->svc->flush_domains, s->facts.etrn_domain, &e)) {
	case RC_OK:
		return STEP_NEXT;
	case RC_NONE:
		refused(s, REPLY_ETRN_DENIED, "reject:");
		break;
	case RC_TEMP:
	case RC_PERM:
		if (map_asked()) {
			if (s->maps == NULL)
				map_wait_init(s->maps = mem_zalloc(sizeof *s->maps), &s->ops, on_maps);
			map_wait_start(s->maps);
			return STEP_AGAIN;
		}
		sess_warn(s, "fast_flush_domains: %s", e.why);
		sess_reply(s, REPLY_ETRN_FAILED);
		break;
	}
	return done(s);
}

static void
on_answer(struct op *op)
{
	struct sess *s = container_of(op->owner, struct sess, ops);
	sess_resume(s);
}

static enum step
etrn_ask(struct sess *s)
{
	if (!edge_queue_is_up(s->edge)) {
		sess_warn(s, "ETRN: the queue is not there");
		sess_reply(s, REPLY_ETRN_FAILED);
		return done(s);
	}
	sess_forget_call(s);
	s->call = mem_alloc(sizeof *s->call);
	ipc_call_init(s->call, &s->ops, on_answer);
	msg_etrn_put(ipc_call_begin(s->call, s->edge->queue, IPC_ETRN), s->facts.etrn_domain);
	ipc_call_send(s->call, ETRN_USEC);
	return STEP_WAIT;
}

static enum step
etrn_got(struct sess *s)
{
	bool started = false;
	if (s->call->op.rc == RC_OK && msg_etrn_answer_get(buf_span(&s->call->reply), &started) == RC_OK && started)
		sess_reply(s, REPLY_ETRN_OK);
	else
		refused(s, REPLY_ETRN_FAILED, "unable to queue messages:");
	return done(s);
}

const struct step_row etrn_steps[] = {
	{ "etrn_parse", etrn_parse },
	{ "etrn_policy", etrn_policy },
	{ "etrn_verdict", etrn_verdict },
	{ "etrn_domain", etrn_domain },
	{ "etrn_ask", etrn_ask },
	{ "etrn_got", etrn_got },
};
