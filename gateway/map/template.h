/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * template.h - what the "%s" of a database table's parameters mean, and the query that is made of them. Facts 6.4. Pure.
 *
 * Keys never become part of the text of a query: each quoted string with a key in it, and each bare "%x", becomes a bound
 * value. So "WHERE name = '%u@%d'" is the query "WHERE name = ?1" and the template "%u@%d" for its value.
 */
#ifndef MAP_TEMPLATE_H
#define MAP_TEMPLATE_H

#include "base/arena.h"
#include "base/buf.h"

enum { TEMPLATE_BINDS_MAX = 64, TEMPLATE_QUERY_MAX = 65536 };

/* What the templates of one table need of a key, and of a result. */
struct template_needs {
	bool key_user, key_domain, value_user, value_domain;
	unsigned labels;             /* of the key's domain: the highest of %1 to %9 */
};

struct query {
	struct span sql;             /* ?1 to ?n where values go */
	struct span binds[TEMPLATE_BINDS_MAX];
	size_t nbinds;
	struct span result;          /* result_format */
	struct template_needs needs;
};

/* Both templates of a table; text is copied into the arena. RC_PERM: an unknown %x, an open quote, too many values. */
enum rc query_compile(struct span sql, struct span result_format, struct arena *a, struct query *out, struct err *e) MUST_CHECK;
/* Has the key the parts that the templates need? Otherwise there is no result and the table is not asked. */
bool query_takes(const struct query *q, struct span key);
/* The value of a bind, appended to out. query_takes() was true. */
void query_bind(const struct query *q, size_t bind, struct span key, struct buf *out);
/* One row's value through the result format, appended with a comma in front if out is not empty. RC_NONE: empty, or
 * without a part that the format needs. */
enum rc query_result(const struct query *q, struct span key, struct span value, struct buf *out) MUST_CHECK;

#endif
