/* SPDX-License-Identifier: BSD-2-Clause */
/* Fields of MIME: their names, and the tokens in them (RFC 2045 5.1, RFC 822 3.3). */
#include "msg/mime.h"

static const struct {
	struct span name;
	enum mime_field id;
} fields[] = {
	{ SPAN("Content-Type"), MIME_FIELD_TYPE }, { SPAN("Content-Transfer-Encoding"), MIME_FIELD_ENCODING },
	{ SPAN("Content-Description"), MIME_FIELD_DESCRIPTION }, { SPAN("Content-Disposition"), MIME_FIELD_DISPOSITION },
	{ SPAN("Content-ID"), MIME_FIELD_ID }, { SPAN("MIME-Version"), MIME_FIELD_VERSION },
};

enum mime_field
mime_field_id(struct span name)
{
	if (name.n == 0 || ((name.p[0] | 0x20) != 'c' && (name.p[0] | 0x20) != 'm'))
		return MIME_FIELD_OTHER;
	for (size_t i = 0; i < NELEMS(fields); i++)
		if (span_caseeq(fields[i].name, name))
			return fields[i].id;
	return MIME_FIELD_OTHER;
}

static bool
is_white(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool
is_special(const char *specials, unsigned char c)
{
	return c < ' ' || c == 0x7f || strchr(specials, c) != NULL;
}

/* Behind its "(": to behind the ")" that belongs to it. */
static void
skip_comment(struct span *s)
{
	size_t i = 0, level = 1;
	for (; i < s->n && level > 0; i++) {
		unsigned char c = s->p[i];
		if (c == '(')
			level++;
		else if (c == ')')
			level--;
		else if (c == '\\')
			i++;
	}
	*s = span_from(*s, i);
}

/* Blanks in front of a line end inside of quotes do not count, nor does the line end. */
static void
unfold(struct buf *b, size_t from)
{
	size_t n = buf_len(b);
	while (n > from && is_white(buf_span(b).p[n - 1]))
		n--;
	buf_cut(b, n);
}

/* Behind its first quote: to behind the last; keep: its text into b. */
static void
quoted(struct span *s, struct buf *b, bool keep)
{
	size_t i = 0, from = buf_len(b);
	for (; i < s->n && s->p[i] != '"'; i++) {
		unsigned char c = s->p[i];
		if (c == '\n') {
			if (keep)
				unfold(b, from);
			continue;
		}
		if (c == '\\') {
			if (++i == s->n)
				break;
			c = s->p[i];
		}
		if (keep)
			buf_putc(b, c);
	}
	*s = span_from(*s, i + 1);
}

static void
atom(struct span *s, const char *specials, struct buf *b, bool keep)
{
	size_t i = 0;
	while (i < s->n && !is_white(s->p[i]) && !is_special(specials, s->p[i]))
		i++;
	if (keep)
		buf_put(b, span_head(*s, i));
	*s = span_from(*s, i);
}

bool
mime_tokens(struct span *rest, const char *specials, unsigned char terminator, struct buf *scratch, struct mime_tokens *out)
{
	size_t at[MIME_TOKENS + 1] = { 0 };
	bool ended = false;
	*out = (struct mime_tokens){ .n = 0 };
	buf_reset(scratch);
	while (rest->n > 0 && (terminator != 0 || out->n < MIME_TOKENS)) {
		unsigned char c = rest->p[0];
		bool keep = out->n < MIME_TOKENS;
		unsigned char kind = c;
		if (!is_white(c) && c != '"' && !is_special(specials, c)) {
			atom(rest, specials, scratch, keep);
			kind = 'a';
		} else {
			*rest = span_from(*rest, 1);
			if (terminator != 0 && c == terminator) {
				ended = true;
				break;
			}
			if (is_white(c))
				continue;
			if (c == '(') {
				skip_comment(rest);
				continue;
			}
			if (c == '"')
				quoted(rest, scratch, keep);
			else if (keep)
				buf_putc(scratch, c);
		}
		if (keep) {
			out->tok[out->n++].kind = kind;
			at[out->n] = buf_len(scratch);
		}
	}
	struct span text = buf_span(scratch);
	for (unsigned i = 0; i < out->n; i++)
		out->tok[i].text = span_head(span_from(text, at[i]), at[i + 1] - at[i]);
	return out->n > 0 || ended;
}
