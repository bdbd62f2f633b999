/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/mime7.h"

enum { QP_LINE = 72 }; /* a longer line ends with a soft break: at most 76 octets, RFC 2045 6.7 */

void
mime7_init(struct mime7 *m)
{
	memset(m, 0, sizeof *m);
	buf_init(&m->line, MIME7_LINE_MAX);
	buf_init(&m->field, MIME7_FIELD_MAX);
	buf_init(&m->type, MIME7_FIELD_MAX);
	m->held = -1;
}

void
mime7_fini(struct mime7 *m)
{
	buf_fini(&m->line);
	buf_fini(&m->field);
	buf_fini(&m->type);
}

/* ---- quoted-printable ---- */

static void
qp_octet(struct mime7 *m, struct buf *out, unsigned char c, bool encode)
{
	static const char hex[] = "0123456789ABCDEF";
	if (m->col > QP_LINE) {
		buf_put(out, SPAN("=\r\n"));
		m->col = 0;
	}
	m->col += encode ? 3 : 1;
	if (!encode) {
		buf_putc(out, c);
		return;
	}
	buf_putc(out, '=');
	buf_putc(out, (unsigned char)hex[c >> 4]);
	buf_putc(out, (unsigned char)hex[c & 15]);
}

/* text: of one line, without its end. */
static void
qp_put(struct mime7 *m, struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = text.p[i];
		if (m->held >= 0)
			qp_octet(m, out, (unsigned char)m->held, false);
		m->held = c == ' ' || c == '\t' ? c : -1;
		if (m->held < 0)
			qp_octet(m, out, c, c == '=' || c < ' ' || c > '~');
	}
}

static void
qp_line_end(struct mime7 *m, struct buf *out)
{
	if (m->held >= 0)
		qp_octet(m, out, (unsigned char)m->held, true);
	m->held = -1;
	m->col = 0;
	buf_put(out, SPAN("\r\n"));
}

/* ---- fields ---- */

static void
trim_comment(struct span *s)
{
	for (;;) {
		*s = span_trim(*s);
		size_t end = s->n > 0 && s->p[0] == '(' ? span_chr(*s, ')') : SIZE_MAX;
		if (end == SIZE_MAX)
			return;
		*s = span_from(*s, end + 1);
	}
}

static enum mime7_cte
cte_of(struct span value)
{
	trim_comment(&value);
	size_t n = 0;
	while (n < value.n && value.p[n] > ' ' && value.p[n] != ';' && value.p[n] != '(')
		n++;
	value = span_head(value, n);
	if (span_caseeq(value, SPAN("8bit")))
		return CTE_8BIT;
	if (span_caseeq(value, SPAN("binary")))
		return CTE_BINARY;
	return span_caseeq(value, SPAN("7bit")) || value.n == 0 ? CTE_7BIT : CTE_OTHER;
}

static bool
is_wide(enum mime7_cte cte)
{
	return cte == CTE_8BIT || cte == CTE_BINARY;
}

static void
say_cte(struct buf *out, const char *cte)
{
	buf_put(out, SPAN("Content-Transfer-Encoding: "));
	buf_puts(out, cte);
	buf_put(out, SPAN("\r\n"));
}

/* What was put aside is said after all. */
static void
say_old_cte(struct mime7 *m, struct buf *out)
{
	if (is_wide(m->cte))
		say_cte(out, m->cte == CTE_BINARY ? "binary" : "8bit");
}

/* The collected field is complete. One that says 8bit is put aside: what is right is said at the end of the header. */
static void
end_field(struct mime7 *m, struct buf *out)
{
	struct span text = buf_span(&m->field), value = span_from(text, span_chr(text, ':') + 1);
	bool pass = true;
	if (m->kind == FIELD_CTE) {
		enum mime7_cte cte = cte_of(value);
		pass = !is_wide(cte) || (m->cte != CTE_NONE && !is_wide(m->cte));
		if (m->cte == CTE_NONE || (is_wide(m->cte) && is_wide(cte))) {
			m->cte = cte;
		} else if (cte != m->cte) { /* it says two things: believe none */
			say_old_cte(m, out);
			m->cte = CTE_OTHER;
		}
	} else if (m->kind == FIELD_TYPE && !m->has_type) {
		m->has_type = true;
		buf_put(&m->type, value);
	}
	if (pass)
		buf_put(out, text);
	buf_reset(&m->field);
	m->kind = FIELD_OTHER;
}

/* The value of boundary= in a Content-Type. */
static bool
boundary_of(struct span type, struct span *out)
{
	for (;;) {
		/* to the next parameter, over quoted strings */
		size_t i = 0;
		while (i < type.n && type.p[i] != ';') {
			if (type.p[i] != '"') {
				i++;
				continue;
			}
			for (i++; i < type.n && type.p[i] != '"'; i++)
				i += type.p[i] == '\\';
			i++;
		}
		if (i >= type.n)
			return false;
		type = span_from(type, i + 1);
		struct span name = span_trim(span_head(type, span_chr(type, '=')));
		if (!span_caseeq(name, SPAN("boundary")))
			continue;
		struct span v = span_trim(span_from(type, span_chr(type, '=') + 1));
		size_t n = 0;
		if (v.n > 0 && v.p[0] == '"') {
			v = span_from(v, 1);
			n = span_chr(v, '"');
			if (n == SIZE_MAX || span_chr(span_head(v, n), '\\') != SIZE_MAX)
				return false;
		} else {
			while (n < v.n && v.p[n] > ' ' && v.p[n] != ';' && v.p[n] != '(')
				n++;
		}
		*out = span_rtrim(span_head(v, n));
		return out->n > 0 && out->n <= MIME7_BOUNDARY_MAX && span_chr(*out, '\r') == SIZE_MAX;
	}
}

/* ---- parts ---- */

static void
begin_header(struct mime7 *m, bool default_message)
{
	m->state = MIME7_HEADER;
	m->kind = FIELD_OTHER;
	m->cte = CTE_NONE;
	m->has_type = m->is_lost = false;
	m->default_message = default_message;
	buf_reset(&m->field);
	buf_reset(&m->type);
}

static bool
is_rfc822(struct span type)
{
	struct span rest = span_from(type, 14);
	return span_casestarts(type, SPAN("message/rfc822")) && (rest.n == 0 || rest.p[0] <= ' ' || rest.p[0] == ';' || rest.p[0] == '(');
}

/* The header is over: what is the body, and what does the header have to say about it? Without a body nothing changes. */
static void
end_header(struct mime7 *m, struct buf *out, bool has_body)
{
	end_field(m, out);
	struct span type = buf_span(&m->type), boundary;
	trim_comment(&type);
	bool wide = is_wide(m->cte), plain = wide || m->cte == CTE_NONE || m->cte == CTE_7BIT;
	bool is_multi = span_casestarts(type, SPAN("multipart/"));
	bool is_message = m->has_type ? span_casestarts(type, SPAN("message/")) : m->default_message;
	m->state = MIME7_COPY;
	m->col = 0;
	m->held = -1;
	if (!has_body || m->is_lost) {
		say_old_cte(m, out);
	} else if (is_multi && plain && m->depth < MIME7_DEPTH_MAX && boundary_of(type, &boundary)) {
		m->stack[m->depth].n = (unsigned char)boundary.n;
		memcpy(m->stack[m->depth].text, boundary.p, boundary.n);
		m->stack[m->depth++].is_digest = span_casestarts(type, SPAN("multipart/digest"));
		if (wide)
			say_cte(out, "7bit");
	} else if (is_message && plain && (!m->has_type || is_rfc822(type))) {
		if (wide)
			say_cte(out, "7bit");
		begin_header(m, false);
	} else if (is_multi || is_message) {
		say_old_cte(m, out);
	} else if (wide) {
		say_cte(out, "quoted-printable");
		m->state = MIME7_ENCODE;
	}
}

/* A boundary of a multipart around us: everything inside of it is over. */
static bool
is_boundary(struct mime7 *m, struct buf *out, struct span text)
{
	if (m->depth == 0 || text.n < 3 || text.p[0] != '-' || text.p[1] != '-')
		return false;
	struct span rest = span_rtrim(span_from(text, 2));
	for (unsigned i = m->depth; i-- > 0;) {
		struct span b = span_of(m->stack[i].text, m->stack[i].n);
		if (!span_starts(rest, b))
			continue;
		struct span behind = span_from(rest, b.n);
		bool is_end = span_eq(behind, SPAN("--"));
		if (behind.n > 0 && !is_end)
			continue;
		if (m->state == MIME7_HEADER)
			end_header(m, out, false);
		m->depth = is_end ? i : i + 1;
		if (is_end)
			m->state = MIME7_COPY;
		else
			begin_header(m, m->stack[i].is_digest);
		return true;
	}
	return false;
}

static enum mime7_field
field_of(struct span line)
{
	struct span name = span_rtrim(span_head(line, span_chr(line, ':')));
	if (span_caseeq(name, SPAN("Content-Type")))
		return FIELD_TYPE;
	return span_caseeq(name, SPAN("Content-Transfer-Encoding")) ? FIELD_CTE : FIELD_OTHER;
}

static bool
is_field(struct span line)
{
	size_t colon = span_chr(line, ':');
	if (colon == SIZE_MAX || colon == 0)
		return false;
	for (size_t i = 0; i < colon; i++)
		if (line.p[i] < ' ' || line.p[i] > '~')
			return false;
	return true;
}

/* Passes on, or puts aside what has to be understood first. */
static void
header_octets(struct mime7 *m, struct buf *out, struct span in)
{
	if (m->kind == FIELD_OTHER) {
		buf_put(out, in);
		return;
	}
	if (buf_len(&m->field) + in.n <= MIME7_FIELD_MAX) {
		buf_put(&m->field, in);
		return;
	}
	/* too long to be understood: on it goes as it is */
	buf_put(out, buf_span(&m->field));
	buf_put(out, in);
	buf_reset(&m->field);
	if (m->kind == FIELD_TYPE) {
		m->has_type = m->is_lost = true;
	} else {
		say_old_cte(m, out);
		m->cte = CTE_OTHER;
	}
	m->kind = FIELD_OTHER;
}

static void
header_line(struct mime7 *m, struct buf *out, struct span line, struct span text, bool is_whole)
{
	if (line.p[0] == ' ' || line.p[0] == '\t') {
		header_octets(m, out, line);
		return;
	}
	if (is_whole && text.n == 0) {
		end_header(m, out, true);
		buf_put(out, line);
		return;
	}
	end_field(m, out);
	if (!is_field(text)) { /* broken: nobody knows where the body begins, so it is left alone */
		say_old_cte(m, out);
		m->state = MIME7_COPY;
		buf_put(out, line);
		return;
	}
	m->kind = field_of(text);
	header_octets(m, out, line);
}

/* A line, or as much of one as is looked at at a time; is_begin: from its beginning; its end is there if it has one. */
static void
take(struct mime7 *m, struct buf *out, struct span line, bool is_begin)
{
	bool has_end = line.n > 0 && line.p[line.n - 1] == '\n';
	struct span text = line;
	if (has_end)
		text = span_head(line, line.n >= 2 && line.p[line.n - 2] == '\r' ? line.n - 2 : line.n - 1);
	if (is_begin && has_end && is_boundary(m, out, text)) {
		buf_put(out, line);
	} else if (m->state == MIME7_ENCODE) {
		qp_put(m, out, text);
		if (has_end)
			qp_line_end(m, out);
	} else if (m->state == MIME7_COPY) {
		buf_put(out, line);
	} else if (is_begin) {
		header_line(m, out, line, text, has_end);
	} else {
		header_octets(m, out, line);
	}
}

void
mime7_put(struct mime7 *m, struct buf *out, struct span in)
{
	while (in.n > 0) {
		size_t lf = span_chr(in, '\n');
		size_t n = lf == SIZE_MAX ? in.n : lf + 1, have = buf_len(&m->line);
		bool has_end = lf != SIZE_MAX;
		if (n > MIME7_LINE_MAX - have) {
			n = MIME7_LINE_MAX - have;
			has_end = false;
			/* CRLF stays together */
			if (have + n > 1 && n > 1 && in.p[n - 1] == '\r')
				n--;
		}
		bool full = !has_end && have + n >= MIME7_LINE_MAX - 1;
		struct span s = span_head(in, n);
		in = span_from(in, n);
		if (have > 0 || (!has_end && !full)) {
			buf_put(&m->line, s);
			s = buf_span(&m->line);
		}
		if (!has_end && !full)
			return;
		take(m, out, s, !m->in_line);
		m->in_line = !has_end;
		buf_reset(&m->line);
	}
}

void
mime7_end(struct mime7 *m, struct buf *out)
{
	if (buf_len(&m->line) > 0)
		take(m, out, buf_span(&m->line), !m->in_line);
	buf_reset(&m->line);
	m->in_line = false;
	if (m->state == MIME7_HEADER)
		end_header(m, out, false);
	else if (m->state == MIME7_ENCODE && m->held >= 0)
		qp_octet(m, out, (unsigned char)m->held, true);
	m->held = -1;
}
