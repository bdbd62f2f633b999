/* SPDX-License-Identifier: BSD-2-Clause */
/* check_*_access: which keys are looked up (facts 3.9) and what a result does (facts 3.10). */
#include "policy/engine.h"

#include "base/mem.h"

/* ---- what a result does ---- */

struct result {
	struct policy_run *r;
	const struct policy_rule *rule;
	struct about about;
	struct span word, text;      /* of the value */
	bool permit_is_dunno, permit_is_error;
};

static enum pol
refuse_with(struct result *a, unsigned code, const char *default_dsn, const char *default_text)
{
	char fixed[16];
	struct span text = a->text, dsn = policy_take_dsn(&text);
	dsn = dsn.n > 0 ? policy_fix_dsn(dsn, a->about.class, fixed) : span_str(default_dsn);
	return policy_refuse(a->r, a->rule, code, dsn, a->about, text.n > 0 ? text : span_str(default_text));
}

enum pol
policy_permit_forbidden(struct policy_run *r, const struct policy_rule *rule)
{
	return policy_server_error(r, rule,
	    "restriction %s returns OK: this is not allowed for security reasons; use DUNNO instead of OK if you want to make an exception", rule->shown);
}

static enum pol
do_permit(struct result *a)
{
	if (a->permit_is_error)
		return policy_permit_forbidden(a->r, a->rule);
	return a->permit_is_dunno ? POL_DUNNO : POL_PERMIT;
}

static enum pol
do_dunno(struct result *a)
{
	(void)a;
	return POL_DUNNO;
}

static enum pol
do_reject(struct result *a)
{
	return refuse_with(a, (unsigned)a->r->policy->p->p_access_map_reject_code, "5.7.1", "Access denied");
}

static enum pol
do_defer(struct result *a)
{
	return refuse_with(a, (unsigned)a->r->policy->p->p_access_map_defer_code, "4.7.1", "Access denied");
}

static enum pol
defer_if(struct result *a, struct policy_deferral *which)
{
	char fixed[16];
	struct span text = a->text, dsn = policy_take_dsn(&text);
	dsn = dsn.n > 0 ? policy_fix_dsn(dsn, a->about.class, fixed) : SPAN("4.7.1");
	return policy_defer_if(a->r, a->rule, which, (unsigned)a->r->policy->p->p_access_map_defer_code, dsn, a->about,
	    text.n > 0 ? text : SPAN("Service unavailable"));
}

static enum pol
do_defer_if_permit(struct result *a)
{
	return defer_if(a, &a->r->if_permit);
}

static enum pol
do_defer_if_reject(struct result *a)
{
	return defer_if(a, &a->r->if_reject);
}

/* "<object>: Class text" for the log */
static enum pol
note_with(struct result *a, enum verdict_note_kind kind, const char *default_text)
{
	struct buf b;
	buf_init(&b, 1000);
	buf_putc(&b, '<');
	buf_put_safe(&b, a->about.object, 400, true);
	buf_puts(&b, ">: ");
	buf_puts(&b, reply_class_name(a->about.class));
	buf_putc(&b, ' ');
	buf_put_safe(&b, a->text.n > 0 ? a->text : span_str(default_text), 400, true);
	policy_note(a->r, kind, buf_span(&b));
	buf_fini(&b);
	return POL_DUNNO;
}

/* "hash:/x" of "check_client_access hash:/x", as Postfix names it. */
static const char *
table_name(const struct policy_rule *rule)
{
	const char *space = strchr(rule->shown, ' ');
	return space != NULL ? space + 1 : rule->shown;
}

/* Actions about the message where there is none are left out (facts 3.10). */
static bool
has_message(struct result *a)
{
	struct policy_run *r = a->r;
	if (r->facts->has_sender && r->stage != POLICY_ETRN)
		return true;
	struct buf b;
	buf_init(&b, 500);
	buf_printf(&b, "access table %s: ", table_name(a->rule));
	if (r->stage != POLICY_ETRN)
		buf_puts(&b, "with smtpd_delay_reject=no, ");
	buf_puts(&b, "action ");
	buf_put(&b, a->word);
	buf_puts(&b, r->stage == POLICY_ETRN
	    ? " is unavailable in smtpd_etrn_restrictions"
	    : " is always skipped in smtpd_client_restrictions or smtpd_helo_restrictions");
	policy_note(r, NOTE_TROUBLE, buf_span(&b));
	buf_fini(&b);
	return false;
}

static enum pol
do_hold(struct result *a)
{
	if (!has_message(a) || a->r->facts->is_held || a->r->verdict.hold)
		return POL_DUNNO;
	a->r->verdict.hold = true;
	return note_with(a, NOTE_HOLD, "triggers HOLD action");
}

static enum pol
do_discard(struct result *a)
{
	if (!has_message(a))
		return POL_DUNNO;
	a->r->verdict.discard = true;
	return note_with(a, NOTE_DISCARD, "triggers DISCARD action");
}

static enum pol
do_info(struct result *a)
{
	return note_with(a, NOTE_INFO, "triggers INFO action");
}

static enum pol
do_warn(struct result *a)
{
	return note_with(a, NOTE_WARN, "triggers WARN action");
}

static enum pol
do_later(struct result *a)
{
	return policy_server_error(a->r, a->rule, "%s: access action %.20s is not supported yet", a->rule->shown,
	    (const char *)a->word.p);
}

static const struct action {
	const char *word;
	enum pol (*fn)(struct result *);
} actions[] = {
	{ "OK", do_permit },
	{ "RELAY", do_permit },
	{ "DUNNO", do_dunno },
	{ "DISCARD", do_discard },
	{ "REJECT", do_reject },
	{ "DEFER", do_defer },
	{ "DEFER_IF_PERMIT", do_defer_if_permit },
	{ "DEFER_IF_REJECT", do_defer_if_reject },
	{ "HOLD", do_hold },
	{ "INFO", do_info },
	{ "WARN", do_warn },
	{ "BCC", do_later },
	{ "FILTER", do_later },
	{ "PREPEND", do_later },
	{ "REDIRECT", do_later },
};

/* A restriction list as a result: names and classes; tables would have to be open already (facts 3.10). */
static enum pol
do_list(struct result *a, struct span value)
{
	struct policy_run *r = a->r;
	struct span item;
	bool group;
	enum rc rc;
	const struct restriction *bare = r->frames[r->depth - 1].list->bare;
	if (r->depth >= POLICY_DEPTH_MAX)
		return policy_server_error(r, a->rule, "%s: results nest too deep", a->rule->shown);
	struct policy_list *l = mem_zalloc(sizeof *l);
	l->name = r->frames[0].list->name;
	l->bare = bare;
	l->next = r->made;
	r->made = l;
	while ((rc = conf_item(&value, &item, &group)) == RC_OK) {
		char shown[80];
		struct buf b;
		buf_init(&b, sizeof shown);
		buf_put_safe(&b, item, sizeof shown - 1, false);
		snprintf(shown, sizeof shown, "%s", buf_cstr(&b));
		buf_fini(&b);
		const struct restriction *row = restriction_find(item);
		const struct policy_list *class = policy_class(r->policy, item, bare);
		if (class == NULL && row == NULL)
			return policy_server_error(r, a->rule, "unknown smtpd restriction: \"%s\"", shown);
		if (class == NULL && (row->fn == NULL || row->arg != ARG_NONE))
			return policy_server_error(r, a->rule, "%s: restriction %s is not supported in a table result", a->rule->shown, shown);
		const char *name = class != NULL ? class->name : row->name;
		policy_list_add(l, (struct policy_rule){ .row = class != NULL ? NULL : row, .class = class, .shown = name });
	}
	if (rc != RC_NONE)
		return policy_server_error(r, a->rule, "%s: unbalanced braces in a result", a->rule->shown);
	policy_call(r, l, a->permit_is_dunno);
	r->frames[r->depth - 1].permit_is_error = a->permit_is_error ? a->rule : NULL;
	r->frames[r->depth - 1].about_class = a->about.class;
	r->frames[r->depth - 1].about_object = a->about.object;
	return POL_CALL;
}

static bool
all_digits(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.n > 0;
}

enum pol
policy_access_result(struct policy_run *r, const struct policy_rule *rule, struct span value, struct about about, bool permit_is_dunno,
    bool permit_is_error)
{
	/* rules inside a list that the result names must not find their text overwritten */
	value = arena_span(&r->text, span_trim(value));
	struct result a = { r, rule, about, value, SPAN_EMPTY, permit_is_dunno, permit_is_error };
	struct span rest = value;
	span_word(&rest, " \t", &a.word);
	a.text = span_trim(rest);

	for (size_t i = 0; i < NELEMS(actions); i++)
		if (span_caseeq_str(a.word, actions[i].word)) {
			a.word = span_str(actions[i].word);
			return actions[i].fn(&a);
		}
	if (all_digits(value))
		return do_permit(&a); /* what other programs left as a time stamp */
	if (a.word.n == 3 && all_digits(a.word) && (a.word.p[0] == '4' || a.word.p[0] == '5') && a.text.n > 0) {
		uint64_t code = 0;
		(void)!span_u64(a.word, 599, &code);
		return refuse_with(&a, (unsigned)code, a.word.p[0] == '4' ? "4.7.1" : "5.7.1", "Access denied");
	}
	return do_list(&a, value);
}

static bool
complain(struct buf *out, bool *is_error_out, bool is_error, const char *what, struct span word, const char *how)
{
	buf_puts(out, what);
	buf_put_safe(out, word, 60, false);
	buf_puts(out, how);
	*is_error_out = is_error;
	return true;
}

bool
policy_result_complaint(const struct policy *p, const struct restriction *bare, struct span value, struct buf *out, bool *is_error)
{
	struct span word, item, rest = value = span_trim(value);
	bool group;
	span_word(&rest, " \t", &word);
	for (size_t i = 0; i < NELEMS(actions); i++)
		if (span_caseeq_str(word, actions[i].word))
			return actions[i].fn == do_later && complain(out, is_error, true, "action ", word, " is not supported yet");
	if (all_digits(word) && (span_trim(rest).n == 0 || (word.n == 3 && (word.p[0] == '4' || word.p[0] == '5'))))
		return false;
	while (conf_item(&value, &item, &group) == RC_OK) {
		const struct restriction *row = restriction_find(item);
		if (policy_class(p, item, bare) != NULL)
			continue;
		if (row == NULL)
			return complain(out, is_error, false, "unknown smtpd restriction: \"", item, "\"");
		if (row->fn == NULL)
			return complain(out, is_error, true, "restriction ", item, " is not supported yet");
		if (row->arg != ARG_NONE)
			return complain(out, is_error, true, "restriction ", item, " is not supported in a table");
	}
	return false;
}

/* ---- which keys ---- */

static enum pol
answer(struct policy_run *r, const struct policy_rule *rule, enum rc rc, struct span value, struct about about, const struct err *e,
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
	return answer(r, rule, rc, value, policy_about_class(r, ABOUT_CLIENT), &e, false, false);
}

enum pol
r_reverse_client_access(struct policy_run *r, const struct policy_rule *rule)
{
	struct span value;
	struct err e;
	enum rc rc = map_find_host(rule->map, r->facts->reverse_name, r->policy->access_parent_plain, &r->scratch, &value, &e);
	if (rc == RC_NONE)
		rc = map_find_ip(rule->map, r->facts->client_addr, &r->scratch, &value, &e);
	return answer(r, rule, rc, value, policy_about_class(r, ABOUT_REVERSE_CLIENT), &e, false, true);
}

enum pol
r_sasl_access(struct policy_run *r, const struct policy_rule *rule)
{
	struct span value;
	struct err e;
	if (r->facts->login.n == 0)
		return POL_DUNNO;
	enum rc rc = map_find(rule->map, r->facts->login, 0, &r->scratch, &value, &e);
	return answer(r, rule, rc, value, policy_about_class(r, ABOUT_LOGIN), &e, false, false);
}

enum pol
r_helo_access(struct policy_run *r, const struct policy_rule *rule)
{
	struct span value;
	struct err e;
	enum rc rc = map_find_host(rule->map, r->facts->helo, r->policy->access_parent_plain, &r->scratch, &value, &e);
	return answer(r, rule, rc, value, policy_about_class(r, ABOUT_HELO), &e, false, false);
}

static enum pol
mail_access(struct policy_run *r, const struct policy_rule *rule, const struct resolved *a, struct about about)
{
	struct span value;
	struct err e;
	struct map_addr addr = address_split(r->policy->book, a->addr);
	enum rc rc = map_find_address(rule->map, MAPKEY_ACCESS, &addr, r->policy->access_parent_plain, false, &r->scratch, &value, &e);
	/* where a route leads is not known: too suspicious for an OK */
	bool suspicious = a->is_routed && about.class == ABOUT_RECIPIENT;
	return answer(r, rule, rc, value, about, &e, suspicious, false);
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
	return answer(r, rule, rc, value, about, &e, false, false);
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
