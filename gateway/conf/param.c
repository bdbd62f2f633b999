/* SPDX-License-Identifier: BSD-2-Clause */
#include "conf/param.h"

#include "base/version.h"

#define PARAM(name, type, def, min, max, flags, doc)                                                                  \
	{ #name, PT_##type, def, min, max, flags, doc, offsetof(struct params, p_##name) },
static const struct param rows[] = {
#include "conf/params.def"
};
#undef PARAM

size_t
param_count(void)
{
	return NELEMS(rows);
}

const struct param *
param_at(size_t row)
{
	BUG_ON(row >= NELEMS(rows));
	return &rows[row];
}

const struct param *
param_find(struct span name)
{
	size_t lo = 0, hi = NELEMS(rows);
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int d = span_cmp(name, span_str(rows[mid].name));
		if (d == 0)
			return &rows[mid];
		if (d < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const char *
param_type_name(enum param_type type)
{
	static const char *const names[] = { "yes or no", "number", "time", "text", "list", "template" };
	BUG_ON((size_t)type >= NELEMS(names));
	return names[type];
}

static unsigned
unit_seconds(char unit)
{
	switch (unit) {
	case 's': return 1;
	case 'm': return 60;
	case 'h': return 3600;
	case 'd': return 86400;
	case 'w': return 604800;
	default: return 0;
	}
}

char
param_unit(const struct param *row)
{
	size_t n = strlen(row->def);
	char last = n >= 2 ? row->def[n - 1] : '\0';
	char before = n >= 2 ? row->def[n - 2] : '\0';
	return unit_seconds(last) != 0 && (before == '}' || (before >= '0' && before <= '9')) ? last : 's';
}

enum rc
param_bool(struct span text, bool *out)
{
	if (span_caseeq_str(text, "yes"))
		*out = true;
	else if (span_caseeq_str(text, "no"))
		*out = false;
	else
		return RC_PERM;
	return RC_OK;
}

enum rc
param_int(struct span text, int64_t *out)
{
	bool negative = text.n > 0 && text.p[0] == '-';
	uint64_t v;
	if (text.n > 0 && (text.p[0] == '-' || text.p[0] == '+'))
		text = span_from(text, 1);
	if (!span_u64(text, INT64_MAX, &v))
		return RC_PERM;
	*out = negative ? -(int64_t)v : (int64_t)v;
	return RC_OK;
}

enum rc
param_time(struct span text, char unit, uint64_t *out)
{
	if (text.n > 0 && !(text.p[text.n - 1] >= '0' && text.p[text.n - 1] <= '9')) {
		unit = (char)text.p[text.n - 1];
		if (unit >= 'A' && unit <= 'Z')
			unit = (char)(unit | 0x20);
		text = span_head(text, text.n - 1);
	}
	uint64_t n, factor = (uint64_t)unit_seconds(unit) * 1000000;
	if (factor == 0 || !span_u64(text, INT32_MAX, &n) || n * unit_seconds(unit) > INT32_MAX)
		return RC_PERM;
	*out = n * factor;
	return RC_OK;
}

static enum rc
store_int(const struct param *row, const char *text, int64_t *field, struct err *e)
{
	int64_t v, bound;
	if (param_int(span_str(text), &v) != RC_OK)
		return err_set(e, RC_PERM, "bad numerical value: %s = %s", row->name, text);
	if (row->min[0] != '\0' && param_int(span_str(row->min), &bound) == RC_OK && v < bound)
		return err_set(e, RC_PERM, "value too small: %s = %s (at least %s)", row->name, text, row->min);
	if (row->max[0] != '\0' && param_int(span_str(row->max), &bound) == RC_OK && v > bound)
		return err_set(e, RC_PERM, "value too large: %s = %s (at most %s)", row->name, text, row->max);
	*field = v;
	return RC_OK;
}

static enum rc
store_time(const struct param *row, const char *text, uint64_t *field, struct err *e)
{
	uint64_t v, bound;
	if (param_time(span_str(text), param_unit(row), &v) != RC_OK)
		return err_set(e, RC_PERM, "bad time value or unit: %s = %s (a number and one of s m h d w)", row->name, text);
	if (row->min[0] != '\0' && param_time(span_str(row->min), 's', &bound) == RC_OK && v < bound)
		return err_set(e, RC_PERM, "value too small: %s = %s (at least %s)", row->name, text, row->min);
	if (row->max[0] != '\0' && param_time(span_str(row->max), 's', &bound) == RC_OK && v > bound)
		return err_set(e, RC_PERM, "value too large: %s = %s (at most %s)", row->name, text, row->max);
	*field = v;
	return RC_OK;
}

enum rc
param_store(const struct param *row, const char *text, struct params *p, struct err *e)
{
	void *field = (char *)p + row->offset;
	switch (row->type) {
	case PT_BOOL:
		if (param_bool(span_str(text), field) != RC_OK)
			return err_set(e, RC_PERM, "bad boolean value: %s = %s (yes or no)", row->name, text);
		return RC_OK;
	case PT_INT:
		return store_int(row, text, field, e);
	case PT_TIME:
		return store_time(row, text, field, e);
	case PT_STR:
	case PT_LIST:
	case PT_RAW:
		*(const char **)field = text;
		return RC_OK;
	}
	BUG("row type");
}

const char *
param_text(const struct param *row, const struct params *p)
{
	if (row->type == PT_BOOL || row->type == PT_INT || row->type == PT_TIME)
		return NULL;
	return *(const char *const *)(const void *)((const char *)p + row->offset);
}

unsigned
edit_distance(struct span a, struct span b, unsigned limit)
{
	enum { LONGEST = 80 };
	unsigned row[3][LONGEST + 1];
	if (a.n > LONGEST || b.n > LONGEST || (a.n > b.n ? a.n - b.n : b.n - a.n) > limit)
		return limit + 1;
	for (size_t j = 0; j <= b.n; j++)
		row[1][j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		unsigned *two_ago = row[(i + 2) % 3], *last = row[i % 3], *now = row[(i + 1) % 3];
		unsigned least = now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			unsigned best = last[j - 1] + (a.p[i - 1] != b.p[j - 1]);
			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] && a.p[i - 2] == b.p[j - 1] && two_ago[j - 2] + 1 < best)
				best = two_ago[j - 2] + 1;
			now[j] = best;
			least = best < least ? best : least;
		}
		if (least > limit) /* it only grows from here (a swap looks back one row, and costs) */
			return limit + 1;
	}
	unsigned d = row[(a.n + 1) % 3][b.n];
	return d > limit ? limit + 1 : d;
}

const char *
param_suggest(struct span name)
{
	unsigned limit = name.n < 8 ? 1 : name.n < 16 ? 2 : 3;
	const char *best = NULL;
	for (size_t i = 0; i < NELEMS(rows); i++) {
		unsigned d = edit_distance(name, span_str(rows[i].name), limit);
		if (d <= limit) {
			best = rows[i].name;
			if (d == 0)
				break;
			limit = d - 1;
		}
	}
	return best;
}
