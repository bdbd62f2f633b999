/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * server_text.h - what is said to a policy server and what it answers. Facts 10.4. Pure.
 *
 * A question is lines name=value and an empty line; so is the answer, of which only action= counts.
 */
#ifndef POLICY_SERVER_TEXT_H
#define POLICY_SERVER_TEXT_H

#include "policy/facts.h"
#include "policy/policy.h"

enum { POLICY_ANSWER_MAX = 16 * 1024 };  /* octets of an answer with all its lines */

/* Values are clean of what could end a line, whatever is in the facts. */
void policy_question(struct buf *b, const struct policy *p, enum policy_stage stage, const struct facts *f, const char *context);

enum policy_answer_kind {
	POLICY_ANSWER_MORE = 0,  /* it is not complete yet */
	POLICY_ANSWER_OK,
	POLICY_ANSWER_BAD,       /* why says what is wrong */
};
/* Reads an answer from the front of in. *used_out: its octets (OK only). action is inside in: not empty, one line, UTF-8
 * without control characters. */
enum policy_answer_kind policy_answer(struct span in, struct span *action, size_t *used_out, const char **why);

#endif
