/* SPDX-License-Identifier: BSD-2-Clause */
/* verbs.h - the rows of commands.def: finding one, its phases, its name in the disconnect line. */
#ifndef SMTP_VERBS_H
#define SMTP_VERBS_H

#include "smtp/session.h"

struct cmd_row {
	const char *name;
	unsigned flags;
	const struct step_row *steps;
	const char *doc;
};

/* NULL: no such verb, *verb_out untouched. Any case. */
const struct cmd_row *verb_find(struct span word, enum verb *verb_out);
/* What a verb hears in a phase it does not belong in; REPLY_NONE: it does. */
enum reply_id verb_wrong_phase(enum verb verb, enum phase phase);
/* " mail=1/2" */
void verb_count_write(struct buf *b, enum verb v, const struct verb_count *n);
/* "BDAT DATA EHLO ..." */
void verb_help(struct buf *b);

#endif
