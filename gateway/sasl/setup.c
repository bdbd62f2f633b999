/* SPDX-License-Identifier: BSD-2-Clause */
#include "sasl/setup.h"

#include "base/mem.h"
#include "sasl/cyrus.h"

struct sasl_setup {
	const struct service *service;
	struct dovecot *dovecot;
	struct cyrus *cyrus;
	unsigned options[2];         /* in the clear, with TLS */
	struct matchlist *filter;    /* smtpd_sasl_mechanism_filter */
	struct matchlist *excepted;
};

static enum rc
worse(enum rc a, enum rc b)
{
	return a != RC_OK ? a : b;
}

static enum rc
open_options(struct conf *c, const struct service *s, const char *parameter, const char *value, unsigned *out, struct err *e)
{
	enum rc rc = sasl_options(span_str(value), out, e);
	if (rc != RC_OK)
		conf_problem(c, CONF_ERROR, s, parameter, "%s: %s", parameter, e->why);
	return rc;
}

/* A wrong path or type: said about the parameter. */
static enum rc
open_backend(struct conf *c, const struct service *s, bool live, struct sasl_setup *su, struct err *e)
{
	const struct params *p = s->params;
	enum rc rc;
	if (span_caseeq_str(span_str(p->p_smtpd_sasl_type), "dovecot"))
		rc = dovecot_open(c, s, p->p_smtpd_sasl_path, live, &su->dovecot, e);
	else if (span_caseeq_str(span_str(p->p_smtpd_sasl_type), "cyrus"))
		rc = cyrus_open(c, s, su->options, live, &su->cyrus, e);
	else {
		conf_problem(c, CONF_ERROR, s, "smtpd_sasl_type", "smtpd_sasl_type = %s: unsupported SASL server implementation (cyrus, dovecot)",
		    p->p_smtpd_sasl_type);
		return err_set(e, RC_PERM, "smtpd_sasl_type: bad value");
	}
	if (rc != RC_OK)
		conf_problem(c, CONF_ERROR, s, "smtpd_sasl_path", "smtpd_sasl_path = %s: %s", p->p_smtpd_sasl_path, e->why);
	return rc;
}

enum rc
sasl_setup_open(struct conf *c, const struct service *s, bool live, struct sasl_setup **out, struct err *e)
{
	const struct params *p = s->params;
	struct err ignored = { 0 };
	*out = NULL;
	if (!p->p_smtpd_sasl_auth_enable)
		return RC_OK;
	struct sasl_setup *su = mem_zalloc(sizeof *su);
	su->service = s;
	e = e != NULL ? e : &ignored;
	enum rc rc = open_options(c, s, "smtpd_sasl_security_options", p->p_smtpd_sasl_security_options, &su->options[0], e);
	rc = worse(rc, open_options(c, s, "smtpd_sasl_tls_security_options", p->p_smtpd_sasl_tls_security_options, &su->options[1], e));
	rc = worse(rc, matchlist_open_param(c, s, "smtpd_sasl_mechanism_filter", MATCH_STRING, &su->filter, e));
	rc = worse(rc, matchlist_open_param(c, s, "smtpd_sasl_exceptions_networks", MATCH_ADDRESS, &su->excepted, e));
	rc = worse(rc, open_backend(c, s, live, su, e));
	if (rc != RC_OK || !live)
		sasl_setup_free(&su);
	*out = su;
	return rc;
}

void
sasl_setup_free(struct sasl_setup **sp)
{
	struct sasl_setup *s = *sp;
	*sp = NULL;
	if (s == NULL)
		return;
	dovecot_free(&s->dovecot);
	cyrus_free(&s->cyrus);
	matchlist_free(&s->filter);
	matchlist_free(&s->excepted);
	mem_free(&s);
}

struct dovecot *
sasl_setup_dovecot(const struct sasl_setup *s)
{
	return s->dovecot;
}

struct cyrus *
sasl_setup_cyrus(const struct sasl_setup *s)
{
	return s->cyrus;
}

const struct params *
sasl_setup_params(const struct sasl_setup *s)
{
	return s->service->params;
}

unsigned
sasl_setup_options(const struct sasl_setup *s, bool is_tls)
{
	return s->options[is_tls];
}

enum rc
sasl_setup_excepts(const struct sasl_setup *s, struct span name, const struct ipaddr *addr, struct err *e)
{
	(void)name;
	return matchlist_addr(s->excepted, addr, e);
}

/* The auth process says what is there under given options, Dovecot says what each is. */
static bool
is_offered(const struct sasl_setup *s, bool is_tls, const struct sasl_mech *m)
{
	return sasl_allowed(s->options[is_tls], m->properties) && matchlist_name(s->filter, span_str(m->name), NULL) == RC_OK;
}

static const struct sasl_mechs *
mechs_of(const struct sasl_setup *s, bool is_tls)
{
	return s->dovecot != NULL ? dovecot_mechs(s->dovecot) : cyrus_mechs(s->cyrus, is_tls);
}

enum rc
sasl_setup_offer(const struct sasl_setup *s, bool is_tls, struct buf *b)
{
	const struct sasl_mechs *mechs = mechs_of(s, is_tls);
	bool any = false;
	if (mechs == NULL)
		return RC_TEMP;
	for (size_t i = 0; i < mechs->n; i++)
		if (is_offered(s, is_tls, &mechs->mech[i])) {
			if (any)
				buf_putc(b, ' ');
			buf_puts(b, mechs->mech[i].name);
			any = true;
		}
	return any ? RC_OK : RC_NONE;
}

enum rc
sasl_setup_mech(const struct sasl_setup *s, bool is_tls, struct span name, const char **out)
{
	const struct sasl_mechs *mechs = mechs_of(s, is_tls);
	if (mechs == NULL)
		return RC_TEMP;
	const struct sasl_mech *m = sasl_mechs_find(mechs, name);
	if (m == NULL || !is_offered(s, is_tls, m))
		return RC_NONE;
	*out = m->name;
	return RC_OK;
}
