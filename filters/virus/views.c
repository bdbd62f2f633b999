/* SPDX-License-Identifier: GPL-2.0-only */
#include "filters/virus/views.h"

#include "base/clock.h"
#include "base/mem.h"
#include "msg/mime.h"

enum { RUN_MIN = 40, SCANS_MAX = 10000, TEXT_MIN = 64, TEXT_MAX = 1024, TEXTS_MAX = 200 };

struct views {
	struct engine *en;
	uint64_t until;
	struct virus_verdict *v;
	struct err *e;
	struct span message;
	unsigned scans;
};

/* ---- what is odd ---- */

/* A part that is a file to whoever gets it, and not in base64: libclamav puts a line end behind it, and its hash is another one then.
 * So is a short text, of a part or before and behind the parts: what is that small may be known by its hash alone. */
struct file {
	size_t at, n;                /* its body */
	bool is_qp, is_text;
};

struct survey {
	bool is_odd;                 /* a header that can be read in several ways */
	bool has_stray_base64, has_stray_qp, has_stray_uu, has_yenc;
	bool is_padded;              /* a line of base64 had padding: what follows in this part is read by some, and not by others */
	unsigned types, encodings;   /* of the header block at hand */
	bool is_strange_encoding, has_name;
	size_t run;                  /* octets of lines of nothing but base64, where they are not said to be */
	struct file *file;           /* heap */
	size_t nfiles, ntexts, cap;
	bool in_file;                /* the last of them is not over */
};

static bool
is_base64_octet(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=';
}

static struct span
without_end(struct span line)
{
	while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r' || line.p[line.n - 1] == ' ' || line.p[line.n - 1] == '\t'))
		line.n--;
	return line;
}

static bool
is_base64_line(struct span line)
{
	for (size_t i = 0; i < line.n; i++)
		if (!is_base64_octet(line.p[i]))
			return false;
	return line.n > 0;
}

static bool
is_hex(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}

static bool
has_qp(struct span line)
{
	for (size_t i = 0; i + 2 < line.n; i++)
		if (line.p[i] == '=' && is_hex(line.p[i + 1]) && is_hex(line.p[i + 2]))
			return true;
	return false;
}

static void
look_at_header(struct survey *s, const struct mime_item *it)
{
	static const char *const plain[] = { "7bit", "8bit", "binary", "base64", "quoted-printable" };
	struct span value = span_trim(span_from(it->text, it->colon + 1));
	if (it->field == MIME_FIELD_TYPE) {
		s->types++;
		s->has_name = s->has_name || span_find(value, SPAN("ame")) != SIZE_MAX;
		size_t first = span_find(value, SPAN("oundary")); /* two of them, in whatever form */
		if (first != SIZE_MAX && span_find(span_from(value, first + 7), SPAN("oundary")) != SIZE_MAX)
			s->is_odd = true;
	} else if (it->field == MIME_FIELD_ENCODING) {
		bool known = false;
		for (size_t i = 0; i < NELEMS(plain); i++)
			known = known || span_caseeq_str(value, plain[i]);
		s->encodings++;
		s->is_strange_encoding = s->is_strange_encoding || !known;
	} else if (it->field == MIME_FIELD_DISPOSITION) {
		s->has_name = true;
	}
}

static void
begin_file(struct survey *s, size_t at, bool is_qp, bool is_text)
{
	if (is_text && s->ntexts >= TEXTS_MAX)
		return;
	if (s->nfiles == SCANS_MAX) {
		s->is_odd = true;
		return;
	}
	if (s->nfiles == s->cap) {
		s->cap = s->cap > 0 ? s->cap * 2 : 16;
		s->file = mem_reallocarray(s->file, s->cap, sizeof *s->file);
	}
	s->file[s->nfiles++] = (struct file){ .at = at, .is_qp = is_qp, .is_text = is_text };
	s->ntexts += is_text;
	s->in_file = true;
}

static void
forget_text(struct survey *s)
{
	s->nfiles--;
	s->ntexts--;
	s->in_file = false;
}

/* The line end in front of a boundary is the boundary's. */
static void
end_file(struct survey *s, struct span message, size_t at, bool is_boundary)
{
	if (!s->in_file)
		return;
	struct file *f = &s->file[s->nfiles - 1];
	s->in_file = false;
	if (is_boundary && at > f->at && message.p[at - 1] == '\n')
		at--;
	if (is_boundary && at > f->at && message.p[at - 1] == '\r')
		at--;
	if (!is_boundary && f->is_text && at > f->at && message.p[at - 1] == '\n')
		at -= at - 1 > f->at && message.p[at - 2] == '\r' ? 2 : 1;
	f->n = at - f->at;
	size_t octets = f->is_qp ? f->n / 3 : f->n; /* at least */
	if (f->is_text && (f->n < TEXT_MIN || octets > TEXT_MAX))
		forget_text(s);
}

static void
look_at_header_end(struct survey *s, const struct mime_item *it, size_t at)
{
	bool is_compound = it->type == MIME_MULTIPART || it->type == MIME_MESSAGE;
	if (s->in_file && s->file[s->nfiles - 1].is_text) /* a part, and not the text behind the last one */
		forget_text(s);
	if (s->types > 1 || s->encodings > 1 || s->is_strange_encoding ||
	    (is_compound && (it->encoding == MIME_BASE64 || it->encoding == MIME_QP)))
		s->is_odd = true;
	else if (it->type != MIME_MESSAGE && (is_compound || it->encoding != MIME_BASE64))
		begin_file(s, at, it->encoding == MIME_QP, is_compound || (!s->has_name && it->type != MIME_OTHER));
	s->types = s->encodings = 0;
	s->is_strange_encoding = s->has_name = s->is_padded = false;
	s->run = 0;
}

static void
look_at_line(struct survey *s, struct span line, enum mime_encoding encoding)
{
	line = without_end(line);
	if (encoding == MIME_BASE64) {
		size_t padding = span_chr(line, '=');
		s->run = 0;
		s->is_odd = s->is_odd || (s->is_padded && is_base64_line(line)) || (padding != SIZE_MAX && padding + 2 < line.n);
		s->is_padded = s->is_padded || padding != SIZE_MAX;
		return;
	}
	s->run = is_base64_line(line) ? s->run + line.n : 0;
	s->has_stray_base64 = s->has_stray_base64 || s->run >= RUN_MIN;
	if (encoding != MIME_QP && !s->has_stray_qp)
		s->has_stray_qp = has_qp(line);
	if (line.n > 8 && line.p[0] == 'b' && span_starts(line, SPAN("begin ")))
		s->has_stray_uu = true;
	if (line.n > 8 && line.p[0] == '=' && span_starts(line, SPAN("=ybegin ")))
		s->has_yenc = true;
}

static void
survey(struct span message, struct survey *s)
{
	struct mime_conf conf = mime_conf_default;
	struct mime m;
	struct mime_item it;
	enum mime_encoding encoding = MIME_7BIT;
	conf.lines_max = UINT64_MAX;
	mime_init(&m, &conf);
	for (size_t at = 0; mime_next(&m, span_from(message, at), true, &it) != MIME_MORE; at += it.text.n) {
		if (it.event == MIME_HEADER) {
			look_at_header(s, &it);
		} else if (it.event == MIME_HEADER_END) {
			look_at_header_end(s, &it, at + it.text.n);
			encoding = it.encoding;
		} else if (it.event == MIME_BODY) {
			look_at_line(s, it.text, encoding);
		} else {
			if (it.event == MIME_BOUNDARY) {
				end_file(s, message, at, true);
				begin_file(s, at + it.text.n, false, true);
			}
			s->run = 0;
			s->is_padded = false;
		}
		s->is_odd = s->is_odd || (it.fault & MIME_FAULT_NESTING) != 0;
	}
	end_file(s, message, message.n, false);
	mime_fini(&m);
}

/* ---- other readings ---- */

static int
rank(enum virus_kind k)
{
	static const int ranks[VIRUS_KINDS] = { [VIRUS_FOUND] = 4, [VIRUS_ENCRYPTED] = 3, [VIRUS_MACRO] = 3, [VIRUS_LIMITS] = 2 };
	return ranks[k];
}

/* true: enough is known. */
static bool
scan_decoded(struct views *w, struct span octets, enum rc *rc)
{
	struct virus_verdict v;
	uint64_t now = clock_mono();
	if (octets.n == 0)
		return false;
	if (now >= w->until || w->scans++ >= SCANS_MAX) {
		if (rank(w->v->kind) < rank(VIRUS_LIMITS))
			*w->v = virus_verdict_why(VIRUS_LIMITS, "too many ways to read it");
		return true;
	}
	*rc = engine_scan(w->en, octets, w->until - now, &v, w->e);
	if (*rc == RC_OK && rank(v.kind) > rank(w->v->kind))
		*w->v = v;
	return *rc != RC_OK || w->v->kind == VIRUS_FOUND;
}

static signed char
base64_value(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return (signed char)(c - 'A');
	if (c >= 'a' && c <= 'z')
		return (signed char)(c - 'a' + 26);
	if (c >= '0' && c <= '9')
		return (signed char)(c - '0' + 52);
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* As lenient as can be: padding ends a group, what is no base64 is left out. */
static void
put_base64(struct buf *out, struct span in)
{
	unsigned bits = 0, n = 0;
	for (size_t i = 0; i < in.n; i++) {
		signed char v = base64_value(in.p[i]);
		if (in.p[i] == '=') {
			bits = n = 0;
			continue;
		}
		if (v < 0)
			continue;
		bits = bits << 6 | (unsigned)v;
		if ((n += 6) >= 8)
			buf_putc(out, (unsigned char)(bits >> (n -= 8)));
	}
}

static bool
scan_run(struct views *w, struct span run, struct buf *out, enum rc *rc)
{
	if (run.n < RUN_MIN)
		return false;
	buf_reset(out);
	put_base64(out, run);
	return scan_decoded(w, buf_span(out), rc);
}

/* Each stretch of lines that could be base64; where a line's length is no multiple of four, what follows the first such line once more. */
static enum rc
scan_base64(struct views *w, struct buf *out)
{
	enum rc rc = RC_OK;
	struct span rest = w->message;
	size_t from = 0, at = 0, again = 0; /* of the run, of the line; behind the line that may have shifted it, 0: none */
	for (;;) {
		size_t nl = span_chr(rest, '\n');
		struct span line = span_head(rest, nl == SIZE_MAX ? rest.n : nl + 1), bare = without_end(line);
		if (line.n > 0 && is_base64_line(bare)) {
			if (again == 0 && bare.n % 4 != 0)
				again = at + line.n;
		} else {
			struct span run = span_head(span_from(w->message, from), at - from);
			if (scan_run(w, run, out, &rc) || (again > 0 && again < at && scan_run(w, span_head(span_from(w->message, again), at - again), out, &rc)))
				return rc;
			from = at + line.n;
			again = 0;
		}
		if (line.n == 0)
			return rc;
		at += line.n;
		rest = span_from(rest, line.n);
	}
}

static unsigned
hex(unsigned char c)
{
	return c <= '9' ? c - (unsigned)'0' : (c | 32u) - 'a' + 10u;
}

static void
put_qp(struct buf *out, struct span in)
{
	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] != '=') {
			buf_putc(out, in.p[i]);
		} else if (i + 2 < in.n && is_hex(in.p[i + 1]) && is_hex(in.p[i + 2])) {
			buf_putc(out, (unsigned char)(hex(in.p[i + 1]) << 4 | hex(in.p[i + 2])));
			i += 2;
		} else if (i + 2 < in.n && in.p[i + 1] == '\r' && in.p[i + 2] == '\n') {
			i += 2;
		} else if (i + 1 < in.n && in.p[i + 1] == '\n') {
			i += 1;
		} else {
			buf_putc(out, '=');
		}
	}
}

/* All of the body, whatever its parts are said to be. */
static enum rc
scan_qp(struct views *w, struct buf *out)
{
	enum rc rc = RC_OK;
	size_t body = span_find(w->message, SPAN("\r\n\r\n"));
	buf_reset(out);
	put_qp(out, span_from(w->message, body == SIZE_MAX ? 0 : body + 4));
	(void)scan_decoded(w, buf_span(out), &rc);
	return rc;
}

static enum rc
scan_files(struct views *w, const struct survey *s, struct buf *out)
{
	enum rc rc = RC_OK;
	for (size_t i = 0; i < s->nfiles; i++) {
		struct span body = span_head(span_from(w->message, s->file[i].at), s->file[i].n);
		if (s->file[i].is_qp) {
			buf_reset(out);
			put_qp(out, body);
			body = buf_span(out);
		}
		if (scan_decoded(w, body, &rc))
			break;
	}
	return rc;
}

static void
put_uu_line(struct buf *out, struct span line)
{
	if (line.n < 2)
		return;
	size_t want = (line.p[0] - 32u) & 63u, have = 0;
	for (size_t i = 1; i < line.n && have < want; i += 4) {
		unsigned v = 0;
		for (size_t k = 0; k < 4; k++)
			v = v << 6 | ((i + k < line.n ? line.p[i + k] - 32u : 0) & 63u);
		for (int shift = 16; shift >= 0 && have < want; shift -= 8, have++)
			buf_putc(out, (unsigned char)(v >> shift));
	}
}

static void
put_yenc_line(struct buf *out, struct span line)
{
	for (size_t i = span_starts(line, SPAN("=y")) ? line.n : 0; i < line.n; i++) {
		unsigned char c = line.p[i];
		if (c == '=' && i + 1 < line.n)
			c = (unsigned char)(line.p[++i] - 64);
		buf_putc(out, (unsigned char)(c - 42));
	}
}

static bool
is_end_of(struct span line, bool is_yenc)
{
	return is_yenc ? span_starts(line, SPAN("=yend")) : span_eq_str(line, "end");
}

/* Files in lines: uuencode, yEnc. */
static enum rc
scan_lines(struct views *w, bool is_yenc, struct buf *out)
{
	enum rc rc = RC_OK;
	struct span rest = w->message;
	bool in_file = false;
	while (rest.n > 0) {
		size_t nl = span_chr(rest, '\n');
		struct span line = span_head(rest, nl == SIZE_MAX ? rest.n : nl + 1);
		rest = span_from(rest, line.n);
		while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r'))
			line.n--;
		if (!in_file && span_starts(line, is_yenc ? SPAN("=ybegin ") : SPAN("begin "))) {
			in_file = true;
			buf_reset(out);
			continue;
		}
		bool is_end = is_end_of(line, is_yenc) || rest.n == 0;
		if (in_file && is_yenc)
			put_yenc_line(out, line);
		else if (in_file && !span_eq_str(line, "end"))
			put_uu_line(out, line);
		if (in_file && is_end) {
			in_file = false;
			if (scan_decoded(w, buf_span(out), &rc))
				return rc;
		}
	}
	return rc;
}

enum rc
views_scan(struct engine *en, struct span message, uint64_t until, struct virus_verdict *v, struct err *e)
{
	struct survey s = { .is_odd = false };
	survey(message, &s);
	if (!s.is_odd && !s.has_stray_base64 && !s.has_stray_qp && !s.has_stray_uu && !s.has_yenc && s.nfiles == 0)
		return RC_OK;
	struct views w = { .en = en, .until = until, .v = v, .e = e, .message = message };
	struct buf out;
	buf_init(&out, message.n + 64);
	enum rc rc = scan_files(&w, &s, &out);
	if (rc == RC_OK && v->kind != VIRUS_FOUND && (s.is_odd || s.has_stray_base64))
		rc = scan_base64(&w, &out);
	if (rc == RC_OK && v->kind != VIRUS_FOUND && (s.is_odd || s.has_stray_qp))
		rc = scan_qp(&w, &out);
	if (rc == RC_OK && v->kind != VIRUS_FOUND && (s.is_odd || s.has_stray_uu))
		rc = scan_lines(&w, false, &out);
	if (rc == RC_OK && v->kind != VIRUS_FOUND && s.has_yenc)
		rc = scan_lines(&w, true, &out);
	buf_fini(&out);
	mem_free(&s.file);
	return rc;
}
