/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/mime7.h"

enum { QP_LINE = 72 }; /* a longer line ends with a soft break: at most 76 octets, RFC 2045 6.7 */

static const struct mime_conf conf = { .header_max = MIME7_FIELD_MAX, .line_max = MIME7_LINE_MAX, .boundary_max = MIME7_BOUNDARY_MAX, .nesting_max = MIME7_DEPTH_MAX - 2 };

void
mime7_init(struct mime7 *m)
{
	*m = (struct mime7){ .held = -1 };
	mime_reader_init(&m->reader, &conf);
}

void
mime7_fini(struct mime7 *m)
{
	mime_reader_fini(&m->reader);
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

/* ---- headers ---- */

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

static enum mime7_cte
cte_of(struct mime7 *m, const struct mime_item *it)
{
	enum mime_encoding encoding, domain;
	if (it->is_cut || !mime_encoding_read(span_from(it->text, it->colon + 1), &m->reader.mime.token, &encoding, &domain))
		return CTE_OTHER;
	return encoding == MIME_8BIT ? CTE_8BIT : encoding == MIME_BINARY ? CTE_BINARY : encoding == MIME_7BIT ? CTE_7BIT : CTE_OTHER;
}

/* One that says 8bit is put aside: what is right is said at the end of the header. */
static void
header(struct mime7 *m, struct buf *out, const struct mime_item *it)
{
	bool pass = true;
	if (it->field == MIME_FIELD_ENCODING) {
		enum mime7_cte cte = cte_of(m, it);
		pass = !is_wide(cte) || (m->cte != CTE_NONE && !is_wide(m->cte));
		if (m->cte == CTE_NONE || (is_wide(m->cte) && is_wide(cte))) {
			m->cte = cte;
		} else if (cte != m->cte) { /* it says two things: believe none */
			say_old_cte(m, out);
			m->cte = CTE_OTHER;
		}
	} else if (it->field == MIME_FIELD_TYPE) {
		m->is_lost |= it->is_cut;
	}
	if (pass)
		buf_put(out, it->text);
}

/* The header is over: what is the body, and what does the header have to say about it? Without a body nothing changes. */
static void
header_end(struct mime7 *m, struct buf *out, const struct mime_item *it)
{
	bool has_body = it->text.n > 0, has_parts = it->depth > m->depth;
	bool is_container = (it->type == MIME_MULTIPART && has_parts) || (it->type == MIME_MESSAGE && it->subtype == MIME_SUB_RFC822);
	m->encodes = false;
	m->col = 0;
	m->held = -1;
	if (!has_body || m->is_lost) {
		say_old_cte(m, out);
	} else if (is_container) {
		if (is_wide(m->cte))
			say_cte(out, "7bit");
	} else if (it->type == MIME_MULTIPART || it->type == MIME_MESSAGE) {
		say_old_cte(m, out);
	} else if (is_wide(m->cte)) {
		say_cte(out, "quoted-printable");
		m->encodes = true;
	}
	buf_put(out, it->text);
	m->cte = CTE_NONE;
	m->is_lost = false;
	m->depth = it->depth;
	m->reader.mime.conf.lines_max = m->encodes ? UINT64_MAX : 0;
}

/* ---- all of it ---- */

static void
take(struct mime7 *m, struct buf *out)
{
	struct mime_item it;
	while (mime_reader_next(&m->reader, &it) != MIME_MORE) {
		if (it.event == MIME_HEADER) {
			header(m, out, &it);
		} else if (it.event == MIME_HEADER_END) {
			header_end(m, out, &it);
		} else if (it.event == MIME_BODY && m->encodes) {
			size_t end = it.is_end ? it.text.n >= 2 && it.text.p[it.text.n - 2] == '\r' ? 2 : 1 : 0;
			qp_put(m, out, span_head(it.text, it.text.n - end));
			if (it.is_end)
				qp_line_end(m, out);
		} else {
			buf_put(out, it.text);
		}
		if (it.event == MIME_BOUNDARY && it.is_begin) {
			m->encodes = false;
			m->depth = it.is_close ? it.depth - 1 : it.depth;
			m->reader.mime.conf.lines_max = 0;
		}
	}
}

void
mime7_put(struct mime7 *m, struct buf *out, struct span in)
{
	mime_reader_put(&m->reader, in);
	take(m, out);
}

void
mime7_end(struct mime7 *m, struct buf *out)
{
	mime_reader_end(&m->reader);
	take(m, out);
	if (m->encodes && m->held >= 0)
		qp_octet(m, out, (unsigned char)m->held, true);
	m->held = -1;
}
