/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * edge.h - the edge role: listeners, sessions, the channel to the queue.
 *
 * One struct edge per process, owned by edge.c; sessions borrow it. Never opens a file of the spool.
 */
#ifndef SMTP_EDGE_H
#define SMTP_EDGE_H

#include "ipc/child.h"
#include "smtp/limits.h"
#include "smtp/service.h"

struct edge {
	struct edge_conf *conf;      /* in force for new sessions */
	struct ipc_chan *queue;      /* NULL: the queue process is not there */
	unsigned queue_generation;   /* drafts of another one are gone */
	bool accepting;              /* the queue's last word (ADMISSION) */
	bool holding;                /* likewise: mail for the quarantine, too */
	uint64_t free_bytes;         /* of the spool's file system; UINT64_MAX: not told yet */
	uint32_t serial;             /* in queue ids: tells edges apart */
	uint64_t session_id;         /* of the last one; begins anywhere, so that processes do not have the same */
	struct list inspections;     /* inspect.h */
	unsigned ninspections;
	struct list sessions;
	size_t nsessions;
	size_t content_bytes;        /* memory their content takes */
	bool draining;
	struct limits limits;
	bool stressed;               /* many clients are being tested (triage.c) */
	bool crowded;                /* nearly as many sessions as it may have (session.c) */
	void (*told)(struct edge *); /* ADMISSION came */
	void (*idle)(struct edge *); /* the last session ended */
};

/* Says what anvil says, when it is due, once for all processes; gives the time until it wants to be asked again, usec. */
uint64_t rate_report(struct limits *l, const struct params *p);

void edge_init(struct edge *e, unsigned index);
/* Sets the channel to the queue; an older one goes. fd is given. */
void edge_set_queue(struct edge *e, unsigned index, int fd);

/* The queue is there and takes what we send: a channel that fills up is as good as none. */
bool edge_queue_is_up(const struct edge *e);
/* A draft is not wanted any more: its number, or, when that is not known yet, 0 and the id of the call that asks for it. */
void edge_drop_draft(struct edge *e, uint64_t draft, uint64_t call);
/* Nothing new: idle sessions hear 421, the others end with their message; at_once: as sess_drain. */
void edge_drain_sessions(struct edge *e, bool at_once);

extern const struct role_ops edge_role;

#endif
