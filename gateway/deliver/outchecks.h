/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outchecks.h - smtp_header_checks and its kin, lmtp_ too, while content is sent: what the tables say is changed on its way, the message
 * in the spool stays as it is. Facts 10.1.
 *
 * The message's own header is looked at once per job, before smtp_generic_maps (outmaps.c), and there a table may be waited for; parts and
 * bodies stream through struct outchecks. A service without such tables has none. Runs in: relay.
 */
#ifndef DELIVER_OUTCHECKS_H
#define DELIVER_OUTCHECKS_H

#include "base/log.h"
#include "filters/checks.h"
#include "msg/headers.h"

struct outchecks;

/* Are parts or bodies looked at? */
bool outchecks_wanted(const struct checks *ch);
/* checks and log are borrowed. */
struct outchecks *outchecks_new(const struct checks *ch, const struct log_ctx *log);
void outchecks_free(struct outchecks **op);      /* NULL inside is fine */
/* Appends what in becomes. RC_TEMP: a table could not be asked. */
enum rc outchecks_put(struct outchecks *o, struct buf *out, struct span in, struct err *e) MUST_CHECK;
enum rc outchecks_end(struct outchecks *o, struct buf *out, struct err *e) MUST_CHECK;

/* Changes a header. RC_TEMP: a table could not be asked, nothing happened yet (map_asked()). */
enum rc outchecks_header(const struct checks *ch, const struct log_ctx *log, struct headers *h, struct err *e) MUST_CHECK;

#endif
