/* SPDX-License-Identifier: BSD-2-Clause */
/* delays.h - delay= and delays=a/b/c/d of a delivery's log line: seconds with two significant digits. */
#ifndef QUEUE_DELAYS_H
#define QUEUE_DELAYS_H

#include "base/buf.h"

enum { DELAYS_TEXT = 96 };       /* longest text of delays_write and its NUL */

/* "0", "0.01", "1.2", "34": facts 11.7. */
void delay_put(struct buf *out, uint64_t usec);
/* Before the queue / in the queue / connecting / sending. */
void delays_put(struct buf *out, uint64_t before, uint64_t waiting, uint64_t connecting, uint64_t sending);

#endif
