/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker.h - a few threads that run one step of a login each, so that what blocks holds up nobody but logins. They touch nothing but
 * the job; the loop takes finished ones back.
 */
#ifndef AUTH_WORKER_H
#define AUTH_WORKER_H

#include "auth/cyrus_server.h"
#include "base/list.h"

enum { WORKER_THREADS = 4 };

struct job {
	struct list link;
	struct cyrus_login *login;
	/* a step without a mechanism goes on with what was begun */
	char mech[32];
	bool has_initial;
	struct buf response;         /* wiped */
	/* the answer */
	enum auth_outcome outcome;
	struct buf text, user;
};

void job_init(struct job *j, struct cyrus_login *login);
void job_fini(struct job *j);

/* After the sandbox: a thread that was there before would not be in it. done() gets each job back, in the loop. */
void workers_start(void (*done)(struct job *));
/* The job is theirs until done(). */
void workers_run(struct job *j);
/* false: no thread could be started. */
bool workers_are_there(void);
/* Nothing more is begun; waits up to a second for the steps under way. false: one still runs (saslauthd hangs), and memory it uses must
 * stay as it is. */
bool workers_stop(void);

#endif
