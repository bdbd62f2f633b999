/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * certs.h - our certificates for the administrator: names and dates in status, and a line a day in the log when one is about to end.
 * Runs in: master.
 */
#ifndef ADMIN_CERTS_H
#define ADMIN_CERTS_H

#include "base/buf.h"
#include "conf/conf.h"
#include "loop/loop.h"

/* Lines, and members of a JSON array, about all certificates of a snapshot. */
void certs_text(const struct conf *c, struct buf *out);
void certs_json(const struct conf *c, struct buf *out);

/* conf: where the snapshot in force is found, at any time. */
struct certs_watch {
	struct timer timer;
	struct conf *const *conf;
	uint64_t told;               /* wall time of the last lines; 0: none yet */
};
void certs_watch_start(struct certs_watch *w, struct conf *const *conf);
void certs_watch_stop(struct certs_watch *w);

#endif
