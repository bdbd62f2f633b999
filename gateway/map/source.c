/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/source.h"

enum { LINE_MAX_BYTES = 16 << 20 };

static bool
is_white(unsigned char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\v' || c == '\f';
}

void
source_init(struct source *s, struct span text, enum source_form form)
{
	*s = (struct source){ .lines = { .rest = text }, .form = form };
	buf_init(&s->line, LINE_MAX_BYTES);
}

void
source_fini(struct source *s)
{
	buf_fini(&s->line);
}

size_t
source_key_end(struct span line)
{
	bool quoted = false;
	for (size_t i = 0; i < line.n; i++) {
		unsigned char c = line.p[i];
		if (c == '\\' && i + 1 < line.n)
			i++;
		else if (c == '"')
			quoted = !quoted;
		else if (!quoted && is_white(c))
			return i;
	}
	return line.n;
}

static void
map_line(struct span line, struct source_entry *out)
{
	size_t end = source_key_end(line);
	out->key = span_head(line, end);
	out->value = span_trim(span_from(line, end));
	if (out->value.n == 0) {
		out->complaint = "expected format: key whitespace value";
		return;
	}
	out->usable = true;
	if (out->key.p[out->key.n - 1] == ':')
		out->complaint = "record is in \"key: value\" format; is this an alias file?";
}

/* name: value; the name may be quoted, and then the quotes go (in place: the line is ours). */
static void
alias_line(struct span line, unsigned char *bytes, struct source_entry *out)
{
	size_t at = 0, len = 0;
	if (bytes[0] == '"') {
		for (at = 1; at < line.n && bytes[at] != '"'; at++) {
			if (bytes[at] == '\\' && at + 1 < line.n)
				at++;
			bytes[len++] = bytes[at];
		}
		out->key = span_of(bytes, len);
		at++;
		while (at < line.n && is_white(bytes[at]))
			at++;
	} else {
		while (at < line.n && bytes[at] != ':')
			at++;
		out->key = span_rtrim(span_head(line, at));
	}
	out->complaint = "expected format: name: value";
	if (out->key.n == 0 || at >= line.n || bytes[at] != ':')
		return;
	out->value = span_trim(span_from(line, at + 1));
	if (out->value.n == 0)
		return;
	out->usable = true;
	out->complaint = NULL;
}

enum rc
source_next(struct source *s, struct source_entry *out)
{
	*out = (struct source_entry){ 0 };
	enum rc rc = conf_lines_next(&s->lines, &s->line, &s->lineno);
	if (rc != RC_OK)
		return RC_NONE;
	out->lineno = s->lineno;
	struct span line = span_rtrim(buf_span(&s->line));
	if (s->line.over) {
		out->complaint = "line too long";
		return RC_OK;
	}
	if (line.n == 0 || is_white(line.p[0])) {
		out->complaint = "continuation of nothing";
		return RC_OK;
	}
	if (span_chr(line, '\0') != SIZE_MAX)
		out->complaint = "line contains a NUL byte";
	else if (s->form == SOURCE_ALIASES)
		alias_line(line, s->line.p + s->line.at, out);
	else
		map_line(line, out);
	return RC_OK;
}
