/* SPDX-License-Identifier: BSD-2-Clause */
/* delays.h - seconds as Postfix logs them: two significant digits, at most digits_max decimals. Pure. */
#ifndef DELIVER_DELAYS_H
#define DELIVER_DELAYS_H

#include "base/buf.h"

void delay_write(struct buf *b, uint64_t usec, unsigned digits_max);

#endif
