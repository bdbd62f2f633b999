/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * edit.h - change main.cf and master.cf as text: comments, order and white space of what is not
 * touched stay as they are. The first part is pure, the second replaces a file in one step.
 */
#ifndef CONF_EDIT_H
#define CONF_EDIT_H

#include "base/buf.h"

enum edit_op {
	EDIT_SET,     /* replace the first entry, drop later ones of the same key; without one: append */
	EDIT_COMMENT, /* put # in front of each of its lines                                           */
	EDIT_DROP,
};

struct edit {
	enum edit_op op;
	struct span key;   /* main.cf: the name; master.cf: "service/type" */
	struct span line;  /* EDIT_SET: the whole new entry, without the last newline */
	bool done;         /* set: an entry was there, or the line was appended */
};

enum edit_syntax { EDIT_MAIN, EDIT_MASTER };

/* Key of a logical line, as edit.key wants it; in key_out. False: the line has none. */
bool edit_key(enum edit_syntax syntax, struct span line, struct buf *key_out);

void edit_text(enum edit_syntax syntax, struct span text, struct edit *edits, size_t n, struct buf *out);

/* Reads path (missing: empty), edits, and puts the result in its place: a new file with the old one's mode and
 * owner, fsync, rename, fsync of the directory. A lock on the directory keeps two edits apart. */
enum rc edit_file(enum edit_syntax syntax, const char *path, struct edit *edits, size_t n, struct err *e) MUST_CHECK;

#endif
