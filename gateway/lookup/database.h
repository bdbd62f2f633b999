/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * database.h - one SQLite file, read only, and the one query that is asked of it. Blocks: for a thread of its own (sqlite.c).
 *
 * Nothing is ever written, not even the files beside a database in WAL mode: that is what the sandbox allows. While such
 * a database is in use by its writer we read along; when the last writer has gone, and its -wal file with him, the
 * database is read as one that does not change, and the answer counts only if it did not change meanwhile.
 */
#ifndef LOOKUP_DATABASE_H
#define LOOKUP_DATABASE_H

#include "map/remote_table.h"

struct database;

struct database *database_new(const struct remote_table *spec);   /* spec is borrowed */
void database_free(struct database **dp);
/* RC_OK with the rows joined, RC_NONE, or RC_TEMP with the reason. until: clock_mono() scale. */
enum rc database_ask(struct database *d, struct span key, uint64_t until, struct buf *text_out, struct err *e) MUST_CHECK;
/* From another thread: what is being asked ends soon, and all that comes. */
void database_stop(struct database *d);

#endif
