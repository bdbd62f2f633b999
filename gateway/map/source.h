/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * source.h - the text that indexed tables are made of: "key value" lines, and aliases. Facts 6.1. Pure.
 */
#ifndef MAP_SOURCE_H
#define MAP_SOURCE_H

#include "base/buf.h"
#include "conf/conf.h"

enum source_form { SOURCE_MAP, SOURCE_ALIASES };

struct source {
	struct conf_lines lines;
	enum source_form form;
	struct buf line;
	int lineno;
};

struct source_entry {
	struct span key, value;  /* into the source's line buffer: valid until the next call */
	int lineno;
	const char *complaint;   /* not an entry, or a doubtful one: what is wrong with the line; NULL: fine */
	bool usable;             /* key and value are there */
};

void source_init(struct source *s, struct span text, enum source_form form);
/* RC_NONE at the end. */
enum rc source_next(struct source *s, struct source_entry *out);
void source_fini(struct source *s);

/* Where the key of a line ends: first white space outside quotes and not behind a backslash. */
size_t source_key_end(struct span line);

#endif
