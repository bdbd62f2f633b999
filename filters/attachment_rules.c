/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachment_rules.h"

#include "base/mem.h"
#include "filters/attachment_kinds.h"
#include "filters/attachment_rules_private.h"

enum { RULES_MAX = 4096, CONDS_MAX = 32, WORDS_MAX = 4096, ARENA_MAX = 64 << 20, LINE_MAX_OCTETS = 1 << 20 };

static const char *const action_names[] = {
	[ATTACHMENT_ALLOW] = "allow", [ATTACHMENT_TAG] = "tag", [ATTACHMENT_STRIP] = "strip", [ATTACHMENT_QUARANTINE] = "quarantine",
	[ATTACHMENT_REJECT] = "reject",
};

/* What may stand behind a condition's name. */
enum { TAKES_NONE = 1, TAKES_LIST = 2, TAKES_SIZE = 4 };

static const struct cond_row {
	const char *name;
	enum attachment_cond_kind kind;
	unsigned takes;
} cond_rows[] = {
	{ "name", COND_NAME, TAKES_LIST }, { "extension", COND_EXTENSION, TAKES_LIST }, { "type", COND_TYPE, TAKES_LIST },
	{ "real", COND_REAL, TAKES_LIST }, { "where", COND_WHERE, TAKES_LIST }, { "size", COND_LARGER, TAKES_SIZE },
	{ "encrypted", COND_ENCRYPTED, TAKES_NONE }, { "deceptive", COND_DECEPTIVE, TAKES_NONE }, { "direction", COND_DIRECTION, TAKES_LIST },
	{ "sender", COND_SENDER, TAKES_LIST }, { "recipient", COND_RECIPIENT, TAKES_LIST },
};

struct parse {
	struct attachment_rules *r;
	struct conf *c;
	struct span rest;            /* of the line */
};

const char *
attachment_action_name(enum attachment_action a)
{
	return action_names[a];
}

bool
attachment_action_of(struct span word, enum attachment_action *out)
{
	for (size_t i = 0; i < NELEMS(action_names); i++)
		if (span_caseeq_str(word, action_names[i])) {
			*out = (enum attachment_action)i;
			return true;
		}
	return false;
}

struct attachment_rules *
attachment_rules_new(void)
{
	struct attachment_rules *r = mem_zalloc(sizeof *r);
	arena_init(&r->arena, ARENA_MAX);
	return r;
}

size_t
attachment_rules_count(const struct attachment_rules *r)
{
	return r->n;
}

static void
conds_free(struct attachment_cond *conds, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t w = 0; w < conds[i].nwords; w++)
			regex_free(&conds[i].words[w].regex);
		mem_free(&conds[i].words);
		map_list_free(&conds[i].table);
		matchlist_free(&conds[i].domains);
	}
}

void
attachment_rules_free(struct attachment_rules **rp)
{
	struct attachment_rules *r = *rp;
	if (r == NULL)
		return;
	for (size_t i = 0; i < r->n; i++) {
		conds_free(r->rules[i].conds, r->rules[i].nconds);
		mem_free(&r->rules[i].conds);
	}
	mem_free(&r->rules);
	arena_fini(&r->arena);
	mem_free(rp);
}

/* ---- values ---- */

static bool
is_white(unsigned char c)
{
	return c == ' ' || c == '\t';
}

/* The next value of a list: up to a comma or white space; in double quotes anything (\" and \\ for themselves); /.../flags as it is.
 * RC_NONE: the list is over. */
static enum rc
take_value(struct parse *p, bool patterns, struct span *out, bool *regex_out, struct err *e)
{
	struct span s = p->rest;
	*regex_out = false;
	if (s.n > 0 && s.p[0] == '"') {
		unsigned char *text = arena_alloc(&p->r->arena, s.n);
		size_t n = 0, i = 1;
		if (text == NULL)
			return err_set(e, RC_PERM, "rules are too large");
		for (; i < s.n && s.p[i] != '"'; i++) {
			if (s.p[i] == '\\' && i + 1 < s.n && (s.p[i + 1] == '"' || s.p[i + 1] == '\\'))
				i++;
			text[n++] = s.p[i];
		}
		if (i >= s.n)
			return err_set(e, RC_PERM, "a quoted value does not end");
		*out = span_of(text, n);
		p->rest = span_from(s, i + 1);
	} else {
		size_t i = 0;
		if (patterns && s.n > 0 && s.p[0] == '/') {
			*regex_out = true;
			for (i = 1; i < s.n && s.p[i] != '/'; i++)
				if (s.p[i] == '\\')
					i++;
			if (i >= s.n)
				return err_set(e, RC_PERM, "an expression does not end: a / is missing");
		}
		while (i < s.n && s.p[i] != ',' && !is_white(s.p[i]))
			i++;
		*out = arena_span(&p->r->arena, span_head(s, i));
		p->rest = span_from(s, i);
	}
	if (out->n == 0)
		return err_set(e, RC_PERM, "an empty value");
	return RC_OK;
}

static bool
take_comma(struct parse *p)
{
	if (p->rest.n == 0 || p->rest.p[0] != ',')
		return false;
	p->rest = span_from(p->rest, 1);
	return true;
}

static struct span
lower(struct arena *a, struct span s)
{
	unsigned char *p = arena_alloc(a, s.n + 1);
	if (p == NULL)
		return SPAN_EMPTY;
	for (size_t i = 0; i < s.n; i++)
		p[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (unsigned char)(s.p[i] | 0x20) : s.p[i];
	return span_of(p, s.n);
}

/* "$name" as a whole value: that parameter's. */
static enum rc
expand(struct parse *p, struct span *value, struct err *e)
{
	if (value->n < 2 || value->p[0] != '$')
		return RC_OK;
	const char *name = arena_cstr(&p->r->arena, span_from(*value, 1));
	const char *text = p->c != NULL && name != NULL ? conf_value(p->c, NULL, name) : NULL;
	if (text == NULL)
		return err_set(e, RC_PERM, "there is no parameter %.*s", (int)value->n, (const char *)value->p);
	*value = arena_span(&p->r->arena, span_str(text));
	return RC_OK;
}

static struct attachment_word *
add_word(struct attachment_cond *k)
{
	if ((k->nwords & (k->nwords - 1)) == 0)
		k->words = mem_reallocarray(k->words, k->nwords > 0 ? k->nwords * 2 : 1, sizeof *k->words);
	k->words[k->nwords] = (struct attachment_word){ .regex = NULL };
	return &k->words[k->nwords++];
}

static enum rc
add_regex(struct attachment_cond *k, struct span value, struct err *e)
{
	struct pattern_rule pattern;
	struct buf line; /* the parser of pattern tables wants a result, too */
	buf_init(&line, LINE_MAX_OCTETS + 16);
	buf_put(&line, value);
	buf_puts(&line, " x");
	enum rc rc = pattern_parse(buf_span(&line), PATTERN_PCRE, &pattern, e);
	if (rc == RC_OK && (pattern.kind != PATTERN_MATCH || pattern.negated))
		rc = err_set(e, RC_PERM, "not an expression");
	if (rc == RC_OK) {
		struct regex *regex;
		rc = regex_compile(PATTERN_PCRE, pattern.regex, pattern.flags, true, &regex, e);
		if (rc == RC_OK)
			add_word(k)->regex = regex;
	}
	buf_fini(&line);
	return rc;
}

static enum rc
add_place(struct attachment_cond *k, struct span value, struct err *e)
{
	if (span_caseeq_str(value, "part"))
		k->bits |= ATTACHMENT_PART;
	else if (span_caseeq_str(value, "archive"))
		k->bits |= ATTACHMENT_MEMBER;
	else if (span_caseeq_str(value, "text"))
		k->bits |= ATTACHMENT_TEXT;
	else
		return err_set(e, RC_PERM, "where=%.*s: part, archive or text", (int)value.n, (const char *)value.p);
	return RC_OK;
}

static enum rc
add_direction(struct attachment_cond *k, struct span value, struct err *e)
{
	if (span_caseeq_str(value, "inbound"))
		k->bits |= 1;
	else if (span_caseeq_str(value, "outbound"))
		k->bits |= 2;
	else if (span_caseeq_str(value, "any"))
		k->bits |= 3;
	else
		return err_set(e, RC_PERM, "direction=%.*s: inbound, outbound or any", (int)value.n, (const char *)value.p);
	return RC_OK;
}

static enum rc
add_value(struct parse *p, struct attachment_cond *k, struct span value, bool is_regex, struct err *e)
{
	if (is_regex)
		return add_regex(k, value, e);
	switch (k->kind) {
	case COND_NAME:
	case COND_TYPE:
		add_word(k)->text = lower(&p->r->arena, value);
		return RC_OK;
	case COND_EXTENSION:
		while (value.n > 1 && value.p[0] == '.')
			value = span_from(value, 1);
		add_word(k)->text = lower(&p->r->arena, value);
		return RC_OK;
	case COND_REAL: {
		uint64_t kinds = kinds_named(value);
		if (kinds == 0)
			return err_set(e, RC_PERM, "real=%.*s: there is no such kind of file", (int)value.n, (const char *)value.p);
		k->bits |= kinds;
		return RC_OK;
	}
	case COND_WHERE:
		return add_place(k, value, e);
	case COND_DIRECTION:
		return add_direction(k, value, e);
	case COND_LARGER:
	case COND_SMALLER:
	case COND_ENCRYPTED:
	case COND_DECEPTIVE:
	case COND_SENDER:
	case COND_RECIPIENT:
		break;
	}
	return err_set(e, RC_PERM, "takes no list");
}

/* Domains and tables of extensions: the readers of main.cf's lists know their syntax. */
static enum rc
open_list(struct parse *p, struct attachment_cond *k, struct span value, struct err *e)
{
	if (p->c == NULL)
		return err_set(e, RC_PERM, "no configuration to look lists up in");
	const char *text = arena_cstr(&p->r->arena, value);
	if (text == NULL)
		return err_set(e, RC_PERM, "a NUL in a value");
	if (k->kind == COND_EXTENSION)
		return maps_open(p->c, NULL, "attachment_rules", text, &k->table, e);
	return matchlist_open(p->c, NULL, "attachment_rules", text, MATCH_DOMAIN, &k->domains, e);
}

static enum rc
take_list(struct parse *p, struct attachment_cond *k, struct err *e)
{
	bool is_domains = k->kind == COND_SENDER || k->kind == COND_RECIPIENT;
	bool is_regex;
	struct buf domains;
	enum rc rc;
	buf_init(&domains, LINE_MAX_OCTETS);
	do {
		struct span value;
		rc = take_value(p, k->kind == COND_NAME || k->kind == COND_TYPE, &value, &is_regex, e);
		if (rc == RC_OK && !is_regex)
			rc = expand(p, &value, e);
		if (rc != RC_OK)
			break;
		if (is_domains && span_eq_str(value, "<>")) {
			k->has_null = true;
		} else if (is_domains) {
			buf_put(&domains, value);
			buf_putc(&domains, ' ');
		} else if (k->kind == COND_EXTENSION && span_chr(value, ':') != SIZE_MAX) {
			if (k->table != NULL)
				rc = err_set(e, RC_PERM, "one value with tables is enough: quote a list of them");
			else
				rc = open_list(p, k, value, e);
		} else if (k->nwords >= WORDS_MAX) {
			rc = err_set(e, RC_PERM, "more than %d values", WORDS_MAX);
		} else {
			rc = add_value(p, k, value, is_regex, e);
		}
	} while (rc == RC_OK && take_comma(p));
	if (rc == RC_OK && buf_len(&domains) > 0)
		rc = open_list(p, k, buf_span(&domains), e);
	buf_fini(&domains);
	return rc;
}

static enum rc
take_size(struct parse *p, uint64_t *out, struct err *e)
{
	size_t i = 0;
	while (i < p->rest.n && !is_white(p->rest.p[i]))
		i++;
	struct span value = span_head(p->rest, i), digits = value;
	unsigned shift = 0;
	p->rest = span_from(p->rest, i);
	if (value.n > 0) {
		unsigned char unit = value.p[value.n - 1] | 0x20;
		shift = unit == 'k' ? 10 : unit == 'm' ? 20 : unit == 'g' ? 30 : 0;
		digits = span_head(value, value.n - (shift > 0));
	}
	if (!span_u64(digits, UINT64_MAX >> 31, out))
		return err_set(e, RC_PERM, "\"%.*s\" is no size: digits, then nothing, k, M or G", (int)value.n, (const char *)value.p);
	*out <<= shift;
	return RC_OK;
}

/* ---- a rule ---- */

static struct span
take_key(struct parse *p)
{
	size_t i = 0;
	while (i < p->rest.n && ((p->rest.p[i] >= 'a' && p->rest.p[i] <= 'z') || (p->rest.p[i] >= 'A' && p->rest.p[i] <= 'Z')))
		i++;
	struct span key = span_head(p->rest, i);
	p->rest = span_from(p->rest, i);
	return key;
}

static void
skip_white(struct parse *p)
{
	while (p->rest.n > 0 && is_white(p->rest.p[0]))
		p->rest = span_from(p->rest, 1);
}

/* text= and id=: about the rule itself. */
static enum rc
take_own(struct parse *p, const char **out, struct err *e)
{
	struct span value;
	bool is_regex;
	if (p->rest.n == 0 || p->rest.p[0] != '=')
		return err_set(e, RC_PERM, "a \"=\" is missing");
	p->rest = span_from(p->rest, 1);
	enum rc rc = take_value(p, false, &value, &is_regex, e);
	if (rc != RC_OK)
		return rc;
	if (!span_is_printable(value) || !span_is_utf8(value))
		return err_set(e, RC_PERM, "text must be printable UTF-8");
	*out = arena_cstr(&p->r->arena, value);
	return RC_OK;
}

static enum rc
take_cond(struct parse *p, const struct cond_row *row, struct attachment_cond *k, struct err *e)
{
	struct span rest = p->rest;
	k->kind = row->kind;
	if (rest.n >= 2 && rest.p[0] == '!' && rest.p[1] == '=') {
		k->negated = !k->negated;
		rest = span_from(rest, 1);
	}
	unsigned char op = rest.n > 0 && !is_white(rest.p[0]) ? rest.p[0] : 0;
	p->rest = span_from(rest, op != 0);
	if ((row->takes & TAKES_NONE) != 0)
		return op == 0 ? RC_OK : err_set(e, RC_PERM, "\"%s\" stands alone, without a value", row->name);
	if ((row->takes & TAKES_SIZE) != 0) {
		if (op != '>' && op != '<')
			return err_set(e, RC_PERM, "size needs \">\" or \"<\" and a number");
		k->kind = op == '>' ? COND_LARGER : COND_SMALLER;
		return take_size(p, &k->bits, e);
	}
	if (op != '=')
		return err_set(e, RC_PERM, "\"%s\" needs \"=\" and a value", row->name);
	return take_list(p, k, e);
}

static enum rc
take_word(struct parse *p, struct attachment_rule *rule, struct attachment_cond *conds, size_t *n, struct err *e)
{
	bool negated = p->rest.p[0] == '!';
	if (negated)
		p->rest = span_from(p->rest, 1);
	struct span whole = p->rest, key = take_key(p);
	if (span_caseeq_str(key, "text") && !negated)
		return take_own(p, &rule->text, e);
	if (span_caseeq_str(key, "id") && !negated)
		return take_own(p, &rule->id, e);
	for (size_t i = 0; i < NELEMS(cond_rows); i++)
		if (span_caseeq_str(key, cond_rows[i].name)) {
			if (*n >= CONDS_MAX)
				return err_set(e, RC_PERM, "more than %d conditions", CONDS_MAX);
			conds[*n].negated = negated;
			(*n)++; /* before it is read: what it opened must be freed */
			return take_cond(p, &cond_rows[i], &conds[*n - 1], e);
		}
	size_t end = 0;
	while (end < whole.n && !is_white(whole.p[end]))
		end++;
	return err_set(e, RC_PERM, "\"%.*s\" is no condition", (int)(end < 60 ? end : 60), (const char *)whole.p);
}

enum rc
attachment_rule_parse(struct attachment_rules *r, struct conf *c, struct span line, const char *id, struct err *e)
{
	struct parse p = { .r = r, .c = c, .rest = span_trim(line) };
	struct attachment_cond conds[CONDS_MAX] = { { .kind = 0 } };
	struct attachment_rule rule = { .id = NULL };
	struct span word;
	size_t n = 0;
	enum rc rc = RC_OK;

	if (!span_word(&p.rest, " \t", &word) || !attachment_action_of(word, &rule.action))
		return err_set(e, RC_PERM, "\"%.*s\" is no action: allow, tag, strip, quarantine, reject", (int)(word.n < 60 ? word.n : 60), (const char *)word.p);
	for (skip_white(&p); p.rest.n > 0 && rc == RC_OK; skip_white(&p)) {
		rc = take_word(&p, &rule, conds, &n, e);
		if (rc == RC_OK && p.rest.n > 0 && !is_white(p.rest.p[0]))
			rc = err_set(e, RC_PERM, "unexpected text: \"%.*s\"", (int)(p.rest.n < 60 ? p.rest.n : 60), (const char *)p.rest.p);
	}
	if (rc == RC_OK && r->n >= RULES_MAX)
		rc = err_set(e, RC_PERM, "more than %d rules", RULES_MAX);
	if (rc == RC_OK && rule.id == NULL)
		rule.id = arena_cstr(&r->arena, span_str(id));
	if (rc == RC_OK && (r->arena.over || rule.id == NULL))
		rc = err_set(e, RC_PERM, "rules are too large");
	if (rc != RC_OK) {
		conds_free(conds, n);
		return rc;
	}
	rule.nconds = n;
	rule.conds = mem_dup(conds, (n > 0 ? n : 1) * sizeof *conds);
	if ((r->n & (r->n - 1)) == 0)
		r->rules = mem_reallocarray(r->rules, r->n > 0 ? r->n * 2 : 1, sizeof *r->rules);
	r->rules[r->n++] = rule;
	return RC_OK;
}

/* ---- files ---- */

static enum rc
read_file(struct attachment_rules *r, struct conf *c, const char *path, struct err *e)
{
	struct span text;
	struct conf_lines lines;
	struct buf line;
	int lineno;
	enum rc rc = conf_file(c, path, &text, e), worst = RC_OK;
	if (rc != RC_OK) {
		conf_problem(c, CONF_ERROR, NULL, "attachment_rules", "attachment_rules: %s", e->why);
		return err_prefix(e, "attachment_rules");
	}
	const char *full = conf_full_path(c, path), *slash = strrchr(full, '/');
	lines = (struct conf_lines){ .rest = text };
	buf_init(&line, LINE_MAX_OCTETS);
	while (conf_lines_next(&lines, &line, &lineno) == RC_OK) {
		char id[128];
		struct err why = { .why = "" };
		snprintf(id, sizeof id, "%.100s:%d", slash != NULL ? slash + 1 : full, lineno);
		if (attachment_rule_parse(r, c, buf_span(&line), id, &why) == RC_OK)
			continue;
		conf_problem(c, CONF_ERROR, NULL, "attachment_rules", "%s:%d: %s", full, lineno, why.why);
		worst = err_set(e, RC_PERM, "%s:%d: %s", full, lineno, why.why);
	}
	if (lines.nul_line > 0) {
		conf_problem(c, CONF_ERROR, NULL, "attachment_rules", "%s:%d: a NUL octet", full, lines.nul_line);
		worst = err_set(e, RC_PERM, "%s:%d: a NUL octet", full, lines.nul_line);
	}
	buf_fini(&line);
	return worst;
}

enum rc
attachment_rules_open(struct conf *c, struct attachment_rules **out, struct err *e)
{
	struct span rest = span_str(conf_params(c)->p_attachment_rules), item;
	bool is_group;
	enum rc rc, worst = RC_OK;
	struct attachment_rules *r = NULL;
	*out = NULL;
	while ((rc = conf_item(&rest, &item, &is_group)) == RC_OK) {
		char path[4096];
		if (r == NULL)
			r = attachment_rules_new();
		if (item.n >= sizeof path) {
			conf_problem(c, CONF_ERROR, NULL, "attachment_rules", "attachment_rules: a name is too long");
			worst = err_set(e, RC_PERM, "attachment_rules: a name is too long");
			continue;
		}
		snprintf(path, sizeof path, "%.*s", (int)item.n, (const char *)item.p);
		enum rc got = read_file(r, c, path, e);
		if (got != RC_OK)
			worst = got;
	}
	if (rc == RC_PERM) {
		conf_problem(c, CONF_ERROR, NULL, "attachment_rules", "attachment_rules: braces that do not close");
		worst = err_set(e, RC_PERM, "attachment_rules: braces that do not close");
	} else if (r == NULL && conf_params(c)->p_attachment_rules[0] != '\0') { /* that is what switches the filter on */
		conf_problem(c, CONF_ERROR, NULL, "attachment_rules", "attachment_rules = %s: names no file", conf_params(c)->p_attachment_rules);
		worst = err_set(e, RC_PERM, "attachment_rules = %s: names no file", conf_params(c)->p_attachment_rules);
	}
	if (worst != RC_OK)
		attachment_rules_free(&r);
	*out = r;
	return worst;
}
