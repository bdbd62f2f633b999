/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/mime.h"

#include "base/mem.h"

const struct mime_conf mime_conf_default = { .header_max = 102400, .line_max = 2048, .boundary_max = 2048, .nesting_max = 100 };

void
mime_init(struct mime *m, const struct mime_conf *conf)
{
	*m = (struct mime){ .conf = *conf, .subtype = MIME_SUB_PLAIN };
	BUG_ON(conf->line_max < 4);
	buf_init(&m->bounds, ((size_t)conf->nesting_max + 2) * conf->boundary_max);
	buf_init(&m->token, conf->header_max + conf->line_max);
}

void
mime_fini(struct mime *m)
{
	mem_free(&m->level);
	buf_fini(&m->bounds);
	buf_fini(&m->token);
	m->depth = m->cap = 0;
}

static void
fault(struct mime *m, struct mime_item *out, unsigned what)
{
	out->fault |= what & ~m->faults;
	m->faults |= what;
}

/* ---- what fields say ---- */

static bool
is_word(const struct mime_token *t, struct span word)
{
	return t->kind == 'a' && span_caseeq(t->text, word);
}

static enum mime_subtype
subtype_of(const struct mime_tokens *t)
{
	static const struct {
		struct span name;
		enum mime_subtype id;
	} known[] = { { SPAN("plain"), MIME_SUB_PLAIN }, { SPAN("rfc822"), MIME_SUB_RFC822 }, { SPAN("partial"), MIME_SUB_PARTIAL },
		{ SPAN("external-body"), MIME_SUB_EXTERNAL }, { SPAN("digest"), MIME_SUB_DIGEST } };
	if (t->n < 3 || t->tok[1].kind != '/')
		return MIME_SUB_OTHER;
	for (size_t i = 0; i < NELEMS(known); i++)
		if (is_word(&t->tok[2], known[i].name))
			return known[i].id;
	return MIME_SUB_OTHER;
}

static void
push(struct mime *m, struct span boundary, bool is_digest)
{
	if (m->depth == m->cap) {
		m->cap = m->cap > 0 ? m->cap * 2 : 4;
		m->level = mem_reallocarray(m->level, m->cap, sizeof *m->level);
	}
	boundary = span_head(boundary, m->conf.boundary_max);
	m->level[m->depth++] = (struct mime_level){ .at = buf_len(&m->bounds), .n = boundary.n, .is_digest = is_digest };
	buf_put(&m->bounds, boundary);
	BUG_ON(m->bounds.over);
}

static void
pop_to(struct mime *m, unsigned depth)
{
	if (depth < m->depth)
		buf_cut(&m->bounds, m->level[depth].at);
	m->depth = depth;
}

static void
content_type(struct mime *m, struct mime_item *out, struct span value)
{
	struct mime_tokens t;
	if (!mime_tokens(&value, MIME_SPECIALS, ';', &m->token, &t) || t.n == 0)
		return;
	m->subtype = subtype_of(&t);
	m->type = is_word(&t.tok[0], SPAN("text")) ? MIME_TEXT : is_word(&t.tok[0], SPAN("message")) ? MIME_MESSAGE :
	    is_word(&t.tok[0], SPAN("multipart")) ? MIME_MULTIPART : MIME_OTHER;
	while (m->type == MIME_MULTIPART && mime_tokens(&value, MIME_SPECIALS, ';', &m->token, &t)) {
		if (t.n < 3 || !is_word(&t.tok[0], SPAN("boundary")) || t.tok[1].kind != '=')
			continue;
		if (m->depth > m->conf.nesting_max + 1)
			fault(m, out, MIME_FAULT_NESTING);
		else
			push(m, t.tok[2].text, m->subtype == MIME_SUB_DIGEST);
	}
}

static const struct {
	struct span name;
	enum mime_encoding encoding, domain;
} encodings[] = {
	{ SPAN("7bit"), MIME_7BIT, MIME_7BIT }, { SPAN("8bit"), MIME_8BIT, MIME_8BIT }, { SPAN("binary"), MIME_BINARY, MIME_BINARY },
	{ SPAN("base64"), MIME_BASE64, MIME_7BIT }, { SPAN("quoted-printable"), MIME_QP, MIME_7BIT },
};

const char *
mime_encoding_name(enum mime_encoding e)
{
	return (const char *)encodings[e].name.p;
}

bool
mime_encoding_read(struct span value, struct buf *scratch, enum mime_encoding *encoding, enum mime_encoding *domain)
{
	struct mime_tokens t;
	if (!mime_tokens(&value, MIME_SPECIALS_822, 0, scratch, &t) || t.n == 0 || t.tok[0].kind != 'a')
		return false;
	for (size_t i = 0; i < NELEMS(encodings); i++)
		if (span_caseeq(t.tok[0].text, encodings[i].name)) {
			*encoding = encodings[i].encoding;
			*domain = encodings[i].domain;
			return true;
		}
	return false;
}

/* ---- headers ---- */

static void
begin_header(struct mime *m, enum mime_class class, bool is_message)
{
	m->state = MIME_IN_HEADER;
	m->class = class;
	m->type = is_message ? MIME_MESSAGE : MIME_TEXT;
	m->subtype = is_message ? MIME_SUB_RFC822 : MIME_SUB_PLAIN;
	m->encoding = m->domain = MIME_7BIT;
	m->seen = 0;
}

enum line { LINE_UNDECIDED, LINE_HEADER, LINE_EMPTY, LINE_NONE };

/* What begins at the front of in? A header has a name of printable characters, perhaps blanks, and a colon. */
static enum line
line_kind(struct mime *m, struct span in, bool at_end)
{
	size_t name = 0, max = in.n < m->conf.line_max ? in.n : m->conf.line_max;
	bool blank = false;
	if (in.n == 0)
		return at_end ? LINE_NONE : LINE_UNDECIDED;
	if (in.p[0] == '\n')
		return LINE_EMPTY;
	if (in.p[0] == '\r')
		return in.n == 1 ? (at_end ? LINE_NONE : LINE_UNDECIDED) : in.p[1] == '\n' ? LINE_EMPTY : LINE_NONE;
	for (size_t i = 0; i < max; i++) {
		unsigned char c = in.p[i];
		if (c == ':') {
			m->name_len = name;
			m->colon = i;
			return name > 0 ? LINE_HEADER : LINE_NONE;
		}
		if (c == ' ' || c == '\t') {
			if (name == 0)
				return LINE_NONE;
			blank = true;
		} else if (c < ' ' || c >= 0x7f || blank) {
			return LINE_NONE;
		} else {
			name++;
		}
	}
	return at_end || in.n >= m->conf.line_max ? LINE_NONE : LINE_UNDECIDED;
}

/* Where the header at the front of in ends; SIZE_MAX: not known yet, m->seen octets belong to it. */
static size_t
header_extent(struct mime *m, struct span in, bool at_end)
{
	for (;;) {
		size_t lf = span_chr(span_from(in, m->seen), '\n');
		if (lf == SIZE_MAX) {
			m->seen = in.n;
			return at_end ? in.n : SIZE_MAX;
		}
		size_t next = m->seen + lf + 1;
		if (next == in.n) {
			m->seen = next - 1;
			return at_end ? in.n : SIZE_MAX;
		}
		if (in.p[next] != ' ' && in.p[next] != '\t')
			return next;
		m->seen = next;
	}
}

static enum mime_event
tell_header(struct mime *m, struct span text, bool is_cut, struct mime_item *out)
{
	out->event = MIME_HEADER;
	out->text = text;
	out->class = m->class;
	out->name_len = m->name_len;
	out->colon = m->colon;
	out->is_cut = is_cut;
	out->field = mime_field_id(span_head(text, m->name_len));
	struct span value = span_from(text, m->colon + 1);
	if (is_cut)
		fault(m, out, MIME_FAULT_LONG);
	if ((m->conf.flags & MIME_OFF) == 0 && out->field == MIME_FIELD_TYPE)
		content_type(m, out, value);
	else if ((m->conf.flags & MIME_OFF) == 0 && out->field == MIME_FIELD_ENCODING)
		(void)mime_encoding_read(value, &m->token, &m->encoding, &m->domain);
	if ((m->conf.flags & MIME_WANT_7BIT_HEADERS) != 0 && (m->faults & MIME_FAULT_8BIT_HEADER) == 0 && !span_is_ascii(text))
		fault(m, out, MIME_FAULT_8BIT_HEADER);
	m->seen = 0;
	return MIME_HEADER;
}

static void
check_domain(struct mime *m, struct mime_item *out)
{
	bool bad = false;
	if (m->type == MIME_MULTIPART || (m->type == MIME_MESSAGE && m->subtype == MIME_SUB_RFC822))
		bad = m->encoding != m->domain;
	else if (m->type == MIME_MESSAGE && (m->subtype == MIME_SUB_PARTIAL || m->subtype == MIME_SUB_EXTERNAL))
		bad = m->domain != MIME_7BIT;
	if (bad)
		fault(m, out, MIME_FAULT_DOMAIN);
}

static enum mime_event
end_header(struct mime *m, struct span text, bool is_eof, struct mime_item *out)
{
	*out = (struct mime_item){ .event = MIME_HEADER_END, .text = text, .class = m->class, .type = m->type, .subtype = m->subtype,
		.encoding = m->encoding, .domain = m->domain, .is_eof = is_eof, .depth = m->depth };
	if ((m->conf.flags & MIME_WANT_DOMAIN) != 0)
		check_domain(m, out);
	m->seen = 0;
	m->offset = text.n > 0 ? 1 : 0;
	m->in_line = false;
	m->state = MIME_IN_BODY;
	if (text.n > 0 && m->type == MIME_MESSAGE && m->subtype == MIME_SUB_RFC822) {
		begin_header(m, MIME_NESTED, false);
	} else if (text.n > 0 && m->type == MIME_MULTIPART) {
		m->type = MIME_OTHER;
		m->subtype = MIME_SUB_OTHER;
		m->encoding = m->domain = MIME_7BIT;
	}
	return MIME_HEADER_END;
}

static enum mime_event
next_header(struct mime *m, struct span in, bool at_end, struct mime_item *out)
{
	if (m->seen == 0) {
		switch (line_kind(m, in, at_end)) {
		case LINE_UNDECIDED:
			return MIME_MORE;
		case LINE_EMPTY:
			return end_header(m, span_head(in, in.p[0] == '\r' ? 2 : 1), false, out);
		case LINE_NONE:
			return end_header(m, span_head(in, 0), in.n == 0, out);
		case LINE_HEADER:
			m->seen = m->colon + 1;
			break;
		}
	}
	size_t n = header_extent(m, in, at_end);
	if ((n == SIZE_MAX ? m->seen : n) > m->conf.header_max) {
		m->state = MIME_IN_REST;
		m->at_bol = in.p[m->conf.header_max - 1] == '\n';
		return tell_header(m, span_head(in, m->conf.header_max), true, out);
	}
	return n == SIZE_MAX ? MIME_MORE : tell_header(m, span_head(in, n), false, out);
}

/* Up to and with the line end, or all. */
static enum mime_event
rest_of_line(struct mime *m, struct span in, enum mime_event event, struct mime_item *out)
{
	size_t lf = span_chr(in, '\n');
	out->event = event;
	out->text = span_head(in, lf == SIZE_MAX ? in.n : lf + 1);
	out->is_end = m->at_bol = lf != SIZE_MAX;
	return event;
}

/* ---- bodies ---- */

/* A line, as much of one as is looked at at a time, or 0: more is needed. */
static size_t
line_piece(const struct mime *m, struct span in, bool at_end)
{
	size_t max = m->conf.line_max, lf = span_chr(span_head(in, max), '\n');
	if (lf != SIZE_MAX)
		return lf + 1;
	if (in.n < max)
		return at_end ? in.n : 0;
	if (in.p[max - 1] != '\r')
		return max;
	if (in.n == max) /* CRLF stays together */
		return at_end ? max : 0;
	return in.p[max] == '\n' ? max + 1 : max;
}

static bool
is_boundary(struct mime *m, struct span line, struct mime_item *out)
{
	struct span rest = span_from(line, 2), all = buf_span(&m->bounds);
	for (unsigned i = m->depth; i-- > 0;) {
		struct span b = span_head(span_from(all, m->level[i].at), m->level[i].n);
		if (!span_starts(rest, b))
			continue;
		out->depth = i + 1;
		out->is_close = span_starts(span_from(rest, b.n), SPAN("--"));
		bool is_digest = m->level[i].is_digest;
		pop_to(m, out->is_close ? i : i + 1);
		if (out->is_close) {
			m->state = MIME_IN_BODY;
			m->type = MIME_OTHER;
			m->subtype = MIME_SUB_OTHER;
			m->encoding = m->domain = MIME_7BIT;
			m->offset = 0;
		} else {
			begin_header(m, MIME_PART, is_digest);
		}
		return true;
	}
	return false;
}

static struct span
without_end(struct span line)
{
	if (line.n > 0 && line.p[line.n - 1] == '\n')
		line.n--;
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

static enum mime_event
tell_line(struct mime *m, struct span line, struct mime_item *out)
{
	struct span text = line.p[line.n - 1] == '\n' ? without_end(line) : line;
	out->event = MIME_BODY;
	out->text = line;
	out->is_begin = !m->in_line;
	out->is_end = text.n < line.n;
	out->encoding = m->encoding;
	if ((m->conf.flags & MIME_WANT_7BIT_BODY) != 0 && m->encoding == MIME_7BIT && (m->faults & MIME_FAULT_8BIT_BODY) == 0 && !span_is_ascii(text))
		fault(m, out, MIME_FAULT_8BIT_BODY);
	m->in_line = !out->is_end;
	if (out->is_begin && m->depth > 0 && text.n > 2 && text.p[0] == '-' && text.p[1] == '-' && is_boundary(m, text, out)) {
		out->event = MIME_BOUNDARY;
		m->is_closed = out->is_close;
		if (!out->is_end)
			m->state = MIME_IN_BOUNDARY;
		m->in_line = false;
	}
	out->offset = m->offset;
	m->offset += text.n + (out->is_end ? 1 : 0);
	return out->event;
}

/* How much of in holds no line that could be a boundary, and where no more need be known of it. Not at the beginning of one. */
static size_t
stretch(const struct mime *m, struct span in, bool at_end)
{
	if (m->depth == 0)
		return in.n;
	size_t at = span_find(in, SPAN("\n--"));
	if (at != SIZE_MAX)
		return at + 1;
	if (!at_end && in.n >= 2 && in.p[in.n - 1] == '-' && in.p[in.n - 2] == '\n')
		return in.n - 1;
	return in.n;
}

static enum mime_event
next_body(struct mime *m, struct span in, bool at_end, struct mime_item *out)
{
	if (in.n == 0)
		return MIME_MORE;
	bool by_line = m->offset < m->conf.lines_max;
	if (!by_line && !m->in_line && m->depth > 0 && in.p[0] == '-') {
		if (in.n == 1 && !at_end)
			return MIME_MORE;
		by_line = in.n > 1 && in.p[1] == '-';
	}
	if (by_line) {
		size_t n = line_piece(m, in, at_end);
		return n == 0 ? MIME_MORE : tell_line(m, span_head(in, n), out);
	}
	size_t n = stretch(m, in, at_end);
	out->event = MIME_BODY;
	out->text = span_head(in, n);
	out->is_begin = !m->in_line;
	out->is_end = in.p[n - 1] == '\n';
	out->encoding = m->encoding;
	out->offset = m->offset;
	m->in_line = !out->is_end;
	m->offset += n;
	return MIME_BODY;
}

enum mime_event
mime_next(struct mime *m, struct span in, bool at_end, struct mime_item *out)
{
	*out = (struct mime_item){ .event = MIME_MORE, .text = span_head(in, 0) };
	switch (m->state) {
	case MIME_IN_HEADER:
		return next_header(m, in, at_end, out);
	case MIME_IN_REST:
		if (in.n == 0 && !at_end)
			return MIME_MORE;
		if (in.n > 0 && (!m->at_bol || in.p[0] == ' ' || in.p[0] == '\t'))
			return rest_of_line(m, in, MIME_HEADER_REST, out);
		m->state = MIME_IN_HEADER;
		return next_header(m, in, at_end, out);
	case MIME_IN_BOUNDARY:
		if (in.n == 0)
			return MIME_MORE;
		out->is_close = m->is_closed;
		(void)rest_of_line(m, in, MIME_BOUNDARY, out);
		if (out->is_end)
			m->state = m->is_closed ? MIME_IN_BODY : MIME_IN_HEADER;
		return MIME_BOUNDARY;
	case MIME_IN_BODY:
		break;
	}
	return next_body(m, in, at_end, out);
}
