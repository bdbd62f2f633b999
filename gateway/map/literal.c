/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/literal.h"

struct run {
	unsigned char text[LITERAL_MAX];
	size_t n;
};

struct reader {
	struct span s;
	size_t at;
	enum pattern_flavour flavour;
	struct run now, best;        /* of this alternative */
};

static bool
is_one_of(unsigned char c, const char *set)
{
	return c != '\0' && strchr(set, c) != NULL;
}

static bool
is_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static unsigned char
peek(const struct reader *r, size_t ahead)
{
	return r->at + ahead < r->s.n ? r->s.p[r->at + ahead] : 0;
}

static void
end_run(struct reader *r)
{
	if (r->now.n > r->best.n)
		r->best = r->now;
	r->now.n = 0;
}

static void
add(struct reader *r, unsigned char c)
{
	if (r->now.n == LITERAL_MAX)
		end_run(r);
	r->now.text[r->now.n++] = c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

/* What a quantifier that allows none follows: the last octet is not required. One that began a new run leaves none. */
static void
drop_last(struct reader *r)
{
	if (r->now.n > 0)
		r->now.n--;
	end_run(r);
}

/* Escapes of one letter that stand for themselves and take nothing of what follows. */
static bool
is_plain_escape(const struct reader *r, unsigned char c)
{
	return is_one_of(c, r->flavour == PATTERN_PCRE ? "dDwWsSbBAzZhHvVRnrtfeaG" : "wWsSbB");
}

/* at: '['. To the octet behind the class. */
static bool
skip_class(struct reader *r)
{
	r->at++;
	r->at += peek(r, 0) == '^';
	r->at += peek(r, 0) == ']';
	while (r->at < r->s.n && peek(r, 0) != ']') {
		unsigned char c = peek(r, 0), next = peek(r, 1);
		if (c == '[' && is_one_of(next, ":.=")) {
			size_t n = 2 + (peek(r, 2) == '^');
			while (peek(r, n) >= 'a' && peek(r, n) <= 'z')
				n++;
			if (next != ':' || peek(r, n) != ':' || peek(r, n + 1) != ']')
				return false;
			r->at += n + 2;
		} else if (c == '\\' && r->flavour == PATTERN_PCRE) {
			if (next == 'Q' || next == 'E' || next == 'c')
				return false;
			r->at += 2;
		} else {
			r->at++;
		}
	}
	return r->at++ < r->s.n;
}

/* at: '('. Is it a group whose inside is read like any other? Steps inside. */
static bool
enter_group(struct reader *r)
{
	unsigned char second = peek(r, 2), third = peek(r, 3);
	r->at++;
	if (peek(r, 0) == '*')
		return false;
	if (peek(r, 0) != '?')
		return true;
	if (r->flavour != PATTERN_PCRE)
		return false;
	r->at += 2;
	if (is_one_of(second, ":=!>"))
		return true;
	r->at++;
	return second == '<' && (third == '=' || third == '!');
}

/* at: '('. To the octet behind its ')'. */
static bool
skip_group(struct reader *r)
{
	unsigned depth = 0;
	do {
		unsigned char c = peek(r, 0);
		if (r->at >= r->s.n)
			return false;
		if (c == '\\') {
			if (is_one_of(peek(r, 1), "QEcKNgkopPxX") || r->at + 1 >= r->s.n)
				return false;
			r->at += 2;
		} else if (c == '[') {
			if (!skip_class(r))
				return false;
		} else if (c == '(') {
			depth++;
			if (!enter_group(r))
				return false;
		} else {
			depth -= c == ')';
			r->at++;
		}
	} while (depth > 0);
	return true;
}

/* at: '{' of a repetition. */
static bool
skip_count(struct reader *r)
{
	size_t n = 1;
	while (is_one_of(peek(r, n), "0123456789,"))
		n++;
	if (n == 1 || peek(r, n) != '}')
		return false;
	r->at += n + 1;
	return true;
}

static bool
escape(struct reader *r)
{
	unsigned char c = peek(r, 1);
	if (r->at + 1 >= r->s.n || (is_alnum(c) && !is_plain_escape(r, c)))
		return false;
	if (is_alnum(c) || c >= 0x80 || c < ' ' || is_one_of(c, "<>`'"))
		end_run(r);
	else
		add(r, c);
	r->at += 2;
	return true;
}

/* One or more: the octet is required, unless another repetition follows that allows none. */
static bool
plus(struct reader *r)
{
	r->at++;
	if (r->flavour == PATTERN_PCRE && is_one_of(peek(r, 0), "+?"))
		r->at++;
	end_run(r);
	return !is_one_of(peek(r, 0), "*+?{");
}

/* One element of the expression; false: stop trying. */
static bool
step(struct reader *r)
{
	unsigned char c = peek(r, 0);
	switch (c) {
	case '\\':
		return escape(r);
	case '[':
		end_run(r);
		return skip_class(r);
	case '(':
		end_run(r);
		return skip_group(r);
	case ')':
		return false;
	case '*':
	case '?':
		drop_last(r);
		r->at++;
		return true;
	case '{':
		drop_last(r);
		return skip_count(r);
	case '+':
		return plus(r);
	default:
		if (c < ' ' || c >= 0x7f || is_one_of(c, ".^$]}"))
			end_run(r);
		else
			add(r, c);
		r->at++;
		return true;
	}
}

size_t
literals_find(struct span regex, enum pattern_flavour flavour, unsigned flags, struct arena *a, struct span out[LITERALS_MAX])
{
	struct reader r = { .s = regex, .flavour = flavour };
	size_t count = 0;
	if (((flags & PATTERN_EXTENDED) != 0) != (flavour == PATTERN_REGEXP))
		return 0;
	for (;;) {
		bool at_end = r.at >= regex.n;
		if (at_end || peek(&r, 0) == '|') {
			end_run(&r);
			if (r.best.n < LITERAL_MIN || count == LITERALS_MAX)
				return 0;
			out[count++] = arena_span(a, span_of(r.best.text, r.best.n));
			if (at_end)
				return count;
			r.best.n = 0;
			r.at++;
		} else if (!step(&r)) {
			return 0;
		}
	}
}
