/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * param.h - the rows of params.def: finding one, and turning text into the value of its type.
 *
 * Pure functions over constant tables. A type is a row of param.c too: parse, range, store.
 */
#ifndef CONF_PARAM_H
#define CONF_PARAM_H

#include "conf/conf.h"

enum param_type { PT_BOOL, PT_INT, PT_TIME, PT_STR, PT_LIST, PT_RAW };

/* One of the first three; P_OLD may be added: the doc names the replacement. */
enum param_flags {
	P_LIVE = 1,    /* something reads it                                         */
	P_KNOWN = 2,   /* Postfix's meaning is known, nothing reads it yet           */
	P_IGNORED = 4, /* concerns files or processes we do not have: no effect here */
	P_OLD = 8,     /* another name is used today                                 */
};

struct param {
	const char *name;
	enum param_type type;
	const char *def, *min, *max; /* text; "" for no bound */
	unsigned flags;
	const char *doc;
	size_t offset;               /* of the field in struct params */
};

size_t param_count(void);
const struct param *param_at(size_t row);           /* in strcmp order of the names */
const struct param *param_find(struct span name);   /* NULL if there is none */
const char *param_type_name(enum param_type type);

/* The unit of a TIME value that is written without one: the default's own, or 's'. */
char param_unit(const struct param *row);

enum rc param_bool(struct span text, bool *out) MUST_CHECK;
/* Decimal with an optional sign; the whole text. RC_PERM also when it does not fit. */
enum rc param_int(struct span text, int64_t *out) MUST_CHECK;
/* Microseconds. One unit letter (s m h d w) or none. */
enum rc param_time(struct span text, char unit, uint64_t *out) MUST_CHECK;

/* Parses an expanded value, looks at the range and stores it in the row's field. Strings are stored as
 * they are (kept: the caller's memory lives as long as *p). RC_PERM with the reason: nothing stored. */
enum rc param_store(const struct param *row, const char *text, struct params *p, struct err *e) MUST_CHECK;
/* The text of a string row's field, NULL for the other types. */
const char *param_text(const struct param *row, const struct params *p);

/* The name that looks most like a mistyped one, or NULL when none comes near. */
const char *param_suggest(struct span name);
/* Optimal string alignment distance, at most limit + 1. */
unsigned edit_distance(struct span a, struct span b, unsigned limit);

#endif
