/* SPDX-License-Identifier: BSD-2-Clause */
/* text.h - services and long values as main.cf and master.cf text; for files of conf/ only. */
#ifndef CONF_TEXT_H
#define CONF_TEXT_H

#include "conf/snap.h"

/* Words separated by one space; with fold, lines end before column 80 and go on after four spaces. */
void text_fold(struct buf *out, struct span text, bool fold);
/* A master.cf entry in columns, without the last newline; with fold, each -o on its own line. */
void text_service(struct buf *out, const struct svc *svc, bool fold);

#endif
