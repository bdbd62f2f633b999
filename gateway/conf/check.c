/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tables of parameters and services know about a configuration as a whole: what is set and
 * has no effect, names that nothing uses or defines, services and transports that cannot run.
 */
#include "base/mem.h"
#include "conf/snap.h"

#include <strings.h>

/* ---- which names does anything mention? ---- */

struct name_search {
	struct span name;
	bool found;
};

static void
match_name(void *arg, struct span name)
{
	struct name_search *s = arg;
	s->found = s->found || span_eq(s->name, name);
}

static bool
lists_class(struct conf *c, struct span name)
{
	struct span rest = span_str(c->params.p_smtpd_restriction_classes), item;
	while (conf_item(&rest, &item, NULL) == RC_OK)
		if (span_eq(item, name))
			return true;
	return false;
}

/* Some value says $name, or name is a restriction class. */
static bool
is_used(struct conf *c, struct span name)
{
	struct name_search s = { .name = name };
	for (size_t i = 0; i < c->nset && !s.found; i++)
		expand_names(span_str(c->list[i]->value), match_name, &s);
	for (size_t k = 0; k < c->nsvc && !s.found; k++)
		for (size_t i = 0; i < c->svcs[k]->nset; i++)
			expand_names(span_str(c->svcs[k]->sets[i].value), match_name, &s);
	return s.found || lists_class(c, name);
}

/* "sqlite:NAME" stands in the list, and NAME ends there. */
static bool
lists_table(struct span list, struct span table)
{
	for (size_t at; (at = span_find(list, table)) != SIZE_MAX;) {
		list = span_from(list, at + table.n);
		if (list.n == 0 || strchr(" \t\r\n,}", list.p[0]) != NULL)
			return true;
	}
	return false;
}

/* A parameter NAME_dbpath, ... of a table sqlite:NAME that some value lists. */
static bool
is_of_table(struct conf *c, struct span name)
{
	static const char *const suffixes[] = { "_dbpath", "_query", "_result_format", "_domain", "_expansion_limit", "_select_field", "_table",
		"_where_field", "_additional_conditions" };
	bool found = false;
	for (size_t i = 0; i < NELEMS(suffixes) && !found; i++) {
		struct span suffix = span_str(suffixes[i]);
		if (name.n <= suffix.n || !span_eq(span_from(name, name.n - suffix.n), suffix))
			continue;
		struct buf table;
		buf_init(&table, name.n + 8);
		buf_puts(&table, "sqlite:");
		buf_put(&table, span_head(name, name.n - suffix.n));
		for (size_t k = 0; k < c->nset && !found; k++)
			found = lists_table(span_str(c->list[k]->value), buf_span(&table));
		buf_fini(&table);
	}
	return found;
}

bool
snap_is_known(struct conf *c, struct span name)
{
	struct span raw;
	return param_find(name) != NULL || snap_default(c, NULL, name, &raw);
}

bool
snap_is_unused(struct conf *c, struct span name)
{
	return !snap_is_known(c, name) && !is_used(c, name) && !is_of_table(c, name);
}

struct undefined_search {
	struct conf *c;
	const struct svc *svc;
	const struct setting *at;
};

static void
report_undefined(void *arg, struct span name)
{
	struct undefined_search *s = arg;
	struct span raw;
	if (snap_setting(s->c, s->svc, name) == NULL && !snap_default(s->c, s->svc, name, &raw))
		snap_problem(s->c, CONF_WARNING, s->at->file, s->at->line, "undefined parameter: %s", snap_str(s->c, name));
}

/* ---- one setting ---- */

static void
check_known(struct conf *c, const struct setting *s, const struct param *row)
{
	if ((row->flags & P_OLD) != 0)
		snap_problem(c, CONF_WARNING, s->file, s->line, "%s: %s", s->name, row->doc);
	if ((row->flags & P_KNOWN) != 0)
		snap_problem(c, CONF_WARNING, s->file, s->line, "%s: known, not supported yet", s->name);
	if ((row->flags & P_IGNORED) != 0)
		snap_problem(c, CONF_NOTE, s->file, s->line, "%s: has no effect here", s->name);
}

/* <transport>_<suffix>: its value must be good for its default's row, which says what it is worth. */
static void
check_transport_setting(struct conf *c, const struct setting *s, const char *def)
{
	struct params *scratch = mem_alloc(sizeof *scratch); /* written and never read */
	struct err e;
	const char *text;
	struct view v = { .c = c };
	const struct param *row = param_find(span_str(def));
	BUG_ON(row == NULL);
	check_known(c, s, row);
	if (snap_expand(&v, span_str(s->value), &text, &e) != RC_OK)
		snap_problem(c, CONF_ERROR, s->file, s->line, "parameter %s: %s", s->name, e.why);
	else if (param_store(row, text, scratch, &e) != RC_OK)
		snap_problem(c, CONF_ERROR, s->file, s->line, "%s: as %s: %s", s->name, def, e.why);
	mem_free(&scratch);
}

static bool
has_comment(const char *value)
{
	for (const char *p = value; (p = strchr(p, '#')) != NULL; p++)
		if (p > value && (p[-1] == ' ' || p[-1] == '\t') && (p[1] == ' ' || p[1] == '\t'))
			return true;
	return false;
}

static void
check_setting(struct conf *c, const struct setting *s)
{
	struct span name = span_str(s->name), raw;
	const struct param *row = param_find(name);
	const char *def;
	if (row != NULL)
		check_known(c, s, row);
	else if (snap_transport_suffix(name, &def) != 0 && snap_default(c, NULL, name, &raw))
		check_transport_setting(c, s, def);
	if (has_comment(s->text))
		snap_problem(c, CONF_WARNING, s->file, s->line, "#comment after other text is not allowed: it is part of the value of %s", s->name);
}

static void
check_names(struct conf *c, const struct svc *svc, const struct setting *s)
{
	const struct param *row = param_find(span_str(s->name));
	if (snap_is_unused(c, span_str(s->name))) {
		const char *near = param_suggest(span_str(s->name));
		snap_problem(c, CONF_WARNING, s->file, s->line, "unused parameter: %s=%s%s%s%s", s->name, s->text,
		    near != NULL ? "; did you mean \"" : "", near != NULL ? near : "", near != NULL ? "\"?" : "");
	}
	if (row == NULL || row->type != PT_RAW)
		expand_names(span_str(s->value), report_undefined, &(struct undefined_search){ c, svc, s });
}

void
snap_check_main_names(struct conf *c)
{
	for (size_t i = 0; i < c->nset; i++)
		check_names(c, NULL, c->list[i]);
}

void
snap_check_service_names(struct conf *c)
{
	for (size_t k = 0; k < c->nenabled; k++)
		for (size_t i = 0; i < c->enabled[k]->nset; i++)
			check_names(c, c->enabled[k], &c->enabled[k]->sets[i]);
}

/* ---- services and transports ---- */

/* Any postscreen line at work that hands its clients to this one? */
static bool
is_passed_to(struct conf *c, const struct service *pass)
{
	for (size_t i = 0; i < c->nenabled; i++) {
		const struct service *s = &c->enabled[i]->pub;
		if (strcmp(s->command, "postscreen") == 0 && strcmp(s->params->p_smtpd_service_name, pass->name) == 0)
			return true;
	}
	return false;
}

static void
check_listener(struct conf *c, const struct service *s)
{
	bool is_smtpd = strcmp(s->command, "smtpd") == 0;
	if (strcmp(s->type, "inet") == 0)
		return;
	if (!is_smtpd || strcmp(s->type, "pass") != 0)
		snap_problem(c, CONF_ERROR, s->file, s->line, "service \"%s\" (%s): %s cannot serve this type of socket", s->name, s->type, s->command);
	else if (!is_passed_to(c, s))
		snap_problem(c, CONF_NOTE, s->file, s->line, "service \"%s\" (pass): has no effect: there is no postscreen that hands clients to it", s->name);
}

static void
check_service(struct conf *c, const struct svc *svc)
{
	const struct service *s = &svc->pub;
	const char *doc = "";
	enum service_kind kind = service_kind_of(s->command, &doc);
	bool is_inet = strcmp(s->type, "inet") == 0;
	if (s->file[0] == '\0')
		return; /* the built-in list: nobody asked for anything */
	switch (kind) {
	case SERVICE_UNKNOWN:
		snap_problem(c, is_inet ? CONF_ERROR : CONF_WARNING, s->file, s->line, "service \"%s\" (%s): there is no program \"%s\" here",
		    s->name, s->type, s->command);
		break;
	case SERVICE_UNSUPPORTED:
		snap_problem(c, is_inet ? CONF_ERROR : CONF_NOTE, s->file, s->line, "service \"%s\" (%s): %s (%s): known, not supported yet",
		    s->name, s->type, s->command, doc);
		break;
	case SERVICE_LISTENER:
		check_listener(c, s);
		break;
	case SERVICE_TRANSPORT:
		if (strcmp(s->type, "unix") != 0)
			snap_problem(c, CONF_ERROR, s->file, s->line, "service \"%s\" (%s): %s cannot serve this type of socket", s->name,
			    s->type, s->command);
		break;
	case SERVICE_BUILTIN:
		if (is_inet)
			snap_problem(c, CONF_ERROR, s->file, s->line, "service \"%s\" (%s): %s does not listen here: %s", s->name, s->type,
			    s->command, doc);
		else if (svc->nset > 0)
			snap_problem(c, CONF_NOTE, s->file, s->line, "service \"%s\" (%s): built in (%s): its -o settings have no effect",
			    s->name, s->type, doc);
		break;
	}
	if (svc->flags[0] != '\0')
		snap_problem(c, CONF_NOTE, s->file, s->line, "service \"%s\" (%s): %s: has no effect here", s->name, s->type, svc->flags);
}

static bool
is_set(struct conf *c, const char *name)
{
	return snap_setting(c, NULL, span_str(name)) != NULL;
}

/* The value of a parameter that names transport[:nexthop], as a service sees it (NULL: main.cf). */
static void
check_transport_value(struct conf *c, enum conf_severity sev, const struct service *where, const char *param, const char *value)
{
	struct span s = span_str(value);
	const char *name = snap_str(c, span_trim(span_head(s, span_chr(s, ':'))));
	const struct service *svc = conf_service_find(c, name, "unix");
	if (name[0] == '\0')
		conf_problem(c, sev, where, param, "%s: no transport in \"%s\"", param, value);
	else if (svc == NULL)
		conf_problem(c, sev, where, param, "%s = %s: master.cf has no service \"%s\" of type unix", param, value, name);
	else if (svc->kind == SERVICE_UNSUPPORTED)
		conf_problem(c, sev, where, param, "%s = %s: %s: known, not supported yet", param, value, svc->command);
	else if (svc->kind != SERVICE_TRANSPORT)
		conf_problem(c, sev, where, param, "%s = %s: %s delivers no mail", param, value, svc->command);
}

/* is_reached: some mail can get there. */
static void
check_transport(struct conf *c, const char *param, const char *value, bool is_reached)
{
	if (is_reached || is_set(c, param))
		check_transport_value(c, is_reached ? CONF_ERROR : CONF_NOTE, NULL, param, value);
}

/* Mail of a listener with a filter that cannot run would wait for ever. */
static void
check_filters(struct conf *c)
{
	const char *global = c->params.p_content_filter;
	if (global[0] != '\0')
		check_transport_value(c, CONF_ERROR, NULL, "content_filter", global);
	for (size_t k = 0; k < c->nenabled; k++) {
		const struct service *s = &c->enabled[k]->pub;
		const char *own = s->params->p_content_filter;
		if (s->kind == SERVICE_LISTENER && own[0] != '\0' && strcmp(own, global) != 0)
			check_transport_value(c, CONF_ERROR, s, "content_filter", own);
	}
}

static void
check_transports(struct conf *c)
{
	const struct params *p = &c->params;
	bool local = p->p_mydestination[0] != '\0';
	check_transport(c, "default_transport", p->p_default_transport, true);
	check_transport(c, "relay_transport", p->p_relay_transport, p->p_relay_domains[0] != '\0');
	check_transport(c, "virtual_transport", p->p_virtual_transport, is_set(c, "virtual_mailbox_domains") || is_set(c, "virtual_mailbox_maps"));
	bool aliases = strcmp(p->p_local_transport, "local") == 0 || strncmp(p->p_local_transport, "local:", 6) == 0;
	if (!aliases)
		check_transport(c, "local_transport", p->p_local_transport, local);
	if (p->p_best_mx_transport[0] != '\0')
		check_transport(c, "best_mx_transport", p->p_best_mx_transport, true);
	check_filters(c);
	if (local && (aliases || !is_set(c, "local_transport")))
		conf_problem(c, CONF_WARNING, NULL, "mydestination",
		    "there are no mailboxes: mail for mydestination (%s) is refused, but for what alias_maps lead elsewhere; set mydestination empty, "
		    "or local_transport",
		    p->p_mydestination);
}

/* ---- between parameters ---- */

static void
check_relations(struct conf *c)
{
	const struct params *p = &c->params;
	if (p->p_minimal_backoff_time > p->p_maximal_backoff_time)
		conf_problem(c, CONF_ERROR, NULL, "maximal_backoff_time", "maximal_backoff_time is less than minimal_backoff_time");
	if (p->p_spool_segments_min > p->p_spool_segments_max)
		conf_problem(c, CONF_ERROR, NULL, "spool_segments_max", "spool_segments_max is less than spool_segments_min");
	if (p->p_spool_inline_limit > p->p_spool_segment_size / 4)
		conf_problem(c, CONF_ERROR, NULL, "spool_inline_limit", "spool_inline_limit is more than a quarter of spool_segment_size");
	if (strcasecmp(p->p_maillog_format, "postfix") != 0 && strcasecmp(p->p_maillog_format, "json") != 0)
		conf_problem(c, CONF_ERROR, NULL, "maillog_format", "maillog_format: \"%s\": postfix or json expected", p->p_maillog_format);
	if (p->p_queue_directory[0] != '/')
		conf_problem(c, CONF_ERROR, NULL, "queue_directory", "queue_directory: \"%s\": a full path expected", p->p_queue_directory);
	if (p->p_data_directory[0] != '/')
		conf_problem(c, CONF_ERROR, NULL, "data_directory", "data_directory: \"%s\": a full path expected", p->p_data_directory);
}

static void
check_words(struct conf *c, const struct service *s, const char *name, const char *value, const char *const *words)
{
	struct buf b;
	for (size_t i = 0; words[i] != NULL; i++)
		if (strcasecmp(value, words[i]) == 0)
			return;
	buf_init(&b, 1024);
	for (size_t i = 0; words[i] != NULL; i++) {
		buf_puts(&b, i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ");
		buf_puts(&b, words[i]);
	}
	conf_problem(c, CONF_ERROR, s, name, "%s: \"%s\": %s expected", name, value, buf_cstr(&b));
	buf_fini(&b);
}

/* Parameters with a closed set of words, as each service sees them. */
static void
check_enums(struct conf *c, const struct service *s)
{
	static const char *const family[] = { "any", "ipv4", "ipv6", NULL };
	static const char *const lookup[] = { "dns", "native", "dns, native", "native, dns", "dns,native", "native,dns", NULL };
	static const char *const target[] = { "rcpt", "data", NULL };
	static const char *const newline[] = { "no", "yes", "normalize", "note", "reject", NULL };
	static const char *const held[] = { "quarantine", "hold", NULL };
	const struct params *p = s != NULL ? s->params : &c->params;
	check_words(c, s, "milter_quarantine_queue", p->p_milter_quarantine_queue, held);
	check_words(c, s, "smtp_address_preference", p->p_smtp_address_preference, family);
	check_words(c, s, "lmtp_address_preference", p->p_lmtp_address_preference, family);
	check_words(c, s, "smtp_host_lookup", p->p_smtp_host_lookup, lookup);
	check_words(c, s, "lmtp_host_lookup", p->p_lmtp_host_lookup, lookup);
	check_words(c, s, "smtp_address_verify_target", p->p_smtp_address_verify_target, target);
	check_words(c, s, "lmtp_address_verify_target", p->p_lmtp_address_verify_target, target);
	check_words(c, s, "smtpd_forbid_bare_newline", p->p_smtpd_forbid_bare_newline, newline);
}

static bool
is_refusal_code(const struct param *row)
{
	struct span name = span_str(row->name);
	return row->type == PT_INT && (row->flags & P_LIVE) != 0 &&
	    (span_caseends(name, SPAN("reject_code")) || span_caseends(name, SPAN("defer_code")));
}

/* What a client is told with a code must be a refusal. Rules say 450 instead; what is not a rule has no such net. */
static void
check_codes(struct conf *c, const struct service *s)
{
	for (size_t i = 0; i < param_count(); i++) {
		const struct param *row = param_at(i);
		const char *value = is_refusal_code(row) ? conf_value(c, s, row->name) : NULL;
		uint64_t n;
		if (value == NULL || !span_u64(span_str(value), INT64_MAX, &n) || (n >= 400 && n <= 599))
			continue;
		if (strcmp(row->name, "smtpd_forbid_bare_newline_reject_code") == 0)
			conf_problem(c, CONF_ERROR, s, row->name, "%s = %s: 4XX or 5XX expected", row->name, value);
		else
			conf_problem(c, CONF_WARNING, s, row->name, "%s = %s: 4XX or 5XX expected; refusals are 450 instead", row->name, value);
	}
}

/* Defaults of old, in force because compatibility_level is low. */
static void
check_level(struct conf *c)
{
	if (!c->has_main || is_set(c, "compatibility_level"))
		return;
	for (size_t i = 0; i < param_count(); i++) {
		const struct param *row = param_at(i);
		if ((row->flags & P_LIVE) != 0 && strstr(row->def, "$compatibility_level}") != NULL && !is_set(c, row->name))
			conf_problem(c, CONF_NOTE, NULL, NULL, "using backwards-compatible default setting %s=%s", row->name,
			    conf_value(c, NULL, row->name));
	}
}

void
conf_check_params(struct conf *c)
{
	for (size_t i = 0; i < c->nset; i++)
		check_setting(c, c->list[i]);
	check_enums(c, NULL);
	check_codes(c, NULL);
	for (size_t k = 0; k < c->nenabled; k++) {
		const struct svc *svc = c->enabled[k];
		check_service(c, svc);
		for (size_t i = 0; i < svc->nset; i++)
			check_setting(c, &svc->sets[i]);
		if (svc->pub.params == &c->params)
			continue;
		check_enums(c, &svc->pub);
		check_codes(c, &svc->pub);
	}
	snap_check_main_names(c);
	snap_check_service_names(c);
	check_transports(c);
	check_relations(c);
	check_level(c);
}
