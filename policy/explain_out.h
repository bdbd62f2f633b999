/* SPDX-License-Identifier: BSD-2-Clause */
/* explain_out.h - what explain prints, for people or as one JSON object a line. For explain.c and the triage before it. */
#ifndef POLICY_EXPLAIN_OUT_H
#define POLICY_EXPLAIN_OUT_H

#include "base/buf.h"

#include <stdio.h>

struct explain_out {
	FILE *file;
	bool json;
	const char *stage;           /* of the SMTP dialogue */
};

/* "client     192.0.2.1" */
void explain_fact(const struct explain_out *o, const char *name, struct span value, const char *more);
void explain_stage(struct explain_out *o, const char *stage);
/* list NULL: what is always looked at. file NULL: the value is the default. */
void explain_list(const struct explain_out *o, const char *list, const char *file, int line);
/* whom: "dns" or a table. */
void explain_lookup(const struct explain_out *o, const char *whom, struct span question, enum rc rc, struct span answer, uint64_t usec);
void explain_rule(const struct explain_out *o, const char *list, const char *file, int line, const char *rule, unsigned depth, const char *result,
    uint64_t usec);
void explain_note(const struct explain_out *o, const char *kind, struct span text);
/* What became of the command. reply: empty when it is accepted; more: what else becomes of the message. */
void explain_verdict(const struct explain_out *o, struct span reply, const char *rule, const char *list, const char *more);
void explain_end(const struct explain_out *o, bool accepted);

#endif
