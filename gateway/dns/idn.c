/* SPDX-License-Identifier: BSD-2-Clause */
#include "dns/idn.h"

enum { LABEL_MAX = 63, BASE = 36, TMIN = 1, TMAX = 26, SKEW = 38, DAMP = 700, BIAS = 72, FIRST = 128 };

/* One character off the front; false: not UTF-8 (overlong forms, surrogates and what is beyond Unicode included). */
static bool
take_char(struct span *s, uint32_t *out)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char c = s->p[0];
	unsigned n = c < 0x80 ? 1 : (c & 0xe0) == 0xc0 ? 2 : (c & 0xf0) == 0xe0 ? 3 : (c & 0xf8) == 0xf0 ? 4 : 0;
	if (n == 0 || n > s->n)
		return false;
	uint32_t v = n == 1 ? c : c & (0x7fu >> n);
	for (unsigned i = 1; i < n; i++) {
		if ((s->p[i] & 0xc0) != 0x80)
			return false;
		v = v << 6 | (s->p[i] & 0x3fu);
	}
	if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
		return false;
	*s = span_from(*s, n);
	*out = v;
	return true;
}

static uint32_t
small(uint32_t c)
{
	if ((c >= 'A' && c <= 'Z') || (c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
		return c + 0x20;
	if (c >= 0x400 && c <= 0x40f)
		return c + 0x50;
	if ((c >= 0x100 && c <= 0x12f) || (c >= 0x132 && c <= 0x137) || (c >= 0x14a && c <= 0x177) || (c >= 0x460 && c <= 0x481))
		return c | 1;
	if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e))
		return c + (c & 1);
	return c == 0x178 ? 0xff : c;
}

static uint32_t
adapt(uint32_t delta, uint32_t count, bool first)
{
	uint32_t k = 0;
	delta = first ? delta / DAMP : delta / 2;
	delta += delta / count;
	for (; delta > (BASE - TMIN) * TMAX / 2; k += BASE)
		delta /= BASE - TMIN;
	return k + (BASE - TMIN + 1) * delta / (delta + SKEW);
}

struct label {
	unsigned char text[LABEL_MAX];
	size_t n;
	bool over;
};

static void
put(struct label *l, unsigned char c)
{
	if (l->n < LABEL_MAX)
		l->text[l->n++] = c;
	else
		l->over = true;
}

static void
put_number(struct label *l, uint32_t q, uint32_t bias)
{
	for (uint32_t k = BASE;; k += BASE) {
		uint32_t t = k <= bias ? TMIN : k >= bias + TMAX ? TMAX : k - bias;
		uint32_t digit = q < t ? q : t + (q - t) % (BASE - t);
		put(l, (unsigned char)(digit < 26 ? 'a' + digit : '0' + digit - 26));
		if (q < t)
			return;
		q = (q - t) / (BASE - t);
	}
}

/* RFC 3492 section 6.3. At most LABEL_MAX characters: nothing overflows 32 bits. */
static void
encode(struct label *l, const uint32_t *chars, size_t count)
{
	uint32_t n = FIRST, delta = 0, bias = BIAS, done = 0;
	for (size_t i = 0; i < count; i++)
		if (chars[i] < FIRST) {
			put(l, (unsigned char)chars[i]);
			done++;
		}
	uint32_t basic = done;
	if (basic > 0)
		put(l, '-');
	while (done < count && !l->over) {
		uint32_t next = UINT32_MAX;
		for (size_t i = 0; i < count; i++)
			if (chars[i] >= n && chars[i] < next)
				next = chars[i];
		delta += (next - n) * (done + 1);
		n = next;
		for (size_t i = 0; i < count; i++) {
			if (chars[i] < n)
				delta++;
			if (chars[i] != n)
				continue;
			put_number(l, delta, bias);
			bias = adapt(delta, done + 1, done == basic);
			delta = 0;
			done++;
		}
		delta++;
		n++;
	}
}

static bool
one_label(struct span text, struct label *l)
{
	uint32_t chars[LABEL_MAX];
	size_t count = 0;
	*l = (struct label){ 0 };
	if (span_is_ascii(text)) {
		for (size_t i = 0; i < text.n; i++)
			put(l, text.p[i]);
		return !l->over;
	}
	while (text.n > 0) {
		uint32_t c;
		if (count == LABEL_MAX || !take_char(&text, &c))
			return false;
		chars[count++] = small(c);
	}
	for (const char *p = "xn--"; *p != '\0'; p++)
		put(l, (unsigned char)*p);
	encode(l, chars, count);
	return !l->over;
}

bool
dns_to_ascii(struct span name, unsigned char out[DNS_IDN_MAX], struct span *ascii_out)
{
	size_t n = 0;
	*ascii_out = name;
	if (span_is_ascii(name))
		return true;
	for (;;) {
		struct label l;
		size_t dot = span_chr(name, '.');
		if (!one_label(span_head(name, dot), &l) || n + l.n + 1 > DNS_IDN_MAX)
			return false;
		memcpy(out + n, l.text, l.n);
		n += l.n;
		if (dot == SIZE_MAX)
			break;
		out[n++] = '.';
		name = span_from(name, dot + 1);
	}
	*ascii_out = span_of(out, n);
	return true;
}
