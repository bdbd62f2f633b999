/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filewatch.h - notices that a file of the configuration in force has changed: tables, files of lists.
 *
 * Looks at every file a few times a second; a change counts when two looks agree and nobody has the file open for writing,
 * so that what is being made is let be. A version that could not be used is offered again when it or another file changes. main.cf, conf.d and
 * master.cf are not among the files: they are for the administrator to reload. Runs in: master.
 */
#ifndef ADMIN_FILEWATCH_H
#define ADMIN_FILEWATCH_H

#include "conf/conf.h"
#include "loop/loop.h"

struct watched {
	char *path;
	struct conf_version loaded, seen, tried;
	bool is_tried;               /* tried is what could not be used */
	bool is_ready;               /* changed, and two looks agree */
	bool is_again;               /* could not be used, but perhaps with what has changed now: a key beside its certificate */
	uint64_t refused_at;         /* wall time; 0: not refused */
	char why[ERR_WHY_MAX];
};

struct filewatch {
	struct timer timer;
	struct watched *file;
	size_t count;
	bool fresh_only;             /* what changed, together with what could not be used before, could not either: without that */
	bool one_by_one;             /* several changes together could not be used: find out which */
	/* Some files are ready: filewatch_ready() names them. What became of them is told by filewatch_set() (in force),
	 * filewatch_same() or filewatch_refused(); if nothing is told they are offered again at the next look. */
	void (*changed)(struct filewatch *);
};

void filewatch_start(struct filewatch *w, void (*changed)(struct filewatch *));
void filewatch_stop(struct filewatch *w);
/* The files of the snapshot that is in force now; what is known of refused ones stays. */
void filewatch_set(struct filewatch *w, const struct conf *c);
/* The ready ones, to be freed; paths are borrowed until filewatch_set(). */
size_t filewatch_ready(const struct filewatch *w, const char ***paths_out);
/* What is there now is what was loaded before. */
void filewatch_same(struct filewatch *w, const char *path);
/* These could not be used together. True: now it is known that it is this one's fault (say so). */
bool filewatch_refused(struct filewatch *w, const char *const *paths, size_t n, const char *why);

/* How many are not in force as they are, and lines or JSON members about them, for status. */
size_t filewatch_refused_count(const struct filewatch *w);
void filewatch_text(const struct filewatch *w, struct buf *out);
void filewatch_json(const struct filewatch *w, struct buf *out);

#endif
