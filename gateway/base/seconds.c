/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/seconds.h"

enum { SIGNIFICANT = 2, MILLION = 1000000 };

/* 0.0123 -> 0.01, 0.123 -> 0.12, 1.23 -> 1.2, 12.3 -> 12; no zeros at the end. */
void
delay_write(struct buf *b, uint64_t usec, unsigned digits_max)
{
	uint64_t finest = MILLION; /* least time that is shown */
	for (unsigned i = 0; i < digits_max && i < 6; i++)
		finest /= 10;
	uint64_t step = 1;
	for (uint64_t rest = usec; rest >= 100; rest /= 10) /* 10^SIGNIFICANT */
		step *= 10;
	if (step > MILLION)
		step = MILLION; /* whole seconds are not rounded further */
	if (step < finest)
		step = finest;
	uint64_t shown = (usec + step / 2) / step * step;
	buf_put_dec(b, shown / MILLION);
	uint64_t part = shown % MILLION;
	if (part == 0)
		return;
	buf_putc(b, '.');
	for (uint64_t unit = MILLION / 10; part > 0; part %= unit, unit /= 10)
		buf_putc(b, (unsigned char)('0' + part / unit));
}
