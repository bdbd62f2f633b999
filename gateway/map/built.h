/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * built.h - LMDB files compiled from text sources, below conf_tables_dir(). Facts 6.1.
 *
 * The loader builds when there is no file for this version of the source; a version is the source's device,
 * inode, size and modification time, and it is in the file's name, so a role that holds an older one keeps it.
 * A built file is never written again: roles read it without locks through one read transaction that lasts as
 * long as the table, so results are pointers into the page cache.
 */
#ifndef MAP_BUILT_H
#define MAP_BUILT_H

#include "map/source.h"
#include "map/table.h"

enum { BUILT_NAME = 64, BUILT_KEY_MAX = 511 };

struct built_job {
	const struct map_ctx *ctx;   /* complaints about lines go there */
	const char *path;            /* absolute path of the source */
	const char *dir;             /* of the built files; made when missing */
	enum source_form form;
	bool is_cdb;                 /* path is a constant database, not text */
	bool silent_about_twice;     /* no complaint about the second of two equal keys (the first counts) */
	bool force;                  /* also when it is there already */
};

/* Makes sure there is a built file of the present version; name_out is its name in dir, version_out (of what could not
 * be used, too) that of the source. RC_TEMP: the source is
 * missing or unreadable (the reason in e); RC_PERM: the file could not be made. */
enum rc built_make(const struct built_job *job, char name_out[BUILT_NAME], struct conf_version *version_out, struct err *e) MUST_CHECK;

/* What "map build" leaves of a cdb: table for others to read: path.cdb, made of the text in path. */
struct built_cdb {
	bool last_wins;              /* of equal keys */
	bool with_nul;               /* behind keys and values */
	bool own_mode;               /* 0644, not that of the source */
};
enum rc built_write_cdb(const struct built_job *job, const struct built_cdb *how, struct err *e) MUST_CHECK;

/* Builds the table of "type:path" now, whatever there is, and for cdb: path.cdb, too. */
enum rc built_refresh(const struct map_ctx *ctx, struct span name, const struct built_cdb *how, bool silent_about_twice, struct err *e) MUST_CHECK;

/* Is it one of our file names? */
bool built_is_name(const char *name);

/* Reads all of a source file; text_out is to be freed. RC_TEMP: cannot. */
enum rc built_read_source(const char *path, struct buf *text_out, struct conf_version *version_out, struct err *e) MUST_CHECK;

#endif
