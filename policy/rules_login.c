/* SPDX-License-Identifier: BSD-2-Clause */
/* Who logged in, and with which certificate: sender ownership (facts 3.6, 8.7), fingerprints of client certificates. */
#include "policy/engine.h"

bool
policy_has_sasl(struct policy_run *r, const char *restriction)
{
	char text[120];
	if (r->policy->has_sasl)
		return true;
	snprintf(text, sizeof text, "restriction `%s' ignored: no SASL support", restriction);
	policy_note(r, NOTE_TROUBLE, span_str(text));
	return false;
}

/* ---- whose sender is it ---- */

static enum rc
find_owners(struct policy_run *r, struct span *owners, struct err *e)
{
	const struct resolved *a = NULL;
	unsigned char lower[ADDRESS_MAX + 256];
	enum rc rc = policy_sender(r, &a, e);
	if (rc != RC_OK)
		return rc;
	return address_find_mail(r->policy->book, r->policy->sender_logins, address_lower(a, lower), &r->scratch, owners, e);
}

static bool
is_owner(struct span owners, struct span login)
{
	struct span name;
	while (span_word(&owners, ", \t\r\n", &name))
		if (span_caseeq(name, login))
			return true;
	return false;
}

static enum pol
refuse(struct policy_run *r, const struct policy_rule *rule, const char *what, struct span user)
{
	struct buf b;
	buf_init(&b, 1000);
	buf_putc(&b, '<');
	buf_put(&b, span_head(r->facts->sender, 400));
	buf_puts(&b, ">: Sender address rejected: ");
	buf_puts(&b, what);
	buf_put(&b, span_head(user, 200));
	enum pol pol = policy_refuse_text(r, rule, 553, SPAN("5.7.1"), buf_span(&b));
	buf_fini(&b);
	return pol;
}

enum { LOGGED_IN = 1, NOT_LOGGED_IN = 2, UNOWNED_IS_FINE = 4 };

static enum pol
login_mismatch(struct policy_run *r, const struct policy_rule *rule, unsigned when)
{
	const struct facts *f = r->facts;
	struct span owners = SPAN_EMPTY;
	struct err e;
	bool is_both = when == (LOGGED_IN | NOT_LOGGED_IN); /* it stands for two, and each says so */
	if (!policy_has_sasl(r, is_both ? "reject_authenticated_sender_login_mismatch" : rule->row->name)) {
		if (is_both)
			(void)policy_has_sasl(r, "reject_unauthenticated_sender_login_mismatch");
		return POL_DUNNO;
	}
	bool logged_in = f->login.n > 0;
	if (f->sender.n == 0 || (when & (logged_in ? (unsigned)LOGGED_IN : (unsigned)NOT_LOGGED_IN)) == 0)
		return POL_DUNNO;
	enum rc rc = find_owners(r, &owners, &e);
	if (rc == RC_TEMP || rc == RC_PERM)
		return policy_lookup_failed(r, rule, f->sender, &e);
	if (!logged_in)
		return rc == RC_OK ? refuse(r, rule, "not logged in", SPAN_EMPTY) : POL_DUNNO;
	if (rc == RC_NONE && (when & UNOWNED_IS_FINE) != 0)
		return POL_DUNNO;
	return rc == RC_OK && is_owner(owners, f->login) ? POL_DUNNO : refuse(r, rule, "not owned by user ", f->login);
}

enum pol
r_login_mismatch(struct policy_run *r, const struct policy_rule *rule)
{
	return login_mismatch(r, rule, LOGGED_IN | NOT_LOGGED_IN);
}

enum pol
r_auth_login_mismatch(struct policy_run *r, const struct policy_rule *rule)
{
	return login_mismatch(r, rule, LOGGED_IN);
}

enum pol
r_known_login_mismatch(struct policy_run *r, const struct policy_rule *rule)
{
	return login_mismatch(r, rule, LOGGED_IN | NOT_LOGGED_IN | UNOWNED_IS_FINE);
}

enum pol
r_unauth_login_mismatch(struct policy_run *r, const struct policy_rule *rule)
{
	return login_mismatch(r, rule, NOT_LOGGED_IN);
}

/* ---- certificates ---- */

static struct span
fingerprint(const struct facts *f, unsigned char which)
{
	return which == CERT_PUBKEY ? f->pubkey_fingerprint : f->cert_fingerprint;
}

/* It is fine when nobody vouches for it: the fingerprint says which one it is. */
enum pol
r_tls_clientcerts(struct policy_run *r, const struct policy_rule *rule)
{
	struct err e;
	struct span value;
	for (unsigned char which = CERT_WHOLE; r->facts->has_cert && which <= CERT_PUBKEY; which++) {
		struct span print = fingerprint(r->facts, which);
		if (print.n == 0)
			continue;
		enum rc rc = map_find(r->policy->client_certs, print, 0, &r->scratch, &value, &e);
		if (rc == RC_OK)
			return POL_PERMIT;
		if (rc != RC_NONE)
			return policy_lookup_failed(r, rule, print, &e);
	}
	return POL_DUNNO;
}

enum pol
r_tls_all_clientcerts(struct policy_run *r, const struct policy_rule *rule)
{
	return r->facts->is_cert_verified ? POL_PERMIT : r_tls_clientcerts(r, rule);
}

enum pol
r_ccert_access(struct policy_run *r, const struct policy_rule *rule)
{
	struct span values[CERT_SEARCHES] = { SPAN_EMPTY };
	struct about about = policy_about_class(r, ABOUT_CERT);
	struct err e;
	if (!r->facts->has_cert) {
		if (!r->policy->asks_cert)
			policy_note(r, NOTE_TROUBLE, SPAN("check_ccert_access is requested, but \"smtpd_tls_ask_ccert = no\""));
		return POL_DUNNO;
	}
	/* all are looked up before one has an effect: a table may have to be waited for */
	for (unsigned i = 0; i < CERT_SEARCHES && rule->search[i] != 0; i++) {
		struct span print = fingerprint(r->facts, rule->search[i]);
		enum rc rc = print.n > 0 ? map_find(rule->map, print, 0, &r->scratch, &values[i], &e) : RC_NONE;
		if (rc == RC_NONE)
			values[i] = SPAN_EMPTY;
		else if (rc == RC_OK)
			values[i] = arena_span(&r->text, values[i]);
		else
			return policy_access_answer(r, rule, rc, SPAN_EMPTY, about, &e, false, false);
	}
	for (unsigned i = 0; i < CERT_SEARCHES; i++) {
		enum pol pol = values[i].n > 0 ? policy_access_result(r, rule, values[i], about, false, false) : POL_DUNNO;
		if (pol != POL_DUNNO)
			return pol;
	}
	return POL_DUNNO;
}
