/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the client is called. The questions leave when it connects; the banner does not wait for them. The line "connect
 * from" is written when the name is known, or before the first line of the session that cannot wait; MAIL and whatever
 * else judges the client or writes its name down begins with a step sess_await_name.
 */
#include "smtp/session.h"

#include "base/mem.h"

void
sess_announce(struct sess *s)
{
	if (s->is_announced || !s->is_served) /* what triage keeps to itself never came as far as smtpd */
		return;
	s->is_announced = true;
	LOG(smtpd_connect, &s->log, F_SPAN(client, s->client));
}

static void
take_names(struct sess *s, struct dns_peer *p)
{
	struct client_id id = sess_client(s);
	id.name_rc = p->name_rc;
	id.name = p->name;
	id.reverse_rc = p->reverse_rc;
	id.reverse = p->reverse;
	sess_set_client(s, &id);
	s->is_forged = p->denied.n > 0 && p->denied_why == NULL;
	if (p->denied.n > 0) {
		struct buf b;
		buf_init(&b, 512);
		buf_puts(&b, "hostname ");
		buf_put(&b, p->denied);
		buf_puts(&b, " does not resolve to address ");
		buf_put(&b, s->facts.client_addr);
		if (p->denied_why != NULL) {
			buf_puts(&b, ": ");
			buf_puts(&b, p->denied_why);
		}
		LOG(smtpd_warning, &s->log, F_SPAN(text, buf_span(&b)));
		buf_fini(&b);
	}
	sess_announce(s);
	policy_prefetch(&s->pol, s->svc->policy, PREFETCH_CLIENT, &s->facts);
}

void
sess_forget_lookup(struct sess *s)
{
	if (s->peer == NULL)
		return;
	s->name_awaited = false;
	dns_peer_fini(s->peer);
	mem_free(&s->peer);
}

static void
on_names(struct op *op)
{
	struct sess *s = container_of(op->owner, struct sess, ops);
	bool awaited = s->name_awaited;
	s->name_awaited = false;
	take_names(s, s->peer);
	sess_forget_lookup(s);
	if (awaited)
		sess_resume(s);
}

void
sess_look_up_name(struct sess *s)
{
	sess_forget_lookup(s);
	policy_prefetch(&s->pol, s->svc->policy, PREFETCH_CONNECT, &s->facts);
	if (!s->svc->p->p_smtpd_peername_lookup) {
		sess_announce(s);
		return;
	}
	s->peer = mem_alloc(sizeof *s->peer);
	dns_peer_init(s->peer, &s->ops, on_names);
	if (!dns_peer_ask(s->peer, &s->facts.client, s->svc->p->p_dns_timeout))
		return;
	take_names(s, s->peer);
	sess_forget_lookup(s);
}

enum step
sess_await_name(struct sess *s)
{
	if (s->peer == NULL)
		return STEP_NEXT;
	s->name_awaited = true;
	return STEP_WAIT;
}

enum step
sess_await_name_first(struct sess *s)
{
	const struct edge_service *svc = s->svc;
	bool matters = s->verb == VERB_MAIL ? svc->p->p_smtpd_client_message_rate_limit > 0
	                                    : !matchlist_empty(svc->xclient_hosts) || !matchlist_empty(svc->xforward_hosts);
	if (s->peer == NULL || !matters)
		return STEP_NEXT;
	s->args = arena_span(&s->scratch, s->args); /* they would be gone after the wait */
	return sess_await_name(s);
}
