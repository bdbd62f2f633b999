/* SPDX-License-Identifier: BSD-2-Clause */
#include "policy/standard.h"

#include "msg/addr.h"

static struct standard
standard_of(const struct params *p, const char *origin, const char *domain)
{
	return (struct standard){
		.origin = p->p_append_at_myorigin ? origin : "", .domain = p->p_append_dot_mydomain ? domain : "",
		.bang = p->p_swap_bangpath, .percent = p->p_allow_percent_hack,
	};
}

struct standard
standard_local(const struct params *p)
{
	return standard_of(p, p->p_myorigin, p->p_mydomain);
}

struct standard
standard_remote(const struct params *p)
{
	return standard_of(p, p->p_remote_header_rewrite_domain, p->p_remote_header_rewrite_domain);
}

/* "host!user" and "user%host" without a domain are user@host. */
static bool
swap_route(const struct standard *s, struct span addr, struct buf *out)
{
	size_t bang = s->bang ? span_chr(addr, '!') : SIZE_MAX;
	size_t percent = bang == SIZE_MAX && s->percent ? span_rchr(addr, '%') : SIZE_MAX;
	size_t at = bang != SIZE_MAX ? bang : percent;
	if (at == SIZE_MAX)
		return false;
	struct span left = span_head(addr, at), right = span_from(addr, at + 1);
	struct span user = bang != SIZE_MAX ? right : left, host = bang != SIZE_MAX ? left : right;
	if (user.n == 0 || !addr_is_hostname(host, true))
		return false;
	buf_put(out, user);
	buf_putc(out, '@');
	buf_put(out, host);
	return true;
}

struct span
standard_form(const struct standard *s, struct span addr, bool has_domain, struct buf *out)
{
	buf_reset(out);
	if (addr.n == 0)
		return addr;
	bool changed = false;
	if (!has_domain) {
		changed = swap_route(s, addr, out);
		if (!changed && s->origin[0] != '\0') {
			buf_put(out, addr);
			buf_putc(out, '@');
			buf_puts(out, s->origin);
			changed = true;
		}
	}
	struct span now = changed ? buf_span(out) : addr;
	size_t at = has_domain || changed ? span_rchr(now, '@') : SIZE_MAX;
	struct span domain = at == SIZE_MAX ? SPAN_EMPTY : span_from(now, at + 1);
	if (domain.n > 0 && s->domain[0] != '\0' && domain.p[0] != '[' && span_chr(domain, '.') == SIZE_MAX) {
		if (!changed)
			buf_put(out, addr);
		buf_putc(out, '.');
		buf_puts(out, s->domain);
		changed = true;
	}
	return changed && !out->over ? buf_span(out) : addr;
}

struct span
standard_complete(const struct params *p, const struct addr *a, struct arena *arena)
{
	struct standard form = standard_local(p);
	struct buf b;
	buf_init(&b, 4096);
	struct span full = standard_form(&form, a->text, a->domain.n > 0, &b);
	if (full.p != a->text.p) {
		full = arena_span(arena, full);
		if (arena->over)
			full = a->text; /* the caller finds no room for it either */
	}
	buf_fini(&b);
	return full;
}
