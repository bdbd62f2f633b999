/* SPDX-License-Identifier: BSD-2-Clause */
/* Properties of pattern tables: a rule that is read can be written and read again as the same; a result gives nothing
 * but its text and what groups matched; a key that an expression matches holds one of its literals, so that the
 * prefilter never hides a match. */
#include "map/literal.h"
#include "map/prefilter.h"
#include "map/regex.h"
#include "map/subst.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
again(const struct pattern_rule *r, struct span line, enum pattern_flavour flavour)
{
	struct buf b;
	struct pattern_rule got;
	struct err e;
	buf_init(&b, 1 << 20);
	if (r->kind == PATTERN_ENDIF) {
		buf_puts(&b, "endif");
	} else {
		buf_puts(&b, r->kind == PATTERN_IF ? "if " : "");
		buf_puts(&b, r->negated ? "!" : "");
		BUG_ON(r->regex.p <= line.p || r->regex.p + r->regex.n >= line.p + line.n);
		size_t end = r->result.n > 0 ? (size_t)(r->result.p - r->regex.p) + r->result.n : (size_t)(line.p + line.n - r->regex.p);
		buf_put(&b, span_of(r->regex.p - 1, end + 1));
	}
	BUG_ON(pattern_parse(buf_span(&b), flavour, &got, &e) != RC_OK);
	BUG_ON(got.kind != r->kind || got.negated != r->negated || got.flags != r->flags);
	BUG_ON(!span_eq(got.regex, r->regex) || (r->kind != PATTERN_ENDIF && !span_eq(got.result, r->result)));
	buf_fini(&b);
}

static void
put(struct span text)
{
	struct arena a;
	struct subst s;
	struct err e;
	struct buf out;
	struct span groups[SUBST_GROUPS];
	arena_init(&a, 1 << 20);
	buf_init(&out, 1 << 20);
	for (size_t i = 0; i < SUBST_GROUPS; i++)
		groups[i] = SPAN("\001");
	if (subst_parse(text, &a, &s, &e) == RC_OK) {
		size_t used = 0, ones = 0, have = 0;
		for (size_t i = 0; i < s.count; i++)
			used += s.parts[i].group > 0;
		for (size_t i = 0; i < text.n; i++)
			have += text.p[i] == 1;
		subst_put(&s, groups, SUBST_GROUPS, &out);
		struct span got = buf_span(&out);
		for (size_t i = 0; i < got.n; i++)
			ones += got.p[i] == 1;
		BUG_ON(ones < used || ones > used + have || (used > 0) != (s.most > 0));
		BUG_ON(got.n > text.n || s.most >= SUBST_GROUPS);
		BUG_ON(s.most == 0 && s.count > 1);
	}
	buf_fini(&out);
	arena_fini(&a);
}

/* The C library copies what is repeated, nested repetitions again and again: what an administrator may do to himself. */
static bool
is_modest(struct span regex, enum pattern_flavour flavour)
{
	size_t repeats = 0, others = 0;
	for (size_t i = 0; i < regex.n; i++) {
		repeats += regex.p[i] == '+' || regex.p[i] == '*' || regex.p[i] == '?';
		others += regex.p[i] == '{' || (regex.p[i] == '\\' && i + 1 < regex.n && regex.p[i + 1] >= '0' && regex.p[i + 1] <= '9');
	}
	return flavour == PATTERN_PCRE || (others == 0 && repeats < 4 && regex.n < 40);
}

static void
match(const struct pattern_rule *r, enum pattern_flavour flavour, struct span key)
{
	struct regex *regex = NULL;
	struct span groups[SUBST_GROUPS];
	struct err e;
	if (!is_modest(r->regex, flavour) || regex_compile(flavour, r->regex, r->flags, true, &regex, &e) != RC_OK)
		return;
	unsigned n = regex_groups(regex) < SUBST_GROUPS ? regex_groups(regex) + 1 : SUBST_GROUPS;
	enum rc rc = regex_match(regex, key, groups, n, &e);
	if (rc == RC_OK) {
		for (unsigned i = 0; i < n; i++)
			BUG_ON(groups[i].p != NULL && (groups[i].p < key.p || groups[i].p + groups[i].n > key.p + key.n));
		struct prefilter *p = prefilter_new();
		prefilter_add(p, r->regex, flavour, r->flags);
		prefilter_seal(p);
		prefilter_look(p, key);
		BUG_ON(!prefilter_may(p, 0));
		prefilter_free(&p);
	}
	regex_free(&regex);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct pattern_rule r;
	struct err e;
	if (n < 2 || n > 4000)
		return 0;
	enum pattern_flavour flavour = p[0] & 1 ? PATTERN_REGEXP : PATTERN_PCRE;
	struct span all = span_of(p + 1, n - 1);
	size_t nl = span_chr(all, '\n');
	struct span line = span_head(all, nl), key = nl == SIZE_MAX ? line : span_from(all, nl + 1);
	put(line);
	if (span_chr(line, '\0') != SIZE_MAX || pattern_parse(line, flavour, &r, &e) != RC_OK)
		return 0;
	again(&r, line, flavour);
	if (r.kind != PATTERN_ENDIF)
		match(&r, flavour, key);
	return 0;
}
