/* SPDX-License-Identifier: BSD-2-Clause */
/* access(5): what the result of a table or of a policy server does. Facts 3.10. */
#include "policy/engine.h"

#include "base/mem.h"
#include "msg/addr.h"

enum {
	EDIT_WORD_MAX = 512,         /* octets of an address or a destination */
	EDIT_NAME_MAX = 200,         /* of a header's name */
	EDIT_HEADER_MAX = 8000,      /* of a header */
};

struct result {
	struct policy_run *r;
	const struct policy_rule *rule;
	struct about about;
	struct span word, text;      /* of the value */
	struct span given;           /* the word as it was written */
	bool permit_is_dunno, permit_is_error;
};

static enum pol
refuse_with(struct result *a, unsigned code, const char *default_dsn, const char *default_text)
{
	char fixed[16];
	struct span text = a->text, dsn = policy_take_dsn(&text);
	dsn = dsn.n > 0 ? policy_map_dsn(a->r, dsn, a->about.class, fixed) : span_str(default_dsn);
	return policy_refuse(a->r, a->rule, code, dsn, a->about, text.n > 0 ? text : span_str(default_text));
}

enum pol
policy_permit_forbidden(struct policy_run *r, const struct policy_rule *rule)
{
	return policy_server_error(r, rule,
	    "restriction %s returns OK: this is not allowed for security reasons; use DUNNO instead of OK if you want to make an exception", rule->shown);
}

/* "hash:/x" of "check_client_access hash:/x", as Postfix names it. */
static const char *
table_name(const struct policy_rule *rule)
{
	const char *space = strchr(rule->shown, ' ');
	return space != NULL ? space + 1 : rule->shown;
}

static enum pol
do_permit(struct result *a)
{
	if (a->permit_is_error)
		return policy_permit_forbidden(a->r, a->rule);
	if (a->permit_is_dunno)
		return POL_DUNNO;
	return policy_permit(a->r, a->given, a->about, table_name(a->rule));
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
	dsn = dsn.n > 0 ? policy_map_dsn(a->r, dsn, a->about.class, fixed) : SPAN("4.7.1");
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

/* "<object>: Class triggers ACTION", or what the result says instead, for the log */
static void
note(struct result *a, enum verdict_note_kind kind, const char *verb, struct span text)
{
	struct buf b;
	buf_init(&b, 1400);
	buf_putc(&b, '<');
	buf_put_safe(&b, a->about.object, 400, true);
	buf_puts(&b, ">: ");
	buf_puts(&b, reply_class_name(a->about.class));
	buf_putc(&b, ' ');
	buf_puts(&b, verb);
	buf_put_safe(&b, text, 800, true);
	policy_note(a->r, kind, buf_span(&b));
	buf_fini(&b);
}

/* "access table hash:/x entry "key" requires ...": the result is of no use. */
static enum pol
no_use(struct result *a, const char *what)
{
	struct buf b;
	buf_init(&b, 1000);
	buf_printf(&b, "access table %.200s entry \"", table_name(a->rule));
	buf_put_safe(&b, a->rule->server != NULL ? SPAN("policy query") : a->about.object, 400, true);
	buf_puts(&b, "\" ");
	buf_puts(&b, what);
	policy_note(a->r, NOTE_TROUBLE, buf_span(&b));
	buf_fini(&b);
	return POL_DUNNO;
}

/* It may be fine, but is longer than we keep: doing nothing instead would let through what was to go elsewhere. */
static enum pol
too_long(struct result *a)
{
	return policy_server_error(a->r, a->rule, "%s: the argument of an action is too long", a->rule->shown);
}

/* Actions about the message where there is none are left out. */
static bool
has_message(struct result *a)
{
	struct policy_run *r = a->r;
	bool etrn = r->stage == POLICY_ETRN && !span_eq_str(a->word, "PREPEND");
	bool proxied = r->facts->is_proxied && !span_eq_str(a->word, "PREPEND");
	if (r->facts->has_sender && !etrn && !proxied)
		return true;
	struct buf b;
	buf_init(&b, 500);
	buf_printf(&b, "access table %.200s: ", table_name(a->rule));
	if (!etrn)
		buf_puts(&b, proxied ? "with smtpd_proxy_filter specified, " : "with smtpd_delay_reject=no, ");
	buf_puts(&b, "action ");
	buf_put(&b, a->word);
	buf_puts(&b, proxied ? " is unavailable" : etrn ? " is unavailable in smtpd_etrn_restrictions" : " is always skipped in Client host or Helo command restrictions");
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
	note(a, NOTE_HOLD, a->text.n > 0 ? "" : "triggers HOLD action", a->text);
	return POL_DUNNO;
}

/* Ours. A result about the recipient in question is about that one alone; anything else is about the message. */
static enum pol
do_quarantine(struct result *a)
{
	struct policy_run *r = a->r;
	struct verdict *v = &r->verdict;
	bool one = a->about.class == ABOUT_RECIPIENT && r->stage == POLICY_RCPT;
	if (!has_message(a) || r->facts->is_vrfy || (one ? v->quarantine_rcpt : r->facts->is_quarantined || v->quarantine_all))
		return POL_DUNNO;
	if (!v->quarantine_all && !v->quarantine_rcpt) {
		struct buf b;
		buf_init(&b, 1000);
		if (a->text.n > 0) {
			buf_put_safe(&b, a->text, 800, true);
		} else {
			buf_puts(&b, reply_class_name(a->about.class));
			buf_puts(&b, " triggers QUARANTINE action");
		}
		v->quarantine_reason = arena_span(&r->text, buf_span(&b));
		v->quarantine_rule = a->rule->shown;
		v->quarantine_list = r->frames[0].list->name;
		buf_fini(&b);
	}
	*(one ? &v->quarantine_rcpt : &v->quarantine_all) = true;
	note(a, NOTE_QUARANTINE, a->text.n > 0 ? "" : "triggers QUARANTINE action", a->text);
	return POL_DUNNO;
}

static enum pol
do_discard(struct result *a)
{
	if (!has_message(a))
		return POL_DUNNO;
	a->r->verdict.discard = true;
	note(a, NOTE_DISCARD, a->text.n > 0 ? "" : "triggers DISCARD action", a->text);
	return POL_DUNNO; /* nothing more is asked then */
}

/* Their text and nothing else, as in Postfix's log. */
static enum pol
say(struct result *a, enum verdict_note_kind kind)
{
	struct buf b;
	buf_init(&b, 1024);
	buf_put_safe(&b, a->text, 1000, true);
	policy_note(a->r, kind, buf_span(&b));
	buf_fini(&b);
	return POL_DUNNO;
}

static enum pol
do_info(struct result *a)
{
	return say(a, NOTE_INFO);
}

static enum pol
do_warn(struct result *a)
{
	return say(a, NOTE_WARN);
}

/* transport:nexthop; the transport is one word, the next hops may be several. */
bool
policy_is_filter(struct span text)
{
	size_t colon = span_chr(text, ':');
	if (colon == SIZE_MAX || colon == 0 || text.n > EDIT_WORD_MAX || !span_is_utf8(text))
		return false;
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < ' ' || text.p[i] == 0x7f || (i < colon && text.p[i] == ' '))
			return false;
	return true;
}

static enum pol
do_filter(struct result *a)
{
	if (!has_message(a))
		return POL_DUNNO;
	if (a->text.n == 0)
		return no_use(a, "has FILTER entry without value");
	if (a->text.p[0] == ':') /* somebody wants it filtered, and we cannot: it must not go unfiltered */
		return policy_server_error(a->r, a->rule, "%s: FILTER without a transport", a->rule->shown);
	if (a->text.n > EDIT_WORD_MAX)
		return too_long(a);
	if (!policy_is_filter(a->text))
		return no_use(a, "requires transport:destination");
	note(a, NOTE_FILTER, "triggers FILTER ", a->text);
	policy_edit(a->r, EDIT_FILTER, a->text);
	return POL_DUNNO;
}

/* The address in internal form; false when it is none with a domain. */
static bool
take_address(struct result *a, struct span *out)
{
	struct addr addr;
	struct err e;
	unsigned how = a->r->policy->p->p_smtputf8_enable ? (unsigned)ADDR_UTF8 : 0;
	if (addr_parse(a->text, how, &a->r->text, &addr, &e) != RC_OK || addr.domain.n == 0 || addr.local.n == 0 || addr.text.n > EDIT_WORD_MAX)
		return false;
	*out = addr.text;
	return true;
}

static enum pol
to_address(struct result *a, enum verdict_edit_kind edit, enum verdict_note_kind kind, const char *verb)
{
	struct span addr;
	if (!has_message(a))
		return POL_DUNNO;
	if (a->text.n > EDIT_WORD_MAX)
		return too_long(a);
	if (!take_address(a, &addr))
		return no_use(a, "requires user@domain target");
	note(a, kind, verb, a->text);
	policy_edit(a->r, edit, addr);
	return POL_DUNNO;
}

static enum pol
do_redirect(struct result *a)
{
	return to_address(a, EDIT_REDIRECT, NOTE_REDIRECT, "triggers REDIRECT ");
}

static enum pol
do_bcc(struct result *a)
{
	return to_address(a, EDIT_BCC, NOTE_BCC, "triggers BCC ");
}

/* One header and nothing that could begin a second one. RFC 5322 section 2.2; obsolete white space before the colon
 * is taken, as Postfix does. */
bool
policy_is_header(struct span text)
{
	size_t i = 0;
	while (i < text.n && text.p[i] > ' ' && text.p[i] < 0x7f && text.p[i] != ':')
		i++;
	size_t name = i;
	while (i < text.n && (text.p[i] == ' ' || text.p[i] == '\t'))
		i++;
	if (name == 0 || name > EDIT_NAME_MAX || i >= text.n || text.p[i] != ':' || text.n > EDIT_HEADER_MAX)
		return false;
	for (; i < text.n; i++)
		if ((text.p[i] < ' ' && text.p[i] != '\t') || text.p[i] == 0x7f)
			return false;
	return true;
}

static enum pol
do_prepend(struct result *a)
{
	if (!has_message(a))
		return POL_DUNNO;
	if (a->r->stage == POLICY_END_OF_DATA) {
		struct buf b;
		buf_init(&b, 400);
		buf_printf(&b, "access table %.200s: action PREPEND must be used before END-OF-MESSAGE", table_name(a->rule));
		policy_note(a->r, NOTE_TROUBLE, buf_span(&b));
		buf_fini(&b);
		return POL_DUNNO;
	}
	if (!policy_is_header(a->text))
		return no_use(a, "requires header: text");
	policy_edit(a->r, EDIT_PREPEND, a->text);
	return POL_DUNNO;
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
	{ "QUARANTINE", do_quarantine },
	{ "INFO", do_info },
	{ "WARN", do_warn },
	{ "BCC", do_bcc },
	{ "FILTER", do_filter },
	{ "PREPEND", do_prepend },
	{ "REDIRECT", do_redirect },
};

static enum pol
r_unknown(struct policy_run *r, const struct policy_rule *rule)
{
	return policy_server_error(r, rule, "unknown smtpd restriction: \"%s\"", rule->shown);
}

static const struct restriction unknown_row = { .name = "unknown restriction", .kind = REJECTS, .fn = r_unknown, .doc = "" };

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
		if (class == NULL && row == NULL) { /* an error when it comes to that: what stands before it may decide */
			char *name = arena_zalloc(&r->text, sizeof shown);
			if (name != NULL)
				memcpy(name, shown, sizeof shown);
			policy_list_add(l, (struct policy_rule){ .row = &unknown_row, .shown = name != NULL ? name : "" });
			continue;
		}
		if (class == NULL && (row->fn == NULL || (row->arg != ARG_NONE && row->arg != ARG_DNSBL && row->arg != ARG_SECONDS)))
			return policy_server_error(r, a->rule, "%s: restriction %s is not supported in a table result", a->rule->shown, shown);
		const char *name = class != NULL ? class->name : row->name;
		struct policy_rule rule = { .row = class != NULL ? NULL : row, .class = class, .shown = name };
		struct err e;
		if (class == NULL && row->arg == ARG_DNSBL &&
		    (conf_item(&value, &item, &group) != RC_OK || policy_dnsbl_open(&r->text, item, &rule.dnsbl, &e) != RC_OK))
			return policy_server_error(r, a->rule, "%s: restriction %s: no domain of a DNS list", a->rule->shown, shown);
		uint64_t seconds = 0;
		if (class == NULL && row->arg == ARG_SECONDS && (conf_item(&value, &item, &group) != RC_OK || !span_u64(item, SLEEP_MAX, &seconds)))
			return policy_server_error(r, a->rule, "%s: restriction %s: need a number of seconds", a->rule->shown, shown);
		rule.seconds = (unsigned)seconds;
		policy_list_add(l, rule);
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
	if (span_trim(value).n > POLICY_TEXT_MAX / 2)
		return policy_server_error(r, rule, "%s: result too long", rule->shown);
	value = arena_span(&r->text, span_trim(value));
	struct result a = { .r = r, .rule = rule, .about = about, .permit_is_dunno = permit_is_dunno, .permit_is_error = permit_is_error };
	struct span rest = value;
	span_word(&rest, " \t", &a.word);
	a.given = a.word;
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
policy_result_is_list(struct span value)
{
	struct span word, rest = span_trim(value);
	span_word(&rest, " \t", &word);
	for (size_t i = 0; i < NELEMS(actions); i++)
		if (span_caseeq_str(word, actions[i].word))
			return false;
	return word.n > 0 && !all_digits(word);
}

/* An address that REDIRECT and BCC can use. What groups of a pattern will be is not known yet. */
static bool
bad_address(struct span text)
{
	struct arena a;
	struct addr addr;
	struct err e;
	if (span_chr(text, '@') == SIZE_MAX || text.n > EDIT_WORD_MAX)
		return true;
	if (span_chr(text, '$') != SIZE_MAX)
		return false;
	arena_init(&a, 8192);
	bool bad = addr_parse(text, ADDR_UTF8, &a, &addr, &e) != RC_OK || addr.domain.n == 0 || addr.local.n == 0;
	arena_fini(&a);
	return bad;
}

static bool
bad_argument(enum pol (*fn)(struct result *), struct span text)
{
	if (fn == do_filter)
		return !policy_is_filter(text);
	if (fn == do_prepend)
		return !policy_is_header(text);
	return (fn == do_redirect || fn == do_bcc) && bad_address(text);
}

bool
policy_result_complaint(const struct policy *p, const struct restriction *bare, struct span value, struct buf *out, bool *is_error)
{
	struct span word, item, rest = value = span_trim(value);
	bool group;
	span_word(&rest, " \t", &word);
	for (size_t i = 0; i < NELEMS(actions); i++)
		if (span_caseeq_str(word, actions[i].word))
			return bad_argument(actions[i].fn, span_trim(rest)) && complain(out, is_error, false, "bad argument of ", word, "");
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
		if (row->arg == ARG_DNSBL) {
			struct span name = item;
			const struct policy_dnsbl *list;
			struct arena a;
			arena_init(&a, 4096);
			bool ok = conf_item(&value, &item, &group) == RC_OK && policy_dnsbl_open(&a, item, &list, NULL) == RC_OK;
			arena_fini(&a);
			if (!ok)
				return complain(out, is_error, true, "restriction ", name, " without a domain of a DNS list");
		} else if (row->arg == ARG_SECONDS) {
			uint64_t seconds;
			struct span name = item;
			if (conf_item(&value, &item, &group) != RC_OK || !span_u64(item, SLEEP_MAX, &seconds))
				return complain(out, is_error, true, "restriction ", name, " without a number of seconds");
		} else if (row->arg != ARG_NONE) {
			return complain(out, is_error, true, "restriction ", item, " is not supported in a table");
		}
	}
	return false;
}

