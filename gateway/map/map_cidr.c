/* SPDX-License-Identifier: BSD-2-Clause */
/* cidr: rules in file order, first match wins; if/endif, "!". Facts 6.2. */
#include "base/arena.h"
#include "base/mem.h"
#include "map/cidr.h"
#include "map/source.h"
#include "map/table.h"

enum { DEPTH_MAX = 1000 };

enum rule_kind { RULE_MATCH, RULE_IF, RULE_ENDIF };

struct cidr_rule {
	enum rule_kind kind;
	bool negated;
	struct cidr net;
	struct span result;
	uint32_t skip_to;            /* RULE_IF: first rule behind its endif */
	int lineno;
};

struct cidr_table {
	struct arena arena;
	struct cidr_rule *rules;
	size_t count;
	size_t open_ifs[DEPTH_MAX], depth;
	bool bad;
};

static void
complain(const struct map_ctx *ctx, struct cidr_table *t, enum conf_severity sev, const char *where, int lineno, const char *what)
{
	if (sev == CONF_ERROR)
		t->bad = true;
	map_problem(ctx, sev, "%s:%d: %s", where, lineno, what);
}

static struct cidr_rule *
add_rule(struct cidr_table *t)
{
	if ((t->count & (t->count - 1)) == 0)
		t->rules = mem_reallocarray(t->rules, t->count > 0 ? t->count * 2 : 1, sizeof *t->rules);
	t->rules[t->count] = (struct cidr_rule){ 0 };
	return &t->rules[t->count++];
}

static bool
take_pattern(struct span *rest, bool *negated, struct span *pattern)
{
	*negated = false;
	*rest = span_trim(*rest);
	while (rest->n > 0 && rest->p[0] == '!') {
		*negated = !*negated;
		*rest = span_trim(span_from(*rest, 1));
	}
	return span_word(rest, " \t\r\n\v\f", pattern);
}

static void
read_rule(struct cidr_table *t, struct span line, const struct map_ctx *ctx, const char *where, int lineno)
{
	struct span rest = line, word, pattern;
	bool negated = false;
	enum rule_kind kind = RULE_MATCH;
	struct err why;
	struct cidr net = { 0 };

	if (!span_word(&rest, " \t\r\n\v\f", &word))
		return;
	if (span_caseeq_str(word, "endif")) {
		if (t->depth == 0) {
			complain(ctx, t, CONF_ERROR, where, lineno, "endif without if");
			return;
		}
		if (span_trim(rest).n > 0)
			complain(ctx, t, CONF_WARNING, where, lineno, "text after endif is ignored");
		add_rule(t)->kind = RULE_ENDIF;
		t->rules[t->open_ifs[--t->depth]].skip_to = (uint32_t)t->count;
		return;
	}
	if (span_caseeq_str(word, "if"))
		kind = RULE_IF;
	else
		rest = line;
	if (!take_pattern(&rest, &negated, &pattern)) {
		complain(ctx, t, CONF_ERROR, where, lineno, "a rule without a pattern");
		return;
	}
	if (cidr_parse(pattern, true, &net, &why) != RC_OK) {
		complain(ctx, t, CONF_ERROR, where, lineno, why.why);
		return;
	}
	struct span result = span_trim(rest);
	if (kind == RULE_MATCH && result.n == 0) {
		complain(ctx, t, CONF_ERROR, where, lineno, "a pattern without a result");
		return;
	}
	if (kind == RULE_IF && result.n > 0)
		complain(ctx, t, CONF_WARNING, where, lineno, "text after an if pattern is ignored");
	if (kind == RULE_IF && t->depth == DEPTH_MAX) {
		complain(ctx, t, CONF_ERROR, where, lineno, "if is nested too deep");
		return;
	}
	if (kind == RULE_IF)
		t->open_ifs[t->depth++] = t->count;
	struct cidr_rule *r = add_rule(t);
	r->kind = kind;
	r->negated = negated;
	r->net = net;
	r->lineno = lineno;
	r->result = kind == RULE_MATCH ? arena_span(&t->arena, result) : SPAN_EMPTY;
}

static enum rc
finish(struct map *m, struct cidr_table *t, const struct map_ctx *ctx, int lineno, const char *where, struct err *e)
{
	if (t->depth > 0)
		complain(ctx, t, CONF_ERROR, where, lineno, "if without endif");
	while (t->depth > 0)
		t->rules[t->open_ifs[--t->depth]].skip_to = (uint32_t)t->count;
	return t->bad ? err_set(e, RC_PERM, "%s: bad rules", m->name) : RC_OK;
}

static enum rc
read_inline(struct map *m, struct cidr_table *t, const struct map_ctx *ctx, struct span rules, struct err *e)
{
	struct span rule;
	bool group;
	enum rc rc;
	int n = 0;
	while ((rc = conf_item(&rules, &rule, &group)) == RC_OK) {
		n++;
		if (group)
			read_rule(t, rule, ctx, "inline rule", n);
		else
			complain(ctx, t, CONF_ERROR, "inline rule", n, "expecting {rule}");
	}
	if (rc != RC_NONE)
		return err_set(e, RC_PERM, "%s: unbalanced braces", m->name);
	return finish(m, t, ctx, n, "inline rule", e);
}

enum rc
cidr_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	struct cidr_table *t = m->state = mem_zalloc(sizeof *t);
	struct span rules, text;
	arena_init(&t->arena, SIZE_MAX / 2);
	if (map_unbrace(arg, &rules))
		return read_inline(m, t, ctx, rules, e);

	const char *path = arena_cstr(&t->arena, span_trim(arg));
	if (path == NULL || *path == '\0')
		return err_set(e, RC_PERM, "%s: no file name", m->name);
	if (map_file(ctx, path, &text, e) != RC_OK) {
		err_prefix(e, "%s", m->name);
		return RC_PERM;
	}
	struct conf_lines lines = { .rest = text };
	struct buf line;
	int lineno = 0;
	buf_init(&line, 1 << 20);
	line.is_secret = ctx->audience != CONF_FOR_ALL;
	while (conf_lines_next(&lines, &line, &lineno) == RC_OK)
		read_rule(t, buf_span(&line), ctx, path, lineno);
	buf_fini(&line);
	return finish(m, t, ctx, lineno, path, e);
}

enum rc
cidr_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	(void)scratch;
	(void)e;
	const struct cidr_table *t = m->state;
	struct ipaddr a;
	if (ipaddr_parse(key, &a) != RC_OK)
		return RC_NONE;
	for (size_t i = 0; i < t->count;) {
		const struct cidr_rule *r = &t->rules[i++];
		if (r->kind == RULE_ENDIF)
			continue;
		/* an address of the other family matches no pattern, not even a negated one */
		bool hit = a.family == r->net.net.family && ipaddr_in(&a, &r->net.net, r->net.bits) != r->negated;
		if (r->kind == RULE_IF && !hit) {
			i = r->skip_to;
		} else if (r->kind == RULE_MATCH && hit) {
			*value_out = r->result;
			return RC_OK;
		}
	}
	return RC_NONE;
}

enum rc
cidr_each(const struct map *m, map_entry_fn *fn, void *arg, struct err *e)
{
	(void)e;
	const struct cidr_table *t = m->state;
	for (size_t i = 0; i < t->count; i++) {
		const struct cidr_rule *r = &t->rules[i];
		char addr[IPADDR_TEXT], key[IPADDR_TEXT + 8];
		ipaddr_text(&r->net.net, addr);
		snprintf(key, sizeof key, "%s%s/%u", r->negated ? "!" : "", addr, r->net.bits);
		if (r->kind == RULE_MATCH && !fn(arg, span_str(key), r->result, r->lineno))
			break;
	}
	return RC_OK;
}

void
cidr_close(struct map *m)
{
	struct cidr_table *t = m->state;
	if (t == NULL)
		return;
	arena_fini(&t->arena);
	mem_free(&t->rules);
	mem_free(&t);
	m->state = NULL;
}
