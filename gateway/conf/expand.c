/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/expand.h"

struct expansion {
	expand_lookup_fn *lookup;
	void *arg;
	struct err *e;
	unsigned steps;
};

/* What follows a name or a comparison: texts for yes and no, either may be missing. */
struct branches {
	struct span yes, no;
};

static enum rc text(struct expansion *x, struct span raw, struct buf *out, unsigned depth);

static bool
is_name(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static struct span
skip_blanks(struct span s)
{
	while (s.n > 0 && (s.p[0] == ' ' || (s.p[0] >= '\t' && s.p[0] <= '\r')))
		s = span_from(s, 1);
	return s;
}

static struct span
take_name(struct span *s)
{
	size_t n = 0;
	while (n < s->n && is_name(s->p[n]))
		n++;
	struct span name = span_head(*s, n);
	*s = span_from(*s, n);
	return name;
}

/* s begins with open: takes it and what is inside up to the matching close. */
static bool
take_group(struct span *s, unsigned char open, unsigned char close, struct span *inner_out)
{
	size_t depth = 0;
	for (size_t i = 0; i < s->n; i++) {
		if (s->p[i] == open) {
			depth++;
		} else if (s->p[i] == close && --depth == 0) {
			*inner_out = span_head(span_from(*s, 1), i - 1);
			*s = span_from(*s, i + 1);
			return true;
		}
	}
	return false;
}

static enum rc
fail(struct expansion *x, const char *what, struct span at)
{
	char excerpt[64];
	size_t n = at.n < sizeof excerpt - 1 ? at.n : sizeof excerpt - 1;
	if (n > 0)
		memcpy(excerpt, at.p, n);
	excerpt[n] = '\0';
	return err_set(x->e, RC_PERM, "%s at \"%s\"", what, excerpt);
}

enum rc
expand_level(struct span s, uint64_t out[3])
{
	out[0] = out[1] = out[2] = 0;
	for (int i = 0; i < 3; i++) {
		size_t dot = span_chr(s, '.');
		if (!span_u64(span_head(s, dot), UINT32_MAX, &out[i]))
			return RC_PERM;
		if (dot == SIZE_MAX)
			return RC_OK;
		s = span_from(s, dot + 1);
	}
	return RC_PERM;
}

static bool
is_number(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.n > 0;
}

static int
compare_values(struct span a, struct span b)
{
	if (!is_number(a) || !is_number(b))
		return span_cmp(a, b);
	while (a.n > 1 && a.p[0] == '0')
		a = span_from(a, 1);
	while (b.n > 1 && b.p[0] == '0')
		b = span_from(b, 1);
	return a.n != b.n ? (a.n < b.n ? -1 : 1) : span_cmp(a, b);
}

static enum rc
compare(struct expansion *x, struct span a, struct span b, bool is_level, int *out)
{
	if (!is_level) {
		*out = compare_values(a, b);
		return RC_OK;
	}
	uint64_t va[3], vb[3];
	if (expand_level(a, va) != RC_OK)
		return fail(x, "malformed compatibility level", a);
	if (expand_level(b, vb) != RC_OK)
		return fail(x, "malformed compatibility level", b);
	*out = 0;
	for (int i = 0; i < 3 && *out == 0; i++)
		*out = va[i] < vb[i] ? -1 : va[i] > vb[i];
	return RC_OK;
}

/* {a} op {b} at the front of *s. */
static enum rc
condition(struct expansion *x, struct span *s, bool *yes_out, unsigned depth)
{
	static const struct {
		const char *op;
		bool less, equal, greater;
	} ops[] = {
		{ "==", false, true, false }, { "!=", true, false, true }, { "<=", true, true, false },
		{ ">=", false, true, true },  { "<", true, false, false }, { ">", false, false, true },
	};
	struct span left, right;
	if (!take_group(s, '{', '}', &left))
		return fail(x, "unbalanced braces", *s);
	*s = skip_blanks(*s);
	size_t op = 0;
	while (op < NELEMS(ops) && !span_starts(*s, span_str(ops[op].op)))
		op++;
	if (op == NELEMS(ops))
		return fail(x, "\"==\", \"!=\", \"<\", \"<=\", \">=\" or \">\" expected", *s);
	*s = span_from(*s, strlen(ops[op].op));
	bool is_level = span_starts(*s, SPAN("level"));
	if (is_level)
		*s = span_from(*s, 5);
	*s = skip_blanks(*s);
	if (s->n == 0 || s->p[0] != '{' || !take_group(s, '{', '}', &right))
		return fail(x, "\"{expression}\" expected", *s);
	struct buf a, b;
	buf_init(&a, EXPAND_MAX);
	buf_init(&b, EXPAND_MAX);
	int order = 0;
	enum rc rc = text(x, left, &a, depth + 1);
	if (rc == RC_OK)
		rc = text(x, right, &b, depth + 1);
	if (rc == RC_OK)
		rc = compare(x, buf_span(&a), buf_span(&b), is_level, &order);
	buf_fini(&a);
	buf_fini(&b);
	*yes_out = order < 0 ? ops[op].less : order > 0 ? ops[op].greater : ops[op].equal;
	return rc;
}

/* "?text", "?{text}", "?{text}:{text}", "?{text}:text", ":text", ":{text}" */
static enum rc
branches(struct expansion *x, struct span s, struct branches *out)
{
	*out = (struct branches){ SPAN_EMPTY, SPAN_EMPTY };
	bool is_yes = s.p[0] == '?';
	struct span *first = is_yes ? &out->yes : &out->no;
	*first = span_from(s, 1);
	s = skip_blanks(*first);
	if (s.n == 0 || s.p[0] != '{')
		return RC_OK;
	if (!take_group(&s, '{', '}', first))
		return fail(x, "unbalanced braces", s);
	s = skip_blanks(s);
	if (s.n == 0)
		return RC_OK;
	if (!is_yes)
		return fail(x, "unexpected input", s);
	if (s.p[0] != ':')
		return fail(x, "\":\" expected", s);
	out->no = span_from(s, 1);
	s = skip_blanks(out->no);
	if (s.n == 0 || s.p[0] != '{')
		return RC_OK;
	if (!take_group(&s, '{', '}', &out->no))
		return fail(x, "unbalanced braces", s);
	s = skip_blanks(s);
	return s.n == 0 ? RC_OK : fail(x, "unexpected input", s);
}

static enum rc
value(struct expansion *x, struct span name, struct buf *out, unsigned depth)
{
	struct span raw;
	if (!x->lookup(x->arg, name, &raw))
		return RC_OK;
	if (depth >= EXPAND_DEPTH)
		return fail(x, "unreasonable macro call nesting", name);
	return text(x, raw, out, depth + 1);
}

/* The inside of ${...} or $(...). */
static enum rc
reference(struct expansion *x, struct span s, struct buf *out, unsigned depth)
{
	bool yes = false;
	struct span name = SPAN_EMPTY, raw;
	s = skip_blanks(s);
	bool is_condition = s.n > 0 && s.p[0] == '{';
	if (is_condition) {
		enum rc rc = condition(x, &s, &yes, depth);
		if (rc != RC_OK)
			return rc;
	} else {
		struct span all = s;
		name = take_name(&s);
		if (name.n == 0)
			return fail(x, all.n == 0 ? "empty macro name" : "attribute name syntax error", all);
	}
	s = skip_blanks(s);
	if (s.n == 0) {
		if (!is_condition)
			return value(x, name, out, depth);
		buf_puts(out, yes ? "true" : "");
		return RC_OK;
	}
	if (s.p[0] != '?' && s.p[0] != ':')
		return fail(x, "attribute name syntax error", s);
	struct branches b;
	enum rc rc = branches(x, s, &b);
	if (rc != RC_OK)
		return rc;
	if (!is_condition) /* as Postfix does: the text before its expansion counts */
		yes = x->lookup(x->arg, name, &raw) && raw.n > 0;
	return text(x, yes ? b.yes : b.no, out, depth + 1);
}

static enum rc
text(struct expansion *x, struct span raw, struct buf *out, unsigned depth)
{
	if (depth > EXPAND_DEPTH)
		return fail(x, "unreasonable nesting", raw);
	while (raw.n > 0) {
		size_t n = span_chr(raw, '$');
		buf_put(out, span_head(raw, n));
		if (n == SIZE_MAX)
			break;
		struct span all = span_from(raw, n);
		raw = span_from(all, 1);
		if (++x->steps > EXPAND_STEPS || out->over)
			return err_set(x->e, RC_PERM, "expansion is too large");
		unsigned char c = raw.n > 0 ? raw.p[0] : '\0';
		struct span inner;
		enum rc rc = RC_OK;
		if (c == '$') {
			buf_putc(out, '$');
			raw = span_from(raw, 1);
		} else if (c == '{' || c == '(') {
			if (!take_group(&raw, c, c == '{' ? '}' : ')', &inner))
				return fail(x, "truncated macro reference", all);
			rc = reference(x, inner, out, depth);
		} else {
			struct span name = take_name(&raw);
			rc = name.n > 0 ? value(x, name, out, depth) : fail(x, "empty macro name", all);
		}
		if (rc != RC_OK)
			return rc;
	}
	return out->over ? err_set(x->e, RC_PERM, "expansion is too large") : RC_OK;
}

enum rc
expand_text(expand_lookup_fn *lookup, void *arg, struct span raw, struct buf *out, struct err *e)
{
	struct expansion x = { .lookup = lookup, .arg = arg, .e = e };
	return text(&x, raw, out, 0);
}

void
expand_names(struct span raw, expand_name_fn *fn, void *arg)
{
	for (size_t n; (n = span_chr(raw, '$')) != SIZE_MAX;) {
		raw = span_from(raw, n + 1);
		if (raw.n > 0 && raw.p[0] == '$') {
			raw = span_from(raw, 1);
			continue;
		}
		if (raw.n > 0 && (raw.p[0] == '{' || raw.p[0] == '('))
			raw = skip_blanks(span_from(raw, 1));
		struct span name = take_name(&raw);
		if (name.n > 0)
			fn(arg, name);
	}
}
