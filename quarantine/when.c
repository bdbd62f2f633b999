/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/when.h"

#include "base/clock.h"

#include <time.h>

enum { YEAR_MIN = 1970, YEAR_MAX = 2200, TEXT_MAX = 40, DIGITS_MAX = 12 };

static enum rc
ago(struct span text, uint64_t now, uint64_t *out)
{
	static const struct {
		unsigned char unit;
		uint64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 }, { 'w', 7 * 86400 } };
	uint64_t n;
	if (text.n < 2 || text.n > DIGITS_MAX || !span_u64(span_head(text, text.n - 1), UINT32_MAX, &n))
		return RC_PERM;
	for (size_t i = 0; i < NELEMS(units); i++) {
		if (units[i].unit != text.p[text.n - 1])
			continue;
		uint64_t usec = n * units[i].seconds * USEC_PER_SEC; /* under 2^63: 2^32 weeks */
		*out = usec < now ? now - usec : 0;
		return RC_OK;
	}
	return RC_PERM;
}

/* Exactly n digits, between min and max. */
static bool
number(struct cur *c, size_t n, int min, int max, int *out)
{
	uint64_t v;
	if (!span_u64(cur_take(c, n), (uint64_t)max, &v) || (int)v < min)
		return false;
	*out = (int)v;
	return true;
}

static bool
byte(struct cur *c, const char *any_of)
{
	unsigned char b = cur_u8(c);
	return b != 0 && strchr(any_of, b) != NULL;
}

/* "Z", "+01:00": how many seconds it is ahead of UTC. */
static bool
zone(struct cur *c, long *ahead)
{
	int hours, minutes;
	unsigned char sign = cur_u8(c);
	*ahead = 0;
	if (sign == 'Z' || sign == 'z')
		return true;
	if ((sign != '+' && sign != '-') || !number(c, 2, 0, 14, &hours))
		return false;
	if (cur_left(c) > 2 && !byte(c, ":"))
		return false;
	if (!number(c, 2, 0, 59, &minutes))
		return false;
	*ahead = (hours * 3600L + minutes * 60L) * (sign == '-' ? -1 : 1);
	return true;
}

static enum rc
to_usec(time_t t, uint64_t *out)
{
	if (t < 0)
		return RC_PERM;
	*out = (uint64_t)t * USEC_PER_SEC;
	return RC_OK;
}

static enum rc
calendar(struct span text, bool is_end, uint64_t *out)
{
	struct cur c = cur_of(text);
	struct tm tm = { .tm_isdst = -1 };
	int year, month;
	if (!number(&c, 4, YEAR_MIN, YEAR_MAX, &year) || !byte(&c, "-") || !number(&c, 2, 1, 12, &month) || !byte(&c, "-") ||
	    !number(&c, 2, 1, 31, &tm.tm_mday))
		return RC_PERM;
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	struct tm day = tm; /* a day that is none becomes another one */
	if (timegm(&day) == -1 || day.tm_mon != tm.tm_mon)
		return RC_PERM;
	if (cur_left(&c) == 0) {
		tm.tm_mday += is_end ? 1 : 0;
		return to_usec(mktime(&tm), out);
	}
	if (!byte(&c, "Tt ") || !number(&c, 2, 0, 23, &tm.tm_hour) || !byte(&c, ":") || !number(&c, 2, 0, 59, &tm.tm_min))
		return RC_PERM;
	if (cur_left(&c) > 0 && *c.p == ':' && (!byte(&c, ":") || !number(&c, 2, 0, 60, &tm.tm_sec)))
		return RC_PERM;
	if (cur_left(&c) == 0)
		return c.bad ? RC_PERM : to_usec(mktime(&tm), out);
	long ahead;
	if (!zone(&c, &ahead) || !cur_done(&c))
		return RC_PERM;
	return to_usec(timegm(&tm) - ahead, out);
}

/* The day with the moment in it, so many days later. */
static enum rc
day_of(uint64_t now, int later, uint64_t *out)
{
	time_t sec = (time_t)(now / USEC_PER_SEC);
	struct tm tm;
	if (localtime_r(&sec, &tm) == NULL)
		return RC_PERM;
	tm.tm_hour = tm.tm_min = tm.tm_sec = 0;
	tm.tm_mday += later;
	tm.tm_isdst = -1;
	return to_usec(mktime(&tm), out);
}

enum rc
when_parse(struct span text, uint64_t now, bool is_end, uint64_t *out)
{
	uint64_t sec;
	if (text.n == 0 || text.n > TEXT_MAX)
		return RC_PERM;
	if (span_caseeq_str(text, "today"))
		return day_of(now, is_end ? 1 : 0, out);
	if (span_caseeq_str(text, "yesterday"))
		return day_of(now, is_end ? 0 : -1, out);
	if (text.p[0] == '@') {
		if (!span_u64(span_from(text, 1), (uint64_t)1 << 40, &sec))
			return RC_PERM;
		*out = sec * USEC_PER_SEC;
		return RC_OK;
	}
	if (ago(text, now, out) == RC_OK)
		return RC_OK;
	return calendar(text, is_end, out);
}
