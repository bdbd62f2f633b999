/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * job.h - one delivery queue asked for: its envelope, what became of each recipient, and the report.
 *
 * A recipient is open until job_settle() decides it, once: that logs the line, counts, and puts the
 * result into the next JOB_DONE. The job owns its memory; queue's channel is borrowed (jobs end when it
 * goes down).
 */
#ifndef DELIVER_JOB_H
#define DELIVER_JOB_H

#include "base/arena.h"
#include "base/log.h"
#include "deliver/settings.h"
#include "ipc/ipc.h"
#include "ipc/msgs.h"
#include "loop/op.h"
#include "deliver/outchecks.h"
#include "msg/mime7.h"

/* Why a recipient, or an attempt, ended as it did. Texts are the job's (arena) or literals. */
struct outcome {
	enum rcpt_status status; /* 0: still open */
	struct span dsn, text;
	struct span mta, diag;   /* the hub's name and its own words; empty: it said nothing */
	struct span relay;       /* "host[ip]:port" for the log; empty: none */
};

enum tx_state { TX_NOT = 0, TX_SENT, TX_ACCEPTED, TX_REFUSED };

struct jrcpt {
	struct job_rcpt r;
	struct span wire;        /* its address as the hub gets it (outmaps.h) */
	enum tx_state tx;        /* in the transaction under way */
	bool dsn_passed, reported;
	struct outcome out;      /* while open: the last temporary failure, if any */
};

struct job {
	unsigned magic;
	struct msg_job m;        /* spans point into payload */
	struct list link;        /* of the relay's jobs */
	struct ipc_chan *queue;
	const struct settings *set;
	const struct service *service;
	struct log_ctx log;
	struct conf *conf;       /* of its delivery, borrowed */
	struct span sender;      /* as the hub gets it (outmaps.h) */
	struct buf head;         /* a header that takes the place of the first head_skip octets of the content; empty: none */
	uint64_t head_skip;
	const struct checks *checks; /* of its destination; NULL: none */
	struct outchecks *outchecks; /* while it is sent, once parts or bodies are looked at */
	struct mime7 *mime;      /* heap; NULL until a hub without 8BITMIME gets it */
	int own_fd;              /* of the frame; -1: the content is in a segment */
	struct arena arena;      /* texts of outcomes */
	enum job_health health;
	struct span health_why;
	unsigned n_open;
	bool is_last_hop;        /* no other address would be tried: temporary failures are final */
	/* wall clock: start of the attempt, and when it was ready for MAIL */
	uint64_t t_begin, t_ready;
	unsigned conn_uses;      /* of the session in use, for the log */
	struct grave grave;
	unsigned char *payload;
	unsigned nrcpt;
	struct jrcpt rcpt[];
};

/* payload: a JOB frame. RC_PERM: malformed. fd (or -1) is given on RC_OK. */
enum rc job_begin(struct job **out, struct span payload, int fd, struct ipc_chan *queue) MUST_CHECK;
void job_end(struct job **jp);

/* Octets of the content as the hub gets it. */
static inline uint64_t
job_length(const struct job *j)
{
	return buf_len(&j->head) > 0 ? j->m.length - j->head_skip + buf_len(&j->head) : j->m.length;
}

/* Formats into the job's arena. Past its limit: a literal. */
struct span job_text(struct job *j, const char *fmt, ...) PRINTF(2, 3);
struct span job_keep(struct job *j, struct span s);

/* Decides recipient i; out->status is RCPT_*. */
void job_settle(struct job *j, unsigned i, const struct outcome *out);
/* Every recipient that is open. */
void job_settle_open(struct job *j, const struct outcome *out);
/* A temporary failure that another address may mend: kept, and said in the log; settled as deferred when
 * there is no other. */
void job_postpone(struct job *j, unsigned i, const struct outcome *out);
/* Reports what was settled since the last report; last ends the job for queue. */
void job_report(struct job *j, bool last);

#endif
