/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filer.h - the thread that handles whole files: message files, and the making of segments.
 *
 * Nothing of this may hold up the journal. Jobs run in the order given, except that accepts (a client
 * waits for them) overtake, also in the middle of a long job. A job is filled by the loop, belongs to
 * the filer until it comes back, and is freed by the loop.
 *
 * Two orders that others rely on: an unlink given before a segment is made ready is durable before
 * the segment loses its old records (the DONE record in it may be the only witness that the file is dead);
 * and segments become ready in the order of their generations.
 */
#ifndef SPOOL_FILER_H
#define SPOOL_FILER_H

#include "base/list.h"
#include "spool/record.h"

#include <pthread.h>

struct segment;

enum job_kind {
	JOB_ACCEPT = 1,  /* a message that goes to a file at once: its commit point */
	JOB_SPILL,       /* messages and states of one segment go to files */
	JOB_UNLINK,      /* files of finished messages */
	JOB_CREATE,      /* a new segment */
	JOB_PREPARE,     /* a segment whose records matter no more gets a new header */
	JOB_RETIRE,      /* the same, and its name is removed */
};

struct spill_item {
	struct spool_id id;
	uint32_t version;        /* of the state written */
	bool whole;              /* content and all; else only a state is added to its file */
	uint64_t record;         /* whole: where the ACCEPT record lies in the segment */
	struct span envelope, state; /* in the job's bytes, set when it is run */
	size_t envelope_at, envelope_len, state_at, state_len;
	enum rc rc;              /* RC_PERM: what is in the segment is damaged, a copy is in corrupt/ */
	bool placed;             /* the file has got its name, whatever rc says */
	int fd;                  /* private */
};

struct job {
	struct list link;
	enum job_kind kind;
	enum rc rc;              /* RC_OK; RC_TEMP: error says why; RC_PERM (ACCEPT): length or sum disagree */
	int error;
	/* ACCEPT */
	struct spool_id id;
	struct op *op;           /* loop's; the filer does not look at it */
	struct buf bytes;        /* envelope, then content when from_memory; SPILL: envelopes and states */
	size_t envelope_len;
	bool from_memory;        /* content is in bytes; else it is in the draft */
	uint64_t draft, length;
	uint32_t crc;
	bool placed;             /* the file has got its name (and may be found after a crash) */
	int fd;                  /* private */
	/* SPILL, CREATE, PREPARE, RETIRE */
	struct segment *seg;     /* loop's; the filer uses what is copied below */
	int seg_fd, seg_ro;      /* CREATE: made by it */
	uint32_t seg_file;       /* number in its name */
	struct seg_head seg_head;
	bool keep;               /* RETIRE: the file is not removed but goes to corrupt/ as it is */
	struct spill_item *items;
	size_t nitems;
	/* UNLINK */
	struct spool_id *ids;
	size_t nids;
};

struct filer {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct list urgent, todo, done;
	bool stop, running, busy;
	int bell;
	int journal_fd, messages_fd, drafts_fd, corrupt_fd; /* borrowed */
	/* the thread's own */
	bool dirty;              /* files were removed and the directory was not synced since */
	uint64_t names;          /* for names in drafts/ */
	struct spool_id *stuck;  /* could not be removed yet */
	size_t nstuck, stuck_cap;
};

struct job *job_new(enum job_kind kind);
void job_free(struct job **jp);

void filer_start(struct filer *f, int bell, int journal, int messages, int drafts, int corrupt);
void filer_give(struct filer *f, struct job *j);     /* given */
struct job *filer_take(struct filer *f);             /* a finished one; NULL: none */
void filer_wait(struct filer *f);                    /* until nothing is left to do */
void filer_stop(struct filer *f);                    /* what was given is finished first; it can be taken until filer_fini() */
void filer_fini(struct filer *f);

/* Runs one job on the caller's thread; recovery does. */
void filer_run(struct filer *f, struct job *j);
/* Between the parts of a long job: accepts do not wait for it. */
void filer_urgent(struct filer *f);

/* The jobs, by subject. */
void filejob_accept(struct filer *f, struct list *jobs);     /* several at once: one sync of the directory */
void filejob_spill(struct filer *f, struct job *j);
void filejob_unlink(struct filer *f, struct job *j);
/* Removes one file; if that fails it is tried again before the next segment is reused. */
void filejob_remove(struct filer *f, int messages_fd, const struct spool_id *id);
int filejob_sync_removals(struct filer *f);                  /* 0 or errno */
void segjob_create(struct filer *f, struct job *j);
void segjob_prepare(struct filer *f, struct job *j);

/* "0000002a.seg" */
enum { SEG_NAME = 16 };
void seg_name(char out[SEG_NAME], uint32_t file);
/* Name of a draft. */
enum { DRAFT_NAME = 24 };
void draft_name(char out[DRAFT_NAME], uint64_t draft);

#endif
