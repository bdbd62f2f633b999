/* SPDX-License-Identifier: BSD-2-Clause */
/* pcre, regexp: rules in file order, first match wins; if/endif, "!", results with what groups matched. Facts 6.2. */
#include "base/arena.h"
#include "base/mem.h"
#include "map/pattern.h"
#include "map/prefilter.h"
#include "map/regex.h"
#include "map/subst.h"
#include "map/table.h"

enum { DEPTH_MAX = 1000 };

struct rule {
	enum pattern_kind kind;
	bool negated, is_missing;    /* missing: it could not be read, and the table is refused */
	uint32_t skip_to;            /* PATTERN_IF: first rule behind its endif */
	int lineno;
	struct regex *regex;
	struct subst result;
	struct span text, raw;       /* as written: the pattern, the result */
};

struct pattern_table {
	struct arena arena;
	const char *where;           /* file name, or "inline rule" */
	enum pattern_flavour flavour;
	struct rule *rules;
	size_t count;
	struct prefilter *filter;
	size_t open_ifs[DEPTH_MAX], depth;
	bool bad, refuses_groups, is_utf8;
};

static void
complain(const struct map_ctx *ctx, struct pattern_table *t, enum conf_severity sev, int lineno, const char *what)
{
	if (sev == CONF_ERROR)
		t->bad = true;
	map_problem(ctx, sev, "%s:%d: %s", t->where, lineno, what);
}

/* ---- reading ---- */

static struct rule *
add_rule(struct pattern_table *t, const struct pattern_rule *p, int lineno)
{
	if ((t->count & (t->count - 1)) == 0)
		t->rules = mem_reallocarray(t->rules, t->count > 0 ? t->count * 2 : 1, sizeof *t->rules);
	struct rule *r = &t->rules[t->count++];
	*r = (struct rule){ .kind = p->kind, .negated = p->negated, .lineno = lineno };
	r->raw = arena_span(&t->arena, p->result);
	if (p->kind == PATTERN_ENDIF) {
		prefilter_add_none(t->filter);
		return r;
	}
	prefilter_add(t->filter, p->regex, t->flavour, p->flags);
	/* with its delimiters and flags, for listings */
	r->text = arena_span(&t->arena, span_of(p->regex.p - 1, (size_t)(p->result.p - p->regex.p) + 1));
	if (p->result.n == 0)
		r->text = arena_span(&t->arena, span_of(p->regex.p - 1, p->regex.n + 2));
	r->text = span_rtrim(r->text);
	return r;
}

static void
read_endif(struct pattern_table *t, const struct pattern_rule *p, const struct map_ctx *ctx, int lineno)
{
	if (t->depth == 0) {
		complain(ctx, t, CONF_ERROR, lineno, "endif without if");
		return;
	}
	(void)add_rule(t, p, lineno);
	t->rules[t->open_ifs[--t->depth]].skip_to = (uint32_t)t->count;
}

/* false: the result cannot be. *skip: and the rule has no effect, as in Postfix. */
static bool
read_result(struct pattern_table *t, const struct pattern_rule *p, unsigned groups, struct subst *out, bool *skip, struct err *e)
{
	if (p->kind != PATTERN_MATCH)
		return true;
	if (subst_parse(p->result, &t->arena, out, e) != RC_OK)
		return false;
	if (out->most > 0 && t->refuses_groups) {
		err_set(e, RC_PERM, "what a group matched is not put into results here: the rule is skipped");
		*skip = true;
		return false;
	}
	if (out->most > 0 && p->negated) {
		err_set(e, RC_PERM, "$%u in the result of a negated pattern: nothing was matched", out->most);
		return false;
	}
	if (out->most > groups) {
		err_set(e, RC_PERM, "$%u in the result: the pattern has %u group%s", out->most, groups, groups == 1 ? "" : "s");
		return false;
	}
	return true;
}

static void
read_rule(struct pattern_table *t, struct span line, const struct map_ctx *ctx, int lineno)
{
	struct pattern_rule p;
	struct regex *regex = NULL;
	struct subst result = { 0 };
	struct err why = { .why = "" };
	bool skip = false;
	if (pattern_parse(line, t->flavour, &p, &why) != RC_OK) {
		complain(ctx, t, CONF_ERROR, lineno, why.why);
		return;
	}
	if (p.doubt != NULL)
		complain(ctx, t, CONF_WARNING, lineno, p.doubt);
	if (p.kind == PATTERN_ENDIF) {
		read_endif(t, &p, ctx, lineno);
		return;
	}
	bool ok = regex_compile(t->flavour, p.regex, p.flags, t->is_utf8, &regex, &why) == RC_OK
	    && read_result(t, &p, regex_groups(regex), &result, &skip, &why);
	if (!ok)
		complain(ctx, t, skip ? CONF_WARNING : CONF_ERROR, lineno, why.why);
	if (p.kind == PATTERN_IF && t->depth == DEPTH_MAX) {
		complain(ctx, t, CONF_ERROR, lineno, "if is nested too deep");
		ok = false;
	} else if (p.kind == PATTERN_IF) {
		t->open_ifs[t->depth++] = t->count; /* a broken one is still closed by its endif */
		ok = true;
	}
	if (!ok) {
		regex_free(&regex);
		return;
	}
	struct rule *r = add_rule(t, &p, lineno);
	r->regex = regex;
	r->result = result;
	r->is_missing = regex == NULL;
}

static enum rc
read_lines(struct pattern_table *t, struct span text, const struct map_ctx *ctx)
{
	struct conf_lines lines = { .rest = text };
	struct buf line;
	int lineno = 0, stray = 0, nul = 0;
	buf_init(&line, 1 << 20);
	line.is_secret = ctx->audience != CONF_FOR_ALL;
	while (conf_lines_next(&lines, &line, &lineno) == RC_OK) {
		if (lines.stray_line != stray)
			complain(ctx, t, CONF_WARNING, stray = lines.stray_line, "continuation of nothing: ignored");
		if (lines.nul_line != nul)
			complain(ctx, t, CONF_ERROR, nul = lines.nul_line, "line contains a NUL byte");
		if (line.over)
			complain(ctx, t, CONF_ERROR, lineno, "line too long");
		else
			read_rule(t, buf_span(&line), ctx, lineno);
	}
	buf_fini(&line);
	if (t->depth > 0)
		complain(ctx, t, CONF_ERROR, t->rules[t->open_ifs[t->depth - 1]].lineno, "if without endif");
	return RC_OK;
}

static enum rc
read_inline(struct map *m, struct pattern_table *t, struct span rules, const struct map_ctx *ctx, struct err *e)
{
	struct span rule;
	bool group;
	enum rc rc;
	int n = 0;
	t->where = "inline rule";
	while ((rc = conf_item(&rules, &rule, &group)) == RC_OK) {
		if (group)
			read_rule(t, rule, ctx, ++n);
		else
			complain(ctx, t, CONF_ERROR, ++n, "expecting {rule}");
	}
	if (rc != RC_NONE)
		return err_set(e, RC_PERM, "%s: unbalanced braces", m->name);
	if (t->depth > 0)
		complain(ctx, t, CONF_ERROR, t->rules[t->open_ifs[t->depth - 1]].lineno, "if without endif");
	return RC_OK;
}

static enum rc
table_open(struct map *m, const struct map_ctx *ctx, struct span arg, enum pattern_flavour flavour, struct err *e)
{
	struct pattern_table *t = m->state = mem_zalloc(sizeof *t);
	struct span rules, text;
	arena_init(&t->arena, SIZE_MAX / 2);
	t->filter = prefilter_new();
	t->flavour = flavour;
	t->refuses_groups = m->refuses_groups;
	t->is_utf8 = conf_params(ctx->conf)->p_smtputf8_enable && !m->takes_octets;
	enum rc rc = RC_OK;
	if (map_unbrace(arg, &rules)) {
		rc = read_inline(m, t, rules, ctx, e);
	} else {
		t->where = arena_cstr(&t->arena, span_trim(arg));
		if (t->where == NULL || *t->where == '\0')
			return err_set(e, RC_PERM, "%s: no file name", m->name);
		if (map_file(ctx, t->where, &text, e) != RC_OK) {
			err_prefix(e, "%s", m->name);
			return RC_PERM;
		}
		rc = read_lines(t, text, ctx);
	}
	while (t->depth > 0)
		t->rules[t->open_ifs[--t->depth]].skip_to = (uint32_t)t->count;
	prefilter_seal(t->filter);
	if (rc != RC_OK)
		return rc;
	return t->bad ? err_set(e, RC_PERM, "%s: bad rules", m->name) : RC_OK;
}

enum rc
pcre_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	return table_open(m, ctx, arg, PATTERN_PCRE, e);
}

enum rc
regexp_open(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e)
{
	return table_open(m, ctx, arg, PATTERN_REGEXP, e);
}

/* ---- asking ---- */

static enum rc
found(const struct map *m, const struct rule *r, const struct span *groups, struct buf *scratch, struct span *value_out, struct err *e)
{
	if (r->result.most == 0) {
		*value_out = r->result.count > 0 ? r->result.parts[0].text : SPAN_EMPTY;
		return RC_OK;
	}
	struct buf text; /* the key may be the result of before, in scratch */
	buf_init(&text, scratch->max);
	subst_put(&r->result, groups, r->result.most + 1, &text);
	buf_reset(scratch);
	buf_put(scratch, buf_span(&text));
	bool is_too_long = text.over || scratch->over;
	buf_fini(&text);
	if (is_too_long)
		return err_set(e, RC_TEMP, "%s: result too long", m->name);
	*value_out = buf_span(scratch);
	return RC_OK;
}

enum rc
pattern_find(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e)
{
	const struct pattern_table *t = m->state;
	struct span groups[SUBST_GROUPS];
	prefilter_look(t->filter, key);
	for (size_t i = 0; i < t->count;) {
		const struct rule *r = &t->rules[i];
		bool may = prefilter_may(t->filter, i++);
		enum rc rc = RC_NONE;
		if (r->kind == PATTERN_ENDIF)
			continue;
		if (may)
			rc = r->is_missing ? RC_TEMP : regex_match(r->regex, key, groups, r->result.most > 0 ? r->result.most + 1 : 0, e);
		if (rc != RC_OK && rc != RC_NONE) {
			err_prefix(e, "%s:%d", t->where, r->lineno);
			return RC_TEMP;
		}
		bool hit = (rc == RC_OK) != r->negated;
		if (r->kind == PATTERN_IF && !hit)
			i = r->skip_to;
		else if (r->kind == PATTERN_MATCH && hit)
			return found(m, r, groups, scratch, value_out, e);
	}
	return RC_NONE;
}

enum rc
pattern_each(const struct map *m, map_entry_fn *fn, void *arg, struct err *e)
{
	(void)e;
	const struct pattern_table *t = m->state;
	struct buf key;
	buf_init(&key, 1 << 20);
	bool go_on = true;
	for (size_t i = 0; i < t->count && go_on; i++) {
		const struct rule *r = &t->rules[i];
		if (r->kind != PATTERN_MATCH)
			continue;
		buf_reset(&key);
		buf_puts(&key, r->negated ? "!" : "");
		buf_put(&key, r->text);
		go_on = fn(arg, buf_span(&key), r->raw, r->lineno);
	}
	buf_fini(&key);
	return RC_OK;
}

void
pattern_close(struct map *m)
{
	struct pattern_table *t = m->state;
	if (t == NULL)
		return;
	for (size_t i = 0; i < t->count; i++)
		regex_free(&t->rules[i].regex);
	prefilter_free(&t->filter);
	mem_free(&t->rules);
	arena_fini(&t->arena);
	mem_free(&t);
	m->state = NULL;
}
