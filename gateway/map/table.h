/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * table.h - what one open table is, for the files of this folder: the row of its type and the type's state.
 */
#ifndef MAP_TABLE_H
#define MAP_TABLE_H

#include "base/htab.h"
#include "map/map.h"

enum {
	MAPF_FIXED = 1,
	MAPF_FOLD = 2,
	MAPF_BUILT = 4,
	MAPF_REMOTE = 16,            /* answers come from another process: who asks has to wait (remote.h) */
	MAP_KEY_MAX = 2048,          /* longer keys are in no table */
	MAP_NEST_MAX = 10,           /* unionmap of unionmap ... */
	MAP_FILE_MAX = 1 << 30,      /* bytes of a source */
};

/* For whom a table is opened: problems name that parameter. */
struct map_ctx {
	struct conf *conf;
	const struct service *service;
	const char *parameter;       /* NULL: for a command */
	unsigned depth;
	bool aliases;                /* postalias: sources are in aliases form */
	unsigned audience;           /* of a table of passwords (CONF_FOR_RELAY ...); 0: no secret */
};

struct map;
typedef enum rc map_open_fn(struct map *m, const struct map_ctx *ctx, struct span arg, struct err *e);
typedef enum rc map_find_fn(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e);
typedef void map_close_fn(struct map *m);
/* Calls fn for every entry until it says false. line: of the source, or the number of an inline rule; 0: not known any more. */
typedef bool map_entry_fn(void *arg, struct span key, struct span value, int line);
typedef enum rc map_each_fn(const struct map *m, map_entry_fn *fn, void *arg, struct err *e);

struct map_type {
	const char *name;
	unsigned flags;
	map_open_fn *open;           /* NULL: not supported */
	map_find_fn *find;
	map_close_fn *close;         /* called for broken tables too; NULL: nothing to free */
	map_each_fn *each;
	const char *doc;
};

struct map {
	struct hnode by_name;
	const struct map_type *type;
	const struct conf *conf;     /* which snapshot; the lists hold the reference */
	char *name;                  /* "type:name" */
	unsigned refs;
	unsigned flags;              /* of the type; proxy takes those of the table behind it */
	bool broken;                 /* every lookup is RC_TEMP */
	bool may_return;             /* broken, but no reason to refuse the configuration */
	bool refuses_groups;         /* no "$1" in results of pattern tables: opened for a parameter that must not have it */
	bool takes_octets;           /* keys of pattern tables are octets, not UTF-8 */
	unsigned audience;           /* as it was opened */
	char why[160];
	void *state;                 /* the type's own */
};

size_t map_type_count(void);
const struct map_type *map_type_at(size_t row);

/* One table by its full name, from those already open for this snapshot or opened now. Always gives a
 * table (perhaps broken) for RC_OK and RC_PERM; release with map_release. */
enum rc map_get(const struct map_ctx *ctx, struct span name, struct map **out, struct err *e) MUST_CHECK;
void map_release(struct map **mp);
/* Folds, asks, checks. key is the whole key. */
enum rc map_ask(const struct map *m, struct span key, struct buf *scratch, struct span *value_out, struct err *e) MUST_CHECK;
enum rc map_each(const struct map *m, map_entry_fn *fn, void *arg, struct err *e) MUST_CHECK;

/* The file a table is made of, kept by the snapshot; of a secret table only for its audience. */
enum rc map_file(const struct map_ctx *ctx, const char *path, struct span *out, struct err *e) MUST_CHECK;

void map_problem(const struct map_ctx *ctx, enum conf_severity sev, const char *fmt, ...) PRINTF(3, 4);

/* Is there anybody who waits when this parameter is looked at? (remote_table.c) */
bool map_waits_for(const char *parameter);

/* In the loader: a table of another process is named by ctx's parameter (remote_table.c). */
void map_remote_note(const struct map_ctx *ctx, const char *table);

/* "{ text }" -> text, trimmed; false: no braces around it. */
bool map_unbrace(struct span arg, struct span *inside_out);

/* The tables of a braced or plain list, for composite types and map_list. */
struct map_set {
	struct map **maps;
	size_t count;
};
enum rc map_set_open(const struct map_ctx *ctx, struct span list, struct map_set *out, struct err *e) MUST_CHECK;
void map_set_close(struct map_set *s);

/* Rows of maps.def */
map_open_fn built_open, cidr_open, environ_open, fail_open, inline_open, pcre_open, pipemap_open, proxy_open, randmap_open,
    regexp_open, socketmap_open, sqlite_open, static_open, tcp_open, texthash_open, unionmap_open, unix_open;
map_find_fn built_find, cidr_find, environ_find, fail_find, words_find, pattern_find, pipemap_find, proxy_find, randmap_find, remote_find,
    static_find, unionmap_find;
map_close_fn built_close, cidr_close, pattern_close, remote_close, words_close, static_close, tables_close;
map_each_fn built_each, cidr_each, pattern_each, static_each, words_each;

#endif
