/* SPDX-License-Identifier: BSD-2-Clause */
/* Restriction lists of a service become rows; what cannot work is a problem with file and line. Facts 3.1. */
#include "policy/engine.h"

#include "base/mem.h"
#include "conf/param.h"
#include "policy/server.h"

#include <stdarg.h>

/* ---- the lists of smtpd ---- */

static const struct {
	const char *name;
	const char *bare;
	unsigned has_now;            /* facts there are at its own command, with smtpd_delay_reject=no */
} list_rows[LIST_COUNT] = {
	[LIST_CLIENT] = { "smtpd_client_restrictions", "check_client_access", 0 },
	[LIST_HELO] = { "smtpd_helo_restrictions", "check_helo_access", NEED_HELO },
	[LIST_SENDER] = { "smtpd_sender_restrictions", "check_sender_access", NEED_HELO | NEED_SENDER },
	[LIST_RELAY] = { "smtpd_relay_restrictions", "check_recipient_access", NEED_HELO | NEED_SENDER | NEED_RCPT },
	[LIST_RECIPIENT] = { "smtpd_recipient_restrictions", "check_recipient_access", NEED_HELO | NEED_SENDER | NEED_RCPT },
	[LIST_DATA] = { "smtpd_data_restrictions", NULL, NEED_HELO | NEED_SENDER | NEED_RCPT },
	[LIST_END_OF_DATA] = { "smtpd_end_of_data_restrictions", NULL, NEED_HELO | NEED_SENDER | NEED_RCPT },
	[LIST_ETRN] = { "smtpd_etrn_restrictions", "check_etrn_access", NEED_HELO | NEED_ETRN },
};

struct compile {
	struct policy *p;
	const char *parameter;       /* whose text is being read: problems name it */
	enum policy_list_id id;
	bool from_tables;            /* nobody wrote it there: it may have nothing to look at */
	bool failed;
};

static void
fail(struct compile *k, const char *fmt, ...) PRINTF(2, 3);
static void
fail(struct compile *k, const char *fmt, ...)
{
	char text[400];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	k->failed = true;
	conf_problem(k->p->conf, CONF_ERROR, k->p->service, k->parameter, "%s: %s", k->parameter, text);
}

static struct policy_list *
list_new(struct policy *p, const char *name, const struct restriction *bare)
{
	struct policy_list *l = mem_zalloc(sizeof *l);
	l->name = name;
	l->bare = bare;
	l->next = p->all;
	p->all = l;
	return l;
}

void
policy_list_add(struct policy_list *l, struct policy_rule rule)
{
	if (l->count == l->cap) {
		l->cap = l->cap > 0 ? l->cap * 2 : 8;
		l->rules = mem_reallocarray(l->rules, l->cap, sizeof *l->rules);
	}
	l->rules[l->count++] = rule;
}

static const char *
shown(struct compile *k, const char *name, struct span arg)
{
	struct buf b;
	buf_init(&b, 300);
	buf_puts(&b, name);
	if (arg.n > 0)
		buf_putc(&b, ' ');
	buf_put_safe(&b, arg, 200, true);
	const char *text = arena_cstr(&k->p->arena, buf_span(&b));
	buf_fini(&b);
	return text != NULL ? text : name;
}

const struct policy_list *
policy_class(const struct policy *p, struct span name, const struct restriction *bare)
{
	for (const struct policy_list *l = p->all; l != NULL; l = l->next) {
		bool is_list = false;
		for (size_t i = 0; i < LIST_COUNT; i++)
			is_list |= p->lists[i] == l;
		if (!is_list && l->bare == bare && span_eq_str(name, l->name))
			return l;
	}
	return NULL;
}

static bool
is_class(struct compile *k, struct span name)
{
	struct span rest = span_str(k->p->p->p_smtpd_restriction_classes), item;
	bool group;
	while (conf_item(&rest, &item, &group) == RC_OK)
		if (span_eq(item, name))
			return true;
	return false;
}

static void compile_items(struct compile *k, struct policy_list *l, struct span items, unsigned depth);

static const struct policy_list *
compile_class(struct compile *k, struct span name, const struct restriction *bare)
{
	struct policy_list *l = (struct policy_list *)(uintptr_t)policy_class(k->p, name, bare);
	if (l != NULL) {
		if (l->in_progress)
			fail(k, "restriction class %s refers to itself", l->name);
		return l;
	}
	const char *parameter = arena_cstr(&k->p->arena, name);
	const char *value = conf_value(k->p->conf, k->p->service, parameter);
	l = list_new(k->p, parameter, bare);
	if (value == NULL) {
		fail(k, "restriction class %s is not defined", parameter);
		return l;
	}
	struct compile inner = *k;
	inner.parameter = parameter;
	inner.failed = false;
	l->in_progress = true;
	compile_items(&inner, l, span_str(value), 0);
	l->in_progress = false;
	k->failed |= inner.failed;
	return l;
}

static bool
lacks_facts(struct compile *k, const struct restriction *row)
{
	return !k->p->p->p_smtpd_delay_reject && (row->needs & ~list_rows[k->id].has_now & ~(unsigned)NEED_NAME) != 0;
}

/* "type:table", or { type:table, { search_order = cert_fingerprint, pubkey_fingerprint } }: the table, and the order. */
static bool
cert_argument(struct span arg, bool is_group, struct span *table, unsigned char search[CERT_SEARCHES])
{
	struct span item, rest = SPAN_EMPTY, words, word;
	bool group;
	search[0] = CERT_WHOLE;
	search[1] = CERT_PUBKEY;
	*table = arg;
	if (!is_group)
		return true;
	rest = arg;
	if (conf_item(&rest, table, &group) != RC_OK || group)
		return false;
	while (conf_item(&rest, &item, &group) == RC_OK) {
		size_t eq = span_chr(item, '=');
		unsigned n = 0;
		if (eq == SIZE_MAX || !span_eq_str(span_trim(span_head(item, eq)), "search_order"))
			return false;
		search[0] = search[1] = 0;
		words = span_from(item, eq + 1);
		while (span_word(&words, ", \t\r\n", &word)) {
			unsigned char which = span_eq_str(word, "cert_fingerprint") ? CERT_WHOLE : span_eq_str(word, "pubkey_fingerprint") ? CERT_PUBKEY : 0;
			if (which == 0 || n == CERT_SEARCHES)
				return false;
			search[n++] = which;
		}
		if (n == 0)
			return false;
	}
	return true;
}

/* What would be skipped at run time is better known before. */
static void
check_use(struct compile *k, const struct restriction *row)
{
	/* a sender without an owner is nobody's: without a table these refuse all mail of all who logged in */
	if ((row->fn == r_login_mismatch || row->fn == r_auth_login_mismatch) && k->p->has_sasl && map_list_empty(k->p->sender_logins))
		conf_problem(k->p->conf, CONF_WARNING, k->p->service, k->parameter,
		    "%s: %s refuses every sender of every user: smtpd_sender_login_maps is empty (reject_known_sender_login_mismatch lets senders nobody owns pass)",
		    k->parameter, row->name);
	static policy_rule_fn *const logins[] = { r_login_mismatch, r_auth_login_mismatch, r_known_login_mismatch, r_unauth_login_mismatch, r_sasl_access };
	for (size_t i = 0; i < NELEMS(logins); i++)
		if (row->fn == logins[i] && !k->p->has_sasl)
			conf_problem(k->p->conf, CONF_WARNING, k->p->service, k->parameter, "%s: restriction `%s' ignored: smtpd_sasl_auth_enable = no",
			    k->parameter, row->name);
	if (row->fn == r_ccert_access && !k->p->asks_cert)
		conf_problem(k->p->conf, CONF_WARNING, k->p->service, k->parameter, "%s: %s is requested, but smtpd_tls_ask_ccert = no", k->parameter, row->name);
}

/* A row with its argument. */
static void
add_rule(struct compile *k, struct policy_list *l, const struct restriction *row, struct span arg, bool is_group)
{
	struct policy_rule rule = { .row = row, .shown = shown(k, row->name, arg) };
	struct err e;
	uint64_t seconds = 0;
	if (row->advice != NULL) {
		fail(k, "restriction %s is gone: %s", row->name, row->advice);
		return;
	}
	if (row->fn == NULL) {
		fail(k, "restriction %s is not supported yet", row->name);
		return;
	}
	check_use(k, row);
	if (!k->from_tables && (lacks_facts(k, row) || (k->id != LIST_ETRN && (row->needs & NEED_ETRN) != 0) ||
	                           (k->id == LIST_ETRN && (row->needs & (NEED_SENDER | NEED_RCPT)) != 0)))
		fail(k, "restriction %s has nothing to look at here%s", row->name,
		    k->id == LIST_ETRN || (row->needs & NEED_ETRN) != 0 ? "" : ": it comes later than this list with smtpd_delay_reject=no");
	if (row->arg == ARG_CERT && !cert_argument(arg, is_group, &arg, rule.search)) {
		fail(k, "restriction %s: need type:table or { type:table, { search_order = cert_fingerprint, pubkey_fingerprint } }", row->name);
	} else if (row->arg == ARG_MAP || row->arg == ARG_CERT) {
		char *list = mem_zalloc(arg.n + 1);
		memcpy(list, arg.p, arg.n);
		if (span_chr(arg, ':') == SIZE_MAX)
			fail(k, "restriction %s: bad argument \"%s\": need maptype:mapname", row->name, list);
		else if (maps_open(k->p->conf, k->p->service, k->parameter, list, &rule.map, &e) != RC_OK)
			k->failed = true;
		mem_free(&list);
	} else if (row->arg == ARG_SERVER) {
		if (policy_server_open(k->p->conf, k->p->service, k->parameter, arg, is_group, &rule.server, &e) != RC_OK)
			fail(k, "%s: %s", rule.shown, e.why);
		else
			rule.shown = shown(k, row->name, span_str(policy_server_text(rule.server)));
	} else if (row->arg == ARG_DNSBL) {
		if (policy_dnsbl_open(&k->p->arena, arg, &rule.dnsbl, &e) != RC_OK)
			fail(k, "restriction %s: %s", row->name, e.why);
	} else if (row->arg == ARG_SECONDS) {
		if (!span_u64(arg, SLEEP_MAX, &seconds))
			fail(k, "restriction %s: bad argument: need a number of seconds", row->name);
		rule.seconds = (unsigned)seconds;
	}
	policy_list_add(l, rule);
}

static bool
is_unconditional_permit(const struct policy_list *l)
{
	return l->count > 0 && l->rules[l->count - 1].row != NULL && l->rules[l->count - 1].row->fn == r_permit;
}

static void
unknown(struct compile *k, struct span item)
{
	const char *near = restriction_suggest(item);
	const char *name = shown(k, "", item);
	if (near != NULL)
		fail(k, "unknown smtpd restriction: \"%s\": did you mean %s?", name + (*name == ' '), near);
	else
		fail(k, "unknown smtpd restriction: \"%s\"", name + (*name == ' '));
}

static void
compile_items(struct compile *k, struct policy_list *l, struct span items, unsigned depth)
{
	struct span item, arg;
	bool group, arg_group;
	enum rc rc;
	while ((rc = conf_item(&items, &item, &group)) == RC_OK) {
		if (is_unconditional_permit(l))
			conf_problem(k->p->conf, CONF_WARNING, k->p->service, k->parameter, "%s: restriction `%s' after `permit' is ignored",
			    k->parameter, shown(k, "", item) + 1);
		if (group) { /* one restriction with its argument */
			if (depth >= 10)
				fail(k, "braces are nested too deep");
			else
				compile_items(k, l, item, depth + 1);
			continue;
		}
		arg = SPAN_EMPTY;
		arg_group = false;
		const struct restriction *row = restriction_find(item);
		if (is_class(k, item)) {
			const struct policy_list *class = compile_class(k, item, l->bare);
			policy_list_add(l, (struct policy_rule){ .class = class, .shown = class->name });
			continue;
		}
		if (row == NULL && span_chr(item, ':') != SIZE_MAX) {
			row = l->bare;
			arg = item;
			if (row == NULL) {
				fail(k, "a table needs a restriction in front of it here: \"%s\"", shown(k, "", item) + 1);
				continue;
			}
		} else if (row == NULL) {
			unknown(k, item);
			continue;
		} else if (row->arg != ARG_NONE && conf_item(&items, &arg, &arg_group) != RC_OK) {
			fail(k, "restriction %s needs an argument", row->name);
			continue;
		}
		add_rule(k, l, row, arg, arg_group);
	}
	if (rc != RC_NONE)
		fail(k, "unbalanced braces");
}

/* ---- could it be an open relay? ---- */

static const char required[] = "reject_unauth_destination, defer_unauth_destination, reject, defer or defer_if_permit";

static bool
is_required(const struct policy_rule *rule)
{
	static policy_rule_fn *const fns[] = { r_unauth_destination, r_defer_destination, r_reject, r_defer, r_defer_if_permit };
	for (size_t i = 0; i < NELEMS(fns); i++)
		if (rule->row != NULL && rule->row->fn == fns[i])
			return true;
	return false;
}

static bool
has_required(const struct policy_list *l, unsigned depth)
{
	for (unsigned i = 0; l != NULL && i < l->count; i++) {
		const struct policy_rule *rule = &l->rules[i];
		if (rule->row != NULL && rule->row->fn == r_warn_if_reject) {
			i++; /* what it only warns about protects nobody */
			continue;
		}
		if (rule->row != NULL && rule->row->fn == r_permit)
			return false;
		if (is_required(rule))
			return true;
		if (rule->row == NULL && depth < 10 && has_required(rule->class, depth + 1))
			return true;
	}
	return false;
}

/* ---- a whole policy ---- */

static void
tempfail_action(struct compile *k, const char *parameter, const char *value, bool *defers_out)
{
	*defers_out = strcmp(value, "defer") == 0;
	if (*defers_out || strcmp(value, "defer_if_permit") == 0)
		return;
	k->parameter = parameter;
	fail(k, "bad value \"%s\": defer_if_permit or defer", value);
}

/* Classes may come out of tables: each for every kind of list. */
static void
compile_classes(struct compile *k)
{
	struct span rest = span_str(k->p->p->p_smtpd_restriction_classes), item;
	bool group;
	k->from_tables = true;
	while (conf_item(&rest, &item, &group) == RC_OK)
		for (size_t i = 0; i < LIST_COUNT; i++)
			if (k->p->lists[i]->count > 0) {
				k->id = (enum policy_list_id)i;
				k->parameter = list_rows[i].name;
				(void)compile_class(k, item, k->p->lists[i]->bare);
			}
}

/* Results that will be server errors are better known before. */
struct results {
	struct compile *k;
	const struct policy_list *list;
	const struct policy_rule *rule;
	unsigned looked_at, complaints;
};

enum { RESULTS_MAX = 200000, COMPLAINTS_MAX = 5 };

/* Does this list come to the same question to the same table? */
static bool
asks_again(const struct policy_list *l, const struct policy_rule *rule, const char *table, unsigned depth)
{
	static policy_rule_fn *const last[] = { r_permit, r_reject, r_defer };
	for (unsigned i = 0; depth < 10 && i < l->count; i++) {
		const struct policy_rule *r = &l->rules[i];
		if (r->row == NULL ? asks_again(r->class, rule, table, depth + 1) : r->row == rule->row && map_list_names(r->map, table))
			return true;
		for (size_t k = 0; r->row != NULL && k < NELEMS(last); k++)
			if (r->row->fn == last[k] && (i == 0 || l->rules[i - 1].row == NULL || l->rules[i - 1].row->fn != r_warn_if_reject))
				return false;
	}
	return false;
}

/* A result that is a class which asks for the same again would never come to an end. */
static bool
is_loop(const struct results *x, const char *table, struct span value, struct buf *out)
{
	struct span item;
	bool group;
	if (!policy_result_is_list(value))
		return false;
	while (conf_item(&value, &item, &group) == RC_OK) {
		const struct policy_list *class = policy_class(x->k->p, item, x->list->bare);
		if (class == NULL || !asks_again(class, x->rule, table, 0))
			continue;
		buf_printf(out, "restriction class %s asks this table the same again, without an end", class->name);
		return true;
	}
	return false;
}

static bool
check_result(void *arg, const char *table, const char *place, struct span key, struct span value)
{
	struct results *x = arg;
	struct compile *k = x->k;
	struct buf what, where;
	bool is_error = true;
	buf_init(&what, 300);
	buf_init(&where, 300);
	if (is_loop(x, table, value, &what) || policy_result_complaint(k->p, x->list->bare, value, &what, &is_error)) {
		x->complaints++;
		buf_put_safe(&where, key, 100, true);
		conf_problem(k->p->conf, is_error ? CONF_ERROR : CONF_WARNING, k->p->service, x->list->name, "%s: %s: key %s: %s", x->list->name, place,
		    buf_cstr(&where), buf_cstr(&what));
		k->failed |= is_error;
	}
	buf_fini(&what);
	buf_fini(&where);
	return ++x->looked_at < RESULTS_MAX && x->complaints < COMPLAINTS_MAX;
}

/* What a policy server's silence will be answered with. */
static void
check_default(struct results *x, const struct policy_server *server)
{
	struct buf what;
	bool is_error;
	buf_init(&what, 300);
	if (policy_result_complaint(x->k->p, x->list->bare, span_str(policy_server_default(server)), &what, &is_error))
		conf_problem(x->k->p->conf, CONF_WARNING, x->k->p->service, x->list->name, "%s: check_policy_service %.200s: default_action: %s", x->list->name,
		    policy_server_text(server), buf_cstr(&what));
	buf_fini(&what);
}

static void
check_results(struct compile *k)
{
	if (!conf_is_loader(k->p->conf))
		return;
	for (const struct policy_list *l = k->p->all; l != NULL; l = l->next)
		for (unsigned i = 0; i < l->count; i++) {
			struct results x = { .k = k, .list = l, .rule = &l->rules[i] };
			map_list_each_place(l->rules[i].map, check_result, &x);
			if (l->rules[i].server != NULL)
				check_default(&x, l->rules[i].server);
		}
}

static bool
is_yes(const struct conf *c, const struct service *s, const char *parameter)
{
	bool yes = false;
	return param_bool(span_str(conf_value(c, s, parameter)), &yes) == RC_OK && yes;
}

/* What check_greylist goes by. */
static bool
open_greylist(struct policy *p)
{
	struct err why;
	struct conf *c = p->conf;
	const struct service *s = p->service;
	const char *header = p->p->p_greylist_header, *gone = p->p->p_greylist_unavailable;
	bool ok = matchlist_open_param(c, s, "greylist_exceptions", MATCH_HOST, &p->grey_clients, &why) == RC_OK;
	ok &= matchlist_open_param(c, s, "greylist_recipient_exceptions", MATCH_STRING, &p->grey_rcpts, &why) == RC_OK;
	if (strcmp(gone, "pass") != 0 && strcmp(gone, "defer") != 0) {
		conf_problem(c, CONF_ERROR, s, "greylist_unavailable", "greylist_unavailable = %s: only pass or defer", gone);
		ok = false;
	}
	size_t name = strcspn(header, ": \t");
	if (header[0] != '\0' && (name == 0 || header[name] != ':')) {
		conf_problem(c, CONF_ERROR, s, "greylist_header", "greylist_header is not a header: need \"Name: text\"");
		ok = false;
	}
	return ok;
}

enum rc
policy_compile(struct conf *c, const struct service *s, struct policy **out, struct err *e)
{
	struct policy *p = mem_zalloc(sizeof *p);
	struct compile k = { .p = p };
	struct err why = { 0 };
	p->conf = conf_ref(c);
	p->service = s;
	p->p = s != NULL ? s->params : conf_params(c);
	arena_init(&p->arena, SIZE_MAX / 2);
	p->no_rcpt_checks = conf_has_item(p->p->p_receive_override_options, "no_unknown_recipient_checks");
	p->access_parent_plain = conf_has_item(p->p->p_parent_domain_matches_subdomains, "smtpd_access_maps");
	if (address_book_open(c, s, &p->book, &why) != RC_OK)
		k.failed = true;
	if (matchlist_open_param(c, s, "mynetworks", MATCH_HOST, &p->mynetworks, &why) != RC_OK)
		k.failed = true;
	p->has_sasl = is_yes(c, s, "smtpd_sasl_auth_enable");
	p->asks_cert = is_yes(c, s, "smtpd_tls_ask_ccert") || is_yes(c, s, "smtpd_tls_req_ccert");
	if (maps_open_param(c, s, "smtpd_sender_login_maps", &p->sender_logins, &why) != RC_OK)
		k.failed = true;
	if (maps_open_param(c, s, "relay_clientcerts", &p->client_certs, &why) != RC_OK)
		k.failed = true;
	if (!open_greylist(p))
		k.failed = true;
	if (matchlist_open_param(c, s, "smtpd_log_access_permit_actions", MATCH_STRING, &p->permit_log, &why) != RC_OK)
		k.failed = true;
	if (maps_open_param(c, s, "rbl_reply_maps", &p->rbl_replies, &why) != RC_OK)
		k.failed = true;
	template_filter_init(&p->expansion, p->p->p_smtpd_expansion_filter);
	if (matchlist_open_param(c, s, "permit_mx_backup_networks", MATCH_HOST, &p->mx_networks, &why) != RC_OK)
		k.failed = true;
	tempfail_action(&k, "unknown_helo_hostname_tempfail_action", p->p->p_unknown_helo_hostname_tempfail_action, &p->helo_tempfail_defers);
	tempfail_action(&k, "unknown_address_tempfail_action", p->p->p_unknown_address_tempfail_action, &p->address_tempfail_defers);
	tempfail_action(&k, "unverified_recipient_tempfail_action", p->p->p_unverified_recipient_tempfail_action, &p->recipient_tempfail_defers);
	tempfail_action(&k, "unverified_sender_tempfail_action", p->p->p_unverified_sender_tempfail_action, &p->sender_tempfail_defers);
	p->asks_ipv4 = conf_has_item(p->p->p_inet_protocols, "ipv4") || conf_has_item(p->p->p_inet_protocols, "all");
	p->asks_ipv6 = conf_has_item(p->p->p_inet_protocols, "ipv6") || conf_has_item(p->p->p_inet_protocols, "all");
	for (size_t i = 0; i < LIST_COUNT; i++)
		p->lists[i] = list_new(p, list_rows[i].name,
		    list_rows[i].bare != NULL ? restriction_find(span_str(list_rows[i].bare)) : NULL);
	for (size_t i = 0; i < LIST_COUNT; i++) {
		k.id = (enum policy_list_id)i;
		k.parameter = list_rows[i].name;
		compile_items(&k, p->lists[i], span_str(conf_value(c, s, k.parameter)), 0);
	}
	compile_classes(&k);
	policy_find_early(p);
	check_results(&k);
	if (!k.failed && !has_required(p->lists[LIST_RELAY], 0) && !has_required(p->lists[LIST_RECIPIENT], 0)) {
		k.failed = true;
		snprintf(why.why, sizeof why.why,
		    "in parameter smtpd_relay_restrictions or smtpd_recipient_restrictions, specify at least one working instance of: %s", required);
		conf_problem(c, CONF_ERROR, s, "smtpd_relay_restrictions", "%s", why.why);
	}
	if (k.failed) {
		policy_free(&p);
		*out = NULL;
		return err_set(e, RC_PERM, "%s", why.why[0] != '\0' ? why.why : "the restrictions cannot be used");
	}
	*out = p;
	return RC_OK;
}

static void
rule_fini(struct policy_rule *rule)
{
	map_list_free(&rule->map);
	policy_server_free(&rule->server);
}

void
policy_free(struct policy **pp)
{
	struct policy *p = *pp;
	*pp = NULL;
	if (p == NULL)
		return;
	while (p->all != NULL) {
		struct policy_list *l = p->all;
		p->all = l->next;
		for (unsigned i = 0; i < l->count; i++)
			rule_fini(&l->rules[i]);
		mem_free(&l->rules);
		mem_free(&l);
	}
	matchlist_free(&p->mynetworks);
	map_list_free(&p->rbl_replies);
	matchlist_free(&p->mx_networks);
	matchlist_free(&p->permit_log);
	matchlist_free(&p->grey_clients);
	matchlist_free(&p->grey_rcpts);
	map_list_free(&p->sender_logins);
	map_list_free(&p->client_certs);
	address_book_free(&p->book);
	arena_fini(&p->arena);
	conf_unref(&p->conf);
	mem_free(&p);
}

void
policy_check(struct conf *c)
{
	struct err e;
	size_t n = conf_service_count(c);
	/* kept to the end: a table that five services use is opened once */
	struct policy **all = mem_calloc(n + 1, sizeof(struct policy *));
	for (size_t i = 0; i < n; i++)
		if (strcmp(conf_service(c, i)->command, "smtpd") == 0)
			if (policy_compile(c, conf_service(c, i), &all[i], &e) == RC_OK)
				policy_dnsbl_check_reply(c, all[i]);
	for (size_t i = 0; i < n; i++)
		policy_free(&all[i]);
	mem_free(&all);
}

bool
policy_delays_reject(const struct policy *p)
{
	return p->p->p_smtpd_delay_reject;
}

const struct address_book *
policy_addresses(const struct policy *p)
{
	return p->book;
}
