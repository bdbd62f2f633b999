/* SPDX-License-Identifier: BSD-2-Clause */
/* row.h - the inside of list health: one list, its probe and the questions in flight. For files of rbl/ only. */
#ifndef RBL_ROW_H
#define RBL_ROW_H

#include "base/htab.h"
#include "rbl/ask.h"

enum {
	ROWS_MAX = 256,              /* lists with health; what is over is used without */
	SAMPLES = 32,                /* latencies kept */
	WHY_MAX = 300,
	PROBE_QUESTIONS = 2,
};

/* Questions of our own about a list. */
enum probe_kind {
	PROBE_NONE = 0,
	PROBE_ENTRIES,               /* RFC 5782: one that must be listed, one that must not */
	PROBE_LIFE,                  /* names nobody has asked before, so that no cache answers: does it speak at all? */
};

struct rbl_row {
	struct hnode by_key;
	struct list link, flights;   /* all rows; struct rbl_flight */
	enum rbl_kind kind;
	bool in_use, is_excepted, is_probed;
	bool is_unsure;              /* the last probe could not be asked */
	enum rbl_state state;
	uint64_t since;              /* wall */
	char why[WHY_MAX];
	/* in a row, up to now; an answer that is one ends them */
	unsigned silent, refused, failed;
	uint64_t heard;              /* the last answer; loop_now() */
	uint64_t silent_since;       /* when the first of the silent questions left */
	bool all_silent;             /* paused when nothing at all got an answer: it may not be the list */
	bool on_trial;               /* back from that: a quarter of the time, and one silent question is enough */
	unsigned reasons_silent;     /* TXT questions in a row that got no answer */
	uint64_t reasons_until;      /* not asked for reasons before that; loop_now() */
	uint64_t foreign_told;       /* when rbl_note_foreign() was last a line */
	uint64_t pause, back;        /* the next pause; when it came back into use: loop_now() */
	uint64_t questions, listed, errors, timeouts, refusals, skipped;
	uint32_t samples[SAMPLES];   /* usec */
	unsigned nsamples, sample_at;
	/* the probe under way */
	enum probe_kind probing;
	struct op_owner probe_ops;
	struct dns_query probe[PROBE_QUESTIONS];
	enum rbl_said probe_said[PROBE_QUESTIONS];
	unsigned probe_count, probe_pending;
	uint64_t probe_began, probed_usec;
	struct timer next;           /* probe */
	size_t domain_len;
	char domain[];
};

static inline struct span
row_domain(const struct rbl_row *r)
{
	return span_of((const unsigned char *)r->domain, r->domain_len);
}

/* Never NULL; the row of "all others" has no health. */
struct rbl_row *rbl_row_get(enum rbl_kind kind, struct span domain);
bool rbl_row_has_health(const struct rbl_row *r);
const struct rbl_settings *rbl_settings_now(void);

/* How long a question may take now. */
uint64_t rbl_row_timeout(const struct rbl_row *r);
/* Questions wait for the end of the first probe. */
bool rbl_row_is_unproven(const struct rbl_row *r);

/* A question has its outcome; may change the state. */
void rbl_row_heard(struct rbl_row *r, enum rbl_said said, const struct dns_answer *a, uint64_t usec);
/* Changes the state, says so, ends what is in flight when it is none to be used, sets the time of the next probe. */
void rbl_row_set(struct rbl_row *r, enum rbl_state state, const char *why);
/* Before its state counts: a list that was paused because the resolver was dead is not any more when that answers others. */
void rbl_row_look(struct rbl_row *r);
/* The first probe is over. */
void rbl_row_proven(struct rbl_row *r);

/* probe.c */
/* since: when the silence began that is the reason, or now. */
void rbl_probe_start(struct rbl_row *r, enum probe_kind kind, uint64_t timeout, uint64_t since);
void rbl_probe_later(struct rbl_row *r);         /* sets the timer by the state */
void rbl_probe_stop(struct rbl_row *r);

/* ask.c */
/* All that wait for this list hear that it is not to be used. */
void rbl_flights_end(struct rbl_row *r, enum rbl_said said);
/* Those that only waited for the first probe go on. */
void rbl_flights_release(struct rbl_row *r);

#endif
