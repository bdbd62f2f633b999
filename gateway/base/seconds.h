/* SPDX-License-Identifier: BSD-2-Clause */
/* seconds.h - seconds as Postfix logs them: two significant digits, at most digits_max decimals. Pure. */
#ifndef BASE_SECONDS_H
#define BASE_SECONDS_H

#include "base/buf.h"

void delay_write(struct buf *b, uint64_t usec, unsigned digits_max);

#endif
