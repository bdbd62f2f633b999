/* SPDX-License-Identifier: BSD-2-Clause */
/* check_*_access: which keys are looked up (facts 3.9). */
#include "policy/engine.h"

enum pol
policy_access_answer(struct policy_run *r, const struct policy_rule *rule, enum rc rc, struct span value, struct about about, const struct err *e,
    bool permit_is_dunno, bool permit_is_error)
{
	switch (rc) {
	case RC_OK:
		return policy_access_result(r, rule, value, about, permit_is_dunno, permit_is_error);
	case RC_NONE:
		return POL_DUNNO;
	case RC_TEMP:
	case RC_PERM:
		break;
	}
	if (map_asked())
		return policy_await_maps(r);
	policy_note(r, NOTE_TROUBLE, span_str(e->why));
	return policy_refuse(r, rule, 451, SPAN("4.3.5"), about, SPAN("Server configuration error"));
}

enum pol
r_client_access(struct policy_run *r, const struct policy_rule *rule)
{
	struct span value;
	struct err e;
	const struct facts *f = r->facts;
	enum rc rc = map_find_host(rule->map, f->client_name, r->policy->access_parent_plain, &r->scratch, &value, &e);
	if (rc == RC_NONE)
		rc = map_find_ip(rule->map, f->client_addr, &r->scratch, &value, &e);
	return policy_access_answer(r, rule, rc, value, policy_about_class(r, ABOUT_CLIENT), &e, false, false);
}

enum pol
r_reverse_client_access(struct policy_run *r, const struct policy_rule *rule)
{
	struct span value;
	struct err e;
	enum rc rc = map_find_host(rule->map, r->facts->reverse_name, r->policy->access_parent_plain, &r->scratch, &value, &e);
	if (rc == RC_NONE)
		rc = map_find_ip(rule->map, r->facts->client_addr, &r->scratch, &value, &e);
	return policy_access_answer(r, rule, rc, value, policy_about_class(r, ABOUT_REVERSE_CLIENT), &e, false, true);
}

enum pol
r_sasl_access(struct policy_run *r, const struct policy_rule *rule)
{
	struct span value;
	struct err e;
	if (!policy_has_sasl(r, rule->row->name) || r->facts->login.n == 0)
		return POL_DUNNO;
	enum rc rc = map_find(rule->map, r->facts->login, 0, &r->scratch, &value, &e);
	return policy_access_answer(r, rule, rc, value, policy_about_class(r, ABOUT_LOGIN), &e, false, false);
}

enum pol
r_helo_access(struct policy_run *r, const struct policy_rule *rule)
{
	struct span value;
	struct err e;
	enum rc rc = map_find_host(rule->map, r->facts->helo, r->policy->access_parent_plain, &r->scratch, &value, &e);
	return policy_access_answer(r, rule, rc, value, policy_about_class(r, ABOUT_HELO), &e, false, false);
}

enum pol
r_etrn_access(struct policy_run *r, const struct policy_rule *rule)
{
	struct span value;
	struct err e;
	enum rc rc = map_find_host(rule->map, r->facts->etrn_domain, r->policy->access_parent_plain, &r->scratch, &value, &e);
	return policy_access_answer(r, rule, rc, value, policy_about_class(r, ABOUT_ETRN), &e, false, false);
}

static enum pol
mail_access(struct policy_run *r, const struct policy_rule *rule, const struct resolved *a, struct about about)
{
	struct span value;
	struct err e;
	/* in lower case for all types, also those with patterns */
	unsigned char lower[ADDRESS_MAX + 256];
	struct map_addr addr = address_split(r->policy->book, address_lower(a, lower));
	enum rc rc = map_find_address(rule->map, MAPKEY_ACCESS, &addr, r->policy->access_parent_plain, false, &r->scratch, &value, &e);
	/* where a route leads is not known: too suspicious for an OK */
	bool suspicious = a->is_routed && about.class == ABOUT_RECIPIENT;
	return policy_access_answer(r, rule, rc, value, about, &e, suspicious, false);
}

enum pol
r_sender_access(struct policy_run *r, const struct policy_rule *rule)
{
	const struct resolved *a = NULL;
	struct about about = policy_about_class(r, ABOUT_SENDER);
	struct err e;
	if (r->facts->sender.n > 0) {
		if (policy_sender(r, &a, &e) != RC_OK)
			return policy_lookup_failed(r, rule, r->facts->sender, &e);
		return mail_access(r, rule, a, about);
	}
	struct span key = span_str(r->policy->p->p_smtpd_null_access_lookup_key), value;
	enum rc rc = map_find(rule->map, key, 0, &r->scratch, &value, &e);
	return policy_access_answer(r, rule, rc, value, about, &e, false, false);
}

enum pol
r_recipient_access(struct policy_run *r, const struct policy_rule *rule)
{
	const struct resolved *a = NULL;
	struct err e;
	if (policy_rcpt(r, &a, &e) != RC_OK)
		return policy_lookup_failed(r, rule, r->facts->rcpt, &e);
	return mail_access(r, rule, a, policy_about_class(r, ABOUT_RECIPIENT));
}
