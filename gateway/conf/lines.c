/* SPDX-License-Identifier: BSD-2-Clause */
/* Logical lines and list items: the syntax that main.cf, master.cf and every table source share. */
#include "conf/conf.h"

#include "base/clock.h"
#include "conf/param.h"

static bool
is_blank(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* The next physical line without its newline. */
static struct span
take_line(struct conf_lines *it)
{
	size_t n = span_chr(it->rest, '\n');
	struct span line = span_head(it->rest, n);
	it->rest = span_from(it->rest, n == SIZE_MAX ? it->rest.n : n + 1);
	it->at++;
	size_t nul = span_chr(line, '\0');
	if (nul != SIZE_MAX)
		it->nul_line = it->at;
	return span_head(line, nul);
}

static bool
is_dropped(struct span line)
{
	struct span s = span_trim(line);
	return s.n == 0 || s.p[0] == '#';
}

static void
put_line(struct conf_lines *it, struct buf *out, struct span line)
{
	if (it->njoints < NELEMS(it->joints))
		it->joints[it->njoints++] = (struct conf_joint){ buf_len(out), it->at };
	buf_put(out, line);
}

enum rc
conf_lines_next(struct conf_lines *it, struct buf *line_out, int *lineno_out)
{
	buf_reset(line_out);
	struct span line;
	for (;;) {
		if (it->rest.n == 0)
			return RC_NONE;
		line = take_line(it);
		if (is_dropped(line))
			continue;
		if (!is_blank(line.p[0]))
			break;
		it->stray_line = it->at;
	}
	*lineno_out = it->at;
	it->njoints = 0;
	put_line(it, line_out, line);
	while (it->rest.n > 0) {
		struct conf_lines before = *it;
		line = take_line(it);
		if (is_dropped(line))
			continue;
		if (!is_blank(line.p[0])) {
			*it = before;
			break;
		}
		put_line(it, line_out, line);
	}
	return RC_OK;
}

int
conf_lines_at(const struct conf_lines *it, size_t offset)
{
	unsigned i = it->njoints;
	while (i > 1 && it->joints[i - 1].offset > offset)
		i--;
	return i > 0 ? it->joints[i - 1].line : it->at;
}

static bool
is_separator(unsigned char c)
{
	return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

enum rc
conf_item(struct span *rest, struct span *item_out, bool *was_group_out)
{
	while (rest->n > 0 && is_separator(rest->p[0]))
		*rest = span_from(*rest, 1);
	if (was_group_out != NULL)
		*was_group_out = false;
	if (rest->n == 0)
		return RC_NONE;
	size_t depth = 0, n = 0, first_close = SIZE_MAX;
	for (; n < rest->n; n++) {
		unsigned char c = rest->p[n];
		if (c == '{') {
			depth++;
		} else if (c == '}' && depth > 0) {
			if (--depth == 0 && first_close == SIZE_MAX)
				first_close = n;
		} else if (depth == 0 && is_separator(c)) {
			break;
		}
	}
	struct span item = span_head(*rest, n);
	*rest = span_from(*rest, n);
	if (depth > 0)
		return RC_PERM;
	if (item.p[0] == '{') {
		if (first_close != item.n - 1)
			return RC_PERM;
		item = span_trim(span_from(span_head(item, item.n - 1), 1));
		if (was_group_out != NULL)
			*was_group_out = true;
	}
	*item_out = item;
	return RC_OK;
}

enum rc
conf_settings(struct span text, enum rc (*take)(void *owner, struct span name, struct span value, struct err *e), void *owner, struct err *e)
{
	struct span item;
	bool group;
	enum rc rc;
	while ((rc = conf_item(&text, &item, &group)) == RC_OK) {
		size_t eq = span_chr(item, '=');
		struct span name = span_trim(span_head(item, eq));
		if (eq == SIZE_MAX)
			return err_set(e, RC_PERM, "need name=value, or { name = value }, instead of \"%.*s\"", (int)(item.n < 80 ? item.n : 80),
			    (const char *)item.p);
		if (take(owner, name, span_trim(span_from(item, eq + 1)), e) != RC_OK)
			return err_prefix(e, "%.*s", (int)(name.n < 80 ? name.n : 80), (const char *)name.p);
	}
	return rc == RC_NONE ? RC_OK : err_set(e, RC_PERM, "unbalanced braces");
}

enum rc
conf_setting_time(struct span value, uint64_t *usec, struct err *e)
{
	uint64_t n = 0;
	if (param_time(value, 's', &n) != RC_OK || n < USEC_PER_SEC)
		return err_set(e, RC_PERM, "need a time of at least one second");
	*usec = n;
	return RC_OK;
}

bool
conf_has_item(const char *list, const char *name)
{
	struct span rest = span_str(list), item;
	bool group;
	while (conf_item(&rest, &item, &group) == RC_OK)
		if (span_eq_str(item, name))
			return true;
	return false;
}
