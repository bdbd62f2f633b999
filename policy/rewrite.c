/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening, and what happens to one address: canonical and masquerade. Facts 5.6. */
#include "base/mem.h"
#include "map/remote.h"
#include "policy/rewriter.h"

enum { CANONICAL_TURNS = 1000 };

/* ---- opening ---- */

struct word {
	const char *name;
	unsigned bit;
};

static unsigned
bits_of(struct conf *c, const struct service *s, const char *parameter, const struct word *words, size_t n, bool *bad_out)
{
	unsigned bits = 0;
	struct span rest = span_str(conf_value(c, s, parameter)), item;
	while (span_word(&rest, ", \t\r\n", &item)) {
		bool known = false;
		for (size_t i = 0; i < n; i++)
			if (span_caseeq_str(item, words[i].name)) {
				bits |= words[i].bit;
				known = true;
			}
		if (known)
			continue;
		conf_problem(c, CONF_ERROR, s, parameter, "%s: there is no \"%.*s\"", parameter, (int)(item.n < 60 ? item.n : 60),
		    (const char *)item.p);
		*bad_out = true;
	}
	return bits;
}

static const struct word class_words[] = {
	{ "envelope_sender", 1u << REWRITE_ENVELOPE_SENDER },
	{ "header_sender", 1u << REWRITE_HEADER_SENDER },
	{ "envelope_recipient", 1u << REWRITE_ENVELOPE_RCPT },
	{ "header_recipient", 1u << REWRITE_HEADER_RCPT },
};

unsigned
propagate_words(struct conf *c, const struct service *s, bool *bad_out)
{
	static const struct word words[] = {
		{ "canonical", PROPAGATE_CANONICAL }, { "virtual", PROPAGATE_VIRTUAL }, { "alias", PROPAGATE_ALIAS },
		{ "forward", PROPAGATE_FORWARD }, { "include", PROPAGATE_INCLUDE }, { "generic", PROPAGATE_GENERIC },
	};
	return bits_of(c, s, "propagate_unmatched_extensions", words, NELEMS(words), bad_out);
}

static bool
has_override(struct conf *c, const struct service *s, bool *bad_out)
{
	static const struct word words[] = {
		{ "no_address_mappings", 1 }, { "no_unknown_recipient_checks", 2 }, { "no_header_body_checks", 4 }, { "no_milters", 8 },
	};
	return (bits_of(c, s, "receive_override_options", words, NELEMS(words), bad_out) & 1) != 0;
}

static void
read_masquerade(struct rewriter *w)
{
	struct span rest = span_str(w->p->p_masquerade_domains), item;
	w->masquerade_text = mem_dup(rest.p, rest.n + 1);
	for (char *c = w->masquerade_text; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c |= 0x20;
	rest = span_str(w->masquerade_text);
	while (span_word(&rest, ", \t\r\n", &item)) {
		struct masquerade m = { .keep = false };
		for (; item.n > 0 && item.p[0] == '!'; item = span_from(item, 1))
			m.keep = !m.keep;
		m.domain = item;
		if (item.n == 0)
			continue;
		w->masquerade = mem_reallocarray(w->masquerade, w->nmasquerade + 1, sizeof *w->masquerade);
		w->masquerade[w->nmasquerade++] = m;
	}
}

enum rc
rewriter_open(struct conf *c, const struct service *s, const struct address_book *book, struct rewriter **out, struct err *e)
{
	struct rewriter *w = *out = mem_zalloc(sizeof *w);
	bool bad = false;
	w->conf = conf_ref(c);
	w->p = s != NULL ? s->params : conf_params(c);
	w->book = book;
	const struct {
		const char *name;
		struct map_list **list;
	} tables[] = {
		{ "sender_canonical_maps", &w->sender_canonical },
		{ "recipient_canonical_maps", &w->rcpt_canonical },
		{ "canonical_maps", &w->canonical },
		{ "sender_bcc_maps", &w->sender_bcc },
		{ "recipient_bcc_maps", &w->rcpt_bcc },
		{ "virtual_alias_maps", &w->virtual_alias },
	};
	for (size_t i = 0; i < NELEMS(tables); i++)
		if (maps_open_param(c, s, tables[i].name, tables[i].list, e) != RC_OK)
			bad = true;
	w->sender_classes = bits_of(c, s, "sender_canonical_classes", class_words, 2, &bad);
	w->rcpt_classes = bits_of(c, s, "recipient_canonical_classes", class_words + 2, 2, &bad);
	w->canonical_classes = bits_of(c, s, "canonical_classes", class_words, NELEMS(class_words), &bad);
	w->masquerade_classes = bits_of(c, s, "masquerade_classes", class_words, NELEMS(class_words), &bad);
	w->propagate = propagate_words(c, s, &bad);
	w->no_mappings = has_override(c, s, &bad);
	read_masquerade(w);
	if (matchlist_open_param(c, s, "masquerade_exceptions", MATCH_STRING, &w->exceptions, e) != RC_OK)
		bad = true;
	if (aliases_open(c, s, book, &w->aliases, e) != RC_OK)
		bad = true;
	return bad ? RC_PERM : RC_OK;
}

void
rewriter_free(struct rewriter **rp)
{
	struct rewriter *w = *rp;
	*rp = NULL;
	if (w == NULL)
		return;
	map_list_free(&w->sender_canonical);
	map_list_free(&w->rcpt_canonical);
	map_list_free(&w->canonical);
	map_list_free(&w->sender_bcc);
	map_list_free(&w->rcpt_bcc);
	map_list_free(&w->virtual_alias);
	matchlist_free(&w->exceptions);
	mem_free(&w->masquerade);
	mem_free(&w->masquerade_text);
	aliases_free(&w->aliases);
	conf_unref(&w->conf);
	mem_free(&w);
}

/* ---- one address ---- */

static const struct map_list *
own_canonical(const struct rewriter *w, enum rewrite_class class)
{
	unsigned bit = 1u << class;
	bool of_sender = class == REWRITE_ENVELOPE_SENDER || class == REWRITE_HEADER_SENDER;
	return of_sender ? (w->sender_classes & bit ? w->sender_canonical : NULL) : (w->rcpt_classes & bit ? w->rcpt_canonical : NULL);
}

bool
rewriter_is_idle(const struct rewriter *w, enum rewrite_class class)
{
	unsigned bit = 1u << class;
	if (w->no_mappings)
		return true;
	return map_list_empty(own_canonical(w, class)) && ((w->canonical_classes & bit) == 0 || map_list_empty(w->canonical))
	    && ((w->masquerade_classes & bit) == 0 || w->nmasquerade == 0);
}

/* Again and again until nothing changes. addr: in and out, into now when it changed. */
static enum rc
canonical(const struct rewriter *w, const struct map_list *l, struct span *addr, struct buf *now, struct err *e)
{
	struct mapping m;
	struct buf next;
	enum rc rc = RC_OK;
	if (map_list_empty(l) || addr->n == 0)
		return RC_OK;
	mapping_init(&m, w->book);
	buf_init(&next, ADDRESS_MAX);
	for (unsigned turns = 0;; turns++) {
		if (turns == CANONICAL_TURNS) {
			rc = err_set(e, RC_TEMP, "unreasonable map nesting");
			break;
		}
		rc = mapping_find(&m, l, *addr, (w->propagate & PROPAGATE_CANONICAL) != 0, e);
		if (rc != RC_OK)
			break;
		if (mapping_next(&m, &next) != RC_OK) {
			rc = err_set(e, RC_TEMP, "the result of a lookup is no address");
			break;
		}
		bool same = span_caseeq(buf_span(&next), *addr);
		buf_reset(now);
		buf_put(now, buf_span(&next));
		*addr = buf_span(now);
		if (same || now->over || addr->n == 0)
			break;
	}
	if (now->over)
		rc = err_set(e, RC_TEMP, "the result of a lookup is too long");
	mapping_fini(&m);
	buf_fini(&next);
	return rc == RC_NONE ? RC_OK : rc;
}

/* The whole domain: alone, left as it is; a subdomain of one: cut. The first that fits decides. */
static enum rc
masquerade(const struct rewriter *w, struct span *addr, struct buf *now, struct err *e)
{
	size_t at = span_rchr(*addr, '@');
	if (at == SIZE_MAX || w->nmasquerade == 0)
		return RC_OK;
	struct span domain = span_from(*addr, at + 1);
	enum rc rc = matchlist_name(w->exceptions, span_head(*addr, at), e);
	if (rc != RC_NONE)
		return rc == RC_OK ? RC_OK : RC_TEMP;
	for (size_t i = 0; i < w->nmasquerade; i++) {
		struct span parent = w->masquerade[i].domain;
		if (span_caseeq(domain, parent))
			return RC_OK;
		if (parent.n >= domain.n || domain.p[domain.n - parent.n - 1] != '.' || !span_caseends(domain, parent))
			continue;
		if (w->masquerade[i].keep)
			return RC_OK;
		struct buf cut;
		buf_init(&cut, ADDRESS_MAX);
		buf_put(&cut, span_head(*addr, at + 1));
		buf_put(&cut, parent);
		buf_reset(now);
		buf_put(now, buf_span(&cut));
		buf_fini(&cut);
		*addr = buf_span(now);
		return now->over ? err_set(e, RC_TEMP, "address too long") : RC_OK;
	}
	return RC_OK;
}

enum rc
rewrite_address(const struct rewriter *w, enum rewrite_class class, struct span addr, struct buf *out, struct span *out_addr, struct err *e)
{
	unsigned bit = 1u << class;
	*out_addr = addr;
	if (addr.n == 0 || rewriter_is_idle(w, class))
		return RC_OK;
	if (map_asked() && !map_asks_more()) /* of a header with thousands of addresses */
		return err_set(e, RC_TEMP, "a table is still being asked");
	enum rc rc = canonical(w, own_canonical(w, class), out_addr, out, e);
	if (rc == RC_OK && (w->canonical_classes & bit) != 0)
		rc = canonical(w, w->canonical, out_addr, out, e);
	if (rc == RC_OK && (w->masquerade_classes & bit) != 0)
		rc = masquerade(w, out_addr, out, e);
	return rc;
}
