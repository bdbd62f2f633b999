/* SPDX-License-Identifier: BSD-2-Clause */
#include "spool/spool.h"

#include "base/clock.h"

/* Digits without vowels, so that no id spells a word. 'z', the last one, is no digit of the
 * serial: the last z of a text is the separator. */
static const char digits[] = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz";
enum { TIME_BASE = 52, SERIAL_BASE = 51, SEC_DIGITS = 6, USEC_DIGITS = 4 };

static size_t
put_number(char *out, uint64_t v, unsigned base, size_t width)
{
	char rev[16];
	size_t n = 0;
	do
		rev[n++] = digits[v % base];
	while ((v /= base) > 0);
	while (n < width)
		rev[n++] = '0';
	for (size_t i = 0; i < n; i++)
		out[i] = rev[n - 1 - i];
	return n;
}

/* At least width digits, no more leading zeros than that needs, at most max. */
static bool
get_number(struct span s, unsigned base, size_t width, uint64_t max, uint64_t *out)
{
	if (s.n < width || s.n == 0 || (s.n > width && s.n > 1 && s.p[0] == '0'))
		return false;
	uint64_t v = 0;
	for (size_t i = 0; i < s.n; i++) {
		const char *d = s.p[i] != 0 ? strchr(digits, s.p[i]) : NULL;
		if (d == NULL || d - digits >= (ptrdiff_t)base)
			return false;
		if (__builtin_mul_overflow(v, (uint64_t)base, &v) || __builtin_add_overflow(v, (uint64_t)(d - digits), &v) || v > max)
			return false;
	}
	*out = v;
	return true;
}

size_t
spool_id_text(const struct spool_id *id, char out[SPOOL_ID_TEXT])
{
	size_t n = put_number(out, id->usec / USEC_PER_SEC, TIME_BASE, SEC_DIGITS);
	n += put_number(out + n, id->usec % USEC_PER_SEC, TIME_BASE, USEC_DIGITS);
	out[n++] = 'z';
	n += put_number(out + n, id->serial, SERIAL_BASE, 1);
	out[n] = '\0';
	return n;
}

enum rc
spool_id_parse(struct span text, struct spool_id *out)
{
	size_t z = span_rchr(text, 'z');
	uint64_t sec, usec, serial;
	if (text.n >= SPOOL_ID_TEXT || z == SIZE_MAX || z < SEC_DIGITS + USEC_DIGITS)
		return RC_PERM;
	if (!get_number(span_head(text, z - USEC_DIGITS), TIME_BASE, SEC_DIGITS, UINT64_MAX / USEC_PER_SEC - 1, &sec) ||
	    !get_number(span_head(span_from(text, z - USEC_DIGITS), USEC_DIGITS), TIME_BASE, USEC_DIGITS, USEC_PER_SEC - 1, &usec) ||
	    !get_number(span_from(text, z + 1), SERIAL_BASE, 1, UINT32_MAX, &serial))
		return RC_PERM;
	*out = (struct spool_id){ .usec = sec * USEC_PER_SEC + usec, .serial = (uint32_t)serial };
	return RC_OK;
}

struct spool_id
spool_id_next(uint32_t serial)
{
	static uint64_t last; /* per process, so that a clock that is set back makes no id twice */
	uint64_t now = clock_wall();
	last = now > last ? now : last + 1;
	return (struct spool_id){ .usec = last, .serial = serial };
}
