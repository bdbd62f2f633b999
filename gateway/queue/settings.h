/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settings.h - what the queue role reads from a configuration, in the form it uses.
 *
 * Filled from a snapshot in one place; strings live as long as the snapshot. Times in microseconds.
 * Facts 7.3, 7.4, 7.7 and 14.10.
 */
#ifndef QUEUE_SETTINGS_H
#define QUEUE_SETTINGS_H

#include "conf/conf.h"

enum {                           /* notify_classes */
	NOTICE_BOUNCE = 1, NOTICE_2BOUNCE = 2, NOTICE_DELAY = 4,
};

struct queue_settings {
	uint64_t minimal_backoff, maximal_backoff;
	uint64_t lifetime, bounce_lifetime;
	uint64_t delay_warning;          /* 0: no delay notices */
	uint32_t active_limit;           /* messages in memory as attempts */
	bool soft_bounce;
	uint64_t bounce_size_limit;      /* larger originals: headers only */
	unsigned notices;                /* NOTICE_* */
	const char *defer_transports;
	const char *best_mx_transport;   /* empty: none */
	const char *filter_nexthop;      /* default_filter_nexthop */
	const char *myhostname, *myorigin, *mail_name;
	const char *double_bounce_sender;
	const char *bounce_recipient, *bounce2_recipient, *delay_recipient;
	bool threaded_bounces;
	unsigned filtered;               /* mail of our own that milters look at: INTERNAL_* (inspect.h) */
	unsigned delay_digits;           /* delay_logging_resolution_limit */
	uint64_t clog_warn;              /* qmgr_clog_warn_time; 0: never */
};

/* How a window changes: num, num/concurrency or num/sqrt_concurrency. */
enum feedback_form { FEEDBACK_CONSTANT, FEEDBACK_CONCURRENCY, FEEDBACK_SQRT };
struct feedback {
	double num;
	enum feedback_form form;
};

struct transport_settings {
	unsigned max_jobs;               /* process limit of the service; 0: none */
	unsigned concurrency_limit;      /* per destination; 0: none */
	unsigned initial_concurrency;
	unsigned recipient_limit;        /* per delivery; 0: none. 1: every recipient is a destination */
	struct feedback positive, negative;
	double failed_cohort_limit;
	uint64_t destination_rate_delay, transport_rate_delay;
};

/* RC_PERM: a value that cannot be used, with the reason. */
enum rc settings_read(struct queue_settings *out, const struct conf *c, struct err *e) MUST_CHECK;
enum rc settings_transport(struct transport_settings *out, const struct conf *c, const char *name, int maxproc, struct err *e) MUST_CHECK;
/* The same values as the defaults of Postfix; for tests and for what a configuration lacks. */
void settings_defaults(struct queue_settings *out);
void settings_transport_defaults(struct transport_settings *out);
/* "1", "1/5", "1/concurrency", "1/sqrt_concurrency". RC_PERM: none of these. */
enum rc feedback_parse(struct span text, struct feedback *out) MUST_CHECK;
double feedback_value(const struct feedback *f, double window);

#endif
