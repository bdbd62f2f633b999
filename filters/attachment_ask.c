/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachment_rules.h"

#include "base/mem.h"
#include "filters/attachment_rules_private.h"

enum { EXTENSION_MAX = 64, VALUE_MAX = 4096 };

/* Recipients with the same rules: the bits of those that hold for them. */
struct group {
	struct group *next;
	uint64_t bits[];
};

struct attachment_ask {
	struct attachment_rules *rules;
	size_t nwords;               /* of 64 bits, for all rules */
	struct group *groups;
	signed char *fits;           /* per rule, of the item at hand: 0 unknown, 1 yes, -1 no */
	struct buf scratch, said;    /* of tables; what the one that decided said */
	size_t matched;              /* the name or type that a condition matched last */
};

/* ---- the envelope ---- */

static enum rc
domain_matches(const struct attachment_cond *k, struct span address, struct err *e)
{
	size_t at = span_rchr(address, '@');
	if (address.n == 0)
		return k->has_null ? RC_OK : RC_NONE;
	if (at == SIZE_MAX || at + 1 == address.n)
		return RC_NONE;
	return matchlist_name(k->domains, span_from(address, at + 1), e);
}

/* RC_OK: the conditions about the envelope hold for this recipient. */
static enum rc
envelope_fits(const struct attachment_rule *rule, const struct attachment_case *in, struct span rcpt, struct err *e)
{
	for (size_t i = 0; i < rule->nconds; i++) {
		const struct attachment_cond *k = &rule->conds[i];
		enum rc rc;
		if (k->kind == COND_DIRECTION)
			rc = (k->bits & (in->is_outbound ? 2 : 1)) != 0 ? RC_OK : RC_NONE;
		else if (k->kind == COND_SENDER)
			rc = domain_matches(k, in->sender, e);
		else if (k->kind == COND_RECIPIENT)
			rc = domain_matches(k, rcpt, e);
		else
			continue;
		if (rc != RC_OK && rc != RC_NONE)
			return rc;
		if ((rc == RC_OK) == k->negated)
			return RC_NONE;
	}
	return RC_OK;
}

static bool
asks_recipients(const struct attachment_rules *r)
{
	for (size_t i = 0; i < r->n; i++)
		for (size_t k = 0; k < r->rules[i].nconds; k++)
			if (r->rules[i].conds[k].kind == COND_RECIPIENT)
				return true;
	return false;
}

static enum rc
add_group(struct attachment_ask *a, const struct attachment_case *in, struct span rcpt, struct err *e)
{
	size_t size = a->nwords * sizeof(uint64_t);
	struct group *g = mem_zalloc(sizeof *g + size);
	for (size_t i = 0; i < a->rules->n; i++) {
		enum rc rc = envelope_fits(&a->rules->rules[i], in, rcpt, e);
		if (rc == RC_OK)
			g->bits[i / 64] |= (uint64_t)1 << (i % 64);
		else if (rc != RC_NONE) {
			mem_free(&g);
			return rc;
		}
	}
	for (struct group *o = a->groups; o != NULL; o = o->next)
		if (memcmp(o->bits, g->bits, size) == 0) {
			mem_free(&g);
			return RC_OK;
		}
	g->next = a->groups;
	a->groups = g;
	return RC_OK;
}

enum rc
attachment_ask_new(struct attachment_rules *r, const struct attachment_case *in, struct attachment_ask **out, struct err *e)
{
	struct attachment_ask *a = mem_zalloc(sizeof *a);
	enum rc rc = RC_OK;
	a->rules = r;
	a->nwords = r->n / 64 + 1;
	a->fits = mem_zalloc(r->n + 1);
	buf_init(&a->scratch, VALUE_MAX);
	buf_init(&a->said, VALUE_MAX);
	size_t n = asks_recipients(r) && in->nrcpts > 0 ? in->nrcpts : 1;
	for (size_t i = 0; i < n && rc == RC_OK; i++)
		rc = add_group(a, in, i < in->nrcpts ? in->rcpts[i] : SPAN_EMPTY, e);
	if (rc != RC_OK)
		attachment_ask_free(&a);
	*out = a;
	return rc;
}

void
attachment_ask_free(struct attachment_ask **ap)
{
	struct attachment_ask *a = *ap;
	if (a == NULL)
		return;
	for (struct group *g = a->groups, *next; g != NULL; g = next) {
		next = g->next;
		mem_free(&g);
	}
	mem_free(&a->fits);
	buf_fini(&a->scratch);
	buf_fini(&a->said);
	mem_free(ap);
}

/* ---- an item ---- */

static unsigned char
fold(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

/* "[a-z]" at pattern[*at]: moves *at to the last octet of it. */
static bool
class_has(struct span pattern, size_t *at, unsigned char c)
{
	size_t i = *at + 1;
	bool negated = i < pattern.n && (pattern.p[i] == '!' || pattern.p[i] == '^'), hit = false;
	if (negated)
		i++;
	for (bool first = true; i < pattern.n && (first || pattern.p[i] != ']'); first = false) {
		unsigned char from = fold(pattern.p[i]), to = from;
		if (i + 2 < pattern.n && pattern.p[i + 1] == '-' && pattern.p[i + 2] != ']') {
			to = fold(pattern.p[i + 2]);
			i += 2;
		}
		hit |= c >= from && c <= to;
		i++;
	}
	*at = i;
	return hit != negated;
}

bool
attachment_glob(struct span pattern, struct span name)
{
	size_t p = 0, n = 0, star = SIZE_MAX, back = 0;
	while (n < name.n) {
		size_t at = p;
		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			back = n;
			continue;
		}
		bool hit = p < pattern.n && (pattern.p[p] == '?' || (pattern.p[p] == '[' && span_chr(span_from(pattern, p + 1), ']') != SIZE_MAX ?
		    class_has(pattern, &at, fold(name.p[n])) : fold(pattern.p[p]) == fold(name.p[n])));
		if (hit) {
			p = at + 1;
			n++;
		} else if (star != SIZE_MAX) { /* the last star takes one more */
			p = star + 1;
			n = ++back;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

static enum rc
word_matches(const struct attachment_word *w, struct span s, struct err *e)
{
	if (w->regex != NULL)
		return regex_match(w->regex, s, NULL, 0, e);
	return attachment_glob(w->text, s) ? RC_OK : RC_NONE;
}

static enum rc
any_word(struct attachment_ask *a, const struct attachment_cond *k, const struct span *list, size_t n, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		for (size_t w = 0; w < k->nwords; w++) {
			enum rc rc = word_matches(&k->words[w], list[i], e);
			if (rc == RC_OK)
				a->matched = i;
			if (rc != RC_NONE)
				return rc;
		}
	return RC_NONE;
}

/* What a system goes by: all behind the last dot, lower case. Empty: it has none. */
static struct span
extension(struct span name, unsigned char *room)
{
	size_t dot = span_rchr(name, '.');
	if (dot == SIZE_MAX || name.n - dot - 1 > EXTENSION_MAX)
		return SPAN_EMPTY;
	struct span ext = span_from(name, dot + 1);
	for (size_t i = 0; i < ext.n; i++)
		room[i] = fold(ext.p[i]);
	return span_of(room, ext.n);
}

static enum rc
extension_listed(struct attachment_ask *a, const struct attachment_cond *k, const struct attachment_item *item, struct err *e)
{
	for (size_t i = 0; i < item->nnames; i++) {
		unsigned char room[EXTENSION_MAX];
		struct span ext = extension(item->names[i], room), value;
		if (ext.n == 0)
			continue;
		a->matched = i;
		for (size_t w = 0; w < k->nwords; w++)
			if (span_eq(ext, k->words[w].text) || attachment_glob(k->words[w].text, ext))
				return RC_OK;
		if (k->table == NULL)
			continue;
		buf_reset(&a->scratch);
		enum rc rc = map_find(k->table, ext, 0, &a->scratch, &value, e);
		if (rc == RC_OK) {
			buf_reset(&a->said);
			buf_put(&a->said, span_head(value, VALUE_MAX - 1));
		}
		if (rc != RC_NONE)
			return rc;
	}
	return RC_NONE;
}

static enum rc
cond_holds(struct attachment_ask *a, const struct attachment_cond *k, const struct attachment_item *item, struct err *e)
{
	switch (k->kind) {
	case COND_NAME:
		return any_word(a, k, item->names, item->nnames, e);
	case COND_EXTENSION:
		return extension_listed(a, k, item, e);
	case COND_TYPE:
		return any_word(a, k, item->types, item->ntypes, e);
	case COND_REAL:
		return (item->kinds & k->bits) != 0 ? RC_OK : RC_NONE;
	case COND_WHERE:
		return ((uint64_t)item->where & k->bits) != 0 ? RC_OK : RC_NONE;
	case COND_LARGER:
		return item->size > k->bits ? RC_OK : RC_NONE;
	case COND_SMALLER:
		return item->size < k->bits ? RC_OK : RC_NONE;
	case COND_ENCRYPTED:
		return item->is_encrypted ? RC_OK : RC_NONE;
	case COND_DECEPTIVE:
		return item->is_deceptive ? RC_OK : RC_NONE;
	case COND_DIRECTION:
	case COND_SENDER:
	case COND_RECIPIENT:
		return k->negated ? RC_NONE : RC_OK; /* the groups have decided */
	}
	BUG("a condition without a kind");
}

static enum rc
rule_fits(struct attachment_ask *a, size_t at, const struct attachment_item *item, struct err *e)
{
	const struct attachment_rule *rule = &a->rules->rules[at];
	for (size_t i = 0; i < rule->nconds && a->fits[at] >= 0; i++) {
		enum rc rc = cond_holds(a, &rule->conds[i], item, e);
		if (rc != RC_OK && rc != RC_NONE)
			return rc;
		if ((rc == RC_OK) == rule->conds[i].negated)
			a->fits[at] = -1;
	}
	if (a->fits[at] == 0)
		a->fits[at] = 1;
	return a->fits[at] > 0 ? RC_OK : RC_NONE;
}

/* Which name it was, and the rule's own text or what its table said about the extension. */
static enum rc
explain(struct attachment_ask *a, const struct attachment_item *item, struct attachment_answer *out, struct err *e)
{
	out->text = out->rule->text;
	for (size_t i = 0; i < out->rule->nconds; i++) {
		const struct attachment_cond *k = &out->rule->conds[i];
		if (k->negated || (k->kind != COND_NAME && k->kind != COND_EXTENSION))
			continue;
		a->matched = SIZE_MAX;
		buf_reset(&a->said); /* other rules may have asked tables, too */
		enum rc rc = cond_holds(a, k, item, e);
		if (rc != RC_OK && rc != RC_NONE)
			return rc;
		if (a->matched != SIZE_MAX)
			out->name = item->names[a->matched];
		if (out->text == NULL && buf_len(&a->said) > 0)
			out->text = buf_cstr(&a->said);
	}
	return RC_OK;
}

enum rc
attachment_ask(struct attachment_ask *a, const struct attachment_item *item, struct attachment_answer *out, struct err *e)
{
	*out = (struct attachment_answer){ .action = ATTACHMENT_ALLOW };
	memset(a->fits, 0, a->rules->n);
	for (const struct group *g = a->groups; g != NULL; g = g->next)
		for (size_t i = 0; i < a->rules->n; i++) {
			if ((g->bits[i / 64] >> (i % 64) & 1) == 0)
				continue;
			enum rc rc = rule_fits(a, i, item, e);
			if (rc != RC_OK && rc != RC_NONE)
				return rc;
			if (rc == RC_NONE)
				continue;
			const struct attachment_rule *rule = &a->rules->rules[i];
			if (out->rule == NULL || rule->action > out->action)
				*out = (struct attachment_answer){ .action = rule->action, .rule = rule };
			break;
		}
	return out->rule != NULL && out->action != ATTACHMENT_ALLOW ? explain(a, item, out, e) : RC_OK;
}
