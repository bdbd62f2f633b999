/* SPDX-License-Identifier: BSD-2-Clause */
/* Rules about the sender and the recipient. Facts 3.6 to 3.8. */
#include "msg/addr.h"
#include "policy/engine.h"

static const struct restriction implicit_rcpt_row = { .name = "reject_unlisted_recipient", .needs = NEED_RCPT, .kind = REJECTS,
	.fn = r_unlisted_recipient, .doc = "" };
static const struct restriction implicit_sender_row = { .name = "reject_unlisted_sender", .needs = NEED_SENDER, .kind = REJECTS,
	.fn = r_unlisted_sender, .doc = "" };
const struct policy_rule policy_implicit_rcpt = { .row = &implicit_rcpt_row, .shown = "reject_unlisted_recipient" };
const struct policy_rule policy_implicit_sender = { .row = &implicit_sender_row, .shown = "reject_unlisted_sender" };

/* ---- is it ours? ---- */

/* RC_OK, RC_NONE; RC_TEMP when it could not be found out. */
static enum rc
is_ours(struct policy_run *r, struct err *e)
{
	const struct resolved *a = NULL;
	enum rc rc = policy_rcpt(r, &a, e);
	if (rc != RC_OK)
		return RC_TEMP;
	if (a->domain.n == 0)
		return RC_OK; /* no domain at all: ours (facts 3.7) */
	return address_is_ours(r->policy->book, a, e);
}

static enum pol
relay_denied(struct policy_run *r, const struct policy_rule *rule, unsigned code, struct span dsn)
{
	struct buf text;
	struct err e;
	switch (is_ours(r, &e)) {
	case RC_OK:
		return POL_DUNNO;
	case RC_NONE:
		break;
	case RC_TEMP:
	case RC_PERM:
		return policy_lookup_failed(r, rule, r->facts->rcpt, &e);
	}
	buf_init(&text, 1000);
	buf_putc(&text, '<');
	buf_put(&text, span_head(r->facts->rcpt, 400));
	buf_puts(&text, ">: Relay access denied");
	enum pol pol = policy_refuse_text(r, rule, code, dsn, buf_span(&text));
	buf_fini(&text);
	return pol;
}

enum pol
r_unauth_destination(struct policy_run *r, const struct policy_rule *rule)
{
	return relay_denied(r, rule, policy_code(r->policy->p->p_relay_domains_reject_code), SPAN("5.7.1"));
}

enum pol
r_defer_destination(struct policy_run *r, const struct policy_rule *rule)
{
	unsigned code = policy_code(r->policy->p->p_relay_domains_reject_code);
	return relay_denied(r, rule, code >= 500 ? code - 100 : code, SPAN("4.7.1"));
}

enum pol
r_auth_destination(struct policy_run *r, const struct policy_rule *rule)
{
	struct err e;
	switch (is_ours(r, &e)) {
	case RC_OK:
		return POL_PERMIT;
	case RC_NONE:
		return POL_DUNNO;
	case RC_TEMP:
	case RC_PERM:
		break;
	}
	return policy_lookup_failed(r, rule, r->facts->rcpt, &e);
}

/* ---- fully qualified? ---- */

static enum pol
non_fqdn(struct policy_run *r, const struct policy_rule *rule, struct span addr, enum reply_class class)
{
	size_t at = span_rchr(addr, '@');
	struct span domain = at == SIZE_MAX ? SPAN_EMPTY : span_from(addr, at + 1);
	if (domain.n > 0 && domain.p[0] == '[')
		return POL_DUNNO;
	if (domain.n > 1 && domain.p[domain.n - 1] == '.' && domain.p[domain.n - 2] != '.')
		domain.n--;
	if (addr_is_hostname(domain, r->facts->is_smtputf8) && span_chr(domain, '.') != SIZE_MAX)
		return POL_DUNNO;
	return policy_refuse(r, rule, policy_code(r->policy->p->p_non_fqdn_reject_code), SPAN("5.5.2"), (struct about){ class, addr },
	    SPAN("need fully-qualified address"));
}

enum pol
r_non_fqdn_sender(struct policy_run *r, const struct policy_rule *rule)
{
	return r->facts->sender.n == 0 ? POL_DUNNO : non_fqdn(r, rule, r->facts->sender, ABOUT_SENDER);
}

enum pol
r_non_fqdn_recipient(struct policy_run *r, const struct policy_rule *rule)
{
	return r->facts->rcpt.n == 0 ? POL_DUNNO : non_fqdn(r, rule, r->facts->rcpt, ABOUT_RECIPIENT);
}

/* ---- is there such a user? ---- */

static enum pol
unlisted(struct policy_run *r, const struct policy_rule *rule, const struct resolved *a, struct span addr, enum reply_class class)
{
	struct unlisted why;
	struct err e;
	char fixed[16];
	switch (address_is_listed(r->policy->book, a, &r->scratch, &why, &e)) {
	case RC_OK:
		return POL_DUNNO;
	case RC_NONE:
		break;
	case RC_TEMP:
	case RC_PERM:
		return policy_lookup_failed(r, rule, addr, &e);
	}
	struct span dsn = why.dsn.n > 0 ? policy_map_dsn(r, why.dsn, class, fixed) : class == ABOUT_SENDER ? SPAN("5.1.0") : SPAN("5.1.1");
	return policy_refuse(r, rule, why.code, dsn, (struct about){ class, addr }, why.text);
}

enum pol
r_unlisted_recipient(struct policy_run *r, const struct policy_rule *rule)
{
	const struct resolved *a = NULL;
	struct err e;
	if ((r->rcpt_checked && r->warn == 0) || r->policy->no_rcpt_checks)
		return POL_DUNNO;
	enum pol pol = policy_rcpt(r, &a, &e) != RC_OK ? policy_lookup_failed(r, rule, r->facts->rcpt, &e)
	                                               : unlisted(r, rule, a, r->facts->rcpt, ABOUT_RECIPIENT);
	r->rcpt_checked |= pol != POL_AGAIN && r->warn == 0; /* what only warned will be asked again */
	return pol;
}

enum pol
r_unlisted_sender(struct policy_run *r, const struct policy_rule *rule)
{
	const struct resolved *a = NULL;
	struct err e;
	if (r->facts->sender.n == 0 || (r->sender_checked && r->warn == 0))
		return POL_DUNNO;
	enum pol pol = policy_sender(r, &a, &e) != RC_OK ? policy_lookup_failed(r, rule, r->facts->sender, &e)
	                                                 : unlisted(r, rule, a, r->facts->sender, ABOUT_SENDER);
	r->sender_checked |= pol != POL_AGAIN && r->warn == 0;
	return pol;
}
