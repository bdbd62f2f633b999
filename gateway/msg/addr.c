/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/addr.h"

#include "base/ipaddr.h"

static bool
is_white(unsigned char c)
{
	return c == ' ' || c == '\t';
}

/* RFC 5321 atext, and octets over 127: these need no quotes in a local part. '.' is looked at apart. */
static bool
is_atext(unsigned char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c > 0x7f)
		return true;
	return c != '\0' && c < 0x7f && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL;
}

bool
addr_is_hostname(struct span s, bool utf8)
{
	if (s.n == 0 || s.n > ADDR_DOMAIN_MAX)
		return false;
	size_t label = 0;
	bool other_than_digits = false;
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = s.p[i];
		if (c == '.') {
			if (label == 0 || s.p[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c > 0x7f && utf8);
		bool hyphen = c == '-' && label > 0;
		if (!letter && !hyphen && (c < '0' || c > '9'))
			return false;
		other_than_digits |= letter || hyphen;
		if (++label > ADDR_LABEL_MAX)
			return false;
	}
	return label > 0 && s.p[s.n - 1] != '-' && other_than_digits;
}

bool
addr_is_literal(struct span s)
{
	if (s.n < 3 || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return false;
	struct span in = span_head(span_from(s, 1), s.n - 2);
	struct ipaddr ip;
	if (span_casestarts(in, SPAN("IPv6:")))
		return ipaddr_parse(span_from(in, 5), &ip) == RC_OK && ip.family == IPADDR_V6;
	return ipaddr_parse(in, &ip) == RC_OK && ip.family == IPADDR_V4;
}

/* ---- reading ---- */

/* A path is taken apart to octets with a mark: was it quoted? Structure ('@', ',', ':', '<') counts only
 * where it was not. */
struct scan {
	size_t n;
	unsigned char byte[ADDR_PATH_MAX];
	bool quoted[ADDR_PATH_MAX];
	bool has_quotes;         /* "" was there, even an empty one */
};

static bool
scan_put(struct scan *sc, unsigned char c, bool quoted)
{
	if (sc->n == ADDR_PATH_MAX)
		return false;
	sc->byte[sc->n] = c;
	sc->quoted[sc->n++] = quoted;
	return true;
}

/* qtextSMTP and quoted-pairSMTP are 32..126; RFC 6531 adds octets over 127. */
static bool
may_be_quoted(unsigned char c)
{
	return c >= 0x20 && c != 0x7f;
}

/* Reads up to the closing '>' (or, without brackets, to white space). *used_out: octets of in it took. */
static enum rc
scan_path(struct span in, bool bracketed, bool strict, struct scan *sc, size_t *used_out, struct err *e)
{
	bool in_quotes = false, closed = false;
	size_t i = 0;
	for (; i < in.n && !closed; i++) {
		unsigned char c = in.p[i];
		bool ok;
		if (i >= ADDR_PATH_MAX)
			return err_set(e, RC_PERM, "path too long");
		if (c == '\\') {
			if (++i == in.n || !may_be_quoted(in.p[i]))
				return err_set(e, RC_PERM, "bad quoted pair");
			ok = scan_put(sc, in.p[i], true);
		} else if (c == '"') {
			in_quotes = !in_quotes;
			sc->has_quotes = true;
			ok = true;
		} else if (in_quotes) {
			ok = may_be_quoted(c) && scan_put(sc, c, true);
		} else if (c == '>') {
			closed = true;
			ok = true;
		} else if (is_white(c)) {
			if (!bracketed)
				break;
			ok = !strict && scan_put(sc, c, false);
		} else {
			ok = (is_atext(c) || c == '.' || c == '@' || c == ',' || c == ':' || c == '[' || c == ']') && scan_put(sc, c, false);
		}
		if (!ok)
			return err_set(e, RC_PERM, "character not allowed in an address");
	}
	if (in_quotes)
		return err_set(e, RC_PERM, "unbalanced quote");
	if (bracketed && !closed)
		return err_set(e, RC_PERM, "missing '>'");
	*used_out = i;
	return RC_OK;
}

/* White space at both ends of the path and around its '@' is dropped; elsewhere it is an error. */
static bool
scan_trim(struct scan *sc)
{
	size_t to = 0;
	for (size_t i = 0; i < sc->n; i++) {
		if (sc->quoted[i] || !is_white(sc->byte[i])) {
			sc->byte[to] = sc->byte[i];
			sc->quoted[to++] = sc->quoted[i];
			continue;
		}
		size_t next = i;
		while (next < sc->n && !sc->quoted[next] && is_white(sc->byte[next]))
			next++;
		bool edge = to == 0 || next == sc->n;
		bool at = (to > 0 && !sc->quoted[to - 1] && sc->byte[to - 1] == '@') ||
		    (next < sc->n && !sc->quoted[next] && sc->byte[next] == '@');
		if (!edge && !at)
			return false;
		i = next - 1;
	}
	sc->n = to;
	return true;
}

static bool
scan_is(const struct scan *sc, size_t i, unsigned char c)
{
	return !sc->quoted[i] && sc->byte[i] == c;
}

/* "@a,@b:" in front: its length, 0 when there is none. A route must be made of host names. */
static size_t
route_len(const struct scan *sc)
{
	if (sc->n == 0 || !scan_is(sc, 0, '@'))
		return 0;
	size_t depth = 0;
	for (size_t i = 0; i < sc->n; i++) {
		depth += scan_is(sc, i, '[') ? 1u : 0u;
		depth -= scan_is(sc, i, ']') && depth > 0 ? 1u : 0u;
		if (depth == 0 && scan_is(sc, i, ':'))
			return i + 1;
	}
	return 0;
}

/* '[', ']', ',' and ':' stand only inside an address literal, i.e. in the domain. Quotes go around all of the
 * local part or none. */
static bool
local_is_clean(const struct scan *sc, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		if (!sc->quoted[i] && (sc->has_quotes || memchr("[],:", sc->byte[i], 4) != NULL))
			return false;
	return true;
}

/* host!user, where there is a '!' at all: neither may be missing. Whether it is one is for who resolves it to say
 * (swap_bangpath). */
static bool
bang_path_is_sane(struct span local)
{
	size_t bang = span_chr(local, '!');
	return bang == SIZE_MAX || (bang + 1 < local.n && bang > 0 && !span_eq_str(span_head(local, bang), "."));
}

/* Splits what is left after the route and checks each part as it will be used. */
static enum rc
take_apart(const struct scan *sc, size_t from, unsigned how, struct arena *a, struct addr *out, struct err *e)
{
	size_t at = SIZE_MAX, quoted_at = SIZE_MAX;
	for (size_t i = from; i < sc->n; i++)
		if (sc->byte[i] == '@')
			*(sc->quoted[i] ? &quoted_at : &at) = i;
	bool quoted_domain = false;
	if (at == SIZE_MAX && quoted_at != SIZE_MAX) {
		/* "a@b" with quotes and no domain: internal form cannot tell it from a@b, so that is what it is */
		at = quoted_at;
		out->flags |= ADDR_ROUTED;
	} else if (at != SIZE_MAX) {
		for (size_t i = at + 1; i < sc->n; i++)
			quoted_domain |= sc->quoted[i];
	}
	size_t local_end = at == SIZE_MAX ? sc->n : at;
	struct span local = span_of(sc->byte + from, local_end - from), domain = SPAN_EMPTY;
	if (!local_is_clean(sc, from, local_end))
		return err_set(e, RC_PERM, "special character in the local part");
	if (local.n == 0 && at == SIZE_MAX && !sc->has_quotes && from == 0)
		return RC_OK; /* the null sender */
	if (local.n == 0 || (local.n == 1 && local.p[0] == '.') || (!sc->has_quotes && local.p[local.n - 1] == '@'))
		return err_set(e, RC_PERM, "empty local part");
	if (at == SIZE_MAX && !bang_path_is_sane(local))
		return err_set(e, RC_PERM, "bad bang path");
	if (at != SIZE_MAX) {
		domain = span_of(sc->byte + at + 1, sc->n - at - 1);
		if (domain.n > 1 && domain.p[domain.n - 1] == '.')
			domain.n--;
		if (quoted_domain || (!addr_is_hostname(domain, (how & ADDR_UTF8) != 0) && !addr_is_literal(domain)))
			return err_set(e, RC_PERM, "bad domain");
		if (domain.p[0] == '[')
			out->flags |= ADDR_IS_LITERAL;
	}
	struct span whole = span_of(sc->byte + from, local.n + (at != SIZE_MAX ? 1 + domain.n : 0));
	if (!span_is_utf8(whole))
		return err_set(e, RC_PERM, "malformed UTF-8");
	if (!span_is_ascii(whole))
		out->flags |= ADDR_HAS_8BIT;
	out->text = arena_span(a, whole);
	if (out->text.n != whole.n)
		return err_set(e, RC_PERM, "too much");
	out->local = span_head(out->text, local.n);
	out->domain = at != SIZE_MAX ? span_from(out->text, local.n + 1) : SPAN_EMPTY;
	return RC_OK;
}

enum rc
addr_parse_path(struct span in, unsigned how, struct arena *a, struct addr *out, struct span *rest_out, struct err *e)
{
	*out = (struct addr){ 0 };
	*rest_out = SPAN_EMPTY;
	while (in.n > 0 && is_white(in.p[0]))
		in = span_from(in, 1);
	bool bracketed = in.n > 0 && in.p[0] == '<';
	bool strict = (how & ADDR_STRICT) != 0;
	if (!bracketed && (strict || in.n == 0))
		return err_set(e, RC_PERM, "missing '<'");
	if (bracketed)
		in = span_from(in, 1);
	struct scan sc = { .n = 0 };
	size_t used = 0;
	enum rc rc = scan_path(in, bracketed, strict, &sc, &used, e);
	if (rc != RC_OK)
		return rc;
	struct span rest = span_from(in, used);
	if (rest.n > 0 && !is_white(rest.p[0]))
		return err_set(e, RC_PERM, "something follows the path");
	if (used + (bracketed ? 1 : 2) > ADDR_PATH_MAX)
		return err_set(e, RC_PERM, "path too long");
	if (!scan_trim(&sc))
		return err_set(e, RC_PERM, "white space in the address");
	size_t route = route_len(&sc);
	if (route > 0)
		out->flags |= ADDR_ROUTED;
	rc = take_apart(&sc, route, how, a, out, e);
	if (rc != RC_OK) {
		*out = (struct addr){ 0 };
		return rc;
	}
	*rest_out = rest;
	return RC_OK;
}

enum rc
addr_parse(struct span in, unsigned how, struct arena *a, struct addr *out, struct err *e)
{
	struct span rest;
	enum rc rc = addr_parse_path(in, how, a, out, &rest, e);
	if (rc == RC_OK && span_trim(rest).n > 0)
		return err_set(e, RC_PERM, "something follows the address");
	return rc;
}

struct addr
addr_of_internal(struct span text)
{
	struct addr a = { .local = text, .text = text };
	size_t at = span_rchr(text, '@');
	if (at != SIZE_MAX) {
		a.local = span_head(text, at);
		a.domain = span_from(text, at + 1);
	}
	return a;
}

bool
addr_eq(const struct addr *a, const struct addr *b)
{
	return span_eq(a->local, b->local) && span_eq(a->domain, b->domain);
}

/* ---- writing ---- */

bool
addr_needs_quotes(struct span local)
{
	if (local.n == 0)
		return true;
	bool dot = true; /* a dot may not come first, last, or behind another: dot-string, RFC 5321 4.1.2 */
	for (size_t i = 0; i < local.n; i++) {
		unsigned char c = local.p[i];
		if (c == '.') {
			if (dot)
				return true;
			dot = true;
		} else if (is_atext(c)) {
			dot = false;
		} else {
			return true;
		}
	}
	return dot;
}

void
addr_write(struct buf *b, const struct addr *a)
{
	if (a->text.n == 0)
		return;
	if (!addr_needs_quotes(a->local)) {
		buf_put(b, a->local);
	} else {
		buf_putc(b, '"');
		for (size_t i = 0; i < a->local.n; i++) {
			if (a->local.p[i] == '"' || a->local.p[i] == '\\')
				buf_putc(b, '\\');
			buf_putc(b, a->local.p[i]);
		}
		buf_putc(b, '"');
	}
	if (a->domain.n > 0) {
		buf_putc(b, '@');
		buf_put(b, a->domain);
	}
}

struct span
addr_shown(struct span internal, struct buf *scratch)
{
	struct addr a = addr_of_internal(internal);
	if (internal.n == 0 || !addr_needs_quotes(a.local))
		return internal;
	buf_reset(scratch);
	addr_write(scratch, &a);
	return buf_span(scratch);
}

void
addr_write_text(struct buf *b, struct span internal)
{
	struct addr a = addr_of_internal(internal);
	addr_write(b, &a);
}
