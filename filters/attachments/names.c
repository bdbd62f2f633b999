/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/attachments/names.h"

#include "filters/attachments/decode.h"

enum {
	PIECES_MAX = 128,            /* of one field: parameters that are names */
	VARIANT_DEPTH = 3,           /* encodings in encodings of a name */
	BLANKS_DECEIVE = 8,          /* so many blanks in a row are there to push the rest out of sight */
	FIELD_MAX = 64 * 1024,
	VARIANT_MAX = 16 * 1024,     /* octets of a name in whatever encoding */
};

/* Extensions that people take for harmless, and those that run: a name with one of each is made to deceive. */
static const char *const harmless[] = { "pdf", "doc", "docx", "xls", "xlsx", "ppt", "pptx", "txt", "rtf", "csv", "jpg", "jpeg", "png", "gif", "bmp", "htm",
	"html", "mp3", "mp4", "avi", "zip", "xml", "msg", "eml", "odt", "ods" };
static const char *const runs[] = { "exe", "scr", "com", "pif", "bat", "cmd", "js", "jse", "vbs", "vbe", "wsf", "wsh", "hta", "lnk", "jar", "ps1", "msi",
	"cpl", "url", "chm", "reg", "dll", "iso", "img" };

/* ---- the list ---- */

void
reading_init(struct reading *r, struct arena *a)
{
	memset(r, 0, sizeof *r);
	r->arena = a;
}

static bool
is_blank(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span
trim_blank(struct span s)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = span_from(s, 1);
	while (s.n > 0 && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

static void
keep_name(struct reading *r, struct span name)
{
	if (name.n == 0)
		return;
	for (size_t i = 0; i < r->nnames; i++)
		if (span_eq(r->names[i], name))
			return;
	if (r->nnames == READING_NAMES || r->arena->over) {
		r->is_over = true;
		return;
	}
	r->names[r->nnames] = arena_span(r->arena, name);
	if (r->arena->over)
		r->is_over = true;
	else
		r->nnames++;
}

static bool
is_one_of(struct span ext, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (span_caseeq_str(ext, list[i]))
			return true;
	return false;
}

/* "invoice.pdf.exe", blanks between the two allowed. */
static bool
has_two_extensions(struct span name)
{
	size_t dot = span_rchr(name, '.');
	if (dot == SIZE_MAX || !is_one_of(span_from(name, dot + 1), runs, NELEMS(runs)))
		return false;
	struct span stem = span_rtrim(span_head(name, dot));
	size_t before = span_rchr(stem, '.');
	return before != SIZE_MAX && is_one_of(span_from(stem, before + 1), harmless, NELEMS(harmless));
}

/* ---- one name, cleaned ---- */

/* The next character of UTF-8; octets that are none count as Latin-1. */
static uint32_t
take_char(struct span *s)
{
	unsigned char c = s->p[0];
	size_t n = c >= 0xf0 && c < 0xf8 ? 4 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xc2 && c < 0xe0 ? 2 : 1;
	if (n > 1 && s->n >= n && span_is_utf8(span_head(*s, n))) {
		uint32_t v = c & (0xffu >> (n + 1));
		for (size_t i = 1; i < n; i++)
			v = v << 6 | (s->p[i] & 0x3f);
		*s = span_from(*s, n);
		return v;
	}
	*s = span_from(*s, 1);
	return c;
}

static size_t
put_char(unsigned char *p, uint32_t v)
{
	if (v < 0x80) {
		p[0] = (unsigned char)v;
		return 1;
	}
	if (v < 0x800) {
		p[0] = (unsigned char)(0xc0 | v >> 6);
		p[1] = (unsigned char)(0x80 | (v & 0x3f));
		return 2;
	}
	size_t n = v < 0x10000 ? 3 : 4;
	p[0] = (unsigned char)((n == 3 ? 0xe0 : 0xf0) | v >> (6 * (n - 1)));
	for (size_t i = 1; i < n; i++)
		p[i] = (unsigned char)(0x80 | (v >> (6 * (n - 1 - i)) & 0x3f));
	return n;
}

enum char_kind { CHAR_PLAIN, CHAR_BLANK, CHAR_GONE, CHAR_CONTROL };

/* What becomes of a character: what is not seen goes, forms of ASCII become ASCII, as best-fit conversions do. */
static enum char_kind
kind_of(uint32_t *v)
{
	uint32_t c = *v;
	if (c < 0x20 || c == 0x7f)
		return CHAR_CONTROL;
	if (c >= 0x80 && c < 0xa0)
		return CHAR_GONE; /* of a set that is not known */
	if ((c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e || c == 0x200f || c == 0x61c)
		return CHAR_CONTROL; /* bidirectional */
	if (c == 0xad || (c >= 0x200b && c <= 0x200d) || (c >= 0x2060 && c <= 0x2064) || c == 0xfeff || c == 0x34f || c == 0x180e ||
	    (c >= 0xfe00 && c <= 0xfe0f) || (c >= 0xe0000 && c <= 0xe0fff))
		return CHAR_GONE;
	if (c == 0x2024 || c == 0x3002 || c == 0xff61 || c == 0xfe52)
		*v = '.';
	else if (c >= 0xff01 && c <= 0xff5e)
		*v = c - 0xff01 + '!';
	else if (c == 0x2044 || c == 0x2215)
		*v = '/';
	return *v == ' ' || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x202f || c == 0x205f || c == 0x3000 ? CHAR_BLANK : CHAR_PLAIN;
}

/* As a system keeps it: without folders and streams, without dots and blanks at the end. */
static void
keep_cleaned(struct reading *r, struct span name)
{
	struct span s = span_rtrim(name);
	while (s.n > 0 && (s.p[0] == '"' || s.p[0] == '\'' || s.p[0] == ' '))
		s = span_from(s, 1);
	for (size_t i = s.n; i > 0; i--)
		if (s.p[i - 1] == '/' || s.p[i - 1] == '\\') {
			if (i == s.n) { /* a folder: what is before it may be the name all the same */
				s.n--;
				continue;
			}
			s = span_from(s, i);
			break;
		}
	bool trimmed = false;
	while (s.n > 0 && (s.p[s.n - 1] == '.' || s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '"' || s.p[s.n - 1] == '\'')) {
		trimmed |= s.p[s.n - 1] == '.';
		s.n--;
	}
	size_t dot = span_rchr(s, '.');
	if (trimmed && dot != SIZE_MAX && is_one_of(span_from(s, dot + 1), runs, NELEMS(runs)))
		r->is_deceptive = true;
	keep_name(r, s);
	size_t colon = span_chr(s, ':');
	if (colon != SIZE_MAX && colon > 1) /* "evil.exe::$DATA" is evil.exe, "x:evil.exe" may be */
		keep_cleaned(r, span_head(s, colon));
	if (colon != SIZE_MAX && colon + 1 < s.n)
		keep_name(r, span_from(s, colon + 1));
}

/* NUL ends a name for some, and is nothing for others; so it is for what comes out of unknown 16-bit sets. */
static void
keep_raw(struct reading *r, struct span raw)
{
	if (raw.n > READING_NAME_MAX) {
		r->is_over = true;
		raw = span_from(raw, raw.n - READING_NAME_MAX); /* its end says what it is */
	}
	unsigned char text[READING_NAME_MAX * 4];
	size_t n = 0, cut = SIZE_MAX;
	unsigned blanks = 0;
	for (struct span s = raw; s.n > 0;) {
		uint32_t v = take_char(&s);
		if (v == 0 && cut == SIZE_MAX)
			cut = n;
		switch (kind_of(&v)) {
		case CHAR_CONTROL:
			r->is_deceptive |= v != '\t' && v != '\r' && v != '\n' && v != 0x1b; /* ISO-2022 has escapes */
			if (v == '\t')
				text[n++] = ' ';
			continue;
		case CHAR_GONE:
			continue;
		case CHAR_BLANK:
			text[n++] = ' ';
			blanks++;
			continue;
		case CHAR_PLAIN:
			r->is_deceptive |= blanks >= BLANKS_DECEIVE;
			blanks = 0;
			n += put_char(text + n, v);
		}
	}
	struct span name = span_of(text, n);
	keep_cleaned(r, name);
	if (cut != SIZE_MAX)
		keep_cleaned(r, span_head(name, cut));
	r->is_deceptive |= has_two_extensions(span_rtrim(name));
}

/* ---- encodings of a name ---- */

static void
percent_decode(struct span s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		int high = s.p[i] == '%' && i + 2 < s.n ? decode_hex(s.p[i + 1]) : -1, low = high >= 0 ? decode_hex(s.p[i + 2]) : -1;
		if (low >= 0) {
			buf_putc(out, (unsigned char)(high << 4 | low));
			i += 2;
		} else {
			buf_putc(out, s.p[i]);
		}
	}
}

/* =?set?B?...?= at the front of s; false: it is none. */
static bool
take_word(struct span *s, struct buf *out)
{
	struct span rest = *s;
	if (!span_starts(rest, SPAN("=?")))
		return false;
	rest = span_from(rest, 2);
	size_t q = span_chr(rest, '?');
	if (q == SIZE_MAX || q + 2 >= rest.n || rest.p[q + 2] != '?')
		return false;
	struct span set = span_head(rest, q);
	unsigned char encoding = rest.p[q + 1] | 0x20;
	rest = span_from(rest, q + 3);
	size_t end = span_find(rest, SPAN("?=")), star = span_chr(set, '*');
	struct span text = span_head(rest, end);
	struct buf raw;
	buf_init(&raw, text.n + 16);
	if (encoding == 'b') {
		decode_base64(text, &raw, text.n);
	} else {
		decode_qp(text, &raw, text.n);
		for (size_t i = raw.at; i < raw.n; i++)
			if (raw.p[i] == '_')
				raw.p[i] = ' ';
	}
	if (names_charset(span_head(set, star), buf_span(&raw), out) != RC_OK)
		buf_put(out, buf_span(&raw));
	buf_fini(&raw);
	*s = end == SIZE_MAX ? SPAN_EMPTY : span_from(rest, end + 2);
	return true;
}

static bool
words_decode(struct span s, struct buf *out)
{
	bool any = false;
	while (s.n > 0) {
		if (take_word(&s, out)) {
			struct span next = s; /* blanks between two of them are nothing */
			while (next.n > 0 && is_blank(next.p[0]))
				next = span_from(next, 1);
			if (span_starts(next, SPAN("=?")))
				s = next;
			any = true;
			continue;
		}
		buf_putc(out, s.p[0]);
		s = span_from(s, 1);
	}
	return any;
}

/* set'language'text, percent-encoded or not. */
static bool
charset_decode(struct span s, struct buf *out)
{
	size_t first = span_chr(s, '\'');
	if (first == SIZE_MAX)
		return false;
	struct span rest = span_from(s, first + 1);
	size_t second = span_chr(rest, '\'');
	if (second == SIZE_MAX)
		return false;
	struct span text = span_from(rest, second + 1);
	struct buf raw;
	buf_init(&raw, text.n + 1);
	percent_decode(text, &raw);
	if (names_charset(span_head(s, first), buf_span(&raw), out) != RC_OK)
		buf_put(out, buf_span(&raw));
	buf_fini(&raw);
	return true;
}

static void
add_variants(struct reading *r, struct span name, unsigned depth)
{
	if (name.n == 0 || r->is_over) /* over is unreadable, whatever else there is */
		return;
	if (name.n > VARIANT_MAX) {
		r->is_over = true;
		name = span_from(name, name.n - VARIANT_MAX);
	}
	keep_raw(r, name);
	if (depth == 0)
		return;
	struct buf out;
	buf_init(&out, name.n * 4 + 64);
	if (span_find(name, SPAN("=?")) != SIZE_MAX && words_decode(name, &out))
		add_variants(r, buf_span(&out), depth - 1);
	buf_reset(&out);
	if (span_chr(name, '%') != SIZE_MAX) {
		percent_decode(name, &out);
		if (!span_eq(buf_span(&out), name))
			add_variants(r, buf_span(&out), depth - 1);
	}
	buf_reset(&out);
	if (span_chr(name, '\'') != SIZE_MAX && charset_decode(name, &out) && buf_len(&out) > 0)
		add_variants(r, buf_span(&out), depth - 1);
	buf_fini(&out);
}

void
reading_name(struct reading *r, struct span name)
{
	add_variants(r, name, VARIANT_DEPTH);
}

/* ---- parameters ---- */

struct piece {
	bool has_index, is_filename;
	unsigned index;
	struct span value;           /* as most would take it */
};

/* A value that begins here, read in all ways; what most would take into *main. */
static void
take_value(struct reading *r, struct span s, bool keep, struct span *main)
{
	while (s.n > 0 && is_blank(s.p[0]))
		s = span_from(s, 1);
	size_t semi = span_chr(s, ';'), end = 0;
	if (s.n > 0 && (s.p[0] == '"' || s.p[0] == '\'')) {
		unsigned char quote = s.p[0];
		struct span in = span_from(s, 1);
		struct buf plain;
		size_t i = 0, bare = span_chr(in, quote);
		buf_init(&plain, in.n + 1);
		for (; i < in.n && in.p[i] != quote; i++) {
			if (in.p[i] == '\\' && i + 1 < in.n)
				i++;
			buf_putc(&plain, in.p[i]);
		}
		*main = arena_span(r->arena, buf_span(&plain));
		if (keep) {
			reading_name(r, *main);
			reading_name(r, span_head(in, i < in.n ? i : in.n)); /* a backslash is a backslash */
			reading_name(r, span_head(in, bare));
			if (bare == SIZE_MAX || quote == '\'')
				reading_name(r, span_head(s, semi));
		}
		buf_fini(&plain);
		return;
	}
	while (end < s.n && s.p[end] != ';' && !is_blank(s.p[end]) && s.p[end] != '"' && s.p[end] != ',')
		end++;
	*main = span_head(s, end);
	if (!keep)
		return;
	reading_name(r, *main);
	reading_name(r, trim_blank(span_head(s, semi)));
	if (end < s.n && s.p[end] != ';')
		reading_name(r, trim_blank(s));
	size_t open = span_chr(span_head(s, semi), '(');
	if (open != SIZE_MAX) { /* without the comment */
		struct span tail = span_from(span_head(s, semi), open);
		size_t close = span_chr(tail, ')');
		struct buf b;
		buf_init(&b, s.n + 1);
		buf_put(&b, span_head(s, open));
		if (close != SIZE_MAX)
			buf_put(&b, span_from(tail, close + 1));
		reading_name(r, trim_blank(buf_span(&b)));
		buf_fini(&b);
	}
}

/* The pieces with an index put together: in the order of their numbers and as they stand; decoded and not. */
static void
join_pieces(struct reading *r, struct piece *pieces, size_t n, bool is_filename)
{
	struct buf by_order, by_index;
	size_t with_index = 0;
	for (size_t i = 0; i < n; i++)
		with_index += pieces[i].is_filename == is_filename && pieces[i].has_index;
	if (with_index == 0)
		return;
	buf_init(&by_order, FIELD_MAX);
	buf_init(&by_index, FIELD_MAX);
	for (size_t i = 0; i < n; i++)
		if (pieces[i].is_filename == is_filename && pieces[i].has_index)
			buf_put(&by_order, pieces[i].value);
	reading_name(r, buf_span(&by_order));
	unsigned next = 0;
	for (size_t done = 0; done < with_index; next++) { /* the same number twice: one behind the other */
		unsigned lowest = UINT32_MAX;
		for (size_t i = 0; i < n; i++)
			if (pieces[i].is_filename == is_filename && pieces[i].has_index && pieces[i].index >= next && pieces[i].index < lowest)
				lowest = pieces[i].index;
		if (lowest == UINT32_MAX)
			break;
		for (size_t i = 0; i < n; i++)
			if (pieces[i].is_filename == is_filename && pieces[i].has_index && pieces[i].index == lowest) {
				buf_put(&by_index, pieces[i].value);
				done++;
			}
		next = lowest;
	}
	reading_name(r, buf_span(&by_index));
	for (size_t i = 0; i < n; i++) /* a plain one before them may be their beginning */
		if (pieces[i].is_filename == is_filename && !pieces[i].has_index) {
			buf_reset(&by_order);
			buf_put(&by_order, pieces[i].value);
			buf_put(&by_order, buf_span(&by_index));
			reading_name(r, buf_span(&by_order));
			break;
		}
	r->is_over |= by_order.over || by_index.over;
	buf_fini(&by_order);
	buf_fini(&by_index);
}

/* "*", "*3", "*3*" and blanks up to "="; false: no parameter. */
static bool
take_marks(struct span *s, struct piece *p)
{
	while (s->n > 0 && (s->p[0] == '*' || is_blank(s->p[0]) || (s->p[0] >= '0' && s->p[0] <= '9'))) {
		if (s->p[0] >= '0' && s->p[0] <= '9') {
			p->has_index = true;
			p->index = p->index < 100000000 ? p->index * 10 + (unsigned)(s->p[0] - '0') : p->index;
		}
		*s = span_from(*s, 1);
	}
	if (s->n == 0 || s->p[0] != '=')
		return false;
	*s = span_from(*s, 1);
	return true;
}

/* Every "name=" wherever it stands, in quotes and comments, too: some parser ends a quoted text earlier than the others. */
static void
read_params(struct reading *r, struct span value)
{
	struct piece pieces[PIECES_MAX];
	size_t n = 0;
	for (size_t i = 0; i + 4 < value.n; i++) {
		if ((value.p[i] | 0x20) != 'n' || !span_casestarts(span_from(value, i), SPAN("name")))
			continue;
		struct piece p = { .is_filename = i >= 4 && span_casestarts(span_from(value, i - 4), SPAN("file")) };
		struct span rest = span_from(value, i + 4);
		if (!take_marks(&rest, &p))
			continue;
		if (n == PIECES_MAX) {
			r->is_over = true;
			break;
		}
		take_value(r, rest, !p.has_index, &p.value);
		pieces[n++] = p;
	}
	join_pieces(r, pieces, n, false);
	join_pieces(r, pieces, n, true);
	for (size_t i = 0; i + 8 < value.n && !r->has_boundary; i++)
		r->has_boundary = (value.p[i] | 0x20) == 'b' && span_casestarts(span_from(value, i), SPAN("boundary"));
}

void
reading_type(struct reading *r, struct span value)
{
	unsigned char text[256];
	size_t n = 0, depth = 0;
	for (size_t i = 0; i < value.n && n < sizeof text; i++) {
		unsigned char c = value.p[i];
		if (c == '(')
			depth++;
		else if (c == ')' && depth > 0)
			depth--;
		else if (depth == 0 && (c == ';' || c == ','))
			break;
		else if (depth == 0 && c > ' ' && c < 0x7f && c != '"')
			text[n++] = c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
		else if (depth == 0 && is_blank(c) && n > 0 && text[n - 1] != '/' && i + 1 < value.n && value.p[i + 1] != '/' && !is_blank(value.p[i + 1]))
			break;
	}
	struct span type = span_of(text, n);
	for (size_t i = 0; i < r->ntypes; i++)
		if (span_eq(r->types[i], type))
			return;
	if (n == 0)
		return;
	if (r->ntypes == READING_TYPES)
		r->is_over = true;
	else
		r->types[r->ntypes++] = arena_span(r->arena, type);
}

bool
reading_has_type(const struct reading *r, const char *prefix)
{
	for (size_t i = 0; i < r->ntypes; i++)
		if (span_starts(r->types[i], span_str(prefix)))
			return true;
	return false;
}

/* ---- fields and blocks ---- */

static void
read_value(struct reading *r, unsigned which, struct span value)
{
	switch (which) {
	case 0:
		reading_type(r, trim_blank(value));
		read_params(r, value);
		return;
	case 1:
		read_params(r, value);
		return;
	case 2:
		r->ctes |= decode_cte_of(value);
		return;
	case 3: /* the description is a name when it looks like one: it is shown where no other is given */
		if (span_chr(value, '.') != SIZE_MAX && value.n < READING_NAME_MAX)
			reading_name(r, trim_blank(value));
		return;
	default: { /* the last part of the location, without a query */
		struct span v = trim_blank(value);
		v = span_head(v, span_chr(v, '?'));
		v = span_head(v, span_chr(v, '#'));
		size_t slash = span_rchr(v, '/'), scheme = span_find(v, SPAN("//"));
		if (slash != SIZE_MAX && (scheme == SIZE_MAX || slash > scheme + 1))
			reading_name(r, span_from(v, slash + 1));
		else if (scheme == SIZE_MAX && span_chr(v, ':') == SIZE_MAX)
			reading_name(r, v);
	}
	}
}

/* One header as it came, folding included. */
static void
read_field(struct reading *r, struct span name, struct span value)
{
	static const char *const fields[] = { "Content-Type", "Content-Disposition", "Content-Transfer-Encoding", "Content-Description",
		"Content-Location" };
	size_t which = 0;
	name = trim_blank(name);
	if (!span_casestarts(name, SPAN("content-")))
		return;
	while (which < NELEMS(fields) && !span_caseeq_str(name, fields[which]))
		which++;
	r->has_content = true;
	if (which == NELEMS(fields))
		return;
	if (which < NELEMS(r->counts))
		r->counts[which]++;
	if (value.n > FIELD_MAX) {
		r->is_over = true;
		value = span_head(value, FIELD_MAX);
	}
	if (span_chr(value, '\n') == SIZE_MAX && span_chr(value, '\r') == SIZE_MAX) {
		read_value(r, (unsigned)which, value);
		return;
	}
	struct buf with, without; /* folded: with the blanks at the folds, and without them */
	buf_init(&with, FIELD_MAX + 1);
	buf_init(&without, FIELD_MAX + 1);
	bool at_fold = false;
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = value.p[i];
		if (c == '\r' || c == '\n') {
			at_fold = true;
			continue;
		}
		if (!at_fold || !is_blank(c)) {
			at_fold = false;
			buf_putc(&without, c);
		}
		buf_putc(&with, c);
	}
	read_value(r, (unsigned)which, buf_span(&with));
	read_value(r, (unsigned)which, buf_span(&without));
	buf_fini(&with);
	buf_fini(&without);
}

/* Octets up to the next line end, and that one: CRLF, LF or CR. */
static size_t
line_length(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '\n')
			return i + 1;
		if (s.p[i] == '\r')
			return i + 1 < s.n && s.p[i + 1] == '\n' ? i + 2 : i + 1;
	}
	return s.n;
}

void
reading_header(struct reading *r, struct span block)
{
	while (block.n > 0 && (block.p[0] == ' ' || block.p[0] == '\t'))
		block = span_from(block, 1);
	while (block.n > 0) {
		size_t len = line_length(block);
		struct span line = span_head(block, len);
		size_t colon = span_chr(line, ':');
		while (len < block.n && (block.p[len] == ' ' || block.p[len] == '\t'))
			len += line_length(span_from(block, len));
		if (colon != SIZE_MAX && colon > 0)
			read_field(r, span_head(line, colon), span_from(span_head(block, len), colon + 1));
		block = span_from(block, len);
	}
}
