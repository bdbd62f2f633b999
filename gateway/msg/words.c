/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/words.h"

#include "msg/mime.h"

enum { SECTIONS = 32 };

/* ---- character sets ---- */

static const struct charset {
	const char *name;
	uint16_t high[128];
} charsets[] = {
#define CHARSET(name, ...) { name, { __VA_ARGS__ } },
#include "msg/charsets.def"
#undef CHARSET
};

static void
put_utf8(struct buf *out, unsigned c)
{
	if (c < 0x80) {
		buf_putc(out, (unsigned char)c);
	} else if (c < 0x800) {
		buf_putc(out, (unsigned char)(0xc0 | c >> 6));
		buf_putc(out, (unsigned char)(0x80 | (c & 0x3f)));
	} else {
		buf_putc(out, (unsigned char)(0xe0 | c >> 12));
		buf_putc(out, (unsigned char)(0x80 | (c >> 6 & 0x3f)));
		buf_putc(out, (unsigned char)(0x80 | (c & 0x3f)));
	}
}

bool
words_charset(struct buf *out, struct span charset, struct span octets)
{
	if (span_caseeq_str(charset, "utf-8") || span_caseeq_str(charset, "utf8") || span_caseeq_str(charset, "us-ascii") || charset.n == 0) {
		buf_put(out, octets);
		return true;
	}
	for (size_t k = 0; k < NELEMS(charsets); k++) {
		if (!span_caseeq_str(charset, charsets[k].name))
			continue;
		for (size_t i = 0; i < octets.n; i++) {
			unsigned char c = octets.p[i];
			unsigned u = c < 0x80 ? c : charsets[k].high[c - 0x80];
			put_utf8(out, u != 0 ? u : '?');
		}
		return true;
	}
	return false;
}

/* Cleans and cuts. Line ends and tabs become blanks; controls beyond ASCII go, too. */
static void
put_clean(struct buf *out, struct span raw, size_t max)
{
	struct buf b;
	buf_init(&b, raw.n + 1);
	for (size_t i = 0; i < raw.n; i++) {
		unsigned char c = raw.p[i];
		if (c == '\r' || c == '\n' || c == '\t')
			c = ' ';
		if (c == 0xc2 && i + 1 < raw.n && raw.p[i + 1] >= 0x80 && raw.p[i + 1] < 0xa0) {
			c = '?';
			i++;
		}
		buf_putc(&b, c);
	}
	buf_put_safe(out, span_trim(buf_span(&b)), max, true);
	buf_fini(&b);
}

/* ---- transfer encodings ---- */

static int
digit64(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static int
digit16(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void
put_base64(struct decode *d, struct span in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		int v = digit64(in.p[i]);
		if (in.p[i] == '=') {
			/* padding ends a group; what several encoders left one behind the other is read on */
			d->bits = d->n = 0;
			continue;
		}
		if (v < 0)
			continue;
		d->bits = d->bits << 6 | (uint32_t)v;
		d->n += 6;
		if (d->n >= 8) {
			d->n -= 8;
			buf_putc(out, (unsigned char)(d->bits >> d->n));
			d->bits &= (1u << d->n) - 1;
		}
	}
}

/* "=XY" and "=" at the end of a line; blanks at the end of a line are kept: a digest over them is as good. */
static void
put_qp(struct decode *d, struct span in, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		unsigned char c = in.p[i];
		if (d->n == 0) {
			if (c == '=')
				d->kept[d->n++] = c;
			else
				buf_putc(out, c);
			continue;
		}
		d->kept[d->n++] = c;
		if (d->n == 2) {
			if (c == '\n')
				d->n = 0;
			else if (c != '\r' && digit16(c) < 0) {
				buf_put(out, span_of(d->kept, 1));
				d->n = 0;
				i--;
			}
		} else {
			int hi = digit16(d->kept[1]), lo = digit16(c);
			d->n = 0;
			if (d->kept[1] == '\r' && c == '\n')
				continue;
			if (d->kept[1] != '\r' && lo >= 0) {
				buf_putc(out, (unsigned char)(hi << 4 | lo));
			} else {
				buf_put(out, span_of(d->kept, 2));
				i--;
			}
		}
	}
}

void
decode_put(struct decode *d, struct span in, struct buf *out)
{
	if (d->how == DECODE_BASE64)
		put_base64(d, in, out);
	else if (d->how == DECODE_QP)
		put_qp(d, in, out);
	else
		buf_put(out, in);
}

void
decode_end(struct decode *d, struct buf *out)
{
	if (d->how == DECODE_QP)
		buf_put(out, span_of(d->kept, d->n));
	d->n = 0;
	d->bits = 0;
}

/* ---- encoded words ---- */

/* "=?charset*language?B?text?=" at the front; its octets, decoded, into out as UTF-8. false: none, nothing was appended. */
static bool
take_word(struct span *rest, struct buf *out)
{
	struct span s = *rest;
	if (!span_starts(s, SPAN("=?")))
		return false;
	s = span_from(s, 2);
	size_t q = span_chr(s, '?');
	if (q == SIZE_MAX || q == 0 || q + 2 >= s.n || s.p[q + 2] != '?')
		return false;
	struct span charset = span_head(s, q);
	charset = span_head(charset, span_chr(charset, '*') == SIZE_MAX ? charset.n : span_chr(charset, '*'));
	unsigned char how = s.p[q + 1] | 0x20;
	s = span_from(s, q + 3);
	size_t end = span_find(s, SPAN("?="));
	if (end == SIZE_MAX || (how != 'b' && how != 'q'))
		return false;
	struct span text = span_head(s, end);
	struct buf octets;
	buf_init(&octets, WORDS_IN_MAX);
	struct decode d = { .how = how == 'b' ? DECODE_BASE64 : DECODE_QP };
	if (how == 'q') {
		for (size_t i = 0; i < text.n; i++)
			decode_put(&d, text.p[i] == '_' ? SPAN(" ") : span_of(text.p + i, 1), &octets);
	} else {
		decode_put(&d, text, &octets);
	}
	decode_end(&d, &octets);
	bool ok = words_charset(out, charset, buf_span(&octets));
	buf_fini(&octets);
	if (ok)
		*rest = span_from(s, end + 2);
	return ok;
}

static void
put_words(struct buf *out, struct span text)
{
	bool after_word = false;
	size_t blank = SIZE_MAX;     /* where the blanks behind a word began */
	while (text.n > 0) {
		unsigned char c = text.p[0];
		size_t was = buf_len(out);
		if (c == '=' && take_word(&text, out)) {
			if (after_word && blank != SIZE_MAX) { /* blanks between two words do not count */
				struct buf word;
				buf_init(&word, 8 * WORDS_IN_MAX);
				buf_put(&word, span_from(buf_span(out), was));
				buf_cut(out, blank);
				buf_put(out, buf_span(&word));
				buf_fini(&word);
			}
			after_word = true;
			blank = SIZE_MAX;
			continue;
		}
		bool is_blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
		if (!is_blank) {
			after_word = false;
			blank = SIZE_MAX;
		} else if (after_word && blank == SIZE_MAX) {
			blank = buf_len(out);
		}
		if (c != '\r' && c != '\n')
			buf_putc(out, c);
		text = span_from(text, 1);
	}
}

void
words_decode(struct buf *out, struct span text, size_t max)
{
	struct buf raw;
	text = span_trim(span_head(text, WORDS_IN_MAX));
	if (span_is_printable(text) && span_is_ascii(text) && span_find(text, SPAN("=?")) == SIZE_MAX) { /* one plain line, as most are */
		buf_put_safe(out, text, max, true);
		return;
	}
	buf_init(&raw, 8 * WORDS_IN_MAX);
	put_words(&raw, text);
	put_clean(out, buf_span(&raw), max);
	buf_fini(&raw);
}

/* ---- parameters ---- */

/* "name*3*" of RFC 2231 section 3 and 4. */
static bool
param_name(struct span token, const char *name, size_t *section, bool *is_part, bool *is_coded)
{
	size_t n = strlen(name);
	if (!span_caseeq_str(span_head(token, n), name))
		return false;
	token = span_from(token, n);
	*section = 0;
	*is_part = *is_coded = false;
	if (token.n == 0)
		return true;
	if (token.p[0] != '*')
		return false;
	token = span_from(token, 1);
	size_t digits = 0;
	while (digits < token.n && token.p[digits] >= '0' && token.p[digits] <= '9')
		digits++;
	uint64_t v = 0;
	if (digits > 0 && !span_u64(span_head(token, digits), SECTIONS - 1, &v))
		return false;
	*section = (size_t)v;
	*is_part = digits > 0;
	token = span_from(token, digits);
	*is_coded = digits == 0 || span_eq_str(token, "*");
	return token.n == 0 || span_eq_str(token, "*");
}

static void
put_percent(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		int hi = s.p[i] == '%' && i + 2 < s.n ? digit16(s.p[i + 1]) : -1;
		int lo = hi >= 0 ? digit16(s.p[i + 2]) : -1;
		if (lo >= 0) {
			buf_putc(out, (unsigned char)(hi << 4 | lo));
			i += 2;
		} else {
			buf_putc(out, s.p[i]);
		}
	}
}

struct sections {
	struct {
		size_t at, n;
		bool is_there, is_coded;
	} of[SECTIONS];
	struct buf text;
	bool any;
};

/* The sections in their order, up to the first that is missing. */
static void
join(const struct sections *x, struct buf *out)
{
	struct buf octets;
	struct span charset = SPAN_EMPTY, all = buf_span(&x->text);
	buf_init(&octets, WORDS_IN_MAX);
	for (size_t i = 0; i < SECTIONS && x->of[i].is_there; i++) {
		struct span s = span_head(span_from(all, x->of[i].at), x->of[i].n);
		if (i == 0 && x->of[i].is_coded) {
			size_t q = span_chr(s, '\''), r = q != SIZE_MAX ? span_chr(span_from(s, q + 1), '\'') : SIZE_MAX;
			if (r != SIZE_MAX) {
				charset = span_head(s, q);
				s = span_from(s, q + r + 2);
			}
		}
		if (x->of[i].is_coded)
			put_percent(&octets, s);
		else
			buf_put(&octets, s);
	}
	if (!words_charset(out, charset, buf_span(&octets)))
		buf_put(out, buf_span(&octets)); /* cleaned later */
	buf_fini(&octets);
}

bool
words_param(struct buf *out, struct span field, const char *name, size_t max)
{
	struct sections x = { .any = false };
	struct mime_tokens t;
	struct buf scratch, plain, raw;
	struct span rest = span_head(field, WORDS_IN_MAX);
	bool has_plain = false;
	buf_init(&x.text, WORDS_IN_MAX);
	buf_init(&scratch, WORDS_IN_MAX);
	buf_init(&plain, WORDS_IN_MAX);
	buf_init(&raw, 8 * WORDS_IN_MAX);
	while (mime_tokens(&rest, MIME_SPECIALS, ';', &scratch, &t)) {
		size_t section;
		bool is_part, is_coded;
		if (t.n < 2 || t.tok[0].kind != 'a' || t.tok[1].kind != '=' || !param_name(t.tok[0].text, name, &section, &is_part, &is_coded))
			continue;
		struct span value = t.n > 2 ? t.tok[2].text : SPAN_EMPTY;
		if (!is_part && !is_coded) {
			if (!has_plain)
				buf_put(&plain, value);
			has_plain = true;
		} else if (!x.of[section].is_there) {
			x.of[section].is_there = x.any = true;
			x.of[section].is_coded = is_coded;
			x.of[section].at = buf_len(&x.text);
			x.of[section].n = value.n;
			buf_put(&x.text, value);
		}
	}
	if (x.any && x.of[0].is_there)
		join(&x, &raw);
	else if (has_plain)
		put_words(&raw, buf_span(&plain));
	put_clean(out, buf_span(&raw), max);
	bool found = has_plain || (x.any && x.of[0].is_there);
	buf_fini(&x.text);
	buf_fini(&scratch);
	buf_fini(&plain);
	buf_fini(&raw);
	return found;
}
