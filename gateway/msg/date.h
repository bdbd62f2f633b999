/* SPDX-License-Identifier: BSD-2-Clause */
/* date.h - RFC 5322 dates as Postfix 3.9 writes them: "Tue, 04 Mar 2025 10:11:12 +0100 (CET)". */
#ifndef MSG_DATE_H
#define MSG_DATE_H

#include "base/buf.h"

/* Local time of a wall clock time in microseconds. The text of one second is kept: cheap to call often. */
void date_write(struct buf *b, uint64_t wall_usec);

#endif
