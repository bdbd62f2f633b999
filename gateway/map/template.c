/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/template.h"

/* user@domain at the last '@'; without one all is the user. */
struct halves {
	struct span user, domain;
	bool has_at;
};

static struct halves
split(struct span s)
{
	size_t at = span_rchr(s, '@');
	if (at == SIZE_MAX)
		return (struct halves){ s, SPAN_EMPTY, false };
	return (struct halves){ span_head(s, at), span_from(s, at + 1), true };
}

static bool
is_label_letter(unsigned char c)
{
	return c >= '1' && c <= '9';
}

/* ---- compiling ---- */

/* What one letter needs; false: there is no such thing. Small letters are about the key in a query, about the
 * result in a result format; capitals are always about the key. */
static bool
note_letter(struct template_needs *n, unsigned char c, bool is_result)
{
	if (is_label_letter(c)) {
		unsigned label = c - (unsigned)'0';
		n->labels = label > n->labels ? label : n->labels;
		n->key_domain = true;
		return true;
	}
	switch (c) {
	case '%':
	case 's':
	case 'S':
		return true;
	case 'u':
		*(is_result ? &n->value_user : &n->key_user) = true;
		return true;
	case 'd':
		*(is_result ? &n->value_domain : &n->key_domain) = true;
		return true;
	case 'U':
		n->key_user = true;
		return true;
	case 'D':
		n->key_domain = true;
		return true;
	default:
		return false;
	}
}

static enum rc
note_all(struct template_needs *n, struct span text, bool is_result, bool *has_key_out, struct err *e)
{
	*has_key_out = false;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] != '%')
			continue;
		if (++i == text.n)
			return err_set(e, RC_PERM, "a single %% at the end");
		if (!note_letter(n, text.p[i], is_result))
			return err_set(e, RC_PERM, "there is no %%%c", text.p[i] > ' ' && text.p[i] < 0x7f ? text.p[i] : '?');
		*has_key_out |= text.p[i] != '%';
	}
	return RC_OK;
}

struct compiler {
	struct query *q;
	struct arena *arena;
	struct buf sql;
	struct buf word;             /* a quoted string without its quotes */
	struct err *e;
};

static enum rc
add_bind(struct compiler *k, struct span text)
{
	struct query *q = k->q;
	if (q->nbinds == NELEMS(q->binds))
		return err_set(k->e, RC_PERM, "more than %d values", (int)NELEMS(q->binds));
	q->binds[q->nbinds++] = arena_span(k->arena, text);
	buf_printf(&k->sql, "?%zu", q->nbinds);
	return RC_OK;
}

/* A string without a key in it stays, but for %%. */
static void
keep_string(struct compiler *k, unsigned char quote, struct span raw)
{
	buf_putc(&k->sql, quote);
	for (size_t i = 0; i < raw.n; i++) {
		buf_putc(&k->sql, raw.p[i]);
		if (raw.p[i] == '%')
			i++;
	}
	buf_putc(&k->sql, quote);
}

/* At an opening quote; *at is moved behind the closing one. */
static enum rc
quoted(struct compiler *k, struct span text, size_t *at)
{
	unsigned char quote = text.p[*at];
	size_t from = *at + 1, i = from;
	bool has_key;
	buf_reset(&k->word);
	for (;; i++) {
		if (i >= text.n)
			return err_set(k->e, RC_PERM, "a %c is not closed", quote);
		if (text.p[i] == quote) {
			if (i + 1 >= text.n || text.p[i + 1] != quote)
				break;
			i++;
		}
		buf_putc(&k->word, text.p[i]);
	}
	*at = i + 1;
	enum rc rc = note_all(&k->q->needs, buf_span(&k->word), false, &has_key, k->e);
	if (rc != RC_OK)
		return rc;
	if (has_key)
		return add_bind(k, buf_span(&k->word));
	keep_string(k, quote, span_of(text.p + from, i - from));
	return RC_OK;
}

/* At "--" or the beginning of a comment; it becomes a blank. */
static void
comment(struct compiler *k, struct span text, size_t *at)
{
	bool is_line = text.p[*at] == '-';
	struct span rest = span_from(text, *at + 2);
	size_t end = is_line ? span_chr(rest, '\n') : span_find(rest, SPAN("*/"));
	*at = end == SIZE_MAX ? text.n : *at + 2 + end + (is_line ? 1 : 2);
	buf_putc(&k->sql, ' ');
}

static enum rc
compile_sql(struct compiler *k, struct span text)
{
	enum rc rc = RC_OK;
	for (size_t i = 0; i < text.n && rc == RC_OK;) {
		unsigned char c = text.p[i], next = i + 1 < text.n ? text.p[i + 1] : '\0';
		bool has_key;
		if (c == '\'' || c == '"') {
			rc = quoted(k, text, &i);
		} else if ((c == '-' && next == '-') || (c == '/' && next == '*')) {
			comment(k, text, &i);
		} else if (c == '%') {
			rc = note_all(&k->q->needs, span_head(span_from(text, i), 2), false, &has_key, k->e);
			if (rc == RC_OK && has_key)
				rc = add_bind(k, span_of(text.p + i, 2));
			else
				buf_putc(&k->sql, '%');
			i += 2;
		} else if (c == '?' || c == '\0') {
			rc = err_set(k->e, RC_PERM, "a parameter mark or NUL byte");
		} else {
			buf_putc(&k->sql, c);
			i++;
		}
	}
	return rc;
}

enum rc
query_compile(struct span sql, struct span result_format, struct arena *a, struct query *out, struct err *e)
{
	bool has_key;
	*out = (struct query){ 0 };
	struct compiler k = { .q = out, .arena = a, .e = e };
	buf_init(&k.sql, TEMPLATE_QUERY_MAX);
	buf_init(&k.word, TEMPLATE_QUERY_MAX);
	enum rc rc = compile_sql(&k, sql);
	if (rc != RC_OK)
		err_prefix(e, "query");
	if (rc == RC_OK && (k.sql.over || k.word.over))
		rc = err_set(e, RC_PERM, "query: too long");
	if (rc == RC_OK && (rc = note_all(&out->needs, result_format, true, &has_key, e)) != RC_OK)
		err_prefix(e, "result_format");
	out->sql = arena_span(a, buf_span(&k.sql));
	out->result = arena_span(a, result_format);
	buf_fini(&k.sql);
	buf_fini(&k.word);
	if (rc == RC_OK && a->over)
		rc = err_set(e, RC_PERM, "too much text");
	return rc;
}

/* ---- expanding ---- */

/* Label n from the right, 1 is the last. */
static struct span
label(struct span domain, unsigned n)
{
	for (;; n--) {
		size_t dot = span_rchr(domain, '.');
		if (n == 1)
			return dot == SIZE_MAX ? domain : span_from(domain, dot + 1);
		if (dot == SIZE_MAX)
			return SPAN_EMPTY;
		domain = span_head(domain, dot);
	}
}

bool
query_takes(const struct query *q, struct span key)
{
	struct halves h = split(key);
	if (key.n == 0)
		return false;
	if (q->needs.key_domain && h.domain.n == 0)
		return false;
	if (q->needs.key_user && h.has_at && h.user.n == 0)
		return false;
	for (unsigned i = 1; i <= q->needs.labels; i++)
		if (label(h.domain, i).n == 0)
			return false;
	return true;
}

/* value: what small letters are about. */
static void
expand(struct span text, struct span key, struct span value, struct buf *out)
{
	struct halves k = split(key), v = split(value);
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] != '%' || i + 1 == text.n) {
			buf_putc(out, text.p[i]);
			continue;
		}
		unsigned char c = text.p[++i];
		if (is_label_letter(c)) {
			buf_put(out, label(k.domain, c - (unsigned)'0'));
			continue;
		}
		switch (c) {
		case 's':
			buf_put(out, value);
			break;
		case 'u':
			buf_put(out, v.user);
			break;
		case 'd':
			buf_put(out, v.domain);
			break;
		case 'S':
			buf_put(out, key);
			break;
		case 'U':
			buf_put(out, k.user);
			break;
		case 'D':
			buf_put(out, k.domain);
			break;
		default:
			buf_putc(out, c); /* %% */
		}
	}
}

void
query_bind(const struct query *q, size_t bind, struct span key, struct buf *out)
{
	BUG_ON(bind >= q->nbinds);
	expand(q->binds[bind], key, key, out);
}

enum rc
query_result(const struct query *q, struct span key, struct span value, struct buf *out)
{
	struct halves v = split(value);
	if (value.n == 0 || (q->needs.value_domain && v.domain.n == 0) || (q->needs.value_user && v.has_at && v.user.n == 0))
		return RC_NONE;
	if (buf_len(out) > 0)
		buf_putc(out, ',');
	expand(q->result, key, value, out);
	return RC_OK;
}
