/* SPDX-License-Identifier: BSD-2-Clause */
/* dnsbl_out.h - what `dnsbl check` found out, and how it is printed: for people, or as one JSON object. For dnsbl_check.c only. */
#ifndef POLICY_DNSBL_OUT_H
#define POLICY_DNSBL_OUT_H

#include "base/arena.h"
#include "rbl/health.h"
#include "rbl/sites.h"

#include <stdio.h>

/* A question and its answer. */
struct found_answer {
	struct found_answer *next;
	struct span question, answer;
	enum rc rc;
	uint64_t usec;
};

/* A place in the configuration that uses a list, and what it makes of the client. */
struct found_use {
	struct found_use *next;
	const char *service;         /* "smtp inet"; several: "smtp inet, submission inet" */
	const char *parameter, *item;/* as configured */
	const char *file;            /* NULL: nowhere */
	int line;
	bool is_site, was_asked;
	const char *result;          /* of the rule; NULL: not asked */
	struct span reply;           /* a refusal */
	int weight;                  /* site: what it adds */
	bool adds;
	struct span note;            /* why it could not say */
};

struct found_list {
	struct found_list *next;
	struct rbl_report health;
	const char *why;
	struct found_use *uses;
	struct found_answer *answers;
};

struct found_score {
	struct found_score *next;
	const char *service;
	int score, threshold, allow_threshold;
	const char *action, *shown;
	unsigned failed;
};

struct found {
	const char *what;            /* address or name; NULL: health only */
	const char *name;            /* verified name of the address; NULL: none, or not asked */
	struct found_list *lists;
	struct found_score *scores;
	bool is_refused, is_healthy;
	unsigned count;
};

void dnsbl_print_text(const struct found *f, FILE *out);
void dnsbl_print_json(const struct found *f, FILE *out);

#endif
