/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/greylist_key.h"

#include <stdio.h>

enum { NUMBER_MIN = 8, MIXED_MIN = 12 };

static bool
is_digit(unsigned char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_alnum(unsigned char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static unsigned char
lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

static void
put_lower(struct buf *b, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		buf_putc(b, lower(s.p[i]));
}

/* ---- the client ---- */

/* Is this number one of the name's, written like that? */
static bool
has_number(struct span name, unsigned value, const char *format)
{
	char text[8];
	int n = snprintf(text, sizeof text, format, value);
	for (size_t i = 0; i + (size_t)n <= name.n; i++) {
		if (memcmp(name.p + i, text, (size_t)n) != 0)
			continue;
		bool before = i > 0 && is_digit(name.p[i - 1]), after = i + (size_t)n < name.n && is_digit(name.p[i + (size_t)n]);
		if (!before && !after)
			return true;
	}
	return false;
}

/* As "host-7-100.dyn.example.com" for 192.0.100.7, in tens or, all four together, in hexadecimal or with leading zeros. */
static bool
looks_dynamic(const struct facts *f, struct span name)
{
	const unsigned char *a = f->client.b;
	if (f->client.family != IPADDR_V4)
		return false;
	if (has_number(name, a[3], "%u") && has_number(name, a[2], "%u") && (a[2] != a[3] || has_number(name, a[1], "%u")))
		return true;
	char text[16], zeros[16];
	int n = snprintf(text, sizeof text, "%02x%02x%02x%02x", a[0], a[1], a[2], a[3]);
	int z = snprintf(zeros, sizeof zeros, "%03u%03u%03u%03u", a[0], a[1], a[2], a[3]);
	char low[256];
	size_t len = name.n < sizeof low ? name.n : sizeof low;
	for (size_t i = 0; i < len; i++)
		low[i] = (char)lower(name.p[i]);
	return span_find(span_of(low, len), span_of(text, (size_t)n)) != SIZE_MAX ||
	    span_find(span_of(low, len), span_of(zeros, (size_t)z)) != SIZE_MAX;
}

/* The name without its first label, when what is left is somebody's domain: not "com", not "co.uk". */
static struct span
domain_of(struct span name)
{
	size_t dot = span_chr(name, '.');
	struct span rest = dot != SIZE_MAX ? span_from(name, dot + 1) : SPAN_EMPTY;
	size_t next = span_chr(rest, '.');
	if (rest.n == 0 || next == SIZE_MAX)
		return name;
	struct span last = span_from(rest, next + 1);
	bool suffix = span_chr(last, '.') == SIZE_MAX && last.n == 2 && next <= 3;
	return suffix ? name : rest;
}

static void
put_network(struct buf *b, const struct ipaddr *ip, unsigned bits)
{
	char text[IPADDR_TEXT];
	struct ipaddr net = ipaddr_mask(*ip, bits);
	buf_put(b, span_of(text, ipaddr_text(&net, text)));
	if (bits < ipaddr_bits(ip))
		buf_printf(b, "/%u", bits);
}

void
greylist_client(struct buf *b, const struct facts *f, unsigned ipv4_bits, unsigned ipv6_bits)
{
	bool six = f->client.family == IPADDR_V6;
	bool named = f->client_name_rc == RC_OK && f->client_name.n > 0 && span_chr(f->client_name, '.') != SIZE_MAX;
	if (named && looks_dynamic(f, f->client_name))
		put_network(b, &f->client, six ? ipv6_bits : 32);
	else if (named)
		put_lower(b, domain_of(f->client_name));
	else
		put_network(b, &f->client, six ? ipv6_bits : ipv4_bits);
}

/* ---- the sender ---- */

/* Between two signs: a number, or what a machine made. */
static bool
varies(struct span word)
{
	size_t digits = 0, hex = 0;
	for (size_t i = 0; i < word.n; i++) {
		unsigned char c = lower(word.p[i]);
		digits += is_digit(c);
		hex += is_digit(c) || (c >= 'a' && c <= 'f');
	}
	return digits > 0 && (digits == word.n || (hex == word.n && word.n >= NUMBER_MIN) || word.n >= MIXED_MIN);
}

/* SRS0=hash=time=domain=user, and SRS0+, SRS0-: of a forwarder. The hash and the time change. */
static bool
srs(struct span *local, struct buf *b)
{
	if (!span_casestarts(*local, SPAN("SRS0")) || local->n < 6 || memchr("=+-", local->p[4], 3) == NULL)
		return false;
	struct span rest = span_from(*local, 5);
	for (int skip = 0; skip < 2; skip++) {
		size_t eq = span_chr(rest, '=');
		if (eq == SIZE_MAX)
			return false;
		rest = span_from(rest, eq + 1);
	}
	buf_puts(b, "srs0=");
	*local = rest;
	return true;
}

/* prvs=tag=user and btv1==tag==user (BATV). */
static bool
batv(struct span *local)
{
	bool prvs = span_casestarts(*local, SPAN("prvs=")), btv = span_casestarts(*local, SPAN("btv1=="));
	if (!prvs && !btv)
		return false;
	struct span rest = span_from(*local, prvs ? 5 : 6);
	size_t end = btv ? span_find(rest, SPAN("==")) : span_chr(rest, '=');
	if (end == SIZE_MAX)
		return false;
	*local = span_from(rest, end + (btv ? 2 : 1));
	return true;
}

void
greylist_sender(struct buf *b, struct span sender)
{
	size_t at = span_rchr(sender, '@');
	struct span local = span_head(sender, at), domain = at != SIZE_MAX ? span_from(sender, at) : SPAN_EMPTY;
	(void)batv(&local);
	if (!srs(&local, b)) { /* behind a forwarder's signature the rest is somebody's address: no tags there */
		size_t plus = span_chr(local, '+');
		if (plus > 0)
			local = span_head(local, plus);
	}
	while (local.n > 0) {
		size_t n = 0;
		while (n < local.n && is_alnum(local.p[n]))
			n++;
		struct span word = span_head(local, n);
		if (varies(word))
			buf_putc(b, '#');
		else
			put_lower(b, word);
		if (n < local.n)
			buf_putc(b, local.p[n++]);
		local = span_from(local, n);
	}
	put_lower(b, domain);
}
