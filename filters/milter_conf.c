/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/milter_private.h"

#include "base/mem.h"

enum { NAME_MAX_OCTETS = 512, MILTERS_MAX = 64, BUNDLED_PAUSE_MAX = 1000000 };

static const struct params *
params_of(struct conf *c, const struct service *s)
{
	return s != NULL ? s->params : conf_params(c);
}

/* ---- lists of names ---- */

static const char separators[] = ", \t\r\n";

void
milter_names_parse(struct milter_names *out, struct span text)
{
	struct span rest = text, word;
	size_t cap = 0;
	*out = (struct milter_names){ 0 };
	while (span_word(&rest, separators, &word)) {
		if (out->n == cap) {
			cap = cap > 0 ? cap * 2 : 8;
			out->name = mem_reallocarray(out->name, cap, sizeof *out->name);
		}
		out->name[out->n++] = word;
	}
}

void
milter_names_fini(struct milter_names *l)
{
	mem_free(&l->name);
	l->n = 0;
}

/* ---- settings ---- */

static enum rc
set_action(struct span v, enum milter_action *out, struct err *e)
{
	static const char *const names[] = { "accept", "reject", "tempfail", "quarantine", "shutdown" };
	for (unsigned i = 0; i < NELEMS(names); i++) {
		if (span_caseeq_str(v, names[i])) {
			*out = (enum milter_action)i;
			return RC_OK;
		}
	}
	return err_set(e, RC_PERM, "unrecognized default action: %.*s", (int)(v.n < 80 ? v.n : 80), (const char *)v.p);
}

/* "6", "6 no_header_reply": the version that is offered, and the steps. */
static enum rc
set_protocol(struct span v, struct milter_server *out, struct err *e)
{
	static const struct {
		const char *name;
		uint32_t version, steps;
	} rows[] = {
		{ "2", 2, SMFI_V2_PROT },
		{ "3", 3, SMFI_V2_PROT | SMFIP_NOUNKNOWN },
		{ "4", 4, SMFI_V2_PROT | SMFIP_NOUNKNOWN | SMFIP_NODATA },
		{ "6", 6, SMFI_CURR_PROT },
		{ "no_header_reply", 0, SMFIP_NR_HDR },
	};
	struct span rest = v, word;
	out->version = out->steps = 0;
	while (span_word(&rest, separators, &word)) {
		size_t i = 0;
		while (i < NELEMS(rows) && !span_caseeq_str(word, rows[i].name))
			i++;
		if (i == NELEMS(rows) || (rows[i].version != 0 && out->version != 0))
			return err_set(e, RC_PERM, "bad protocol information: %.*s", (int)(word.n < 80 ? word.n : 80), (const char *)word.p);
		if (rows[i].version != 0)
			out->version = rows[i].version;
		out->steps |= rows[i].steps;
	}
	return out->version != 0 ? RC_OK : err_set(e, RC_PERM, "no protocol version information");
}

static enum rc
set_reuse(struct span v, bool *out, struct err *e)
{
	*out = span_caseeq_str(v, "yes");
	return *out || span_caseeq_str(v, "no") ? RC_OK : err_set(e, RC_PERM, "need yes or no");
}

static enum rc
set_option(void *owner, struct span name, struct span v, struct err *e)
{
	struct milter_def *d = owner;
	if (span_eq_str(name, "connect_timeout"))
		return conf_setting_time(v, &d->connect_timeout, e);
	if (span_eq_str(name, "command_timeout"))
		return conf_setting_time(v, &d->command_timeout, e);
	if (span_eq_str(name, "content_timeout"))
		return conf_setting_time(v, &d->content_timeout, e);
	if (span_eq_str(name, "default_action"))
		return set_action(v, &d->action, e);
	if (span_eq_str(name, "protocol"))
		return set_protocol(v, d->server, e);
	if (span_eq_str(name, "connection_reuse"))
		return set_reuse(v, &d->server->keeps, e);
	return err_set(e, RC_PERM, "no such setting");
}

static enum rc
open_bundled(struct conf *c, struct milter_def *d, enum bundled which, struct err *e)
{
	if (!bundled_is_on(c, which))
		return err_set(e, RC_PERM, "%s%s is named, but %s is empty", BUNDLED_PREFIX, bundled_name(which), bundled_switch(which));
	d->is_bundled = true;
	d->server->keeps = true; /* ours can do it */
	d->bundled = which;
	d->fault_reason = bundled_default_reason(which);
	d->fault_header = bundled_default_header(which);
	return set_action(span_str(bundled_default_action(c, which)), &d->action, e);
}

/* One item: an endpoint, or the inside of { endpoint, name = value, ... }. d is empty on failure. */
static enum rc
open_def(struct conf *c, const struct service *svc, const char *parameter, struct span item, bool is_group, struct milter_def *d, struct err *e)
{
	const struct params *p = params_of(c, svc);
	struct span endpoint = item, rest = SPAN_EMPTY;
	bool group = false;
	*d = (struct milter_def){ .connect_timeout = p->p_milter_connect_timeout, .command_timeout = p->p_milter_command_timeout,
		.content_timeout = p->p_milter_content_timeout };
	if (is_group) {
		rest = item;
		if (conf_item(&rest, &endpoint, &group) != RC_OK || group)
			return err_set(e, RC_PERM, "empty milter definition: \"%.*s\"", (int)(item.n < 80 ? item.n : 80), (const char *)item.p);
	}
	if (endpoint.n > NAME_MAX_OCTETS || !span_is_printable(endpoint))
		return err_set(e, RC_PERM, "the name of a milter is too long, or has control characters");
	struct milter_server *s = mem_zalloc(sizeof *s);
	d->server = s;
	list_init(&s->link);
	s->keeps = p->p_milter_connection_reuse;
	s->idle_time = p->p_milter_connection_idle_time;
	s->idle_max = (size_t)p->p_milter_connection_idle_limit;
	breaker_init(&s->breaker, (unsigned)p->p_milter_breaker_failures, p->p_milter_breaker_probe_time);
	enum rc rc = set_action(span_str(p->p_milter_default_action), &d->action, e);
	if (rc != RC_OK)
		(void)err_prefix(e, "milter_default_action");
	if (rc == RC_OK && (rc = set_protocol(span_str(p->p_milter_protocol), s, e)) != RC_OK)
		(void)err_prefix(e, "milter_protocol");
	enum bundled which;
	enum rc is_bundled = bundled_find(endpoint, &which, e);
	if (rc == RC_OK && is_bundled == RC_OK)
		rc = open_bundled(c, d, which, e);
	if (d->is_bundled && s->breaker.pause > BUNDLED_PAUSE_MAX) /* who starts it anew is on this machine: it is back in a moment */
		s->breaker.pause = BUNDLED_PAUSE_MAX;
	if (rc == RC_OK)
		rc = conf_settings(rest, set_option, d, e);
	s->connect_timeout = d->connect_timeout;
	if (rc == RC_OK && is_bundled == RC_PERM)
		rc = is_bundled;
	if (rc == RC_OK)
		rc = endpoint_open(c, svc, parameter, is_bundled == RC_OK ? span_str(bundled_endpoint(which)) : endpoint, &s->endpoint, e);
	if (rc != RC_OK) {
		mem_free(&s);
		d->server = NULL;
		return err_prefix(e, "milter service %.*s", (int)(endpoint.n < 80 ? endpoint.n : 80), (const char *)endpoint.p);
	}
	s->name = mem_zalloc(endpoint.n + 1);
	memcpy(s->name, endpoint.p, endpoint.n);
	d->name = mem_strdup(s->name);
	d->server = milter_server_get(s);
	return RC_OK;
}

static enum rc
add_def(struct milter_set *set, struct conf *c, const struct service *s, const char *parameter, struct span item, bool group, struct err *e)
{
	if (set->n == MILTERS_MAX)
		return err_set(e, RC_PERM, "more than %d milters", MILTERS_MAX);
	set->def = mem_reallocarray(set->def, set->n + 1, sizeof *set->def);
	enum rc rc = open_def(c, s, parameter, item, group, &set->def[set->n], e);
	if (rc == RC_OK)
		set->n++;
	return rc;
}

static enum rc
parse_list(struct milter_set *set, struct conf *c, const struct service *s, const char *parameter, struct span rest, struct err *e)
{
	struct span item;
	bool group;
	enum rc rc;
	while ((rc = conf_item(&rest, &item, &group)) == RC_OK)
		if ((rc = add_def(set, c, s, parameter, item, group, e)) != RC_OK)
			return rc;
	return rc == RC_NONE ? RC_OK : err_set(e, RC_PERM, "unbalanced braces");
}

/* Those that are switched on and not named. */
static enum rc
add_bundled(struct milter_set *set, struct conf *c, const struct service *s, const char *parameter, struct err *e)
{
	for (enum bundled b = 0; b < BUNDLED_COUNT; b++) {
		char text[64];
		size_t i = 0;
		while (i < set->n && !(set->def[i].is_bundled && set->def[i].bundled == b))
			i++;
		if (i < set->n || !bundled_is_on(c, b))
			continue;
		snprintf(text, sizeof text, "%s%s", BUNDLED_PREFIX, bundled_name(b));
		enum rc rc = add_def(set, c, s, parameter, span_str(text), false, e);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

/* ---- macros ---- */

/* The next of name=value, {name}=value, { name = value with blanks }. */
static enum rc
next_default(struct span *rest, struct span *item)
{
	bool group;
	*rest = span_trim(*rest);
	while (rest->n > 0 && rest->p[0] == ',')
		*rest = span_trim(span_from(*rest, 1));
	size_t close = rest->n > 0 && rest->p[0] == '{' ? span_chr(*rest, '}') : SIZE_MAX;
	if (close == SIZE_MAX || close + 1 >= rest->n || rest->p[close + 1] != '=')
		return conf_item(rest, item, &group);
	return span_word(rest, separators, item) ? RC_OK : RC_NONE;
}

static enum rc
parse_defaults(struct milter_set *set, const char *text, struct err *e)
{
	struct span item;
	enum rc rc;
	size_t cap = 0;
	set->default_text = mem_strdup(text);
	struct span rest = span_str(set->default_text);
	while ((rc = next_default(&rest, &item)) == RC_OK) {
		size_t eq = span_chr(item, '=');
		if (eq == SIZE_MAX || eq == 0)
			return err_set(e, RC_PERM, "milter_macro_defaults: need name=value instead of \"%.*s\"", (int)(item.n < 80 ? item.n : 80),
			    (const char *)item.p);
		if (set->default_name.n == cap) {
			cap = cap > 0 ? cap * 2 : 8;
			set->default_name.name = mem_reallocarray(set->default_name.name, cap, sizeof(struct span));
			set->default_value.name = mem_reallocarray(set->default_value.name, cap, sizeof(struct span));
		}
		struct span name = span_trim(span_head(item, eq));
		if (name.n > 2 && name.p[0] == '{' && name.p[name.n - 1] == '}')
			name = span_head(span_from(name, 1), name.n - 2);
		set->default_name.name[set->default_name.n++] = name;
		set->default_value.name[set->default_value.n++] = span_trim(span_from(item, eq + 1));
	}
	return rc == RC_NONE ? RC_OK : err_set(e, RC_PERM, "milter_macro_defaults: unbalanced braces");
}

static enum rc
open_macros(struct milter_set *set, const struct params *p, struct err *e)
{
	const char *const lists[MST_COUNT] = {
		[MST_CONNECT] = p->p_milter_connect_macros, [MST_HELO] = p->p_milter_helo_macros, [MST_MAIL] = p->p_milter_mail_macros,
		[MST_RCPT] = p->p_milter_rcpt_macros, [MST_DATA] = p->p_milter_data_macros, [MST_EOM] = p->p_milter_end_of_data_macros,
		[MST_EOH] = p->p_milter_end_of_header_macros, [MST_UNKNOWN] = p->p_milter_unknown_command_macros,
	};
	for (size_t i = 0; i < MST_COUNT; i++) {
		set->macro_text[i] = mem_strdup(lists[i]);
		milter_names_parse(&set->macros[i], span_str(set->macro_text[i]));
	}
	return parse_defaults(set, p->p_milter_macro_defaults, e);
}

/* ---- sets ---- */

static enum rc
open_set(struct conf *c, const struct service *s, const char *parameter, struct span text, bool with_bundled, struct milter_set **out, struct err *e)
{
	const struct params *p = params_of(c, s);
	struct milter_set *set = mem_zalloc(sizeof *set);
	set->deadline = p->p_milter_message_deadline;
	set->size_limit = (uint64_t)p->p_message_size_limit;
	enum rc rc = parse_list(set, c, s, parameter, text, e);
	if (rc == RC_OK && with_bundled)
		rc = add_bundled(set, c, s, parameter, e);
	if (rc == RC_OK && set->n > 0)
		rc = open_macros(set, p, e);
	if (rc != RC_OK)
		milter_set_free(&set);
	*out = set;
	return rc;
}

enum rc
milter_set_parse(struct conf *c, const struct service *s, struct span text, struct milter_set **out, struct err *e)
{
	text = span_trim(text);
	bool is_disabled = span_caseeq_str(text, "DISABLE");
	return open_set(c, s, "smtpd_milters", is_disabled ? SPAN_EMPTY : text, !is_disabled, out, e);
}

/* "-o smtpd_milters=" in master.cf: this service has none at all. */
static bool
is_emptied(struct conf *c, const struct service *s, const char *parameter, struct span text)
{
	const char *file;
	int line;
	return s != NULL && span_trim(text).n == 0 && conf_position(c, s, parameter, &file, &line) && span_caseends(span_str(file), SPAN("master.cf"));
}

enum rc
milter_set_open(struct conf *c, const struct service *s, const char *parameter, struct milter_set **out, struct err *e)
{
	const char *value = conf_value(c, s, parameter);
	struct span text = span_str(value != NULL ? value : "");
	enum rc rc = open_set(c, s, parameter, text, !is_emptied(c, s, parameter, text), out, e);
	if (rc == RC_PERM)
		conf_problem(c, CONF_ERROR, s, parameter, "%s: %s", parameter, e->why);
	return rc;
}

void
milter_set_free(struct milter_set **sp)
{
	struct milter_set *set = *sp;
	*sp = NULL;
	if (set == NULL)
		return;
	BUG_ON(set->runs > 0);
	for (size_t i = 0; i < set->n; i++) {
		milter_server_unref(&set->def[i].server);
		mem_free(&set->def[i].name);
	}
	mem_free(&set->def);
	for (size_t i = 0; i < MST_COUNT; i++) {
		milter_names_fini(&set->macros[i]);
		mem_free(&set->macro_text[i]);
	}
	milter_names_fini(&set->default_name);
	milter_names_fini(&set->default_value);
	mem_free(&set->default_text);
	mem_free(&set);
}

bool
milter_set_is_empty(const struct milter_set *set)
{
	return set == NULL || set->n == 0;
}
