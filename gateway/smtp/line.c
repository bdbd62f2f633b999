/* SPDX-License-Identifier: BSD-2-Clause */
#include "smtp/line.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { LONG_LINE = 998 };

/* ---- commands ---- */

enum rc
line_command(struct span in, size_t max, struct line_cmd *out, size_t *used_out, bool *unended_out)
{
	*unended_out = false;
	size_t lf = span_chr(in, '\n');
	if (lf == SIZE_MAX) {
		*used_out = in.n;
		*unended_out = true;
		return in.n > max ? RC_PERM : RC_NONE;
	}
	*used_out = lf + 1;
	size_t n = lf;
	while (n > 0 && in.p[n - 1] == '\r')
		n--;
	*out = (struct line_cmd){ .text = span_head(in, n), .bare_lf = n == lf };
	out->has_nul = n > 0 && memchr(in.p, '\0', n) != NULL;
	return lf > max ? RC_PERM : RC_OK;
}

size_t
line_skip(struct span in, bool *ended_out)
{
	size_t lf = span_chr(in, '\n');
	*ended_out = lf != SIZE_MAX;
	return lf != SIZE_MAX ? lf + 1 : in.n;
}

static bool
is_junk(unsigned char c)
{
	return !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9');
}

struct span
line_without_secrets(struct span sent)
{
	static const struct span auth = { (const unsigned char *)"AUTH", 4 };
	bool at_start = true;
	for (size_t i = 0; i < sent.n; i++) {
		if (at_start && span_casestarts(span_from(sent, i), auth))
			return span_head(sent, i + auth.n);
		at_start = is_junk(sent.p[i]) && (at_start || sent.p[i] == '\r' || sent.p[i] == '\n');
	}
	return sent;
}

bool
line_is_auth(struct span sent)
{
	size_t i = 0;
	while (i < sent.n && is_junk(sent.p[i]))
		i++;
	return span_casestarts(span_from(sent, i), SPAN("AUTH"));
}

/* ---- content ---- */

/* First CR, LF or NUL from p on, or end. *high collects the eighth bits on the way. */
static const unsigned char *
find_special(const unsigned char *p, const unsigned char *end, unsigned *high)
{
#ifdef __SSE2__
	const __m128i cr = _mm_set1_epi8('\r'), lf = _mm_set1_epi8('\n'), nul = _mm_setzero_si128();
	while (end - p >= 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i hit = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, cr), _mm_cmpeq_epi8(v, lf)), _mm_cmpeq_epi8(v, nul));
		unsigned at = (unsigned)_mm_movemask_epi8(hit), eighth = (unsigned)_mm_movemask_epi8(v);
		if (at != 0) {
			unsigned skip = (unsigned)__builtin_ctz(at);
			*high |= eighth & ((1u << skip) - 1);
			return p + skip;
		}
		*high |= eighth;
		p += 16;
	}
#endif
	for (; p < end; p++) {
		if (*p == '\r' || *p == '\n' || *p == '\0')
			return p;
		*high |= *p & 0x80u;
	}
	return end;
}

/* The copying side: octets from run up to wherever we are go out as they are. line: where the part of the
 * present line that is not counted in line_len begins. */
struct copy {
	struct line_data *d;
	struct buf *out;
	const unsigned char *run, *line;
};

/* Everything before at goes out; then bytes of our own; copying goes on at next. */
static void
replace(struct copy *c, const unsigned char *at, struct span with, const unsigned char *next)
{
	buf_put(c->out, span_of(c->run, (size_t)(at - c->run)));
	buf_put(c->out, with);
	c->d->line_len += (uint64_t)(at - c->line) + with.n;
	c->run = c->line = next;
}

static void
line_over(struct copy *c, uint64_t len, const unsigned char *next)
{
	if (len > LONG_LINE)
		c->d->has_long = true;
	c->d->line_len = 0;
	c->line = next;
}

/* The stray octet (CR or NUL) at p. */
static void
stray(struct copy *c, const unsigned char *p, unsigned char octet)
{
	struct line_data *d = c->d;
	d->has_nul |= octet == '\0';
	d->has_stray_cr |= octet == '\r';
	replace(c, p, octet == '\r' && d->keep_stray_cr ? SPAN("\r") : octet == '\0' && d->keep_nul ? SPAN("\0") : SPAN(" "), p + 1);
}

/* In the text of a line, p < end. Gives where to go on. */
static const unsigned char *
take_text(struct copy *c, const unsigned char *p, const unsigned char *end, unsigned *high)
{
	struct line_data *d = c->d;
	p = find_special(p, end, high);
	if (p == end)
		return p;
	if (*p == '\r' && end - p >= 2 && p[1] == '\n') {
		line_over(c, d->line_len + (uint64_t)(p - c->line), p + 2);
		d->state = LINE_START;
		return p + 2;
	}
	if (*p == '\r' && p + 1 == end) {
		replace(c, p, SPAN_EMPTY, end); /* what follows decides */
		d->state = LINE_CR;
		return end;
	}
	if (*p == '\n') {
		d->bare_lf = true;
		uint64_t len = d->line_len + (uint64_t)(p - c->line);
		replace(c, p, SPAN("\r\n"), p + 1);
		line_over(c, len, p + 1);
		d->state = LINE_START_LF;
		return p + 1;
	}
	stray(c, p, *p);
	return p + 1;
}

/* Behind a CR that was held back. */
static const unsigned char *
take_after_cr(struct copy *c, const unsigned char *p)
{
	struct line_data *d = c->d;
	if (*p == '\n') {
		uint64_t len = d->line_len;
		replace(c, p, SPAN("\r\n"), p + 1);
		line_over(c, len, p + 1);
		d->state = LINE_START;
		return p + 1;
	}
	d->has_stray_cr = true;
	replace(c, p, d->keep_stray_cr ? SPAN("\r") : SPAN(" "), p);
	d->state = LINE_TEXT;
	return p;
}

/* At the beginning of a line, p < end. */
static const unsigned char *
take_start(struct copy *c, const unsigned char *p)
{
	struct line_data *d = c->d;
	if (*p == '.' && d->dots) {
		replace(c, p, SPAN_EMPTY, p + 1);
		d->state = d->state == LINE_START ? LINE_DOT : LINE_DOT_LF;
		return p + 1;
	}
	if (*p == '.')
		d->has_dots = true;
	d->state = LINE_TEXT;
	return p;
}

/* Behind the dot that begins a line, or that dot and a CR. The dot (and CR) has not been written. */
static const unsigned char *
take_after_dot(struct copy *c, const unsigned char *p)
{
	struct line_data *d = c->d;
	bool cr = d->state == LINE_DOT_CR || d->state == LINE_DOT_LF_CR;
	bool after_lf = d->state == LINE_DOT_LF || d->state == LINE_DOT_LF_CR;
	if (*p == '\n') {
		d->bare_lf |= !cr;
		d->ended = (cr && !after_lf) || d->lf_ends;
		replace(c, p, SPAN_EMPTY, p + 1); /* not the end: a lone dot beside a bare LF, dropped */
		line_over(c, 0, p + 1);
		d->state = cr ? LINE_START : LINE_START_LF;
		return p + 1;
	}
	if (*p == '\r' && !cr) {
		replace(c, p, SPAN_EMPTY, p + 1);
		d->state = after_lf ? LINE_DOT_LF_CR : LINE_DOT_CR;
		return p + 1;
	}
	if (cr) { /* ".\r" and something else: the CR is stray */
		d->has_stray_cr = true;
		replace(c, p, d->keep_stray_cr ? SPAN("\r") : SPAN(" "), p);
	} else if (*p == '.') {
		d->has_dots = true;
	}
	d->state = LINE_TEXT;
	return p;
}

size_t
line_data_feed(struct line_data *d, struct span in, struct buf *out)
{
	if (in.n == 0 || d->ended)
		return 0;
	unsigned high = 0;
	const unsigned char *p = in.p, *end = in.p + in.n;
	struct copy c = { d, out, p, p };
	while (p < end && !d->ended) {
		switch (d->state) {
		case LINE_START:
		case LINE_START_LF:
			p = take_start(&c, p);
			break;
		case LINE_TEXT:
			p = take_text(&c, p, end, &high);
			break;
		case LINE_CR:
			p = take_after_cr(&c, p);
			break;
		case LINE_DOT:
		case LINE_DOT_CR:
		case LINE_DOT_LF:
		case LINE_DOT_LF_CR:
			p = take_after_dot(&c, p);
			break;
		}
	}
	replace(&c, p, SPAN_EMPTY, p);
	if (d->line_len > LONG_LINE)
		d->has_long = true;
	if (high != 0)
		d->has_8bit = true;
	return (size_t)(p - in.p);
}

void
line_data_finish(struct line_data *d, struct buf *out)
{
	if (d->state == LINE_CR) {
		d->has_stray_cr = true;
		buf_put(out, d->keep_stray_cr ? SPAN("\r") : SPAN(" "));
		d->state = LINE_TEXT;
	}
	if (d->state == LINE_TEXT)
		buf_put(out, SPAN("\r\n"));
	d->state = LINE_START;
	d->line_len = 0;
}
