/* SPDX-License-Identifier: BSD-2-Clause */
#include "msg/date.h"

#include "base/clock.h"

#include <time.h>

void
date_write(struct buf *b, uint64_t wall_usec)
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	static time_t kept_at = -1;
	static char kept[96];
	static size_t kept_len;
	time_t sec = (time_t)(wall_usec / USEC_PER_SEC);
	if (sec != kept_at) {
		struct tm tm;
		localtime_r(&sec, &tm);
		long off = tm.tm_gmtoff / 60;
		long abs_off = off < 0 ? -off : off;
		/* not strftime: names of days must not follow a locale */
		int n = snprintf(kept, sizeof kept, "%s, %02d %s %d %02d:%02d:%02d %c%02ld%02ld (%.16s)", days[tm.tm_wday], tm.tm_mday,
		    months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec, off < 0 ? '-' : '+', abs_off / 60,
		    abs_off % 60, tm.tm_zone);
		kept_len = n < 0 ? 0 : (size_t)n;
		kept_at = sec;
	}
	buf_put(b, span_of(kept, kept_len));
}
