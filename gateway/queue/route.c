/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/route.h"

#include "base/clock.h"
#include "base/mem.h"
#include "map/remote.h"
#include "policy/rewrite.h"
#include "policy/verify_sender.h"
#include "queue/reason.h"

enum { CACHE_SLOTS = 2048, TEXT_MAX = 8192 };

struct remembered {
	uint64_t hash;           /* 0: nothing */
	struct route route;      /* spans point into bytes */
	size_t key_len;
	unsigned char *bytes;    /* key, transport, nexthop, dsn, text */
};

/* What mail and probes may be routed by differently (facts 5.9). */
enum routed { ROUTED_MAIL, ROUTED_PROBE, ROUTED };
enum { BY_TRANSPORT, BY_SENDER_TRANSPORT, BY_SENDER_RELAYHOST, TABLES };
struct ways {
	struct map_list *table[TABLES];
	struct span class[CLASS_DEFAULT + 1]; /* empty: as the address book says */
	struct span relayhost;
};

struct router {
	struct conf *conf;
	struct address_book *book;
	struct rewriter *rewriter;
	struct map_list *relocated, *held;
	struct ways ways[ROUTED];
	struct span double_bounce, myorigin;
	struct span null_transport_key, null_relayhost_key;
	bool by_sender;
	bool is_random;              /* randmap: each lookup has an answer of its own: none is remembered */
	struct resolved res;
	struct buf scratch, scratch2, text;
	struct remembered cache[CACHE_SLOTS];
};

static struct span
param(const struct conf *c, const char *name)
{
	const char *v = conf_value(c, NULL, name);
	return span_str(v != NULL ? v : "");
}

static const char *const table_names[ROUTED][TABLES] = {
	{ "transport_maps", "sender_dependent_default_transport_maps", "sender_dependent_relayhost_maps" },
	{ "address_verify_transport_maps", "address_verify_sender_dependent_default_transport_maps", "address_verify_sender_dependent_relayhost_maps" },
};

static const struct {
	enum address_class class;
	const char *mail, *probe;
} class_names[] = {
	{ CLASS_LOCAL, "local_transport", "address_verify_local_transport" },
	{ CLASS_VIRTUAL_MAILBOX, "virtual_transport", "address_verify_virtual_transport" },
	{ CLASS_RELAY, "relay_transport", "address_verify_relay_transport" },
	{ CLASS_DEFAULT, "default_transport", "address_verify_default_transport" },
};

/* Tables that both name alike are opened once, by mail. */
static enum rc
open_ways(struct router *r, enum routed what, struct err *e)
{
	struct ways *w = &r->ways[what], *mail = &r->ways[ROUTED_MAIL];
	bool probe = what == ROUTED_PROBE;
	w->relayhost = param(r->conf, probe ? "address_verify_relayhost" : "relayhost");
	for (size_t i = 0; i < NELEMS(class_names) && probe; i++) {
		struct span own = param(r->conf, class_names[i].probe);
		if (!span_eq(own, param(r->conf, class_names[i].mail)))
			w->class[class_names[i].class] = own;
	}
	for (unsigned i = 0; i < TABLES; i++) {
		if (probe && span_eq(param(r->conf, table_names[what][i]), param(r->conf, table_names[ROUTED_MAIL][i]))) {
			w->table[i] = mail->table[i];
			continue;
		}
		enum rc rc = maps_open_param(r->conf, NULL, table_names[what][i], &w->table[i], e);
		if (rc != RC_OK)
			return rc;
	}
	return RC_OK;
}

enum rc
router_open(struct conf *c, struct router **out, struct err *e)
{
	struct router *r = mem_zalloc(sizeof *r);
	r->conf = conf_ref(c);
	buf_init(&r->scratch, TEXT_MAX);
	buf_init(&r->scratch2, TEXT_MAX);
	buf_init(&r->text, TEXT_MAX);
	*out = r;
	enum rc rc = address_book_open(c, NULL, &r->book, e);
	if (rc == RC_OK)
		rc = rewriter_open(c, NULL, r->book, &r->rewriter, e);
	if (rc == RC_OK)
		rc = maps_open_param(c, NULL, "relocated_maps", &r->relocated, e);
	if (rc == RC_OK)
		rc = maps_open_param(c, NULL, "quarantine_recipient_policy", &r->held, e);
	for (unsigned what = 0; what < ROUTED && rc == RC_OK; what++)
		rc = open_ways(r, what, e);
	r->is_random = span_find(param(c, "relocated_maps"), SPAN("randmap:")) != SIZE_MAX;
	for (unsigned i = 0; i < TABLES; i++)
		r->is_random = r->is_random || span_find(param(c, table_names[ROUTED_MAIL][i]), SPAN("randmap:")) != SIZE_MAX;
	r->double_bounce = param(c, "double_bounce_sender");
	r->myorigin = param(c, "myorigin");
	r->null_transport_key = param(c, "empty_address_default_transport_maps_lookup_key");
	r->null_relayhost_key = param(c, "empty_address_relayhost_maps_lookup_key");
	const struct ways *mail = &r->ways[ROUTED_MAIL];
	r->by_sender = !map_list_empty(mail->table[BY_SENDER_TRANSPORT]) || !map_list_empty(mail->table[BY_SENDER_RELAYHOST]);
	if (rc != RC_OK)
		router_free(out);
	return rc;
}

void
router_free(struct router **rp)
{
	struct router *r = *rp;
	*rp = NULL;
	if (r == NULL)
		return;
	for (size_t i = 0; i < CACHE_SLOTS; i++)
		mem_free(&r->cache[i].bytes);
	rewriter_free(&r->rewriter);
	address_book_free(&r->book);
	map_list_free(&r->relocated);
	map_list_free(&r->held);
	for (unsigned i = 0; i < TABLES; i++) {
		if (r->ways[ROUTED_PROBE].table[i] != r->ways[ROUTED_MAIL].table[i])
			map_list_free(&r->ways[ROUTED_PROBE].table[i]);
		map_list_free(&r->ways[ROUTED_MAIL].table[i]);
	}
	buf_fini(&r->scratch);
	buf_fini(&r->scratch2);
	buf_fini(&r->text);
	conf_unref(&r->conf);
	mem_free(&r);
}

const struct rewriter *
router_rewriter(const struct router *r)
{
	return r->rewriter;
}

static void
fail(struct route *out, enum route_kind kind, const char *dsn, struct span text)
{
	*out = (struct route){ .kind = kind, .dsn = span_str(dsn), .text = text };
}

static void
resolver_failure(struct route *out)
{
	fail(out, map_asked() ? ROUTE_AGAIN : ROUTE_WAIT, "4.3.0", SPAN("address resolver failure"));
}

/* A sender-dependent table: RC_OK with a value; RC_NONE also for DUNNO. */
static enum rc
find_by_sender(struct router *r, const struct map_list *l, struct span null_key, struct span sender, struct span *value_out)
{
	enum rc rc;
	if (map_list_empty(l))
		return RC_NONE;
	if (sender.n == 0) {
		rc = map_find(l, null_key, 0, &r->scratch2, value_out, NULL);
	} else {
		rc = address_find_mail(r->book, l, sender, &r->scratch2, value_out, NULL);
	}
	return rc == RC_OK && span_caseeq_str(*value_out, "DUNNO") ? RC_NONE : rc;
}

static bool
uses_relayhost(enum address_class class)
{
	return class == CLASS_RELAY || class == CLASS_DEFAULT;
}

static void
class_transport(const struct router *r, const struct ways *w, enum address_class class, struct span *transport_out, struct span *nexthop_out)
{
	if (w->class[class].n > 0)
		address_split_transport(w->class[class], transport_out, nexthop_out);
	else
		address_class_transport(r->book, class, transport_out, nexthop_out);
}

/* Steps 3 to 5 of facts 5.2 behind the classes. */
static void
route_resolved(struct router *r, const struct ways *w, struct span sender, struct route *out)
{
	struct resolved *a = &r->res;
	struct span transport = SPAN_EMPTY, nexthop = SPAN_EMPTY, value;
	enum rc rc = RC_NONE;
	if (a->class != CLASS_VIRTUAL_ALIAS)
		rc = address_transport_in(r->book, w->table[BY_TRANSPORT], a, &r->scratch, &transport, &nexthop, NULL);
	if (rc != RC_OK && rc != RC_NONE) {
		resolver_failure(out);
		return;
	}
	out->kind = ROUTE_DELIVER;
	if (transport.n > 0) { /* a row that names a transport decides alone */
		bool tells_why = span_eq_str(transport, "error") || span_eq_str(transport, "retry");
		out->transport = transport;
		out->nexthop = nexthop.n > 0 ? nexthop : tells_why ? SPAN("Address is undeliverable") : a->domain;
		return;
	}
	struct span class_nexthop;
	class_transport(r, w, a->class, &transport, &class_nexthop);
	if (a->class == CLASS_DEFAULT) {
		rc = find_by_sender(r, w->table[BY_SENDER_TRANSPORT], r->null_transport_key, sender, &value);
		if (rc == RC_OK) {
			address_split_transport(value, &transport, &class_nexthop);
			buf_reset(&r->text); /* the next lookup uses scratch2 again */
			buf_put(&r->text, transport);
			buf_put(&r->text, class_nexthop);
			transport = span_head(buf_span(&r->text), transport.n);
			class_nexthop = span_from(buf_span(&r->text), transport.n);
		} else if (rc != RC_NONE) {
			resolver_failure(out);
			return;
		}
	}
	out->transport = transport;
	out->nexthop = nexthop.n > 0 ? nexthop : class_nexthop;
	if (out->nexthop.n > 0)
		return;
	if (uses_relayhost(a->class)) {
		rc = find_by_sender(r, w->table[BY_SENDER_RELAYHOST], r->null_relayhost_key, sender, &value);
		if (rc != RC_OK && rc != RC_NONE) {
			resolver_failure(out);
			return;
		}
		out->nexthop = rc == RC_OK ? value : w->relayhost;
	}
	if (out->nexthop.n == 0)
		out->nexthop = a->domain;
}

static bool
is_double_bounce(const struct router *r, const struct resolved *a)
{
	if (r->double_bounce.n > 0 && span_caseeq(a->local, r->double_bounce) && (a->class == CLASS_LOCAL || span_caseeq(a->domain, r->myorigin)))
		return true;
	return verify_sender_is(conf_params(r->conf), a->addr, clock_wall());
}

static void
route_fresh(struct router *r, const struct ways *w, struct span sender, struct span rcpt, struct route *out)
{
	*out = (struct route){ 0 };
	if (address_resolve(r->book, rcpt, &r->res, NULL) != RC_OK) {
		resolver_failure(out);
		return;
	}
	if (r->res.is_bad) {
		fail(out, ROUTE_FAIL, "5.1.3", SPAN("bad address syntax"));
		return;
	}
	if (is_double_bounce(r, &r->res)) {
		out->kind = ROUTE_DROP;
		return;
	}
	if (!map_list_empty(r->relocated)) {
		struct span value;
		unsigned char typed[ADDRESS_MAX + 256];
		enum rc rc = address_find_mail(r->book, r->relocated, address_typed(&r->res, typed), &r->scratch2, &value, NULL);
		if (rc == RC_OK) {
			buf_reset(&r->text);
			buf_puts(&r->text, "User has moved to ");
			buf_put(&r->text, value);
			fail(out, ROUTE_FAIL, "5.1.6", buf_span(&r->text));
			return;
		}
		if (rc != RC_NONE) {
			resolver_failure(out);
			return;
		}
	}
	struct span dsn, text;
	switch (rewriter_alias_trouble(r->rewriter, &r->res, &r->scratch, &dsn, &text, NULL)) {
	case RC_NONE:
		break;
	case RC_OK:
		*out = (struct route){ .kind = ROUTE_FAIL, .dsn = dsn, .text = text };
		return;
	case RC_TEMP:
	case RC_PERM:
		resolver_failure(out);
		return;
	}
	route_resolved(r, w, sender, out);
}

static unsigned char *
put(unsigned char *to, struct span from, struct span *out)
{
	if (from.n > 0)
		memcpy(to, from.p, from.n);
	*out = span_of(to, from.n);
	return to + from.n;
}

static void
remember(struct remembered *slot, uint64_t hash, struct span key, const struct route *route)
{
	unsigned char *bytes = mem_alloc(key.n + route->transport.n + route->nexthop.n + route->dsn.n + route->text.n);
	struct route copy = { .kind = route->kind };
	struct span k;
	unsigned char *to = put(bytes, key, &k);
	to = put(to, route->transport, &copy.transport);
	to = put(to, route->nexthop, &copy.nexthop);
	to = put(to, route->dsn, &copy.dsn);
	(void)put(to, route->text, &copy.text);
	mem_free(&slot->bytes);
	*slot = (struct remembered){ .hash = hash, .route = copy, .key_len = key.n, .bytes = bytes };
}

void
router_lookup(struct router *r, struct span sender, struct span rcpt, struct route *out)
{
	struct span key = rcpt;
	if (r->by_sender) {
		buf_reset(&r->text);
		buf_put(&r->text, rcpt);
		buf_putc(&r->text, '\0');
		buf_put(&r->text, sender);
		key = buf_span(&r->text);
	}
	uint64_t hash = span_hash(key) | 1;
	struct remembered *slot = &r->cache[(hash >> 8) % CACHE_SLOTS];
	if (slot->hash == hash && span_eq(span_of(slot->bytes, slot->key_len), key)) {
		*out = slot->route;
		return;
	}
	unsigned char kept[2 * ADDRESS_MAX + 1]; /* r->text is used below */
	bool keep = key.n <= sizeof kept && !r->is_random;
	if (keep && key.n > 0)
		memcpy(kept, key.p, key.n);
	uint64_t lookups = map_remote_lookups();
	route_fresh(r, &r->ways[ROUTED_MAIL], sender, rcpt, out);
	if (keep && out->kind != ROUTE_WAIT && out->kind != ROUTE_AGAIN && lookups == map_remote_lookups())
		remember(slot, hash, span_of(kept, key.n), out);
}

struct span
router_address(struct router *r, struct span rcpt)
{
	size_t at = span_rchr(rcpt, '@');
	struct span local = span_head(rcpt, at);
	if (at != SIZE_MAX && span_chr(local, '%') == SIZE_MAX && span_chr(local, '!') == SIZE_MAX && span_chr(local, '@') == SIZE_MAX)
		return rcpt;
	if (address_resolve(r->book, rcpt, &r->res, NULL) != RC_OK || r->res.is_bad)
		return rcpt;
	/* the domain as it was written, not as it is looked up */
	struct span domain = r->res.domain;
	for (size_t i = 0; domain.n > 0 && i + domain.n <= rcpt.n; i++)
		if (span_caseeq(span_head(span_from(rcpt, i), domain.n), domain) && r->res.addr.n >= domain.n) {
			buf_reset(&r->text);
			buf_put(&r->text, span_head(r->res.addr, r->res.addr.n - domain.n));
			buf_put(&r->text, span_head(span_from(rcpt, i), domain.n));
			return buf_span(&r->text);
		}
	return r->res.addr;
}

enum rc
router_held(struct router *r, struct span rcpt, struct span *value_out)
{
	if (map_list_empty(r->held))
		return RC_NONE;
	return address_find_mail(r->book, r->held, rcpt, &r->scratch2, value_out, NULL);
}

void
router_lookup_probe(struct router *r, struct span sender, struct span rcpt, struct route *out)
{
	route_fresh(r, &r->ways[ROUTED_PROBE], sender, rcpt, out);
}

void
route_to_filter(struct span filter, const char *default_nexthop, struct span rcpt, struct route *out)
{
	size_t at = span_rchr(rcpt, '@');
	*out = (struct route){ .kind = ROUTE_DELIVER };
	address_split_transport(filter, &out->transport, &out->nexthop);
	if (out->nexthop.n == 0)
		out->nexthop = *default_nexthop != '\0' ? span_str(default_nexthop) : at != SIZE_MAX ? span_from(rcpt, at + 1) : rcpt;
}

void
route_reason(struct span nexthop, char class, const char *otherwise, struct span *dsn_out, struct span *text_out)
{
	size_t blank = span_chr(nexthop, ' ');
	struct span first = blank == SIZE_MAX ? nexthop : span_head(nexthop, blank);
	bool is_code = dsn_code_valid(first);
	*dsn_out = is_code && first.p[0] == (unsigned char)class ? first : span_str(otherwise);
	*text_out = is_code ? span_trim(span_from(nexthop, first.n)) : nexthop;
}
