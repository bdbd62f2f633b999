/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * outchecks.h - smtp_header_checks and its kin, lmtp_ too, while content is sent: what the tables say is changed on its way, the message
 * in the spool stays as it is. Facts 10.1.
 *
 * The message's own header is looked at once per job, before smtp_generic_maps (outmaps.c); parts and bodies stream through struct
 * outchecks, which stops where a table of another process has to be waited for. A service without such tables has none. Runs in: relay.
 */
#ifndef DELIVER_OUTCHECKS_H
#define DELIVER_OUTCHECKS_H

#include "base/log.h"
#include "filters/checks.h"
#include "msg/headers.h"

struct outchecks;

/* Are parts or bodies looked at? */
bool outchecks_wanted(const struct checks *ch);
/* May that have to wait? Then the length cannot be said in front. */
bool outchecks_may_wait(const struct checks *ch);
/* checks and log are borrowed. */
struct outchecks *outchecks_new(const struct checks *ch, const struct log_ctx *log);
void outchecks_free(struct outchecks **op);      /* NULL inside is fine */
/* Appends what in becomes. RC_TEMP: a table could not be asked. RC_NONE: an answer has to be waited for (map_asked()); in is kept, and
 * outchecks_go_on() comes next. */
enum rc outchecks_put(struct outchecks *o, struct buf *out, struct span in, struct err *e) MUST_CHECK;
enum rc outchecks_end(struct outchecks *o, struct buf *out, struct err *e) MUST_CHECK;
/* Behind RC_NONE, of outchecks_end() too: the rest of that, with the same outcomes. */
enum rc outchecks_go_on(struct outchecks *o, struct buf *out, struct err *e) MUST_CHECK;
/* At RC_NONE: the answers of the wait before are used up. */
bool outchecks_has_moved(const struct outchecks *o);

/* Changes a header. RC_TEMP: a table could not be asked, nothing happened yet (map_asked()). */
enum rc outchecks_header(const struct checks *ch, const struct log_ctx *log, struct headers *h, struct err *e) MUST_CHECK;

#endif
