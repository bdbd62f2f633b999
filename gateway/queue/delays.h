/* SPDX-License-Identifier: BSD-2-Clause */
/* delays.h - delay= and delays=a/b/c/d of a delivery's log line: seconds with two significant digits. */
#ifndef QUEUE_DELAYS_H
#define QUEUE_DELAYS_H

#include "base/buf.h"

enum { DELAYS_TEXT = 96 };       /* longest text of delays_write and its NUL */

/* "0", "0.01", "1.2", "34": facts 11.7. digits: behind the point at most (delay_logging_resolution_limit). */
void delay_put(struct buf *out, uint64_t usec, unsigned digits);
/* Before the queue / in the queue; nothing was connected or sent. */
void delays_put(struct buf *out, uint64_t before, uint64_t waiting, unsigned digits);

#endif
