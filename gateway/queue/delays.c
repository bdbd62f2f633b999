/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/delays.h"

#include "base/clock.h"

void
delay_put(struct buf *out, uint64_t usec)
{
	/* at most two digits that say something, and none below a hundredth */
	uint64_t unit = usec >= 10 * USEC_PER_SEC ? USEC_PER_SEC : usec >= USEC_PER_SEC ? USEC_PER_SEC / 10 : USEC_PER_SEC / 100;
	uint64_t units = (usec + unit / 2) / unit;
	uint64_t per_sec = USEC_PER_SEC / unit;
	buf_put_dec(out, units / per_sec);
	uint64_t part = units % per_sec;
	if (part == 0)
		return;
	buf_putc(out, '.');
	if (per_sec == 100) {
		buf_putc(out, (unsigned char)('0' + part / 10));
		if (part % 10 != 0)
			buf_putc(out, (unsigned char)('0' + part % 10));
	} else {
		buf_putc(out, (unsigned char)('0' + part));
	}
}

void
delays_put(struct buf *out, uint64_t before, uint64_t waiting, uint64_t connecting, uint64_t sending)
{
	delay_put(out, before);
	buf_putc(out, '/');
	delay_put(out, waiting);
	buf_putc(out, '/');
	delay_put(out, connecting);
	buf_putc(out, '/');
	delay_put(out, sending);
}
