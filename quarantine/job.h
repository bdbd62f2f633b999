/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * job.h - a request on its way through the threads. Filled by the loop, a thread's until it comes back, freed by the loop.
 */
#ifndef QUARANTINE_JOB_H
#define QUARANTINE_JOB_H

#include "quarantine/db.h"
#include "quarantine/files.h"

enum qjob_kind {
	/* the writer's */
	QJOB_PUT = 1,
	QJOB_BEGIN,
	QJOB_FINISH,
	QJOB_UNDO,
	QJOB_OUTCOME,
	QJOB_DELETE,
	QJOB_EXPIRE,
	QJOB_ALLOW_ADD,
	QJOB_ALLOW_REMOVE,
	QJOB_TOLD_BEGIN,
	QJOB_TOLD_SET,
	QJOB_CHECK,
	/* the reader's */
	QJOB_GET,
	QJOB_LIST,
	QJOB_CONTENT,
	QJOB_STATS,
	QJOB_PENDING,
	QJOB_TOLD_LIST,
	QJOB_CHECK_INDEX,
	/* answered by the loop itself */
	QJOB_ALLOW_LIST,
};

struct quar_job {
	struct list link;
	enum qjob_kind kind;
	struct quar *q;
	bool is_counted, is_internal;    /* a put that waits; expiry of our own */
	struct quar_req *req;            /* the loop's; NULL: nobody waits (any more) */
	enum rc rc;
	struct err why;
	struct quar_req res;             /* results, copied to req */
	struct arena arena;              /* arguments and results */
	/* arguments */
	struct spool_id id, copy;
	struct span who, *addrs;
	struct span other;               /* OUTCOME: the address behind an alias is who, this is the one that was asked for */
	size_t naddrs;
	bool flag;                       /* BEGIN: add; OUTCOME: delivered; GET: sums of parts, too */
	struct qfile_new file;           /* PUT; envelope, numbers and content are the job's, fd its user's */
	struct envelope env;
	struct held held;                /* env.held, once the writer has read it */
	struct buf bytes;                /* PUT: content */
	struct quar_filter filter;
	struct quar_allow allow;
	uint64_t retention[HELD_CLASSES], size_limit;
	uint64_t cursor, upto;
	uint32_t limit;
	unsigned flags;
	/* the writer's own */
	struct qview view;
	struct buf tail;                 /* what view points into */
	uint64_t n, size;
	bool is_new, is_known;           /* file; row */
	bool made, touched;              /* a file was made by it; rows were begun to be changed */
	struct qnote note;
};

struct quar_job *qjob_new(enum qjob_kind kind);
void qjob_free(struct quar_job **jp);

/* ---- the reader's part (query.c) ---- */

/* Sets j->rc and results. files: for get and content; its own, not the writer's. */
void query_run(struct qdb *d, struct qfiles *files, struct quar_job *j);

/* ---- the writer's part ---- */

struct quar_writer;
/* Slices; each in a transaction of its own. */
void expire_run(struct quar_writer *w, struct quar_job *j);
void check_run(struct quar_writer *w, struct quar_job *j);

#endif
