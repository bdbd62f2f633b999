/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/addrlist.h"

static bool
is_blank(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

static bool
is_separator(unsigned char c)
{
	return c == ',' || c == ';';
}

/* Past a comment that begins at i; to the end when nothing closes it. */
static size_t
skip_comment(struct span s, size_t i)
{
	unsigned depth = 0;
	for (; i < s.n; i++) {
		if (s.p[i] == '\\')
			i++;
		else if (s.p[i] == '(')
			depth++;
		else if (s.p[i] == ')' && --depth == 0)
			return i + 1;
	}
	return s.n;
}

static size_t
skip_blanks(struct span s, size_t i)
{
	while (i < s.n && (is_blank(s.p[i]) || s.p[i] == '('))
		i = s.p[i] == '(' ? skip_comment(s, i) : i + 1;
	return i;
}

/* What stands between two quotes or brackets, from the first of them; the brackets stay. */
static size_t
put_enclosed(struct span s, size_t i, unsigned char close, struct buf *out)
{
	bool keep = close == ']';
	if (keep)
		buf_putc(out, s.p[i]);
	for (i++; i < s.n && s.p[i] != close; i++) {
		if (s.p[i] == '\\' && i + 1 < s.n)
			i++;
		buf_putc(out, s.p[i]);
	}
	if (keep)
		buf_putc(out, close);
	return i < s.n ? i + 1 : i;
}

/* One address from i on, up to what cannot belong to it. Blanks around '@' and dots do not end it. */
static size_t
put_address(struct addrlist *l, struct span s, size_t i, bool in_angles, struct buf *out)
{
	bool glue = true; /* what comes next belongs to it whatever stands between */
	l->quoted = s.p[i] == '"';
	l->no_alias = s.p[i] == '\\';
	while (i < s.n) {
		size_t next = skip_blanks(s, i);
		if (next == s.n)
			return next;
		unsigned char c = s.p[next];
		if (c == '>' || c == '<' || (!in_angles && is_separator(c)))
			return next;
		if (next > i && !glue && c != '@' && c != '.' && !in_angles)
			return next; /* two words: a comma is missing */
		i = next;
		glue = c == '@' || c == '.';
		if (c == '"') {
			i = put_enclosed(s, i, '"', out);
		} else if (c == '[') {
			i = put_enclosed(s, i, ']', out);
		} else {
			i += c == '\\' && i + 1 < s.n;
			buf_putc(out, s.p[i++]);
		}
	}
	return i;
}

/* "<@a,@b:c@d>" is c@d. */
static void
drop_route(struct buf *out)
{
	struct span s = buf_span(out);
	size_t colon = span_chr(s, ':');
	if (s.n > 0 && s.p[0] == '@' && colon != SIZE_MAX)
		buf_consume(out, colon + 1);
}

/* The '<' of this item, if what stands at i is the name in front of one. */
static size_t
find_angle(struct addrlist *l, struct span s, size_t i)
{
	if (l->plain_to != NULL && s.p + i < l->plain_to)
		return SIZE_MAX;
	while (i < s.n) {
		unsigned char c = s.p[i];
		if (c == '<')
			return i;
		if (is_separator(c) || c == '>')
			break;
		if (c == '(') {
			i = skip_comment(s, i);
		} else if (c == '"' || c == '[') {
			unsigned char close = c == '"' ? '"' : ']';
			for (i++; i < s.n && s.p[i] != close; i++)
				i += s.p[i] == '\\';
			i++;
		} else {
			i += c == '\\' ? 2 : 1;
		}
	}
	l->plain_to = s.p + (i < s.n ? i : s.n);
	return SIZE_MAX;
}

bool
addrlist_next(struct addrlist *l, struct buf *out)
{
	struct span s = l->rest;
	for (size_t i = 0;;) {
		buf_reset(out);
		i = skip_blanks(s, i);
		if (i < s.n && (is_separator(s.p[i]) || s.p[i] == '>')) {
			i++;
			continue;
		}
		if (i >= s.n) {
			l->rest = SPAN_EMPTY;
			return false;
		}
		size_t angle = find_angle(l, s, i);
		if (angle != SIZE_MAX) {
			i = skip_blanks(s, angle + 1);
			if (i < s.n && s.p[i] != '>')
				i = put_address(l, s, i, true, out);
			else
				l->quoted = l->no_alias = false;
			i += i < s.n && s.p[i] == '>';
			drop_route(out);
		} else {
			i = put_address(l, s, i, false, out);
		}
		l->too_long = out->over;
		l->rest = span_from(s, i);
		l->text = out->over ? SPAN_EMPTY : buf_span(out);
		return true;
	}
}
