/* SPDX-License-Identifier: BSD-2-Clause */
#include "quarantine/schedule.h"

#include "base/clock.h"

#include <time.h>

enum { DAY = 24 * 60, STEP_MIN = 30 };

static bool
time_of_day(struct span s, unsigned *minute)
{
	uint64_t h, m;
	size_t colon = span_chr(s, ':');
	if (colon == SIZE_MAX || colon > 2 || s.n != colon + 3 || !span_u64(span_head(s, colon), 23, &h) || !span_u64(span_from(s, colon + 1), 59, &m))
		return false;
	*minute = (unsigned)(h * 60 + m);
	return true;
}

static bool
step(struct span s, unsigned *minutes)
{
	uint64_t n;
	if (s.n < 2 || !span_u64(span_head(s, s.n - 1), DAY, &n))
		return false;
	unsigned char unit = s.p[s.n - 1];
	uint64_t each = unit == 'm' ? 1 : unit == 'h' ? 60 : unit == 'd' ? DAY : 0;
	*minutes = (unsigned)(n * each);
	return n * each >= STEP_MIN && n * each <= DAY;
}

static void
add(struct schedule *out, unsigned minute)
{
	unsigned at = 0;
	while (at < out->ntimes && out->minute[at] < minute)
		at++;
	if (at < out->ntimes && out->minute[at] == minute)
		return;
	memmove(&out->minute[at + 1], &out->minute[at], (out->ntimes - at) * sizeof out->minute[0]);
	out->minute[at] = (uint16_t)minute;
	out->ntimes++;
}

enum rc
schedule_parse(struct span text, struct schedule *out, struct err *e)
{
	struct span word;
	unsigned n;
	bool stepped = false;
	*out = (struct schedule){ 0 };
	while (span_word(&text, ", \t\r\n", &word)) {
		if (stepped || out->ntimes == SCHEDULE_TIMES_MAX)
			return err_set(e, RC_PERM, stepped ? "a span of time stands alone" : "more than %d times", (int)SCHEDULE_TIMES_MAX);
		if (time_of_day(word, &n)) {
			add(out, n);
			continue;
		}
		if (!step(word, &n) || out->ntimes > 0)
			return err_set(e, RC_PERM, "times of day (07:00, 13:30) or one span of time from 30m to 1d (4h)");
		for (unsigned at = 0; at < DAY; at += n)
			add(out, at);
		stepped = true;
	}
	return RC_OK;
}

uint64_t
schedule_next(const struct schedule *s, uint64_t now)
{
	time_t sec = (time_t)(now / USEC_PER_SEC);
	struct tm today;
	if (s->ntimes == 0 || localtime_r(&sec, &today) == NULL)
		return 0;
	for (int day = 0; day < 3; day++) {
		for (unsigned i = 0; i < s->ntimes; i++) {
			struct tm tm = { .tm_year = today.tm_year, .tm_mon = today.tm_mon, .tm_mday = today.tm_mday + day, .tm_hour = s->minute[i] / 60,
				.tm_min = s->minute[i] % 60, .tm_isdst = -1 };
			time_t t = mktime(&tm);
			if (t > sec)
				return (uint64_t)t * USEC_PER_SEC;
		}
	}
	return 0;
}
