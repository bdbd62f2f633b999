/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/matchlist.h"

#include "base/arena.h"
#include "base/mem.h"
#include "map/cidr.h"
#include "map/table.h"

enum { FILE_DEPTH_MAX = 10 };

/* A plain word; the first of equal ones is the one that counts. */
struct matchlist_word {
	struct hnode by_name;
	struct span name;            /* lower case */
	uint32_t at;                 /* place in the list */
	bool negated;
};

enum match_kind { PAT_NET = 1, PAT_TABLE, PAT_BROKEN };

/* What is not a plain word, in order. */
struct match_pattern {
	enum match_kind kind;
	uint32_t at;
	bool negated;
	struct cidr net;             /* PAT_NET; PAT_BROKEN: family of the addresses it concerns, 0 for all */
	struct map *table;
	const char *why;             /* PAT_BROKEN */
};

struct matchlist {
	struct conf *conf;
	enum matchlist_kind kind;
	bool parents;                /* a domain means its subdomains, too (facts 1.4) */
	struct arena arena;
	struct htab words;
	struct match_pattern *patterns;
	size_t npatterns;
	uint32_t count;
	bool broken;
};

struct build {
	struct matchlist *m;
	struct map_ctx ctx;
	struct err *e;
};

/* ---- compiling ---- */

static struct match_pattern *
add_pattern(struct matchlist *m, enum match_kind kind, bool negated)
{
	if ((m->npatterns & (m->npatterns - 1)) == 0)
		m->patterns = mem_reallocarray(m->patterns, m->npatterns > 0 ? m->npatterns * 2 : 1, sizeof *m->patterns);
	m->patterns[m->npatterns] = (struct match_pattern){ .kind = kind, .at = m->count++, .negated = negated };
	return &m->patterns[m->npatterns++];
}

static void
add_broken(struct build *b, bool negated, uint8_t family, const char *why)
{
	struct match_pattern *p = add_pattern(b->m, PAT_BROKEN, negated);
	p->net.net.family = family;
	p->why = arena_cstr(&b->m->arena, span_str(why));
	b->m->broken = true;
	err_set(b->e, RC_PERM, "%s", why);
}

static void
add_word(struct matchlist *m, struct span item, bool negated)
{
	unsigned char *p = arena_alloc(&m->arena, item.n + 1);
	for (size_t i = 0; i < item.n; i++)
		p[i] = item.p[i] >= 'A' && item.p[i] <= 'Z' ? (unsigned char)(item.p[i] | 0x20) : item.p[i];
	struct span name = span_of(p, item.n);
	uint32_t at = m->count++;
	uint64_t hash = span_hash(name);
	for (struct hnode *n = htab_first(&m->words, hash); n != NULL; n = htab_next(n))
		if (span_eq(container_of(n, struct matchlist_word, by_name)->name, name))
			return;
	struct matchlist_word *w = arena_zalloc(&m->arena, sizeof *w);
	*w = (struct matchlist_word){ .name = name, .at = at, .negated = negated };
	htab_insert(&m->words, &w->by_name, hash);
}

/* "[v6]", "[v6]/n", "a.b.c.d", "a.b.c.d/n": anything that cannot be a name. */
static bool
looks_like_address(struct span item)
{
	struct ipaddr a;
	return item.p[0] == '[' || span_chr(item, '/') != SIZE_MAX || ipaddr_parse(item, &a) == RC_OK;
}

static void
add_address(struct build *b, struct span item, bool negated)
{
	struct err why;
	struct cidr net;
	if (cidr_parse(item, false, &net, &why) != RC_OK) {
		map_problem(&b->ctx, CONF_ERROR, "%s", why.why);
		add_broken(b, negated, net.net.family, why.why);
		return;
	}
	if (net.bits < ipaddr_bits(&net.net) || item.p[0] == '[') {
		struct match_pattern *p = add_pattern(b->m, PAT_NET, negated);
		p->net = net;
		return;
	}
	char text[IPADDR_TEXT]; /* without "/32" */
	add_word(b->m, span_of(text, ipaddr_text(&net.net, text)), negated); /* found by its text */
}

static void add_items(struct build *b, struct span list, bool negated, unsigned depth);

static void
add_file(struct build *b, struct span path, bool negated, unsigned depth)
{
	struct err why;
	struct span text;
	const char *name = arena_cstr(&b->m->arena, path);
	if (depth >= FILE_DEPTH_MAX || name == NULL) {
		map_problem(&b->ctx, CONF_ERROR, "files of a list are nested too deep");
		add_broken(b, negated, 0, "files of a list are nested too deep");
		return;
	}
	if (conf_file(b->ctx.conf, name, &text, &why) != RC_OK) {
		map_problem(&b->ctx, CONF_ERROR, "%s", why.why);
		add_broken(b, negated, 0, why.why);
		return;
	}
	struct conf_lines lines = { .rest = text };
	struct buf line;
	int lineno;
	buf_init(&line, 1 << 20);
	while (conf_lines_next(&lines, &line, &lineno) == RC_OK)
		add_items(b, buf_span(&line), negated, depth + 1);
	buf_fini(&line);
}

static void
add_item(struct build *b, struct span item, bool negated, unsigned depth)
{
	while (item.n > 0 && item.p[0] == '!') {
		negated = !negated;
		item = span_trim(span_from(item, 1));
	}
	if (item.n == 0) {
		map_problem(&b->ctx, CONF_ERROR, "no pattern after '!'");
		add_broken(b, negated, 0, "no pattern after '!'");
	} else if (item.p[0] == '/') {
		add_file(b, item, negated, depth);
	} else if (item.p[0] != '[' && span_chr(item, ':') != SIZE_MAX) {
		struct ipaddr v6;
		if (ipaddr_parse(span_head(item, span_chr(item, '/')), &v6) == RC_OK) {
			map_problem(&b->ctx, CONF_ERROR, "an IPv6 address must be written in [ ] here");
			add_broken(b, negated, IPADDR_V6, "an IPv6 address without [ ]");
			return;
		}
		struct map *table = NULL;
		if (map_get(&b->ctx, item, &table, b->e) != RC_OK)
			b->m->broken = true;
		add_pattern(b->m, PAT_TABLE, negated)->table = table;
	} else if ((b->m->kind == MATCH_ADDRESS || b->m->kind == MATCH_HOST) && looks_like_address(item)) {
		add_address(b, item, negated);
	} else {
		add_word(b->m, item, negated);
	}
}

static void
add_items(struct build *b, struct span list, bool negated, unsigned depth)
{
	struct span item;
	bool group;
	enum rc rc;
	while ((rc = conf_item(&list, &item, &group)) == RC_OK)
		add_item(b, item, negated, depth);
	if (rc != RC_NONE) {
		map_problem(&b->ctx, CONF_ERROR, "unbalanced braces");
		add_broken(b, negated, 0, "unbalanced braces");
	}
}

static bool
matches_parents(struct conf *c, const struct service *s, const char *parameter)
{
	return conf_has_item(conf_value(c, s, "parent_domain_matches_subdomains"), parameter);
}

enum rc
matchlist_open(struct conf *c, const struct service *s, const char *parameter, const char *value, enum matchlist_kind kind,
    struct matchlist **out, struct err *e)
{
	struct matchlist *m = *out = mem_zalloc(sizeof *m);
	struct err ignored;
	struct build b = { m, { .conf = c, .service = s, .parameter = parameter }, e != NULL ? e : &ignored };
	m->conf = conf_ref(c);
	m->kind = kind;
	m->parents = kind != MATCH_STRING && matches_parents(c, s, parameter);
	arena_init(&m->arena, SIZE_MAX / 2);
	add_items(&b, span_str(value), false, 0);
	return m->broken ? RC_PERM : RC_OK;
}

enum rc
matchlist_open_param(struct conf *c, const struct service *s, const char *parameter, enum matchlist_kind kind, struct matchlist **out,
    struct err *e)
{
	return matchlist_open(c, s, parameter, conf_value(c, s, parameter), kind, out, e);
}

void
matchlist_free(struct matchlist **mp)
{
	struct matchlist *m = *mp;
	*mp = NULL;
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->npatterns; i++)
		map_release(&m->patterns[i].table);
	mem_free(&m->patterns);
	htab_fini(&m->words);
	arena_fini(&m->arena);
	conf_unref(&m->conf);
	mem_free(&m);
}

bool
matchlist_empty(const struct matchlist *m)
{
	return m == NULL || m->count == 0;
}

const struct matchlist_word *
matchlist_next_word(const struct matchlist *m, const struct matchlist_word *after, struct span *name_out)
{
	const struct hnode *n = after != NULL ? &after->by_name : NULL;
	while (m != NULL && (n = htab_walk(&m->words, n)) != NULL) {
		const struct matchlist_word *w = (const struct matchlist_word *)(const void *)((const char *)n - offsetof(struct matchlist_word, by_name));
		*name_out = w->name;
		if (!w->negated)
			return w;
	}
	return NULL;
}

/* ---- asking ---- */

static const struct matchlist_word *
earlier(const struct matchlist_word *best, const struct matchlist_word *w)
{
	return best == NULL || (w != NULL && w->at < best->at) ? w : best;
}

static const struct matchlist_word *
word_at(const struct matchlist *m, struct span name)
{
	for (struct hnode *n = htab_first(&m->words, span_casehash(name)); n != NULL; n = htab_next(n)) {
		const struct matchlist_word *w = container_of(n, struct matchlist_word, by_name);
		if (span_caseeq(w->name, name))
			return w;
	}
	return NULL;
}

/* The first plain word that matches the name itself or, in domain lists, stands for it. */
static const struct matchlist_word *
first_word(const struct matchlist *m, struct span name)
{
	if (m->words.count == 0)
		return NULL;
	const struct matchlist_word *best = word_at(m, name);
	if (m->kind == MATCH_STRING)
		return best;
	for (size_t i = 1; i + 1 < name.n; i++)
		if (name.p[i] == '.')
			best = earlier(best, word_at(m, span_from(name, m->parents ? i + 1 : i)));
	return best;
}

/* The domain whole, then its parents in tables with fixed keys. */
static enum rc
ask_table(const struct matchlist *m, const struct map *table, struct span name, bool is_name, struct buf *scratch, struct err *e)
{
	struct span value;
	enum rc rc = map_ask(table, name, scratch, &value, e);
	if (rc != RC_NONE || !is_name || m->kind == MATCH_STRING || (table->flags & MAPF_FIXED) == 0)
		return rc;
	for (size_t i = 1; rc == RC_NONE && i + 1 < name.n; i++)
		if (name.p[i] == '.') {
			rc = map_ask(table, span_from(name, m->parents ? i + 1 : i), scratch, &value, e);
			i += m->parents; /* "a..b" has the parent ".b", as in Postfix */
		}
	return rc;
}

struct question {
	struct span name;            /* empty: not asked about */
	struct span addr_text;
	const struct ipaddr *addr;   /* NULL: not asked about */
};

/* Does this pattern match? RC_OK, RC_NONE, RC_TEMP. */
static enum rc
ask_pattern(const struct matchlist *m, const struct match_pattern *p, const struct question *q, struct buf *scratch, struct err *e)
{
	switch (p->kind) {
	case PAT_NET:
		return q->addr != NULL && ipaddr_in(q->addr, &p->net.net, p->net.bits) ? RC_OK : RC_NONE;
	case PAT_TABLE: {
		enum rc rc = q->name.n > 0 ? ask_table(m, p->table, q->name, true, scratch, e) : RC_NONE;
		if (rc == RC_NONE && q->addr != NULL)
			rc = ask_table(m, p->table, q->addr_text, false, scratch, e);
		return rc;
	}
	case PAT_BROKEN:
		if (p->net.net.family != 0 && (q->addr == NULL || q->addr->family != p->net.net.family))
			return RC_NONE;
		return err_set(e, RC_TEMP, "%s", p->why);
	}
	return RC_NONE;
}

static enum rc
ask(const struct matchlist *m, const struct question *q, struct err *e)
{
	const struct matchlist_word *w = q->name.n > 0 ? first_word(m, q->name) : NULL;
	if (q->addr != NULL && m->words.count > 0)
		w = earlier(w, word_at(m, q->addr_text));
	uint32_t stop = w != NULL ? w->at : UINT32_MAX;

	struct buf scratch;
	enum rc rc = RC_NONE;
	buf_init(&scratch, 65536);
	for (size_t i = 0; i < m->npatterns && m->patterns[i].at < stop && rc == RC_NONE; i++) {
		const struct match_pattern *p = &m->patterns[i];
		rc = ask_pattern(m, p, q, &scratch, e);
		if (rc == RC_OK && p->negated) {
			buf_fini(&scratch);
			return RC_NONE;
		}
	}
	buf_fini(&scratch);
	if (rc == RC_NONE && w != NULL)
		return w->negated ? RC_NONE : RC_OK;
	return rc;
}

enum rc
matchlist_name(const struct matchlist *m, struct span name, struct err *e)
{
	if (m == NULL || name.n == 0)
		return RC_NONE;
	return ask(m, &(struct question){ .name = name }, e);
}

enum rc
matchlist_addr(const struct matchlist *m, const struct ipaddr *addr, struct err *e)
{
	return matchlist_host(m, SPAN_EMPTY, addr, e);
}

enum rc
matchlist_host(const struct matchlist *m, struct span name, const struct ipaddr *addr, struct err *e)
{
	if (m == NULL)
		return RC_NONE;
	char text[IPADDR_TEXT];
	struct ipaddr a = ipaddr_unmap(*addr);
	size_t len = ipaddr_text(&a, text);
	struct question q = { .name = name, .addr_text = span_of(text, len), .addr = len > 0 ? &a : NULL };
	return ask(m, &q, e);
}
