/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * internal.h - the store from inside: who owns what.
 *
 * The loop owns struct quar but for what the lock guards. The writer owns the index for writing and all changes of files, the
 * reader a connection of its own. Jobs change hands under the lock.
 */
#ifndef QUARANTINE_INTERNAL_H
#define QUARANTINE_INTERNAL_H

#include "loop/loop.h"
#include "quarantine/job.h"
#include "quarantine/vfs.h"

#include <dirent.h>
#include <pthread.h>

enum { BATCH_MAX = 512, WAITING_MAX = 4096, WAITING_FULL = 3072, SLICE = 200, REBUILD_SLICE = 200, SUM_ROOM = 4 << 20 };
#define WAITING_BYTES_MAX (UINT64_C(64) << 20)

struct allow_table {
	struct quar_allow *rows;
	size_t n;
	struct buf text;                 /* what the rows point into */
};
void allow_table_fini(struct allow_table *t);

/* What the writer tells the loop besides answers; the lock's. */
struct quar_news {
	bool low_space, failing;
	char why[200];
	bool rebuild_began, rebuild_ended, rebuilding;
	char rebuild_why[200];
	uint64_t rebuilt;
	uint64_t expired, expired_bytes;         /* for age, */
	uint64_t squeezed, squeezed_bytes;       /* for size */
	char warnings[8][220];
	unsigned nwarnings, warnings_lost;
	bool allow_loaded;
	struct allow_table allow;                /* as it was found */
};

struct quar {
	const struct quar_ops *ops;
	void *owner;
	struct quar_settings set;        /* dir is not kept */
	int dir_fd, corrupt_fd, bell;
	char path[VFS_PATH_MAX];         /* SQLite's name of the index */
	/* the loop's */
	bool started;
	enum full_for { FULL_NOT = 0, FULL_SPACE, FULL_FAILING, FULL_WAITING } full_for;
	char why_full[200];
	struct watch watch;
	struct timer tick;
	uint64_t waiting, waiting_bytes; /* puts under way */
	bool expiring;
	struct list allow;               /* struct allow_row */
	struct htab allow_by_pair;
	uint32_t nallow;
	/* the lock's */
	pthread_mutex_t lock;
	pthread_cond_t to_writer, to_reader, copied;
	struct list write, read, done;
	unsigned nwrite;                 /* in write */
	bool gathering;                  /* the writer lets puts come together: it is not woken for another one */
	struct quar_job *copying;        /* its content is being read */
	bool stop;
	unsigned generation;             /* of the index: 0 none is open, then another number for each file */
	bool index_is_bad;               /* the reader says so */
	bool was_opened;                 /* the index, or it was tried */
	struct quar_news news;
	uint64_t reserve_bytes;
	/* threads */
	pthread_t writer_thread, reader_thread;
};

struct quar_writer {
	struct quar *q;
	struct qdb db;
	struct qfiles files;
	struct buf scratch;
	bool failing;                    /* a sync or a transaction failed last time */
	uint64_t retry_at;               /* opening the index */
	uint64_t next_batch;             /* of nothing but puts, not before */
	uint64_t room;                   /* octets that can be written before free space is looked at again */
	struct spool_id *gone;           /* rows that went; their files are to be removed once that is durable */
	size_t ngone, gone_cap;
	struct allow_table saved;        /* of a damaged index, for the next one */
	bool drop_gone;                  /* names of removed files are still in the index */
	bool has_gone;                   /* the table "gone" may have rows, perhaps of this transaction */
	/* making the index anew */
	bool rebuilding;
	unsigned leaf;
	DIR *dir;
	uint64_t rebuilt;
	/* sums of attachments */
	uint64_t sum_room;               /* octets that may still be read for them in this transaction */
	bool sums_owed, sums_failed;     /* rows may wait for theirs; some could not be read */
	uint64_t sums_after, sums_retry_at;
	struct attach_later *later;      /* the message at hand; NULL: none */
};

/* writer.c */
void *writer_main(void *arg);
/* Whether a message of so many octets leaves free what has to stay free; then it is counted. */
bool writer_has_room(struct quar_writer *w, uint64_t length);
/* A transaction made durable: commit, sync, then files that have to go. RC_TEMP: rolled back, or (committed) not known
 * to be durable. */
enum rc writer_begin(struct quar_writer *w, struct err *e) MUST_CHECK;
enum rc writer_commit(struct quar_writer *w, struct err *e, bool *is_committed_out) MUST_CHECK;
void writer_rollback(struct quar_writer *w);
/* The row of a message, made from its file when the index is being rebuilt and has not come there yet. */
enum rc writer_find(struct quar_writer *w, const struct spool_id *id, uint64_t *n_out, struct err *e) MUST_CHECK;
/* Removes a message: its rows now, its file after the commit. */
enum rc writer_remove(struct quar_writer *w, uint64_t n, const struct spool_id *id, struct err *e) MUST_CHECK;

/* attach.c */
/* The attachments of a message that has just got its row, if any: length octets of content stand in its file. */
enum rc attach_put(struct quar_writer *w, uint64_t n, const struct spool_id *id, uint64_t length, const struct held *h, struct err *e) MUST_CHECK;
enum rc attach_put_view(struct quar_writer *w, uint64_t n, const struct qview *v, struct err *e) MUST_CHECK;
/* Does the index say of them what the file says? fd: the file, for sums of a few octets, too; -1: without. */
enum rc attach_compare(struct quar_writer *w, uint64_t n, const struct qview *v, int fd, bool *same_out, struct err *e) MUST_CHECK;
/* From the file once more. */
enum rc attach_again(struct quar_writer *w, uint64_t n, const struct qview *v, struct err *e) MUST_CHECK;
/* Some octets for sums that are owed, outside of a transaction; true: there is more. */
bool attach_later(struct quar_writer *w);
void attach_later_reset(struct quar_writer *w);

/* changes.c: one job each, inside a transaction. Sets rc; RC_TEMP with w->db broken ends the batch. */
void change_run(struct quar_writer *w, struct quar_job *j);

/* rebuild.c */
void rebuild_begin(struct quar_writer *w, const char *why);
/* Some files; true: there is more. */
bool rebuild_step(struct quar_writer *w);
/* Adds or brings up to date the row of a file. RC_PERM: it is damaged. */
enum rc rebuild_file(struct quar_writer *w, const struct spool_id *id, bool *changed_out, struct err *e) MUST_CHECK;

/* reader.c */
void *reader_main(void *arg);

/* allow.c: the loop's table */
void allow_init(struct quar *q);
void allow_fini(struct quar *q);
void allow_put(struct quar *q, const struct quar_allow *a);
void allow_drop(struct quar *q, struct span sender, struct span recipient);
bool allow_is_row(const struct quar *q, struct span sender, struct span recipient); /* this very row */
bool allow_has(const struct quar *q, struct span sender, struct span recipient);
void allow_copy(const struct quar *q, struct quar_job *j);

/* store.c, for both threads. Lock held: */
void quar_ring(struct quar *q);
/* Not held: for the log, which is the loop's. */
void quar_warn(struct quar *q, const char *fmt, ...) PRINTF(2, 3);

#endif
