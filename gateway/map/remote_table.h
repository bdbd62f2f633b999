/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * remote_table.h - what the name of a table that is elsewhere says: tcp:host:port, socketmap:inet:host:port:name,
 * socketmap:unix:path:name, sqlite:FILE (a file of parameters). Facts 6.4.
 *
 * The same in all processes: the loader finds what is wrong, the roles that look up know which keys are worth a question,
 * and the lookup role knows whom to ask. Files come out of the snapshot.
 */
#ifndef MAP_REMOTE_TABLE_H
#define MAP_REMOTE_TABLE_H

#include "base/arena.h"
#include "map/matchlist.h"
#include "map/table.h"
#include "map/template.h"

enum remote_kind { REMOTE_TCP = 1, REMOTE_SOCKETMAP, REMOTE_SQLITE };

enum { REMOTE_VALUE_MAX = 512 * 1024 /* bytes of any answer */, REMOTE_PATH_MAX = 108 /* sun_path */ };

/* Where a stream server is. */
struct remote_place {
	bool is_unix;
	const char *host;            /* name or address, without [ ]; or the path of the socket, absolute */
	uint16_t port;
	struct span map;             /* socketmap: the name of the table there */
};

struct remote_table {
	struct conf *conf;           /* borrowed: the table's snapshot */
	enum remote_kind kind;
	const char *name;            /* "type:name" */
	struct arena arena;
	struct remote_place place;   /* tcp, socketmap */
	/* sqlite */
	const char *dbpath;
	struct query query;
	uint64_t expansion_limit;    /* rows; 0: none */
	struct matchlist *domain;    /* NULL: all */
};

/* What stands behind tcp: and socketmap:; p: the queue directory of relative paths, known_tcp_ports. RC_PERM with the reason. Pure but for
 * names of ports that are not among those. */
enum rc remote_place_parse(enum remote_kind kind, struct span arg, const struct params *p, struct arena *a, struct remote_place *out, struct err *e)
    MUST_CHECK;

/* Opens by the full name, in a process that asks; problems go to ctx. Free with remote_table_free. */
enum rc remote_table_open(const struct map_ctx *ctx, enum remote_kind kind, struct span name, struct remote_table **out, struct err *e)
    MUST_CHECK;
void remote_table_free(struct remote_table **tp);    /* NULL inside is fine */
/* The kind by the type in front of a name; false: not such a table. */
bool remote_kind_of(struct span name, enum remote_kind *out);

/* RC_OK: the key is worth a question. RC_NONE: it cannot be in the table. RC_TEMP: its list of domains cannot be asked. */
enum rc remote_table_takes(const struct remote_table *t, struct span key, struct err *e) MUST_CHECK;

#endif
