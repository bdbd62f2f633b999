/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void (*bug_hook)(const char *file, int line, const char *what);

static void
make_printable(char *s)
{
	for (; *s != '\0'; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

enum rc
err_set(struct err *e, enum rc rc, const char *fmt, ...)
{
	if (e == NULL)
		return rc;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(e->why, sizeof e->why, fmt, ap);
	va_end(ap);
	make_printable(e->why);
	e->rc = rc;
	return rc;
}

enum rc
err_prefix(struct err *e, const char *fmt, ...)
{
	char old[sizeof e->why];
	memcpy(old, e->why, sizeof old);
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(e->why, sizeof e->why, fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof e->why)
		snprintf(e->why + n, sizeof e->why - (size_t)n, ": %s", old);
	make_printable(e->why);
	return e->rc;
}

void
bug(const char *file, int line, const char *what)
{
	static bool in_bug;
	fprintf(stderr, "BUG %s:%d: %s\n", file, line, what);
	if (!in_bug && bug_hook != NULL) {
		in_bug = true;
		bug_hook(file, line, what);
	}
	abort();
}
