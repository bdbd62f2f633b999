/* SPDX-License-Identifier: BSD-2-Clause */
#include "filters/milter_wire.h"

enum mw_state
mw_next(struct span in, struct mw_frame *out, uint32_t *length_out)
{
	struct cur c = cur_of(in);
	uint32_t n = cur_be32(&c);
	if (c.bad)
		return MW_MORE;
	*length_out = n;
	if (n < 1 || n > MW_FRAME_MAX)
		return MW_BAD;
	if (cur_left(&c) < n)
		return MW_MORE;
	out->cmd = cur_u8(&c);
	out->data = cur_take(&c, n - 1);
	out->used = 4 + (size_t)n;
	return MW_FRAME;
}

/* The string at the front of *rest, without its NUL. */
static bool
take_string(struct span *rest, struct span *out)
{
	size_t nul = span_chr(*rest, '\0');
	if (nul == SIZE_MAX)
		return false;
	*out = span_head(*rest, nul);
	*rest = span_from(*rest, nul + 1);
	return true;
}

enum rc
mw_one(struct span data, struct span *a, struct span *rest)
{
	if (!take_string(&data, a))
		return RC_PERM;
	if (rest != NULL)
		*rest = data;
	return rest != NULL || data.n == 0 ? RC_OK : RC_PERM;
}

enum rc
mw_two(struct span data, struct span *a, struct span *b)
{
	return take_string(&data, a) && take_string(&data, b) && data.n == 0 ? RC_OK : RC_PERM;
}

enum rc
mw_indexed(struct span data, uint32_t *index, struct span *a, struct span *b)
{
	struct cur c = cur_of(data);
	*index = cur_be32(&c);
	return c.bad ? RC_PERM : mw_two(span_from(data, 4), a, b);
}

enum rc
mw_options(struct span data, struct mw_options *out)
{
	struct cur c = cur_of(data);
	*out = (struct mw_options){ 0 };
	out->version = cur_be32(&c);
	out->actions = cur_be32(&c);
	out->steps = cur_be32(&c);
	while (!c.bad && cur_left(&c) > 0) {
		uint32_t stage = cur_be32(&c);
		struct span rest = span_of(c.p, cur_left(&c)), names;
		if (c.bad || !take_string(&rest, &names))
			return RC_PERM;
		c = cur_of(rest);
		if (stage >= MW_STAGES) {
			out->has_strange_stage = true;
			continue;
		}
		out->symlist[stage] = names;
		out->has_symlist[stage] = true;
	}
	return c.bad ? RC_PERM : RC_OK;
}

/* ---- reply texts ---- */

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

/* "554", alone or with a blank or hyphen and text behind; an enhanced code, if it has one, of the same class. */
static bool
is_reply_front(struct span s)
{
	if (s.n < 5 || (s.p[0] != '4' && s.p[0] != '5') || !is_digit(s.p[1]) || !is_digit(s.p[2]) || (s.p[3] != ' ' && s.p[3] != '-'))
		return false;
	bool has_enhanced = s.n >= 6 && is_digit(s.p[4]) && s.p[5] == '.';
	return !has_enhanced || s.p[4] == s.p[0];
}

/* %% is %, a lone one is nothing; what remains is clean. */
static void
put_text(struct buf *out, struct span s)
{
	while (s.n > 0 && !out->over) {
		size_t at = span_chr(s, '%');
		struct span piece = span_head(s, at);
		buf_put_safe(out, piece, piece.n, true);
		if (at == SIZE_MAX)
			return;
		s = span_from(s, at + 1);
		if (s.n > 0 && s.p[0] == '%') {
			buf_putc(out, '%');
			s = span_from(s, 1);
		}
	}
}

enum rc
mw_reply(struct span data, struct buf *out, unsigned *code_out)
{
	size_t nul = span_chr(data, '\0');
	struct span rest = span_head(data, nul);
	struct span code = span_head(rest, 3);
	bool first = true;
	if (!is_reply_front(rest) || (nul != SIZE_MAX && nul + 1 != data.n))
		return RC_PERM;
	*code_out = (unsigned)(code.p[0] - '0') * 100 + (unsigned)(code.p[1] - '0') * 10 + (unsigned)(code.p[2] - '0');
	while (rest.n > 0) {
		size_t lf = span_chr(rest, '\n');
		struct span line = span_head(rest, lf);
		rest = lf == SIZE_MAX ? SPAN_EMPTY : span_from(rest, lf + 1);
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n == 0)
			continue;
		bool has_front = line.n >= 4 && span_starts(line, code) && (line.p[3] == ' ' || line.p[3] == '-');
		if (has_front)
			line = span_from(line, 4);
		size_t room = out->max - buf_len(out);
		if (room < 6 || line.n > room - 6)
			line = span_head(line, room < 6 ? 0 : room - 6);
		if (room < 6)
			break;
		if (!first)
			buf_putc(out, '\n');
		first = false;
		buf_put(out, code);
		buf_putc(out, '-');
		put_text(out, line);
	}
	/* the last line has a space behind its code */
	struct span all = buf_span(out);
	size_t last = span_rchr(all, '\n');
	out->p[out->at + (last == SIZE_MAX ? 0 : last + 1) + 3] = ' ';
	return out->over ? RC_PERM : RC_OK;
}

/* ---- writing ---- */

void
mw_be32(struct buf *b, uint32_t v)
{
	const unsigned char o[4] = { (unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v };
	buf_put(b, span_of(o, sizeof o));
}

size_t
mw_begin(struct buf *b, unsigned char cmd)
{
	size_t mark = buf_len(b);
	const unsigned char head[5] = { 0, 0, 0, 0, cmd };
	buf_put(b, span_of(head, sizeof head));
	return mark;
}

void
mw_end(struct buf *b, size_t mark)
{
	if (b->over)
		return; /* the connection breaks */
	unsigned char *p = b->p + b->at + mark;
	size_t n = buf_len(b) - mark - 4;
	p[0] = (unsigned char)(n >> 24);
	p[1] = (unsigned char)(n >> 16);
	p[2] = (unsigned char)(n >> 8);
	p[3] = (unsigned char)n;
}

void
mw_simple(struct buf *b, unsigned char cmd)
{
	const unsigned char all[5] = { 0, 0, 0, 1, cmd };
	buf_put(b, span_of(all, sizeof all));
}

void
mw_string(struct buf *b, struct span s)
{
	unsigned char *p = buf_reserve(b, s.n + 1);
	if (p == NULL)
		return;
	for (size_t i = 0; i < s.n; i++)
		p[i] = s.p[i] == '\0' || s.p[i] == '\r' || s.p[i] == '\n' ? ' ' : s.p[i];
	p[s.n] = '\0';
	buf_commit(b, s.n + 1);
}

void
mw_value(struct buf *b, struct span s)
{
	unsigned char *p = buf_reserve(b, s.n + 1);
	size_t n = 0;
	if (p == NULL)
		return;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = s.p[i];
		if (c == '\r' && i + 1 < s.n && s.p[i + 1] == '\n')
			continue;
		p[n++] = c == '\0' ? ' ' : c;
	}
	p[n++] = '\0';
	buf_commit(b, n);
}

/* ---- names ---- */

struct named {
	unsigned char cmd;
	const char *name;
};

static const char *
name_of(const struct named *rows, size_t n, unsigned char cmd, const char *otherwise)
{
	for (size_t i = 0; i < n; i++)
		if (rows[i].cmd == cmd)
			return rows[i].name;
	return otherwise;
}

const char *
mw_command_name(unsigned char cmd)
{
#define ROW(name) { name, #name }
	static const struct named rows[] = { ROW(SMFIC_ABORT), ROW(SMFIC_BODY), ROW(SMFIC_CONNECT), ROW(SMFIC_MACRO), ROW(SMFIC_BODYEOB),
		ROW(SMFIC_HELO), ROW(SMFIC_QUIT_NC), ROW(SMFIC_HEADER), ROW(SMFIC_MAIL), ROW(SMFIC_EOH), ROW(SMFIC_OPTNEG), ROW(SMFIC_QUIT),
		ROW(SMFIC_RCPT), ROW(SMFIC_DATA), ROW(SMFIC_UNKNOWN) };
	return name_of(rows, NELEMS(rows), cmd, "(unknown MTA event)");
}

const char *
mw_reply_name(unsigned char cmd)
{
	static const struct named rows[] = { ROW(SMFIR_ADDRCPT), ROW(SMFIR_DELRCPT), ROW(SMFIR_ADDRCPT_PAR), ROW(SMFIR_SHUTDOWN), ROW(SMFIR_ACCEPT),
		ROW(SMFIR_REPLBODY), ROW(SMFIR_CONTINUE), ROW(SMFIR_DISCARD), ROW(SMFIR_CHGFROM), ROW(SMFIR_CONN_FAIL), ROW(SMFIR_ADDHEADER),
		ROW(SMFIR_INSHEADER), ROW(SMFIR_SETSYMLIST), ROW(SMFIR_CHGHEADER), ROW(SMFIR_PROGRESS), ROW(SMFIR_QUARANTINE), ROW(SMFIR_REJECT),
		ROW(SMFIR_SKIP), ROW(SMFIR_TEMPFAIL), ROW(SMFIR_REPLYCODE) };
#undef ROW
	return name_of(rows, NELEMS(rows), cmd, "(unknown filter reply)");
}

/* ---- a replaced body ---- */

void
mw_lines_put(struct mw_lines *l, struct span s, struct buf *out)
{
	while (s.n > 0) {
		if (l->has_cr) {
			l->has_cr = false;
			if (s.p[0] != '\n')
				buf_putc(out, ' ');
		}
		size_t n = 0;
		while (n < s.n && s.p[n] != '\r' && s.p[n] != '\n')
			n++;
		if (n > 0) {
			buf_put(out, span_head(s, n));
			l->is_open = true;
		}
		if (n == s.n)
			return;
		if (s.p[n] == '\n') {
			buf_puts(out, "\r\n");
			l->is_open = false;
		} else {
			l->has_cr = true;
			l->is_open = true;
		}
		s = span_from(s, n + 1);
	}
}

void
mw_lines_end(struct mw_lines *l, struct buf *out)
{
	if (l->is_open)
		buf_puts(out, "\r\n");
	*l = (struct mw_lines){ 0 };
}
