/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/header_rules.h"

#include "base/mem.h"
#include "msg/addr.h"
#include "msg/date.h"
#include "msg/headermap.h"
#include "policy/standard.h"

enum { LOOKUP_MAX = 64 * 1024 };

enum client_kind { CLIENT_INTERFACES = 1, CLIENT_MYNETWORKS, CLIENT_SASL, CLIENT_CERTS, CLIENT_ALL_CERTS, CLIENT_TABLE };

struct client_rule {
	enum client_kind kind;
	struct map_list *map;    /* CLIENT_CERTS, CLIENT_TABLE */
};

struct header_rules {
	const struct params *p;
	const struct address_book *book;
	const struct rewriter *rewriter;
	struct arena arena;
	struct client_rule *clients;
	unsigned nclients;
	struct matchlist *mynetworks;
	struct header_watch watch;
	bool add_missing;        /* for everybody */
	bool adopts;             /* remote_header_rewrite_domain */
	struct standard local, adopted;
	struct span undisclosed; /* a whole header with CRLF; empty: none */
};

/* ---- opening ---- */

static const struct {
	const char *name;
	enum client_kind kind;
} client_words[] = {
	{ "permit_inet_interfaces", CLIENT_INTERFACES }, { "permit_mynetworks", CLIENT_MYNETWORKS },
	{ "permit_sasl_authenticated", CLIENT_SASL }, { "permit_tls_clientcerts", CLIENT_CERTS },
	{ "permit_tls_all_clientcerts", CLIENT_ALL_CERTS },
};

static enum client_kind
client_kind_of(struct span word)
{
	for (size_t i = 0; i < NELEMS(client_words); i++)
		if (span_caseeq_str(word, client_words[i].name))
			return client_words[i].kind;
	return span_chr(word, ':') != SIZE_MAX ? CLIENT_TABLE : 0;
}

/* One item of the list: "inline:{ ... }" is one although it has blanks. */
static bool
next_item(struct span *rest, struct span *out)
{
	size_t i = 0, depth = 0;
	while (i < rest->n && memchr(", \t\r\n", rest->p[i], 5) != NULL)
		i++;
	*rest = span_from(*rest, i);
	for (i = 0; i < rest->n; i++) {
		unsigned char c = rest->p[i];
		if (c == '{')
			depth++;
		else if (c == '}' && depth > 0)
			depth--;
		else if (depth == 0 && memchr(", \t\r\n", c, 5) != NULL)
			break;
	}
	*out = span_head(*rest, i);
	*rest = span_from(*rest, i);
	return out->n > 0;
}

static enum rc
open_clients(struct header_rules *h, struct conf *c, const struct service *s, struct err *e)
{
	static const char name[] = "local_header_rewrite_clients";
	struct span rest = span_str(h->p->p_local_header_rewrite_clients), word;
	enum rc rc = RC_OK;
	size_t cap = 0;
	for (struct span r = rest; next_item(&r, &word);)
		cap++;
	h->clients = mem_calloc(cap + 1, sizeof *h->clients);
	while (next_item(&rest, &word)) {
		struct client_rule *row = &h->clients[h->nclients];
		if (span_caseeq_str(word, "check_address_map") && !next_item(&rest, &word)) {
			conf_problem(c, CONF_ERROR, s, name, "%s: check_address_map needs a table", name);
			return err_set(e, RC_PERM, "%s: check_address_map needs a table", name);
		}
		row->kind = client_kind_of(word);
		if (row->kind == 0) {
			conf_problem(c, CONF_WARNING, s, name, "%s: invalid request: %.*s", name, (int)(word.n < 100 ? word.n : 100), (const char *)word.p);
			continue;
		}
		const char *value = arena_cstr(&h->arena, word);
		BUG_ON(value == NULL);
		if (row->kind == CLIENT_TABLE && maps_open(c, s, name, value, &row->map, e) != RC_OK)
			rc = RC_PERM;
		if (row->kind == CLIENT_CERTS && maps_open_param(c, s, "relay_clientcerts", &row->map, e) != RC_OK)
			rc = RC_PERM;
		if (row->kind == CLIENT_MYNETWORKS && h->mynetworks == NULL &&
		    matchlist_open_param(c, s, "mynetworks", MATCH_HOST, &h->mynetworks, e) != RC_OK)
			rc = RC_PERM;
		h->nclients++;
	}
	return rc;
}

static void
open_watch(struct header_rules *h)
{
	struct span rest = span_str(h->p->p_message_drop_headers), word;
	size_t n = 0;
	for (struct span r = rest; span_word(&r, ", \t\r\n", &word);)
		n++;
	struct span *names = mem_calloc(n + 1, sizeof *names);
	n = 0;
	while (span_word(&rest, ", \t\r\n", &word))
		names[n++] = word;
	header_watch_init(&h->watch, names, n);
}

static void
open_undisclosed(struct header_rules *h, struct conf *c, const struct service *s)
{
	static const char name[] = "undisclosed_recipients_header";
	struct span text = span_str(h->p->p_undisclosed_recipients_header);
	if (text.n == 0)
		return;
	unsigned char *p = arena_alloc(&h->arena, text.n + 2);
	BUG_ON(p == NULL);
	memcpy(p, text.p, text.n);
	memcpy(p + text.n, "\r\n", 2);
	struct headers one;
	if (headers_parse(&one, span_of(p, text.n + 2), &h->arena) == RC_OK && one.n == 1)
		h->undisclosed = one.row[0].text;
	else
		conf_problem(c, CONF_WARNING, s, name, "%s: bad header text \"%.100s\": need \"headername: headervalue\"", name,
		    h->p->p_undisclosed_recipients_header);
}

enum rc
header_rules_open(struct conf *c, const struct service *s, const struct address_book *book, const struct rewriter *w,
    struct header_rules **out, struct err *e)
{
	struct header_rules *h = *out = mem_zalloc(sizeof *h);
	h->p = s != NULL ? s->params : conf_params(c);
	h->book = book;
	h->rewriter = w;
	arena_init(&h->arena, SIZE_MAX / 2);
	h->add_missing = h->p->p_always_add_missing_headers;
	h->adopts = h->p->p_remote_header_rewrite_domain[0] != '\0';
	h->local = standard_local(h->p);
	h->adopted = standard_remote(h->p);
	open_watch(h);
	open_undisclosed(h, c, s);
	return open_clients(h, c, s, e);
}

void
header_rules_free(struct header_rules **hp)
{
	struct header_rules *h = *hp;
	*hp = NULL;
	if (h == NULL)
		return;
	for (unsigned i = 0; i < h->nclients; i++)
		map_list_free(&h->clients[i].map);
	mem_free(&h->clients);
	matchlist_free(&h->mynetworks);
	mem_free(&h->watch.names);
	arena_fini(&h->arena);
	mem_free(&h);
}

/* ---- whose headers ---- */

static enum rc
in_table(const struct map_list *l, struct span key, struct err *e)
{
	struct buf scratch;
	struct span value;
	if (key.n == 0)
		return RC_NONE;
	buf_init(&scratch, LOOKUP_MAX);
	enum rc rc = map_find(l, key, 0, &scratch, &value, e);
	buf_fini(&scratch);
	return rc;
}

static enum rc
client_is(const struct header_rules *h, const struct client_rule *row, const struct facts *f, struct err *e)
{
	switch (row->kind) {
	case CLIENT_INTERFACES:
		return address_is_own_ip(h->book, &f->client) ? RC_OK : RC_NONE;
	case CLIENT_MYNETWORKS:
		return matchlist_host(h->mynetworks, f->client_name, &f->client, e);
	case CLIENT_SASL:
		return f->login.n > 0 ? RC_OK : RC_NONE;
	case CLIENT_ALL_CERTS:
		return f->is_cert_verified ? RC_OK : RC_NONE;
	case CLIENT_TABLE:
		return in_table(row->map, f->client_addr, e);
	case CLIENT_CERTS: {
		enum rc rc = in_table(row->map, f->cert_fingerprint, e);
		return rc == RC_NONE ? in_table(row->map, f->pubkey_fingerprint, e) : rc;
	}
	}
	return RC_NONE;
}

enum rc
header_rules_context(const struct header_rules *h, const struct facts *f, enum header_context *out, struct err *e)
{
	*out = h->adopts ? HEADERS_ADOPTED : HEADERS_FOREIGN;
	for (unsigned i = 0; i < h->nclients; i++)
		switch (client_is(h, &h->clients[i], f, e)) {
		case RC_OK:
			*out = HEADERS_LOCAL;
			return RC_OK;
		case RC_NONE:
			break;
		case RC_TEMP:
		case RC_PERM:
			return RC_TEMP;
		}
	return RC_OK;
}

const struct header_watch *
header_rules_watch(const struct header_rules *h)
{
	return &h->watch;
}

bool
header_rules_always(const struct header_rules *h, enum header_context context)
{
	return context != HEADERS_FOREIGN || h->add_missing;
}

/* ---- addresses ---- */

struct mapper {
	const struct header_rules *rules;
	const struct standard *standard;
	struct buf complete;
};

/* Standard form, then canonical and masquerade. */
static enum rc
map_address(void *arg, unsigned flags, const struct mailbox *box, struct buf *scratch, struct span *out, struct err *e)
{
	struct mapper *m = arg;
	struct standard form = *m->standard;
	enum rewrite_class class = flags & HN_SENDER ? REWRITE_HEADER_SENDER : REWRITE_HEADER_RCPT;
	if (box->spec.p[0] == '"') /* in quotes '!' and '%' are just characters */
		form.bang = form.percent = false;
	if (box->has_dot) /* the domain is whole */
		form.domain = "";
	struct span now = standard_form(&form, box->addr, span_chr(box->addr, '@') != SIZE_MAX, &m->complete);
	const struct rewriter *w = m->rules->rewriter;
	if (w != NULL && !rewriter_is_idle(w, class) && rewrite_address(w, class, now, scratch, &now, e) != RC_OK)
		return RC_TEMP;
	if (!span_eq(now, box->addr) || box->has_route || box->has_dot)
		*out = now;
	return RC_OK;
}

static enum rc
map_headers(const struct header_rules *r, const struct header_message *m, struct headers *h, struct err *e)
{
	struct mapper mapper = { .rules = r, .standard = m->context == HEADERS_LOCAL ? &r->local : &r->adopted };
	buf_init(&mapper.complete, 4096);
	enum rc rc = headers_map(h, (size_t)r->p->p_header_address_token_limit, map_address, &mapper, e);
	buf_fini(&mapper.complete);
	return rc;
}

/* ---- what is missing ---- */

static enum rc
append(struct headers *h, struct buf *b)
{
	buf_put(b, SPAN("\r\n"));
	struct span kept = b->over ? SPAN_EMPTY : arena_span(h->arena, buf_span(b));
	buf_reset(b);
	return kept.n > 0 ? headers_insert(h, SIZE_MAX, kept) : RC_PERM;
}

static enum rc
add_from(const struct header_rules *r, const struct header_message *m, const char *resent, struct headers *h, struct buf *b, struct err *e)
{
	struct buf mapped;
	struct span sender = m->sender;
	enum rc rc = RC_OK;
	buf_init(&mapped, LOOKUP_MAX);
	if (sender.n > 0 && r->rewriter != NULL && !rewriter_is_idle(r->rewriter, REWRITE_ENVELOPE_SENDER))
		rc = rewrite_address(r->rewriter, REWRITE_ENVELOPE_SENDER, m->sender, &mapped, &sender, e);
	if (rc != RC_OK) {
		rc = RC_TEMP;
	} else {
		buf_puts(b, resent);
		buf_put(b, SPAN("From: "));
		if (sender.n == 0)
			buf_put(b, SPAN("MAILER-DAEMON"));
		else
			addr_write_text(b, sender);
		rc = append(h, b);
	}
	buf_fini(&mapped);
	return rc;
}

#define HAS(id) (UINT64_C(1) << HEADER_##id)

static enum rc
add_missing(const struct header_rules *r, const struct header_message *m, uint64_t seen, struct headers *h, struct err *e)
{
	uint64_t visible = 0;
	bool is_resent = false;
	for (enum header_id id = 1; id < HEADER_ID_COUNT; id++) {
		unsigned flags = header_flags(id);
		visible |= flags & HN_VISIBLE ? UINT64_C(1) << id : 0;
		is_resent |= (flags & HN_RESENT) != 0 && (seen & UINT64_C(1) << id) != 0;
	}
	const char *resent = is_resent ? "Resent-" : "";
	struct buf b;
	enum rc rc = RC_OK;
	buf_init(&b, 8192);
	if ((seen & (is_resent ? HAS(RESENT_MESSAGE_ID) : HAS(MESSAGE_ID))) == 0) {
		buf_puts(&b, resent);
		buf_put(&b, SPAN("Message-Id: <"));
		buf_put(&b, m->qid);
		buf_putc(&b, '@');
		buf_puts(&b, r->p->p_myhostname);
		buf_putc(&b, '>');
		rc = append(h, &b);
	}
	if (rc == RC_OK && (seen & (is_resent ? HAS(RESENT_DATE) : HAS(DATE))) == 0) {
		buf_puts(&b, resent);
		buf_put(&b, SPAN("Date: "));
		date_write(&b, m->arrival);
		rc = append(h, &b);
	}
	if (rc == RC_OK && (seen & (is_resent ? HAS(RESENT_FROM) : HAS(FROM))) == 0)
		rc = add_from(r, m, resent, h, &b, e);
	if (rc == RC_OK && (seen & visible) == 0 && r->undisclosed.n > 0)
		rc = headers_insert(h, SIZE_MAX, r->undisclosed);
	buf_fini(&b);
	if (rc == RC_PERM)
		(void)err_set(e, RC_PERM, "the header grows too long");
	return rc;
}

/* "To : x" becomes "To: x": obsolete syntax, and not everybody takes it for a header. */
static enum rc
tighten(struct headers *h, size_t at)
{
	const struct header *row = &h->row[at];
	size_t blanks = row->value_at - 1 - row->name_len, n = row->text.n - blanks;
	unsigned char *p = arena_alloc(h->arena, n);
	if (p == NULL)
		return RC_PERM;
	memcpy(p, row->text.p, row->name_len);
	memcpy(p + row->name_len, row->text.p + row->value_at - 1, n - row->name_len);
	return headers_replace(h, at, span_of(p, n));
}

enum rc
header_rules_apply(const struct header_rules *r, const struct header_message *m, struct headers *h, struct err *e)
{
	uint64_t seen = headers_present(h); /* what is dropped was there all the same: nothing takes its place */
	for (size_t i = 0; i < h->n; i++) {
		if (h->row[i].is_gone)
			continue;
		if (header_watched(&r->watch, header_name(&h->row[i])))
			headers_remove(h, i);
		else if (h->row[i].value_at > h->row[i].name_len + 1 && tighten(h, i) != RC_OK)
			return err_set(e, RC_PERM, "the header grows too long");
	}
	enum rc rc = m->context == HEADERS_FOREIGN ? RC_OK : map_headers(r, m, h, e);
	if (rc != RC_PERM && header_rules_always(r, m->context)) {
		enum rc more = add_missing(r, m, seen, h, e);
		rc = rc != RC_OK ? rc : more;
	}
	return rc;
}
