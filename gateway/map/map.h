/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map.h - lookup tables: "type:name" in the configuration, one row of maps.def per type. Facts section 6.
 *
 * A struct map_list is the value of a parameter such as transport_maps: tables searched in order, first
 * hit wins. It belongs to a snapshot (it holds a reference on it); tables named twice in one snapshot are
 * opened once. Lookups never block on anything but page faults of a compiled table.
 *
 * Found, not there, not now: RC_OK, RC_NONE, RC_TEMP. A table that cannot be read answers RC_TEMP to
 * every key, never RC_NONE.
 */
#ifndef MAP_MAP_H
#define MAP_MAP_H

#include "base/buf.h"
#include "conf/conf.h"

struct map;
struct map_list;

/* ---- opening ---- */

/* The tables of a list value, as the named parameter of a service (NULL: of main.cf) gives it. Problems
 * (unknown or unsupported type, missing source, bad rules) go to conf_problem() with that parameter's file
 * and line. RC_OK also for an empty value (map_list_empty). RC_PERM (in the loader only): the configuration must
 * not be used. *out is given in any case, and lookups of a table that could not be opened are RC_TEMP; free it
 * with map_list_free.
 * What a role will open must have been opened in the loader before the image is written: that reads and
 * compiles the sources (policy_check() does it for all that policy and routing by class need). */
enum rc maps_open(struct conf *c, const struct service *s, const char *parameter, const char *value, struct map_list **out,
    struct err *e) MUST_CHECK;
/* The same with the value the parameter has. */
enum rc maps_open_param(struct conf *c, const struct service *s, const char *parameter, struct map_list **out, struct err *e) MUST_CHECK;
/* A table of passwords or tokens, given by value, for the roles of an audience (CONF_FOR_RELAY ...): its text is in their image alone, it is never
 * compiled to a file, and what memory held of it is wiped with the list. Others get lookups that are RC_TEMP. The loader warns about files that
 * others may read. */
enum rc maps_open_secret(struct conf *c, const struct service *s, const char *parameter, const char *value, unsigned audience,
    struct map_list **out, struct err *e) MUST_CHECK;
void map_list_free(struct map_list **lp);        /* NULL inside is fine */

/* ---- asking ---- */

enum {
	/* Part of a longer key (a parent domain, "@domain", ...): only tables with fixed keys are asked;
	 * pattern tables want the whole key once. */
	MAP_PARTIAL = 1,
};

bool map_list_empty(const struct map_list *l);   /* true for NULL */
/* Asks the tables in order. *value_out points into the table (valid as long as the list) or into scratch
 * (valid until it is next written); scratch has a limit of its own, too small gives RC_TEMP. An empty value
 * is RC_TEMP, as in Postfix. Indexed types look for the lower-cased key. e may be NULL. */
enum rc map_find(const struct map_list *l, struct span key, unsigned flags, struct buf *scratch, struct span *value_out,
    struct err *e) MUST_CHECK;
/* Is it among them ("hash:/etc/x")? */
bool map_list_names(const struct map_list *l, const char *table);
/* At least one table is asked in another process: a lookup may have to be waited for (remote.h). */
bool map_list_is_remote(const struct map_list *l); /* false for NULL */
/* At least one table has fixed keys: partial keys are worth asking. */
bool map_list_has_fixed(const struct map_list *l);

/* Told of every lookup in every table, those in tables of tables too; NULL: nobody. For explain. */
typedef void map_watch_fn(void *arg, const char *table, struct span key, enum rc rc, struct span value, uint64_t usec);
void map_watch(map_watch_fn *fn, void *arg);

/* ---- walking ---- */

/* Calls fn for every entry of every table that can be listed, until it says false. For checks in the loader. */
void map_list_each(const struct map_list *l, bool (*fn)(void *arg, const char *table, struct span key, struct span value), void *arg);
/* The same for those who complain: place is "pcre:/etc/x:12" where the line is known, else the table. */
typedef bool map_place_fn(void *arg, const char *table, const char *place, struct span key, struct span value);
void map_list_each_place(const struct map_list *l, map_place_fn *fn, void *arg);

/* ---- commands: "map build|query|dump TYPE:FILE [KEY]", and postmap, postalias by argv[0] ---- */
int map_command(const char *dir, int argc, char *const *argv);

/* Master, after a new snapshot is in force: removes compiled tables that no snapshot of keep[] names and that
 * are older than a minute. Never touches anything but our own files in data_directory/tables. */
void maps_sweep(struct conf *const *keep, size_t n);

#endif
