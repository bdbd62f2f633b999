/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outmaps.h - smtp_generic_maps and lmtp_generic_maps: a job under the addresses they give; before that, smtp_header_checks.
 *
 * Envelope and header go out under other addresses, the rest of the content is sent from where it is. Log, reports
 * and bounces keep to the addresses the message has inside. Runs in: relay.
 */
#ifndef DELIVER_OUTMAPS_H
#define DELIVER_OUTMAPS_H

#include "deliver/job.h"
#include "policy/rewrite.h"

/* g may be NULL, j->checks too. Finds out what envelope and header of a job are called outside: j->sender, j->rcpt[].wire, j->head. fd: its content; -1: it has
 * none. May be done again. RC_TEMP: a table could not be asked (map/remote.h), or the content not read. */
enum rc outmaps_apply(const struct generic *g, struct job *j, int fd, struct err *e) MUST_CHECK;

#endif
