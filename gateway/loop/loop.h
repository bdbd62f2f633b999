/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop.h - the event loop of a process, and the only user of libevent.
 *
 * One turn: descriptor and timer callbacks; then completions (op.h) until none is ready; then the
 * hooks in order (log lines leave, then the output of every connection that wrote: one system call
 * each); then the graves are emptied. What runs in one turn therefore costs one write per peer.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "base/list.h"

#include <event2/event.h>
#include <event2/event_struct.h>

void loop_init(void);             /* once per process, after fork */
void loop_run(void);              /* until loop_stop */
void loop_stop(void);             /* this turn is finished first */
void loop_fini(void);

/* Frees an object at the end of this turn: completions of this turn may still look at it. */
struct grave {
	struct list link;
	void (*dig)(struct grave *);
};
/* dig() gets the grave back and frees its object. An object is buried once. */
void loop_bury(struct grave *g, void (*dig)(struct grave *));

/* Called at the end of every turn, in the order LOOP_FLUSH_LOG, LOOP_FLUSH_DATA, LOOP_FLUSH_LAST. */
enum loop_phase { LOOP_FLUSH_LOG, LOOP_FLUSH_DATA, LOOP_FLUSH_LAST, LOOP_PHASES };
struct loop_hook {
	struct list link;
	void (*fn)(struct loop_hook *);
};
void loop_hook_add(struct loop_hook *h, enum loop_phase phase, void (*fn)(struct loop_hook *));
void loop_hook_remove(struct loop_hook *h);

/* Monotonic time at the start of this turn (microseconds): cheap, good enough for timeouts. */
uint64_t loop_now(void);

/* ---- timers: embedded, one shot; the callback runs from the loop ---- */
struct timer;
typedef void timer_fn(struct timer *);
struct timer {
	struct event ev;
	timer_fn *fn;
	bool inited, armed;
};
void timer_init(struct timer *t, timer_fn *fn);
void timer_set(struct timer *t, uint64_t usec);  /* from now; moves an armed one */
void timer_clear(struct timer *t);               /* idempotent; a zeroed timer is fine */

/* ---- descriptor watchers: embedded, level-triggered, persistent ---- */
struct watch;
typedef void watch_fn(struct watch *, short what); /* EV_READ and/or EV_WRITE */
struct watch {
	struct event ev;
	watch_fn *fn;
	int fd;
	short want;      /* what is armed now */
	bool inited;
};
void watch_init(struct watch *w, int fd, watch_fn *fn);
void watch_want(struct watch *w, short events);  /* 0, EV_READ, EV_WRITE or both; cheap when unchanged */
void watch_clear(struct watch *w);               /* before the descriptor is closed; idempotent */

/* ---- signals ---- */
struct sigwatch;
struct sigwatch {
	struct event ev;
	void (*fn)(struct sigwatch *, int signo);
};
void sigwatch_init(struct sigwatch *s, int signo, void (*fn)(struct sigwatch *, int signo));
void sigwatch_clear(struct sigwatch *s);

#endif
