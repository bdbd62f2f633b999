/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * files.h - the files of the quarantine: making, reading, noting, removing. For the store's threads; everything here blocks.
 *
 * DIR/h/hh/QUEUEID: the two directories are from the time in the id (4096 of them, one for 256 seconds, used again after 12 days), so
 * what comes together lies together. Each name is made from numbers, each directory is opened below the one before, never through
 * a link. A file is written under its own name: until its trailer is whole it is no message, and nobody was told that it is.
 */
#ifndef QUARANTINE_FILES_H
#define QUARANTINE_FILES_H

#include "quarantine/record.h"

#include <sys/stat.h>

enum { LEAVES = 4096, LEAF_CACHE = 8 };

struct qfiles {
	int dir_fd, corrupt_fd;          /* owned by the store */
	struct {
		int fd;                  /* -1: free */
		unsigned leaf;
	} cache[LEAF_CACHE];             /* the writer's own */
	unsigned turn;
};
void qfiles_init(struct qfiles *f, int dir_fd, int corrupt_fd);
void qfiles_fini(struct qfiles *f);

unsigned qfile_leaf(const struct spool_id *id);
/* This leaf or the next one whose upper directory is there; LEAVES: none. */
unsigned qfile_leaf_from(struct qfiles *f, unsigned leaf);
/* Descriptor of a directory, borrowed until the next call; -1 and errno. */
int qfile_leaf_fd(struct qfiles *f, unsigned leaf, bool make);

/* What to write. */
struct qfile_new {
	struct spool_id id;
	struct span envelope;            /* encoded */
	const struct envelope *env;      /* the same, decoded */
	const uint32_t *numbers;
	uint32_t n;
	int fd;                          /* -1: content is in memory */
	uint64_t offset, length;
	struct span content;
};
/* Writes it, unsynced. *is_new_out: it was not there. When a whole one is there: RC_OK, v is what it says (after a note, if recipients were
 * added); in the arena. RC_PERM: it is another message's. A wrong thing at its place goes to corrupt/. */
enum rc qfile_put(struct qfiles *f, const struct qfile_new *n, struct buf *scratch, struct arena *a, struct qview *v, bool *is_new_out,
    uint64_t *size_out, struct err *e) MUST_CHECK;

/* Reads its records; spans of v point into tail. RC_NONE: no file; RC_PERM: damaged or not a file. *st_out may be NULL. With fd_out
 * the descriptor is given on RC_OK. */
enum rc qfile_view(struct qfiles *f, const struct spool_id *id, struct buf *tail, struct arena *a, struct qview *v, struct stat *st_out,
    int *fd_out, struct err *e) MUST_CHECK;
/* Descriptor of a file, to read its content; -1 and errno. */
int qfile_content_fd(struct qfiles *f, const struct spool_id *id);
/* Appends a note behind the good records, unsynced, and applies it to v. */
enum rc qfile_note(struct qfiles *f, struct qview *v, struct arena *a, const struct qnote *note, struct err *e) MUST_CHECK;
/* RC_PERM: the content's sum is wrong. */
enum rc qfile_sum(int fd, const struct qview *v, struct err *e) MUST_CHECK;
/* 0 or errno; ENOENT is 0. */
int qfile_remove(struct qfiles *f, const struct spool_id *id);
/* Moves it to corrupt/. */
enum rc qfile_aside(struct qfiles *f, const struct spool_id *id, struct err *e) MUST_CHECK;

#endif
