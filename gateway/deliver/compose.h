/* SPDX-License-Identifier: BSD-2-Clause */
/* compose.h - the XFORWARD, MAIL and RCPT commands of a job for a hub with certain features. Pure. */
#ifndef DELIVER_COMPOSE_H
#define DELIVER_COMPOSE_H

#include "deliver/job.h"

/* features: EHLO_*, EHLO_AUTH only when AUTH=<> is wanted; CRLF included. */
void compose_mail(struct buf *out, const struct job *j, unsigned features);
void compose_rcpt(struct buf *out, const struct job *j, unsigned i, unsigned features);
/* One of the XFORWARD commands, with what the hub takes of it; false: nothing to say. */
enum { XFORWARD_COMMANDS = 2 };
bool compose_xforward(struct buf *out, const struct job *j, unsigned features, unsigned which);
/* No octet that could end or split a command. */
bool compose_can_send(struct span addr);
/* The message cannot go to a hub without SMTPUTF8. */
bool compose_needs_utf8(const struct job *j);

#endif
