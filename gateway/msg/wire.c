/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/wire.h"

void
wire_init(struct wire *w, bool stuff, size_t line_max)
{
	*w = (struct wire){ .stuff = stuff, .line_max = line_max > 0 ? line_max : SIZE_MAX };
	if (w->line_max < 2) /* a folded line begins with a space and must get on */
		w->line_max = 2;
}

/* Octets of whole lines at the front of in that need no change; in begins at the start of a line. */
static size_t
clean_lines(bool stuff, size_t line_max, struct span in)
{
	const unsigned char *p = in.p, *end = in.p + in.n;
	/* where the next CR is, looked for once: normally it ends the line */
	while (p < end) {
		const unsigned char *cr = memchr(p, '\r', (size_t)(end - p));
		if (cr == NULL || cr + 1 == end || cr[1] != '\n' || (size_t)(cr - p) > line_max)
			break;
		if ((stuff && *p == '.') || memchr(p, '\n', (size_t)(cr - p)) != NULL)
			break;
		p = cr + 2;
	}
	return (size_t)(p - in.p);
}

bool
wire_is_clean(bool stuff, size_t line_max, struct span in)
{
	return in.n == 0 || clean_lines(stuff, line_max > 0 ? line_max : SIZE_MAX, in) == in.n;
}

/* A piece of a line without CR and LF. */
static void
put_text(struct wire *w, struct buf *out, struct span s)
{
	if (s.n > 0 && w->col == 0 && w->stuff && s.p[0] == '.')
		buf_putc(out, '.');
	while (s.n > w->line_max - w->col) {
		size_t room = w->line_max - w->col;
		buf_put(out, span_head(s, room));
		buf_put(out, SPAN("\r\n "));
		s = span_from(s, room);
		w->col = 1;
	}
	buf_put(out, s);
	w->col += s.n;
}

static void
put_space(struct wire *w, struct buf *out)
{
	put_text(w, out, SPAN(" "));
}

static void
end_line(struct wire *w, struct buf *out)
{
	buf_put(out, SPAN("\r\n"));
	w->col = 0;
}

/* Up to and with the next LF, or all of it. Returns what was taken. */
static size_t
put_line(struct wire *w, struct buf *out, struct span in)
{
	if (w->cr) {
		w->cr = false;
		if (in.p[0] == '\n') {
			end_line(w, out);
			return 1;
		}
		put_space(w, out);
	}
	size_t lf = span_chr(in, '\n');
	bool has_lf = lf != SIZE_MAX;
	struct span text = has_lf ? span_head(in, lf) : in;
	size_t taken = has_lf ? lf + 1 : in.n;
	bool ends_cr = text.n > 0 && text.p[text.n - 1] == '\r';
	if (ends_cr)
		text.n--;
	for (size_t at; (at = span_chr(text, '\r')) != SIZE_MAX; text = span_from(text, at + 1)) {
		put_text(w, out, span_head(text, at));
		put_space(w, out);
	}
	put_text(w, out, text);
	if (has_lf && ends_cr)
		end_line(w, out);
	else if (has_lf)
		put_space(w, out);
	else
		w->cr = ends_cr;
	return taken;
}

void
wire_put(struct wire *w, struct buf *out, struct span in)
{
	while (in.n > 0) {
		size_t n = w->col == 0 && !w->cr ? clean_lines(w->stuff, w->line_max, in) : 0;
		if (n > 0)
			buf_put(out, span_head(in, n));
		else
			n = put_line(w, out, in);
		in = span_from(in, n);
	}
}

void
wire_end(struct wire *w, struct buf *out)
{
	if (w->cr)
		put_space(w, out);
	w->cr = false;
	if (w->col > 0)
		end_line(w, out);
}
