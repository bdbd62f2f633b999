/* SPDX-License-Identifier: BSD-2-Clause */
/* The rows of restrictions.def, by name. */
#include "policy/engine.h"

#include "conf/param.h"

static const struct restriction rows[] = {
#define RESTRICTION(name, arg, needs, kind, fn, doc) { #name, arg, needs, kind, fn, NULL, doc },
#define RESTRICTION_LATER(name, arg, doc) { #name, arg, 0, 0, NULL, NULL, doc },
#define RESTRICTION_GONE(name, advice) { #name, ARG_NONE, 0, 0, NULL, advice, "" },
#define RESTRICTION_ALIAS(name, of)
#include "policy/restrictions.def"
#undef RESTRICTION
#undef RESTRICTION_LATER
#undef RESTRICTION_GONE
#undef RESTRICTION_ALIAS
};

static const struct {
	const char *name, *of;
} aliases[] = {
#define RESTRICTION(name, arg, needs, kind, fn, doc)
#define RESTRICTION_LATER(name, arg, doc)
#define RESTRICTION_GONE(name, advice)
#define RESTRICTION_ALIAS(name, of) { #name, #of },
#include "policy/restrictions.def"
#undef RESTRICTION
#undef RESTRICTION_LATER
#undef RESTRICTION_GONE
#undef RESTRICTION_ALIAS
};

size_t
restriction_count(void)
{
	return NELEMS(rows);
}

const struct restriction *
restriction_at(size_t row)
{
	return &rows[row];
}

const struct restriction *
restriction_find(struct span name)
{
	for (size_t i = 0; i < NELEMS(aliases); i++)
		if (span_caseeq_str(name, aliases[i].name))
			name = span_str(aliases[i].of);
	for (size_t i = 0; i < NELEMS(rows); i++)
		if (span_caseeq_str(name, rows[i].name))
			return &rows[i];
	return NULL;
}

const char *
restriction_suggest(struct span name)
{
	const char *best = NULL;
	unsigned near = 2 + (unsigned)name.n / 6;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		unsigned d = edit_distance(name, span_str(rows[i].name), near);
		if (d <= near && (best == NULL || d < near)) {
			best = rows[i].name;
			near = d;
		}
	}
	return best;
}
