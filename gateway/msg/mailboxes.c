/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/mailboxes.h"

#include "msg/addr.h"

enum {
	LINE_GOAL = 70,          /* a line of a list that is written ends before this column */
	UNFOLD_MAX = 900,        /* an element longer than that keeps its own line ends */
};

/* ---- tokens ---- */

enum tok { TOK_END = 0, TOK_ATOM = 256, TOK_QUOTED, TOK_COMMENT, TOK_LITERAL, TOK_STRAY, TOK_BAD };

struct lex {
	struct span s;
	size_t at;               /* behind the token */
	size_t start;            /* of the token */
	bool gap;                /* there was white space before it */
};

static unsigned
octet(const struct lex *x, size_t i)
{
	return i < x->s.n ? x->s.p[i] : 256;
}

/* CRLF that folds: something blank follows it, or the value ends. */
static bool
is_fold(const struct lex *x, size_t i)
{
	unsigned next = octet(x, i + 2);
	return octet(x, i) == '\r' && octet(x, i + 1) == '\n' && (next == ' ' || next == '\t' || next == 256);
}

static bool
skip_blanks(struct lex *x)
{
	size_t from = x->at;
	for (;;) {
		unsigned c = octet(x, x->at);
		if (c == ' ' || c == '\t')
			x->at++;
		else if (is_fold(x, x->at))
			x->at += 2;
		else
			break;
	}
	x->gap = x->at > from;
	return octet(x, x->at) != 256;
}

/* From behind the opening octet to behind the closing one. A comment nests. */
static enum tok
enclosed(struct lex *x, unsigned open, unsigned close, enum tok type)
{
	size_t depth = 1;
	while (depth > 0) {
		unsigned c = octet(x, x->at);
		if (c == 256)
			return TOK_BAD;
		if (c == '\r' || c == '\n') {
			if (!is_fold(x, x->at) || octet(x, x->at + 2) == 256)
				return TOK_BAD;
			x->at += 2;
			continue;
		}
		x->at++;
		if (c == '\\') {
			unsigned quoted = octet(x, x->at);
			if (quoted == 256 || quoted == '\r' || quoted == '\n')
				return TOK_BAD;
			x->at++;
		} else if (c == close) {
			depth--;
		} else if (c == open) {
			if (type != TOK_COMMENT)
				return TOK_BAD;
			depth++;
		}
	}
	return type;
}

static bool
has_blank(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ')
			return true;
	return false;
}

static bool
is_special(unsigned c)
{
	return c <= ' ' || c == 0x7f || c == 256 || memchr("()<>[]:;@\\,.\"", (int)c, 13) != NULL;
}

static enum tok
next(struct lex *x)
{
	bool more = skip_blanks(x);
	x->start = x->at;
	if (!more)
		return TOK_END;
	unsigned c = octet(x, x->at++);
	switch (c) {
	case '"':
		return enclosed(x, 256, '"', TOK_QUOTED);
	case '(':
		return enclosed(x, '(', ')', TOK_COMMENT);
	case '[':
		return enclosed(x, '[', ']', TOK_LITERAL);
	case '<':
	case '>':
	case ',':
	case ';':
	case ':':
	case '@':
	case '.':
		return (enum tok)c;
	case '\r':
	case '\n':
		return TOK_BAD;
	case '\\': /* quotes what follows, so that a comma there separates nothing */
		if (octet(x, x->at) == 256 || octet(x, x->at) == '\r' || octet(x, x->at) == '\n')
			return TOK_BAD;
		x->at++;
		return TOK_STRAY;
	default:
		if (is_special(c))
			return TOK_STRAY;
		while (!is_special(octet(x, x->at)))
			x->at++;
		return TOK_ATOM;
	}
}

static struct span
token(const struct lex *x)
{
	return span_of(x->s.p + x->start, x->at - x->start);
}

/* ---- one address ---- */

/* What is being put together. */
struct text {
	unsigned char p[MAILBOX_MAX];
	size_t n;
	bool bad;                /* too long, or cannot be written in internal form */
	bool has_route, has_dot;
};

static void
add(struct text *t, struct span s)
{
	if (s.n > sizeof t->p - t->n) {
		t->bad = true;
		return;
	}
	memcpy(t->p + t->n, s.p, s.n);
	t->n += s.n;
}

/* A quoted string without its quotes. An '@' in it would look like the one before the domain in internal form. */
static void
add_quoted(struct text *t, struct span s)
{
	for (size_t i = 1; i + 1 < s.n; i++) {
		unsigned char c = s.p[i];
		if (c == '\\')
			c = s.p[++i];
		if (c == '\r' || c == '\n')
			continue;
		if (c < ' ' || c == 0x7f || c == '@')
			t->bad = true;
		add(t, span_of(&c, 1));
	}
}

/* "@a,@b:" in front: true when it was taken, *begin_out is where it began, or when there is none. */
static bool
skip_route(struct lex *x, size_t *begin_out)
{
	struct lex ahead = *x;
	enum tok t;
	while ((t = next(&ahead)) == TOK_COMMENT)
		;
	if (t != '@')
		return true;
	*begin_out = ahead.start;
	while (t != ':') {
		if (t != '@' && t != ',' && t != '.' && t != TOK_ATOM && t != TOK_LITERAL && t != TOK_COMMENT)
			return false;
		t = next(&ahead);
	}
	*x = ahead;
	return true;
}

/* local [@ domain] in s, with comments anywhere. RC_OK: *spec_out is where it stands in s, its text is in t.
 * RC_NONE: nothing but comments. RC_PERM: something else. */
static enum rc
read_spec(struct span s, bool in_angle, struct text *t, struct span *spec_out)
{
	struct lex x = { .s = s };
	size_t begin = SIZE_MAX, end = 0, domain = 0;
	bool has_word = false, after_word = false, has_domain = false, is_literal = false;
	enum tok type;
	t->n = 0;
	t->bad = false;
	if (in_angle && !skip_route(&x, &begin))
		return RC_PERM;
	t->has_route = begin != SIZE_MAX;
	t->has_dot = false;
	while ((type = next(&x)) != TOK_END) {
		if (type == TOK_COMMENT)
			continue;
		if (begin == SIZE_MAX)
			begin = x.start;
		end = x.at;
		bool is_word = type == TOK_ATOM || (type == TOK_QUOTED && !has_domain) || (type == TOK_LITERAL && has_domain);
		if (is_word && (after_word || is_literal))
			return RC_PERM; /* two words: whatever it is, it is not one address */
		if (type == TOK_LITERAL && has_domain) {
			if (t->n > domain || has_blank(token(&x)))
				return RC_PERM; /* a folded literal is not the same when it is folded again */
			is_literal = true;
		} else if (type == '@') {
			if (has_domain || !has_word)
				return RC_PERM;
			has_domain = true;
			domain = t->n + 1;
		} else if (!is_word && type != '.') {
			return RC_PERM;
		}
		if (type == '.' && has_domain && (!after_word || is_literal))
			return RC_PERM; /* an empty label */
		after_word = is_word;
		has_word |= is_word;
		if (type == TOK_QUOTED)
			add_quoted(t, token(&x));
		else
			add(t, token(&x));
	}
	if (end == 0)
		return begin == SIZE_MAX ? RC_NONE : RC_PERM;
	if (has_domain && t->n > domain && t->p[t->n - 1] == '.') {
		t->n--;
		t->has_dot = true;
	}
	if (t->bad || t->n == 0 || !has_word || (has_domain && (t->n <= domain || domain < 2)))
		return RC_PERM;
	*spec_out = span_of(s.p + begin, end - begin);
	return RC_OK;
}

/* ---- the list ---- */

struct parse {
	struct arena *a;
	struct mailboxes *out;
	size_t cap;
	/* the element at hand */
	size_t begin, end;       /* begin SIZE_MAX: nothing yet */
	size_t lt, gt;           /* behind '<' and at '>' */
	enum { OUTSIDE, INSIDE, BEHIND } angle;
	bool broken, has_word, has_at;
	bool in_group, after_group;
};

static bool
add_item(struct parse *p, struct mailbox item)
{
	struct mailboxes *l = p->out;
	if (l->n == p->cap) {
		size_t cap = p->cap > 0 ? p->cap * 2 : 8;
		struct mailbox *more = arena_alloc(p->a, cap * sizeof *more);
		if (more == NULL)
			return false;
		if (l->n > 0)
			memcpy(more, l->item, l->n * sizeof *more);
		l->item = more;
		p->cap = cap;
	}
	l->item[l->n++] = item;
	return true;
}

static enum rc
end_item(struct parse *p, struct span value, unsigned char after)
{
	struct mailbox item = { .after = after };
	struct text t;
	if (p->begin != SIZE_MAX)
		item.text = span_of(value.p + p->begin, p->end - p->begin);
	if (p->begin != SIZE_MAX && after != ':') {
		struct span where = p->angle == BEHIND ? span_of(value.p + p->lt, p->gt - p->lt) : item.text;
		enum rc rc = p->broken ? RC_PERM : read_spec(where, p->angle == BEHIND, &t, &item.spec);
		item.is_opaque = rc == RC_PERM;
		if (rc == RC_OK) {
			item.addr = arena_span(p->a, span_of(t.p, t.n));
			item.has_route = t.has_route;
			item.has_dot = t.has_dot;
			if (p->a->over)
				return RC_PERM;
		}
	}
	p->begin = SIZE_MAX;
	p->angle = OUTSIDE;
	p->broken = p->has_word = p->has_at = false;
	return add_item(p, item) ? RC_OK : RC_PERM;
}

/* What a token means for the element at hand. RC_NONE: the list is not understood. */
static enum rc
take(struct parse *p, enum tok t, const struct lex *x)
{
	switch ((int)t) {
	case TOK_BAD:
		return RC_NONE;
	case '<':
		if (p->angle == INSIDE)
			return RC_NONE;
		p->broken |= p->angle == BEHIND;
		p->angle = INSIDE;
		p->lt = x->at;
		break;
	case '>':
		if (p->angle == INSIDE) {
			p->angle = BEHIND;
			p->gt = x->start;
		} else {
			p->broken = true;
		}
		break;
	case ';':
		if (p->angle == INSIDE)
			return RC_NONE;
		p->broken = true; /* not of a group: a list for humans */
		break;
	case '@':
		p->has_at |= p->angle == OUTSIDE;
		p->broken |= p->angle == BEHIND;
		break;
	case TOK_STRAY:
		p->broken = true;
		break;
	case TOK_COMMENT:
		break;
	default:
		p->broken |= p->angle == BEHIND;
		p->has_word = true;
		break;
	}
	if (p->after_group && t != TOK_COMMENT)
		return RC_NONE;
	if (p->begin == SIZE_MAX)
		p->begin = x->start;
	p->end = x->at;
	return RC_OK;
}

enum rc
mailboxes_parse(struct span value, size_t max_tokens, struct arena *a, struct mailboxes *out)
{
	struct lex x = { .s = value };
	struct parse p = { .a = a, .out = out, .begin = SIZE_MAX };
	enum rc rc = RC_OK;
	*out = (struct mailboxes){ 0 };
	for (size_t n = 0; rc == RC_OK; n++) {
		if (n > max_tokens)
			return RC_PERM;
		enum tok t = next(&x);
		if (t == TOK_END)
			break;
		if (t == ',' && p.angle != INSIDE) {
			rc = end_item(&p, value, ',');
			p.after_group = false;
		} else if (t == ':' && p.angle != INSIDE) {
			if (p.in_group || p.after_group || p.broken || p.has_at || !p.has_word || p.angle != OUTSIDE)
				return RC_NONE;
			p.in_group = true;
			rc = end_item(&p, value, ':');
		} else if (t == ';' && p.in_group && p.angle != INSIDE) {
			rc = end_item(&p, value, ';');
			p.in_group = false;
			p.after_group = true;
		} else {
			rc = take(&p, t, &x);
		}
	}
	if (rc != RC_OK)
		return rc;
	if (p.angle == INSIDE || p.in_group)
		return RC_NONE;
	return end_item(&p, value, 0);
}

bool
mailbox_can_write(struct span addr)
{
	struct addr a = addr_of_internal(addr);
	if (a.local.n == 0 || addr.n > MAILBOX_MAX || span_chr(a.local, '@') != SIZE_MAX)
		return false;
	for (size_t i = 0; i < a.local.n; i++)
		if (a.local.p[i] < ' ' || a.local.p[i] == 0x7f)
			return false;
	if (span_chr(addr, '@') == SIZE_MAX)
		return true;
	return addr_is_hostname(a.domain, true) || addr_is_literal(a.domain);
}

/* ---- writing ---- */

/* A token with its folding taken out. */
static void
put_unfolded(struct buf *b, struct span s)
{
	size_t cr;
	while ((cr = span_chr(s, '\r')) != SIZE_MAX) {
		buf_put(b, span_head(s, cr));
		s = span_from(s, cr + (cr + 1 < s.n && s.p[cr + 1] == '\n' ? 2 : 1));
	}
	buf_put(b, s);
}

/* The new address in the place of spec; comments inside of it follow it. x stands at its first token. */
static void
put_new(struct buf *b, struct lex *x, const struct mailbox *item)
{
	size_t end = (size_t)(item->spec.p - x->s.p) + item->spec.n;
	addr_write_text(b, item->becomes);
	x->at = x->start;
	while (x->at < end) {
		enum tok t = next(x);
		if (t == TOK_END || t == TOK_BAD)
			break;
		if (t != TOK_COMMENT)
			continue;
		buf_putc(b, ' ');
		put_unfolded(b, token(x));
	}
}

static void
put_tokens(struct buf *b, const struct mailbox *item)
{
	struct lex x = { .s = item->text };
	enum tok t, last = TOK_END;
	size_t spec = item->spec.n > 0 ? (size_t)(item->spec.p - x.s.p) : SIZE_MAX, spec_end = item->spec.n > 0 ? spec + item->spec.n : 0;
	while ((t = next(&x)) != TOK_END && t != TOK_BAD) {
		/* an address is written in one piece */
		bool is_glued = x.start > spec && x.start < spec_end && (t == '@' || t == '.' || last == '@' || last == '.');
		if (last != TOK_END && last != '<' && t != '>' && !is_glued && (x.gap || t == '<' || t == TOK_COMMENT))
			buf_putc(b, ' ');
		if (item->becomes.p != NULL && x.start == spec)
			put_new(b, &x, item);
		else
			put_unfolded(b, token(&x));
		last = t;
	}
}

static void
put_item(struct buf *b, const struct mailbox *item)
{
	size_t before = buf_len(b);
	if (item->is_opaque) {
		buf_put(b, item->text);
	} else {
		put_tokens(b, item);
		if (buf_len(b) - before > UNFOLD_MAX && span_chr(item->text, '\n') != SIZE_MAX) {
			buf_cut(b, before);
			if (item->becomes.p != NULL) {
				buf_put(b, span_of(item->text.p, (size_t)(item->spec.p - item->text.p)));
				addr_write_text(b, item->becomes);
				buf_put(b, span_from(item->text, (size_t)(item->spec.p - item->text.p) + item->spec.n));
			} else {
				buf_put(b, item->text);
			}
		}
	}
	if (item->after != 0)
		buf_putc(b, item->after);
}

void
mailboxes_write(struct buf *b, struct span name, const struct mailboxes *l)
{
	struct buf piece;            /* up to a comma: where a line may end */
	buf_init(&piece, b->max);
	buf_put(b, name);
	buf_put(b, SPAN(": "));
	size_t col = name.n + 2;
	bool is_first = true;
	for (size_t i = 0; i < l->n;) {
		buf_reset(&piece);
		unsigned char after;
		do {
			if (buf_len(&piece) > 0 && l->item[i].text.n > 0)
				buf_putc(&piece, ' ');
			put_item(&piece, &l->item[i]);
			after = l->item[i++].after;
		} while (i < l->n && after != ',');
		struct span s = buf_span(&piece);
		size_t eol = span_chr(s, '\n');
		size_t first_line = eol == SIZE_MAX ? s.n : eol - 1;
		if (!is_first && s.n > 0) {
			if (col + 1 + first_line < LINE_GOAL) {
				buf_putc(b, ' ');
				col++;
			} else {
				buf_put(b, SPAN("\r\n\t"));
				col = 0;
			}
		}
		buf_put(b, s);
		col = eol == SIZE_MAX ? col + s.n : s.n - span_rchr(s, '\n') - 1;
		is_first = false;
	}
	buf_put(b, SPAN("\r\n"));
	if (piece.over)
		b->over = true;
	buf_fini(&piece);
}
