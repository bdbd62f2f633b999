/* SPDX-License-Identifier: BSD-2-Clause */
#include "queue/delays.h"

#include "base/clock.h"

void
delay_put(struct buf *out, uint64_t usec, unsigned digits)
{
	/* two digits that say something: 12, 1.2, 0.12, 0.012 */
	unsigned places = usec >= 10 * USEC_PER_SEC ? 0 : 1;
	for (uint64_t below = USEC_PER_SEC; places > 0 && places < 6 && usec < below; below /= 10)
		places++;
	if (places > digits)
		places = digits > 6 ? 6 : digits;
	uint64_t per_sec = 1;
	for (unsigned i = 0; i < places; i++)
		per_sec *= 10;
	uint64_t unit = USEC_PER_SEC / per_sec, units = (usec + unit / 2) / unit, part = units % per_sec;
	buf_put_dec(out, units / per_sec);
	if (part == 0)
		return;
	buf_putc(out, '.');
	for (uint64_t scale = per_sec / 10; part > 0; part %= scale, scale = scale > 1 ? scale / 10 : 1) {
		buf_putc(out, (unsigned char)('0' + part / scale));
		if (scale == 1)
			break;
	}
}

void
delays_put(struct buf *out, uint64_t before, uint64_t waiting, unsigned digits)
{
	delay_put(out, before, digits);
	buf_putc(out, '/');
	delay_put(out, waiting, digits);
	buf_puts(out, "/0/0");
}
