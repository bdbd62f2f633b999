/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/mapkeys.h"

#include "base/ipaddr.h"
#include "map/table.h"

/* ---- taking an address apart ---- */

static bool
is_unsplit(struct span local, const char *delimiters, const char *double_bounce, bool owner_special)
{
	if (span_caseeq_str(local, "mailer-daemon") || span_caseeq_str(local, "postmaster"))
		return true;
	if (double_bounce != NULL && *double_bounce != '\0' && span_caseeq_str(local, double_bounce))
		return true;
	return owner_special && strchr(delimiters, '-') != NULL
	    && (span_casestarts(local, SPAN("owner-")) || (local.n > 8 && span_caseends(local, SPAN("-request"))));
}

struct map_addr
map_addr_split(struct span addr, const char *delimiters, const char *double_bounce, bool owner_special)
{
	struct map_addr a = { .whole = addr, .local = addr };
	size_t at = span_rchr(addr, '@');
	if (at != SIZE_MAX) {
		a.local = span_head(addr, at);
		a.domain = span_from(addr, at + 1);
		a.has_at = true;
	}
	a.base = a.local;
	if (delimiters == NULL || *delimiters == '\0' || is_unsplit(a.local, delimiters, double_bounce, owner_special))
		return a;
	size_t i = 0;
	while (i < a.local.n && (a.local.p[i] == '\0' || strchr(delimiters, a.local.p[i]) == NULL))
		i++;
	if (i > 0 && i < a.local.n) { /* a delimiter in front would leave no user */
		a.base = span_head(a.local, i);
		a.ext = span_from(a.local, i);
	}
	return a;
}

/* ---- quoting, as addresses are written in tables ---- */

static bool
is_atext(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c > 0x7f
	    || (c > ' ' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool
needs_quotes(struct span local)
{
	if (local.n == 0)
		return false; /* "@domain" is a key of its own; "" is never wanted */
	if (local.p[0] == '.' || local.p[local.n - 1] == '.')
		return true;
	for (size_t i = 0; i < local.n; i++)
		if (!is_atext(local.p[i]) && (local.p[i] != '.' || local.p[i - 1] == '.'))
			return true;
	return false;
}

static void
put_quoted(struct buf *b, struct span local)
{
	buf_putc(b, '"');
	for (size_t i = 0; i < local.n; i++) {
		if (local.p[i] == '"' || local.p[i] == '\\')
			buf_putc(b, '\\');
		buf_putc(b, local.p[i]);
	}
	buf_putc(b, '"');
}

/* ---- the iterator ---- */

void
mapkeys_init(struct mapkeys *k, enum mapkey_kind kind, const struct map_addr *a, bool parent_plain, bool own_domain)
{
	*k = (struct mapkeys){ .kind = kind, .a = *a, .parent_plain = parent_plain, .own_domain = own_domain };
	buf_init(&k->text, 2 * MAP_KEY_MAX); /* an address of nothing but quotes; a key without room would be left out */
}

void
mapkeys_fini(struct mapkeys *k)
{
	buf_fini(&k->text);
}

/* What the steps of each kind are, in order. */
enum step { S_END = 0, S_FULL, S_BASE, S_DOMAIN, S_PARENTS, S_LOCAL_AT, S_BASE_AT, S_LOCAL, S_BASE_LOCAL, S_AT_DOMAIN, S_STAR };

static const unsigned char steps[][8] = {
	[MAPKEY_ACCESS] = { S_FULL, S_BASE, S_DOMAIN, S_PARENTS, S_LOCAL_AT, S_BASE_AT },
	[MAPKEY_TRANSPORT] = { S_FULL, S_BASE, S_DOMAIN, S_PARENTS, S_STAR },
	[MAPKEY_MAIL] = { S_FULL, S_BASE, S_LOCAL, S_BASE_LOCAL, S_AT_DOMAIN },
};

/* A key with a user part: quoted first if that differs. true: given; the caller comes again for the other form. */
static bool
user_key(struct mapkeys *k, struct span user, struct span tail, bool contiguous, struct span *out)
{
	if (!k->quoted_done) {
		k->quoted_done = true;
		if (needs_quotes(user)) {
			buf_reset(&k->text);
			put_quoted(&k->text, user);
			buf_put(&k->text, tail);
			*out = buf_span(&k->text);
			return !k->text.over;
		}
	}
	k->quoted_done = false;
	k->step++;
	if (contiguous) {
		*out = span_of(user.p, user.n + tail.n);
		return true;
	}
	buf_reset(&k->text);
	buf_put(&k->text, user);
	buf_put(&k->text, tail);
	*out = buf_span(&k->text);
	return !k->text.over;
}

static bool
next_parent(struct mapkeys *k, struct span *out)
{
	struct span d = k->a.domain;
	while (d.n > 0 && d.p[0] != '[' && k->dot + 1 < d.n) {
		size_t dot = span_chr(span_from(d, k->dot + 1), '.');
		if (dot == SIZE_MAX)
			break;
		k->dot += 1 + dot;
		*out = span_from(d, k->parent_plain ? k->dot + 1 : k->dot);
		k->dot += k->parent_plain; /* "a..b" has the parent ".b", as in Postfix */
		if (out->n > (k->parent_plain ? 0 : 1))
			return true;
	}
	k->step++;
	return false;
}

bool
mapkeys_next(struct mapkeys *k, struct mapkey *out)
{
	const struct map_addr *a = &k->a;
	bool has_ext = a->ext.n > 0;
	struct span at_domain = a->has_at ? span_from(a->whole, a->local.n) : SPAN_EMPTY;
	struct span at_sign = span_head(at_domain, 1);
	for (;;) {
		enum step step = (enum step)steps[k->kind][k->step];
		out->partial = step != S_FULL;
		out->without_ext = step == S_BASE || step == S_BASE_AT || step == S_BASE_LOCAL;
		switch (step) {
		case S_END:
			return false;
		case S_FULL:
			if (user_key(k, a->local, at_domain, true, &out->key))
				return true;
			break;
		case S_BASE:
			if (!has_ext)
				k->step++;
			else if (user_key(k, a->base, at_domain, false, &out->key))
				return true;
			break;
		case S_DOMAIN:
			k->step++;
			out->key = a->domain;
			if (a->domain.n > 0)
				return true;
			break;
		case S_PARENTS:
			if (next_parent(k, &out->key))
				return true;
			break;
		case S_LOCAL_AT:
			if (!a->has_at || a->local.n == 0)
				k->step++;
			else if (user_key(k, a->local, at_sign, true, &out->key))
				return true;
			break;
		case S_BASE_AT:
			if (!a->has_at || !has_ext)
				k->step++;
			else if (user_key(k, a->base, at_sign, false, &out->key))
				return true;
			break;
		case S_LOCAL:
			if (!k->own_domain || !a->has_at)
				k->step++;
			else if (user_key(k, a->local, SPAN_EMPTY, true, &out->key))
				return true;
			break;
		case S_BASE_LOCAL:
			if (!k->own_domain || !a->has_at || !has_ext)
				k->step++;
			else if (user_key(k, a->base, SPAN_EMPTY, true, &out->key))
				return true;
			break;
		case S_AT_DOMAIN:
			k->step++;
			out->key = at_domain;
			if (at_domain.n > 1)
				return true;
			break;
		case S_STAR:
			k->step++;
			out->key = SPAN("*");
			return true;
		}
	}
}

/* ---- asking with them ---- */

enum rc
map_find_address(const struct map_list *l, enum mapkey_kind kind, const struct map_addr *a, bool parent_plain, bool own_domain,
    struct buf *scratch, struct span *value_out, struct err *e)
{
	struct mapkeys keys;
	struct mapkey key;
	bool fixed = map_list_has_fixed(l);
	enum rc rc = RC_NONE;
	*value_out = SPAN_EMPTY;
	if (map_list_empty(l))
		return RC_NONE;
	mapkeys_init(&keys, kind, a, parent_plain, own_domain);
	while (rc == RC_NONE && mapkeys_next(&keys, &key))
		if (!key.partial || fixed)
			rc = map_find(l, key.key, key.partial ? MAP_PARTIAL : 0, scratch, value_out, e);
	mapkeys_fini(&keys);
	return rc;
}

enum rc
map_find_host(const struct map_list *l, struct span name, bool parent_plain, struct buf *scratch, struct span *value_out, struct err *e)
{
	struct ipaddr numeric;
	enum rc rc = map_find(l, name, 0, scratch, value_out, e);
	if (rc != RC_NONE || !map_list_has_fixed(l) || ipaddr_parse(name, &numeric) == RC_OK || (name.n > 0 && name.p[0] == '['))
		return rc;
	for (size_t at = 1; rc == RC_NONE && at < name.n; at++) {
		if (name.p[at] != '.')
			continue;
		struct span parent = span_from(name, parent_plain ? at + 1 : at);
		at += parent_plain; /* "a..b" has the parent ".b", as in Postfix */
		if (parent.n > (parent_plain ? 0 : 1))
			rc = map_find(l, parent, MAP_PARTIAL, scratch, value_out, e);
	}
	return rc;
}

enum rc
map_find_ip(const struct map_list *l, struct span addr, struct buf *scratch, struct span *value_out, struct err *e)
{
	enum rc rc = map_find(l, addr, 0, scratch, value_out, e);
	unsigned char separator = span_chr(addr, ':') != SIZE_MAX ? ':' : '.';
	while (rc == RC_NONE && map_list_has_fixed(l)) {
		size_t cut = span_rchr(addr, separator);
		if (cut == SIZE_MAX || cut == 0)
			break;
		addr = span_head(addr, cut);
		rc = map_find(l, addr, MAP_PARTIAL, scratch, value_out, e);
	}
	return rc;
}
