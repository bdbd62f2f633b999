/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * internal.h - what the parts of the spool share. Everything here belongs to the loop's thread;
 * the commit thread and the filer see only what they are handed (batch.h, filer.h).
 */
#ifndef SPOOL_INTERNAL_H
#define SPOOL_INTERNAL_H

#include "loop/loop.h"
#include "spool/batch.h"
#include "spool/filer.h"
#include "spool/msgfile.h"

/* struct spool_msg.flags */
enum {
	MSG_PENDING = 1,         /* its accept is not durable yet */
	MSG_FILED = 2,           /* has a file; segment != 0 then means: read from there while it is pinned */
	MSG_FILING = 4,          /* a filer job knows of it */
	MSG_NAMED = 16,          /* a file may have its name though moving it there failed: its end removes that too */
	MSG_UNCHECKED = 8,       /* filed before this process: the sum of its content was not looked at yet */
};

struct segment {
	struct list link;        /* spool.used (oldest first), .ready or .retired */
	struct seg_head head;    /* head.generation is the number others know it by */
	uint32_t file;
	int fd, ro;
	uint64_t pos;            /* where the next batch goes; multiple of SEG_PAGE */
	struct list live;        /* messages that would be lost with it */
	unsigned readers;        /* messages in files whose content is still read here */
	unsigned ending;         /* finished messages in files with their last state here, whose DONE is not durable */
	bool bad;                /* a write failed: never written again */
	bool gone;               /* its readers have been told */
	bool keep;               /* parts could not be read: its file goes to corrupt/ in the end */
};

struct spool {
	struct spool_settings set;
	char *dir;
	const struct spool_ops *ops;
	void *owner;
	int dir_fd, journal_fd, messages_fd, drafts_fd, corrupt_fd, lock_fd;
	unsigned char uuid[16];
	struct htab by_id;
	uint64_t hash_key;

	/* segments */
	struct list used, ready, retired;
	struct segment *current; /* the last of used, or NULL */
	unsigned nused, nready;  /* files in use, files ready */
	struct job *making;      /* CREATE under way */
	struct segment *turning; /* PREPARE or RETIRE under way, or failed and to be tried again */
	bool turning_runs, turning_retire;
	uint64_t next_generation;
	uint32_t next_file;
	bool disk_refuses;       /* the last CREATE failed for want of space */
	uint64_t make_after, turn_after, spill_after; /* loop time; back-off */
	struct job *spill;       /* SPILL under way */
	unsigned doomed;         /* messages that were finished while the filer has them */

	/* batches */
	struct list waiting, spare;
	struct batch *flight;
	uint32_t batch_seq;
	uint64_t blocked_since;  /* no segment for the first waiting accept; 0: not blocked */
	unsigned failures;       /* of commits, one after the other */
	uint64_t retry_after;    /* no commit before this */
	uint64_t quiet_until;    /* no warning about the disk before this */

	/* drafts */
	uint64_t next_draft;
	uint64_t *drafts;        /* open ones, unordered */
	size_t ndrafts, drafts_cap;
	struct job **accepts;    /* ACCEPT jobs with the filer: their ops can be cancelled */
	size_t naccepts, accepts_cap;

	/* admission */
	uint64_t free_bytes, told_bytes;
	bool accepting, told, told_once, was_full;

	struct op_provider provider; /* detach() finds the spool through it */
	struct committer committer;
	struct filer filer;
	int bell;
	struct watch watch;
	struct timer tick;
	struct timer lazy;       /* ends and states have waited long enough */
	bool lazy_due;
	struct loop_hook hook;
	bool running;            /* recovered, threads run */
	bool closing;
};

/* ---- spool.c ---- */
uint64_t msg_hash(const struct spool *s, const struct spool_id *id);
void msg_enter(struct spool *s, struct spool_msg *m);   /* into the table */
void msg_leave(struct spool *s, struct spool_msg *m);   /* out of the table and every list */

/* ---- commit.c: batches and their way to the disk ---- */
void commit_detach(struct op *op);                      /* of the provider below */
/* Bytes of the largest record that is sure to fit a segment. */
size_t commit_record_max(const struct spool *s);
bool commit_room(const struct spool *s, size_t n);      /* for another accept of n bytes */
void commit_put(struct spool *s, enum rec_type type, const struct spool_id *id, uint32_t version, struct span head, struct span body,
    struct op *op, bool unlink, uint64_t state_in);
void commit_launch(struct spool *s);                    /* if there is something and nothing in flight */
void commit_landed(struct spool *s, struct batch *b);   /* the commit thread gave it back */
void commit_refuse_waiting(struct spool *s, bool full); /* all waiting accepts end with RC_TEMP */
void commit_close(struct spool *s);

/* ---- segments.c: the ring ---- */
struct segment *segment_new(const struct seg_head *h, uint32_t file, int fd, int ro);
void segment_free(struct segment **sp);
struct segment *segment_find(const struct spool *s, uint64_t generation);
void segment_tell_gone(struct spool *s, struct segment *seg);
/* Makes, recycles, spills: whatever is due. Called when no batch is in flight that could fail. */
void segments_tend(struct spool *s);
void segments_job_done(struct spool *s, struct job *j);
bool segments_coming(const struct spool *s);            /* a segment will be ready by itself */
void trouble(struct spool *s, const char *what, int error); /* counts, and warns once a minute */
uint64_t segments_size(const struct spool *s);          /* bytes of a new one; 0: no room for one */

/* ---- spill.c ---- */
bool spill_start(struct spool *s, struct segment *seg); /* false: nothing in it that needs to move */
void spill_done(struct spool *s, struct job *j);

/* ---- files.c: accepts that go to files, drafts ---- */
void files_accept(struct spool *s, struct spool_msg *m, struct job *j, struct op *op);
void files_accept_done(struct spool *s, struct job *j);
void files_unlink(struct spool *s, const struct spool_id *ids, size_t n);
bool files_draft_forget(struct spool *s, uint64_t draft);  /* false: there is none of this number */

/* ---- admit.c ---- */
void admit_look(struct spool *s);                       /* fstatvfs, then admit_update */
void admit_update(struct spool *s);

/* ---- recover.c ---- */
enum rc recover_run(struct spool *s, struct spool_report *report, struct err *e) MUST_CHECK;

/* ---- aside.c: what goes to corrupt/ ---- */
void aside_bytes(struct spool *s, int fd, uint64_t generation, uint64_t at, uint64_t n);
bool aside_file(struct spool *s, const char *name);

#endif
