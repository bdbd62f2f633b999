/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/hubreply.h"

static enum rc take_line(struct hubreply *r, struct span line);

void
hubreply_init(struct hubreply *r)
{
	*r = (struct hubreply){ 0 };
	buf_init(&r->text, HUBREPLY_BYTES_MAX);
	buf_init(&r->line, HUBREPLY_LINE_MAX);
}

void
hubreply_fini(struct hubreply *r)
{
	buf_fini(&r->text);
	buf_fini(&r->line);
}

bool
hubreply_in_progress(const struct hubreply *r)
{
	return !r->whole && (r->lines > 0 || buf_len(&r->line) > 0);
}

enum rc
hubreply_feed(struct hubreply *r, struct span in, size_t *used_out)
{
	*used_out = 0;
	if (r->whole) {
		buf_reset(&r->text);
		r->lines = 0;
		r->whole = false;
	}
	while (in.n > *used_out) {
		struct span rest = span_from(in, *used_out);
		size_t lf = span_chr(rest, '\n');
		size_t n = lf == SIZE_MAX ? rest.n : lf + 1;
		if (n > HUBREPLY_LINE_MAX - buf_len(&r->line))
			return RC_PERM;
		*used_out += n;
		struct span line = span_head(rest, n);
		if (lf == SIZE_MAX || buf_len(&r->line) > 0)
			buf_put(&r->line, line);
		if (lf == SIZE_MAX)
			return RC_NONE;
		if (buf_len(&r->line) > 0)
			line = buf_span(&r->line);
		enum rc rc = take_line(r, line);
		buf_reset(&r->line);
		if (rc != RC_NONE)
			return rc;
	}
	return RC_NONE;
}

/* One line with its end. RC_OK: it was the last. */
static enum rc
take_line(struct hubreply *r, struct span line)
{
	if (line.n < 5 || line.p[line.n - 2] != '\r')
		return RC_PERM;
	line.n -= 2;
	for (size_t i = 0; i < 3; i++)
		if (line.p[i] < '0' || line.p[i] > '9')
			return RC_PERM;
	int code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + line.p[2] - '0';
	unsigned char sep = line.n > 3 ? line.p[3] : ' ';
	if (code < 200 || code > 599 || (sep != ' ' && sep != '-') || (r->lines > 0 && code != r->code))
		return RC_PERM;
	if (memchr(line.p, '\0', line.n) != NULL || memchr(line.p, '\r', line.n) != NULL || r->lines == HUBREPLY_LINES_MAX)
		return RC_PERM;
	if (r->lines > 0)
		buf_putc(&r->text, '\n');
	buf_put(&r->text, line);
	if (r->text.over)
		return RC_PERM;
	r->code = code;
	r->lines++;
	r->whole = sep == ' ';
	return r->whole ? RC_OK : RC_NONE;
}

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 3463: class "." 1*3digit "." 1*3digit */
bool
dsn_parse(struct span text, struct span *out)
{
	if (text.n < 5 || (text.p[0] != '2' && text.p[0] != '4' && text.p[0] != '5'))
		return false;
	size_t at = 1;
	for (int part = 0; part < 2; part++) {
		if (at >= text.n || text.p[at] != '.')
			return false;
		size_t start = ++at;
		while (at < text.n && at - start < 3 && is_digit(text.p[at]))
			at++;
		if (at == start)
			return false;
	}
	if (at < text.n && text.p[at] != ' ')
		return false;
	*out = span_head(text, at);
	return true;
}

struct span
hubreply_dsn(const struct hubreply *r)
{
	struct span dsn, last = hubreply_line(r, r->lines > 0 ? r->lines - 1 : 0);
	if (dsn_parse(last, &dsn) && dsn.p[0] - '0' == r->code / 100)
		return dsn;
	switch (r->code / 100) {
	case 2:
	case 3:
		return SPAN("2.0.0");
	case 4:
		return SPAN("4.0.0");
	default:
		return SPAN("5.0.0");
	}
}

void
hubreply_write(const struct hubreply *r, struct buf *out)
{
	struct span s = buf_span(&r->text);
	for (size_t n; (n = span_chr(s, '\n')) != SIZE_MAX; s = span_from(s, n + 1)) {
		buf_put(out, span_head(s, n));
		buf_putc(out, ' ');
	}
	buf_put(out, s);
}

struct span
hubreply_line(const struct hubreply *r, unsigned i)
{
	struct span s = buf_span(&r->text);
	for (; i > 0; i--) {
		size_t n = span_chr(s, '\n');
		if (n == SIZE_MAX)
			return SPAN_EMPTY;
		s = span_from(s, n + 1);
	}
	size_t n = span_chr(s, '\n');
	return span_from(n == SIZE_MAX ? s : span_head(s, n), 4);
}
