/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * health.h - which DNS lists of this process can be believed. RFC 5782 section 5.
 *
 * One row per list domain in use and kind: asked about addresses, or about names. Each is probed when it comes into use and
 * every dnsbl_probe_interval:
 *	addresses	127.0.0.2 must be listed, 127.0.0.1 must not (IPv6 clients are judged by the same probe)
 *	names		"test" must be listed, "invalid" must not
 * A list that fails is out of use until it passes; a question that gets no answer proves nothing. Questions about a list
 * that has not been probed yet wait for the end of the first probe. A list that does not answer dnsbl_pause_after questions
 * in a row is paused, and tried again with a question of our own after dnsbl_pause_time, then twice that, up to
 * dnsbl_pause_time_limit; one that refuses to answer us (127.255.255.0/24) as often is out of use likewise.
 *
 * What that means to mail is said in rbl/ask.h. Every change of state is one line of the log. The table belongs to the
 * process: a reload keeps what is known about lists that stay. Runs in: edge, and commands.
 */
#ifndef RBL_HEALTH_H
#define RBL_HEALTH_H

#include "base/buf.h"
#include "conf/conf.h"

enum rbl_kind { RBL_ADDRESSES = 0, RBL_NAMES, RBL_KINDS };
const char *rbl_kind_name(enum rbl_kind kind);

enum rbl_state {
	RBL_USABLE = 0,
	RBL_PAUSED,                  /* it does not answer: nobody can say */
	RBL_OUT,                     /* failed its probe, or refuses us: as if it listed nothing */
};
const char *rbl_state_name(enum rbl_state state);

/* What the dnsbl_... parameters say. Times in microseconds. */
struct rbl_settings {
	uint64_t probe_interval;     /* 0: lists are not probed */
	uint64_t timeout;            /* of a question */
	uint64_t pause, pause_limit;
	unsigned pause_after;
	const char *exceptions;      /* domains that are not probed; borrowed */
	bool is_quiet;               /* commands: no line of the log */
};
struct rbl_settings rbl_settings_of(const struct params *p);

/* Start and reload: begin, every list in use, end. Then new ones are probed, and what is not in use any more is forgotten. Without
 * this there is no health: every list is usable and nothing is probed. */
void rbl_health_begin(const struct rbl_settings *s);
void rbl_health_use(enum rbl_kind kind, struct span domain);
void rbl_health_end(void);
/* Cancels the probes; questions in flight end as "cannot say". */
void rbl_health_close(void);

/* One row, for status and commands. Text and spans: until the next turn of the loop. */
struct rbl_report {
	enum rbl_kind kind;
	struct span domain;
	enum rbl_state state;
	bool is_excepted, is_probed; /* not to be; the first probe is over */
	uint64_t since;              /* state; wall clock */
	const char *why;             /* unless usable: what was asked and what came; usable: "", or what is odd about it */
	uint64_t questions, listed, errors, timeouts, refusals, skipped; /* of clients; skipped: not asked because of the state */
	uint64_t last_usec, median_usec; /* of answers; 0: none yet */
	uint64_t probed_usec;        /* how long the last probe's answers took; 0: none */
};
void rbl_health_each(void (*fn)(void *arg, const struct rbl_report *r), void *arg);
/* First probes that are not over yet. */
unsigned rbl_health_unprobed(void);
/* Called when there are none any more; NULL: nobody. For commands. */
void rbl_health_on_probed(void (*fn)(void));

/* "lists":[...] for the status of a role; the lines about lists that cannot be used, for people. */
void rbl_health_json(struct buf *out);
void rbl_health_text(struct buf *out);

#endif
