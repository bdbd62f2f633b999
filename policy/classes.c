/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/classes.h"

#include "base/mem.h"
#include "conf/param.h"
#include "policy/resolve.h"

enum { OWN_MAX = 256 };

struct address_book {
	struct conf *conf;
	const struct params *params;
	struct matchlist *mydestination, *virtual_alias_domains, *virtual_mailbox_domains, *relay_domains;
	struct map_list *canonical, *recipient_canonical, *virtual_alias, *transport;
	struct map_list *aliases, *local_recipients, *mailbox_recipients, *relay_recipients;
	bool transport_parent_plain;
	bool local_is_here;          /* local_transport is "local": aliases, and nobody else */
	const char *no_mailbox;      /* the transport of those who have no alias */
	struct ipaddr *own;          /* inet_interfaces and proxy_interfaces */
	size_t nown;
};

const char *
address_class_name(enum address_class class)
{
	static const char *const names[] = {
		[CLASS_NONE] = "none",
		[CLASS_LOCAL] = "local",
		[CLASS_VIRTUAL_ALIAS] = "virtual_alias",
		[CLASS_VIRTUAL_MAILBOX] = "virtual_mailbox",
		[CLASS_RELAY] = "relay",
		[CLASS_DEFAULT] = "default",
	};
	return (size_t)class < NELEMS(names) ? names[class] : "none";
}

/* ---- opening ---- */

static void
add_own(struct address_book *b, struct span text)
{
	struct ipaddr a;
	if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
		text = span_of(text.p + 1, text.n - 2);
	if (b->nown == OWN_MAX || ipaddr_parse(text, &a) != RC_OK)
		return;
	b->own = mem_reallocarray(b->own, b->nown + 1, sizeof *b->own);
	b->own[b->nown++] = a;
}

static void
find_own(struct address_book *b, struct conf *c, const struct service *s)
{
	struct span rest = span_str(conf_own_addresses(c)), item;
	while (span_word(&rest, " ", &item))
		add_own(b, item);
	rest = span_str(conf_value(c, s, "proxy_interfaces"));
	bool group;
	while (conf_item(&rest, &item, &group) == RC_OK)
		add_own(b, item);
}

/* A domain belongs to one class: the first one wins, and somebody will wonder (facts 5.1). */
static void
check_both(struct address_book *b, const struct service *s, const char *one_name, const struct matchlist *one, const char *other_name,
    const struct matchlist *other)
{
	struct span domain;
	for (const struct matchlist_word *w = NULL; (w = matchlist_next_word(one, w, &domain)) != NULL;)
		if (matchlist_name(other, domain, NULL) == RC_OK)
			conf_problem(b->conf, CONF_WARNING, s, other_name, "do not list domain %.*s in BOTH %s and %s", (int)domain.n,
			    (const char *)domain.p, one_name, other_name);
}

static void
check_classes(struct address_book *b, const struct service *s)
{
	check_both(b, s, "mydestination", b->mydestination, "virtual_alias_domains", b->virtual_alias_domains);
	check_both(b, s, "mydestination", b->mydestination, "virtual_mailbox_domains", b->virtual_mailbox_domains);
	check_both(b, s, "virtual_alias_domains", b->virtual_alias_domains, "virtual_mailbox_domains", b->virtual_mailbox_domains);
	check_both(b, s, "virtual_alias_domains", b->virtual_alias_domains, "relay_domains", b->relay_domains);
	check_both(b, s, "virtual_mailbox_domains", b->virtual_mailbox_domains, "relay_domains", b->relay_domains);
}

static struct address_book *
new_book(struct conf *c, const struct service *s)
{
	struct address_book *b = mem_zalloc(sizeof *b);
	b->conf = conf_ref(c);
	b->params = s != NULL ? s->params : conf_params(c);
	find_own(b, c, s);
	const struct param *row = param_find(SPAN("local_transport"));
	const char *value = b->params->p_local_transport;
	b->no_mailbox = row->def;
	b->local_is_here = strcmp(value, row->def) == 0 || strcmp(value, "local") == 0 || strncmp(value, "local:", 6) == 0;
	return b;
}

enum rc
address_book_open_domains(struct conf *c, const struct service *s, struct address_book **out, struct err *e)
{
	*out = new_book(c, s);
	return matchlist_open_param(c, s, "mydestination", MATCH_STRING, &(*out)->mydestination, e);
}

enum rc
address_book_open(struct conf *c, const struct service *s, struct address_book **out, struct err *e)
{
	struct address_book *b = *out = new_book(c, s);
	enum rc worst = RC_OK;
	b->transport_parent_plain = conf_has_item(b->params->p_parent_domain_matches_subdomains, "transport_maps");

	const struct {
		const char *name, *from;  /* from: whose value is the default */
		enum matchlist_kind kind;
		struct matchlist **list;
	} lists[] = {
		{ "mydestination", NULL, MATCH_STRING, &b->mydestination },
		{ "virtual_alias_domains", "virtual_alias_maps", MATCH_STRING, &b->virtual_alias_domains },
		{ "virtual_mailbox_domains", "virtual_mailbox_maps", MATCH_STRING, &b->virtual_mailbox_domains },
		{ "relay_domains", NULL, MATCH_DOMAIN, &b->relay_domains },
	};
	for (size_t i = 0; i < NELEMS(lists); i++) {
		/* who did not set it wrote the tables that are its default: what is wrong is wrong there */
		const char *file, *from = lists[i].from != NULL && !conf_position(c, s, lists[i].name, &file, &(int){ 0 }) ? lists[i].from : lists[i].name;
		if (matchlist_open(c, s, from, conf_value(c, s, lists[i].name), lists[i].kind, lists[i].list, e) != RC_OK)
			worst = RC_PERM;
	}
	const struct {
		const char *name;
		struct map_list **list;
	} tables[] = {
		{ "canonical_maps", &b->canonical },
		{ "recipient_canonical_maps", &b->recipient_canonical },
		{ "virtual_alias_maps", &b->virtual_alias },
		{ "transport_maps", &b->transport },
		{ "alias_maps", &b->aliases },
		{ "local_recipient_maps", &b->local_recipients },
		{ "virtual_mailbox_maps", &b->mailbox_recipients },
		{ "relay_recipient_maps", &b->relay_recipients },
	};
	for (size_t i = 0; i < NELEMS(tables); i++)
		if (maps_open_param(c, s, tables[i].name, tables[i].list, e) != RC_OK)
			worst = RC_PERM;
	if (conf_is_loader(c))
		check_classes(b, s);
	return worst;
}

void
address_book_free(struct address_book **bp)
{
	struct address_book *b = *bp;
	*bp = NULL;
	if (b == NULL)
		return;
	matchlist_free(&b->mydestination);
	matchlist_free(&b->virtual_alias_domains);
	matchlist_free(&b->virtual_mailbox_domains);
	matchlist_free(&b->relay_domains);
	map_list_free(&b->canonical);
	map_list_free(&b->recipient_canonical);
	map_list_free(&b->virtual_alias);
	map_list_free(&b->transport);
	map_list_free(&b->aliases);
	map_list_free(&b->local_recipients);
	map_list_free(&b->mailbox_recipients);
	map_list_free(&b->relay_recipients);
	mem_free(&b->own);
	conf_unref(&b->conf);
	mem_free(&b);
}

/* ---- classes ---- */

bool
address_is_own_ip(const struct address_book *b, const struct ipaddr *ip)
{
	struct ipaddr a = ipaddr_unmap(*ip);
	for (size_t i = 0; i < b->nown; i++)
		if (ipaddr_eq(&a, &b->own[i]))
			return true;
	return false;
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]" of ours. */
static bool
is_own_literal(const struct address_book *b, struct span domain)
{
	struct ipaddr ip;
	if (domain.n < 3 || domain.p[0] != '[' || domain.p[domain.n - 1] != ']')
		return false;
	struct span text = span_of(domain.p + 1, domain.n - 2);
	if (span_casestarts(text, SPAN("ipv6:")))
		text = span_from(text, 5);
	return ipaddr_parse(text, &ip) == RC_OK && address_is_own_ip(b, &ip);
}

static enum rc
is_local(void *arg, struct span domain, struct err *e)
{
	const struct address_book *b = arg;
	if (is_own_literal(b, domain))
		return RC_OK;
	return matchlist_name(b->mydestination, domain, e);
}

enum rc
address_class_of(const struct address_book *b, struct span domain, enum address_class *out, struct err *e)
{
	const struct {
		const struct matchlist *list;
		enum address_class class;
	} rows[] = {
		{ b->virtual_alias_domains, CLASS_VIRTUAL_ALIAS },
		{ b->virtual_mailbox_domains, CLASS_VIRTUAL_MAILBOX },
		{ b->relay_domains, CLASS_RELAY },
	};
	*out = CLASS_LOCAL;
	enum rc rc = is_local((void *)(uintptr_t)b, domain, e);
	for (size_t i = 0; i < NELEMS(rows) && rc == RC_NONE; i++) {
		*out = rows[i].class;
		rc = matchlist_name(rows[i].list, domain, e);
	}
	if (rc == RC_NONE) {
		*out = CLASS_DEFAULT;
		rc = RC_OK;
	}
	return rc;
}

static struct resolve_rules
rules_of(const struct address_book *b)
{
	const struct params *p = b->params;
	return (struct resolve_rules){
		.myorigin = p->p_myorigin,
		.mydomain = p->p_mydomain,
		.append_at = p->p_append_at_myorigin,
		.append_dot = p->p_append_dot_mydomain,
		.bangs = p->p_swap_bangpath,
		.percents = p->p_allow_percent_hack,
		.look_in_quotes = p->p_resolve_dequoted_address,
		.min_user = p->p_allow_min_user,
		.null_domain = p->p_resolve_null_domain,
		.numeric_domain = p->p_resolve_numeric_domain,
		.is_local = is_local,
		.arg = (void *)(uintptr_t)b,
	};
}

enum rc
address_standard(const struct address_book *b, struct span addr, struct buf *out)
{
	const struct resolve_rules rules = rules_of(b);
	unsigned char text[ADDRESS_MAX];
	size_t n = addr.n;
	buf_reset(out);
	if (n > sizeof text)
		return RC_PERM;
	if (n > 0)
		memcpy(text, addr.p, n);
	if (!resolve_standard(&rules, text, &n, sizeof text))
		return RC_PERM;
	buf_put(out, span_of(text, n));
	return out->over ? RC_PERM : RC_OK;
}

enum rc
address_resolve(const struct address_book *b, struct span addr, struct resolved *out, struct err *e)
{
	const struct resolve_rules rules = rules_of(b);
	bool local;
	enum rc rc = resolve_address(&rules, addr, out, &local, e);
	if (rc != RC_OK || out->is_bad)
		return rc;
	if (local) {
		out->class = CLASS_LOCAL;
		return RC_OK;
	}
	return address_class_of(b, out->domain, &out->class, e);
}

enum rc
address_is_ours(const struct address_book *b, const struct resolved *a, struct err *e)
{
	(void)e;
	if (a->is_bad)
		return RC_NONE;
	if (a->is_routed && !b->params->p_allow_untrusted_routing)
		return RC_NONE;
	return a->class != CLASS_NONE && a->class != CLASS_DEFAULT ? RC_OK : RC_NONE;
}

enum rc
address_own_domain(const struct address_book *b, struct span domain, struct err *e)
{
	if (span_caseeq_str(domain, b->params->p_myorigin))
		return RC_OK;
	return is_local((void *)(uintptr_t)b, domain, e);
}

enum rc
address_find_mail(const struct address_book *b, const struct map_list *l, struct span addr, struct buf *scratch, struct span *value_out,
    struct err *e)
{
	struct map_addr split = address_split(b, addr);
	enum rc own = map_list_has_fixed(l) ? address_own_domain(b, split.domain, e) : RC_NONE;
	*value_out = SPAN_EMPTY;
	if (own != RC_OK && own != RC_NONE)
		return RC_TEMP;
	return map_find_address(l, MAPKEY_MAIL, &split, false, own == RC_OK, scratch, value_out, e);
}

struct map_addr
address_split(const struct address_book *b, struct span addr)
{
	return map_addr_split(addr, b->params->p_recipient_delimiter, b->params->p_double_bounce_sender, b->params->p_owner_request_special);
}

struct span
address_lower(const struct resolved *a, unsigned char space[ADDRESS_MAX + 256])
{
	for (size_t i = 0; i < a->addr.n; i++)
		space[i] = a->addr.p[i] >= 'A' && a->addr.p[i] <= 'Z' ? (unsigned char)(a->addr.p[i] | 0x20) : a->addr.p[i];
	return span_of(space, a->addr.n);
}

struct span
address_typed(const struct resolved *a, unsigned char space[ADDRESS_MAX + 256])
{
	if (a->addr.n > 0)
		memcpy(space, a->addr.p, a->addr.n);
	if (a->domain.n > 0 && a->typed_domain.n == a->domain.n)
		memcpy(space + a->addr.n - a->domain.n, a->typed_domain.p, a->domain.n);
	return span_of(space, a->addr.n);
}

/* ---- transports ---- */

void
address_split_transport(struct span value, struct span *transport_out, struct span *nexthop_out)
{
	size_t colon = span_chr(value, ':');
	*transport_out = span_trim(span_head(value, colon));
	*nexthop_out = colon == SIZE_MAX ? SPAN_EMPTY : span_trim(span_from(value, colon + 1));
}

static enum rc
transport_row(const struct address_book *b, const struct map_list *l, const struct resolved *a, struct buf *scratch,
    struct span *transport_out, struct span *nexthop_out, struct err *e)
{
	struct span value;
	*transport_out = *nexthop_out = SPAN_EMPTY;
	if (a->class == CLASS_VIRTUAL_ALIAS || map_list_empty(l))
		return RC_NONE;
	unsigned char typed[ADDRESS_MAX + 256];
	struct map_addr split = address_split(b, address_typed(a, typed));
	enum rc rc = a->addr.n == 0 ? map_find(l, span_str(b->params->p_transport_null_address_lookup_key), 0, scratch, &value, e)
	                            : map_find_address(l, MAPKEY_TRANSPORT, &split, b->transport_parent_plain, false, scratch, &value, e);
	if (rc == RC_OK)
		address_split_transport(value, transport_out, nexthop_out);
	return rc;
}

enum rc
address_transport(const struct address_book *b, const struct resolved *a, struct buf *scratch, struct span *transport_out,
    struct span *nexthop_out, struct err *e)
{
	return address_transport_in(b, b->transport, a, scratch, transport_out, nexthop_out, e);
}

enum rc
address_transport_in(const struct address_book *b, const struct map_list *l, const struct resolved *a, struct buf *scratch,
    struct span *transport_out, struct span *nexthop_out, struct err *e)
{
	enum rc rc = transport_row(b, l, a, scratch, transport_out, nexthop_out, e);
	if (rc == RC_OK && span_eq_str(*transport_out, "local")) /* who has an alias never comes here */
		address_split_transport(span_str(b->no_mailbox), transport_out, nexthop_out);
	return rc;
}

void
address_class_transport(const struct address_book *b, enum address_class class, struct span *transport_out, struct span *nexthop_out)
{
	const struct params *p = b->params;
	const char *value = p->p_default_transport;
	switch (class) {
	case CLASS_LOCAL:
		value = b->local_is_here ? b->no_mailbox : p->p_local_transport;
		break;
	case CLASS_VIRTUAL_MAILBOX:
		value = p->p_virtual_transport;
		break;
	case CLASS_RELAY:
		value = p->p_relay_transport;
		break;
	case CLASS_VIRTUAL_ALIAS:
		value = p->p_show_user_unknown_table_name ? "error:5.1.1 User unknown in virtual alias table" : "error:5.1.1 User unknown";
		break;
	case CLASS_NONE:
	case CLASS_DEFAULT:
		break;
	}
	address_split_transport(span_str(value), transport_out, nexthop_out);
}

/* ---- aliases ---- */

bool
address_has_aliases(const struct address_book *b)
{
	return b->local_is_here && !map_list_empty(b->aliases);
}

enum rc
address_is_aliased(const struct address_book *b, const struct resolved *a, struct buf *scratch, struct err *e)
{
	struct span transport, nexthop;
	if (a->class != CLASS_LOCAL || a->is_bad || !address_has_aliases(b))
		return RC_NONE;
	enum rc rc = transport_row(b, b->transport, a, scratch, &transport, &nexthop, e);
	if (rc == RC_NONE || (rc == RC_OK && (transport.n == 0 || span_eq_str(transport, "local"))))
		return RC_OK;
	return rc == RC_OK ? RC_NONE : RC_TEMP;
}

enum rc
address_alias(const struct address_book *b, const struct map_addr *a, struct buf *scratch, struct span *value_out, bool *without_ext_out,
    struct err *e)
{
	unsigned char name[ADDRESS_MAX];
	const struct span forms[] = { a->local, a->base };
	for (size_t i = 0; i < NELEMS(forms); i++) {
		if (forms[i].n == 0 || forms[i].n > sizeof name || (i > 0 && a->ext.n == 0))
			continue;
		for (size_t k = 0; k < forms[i].n; k++) {
			unsigned char c = forms[i].p[k];
			name[k] = c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
		}
		enum rc rc = map_find(b->aliases, span_of(name, forms[i].n), 0, scratch, value_out, e);
		if (rc == RC_NONE)
			continue;
		if (without_ext_out != NULL)
			*without_ext_out = i > 0;
		return rc;
	}
	return RC_NONE;
}

/* ---- who is listed ---- */

/* "5.1.6 text": the code in front, if there is one. */
static struct span
take_dsn(struct span *text)
{
	struct span s = *text;
	size_t i = 0, dots = 0;
	while (i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '.'))
		dots += s.p[i++] == '.';
	bool is_dsn = dots == 2 && i > 4 && s.p[1] == '.' && (s.p[0] == '2' || s.p[0] == '4' || s.p[0] == '5') && s.p[i - 1] != '.'
	    && span_find(span_head(s, i), SPAN("..")) == SIZE_MAX && (i == s.n || s.p[i] == ' ' || s.p[i] == '\t');
	if (!is_dsn)
		return SPAN_EMPTY;
	*text = span_trim(span_from(s, i));
	return span_head(s, i);
}

static enum rc
asked_in(const struct address_book *b, const struct map_list *l, const struct resolved *a, struct buf *scratch, struct err *e)
{
	struct span value;
	unsigned char lower[ADDRESS_MAX + 256];
	if (map_list_empty(l))
		return RC_NONE;
	return address_find_mail(b, l, address_lower(a, lower), scratch, &value, e);
}

/* transport error: (or retry:) tells why nobody is there. RC_NONE: another transport. */
static enum rc
ask_transport(const struct address_book *b, const struct resolved *a, struct buf *scratch, struct unlisted *out, struct err *e)
{
	struct span transport, nexthop, t, n;
	address_class_transport(b, a->class, &transport, &nexthop);
	enum rc rc = address_transport(b, a, scratch, &t, &n, e);
	if (rc == RC_TEMP || rc == RC_PERM)
		return RC_TEMP;
	if (rc == RC_OK && t.n > 0) {
		transport = t;
		nexthop = n.n > 0 ? n : SPAN("Address is undeliverable");
	} else if (rc == RC_OK && n.n > 0) {
		nexthop = n;
	}
	bool is_error = span_eq_str(transport, "error");
	if (!is_error && !span_eq_str(transport, "retry"))
		return RC_NONE;
	out->code = !is_error ? 450
	    : a->class == CLASS_VIRTUAL_ALIAS ? (unsigned)b->params->p_unknown_virtual_alias_reject_code : 550;
	out->text = nexthop;
	out->dsn = take_dsn(&out->text);
	return RC_OK;
}

static bool
is_always_listed(const struct address_book *b, struct span local)
{
	return span_caseeq_str(local, "postmaster") || span_caseeq_str(local, "mailer-daemon")
	    || span_caseeq_str(local, b->params->p_double_bounce_sender);
}

/* The recipient table of the class. RC_NONE: not in it, out says how; RC_OK: in it, or there is no table. */
static enum rc
ask_recipients(const struct address_book *b, const struct resolved *a, struct buf *scratch, struct unlisted *out, struct err *e)
{
	const struct params *p = b->params;
	const struct map_list *l = NULL;
	const char *text = "User unknown";
	switch (a->class) {
	case CLASS_LOCAL:
		if (is_always_listed(b, a->local))
			return RC_OK;
		l = b->local_recipients;
		out->code = (unsigned)p->p_unknown_local_recipient_reject_code;
		text = "User unknown in local recipient table";
		break;
	case CLASS_VIRTUAL_MAILBOX:
		l = b->mailbox_recipients;
		out->code = (unsigned)p->p_unknown_virtual_mailbox_reject_code;
		text = "User unknown in virtual mailbox table";
		break;
	case CLASS_RELAY:
		l = b->relay_recipients;
		out->code = (unsigned)p->p_unknown_relay_recipient_reject_code;
		text = "User unknown in relay recipient table";
		break;
	case CLASS_NONE:
	case CLASS_VIRTUAL_ALIAS:
	case CLASS_DEFAULT:
		break;
	}
	out->text = span_str(p->p_show_user_unknown_table_name ? text : "User unknown");
	return map_list_empty(l) ? RC_OK : asked_in(b, l, a, scratch, e);
}

static enum rc
has_alias(const struct address_book *b, const struct resolved *a, struct buf *scratch, struct err *e)
{
	struct span value;
	enum rc rc = address_is_aliased(b, a, scratch, e);
	if (rc != RC_OK)
		return rc;
	struct map_addr split = address_split(b, a->addr);
	return address_alias(b, &split, scratch, &value, NULL, e);
}

enum rc
address_is_listed(const struct address_book *b, const struct resolved *a, struct buf *scratch, struct unlisted *out, struct err *e)
{
	const struct map_list *known[] = { b->recipient_canonical, b->canonical, b->virtual_alias };
	*out = (struct unlisted){ 0 };
	for (size_t i = 0; i < NELEMS(known); i++) {
		enum rc rc = asked_in(b, known[i], a, scratch, e);
		if (rc != RC_NONE)
			return rc;
	}
	if (a->class == CLASS_LOCAL && b->local_is_here) {
		/* who is unknown in the table hears that; who is known and has no alias, that there are no mailboxes */
		enum rc rc = ask_recipients(b, a, scratch, out, e);
		if (rc == RC_OK)
			rc = has_alias(b, a, scratch, e);
		else
			return rc;
		if (rc != RC_NONE)
			return rc;
	}
	enum rc rc = ask_transport(b, a, scratch, out, e);
	if (rc != RC_NONE)
		return rc == RC_OK ? RC_NONE : rc;
	return ask_recipients(b, a, scratch, out, e);
}
