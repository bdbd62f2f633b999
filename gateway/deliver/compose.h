/* SPDX-License-Identifier: BSD-2-Clause */
/* compose.h - the MAIL and RCPT commands of a job for a hub with certain features (msg/command.h). Pure. */
#ifndef DELIVER_COMPOSE_H
#define DELIVER_COMPOSE_H

#include "deliver/job.h"

/* features: HUB_*, HUB_AUTH only when AUTH=<> is wanted; CRLF included. */
void compose_mail(struct buf *out, const struct job *j, unsigned features);
void compose_rcpt(struct buf *out, const struct job *j, unsigned i, unsigned features);
/* The message cannot go to a hub without SMTPUTF8. */
bool compose_needs_utf8(const struct job *j);

#endif
