/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/triage_conf.h"

#include "base/clock.h"
#include "base/mem.h"
#include "smtp/service.h"

enum { TEASER_MAX = 600 };

static enum rc
action_of(struct conf *c, const struct service *s, const char *name, enum triage_action *out, struct err *e)
{
	static const char *const words[] = { [TRIAGE_IGNORE] = "ignore", [TRIAGE_ENFORCE] = "enforce", [TRIAGE_DROP] = "drop" };
	const char *value = conf_value(c, s, name);
	for (size_t i = 0; i < NELEMS(words); i++)
		if (strcmp(value, words[i]) == 0) {
			*out = (enum triage_action)i;
			return RC_OK;
		}
	conf_problem(c, CONF_ERROR, s, name, "%s = %s: only ignore, enforce or drop", name, value);
	return err_set(e, RC_PERM, "%s: bad value", name);
}

static enum rc
actions(struct conf *c, const struct service *s, struct triage_conf *t, struct err *e)
{
	const struct {
		const char *name;
		enum triage_action *out;
	} rows[] = {
		{ "postscreen_denylist_action", &t->denylist },
		{ "postscreen_greet_action", &t->action[TEST_PREGREET] },
		{ "postscreen_dnsbl_action", &t->action[TEST_DNSBL] },
		{ "postscreen_pipelining_action", &t->action[TEST_PIPELINING] },
		{ "postscreen_non_smtp_command_action", &t->action[TEST_NON_SMTP] },
		{ "postscreen_bare_newline_action", &t->action[TEST_BARE_NEWLINE] },
	};
	enum rc worst = RC_OK;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		enum rc rc = action_of(c, s, rows[i].name, rows[i].out, e);
		worst = worst != RC_OK ? worst : rc;
	}
	return worst;
}

static void
times(const struct conf *c, const struct service *s, struct triage_conf *t)
{
	const struct params *p = s->params;
	const uint64_t ttl[TEST_COUNT] = {
		[TEST_PREGREET] = p->p_postscreen_greet_ttl, [TEST_DNSBL] = p->p_postscreen_dnsbl_min_ttl,
		[TEST_PIPELINING] = p->p_postscreen_pipelining_ttl, [TEST_NON_SMTP] = p->p_postscreen_non_smtp_command_ttl,
		[TEST_BARE_NEWLINE] = p->p_postscreen_bare_newline_ttl,
	};
	t->min_ttl = UINT64_MAX;
	for (int i = 0; i < TEST_COUNT; i++) {
		t->ttl[i] = ttl[i] / USEC_PER_SEC;
		t->min_ttl = t->ttl[i] < t->min_ttl ? t->ttl[i] : t->min_ttl;
	}
	t->greet_wait[0] = p->p_postscreen_greet_wait;
	t->greet_wait[1] = (uint64_t)conf_stressed(c, s, "postscreen_greet_wait");
	t->command_time[0] = p->p_postscreen_command_time_limit;
	t->command_time[1] = (uint64_t)conf_stressed(c, s, "postscreen_command_time_limit");
}

static enum rc
lists(struct conf *c, const struct service *s, struct triage_conf *t, struct err *e)
{
	enum rc worst = RC_OK, rc;
	rc = triage_acl_open(c, s, &t->acl, e);
	worst = worst != RC_OK ? worst : rc;
	rc = matchlist_open_param(c, s, "postscreen_allowlist_interfaces", MATCH_ADDRESS, &t->interfaces, e);
	worst = worst != RC_OK ? worst : rc;
	rc = service_forbidden(c, s, "postscreen_forbidden_commands", &t->forbidden, &t->forbid_nonletters, e);
	worst = worst != RC_OK ? worst : rc;
	rc = rbl_sites_open(c, s, &t->sites, e);
	worst = worst != RC_OK ? worst : rc;
	rc = maps_open_param(c, s, "postscreen_reject_footer_maps", &t->footer_maps, e);
	worst = worst != RC_OK ? worst : rc;
	rc = maps_open_param(c, s, "postscreen_discard_ehlo_keyword_address_maps", &t->hide_maps, e);
	worst = worst != RC_OK ? worst : rc;
	rc = maps_open_param(c, s, "postscreen_command_filter", &t->filter, e);
	return worst != RC_OK ? worst : rc;
}

/* postscreen's own words for what smtpd has, too. */
static enum rc
tls_level(struct conf *c, const struct service *s, struct triage_conf *t, struct err *e)
{
	struct params as_smtpd = *s->params;
	struct err why;
	as_smtpd.p_smtpd_tls_security_level = s->params->p_postscreen_tls_security_level;
	as_smtpd.p_smtpd_use_tls = s->params->p_postscreen_use_tls;
	as_smtpd.p_smtpd_enforce_tls = s->params->p_postscreen_enforce_tls;
	as_smtpd.p_smtpd_tls_wrappermode = false;
	if (tls_server_level(&as_smtpd, &t->tls_level, &why) == RC_OK)
		return RC_OK;
	conf_problem(c, CONF_ERROR, s, "postscreen_tls_security_level", "postscreen_tls_security_level: %s", why.why);
	return err_set(e, RC_PERM, "postscreen_tls_security_level: %s", why.why);
}

static unsigned
enabled(const struct triage_conf *t)
{
	const struct params *p = t->p;
	/* as in Postfix: no teaser, no test */
	return (buf_len(&t->teaser) > 0 ? 1u << TEST_PREGREET : 0) | (t->sites != NULL ? 1u << TEST_DNSBL : 0) |
	       (p->p_postscreen_pipelining_enable ? 1u << TEST_PIPELINING : 0) |
	       (p->p_postscreen_non_smtp_command_enable ? 1u << TEST_NON_SMTP : 0) |
	       (p->p_postscreen_bare_newline_enable ? 1u << TEST_BARE_NEWLINE : 0);
}

enum rc
triage_conf_open(struct conf *c, const struct service *s, struct triage_conf **out, struct err *e)
{
	struct triage_conf *t = mem_zalloc(sizeof *t);
	t->p = s->params;
	if (strcmp(t->p->p_syslog_name, conf_params(c)->p_syslog_name) != 0)
		t->tag = t->p->p_syslog_name;
	buf_init(&t->teaser, TEASER_MAX);
	if (t->p->p_postscreen_greet_banner[0] != '\0') {
		buf_puts(&t->teaser, "220-");
		buf_put_safe(&t->teaser, span_str(t->p->p_postscreen_greet_banner), 500, true);
		buf_puts(&t->teaser, "\r\n");
	}
	enum rc worst = actions(c, s, t, e), rc = lists(c, s, t, e);
	worst = worst != RC_OK ? worst : rc;
	rc = tls_level(c, s, t, e);
	worst = worst != RC_OK ? worst : rc;
	times(c, s, t);
	t->footer = t->p->p_postscreen_reject_footer;
	if (strcmp(t->footer, "$smtpd_reject_footer") == 0) /* the default; the text is not expanded otherwise */
		t->footer = t->p->p_smtpd_reject_footer;
	t->remembers = t->p->p_postscreen_cache_map[0] != '\0';
	t->enabled = enabled(t);
	t->hidden = service_hidden_keywords(c, s, "postscreen_discard_ehlo_keywords", span_str(t->p->p_postscreen_discard_ehlo_keywords));
	if (t->p->p_postscreen_disable_vrfy_command)
		t->hidden |= 1u << EHLO_VRFY;
	if (!t->p->p_smtputf8_enable)
		t->hidden |= 1u << EHLO_SMTPUTF8;
	if (worst != RC_OK)
		triage_conf_free(&t);
	*out = t;
	return worst;
}

void
triage_conf_free(struct triage_conf **tp)
{
	struct triage_conf *t = *tp;
	*tp = NULL;
	if (t == NULL)
		return;
	triage_acl_free(&t->acl);
	matchlist_free(&t->interfaces);
	matchlist_free(&t->forbidden);
	rbl_sites_free(&t->sites);
	map_list_free(&t->footer_maps);
	map_list_free(&t->hide_maps);
	map_list_free(&t->filter);
	buf_fini(&t->teaser);
	mem_free(&t);
}

bool
triage_is_on(const struct service *listener)
{
	return strcmp(listener->command, "postscreen") == 0 || listener->params->p_smtpd_triage;
}

void
triage_conf_notes(struct conf *c, const struct service *s)
{
	const struct params *p = s->params;
	const char *file;
	int line;
	if (conf_position(c, s, "postscreen_cache_map", &file, &line) && p->p_postscreen_cache_map[0] != '\0')
		conf_problem(c, CONF_NOTE, s, "postscreen_cache_map",
		    "postscreen_cache_map = %s: what is remembered is in %s/spool, shared by all processes; the table named here is not used",
		    p->p_postscreen_cache_map, p->p_queue_directory);
}
