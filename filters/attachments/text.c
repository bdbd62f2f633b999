/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/search.h"

#include "filters/attachments/decode.h"

/* Files that stand in the lines of a text: uuencode, base64 as uuencode has it, yEnc, BinHex 4. */

static struct span
line_at(struct span t, size_t pos)
{
	size_t end = pos;
	while (end < t.n && t.p[end] != '\n' && t.p[end] != '\r')
		end++;
	return span_of(t.p + pos, end - pos);
}

static size_t
behind_line(struct span t, size_t pos)
{
	while (pos < t.n && t.p[pos] != '\n' && t.p[pos] != '\r')
		pos++;
	if (pos < t.n)
		pos += t.p[pos] == '\r' && pos + 1 < t.n && t.p[pos + 1] == '\n' ? 2 : 1;
	return pos;
}

/* "begin 644 name", "begin-base64 644 name"; some clients need no mode but two blanks. */
static bool
begin_name(struct span line, bool *is_base64, struct span *name)
{
	struct span s = span_from(line, 5);
	*is_base64 = span_starts(s, SPAN("-base64"));
	if (*is_base64)
		s = span_from(s, 7);
	size_t blanks = 0, digits = 0;
	while (blanks < s.n && (s.p[blanks] == ' ' || s.p[blanks] == '\t'))
		blanks++;
	if (blanks == 0)
		return false;
	s = span_from(s, blanks);
	while (digits < s.n && s.p[digits] >= '0' && s.p[digits] <= '9')
		digits++;
	if (digits > 0 && digits < s.n && (s.p[digits] == ' ' || s.p[digits] == '\t'))
		s = span_from(s, digits + 1);
	else if (blanks < 2)
		return false;
	*name = span_trim(s);
	return name->n > 0;
}

/* Behind the last line of the file that begins at pos. */
static size_t
find_end(struct span t, size_t pos, const char *end)
{
	while (pos < t.n) {
		struct span line = line_at(t, pos);
		size_t next = behind_line(t, pos);
		if (span_starts(line, span_str(end)))
			return next;
		if (span_starts(line, SPAN("--")) && end[0] == 'e') /* uuencode has no "-": the next part */
			return pos;
		pos = next;
	}
	return t.n;
}

static void
add_file(struct search *s, struct span t, size_t from, size_t to, size_t base, uint32_t owner, struct span name, struct span data)
{
	struct reading r;
	reading_init(&r, &s->arena);
	reading_name(&r, name);
	uint32_t at = search_add(s, &r, ATTACHMENT_TEXT, base == SIZE_MAX ? owner : SEARCH_NOWHERE);
	if (at == SEARCH_NOWHERE)
		return;
	struct search_part *p = &s->parts[at];
	p->is_text_file = true;
	if (base != SIZE_MAX) {
		p->head = p->body = p->body_late = base + from;
		p->end = base + to;
	}
	(void)t;
	content_decoded(s, at, data, 0);
}

static size_t
read_begin(struct search *s, struct span t, size_t pos, size_t base, uint32_t owner)
{
	bool is_base64;
	struct span name;
	size_t body = behind_line(t, pos);
	if (!begin_name(line_at(t, pos), &is_base64, &name))
		return body;
	size_t end = find_end(t, body, is_base64 ? "====" : "end");
	struct span lines = span_of(t.p + body, end - body);
	struct buf data;
	buf_init(&data, lines.n + 64);
	decode_one(is_base64 ? DECODE_BASE64 : DECODE_UU, lines, &data, lines.n);
	add_file(s, t, pos, end, base, owner, name, buf_span(&data));
	buf_fini(&data);
	return end > body ? end : body;
}

static size_t
read_yenc(struct search *s, struct span t, size_t pos, size_t base, uint32_t owner)
{
	struct span line = line_at(t, pos);
	size_t at = span_find(line, SPAN("name=")), body = behind_line(t, pos);
	if (at == SIZE_MAX)
		return body;
	size_t end = find_end(t, body, "=yend");
	struct span lines = span_of(t.p + body, end - body);
	struct buf data;
	buf_init(&data, lines.n + 64);
	decode_yenc(lines, &data, lines.n);
	add_file(s, t, pos, end, base, owner, span_trim(span_from(line, at + 5)), buf_span(&data));
	buf_fini(&data);
	return end > body ? end : body;
}

static size_t
read_binhex(struct search *s, struct span t, size_t pos, size_t base, uint32_t owner)
{
	size_t body = behind_line(t, pos), colon = span_chr(span_from(t, body), ':');
	if (colon == SIZE_MAX)
		return body;
	size_t last = span_chr(span_from(t, body + colon + 1), ':');
	size_t end = last == SIZE_MAX ? t.n : body + colon + 1 + last + 1;
	struct span name, lines = span_of(t.p + body, end - body);
	struct buf scratch, data;
	buf_init(&scratch, lines.n + 1024);
	buf_init(&data, lines.n + 64);
	if (decode_binhex(lines, &scratch, &data, lines.n, &name) == RC_OK)
		add_file(s, t, pos, end, base, owner, name, buf_span(&data));
	buf_fini(&scratch);
	buf_fini(&data);
	return end;
}

static const struct {
	const char *mark;
	size_t (*read)(struct search *s, struct span t, size_t pos, size_t base, uint32_t owner);
} forms[] = {
	{ "begin", read_begin },
	{ "=ybegin ", read_yenc },
	{ "(This file must be converted with BinHex", read_binhex },
};

/* The form that begins with the line at pos, or how many there are. */
static size_t
form_at(struct span t, size_t pos)
{
	size_t f = 0;
	if (t.p[pos] != 'b' && t.p[pos] != '=' && t.p[pos] != '(')
		return NELEMS(forms);
	while (f < NELEMS(forms) && !span_starts(span_from(t, pos), span_str(forms[f].mark)))
		f++;
	return f;
}

/* Line after line, fast: where the next CR and LF are is looked up once each. */
struct walk {
	size_t lf, cr;               /* the next ones not before the position; the end: none */
};

static size_t
walk_on(struct walk *w, struct span t, size_t pos)
{
	if (w->lf < pos) {
		size_t at = span_chr(span_from(t, pos), '\n');
		w->lf = at == SIZE_MAX ? t.n : pos + at;
	}
	if (w->cr < pos) {
		size_t at = span_chr(span_from(t, pos), '\r');
		w->cr = at == SIZE_MAX ? t.n : pos + at;
	}
	if (w->cr < w->lf)
		return w->cr + 1; /* the LF of a CRLF is a line by itself, an empty one */
	return w->lf < t.n ? w->lf + 1 : t.n;
}

void
text_files(struct search *s, struct span t, size_t base, uint32_t owner)
{
	struct walk w = { .lf = 0, .cr = 0 };
	if (t.n > 0) { /* what stands at 0 is looked up, too */
		w.lf = span_chr(t, '\n');
		w.cr = span_chr(t, '\r');
		w.lf = w.lf == SIZE_MAX ? t.n : w.lf;
		w.cr = w.cr == SIZE_MAX ? t.n : w.cr;
	}
	for (size_t pos = 0; pos < t.n;) {
		size_t f = form_at(t, pos);
		pos = f < NELEMS(forms) ? forms[f].read(s, t, pos, base, owner) : walk_on(&w, t, pos);
	}
}
