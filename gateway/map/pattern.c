/* SPDX-License-Identifier: BSD-2-Clause */
#include "map/pattern.h"

static const struct {
	char letter;
	unsigned flag;
	bool in_regexp;
} letters[] = {
	{ 'i', PATTERN_CASELESS, true },
	{ 'm', PATTERN_MULTILINE, true },
	{ 's', PATTERN_DOTALL, false },
	{ 'x', PATTERN_EXTENDED, true },
	{ 'A', PATTERN_ANCHORED, false },
	{ 'E', PATTERN_DOLLAR_END, false },
	{ 'U', PATTERN_UNGREEDY, false },
};

static bool
is_white(unsigned char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
is_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static enum rc
take_flags(struct span *rest, enum pattern_flavour flavour, struct pattern_rule *out, struct err *e)
{
	out->flags = flavour == PATTERN_PCRE ? PATTERN_CASELESS | PATTERN_DOTALL : PATTERN_CASELESS | PATTERN_EXTENDED;
	for (; rest->n > 0 && !is_white(rest->p[0]); *rest = span_from(*rest, 1)) {
		size_t i = 0;
		while (i < NELEMS(letters) && ((unsigned char)letters[i].letter != rest->p[0] || (flavour == PATTERN_REGEXP && !letters[i].in_regexp)))
			i++;
		if (i < NELEMS(letters))
			out->flags ^= letters[i].flag;
		else if (flavour == PATTERN_PCRE && rest->p[0] == 'X')
			out->doubt = "flag 'X' means nothing to PCRE2: ignored";
		else
			return err_set(e, RC_PERM, "unknown flag '%c' behind the pattern", rest->p[0]);
	}
	return RC_OK;
}

static enum rc
take_pattern(struct span *rest, enum pattern_flavour flavour, struct pattern_rule *out, struct err *e)
{
	while (rest->n > 0 && rest->p[0] == '!') {
		out->negated = !out->negated;
		*rest = span_trim(span_from(*rest, 1));
	}
	if (rest->n == 0)
		return err_set(e, RC_PERM, "a rule without a pattern");
	unsigned char delimiter = rest->p[0];
	if (is_alnum(delimiter) || delimiter == '\\' || is_white(delimiter))
		return err_set(e, RC_PERM, "a pattern must begin with a delimiter such as '/'");
	size_t end = 1;
	while (end < rest->n && rest->p[end] != delimiter)
		end += rest->p[end] == '\\' ? 2 : 1;
	if (end >= rest->n)
		return err_set(e, RC_PERM, "no closing delimiter '%c' behind the pattern", delimiter);
	out->regex = span_of(rest->p + 1, end - 1);
	*rest = span_from(*rest, end + 1);
	return take_flags(rest, flavour, out, e);
}

static bool
take_word(struct span *rest, const char *word)
{
	size_t n = strlen(word);
	if (!span_caseeq_str(span_head(*rest, n), word) || (rest->n > n && is_alnum(rest->p[n])))
		return false;
	*rest = span_trim(span_from(*rest, n));
	return true;
}

enum rc
pattern_parse(struct span line, enum pattern_flavour flavour, struct pattern_rule *out, struct err *e)
{
	struct span rest = span_trim(line);
	*out = (struct pattern_rule){ 0 };
	if (take_word(&rest, "endif")) {
		out->kind = PATTERN_ENDIF;
		if (rest.n > 0)
			out->doubt = "text after endif is ignored";
		return RC_OK;
	}
	if (take_word(&rest, "if"))
		out->kind = PATTERN_IF;
	else if (rest.n > 0 && is_alnum(rest.p[0]))
		return err_set(e, RC_PERM, "expecting /pattern/flags result, if /pattern/flags, or endif");
	enum rc rc = take_pattern(&rest, flavour, out, e);
	if (rc != RC_OK)
		return rc;
	out->result = span_trim(rest);
	if (out->kind == PATTERN_IF && out->result.n > 0)
		out->doubt = "text after an if pattern is ignored";
	if (out->kind == PATTERN_MATCH && out->result.n == 0)
		out->doubt = "no result behind the pattern: an empty one, which most lookups take for an error";
	return RC_OK;
}
