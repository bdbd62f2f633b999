/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS block and allow lists. Facts 4.1. */
#include "policy/ask_list.h"
#include "policy/list_use.h"
#include "policy/template.h"

#include <arpa/inet.h>

enum { REASON_MAX = 500, LISTED_SHOWN = 4 /* answers in a note */ };

struct policy_dnsbl {
	struct rbl_list list;
	struct span arg;             /* as configured, filter included: the key of rbl_reply_maps */
};

enum rc
policy_dnsbl_open(struct arena *a, struct span arg, const struct policy_dnsbl **out, struct err *e)
{
	struct policy_dnsbl *l = arena_zalloc(a, sizeof *l);
	if (l == NULL)
		return err_set(e, RC_TEMP, "out of memory");
	l->arg = arena_span(a, arg);
	*out = l;
	return rbl_list_parse(l->arg, &l->list, e);
}

/* ---- is it listed? ---- */

enum listed { LISTED_NO = 0, LISTED_YES, LISTED_LATER, LISTED_BUSY, LISTED_WAIT };

static void
note_error(struct policy_run *r, struct span query, const char *what)
{
	struct buf b;
	buf_init(&b, 600);
	buf_put_safe(&b, query, 300, true);
	buf_puts(&b, ": RBL lookup error: ");
	buf_puts(&b, what);
	policy_note(r, NOTE_TROUBLE, buf_span(&b));
	buf_fini(&b);
}

/* "2.0.0.127.lists.example as 127.0.0.2": what led to a decision, for held mail. Once; others' notes keep their room. */
static void
note_listed(struct policy_run *r, struct span query, const struct dns_answer *a)
{
	struct verdict *v = &r->verdict;
	struct buf b;
	buf_init(&b, 600);
	buf_put_safe(&b, query, 300, true);
	for (unsigned i = 0; i < a->n && i < LISTED_SHOWN; i++) {
		char text[INET_ADDRSTRLEN];
		buf_puts(&b, i == 0 ? " as " : ", ");
		buf_puts(&b, inet_ntop(AF_INET, &a->rr[i].addr.a, text, sizeof text));
	}
	bool is_said = v->nnotes >= VERDICT_NOTES / 2;
	for (unsigned i = 0; i < v->nnotes && !is_said; i++)
		is_said = v->notes[i].kind == NOTE_LISTED && span_eq(v->notes[i].text, buf_span(&b));
	if (!is_said)
		policy_note(r, NOTE_LISTED, buf_span(&b));
	buf_fini(&b);
}

static enum listed
judge(struct policy_run *r, enum rbl_kind kind, const struct rbl_list *l, struct span query, const struct dns_answer *a)
{
	struct in_addr odd = { 0 };
	switch (rbl_list_judge(l, a, &odd)) {
	case RBL_LISTED:
		note_listed(r, query, a);
		return LISTED_YES;
	case RBL_REFUSES:
		note_error(r, query, "the list refuses to answer (127.255.255.0/24)");
		return LISTED_LATER;
	case RBL_FOREIGN:
		rbl_note_foreign(kind, l->domain, query, odd);
		break;
	case RBL_NOT_LISTED:
		break;
	}
	return LISTED_NO;
}

/* A list that cannot say is one thing; another is that we could not ask: then load must not decide. */
static enum listed
is_listed(struct policy_run *r, enum rbl_kind kind, const struct rbl_list *l, struct span query)
{
	const struct rbl_ask *ask = policy_ask_list(r, kind, l->domain, query);
	if (ask == NULL)
		return LISTED_WAIT;
	switch (ask->said) {
	case RBL_SAID_YES:
		return judge(r, kind, l, query, ask->answer);
	case RBL_SAID_NO:
	case RBL_SAID_OUT:
		return LISTED_NO;
	case RBL_SAID_PAUSED: /* its alarm is in the log */
		return LISTED_LATER;
	case RBL_SAID_BUSY:
		note_error(r, query, "too many questions under way");
		return LISTED_BUSY;
	case RBL_SAID_ERROR:
	case RBL_SAID_TIMEOUT:
	case RBL_SAID_NOTHING:
	case RBL_SAIDS:
		break;
	}
	note_error(r, query, ask->answer->why != NULL ? ask->answer->why : "no answer");
	return LISTED_LATER;
}

/* ---- the reply ---- */

struct reply_vars {
	struct policy_run *r;
	const struct policy_dnsbl *l;
	struct about about;
	struct span what, reason;
};

static struct span
local_part(struct span addr)
{
	return span_head(addr, span_rchr(addr, '@'));
}

static struct span
domain_part(struct span addr)
{
	size_t at = span_rchr(addr, '@');
	return at == SIZE_MAX ? SPAN_EMPTY : span_from(addr, at + 1);
}

static bool
reply_value(void *arg, struct span name, struct buf *out)
{
	const struct reply_vars *v = arg;
	const struct facts *f = v->r->facts;
	const struct {
		const char *name;
		struct span value;
	} rows[] = {
		{ "client_address", f->client_addr }, { "client_name", f->client_name }, { "reverse_client_name", f->reverse_name },
		{ "helo_name", f->helo }, { "rbl_class", span_str(reply_class_name(v->about.class)) }, { "rbl_domain", v->l->list.domain },
		{ "rbl_reason", v->reason }, { "rbl_txt", v->reason }, { "rbl_what", v->what }, { "recipient", f->rcpt },
		{ "recipient_domain", domain_part(f->rcpt) }, { "recipient_name", local_part(f->rcpt) }, { "sender", f->sender.n > 0 || !f->has_sender ? f->sender : SPAN("<>") },
		{ "sender_domain", domain_part(f->sender) }, { "sender_name", local_part(f->sender) },
	};
	if (span_eq_str(name, "client")) {
		policy_put_client(v->r, out);
		return true;
	}
	if (span_eq_str(name, "rbl_code")) {
		buf_printf(out, "%u", (unsigned)v->r->policy->p->p_maps_rbl_reject_code);
		return true;
	}
	for (size_t i = 0; i < NELEMS(rows); i++) {
		if (!span_eq_str(name, rows[i].name))
			continue;
		buf_put(out, rows[i].value);
		return true;
	}
	return false;
}

/* The texts of all TXT records, joined; false: they are on their way. */
static bool
reason(struct policy_run *r, enum rbl_kind kind, struct span domain, struct span query, struct buf *out)
{
	const struct policy_said *said = policy_ask_reason(r, kind, domain, query);
	if (said == NULL)
		return false;
	for (unsigned i = 0; said->rc == RC_OK && i < said->answer->n && buf_len(out) < REASON_MAX; i++) {
		if (i > 0)
			buf_puts(out, " / ");
		struct span text = span_head(said->answer->rr[i].data, REASON_MAX - buf_len(out));
		for (size_t k = 0; k < text.n; k++)
			buf_putc(out, text.p[k] >= ' ' && text.p[k] < 0x7f ? text.p[k] : ' ');
	}
	return true;
}

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static bool
has_code(struct span text)
{
	return text.n >= 4 && (text.p[0] == '4' || text.p[0] == '5') && is_digit(text.p[1]) && is_digit(text.p[2]) && text.p[3] == ' ';
}

static enum pol
refuse_text(struct policy_run *r, const struct policy_rule *rule, struct span text)
{
	if (!has_code(text)) {
		struct buf b;
		buf_init(&b, 600);
		buf_printf(&b, "%s: the reply does not begin with 4XX or 5XX and a blank: ", rule->shown);
		buf_put_safe(&b, text, 200, true);
		policy_note(r, NOTE_TROUBLE, buf_span(&b));
		buf_fini(&b);
		return policy_refuse_text(r, rule, 450, SPAN("4.7.1"), SPAN("Service unavailable"));
	}
	unsigned code = (unsigned)(text.p[0] - '0') * 100 + (unsigned)(text.p[1] - '0') * 10 + (unsigned)(text.p[2] - '0');
	text = span_from(text, 4);
	while (text.n > 0 && text.p[0] == ' ')
		text = span_from(text, 1);
	struct span dsn = policy_take_dsn(&text);
	return policy_refuse_text(r, rule, code, dsn.n > 0 ? dsn : code < 500 ? SPAN("4.7.1") : SPAN("5.7.1"), text);
}

static enum pol
refuse_listed(struct policy_run *r, const struct policy_rule *rule, enum rbl_kind kind, struct span query, struct about about, struct span what)
{
	static const char builtin[] = "$rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using $rbl_domain${rbl_reason?; $rbl_reason}";
	struct reply_vars v = { .r = r, .l = rule->dnsbl, .about = about, .what = what };
	struct buf why, text;
	struct span template = span_str(r->policy->p->p_default_rbl_reply);
	struct err e;
	buf_init(&why, REASON_MAX + 8);
	if (!reason(r, kind, rule->dnsbl->list.domain, query, &why)) {
		buf_fini(&why);
		return POL_AGAIN;
	}
	v.reason = buf_span(&why);
	if (!map_list_empty(r->policy->rbl_replies)) {
		enum rc rc = map_find(r->policy->rbl_replies, rule->dnsbl->arg, 0, &r->scratch, &template, &e);
		if (rc == RC_TEMP || rc == RC_PERM) {
			buf_fini(&why);
			return map_asked() ? policy_await_maps(r) : policy_server_error(r, rule, "%s", e.why); /* as Postfix */
		}
		if (rc == RC_NONE)
			template = span_str(r->policy->p->p_default_rbl_reply);
	}
	buf_init(&text, 4096);
	if (policy_template(&r->policy->expansion, template, reply_value, &v, &text, &e) != RC_OK) {
		policy_note(r, NOTE_TROUBLE, span_str(e.why));
		buf_reset(&text);
		(void)!policy_template(&r->policy->expansion, span_str(builtin), reply_value, &v, &text, &e);
	}
	enum pol pol = refuse_text(r, rule, buf_span(&text));
	buf_fini(&text);
	buf_fini(&why);
	return pol;
}

void
policy_dnsbl_check_reply(struct conf *c, const struct policy *p)
{
	static const char name[] = "default_rbl_reply";
	const struct facts facts = { .client_addr = SPAN("192.0.2.1"), .client_name = SPAN("unknown"), .reverse_name = SPAN("unknown"),
		.helo = SPAN("client.example"), .has_sender = true, .sender = SPAN("a@client.example"), .rcpt = SPAN("b@local.example") };
	const struct policy_dnsbl list = { .list = { .domain = SPAN("lists.example") } };
	struct policy_run run = { .policy = p, .facts = &facts };
	struct reply_vars v = { .r = &run, .l = &list, .about = { ABOUT_CLIENT, SPAN_EMPTY }, .what = facts.client_addr };
	for (int with = 0; with < 2; with++) { /* many lists give no reason */
		struct buf text;
		struct err e;
		buf_init(&text, 4096);
		v.reason = with ? SPAN("listed") : SPAN_EMPTY;
		if (policy_template(&p->expansion, span_str(p->p->p_default_rbl_reply), reply_value, &v, &text, &e) != RC_OK)
			conf_problem(c, CONF_WARNING, p->service, name, "%s: %s; the default's text is used", name, e.why);
		else if (p->p->p_maps_rbl_reject_code >= 400 && p->p->p_maps_rbl_reject_code <= 599 && !has_code(buf_span(&text)))
			conf_problem(c, CONF_WARNING, p->service, name, "%s: the reply does not begin with 4XX or 5XX and a blank; refusals are 450 instead", name);
		buf_fini(&text);
	}
}

/* ---- restrictions ---- */

/* A name, or the domain of an address: its query into b, "" when no list knows the like. */
static void
name_query(const struct policy_rule *rule, struct span what, struct buf *b)
{
	size_t at = span_rchr(what, '@');
	if (rbl_name_query(&rule->dnsbl->list, at == SIZE_MAX ? what : span_from(what, at + 1), b) != RC_OK)
		buf_reset(b);
}

/* Which restrictions ask lists, about what. */
static const struct {
	policy_rule_fn *fn;
	enum early_subject subject;
	bool is_allow;
} kinds[] = {
	{ r_rbl_client, EARLY_ADDRESS, false }, { r_dnswl_client, EARLY_ADDRESS, true }, { r_rhsbl_client, EARLY_CLIENT, false },
	{ r_rhswl_client, EARLY_CLIENT, true }, { r_rhsbl_reverse_client, EARLY_REVERSE, false }, { r_rhsbl_helo, EARLY_HELO, false },
	{ r_rhsbl_sender, EARLY_SENDER, false }, { r_rhsbl_recipient, EARLY_RCPT, false },
};

void
policy_each_list(const struct policy *p, policy_list_use_fn *fn, void *arg)
{
	for (const struct policy_list *l = p->all; l != NULL; l = l->next)
		for (unsigned i = 0; i < l->count; i++) {
			const struct policy_rule *rule = &l->rules[i];
			for (size_t k = 0; rule->dnsbl != NULL && k < NELEMS(kinds); k++)
				if (kinds[k].fn == rule->row->fn)
					fn(arg, &(struct policy_list_use){ .parameter = l->name, .restriction = rule->shown, .list = &rule->dnsbl->list,
					    .kind = kinds[k].subject == EARLY_ADDRESS ? RBL_ADDRESSES : RBL_NAMES, .is_allow = kinds[k].is_allow,
					    .rule = rule });
		}
}

static void
use_list(void *arg, const struct policy_list_use *u)
{
	(void)arg;
	rbl_health_use(u->kind, u->list->domain);
}

void
policy_use_lists(const struct policy *p)
{
	policy_each_list(p, use_list, NULL);
}

void
policy_dnsbl_prefetch(const struct policy_rule *rule, struct span query)
{
	for (size_t k = 0; k < NELEMS(kinds); k++)
		if (kinds[k].fn == rule->row->fn)
			rbl_prefetch(kinds[k].subject == EARLY_ADDRESS ? RBL_ADDRESSES : RBL_NAMES, rule->dnsbl->list.domain, query);
}

bool
policy_dnsbl_early(const struct policy_rule *rule, enum early_subject subject, const struct facts *f, struct buf *query)
{
	const struct span about[EARLY_SUBJECTS] = {
		[EARLY_CLIENT] = f->client_name, [EARLY_REVERSE] = f->reverse_name, [EARLY_HELO] = f->helo, [EARLY_SENDER] = f->sender, [EARLY_RCPT] = f->rcpt,
	};
	for (size_t i = 0; i < NELEMS(kinds); i++) {
		if (kinds[i].fn != rule->row->fn || kinds[i].subject != subject)
			continue;
		if (subject == EARLY_ADDRESS)
			rbl_addr_query(rule->dnsbl->list.domain, &f->client, query);
		else
			name_query(rule, about[subject], query);
		return buf_len(query) > 0;
	}
	return false;
}

static enum pol
reject_listed(struct policy_run *r, const struct policy_rule *rule, enum rbl_kind kind, struct buf *query, enum reply_class class, struct span what)
{
	enum pol pol = POL_DUNNO;
	switch (buf_len(query) > 0 ? is_listed(r, kind, &rule->dnsbl->list, buf_span(query)) : LISTED_NO) {
	case LISTED_WAIT:
		pol = POL_AGAIN;
		break;
	case LISTED_YES:
		pol = refuse_listed(r, rule, kind, buf_span(query), policy_about_class(r, class), what);
		break;
	case LISTED_BUSY:
		pol = policy_defer_if(r, rule, &r->if_permit, 451, SPAN("4.3.0"), (struct about){ policy_about_class(r, class).class, what },
		    SPAN("Temporary lookup failure"));
		break;
	case LISTED_NO:
	case LISTED_LATER: /* a list that cannot say decides nothing */
		break;
	}
	buf_fini(query);
	return pol;
}

static enum pol
reject_name(struct policy_run *r, const struct policy_rule *rule, enum reply_class class, struct span what)
{
	struct buf query;
	buf_init(&query, 300);
	name_query(rule, what, &query);
	return reject_listed(r, rule, RBL_NAMES, &query, class, what);
}

enum pol
r_rbl_client(struct policy_run *r, const struct policy_rule *rule)
{
	struct buf query;
	buf_init(&query, 300);
	rbl_addr_query(rule->dnsbl->list.domain, &r->facts->client, &query);
	return reject_listed(r, rule, RBL_ADDRESSES, &query, ABOUT_CLIENT, r->facts->client_addr);
}

enum pol
r_rhsbl_client(struct policy_run *r, const struct policy_rule *rule)
{
	return reject_name(r, rule, ABOUT_CLIENT, r->facts->client_name);
}

enum pol
r_rhsbl_reverse_client(struct policy_run *r, const struct policy_rule *rule)
{
	return reject_name(r, rule, ABOUT_REVERSE_CLIENT, r->facts->reverse_name);
}

enum pol
r_rhsbl_helo(struct policy_run *r, const struct policy_rule *rule)
{
	return reject_name(r, rule, ABOUT_HELO, r->facts->helo);
}

enum pol
r_rhsbl_sender(struct policy_run *r, const struct policy_rule *rule)
{
	return r->facts->sender.n > 0 ? reject_name(r, rule, ABOUT_SENDER, r->facts->sender) : POL_DUNNO;
}

enum pol
r_rhsbl_recipient(struct policy_run *r, const struct policy_rule *rule)
{
	return reject_name(r, rule, ABOUT_RECIPIENT, r->facts->rcpt);
}

/* unasked: what it means that there is nothing to ask about. */
static enum listed
is_allowed(struct policy_run *r, const struct policy_rule *rule, enum rbl_kind kind, struct buf *query, enum listed unasked)
{
	return buf_len(query) > 0 ? is_listed(r, kind, &rule->dnsbl->list, buf_span(query)) : unasked;
}

/* An allow list never opens a relay: for a recipient that is not ours it is not even asked. */
static enum pol
permit_listed(struct policy_run *r, const struct policy_rule *rule, enum rbl_kind kind, struct buf *query, struct span what, enum listed unasked)
{
	enum pol pol = r->facts->has_rcpt ? r_auth_destination(r, rule) : POL_PERMIT;
	switch (pol != POL_PERMIT ? LISTED_NO : is_allowed(r, rule, kind, query, unasked)) {
	case LISTED_WAIT:
		pol = POL_AGAIN;
		break;
	case LISTED_YES:
		break;
	case LISTED_BUSY:
	case LISTED_LATER:
		pol = policy_defer_if(r, rule, &r->if_reject, 450, SPAN("4.7.1"), (struct about){ ABOUT_CLIENT, what }, SPAN("Service unavailable"));
		break;
	case LISTED_NO:
		if (pol == POL_PERMIT)
			pol = POL_DUNNO;
		break;
	}
	buf_fini(query);
	return pol;
}

enum pol
r_dnswl_client(struct policy_run *r, const struct policy_rule *rule)
{
	struct buf query;
	buf_init(&query, 300);
	rbl_addr_query(rule->dnsbl->list.domain, &r->facts->client, &query);
	return permit_listed(r, rule, RBL_ADDRESSES, &query, r->facts->client_addr, LISTED_NO);
}

enum pol
r_rhswl_client(struct policy_run *r, const struct policy_rule *rule)
{
	struct buf query;
	buf_init(&query, 300);
	name_query(rule, r->facts->client_name, &query);
	return permit_listed(r, rule, RBL_NAMES, &query, r->facts->client_name, r->facts->client_name_rc == RC_TEMP ? LISTED_LATER : LISTED_NO);
}
