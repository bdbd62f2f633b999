/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tables.h - the tables that this process asks, by name, and one question to one of them.
 *
 * Runs in: lookup, and the helper of commands (direct.h). A question is owned by who asks until done() takes it back;
 * done() comes from the loop, once, within the table's time limit.
 */
#ifndef LOOKUP_TABLES_H
#define LOOKUP_TABLES_H

#include "loop/loop.h"
#include "loop/op.h"
#include "map/remote_table.h"

struct table;

struct ask {
	struct list link;            /* the table's */
	struct span key;             /* valid until done */
	uint64_t until;              /* loop_now() scale */
	bool is_retried;             /* a reused connection had ended before it */
	void (*done)(struct ask *, enum rc rc, struct span text);
};

struct table_ops {
	void (*ask)(struct table *, struct ask *);
	/* What is under way ends with RC_TEMP, at once. */
	void (*close)(struct table *);
	void (*status)(const struct table *, struct buf *json_out);
};

struct table {
	struct list link;            /* in tables.open or tables.retired */
	const struct table_ops *ops;
	struct conf *conf;           /* reference */
	struct remote_table *spec;
	struct tables *all;
	size_t under_way;
	uint64_t asked, failed;
	bool is_troubled;            /* and the log has been told */
	bool is_quiet;               /* the log is told nothing: a command says it itself */
	bool is_named;               /* by the configuration in force */
	unsigned askers, asked_by;   /* REMOTE_BY_*: who may ask: as the configuration says, and who might before it */
	bool is_retired;             /* closed when nothing is under way */
	struct grave grave;
};

struct tables {
	struct list open, retired;
};

/* Opens what a snapshot names; problems are logged, a table that cannot be opened is not there. Again for a new snapshot:
 * tables of the one before that are not named again stay until the next one, for sessions that began with it. */
void tables_load(struct tables *ts, struct conf *c);
void tables_fini(struct tables *ts);
/* NULL: there is none of this name. */
struct table *tables_find(struct tables *ts, struct span name);
/* NULL also when none of the parameters that name it is looked at by this role (REMOTE_BY_*). */
struct table *tables_find_for(struct tables *ts, struct span name, unsigned asker);
/* Opens one that is not named in the snapshot; for commands. NULL with the reason. */
struct table *tables_add(struct tables *ts, struct conf *c, struct span name, struct err *e);

void table_ask(struct table *t, struct ask *a);

/* ---- for the kinds of tables ---- */

/* Allocated by the kind, freed by it in close(). */
struct table *stream_table_new(struct remote_table *spec);
struct table *sqlite_table_new(struct remote_table *spec);
/* Ends a question. */
void table_answer(struct table *t, struct ask *a, enum rc rc, struct span text);
/* "not now", and the log is told once until something works again. */
void table_trouble(struct table *t, const char *why);
void table_works(struct table *t);

#endif
