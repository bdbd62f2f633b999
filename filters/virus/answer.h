/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * answer.h - from a verdict to what the MTA is told: the configured action, the header, the reason of a quarantine. A pure function.
 */
#ifndef VIRUS_ANSWER_H
#define VIRUS_ANSWER_H

#include "base/buf.h"
#include "filters/virus/examine.h"

/* Of a name of its kind: its first word in any writing, blanks behind it left out. */
bool answer_is_status_header(struct span name);

/* Adds the packets of the milter protocol that end a message to out. status_headers: so many of them came with it. Returns the
 * action, for the log. */
const char *answer_put(const struct virus_conf *conf, const struct judgement *j, unsigned status_headers, bool leads_space, struct buf *out);

#endif
