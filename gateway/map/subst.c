/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/subst.h"

static bool
is_name(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Behind a '$': the name, with the brackets it may stand in. */
static enum rc
take_group(struct span *rest, unsigned *group_out, struct err *e)
{
	struct span name;
	unsigned char open = rest->n > 0 ? rest->p[0] : 0;
	uint64_t n = 0;
	if (open == '{' || open == '(') {
		size_t close = span_chr(*rest, open == '{' ? '}' : ')');
		if (close == SIZE_MAX)
			return err_set(e, RC_PERM, "$%c is not closed in the result", open);
		name = span_of(rest->p + 1, close - 1);
		*rest = span_from(*rest, close + 1);
	} else {
		size_t len = 0;
		while (len < rest->n && is_name(rest->p[len]))
			len++;
		name = span_head(*rest, len);
		*rest = span_from(*rest, len);
	}
	if (name.n == 0)
		return err_set(e, RC_PERM, "a lone '$' in the result: write $$, or $1 for what a group matched");
	if (!span_u64(name, UINT32_MAX, &n))
		return err_set(e, RC_PERM, "$%.*s in the result is no number of a group: write $$ for '$', ${1} in front of text",
		    name.n < 40 ? (int)name.n : 40, (const char *)name.p);
	if (n == 0 || n >= SUBST_GROUPS)
		return err_set(e, RC_PERM, "$%u in the result: groups are counted from 1 to %d", (unsigned)n, SUBST_GROUPS - 1);
	*group_out = (unsigned)n;
	return RC_OK;
}

static size_t
count_dollars(struct span text)
{
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '$';
	return n;
}

enum rc
subst_parse(struct span text, struct arena *a, struct subst *out, struct err *e)
{
	*out = (struct subst){ 0 };
	unsigned char *bytes = arena_alloc(a, text.n + 1);
	struct subst_part *parts = arena_alloc(a, (2 * count_dollars(text) + 1) * sizeof *parts);
	if (bytes == NULL || parts == NULL)
		return err_set(e, RC_PERM, "the result is too long");
	size_t len = 0, from = 0;
	out->parts = parts;
	while (text.n > 0) {
		if (text.p[0] != '$' || (text.n > 1 && text.p[1] == '$')) {
			bytes[len++] = text.p[0];
			text = span_from(text, text.p[0] == '$' ? 2 : 1);
			continue;
		}
		unsigned group = 0;
		text = span_from(text, 1);
		enum rc rc = take_group(&text, &group, e);
		if (rc != RC_OK)
			return rc;
		if (len > from)
			parts[out->count++] = (struct subst_part){ .text = span_of(bytes + from, len - from) };
		from = len;
		parts[out->count++] = (struct subst_part){ .group = group };
		out->most = group > out->most ? group : out->most;
	}
	if (len > from)
		parts[out->count++] = (struct subst_part){ .text = span_of(bytes + from, len - from) };
	return RC_OK;
}

void
subst_put(const struct subst *s, const struct span *groups, size_t count, struct buf *out)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct subst_part *p = &s->parts[i];
		if (p->group == 0)
			buf_put(out, p->text);
		else if (p->group < count)
			buf_put(out, groups[p->group]);
	}
}
