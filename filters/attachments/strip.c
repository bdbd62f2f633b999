/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/strip.h"

#include "base/mem.h"

enum { NAME_SHOWN = 200, QP_LINE = 72 };

struct cut {
	size_t from, to;
	const struct strip_why *why;
	bool is_whole;               /* a part with a header of its own; else lines of a text */
};

/* ---- the note ---- */

static void
put_variable(struct buf *out, struct span name, const struct strip_why *w)
{
	if (span_eq_str(name, "name"))
		buf_put_safe(out, w->name.n > 0 ? w->name : SPAN("(no name)"), NAME_SHOWN, true);
	else if (span_eq_str(name, "reason"))
		buf_put_safe(out, w->reason, NAME_SHOWN * 2, true);
	else if (span_eq_str(name, "rule"))
		buf_put_safe(out, w->rule, NAME_SHOWN, true);
	else if (span_eq_str(name, "queue_id"))
		buf_put_safe(out, w->queue_id, NAME_SHOWN, true);
	else if (span_eq_str(name, "sender"))
		buf_put_safe(out, w->sender, NAME_SHOWN, true);
	else if (span_eq_str(name, "size"))
		buf_put_dec(out, w->size);
}

/* All languages, one after the other, with LF line ends. */
static void
make_note(const struct attachment_conf *ac, const struct strip_why *w, struct buf *out)
{
	for (size_t i = 0; i < ac->nnotes; i++) {
		struct span rest = ac->notes[i];
		if (i > 0)
			buf_putc(out, '\n');
		while (rest.n > 0) {
			size_t at = span_find(rest, SPAN("${"));
			struct span plain = span_head(rest, at);
			for (size_t k = 0; k < plain.n; k++)
				if (plain.p[k] != '\r')
					buf_putc(out, plain.p[k]);
			if (at == SIZE_MAX)
				break;
			rest = span_from(rest, at + 2);
			size_t close = span_chr(rest, '}');
			put_variable(out, span_head(rest, close), w);
			rest = close == SIZE_MAX ? SPAN_EMPTY : span_from(rest, close + 1);
		}
	}
}

/* Lines with CRLF; quoted-printable where there is more than ASCII. A line of the note never begins with "--": that is for boundaries. */
static void
put_note(struct buf *out, struct span note, bool qp, bool ascii)
{
	static const char hex[] = "0123456789ABCDEF";
	while (note.n > 0 && note.p[note.n - 1] == '\n')
		note.n--;
	size_t column = 0;
	for (size_t i = 0; i < note.n; i++) {
		unsigned char c = note.p[i];
		if (c == '\n') {
			buf_puts(out, "\r\n");
			column = 0;
			continue;
		}
		if (column == 0 && c == '-' && i + 1 < note.n && note.p[i + 1] == '-')
			buf_putc(out, ' ');
		bool encode = qp && (c >= 0x7f || c == '=' || c < ' ' || ((c == ' ' || c == '\t') && (i + 1 == note.n || note.p[i + 1] == '\n')));
		if (qp && column + 3 > QP_LINE) {
			buf_puts(out, "=\r\n");
			column = 0;
		}
		if (encode) {
			buf_putc(out, '=');
			buf_putc(out, (unsigned char)hex[c >> 4]);
			buf_putc(out, (unsigned char)hex[c & 15]);
			column += 3;
		} else {
			buf_putc(out, ascii && c >= 0x80 ? '?' : c);
			column++;
		}
	}
}

/* ---- where ---- */

/* The next line that begins as the delimiter before the part does: where a part with parts of its own ends. */
static size_t
same_delimiter(struct span m, size_t delimiter, size_t from)
{
	struct span line = span_rtrim(span_of(m.p + delimiter, search_next_line(m, delimiter) - delimiter));
	for (size_t pos = from; pos < m.n;) {
		size_t at = span_find(span_from(m, pos), line);
		if (at == SIZE_MAX)
			break;
		pos += at;
		if (m.p[pos - 1] == '\n' || m.p[pos - 1] == '\r') {
			size_t end = pos;
			if (end > from && m.p[end - 1] == '\n')
				end--;
			if (end > from && m.p[end - 1] == '\r')
				end--;
			return end;
		}
		pos += line.n;
	}
	return m.n;
}

static bool
find_cut(const struct search *s, const struct strip_why *w, struct cut *out)
{
	const struct search_part *p = &s->parts[w->part];
	if (p->item.where == ATTACHMENT_MEMBER || p->owner != w->part)
		return false;
	*out = (struct cut){ .from = p->head, .to = p->end, .why = w, .is_whole = !p->is_text_file };
	if (p->end_tree > out->to)
		out->to = p->end_tree;
	if (p->is_container) {
		if (p->delimiter == SIZE_MAX || s->message.p[p->delimiter] != '-')
			return false;
		out->to = same_delimiter(s->message, p->delimiter, p->body);
	}
	return out->to >= out->from && out->to <= s->message.n;
}

static int
by_place(const void *a, const void *b)
{
	const struct cut *x = a, *y = b;
	return x->from != y->from ? (x->from < y->from ? -1 : 1) : x->to != y->to ? (x->to > y->to ? -1 : 1) : 0;
}

/* Header fields of the part that say nothing of its content stay. */
static void
keep_fields(struct span m, const struct search_part *p, struct buf *out)
{
	for (size_t pos = p->head; pos < p->body;) {
		size_t end = search_next_line(m, pos);
		while (end < p->body && (m.p[end] == ' ' || m.p[end] == '\t'))
			end = search_next_line(m, end);
		struct span field = span_of(m.p + pos, end - pos);
		size_t colon = span_chr(field, ':');
		if (colon != SIZE_MAX && colon > 0 && !span_casestarts(field, SPAN("content-")) && !span_casestarts(field, SPAN("mime-version")) &&
		    span_is_printable(span_head(field, colon)))
			buf_put(out, field);
		pos = end;
	}
}

static void
replace(const struct search *s, const struct cut *c, const struct attachment_conf *ac, bool is_top, struct buf *out, struct stripped *how)
{
	struct buf note;
	buf_init(&note, 1 << 20);
	make_note(ac, c->why, &note);
	bool qp = !span_is_ascii(buf_span(&note));
	if (is_top) {
		how->replaces_top = true;
		how->top_is_qp = qp;
	} else if (c->is_whole) {
		keep_fields(s->message, &s->parts[c->why->part], out);
		buf_puts(out, "Content-Type: text/plain; charset=utf-8\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: ");
		buf_puts(out, qp ? "quoted-printable\r\n\r\n" : "7bit\r\n\r\n");
	}
	put_note(out, buf_span(&note), qp && (is_top || c->is_whole), !is_top && !c->is_whole); /* a text has its own encoding */
	if (is_top || !c->is_whole || span_starts(span_from(s->message, c->to), SPAN("--")))
		buf_puts(out, "\r\n");
	buf_fini(&note);
}

enum rc
strip_parts(const struct search *s, size_t header_len, const struct attachment_conf *ac, const struct strip_why *whys, size_t n, struct buf *out,
    struct stripped *how)
{
	struct cut *cuts = mem_calloc(n > 0 ? n : 1, sizeof *cuts);
	enum rc rc = RC_OK;
	*how = (struct stripped){ .replaces_top = false };
	for (size_t i = 0; i < n && rc == RC_OK; i++)
		if (!find_cut(s, &whys[i], &cuts[i]))
			rc = RC_NONE;
	if (rc == RC_OK && n > 1)
		qsort(cuts, n, sizeof *cuts, by_place);
	size_t pos = header_len;
	for (size_t i = 0; i < n && rc == RC_OK; i++) {
		bool is_top = cuts[i].is_whole && cuts[i].from < header_len;
		if (is_top && cuts[i].to < s->message.n) {
			rc = RC_NONE; /* it has parts behind it: not one piece */
		} else if (is_top) {
			replace(s, &cuts[i], ac, true, out, how);
			pos = s->message.n;
			break;
		} else if (cuts[i].from < pos) { /* in one that is gone already */
			if (cuts[i].to > pos)
				pos = cuts[i].to;
		} else {
			buf_put(out, span_of(s->message.p + pos, cuts[i].from - pos));
			replace(s, &cuts[i], ac, false, out, how);
			pos = cuts[i].to;
		}
	}
	if (rc == RC_OK)
		buf_put(out, span_from(s->message, pos));
	mem_free(&cuts);
	return out->over ? RC_NONE : rc;
}
